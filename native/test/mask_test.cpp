// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

#include <map>
#include <set>

namespace {

template <class T>
class Masks : public testing::Test {};
TYPED_TEST_SUITE(Masks, FloatTypes);

constexpr int32_t kSchemes[] = {PND_BERNOULLI,  PND_POISSON,     PND_GUMBEL,
                                PND_SYSTEMATIC, PND_CONDITIONAL, PND_CANDIDATES};

// The arguments of a call; arrays that are empty are null.
template <class T>
struct Call {
  int32_t scheme;
  int64_t rows, length, k = 0, candidates = 3;
  double rate = 0.25, floor = 0.3, mask_share = 0.8, random_share = 0.1;
  int64_t step = 7, key = 99, vocabulary = 1000, mask_token = 1000;
  std::vector<T> logits = random_data<T>(rows * length, 3);
  std::vector<int32_t> tokens = random_index(rows * length, 1000, 4);
  std::vector<int32_t> eligible = {};
};

template <class T>
struct Masked {
  std::vector<T> log_probability, inclusion, weight;
  std::vector<int32_t> corrupted, label;
};

template <class T>
const T *null_or(const std::vector<T> &x) {
  return x.empty() ? nullptr : x.data();
}

template <class T>
int32_t run(const Machine &m, const Call<T> &c, T *log_probability, T *inclusion, T *weight,
            int32_t *corrupted, int32_t *label) {
  return PND_ON(m, pnd_mask, type_of<T>(), log_probability, inclusion, weight, corrupted, label,
                null_or(c.logits), c.tokens.data(), null_or(c.eligible), &c.step, c.rows, c.length,
                c.vocabulary, c.k, c.candidates, c.mask_token, c.key, c.rate, c.floor, c.mask_share,
                c.random_share, c.scheme);
}

// On the first machine alone, which the tests of many calls need.
template <class T>
Masked<T> once(const Call<T> &c) {
  const int64_t n = c.rows * c.length;
  Masked<T> y{std::vector<T>(c.rows), std::vector<T>(n), std::vector<T>(n), std::vector<int32_t>(n),
              std::vector<int32_t>(n)};
  const Machine &m = machines()[0];
  EXPECT_EQ(PND_OK, run(m, c, y.log_probability.data(), y.inclusion.data(), y.weight.data(),
                        y.corrupted.data(), y.label.data()))
      << message_of(m);
  EXPECT_EQ(PND_OK, pnd_synchronize(m.context));
  return y;
}

// On every machine, whose bits must agree.
template <class T>
Masked<T> everywhere(const Call<T> &c) {
  const int64_t n = c.rows * c.length;
  Masked<T> y;
  const auto numbers = outputs_of<T>({c.rows, n, n}, [&](const Machine &m, std::vector<T *> to) {
    return run<T>(m, c, to[0], to[1], to[2], nullptr, nullptr);
  });
  const auto tokens = outputs_of<int32_t>({n, n}, [&](const Machine &m, std::vector<int32_t *> to) {
    return run<T>(m, c, nullptr, nullptr, nullptr, to[0], to[1]);
  });
  return {numbers[0], numbers[1], numbers[2], tokens[0], tokens[1]};
}

template <class T>
std::vector<T> slopes_of(const Call<T> &c, const Masked<T> &y, const std::vector<T> &d) {
  return output_of<T>(c.rows * c.length, [&](const Machine &m, T *to) {
    return PND_ON(m, pnd_mask_backward, type_of<T>(), to, d.data(), c.logits.data(),
                  y.inclusion.data(), y.label.data(), &c.step, c.rows, c.length, c.k, c.candidates,
                  c.key, c.rate, c.floor, c.scheme);
  });
}

template <class T>
bool may(const Call<T> &c, int64_t i) {
  return c.tokens[i] >= 0 && (c.eligible.empty() || c.eligible[i] != 0) &&
         (c.logits.empty() || std::isfinite(c.logits[i]));
}

template <class T>
int64_t chosen_in(const Call<T> &c, const Masked<T> &y, int64_t row) {
  int64_t count = 0;
  for (int64_t i = row * c.length; i < (row + 1) * c.length; ++i) count += y.label[i] >= 0;
  return count;
}

// What holds for every mask.
template <class T>
void expect_sound(const Call<T> &c, const Masked<T> &y) {
  for (int64_t row = 0; row < c.rows; ++row) {
    int64_t n = 0, chosen = 0;
    for (int64_t i = row * c.length; i < (row + 1) * c.length; ++i) {
      const bool is = y.label[i] != -1;
      n += may(c, i);
      chosen += is;
      ASSERT_TRUE(!is || (may(c, i) && y.label[i] == c.tokens[i])) << i;
      ASSERT_EQ(is, y.weight[i] > 0) << i;
      ASSERT_TRUE(y.inclusion[i] >= 0 && y.inclusion[i] <= 1) << i << ": " << y.inclusion[i];
      if (!may(c, i)) {
        ASSERT_EQ(0, y.inclusion[i]) << i;
      }
      if (!is) {
        ASSERT_EQ(c.tokens[i], y.corrupted[i]) << i;
      }
      ASSERT_TRUE(y.corrupted[i] == c.tokens[i] || y.corrupted[i] == c.mask_token ||
                  (y.corrupted[i] >= 0 && y.corrupted[i] < c.vocabulary));
      if (is && c.scheme != PND_CANDIDATES) {
        ASSERT_EQ(static_cast<T>(1) / y.inclusion[i], y.weight[i]) << i;
      }
    }
    ASSERT_LE(y.log_probability[row], T(1e-5));
    const int64_t wanted =
        std::min(n, c.k > 0 ? c.k : static_cast<int64_t>(c.rate * static_cast<double>(n) + 0.5));
    if (c.scheme >= PND_GUMBEL) {
      ASSERT_EQ(wanted, chosen) << "row " << row;
    }
    if (wanted == n && c.scheme != PND_BERNOULLI) {
      ASSERT_EQ(n, chosen);
      ASSERT_EQ(0, y.log_probability[row]);
    }
  }
}

TYPED_TEST(Masks, areTheSameEverywhereAndSound) {
  using T = TypeParam;
  const std::vector<int64_t> lengths{1, 3, 7, 17, 33, 65, 130, 301};
  for (int32_t scheme : kSchemes) {
    for (int64_t length : shared_out<T>(lengths)) {
      if (is_simulated() && length > 65) break;
      for (int64_t k : {int64_t{0}, int64_t{1}, length / 3, length - 1, length + 2}) {
        if (is_simulated() && k == 1 && length > 3) continue;
        SCOPED_TRACE(testing::Message() << "scheme " << scheme << " " << length << " k " << k);
        Call<T> c{scheme, is_simulated() ? 3 : 11, length, k};
        c.eligible.assign(c.rows * length, 1);
        for (int64_t i = 0; i < c.rows * length; ++i) {
          if (i % 7 == 3) c.eligible[i] = 0;
          if (i % 11 == 5) c.tokens[i] = -5;
          c.logits[i] *= static_cast<T>(i / length);
        }
        expect_sound(c, everywhere(c));
        if (is_simulated() && length > 7) continue;
        c.eligible.clear();
        c.logits.clear();
        expect_sound(c, everywhere(c));
      }
    }
  }
}

TYPED_TEST(Masks, extremeLogitsHaveTheirStatedOutcomes) {
  using T = TypeParam;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  for (int32_t scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    Call<T> c{scheme, 5, 40, 4};
    for (int64_t i = 0; i < 40; ++i) {
      c.logits[i] = 3;                                    // all equal
      c.logits[40 + i] = -kInfinity;                      // none eligible
      c.logits[80 + i] = i % 2 ? T(NAN) : kInfinity;      // nor here
      c.logits[160 + i] = i % 5 == 0 ? T(-1e4) : T(1e4);  // 20,000 nats apart
    }
    for (int64_t i = 120; i < 160; ++i) c.logits[i] = extreme_data<T>(40)[i - 120];
    const auto y = everywhere(c);
    expect_sound(c, y);
    EXPECT_EQ(0, chosen_in(c, y, 1));
    EXPECT_EQ(0, chosen_in(c, y, 2));
    EXPECT_EQ(0, y.log_probability[1]);
    EXPECT_EQ(0, y.log_probability[2]);
    for (T x : y.inclusion) EXPECT_TRUE(std::isfinite(x));
    for (T x : y.weight) EXPECT_TRUE(std::isfinite(x));
    for (T x : y.log_probability) EXPECT_TRUE(std::isfinite(x)) << x;
    for (int64_t i = 1; i < 40; ++i) {
      // Gumbel's is that given the others' times, of which there are two.
      if (scheme == PND_GUMBEL) continue;
      EXPECT_NEAR(1, y.inclusion[i] / y.inclusion[0], 8 * std::numeric_limits<T>::epsilon());
    }
    for (T x : slopes_of(c, y, std::vector<T>(5, 1))) EXPECT_TRUE(std::isfinite(x)) << x;
    // Where the rest is all but impossible, the likely ones are chosen first.
    c.k = 36;
    const auto most = everywhere(c);
    expect_sound(c, most);
  }
}

// Every subset that comes in many steps, with its probability and what an estimator makes of it.
struct Subset {
  double probability;
  std::vector<double> weight, inclusion;
};
std::map<int, Subset> subsets_of(Call<double> c, int64_t steps) {
  std::map<int, Subset> found;
  for (c.step = 0; c.step < steps; ++c.step) {
    const auto y = once(c);
    for (int64_t row = 0; row < c.rows; ++row) {
      int set = 0;
      for (int64_t i = 0; i < c.length; ++i) set |= (y.label[row * c.length + i] >= 0) << i;
      const auto at = row * c.length;
      found[set] = {std::exp(y.log_probability[row]),
                    {y.weight.begin() + at, y.weight.begin() + at + c.length},
                    {y.inclusion.begin() + at, y.inclusion.begin() + at + c.length}};
    }
  }
  return found;
}

// A row of n positions many times, so that every subset comes.
Call<double> small_call(int32_t scheme, int64_t n, int64_t k, uint32_t seed) {
  Call<double> c{scheme, is_simulated() ? 40 : 4000, n, k};
  const auto row = random_data<double>(n, seed);
  for (int64_t i = 0; i < c.rows * n; ++i) c.logits[i] = row[i % n];
  return c;
}

TEST(Masks, subsetsOfSmallRowsHaveTheirExactProbabilities) {
  if (is_simulated()) GTEST_SKIP() << "thousands of rows";
  for (int32_t scheme : {PND_BERNOULLI, PND_POISSON, PND_SYSTEMATIC, PND_CONDITIONAL}) {
    for (int64_t n : {1, 2, 4, 5}) {
      for (int64_t k : {int64_t{1}, int64_t{2}, n - 1}) {
        SCOPED_TRACE(testing::Message() << "scheme " << scheme << " n " << n << " k " << k);
        if (k < 1) continue;
        auto c = small_call(scheme, n, k, 17);
        for (double &x : c.logits) x /= 2;  // so that the rarest set comes
        const auto found = subsets_of(c, 20);
        // All that can come has come: the probabilities sum to one.
        double all = 0;
        std::vector<double> share(n), estimate(n);
        for (const auto &[set, s] : found) {
          all += s.probability;
          for (int64_t i = 0; i < n; ++i) {
            share[i] += (set >> i & 1) * s.probability;
            estimate[i] += s.probability * s.weight[i];
          }
        }
        EXPECT_NEAR(1, all, 1e-12);
        for (int64_t i = 0; i < n; ++i) {
          EXPECT_NEAR(share[i], found.begin()->second.inclusion[i], 1e-12) << i;
          // The estimator of a sum is unbiased: what position i counts for has the mean 1.
          EXPECT_NEAR(1, estimate[i], 1e-12) << i;
        }
      }
    }
  }
}

TEST(Masks, conditionalPoissonIsTheProductOfWeights) {
  for (int64_t n : {4, 8}) {
    for (int64_t k : {int64_t{1}, int64_t{3}, n - 1}) {
      auto c = small_call(PND_CONDITIONAL, n, k, 29);
      for (auto &x : c.logits) x *= 4;
      std::vector<double> share(n);
      double all = 0;
      const auto product = [&](int set) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += set >> i & 1 ? c.logits[i] : 0;
        return std::exp(sum);
      };
      for (int set = 0; set < 1 << n; ++set) {
        if (__builtin_popcount(set) != k) continue;
        all += product(set);
        for (int64_t i = 0; i < n; ++i) share[i] += (set >> i & 1) * product(set);
      }
      const auto y = once(c);
      for (int64_t row = 0; row < c.rows; ++row) {
        int set = 0;
        for (int64_t i = 0; i < n; ++i) {
          set |= (y.label[row * n + i] >= 0) << i;
          EXPECT_NEAR(1, y.inclusion[row * n + i] / (share[i] / all), 1e-12);
        }
        EXPECT_NEAR(std::log(product(set) / all), y.log_probability[row], 1e-12);
      }
    }
  }
}

// Long rows, whose blocks' tables are made again: the probabilities sum to the number chosen, and
// the set's probability agrees with the recursion in long double.
TEST(Masks, conditionalPoissonIsExactForLongRows) {
  const int64_t n = is_simulated() ? 150 : 700, k = n / 6;
  Call<double> c{PND_CONDITIONAL, 3, n, k};
  for (auto &x : c.logits) x *= 3;
  const auto y = once(c);
  for (int64_t row = 0; row < c.rows; ++row) {
    std::vector<long double> e(k + 1);
    e[0] = 1;
    long double sum = 0, log_product = 0, scale = 0;
    for (int64_t i = 0; i < n; ++i) {
      const long double w = std::exp(static_cast<long double>(c.logits[row * n + i]));
      for (int64_t j = k; j >= 1; --j) e[j] += w * e[j - 1];
      sum += y.inclusion[row * n + i];
      if (y.label[row * n + i] >= 0) log_product += c.logits[row * n + i];
      if (i % 16 == 15) {  // within range
        for (auto &x : e) x *= 0x1p-16L;
        scale += 16 * std::log(2.0L);
      }
    }
    EXPECT_NEAR(static_cast<double>(k), static_cast<double>(sum), 1e-10);
    EXPECT_NEAR(1, y.log_probability[row] / (log_product - std::log(e[k]) - scale), 1e-12);
  }
}

TEST(Masks, thePlackettLuceProbabilityIsThatOfTheOrder) {
  // Of k = 1 it is the softmax; of k = n - 1 = 1 of two, too.
  for (int64_t n : {2, 9}) {
    const auto c = small_call(PND_GUMBEL, n, 1, 5);
    const auto y = once(c);
    double all = 0;
    for (int64_t i = 0; i < n; ++i) all += std::exp(c.logits[i]);
    for (int64_t i = 0; i < c.rows * n; ++i) {
      if (y.label[i] < 0) continue;
      EXPECT_NEAR(c.logits[i] - std::log(all), y.log_probability[i / n], 1e-12);
    }
  }
  // The orders of a set of two are the only two, and their probabilities those of the formula.
  const auto c = small_call(PND_GUMBEL, 4, 2, 6);
  const auto y = once(c);
  double all = 0;
  for (int64_t i = 0; i < 4; ++i) all += std::exp(c.logits[i]);
  for (int64_t row = 0; row < c.rows; ++row) {
    std::vector<double> w;
    for (int64_t i = 0; i < 4; ++i) {
      if (y.label[row * 4 + i] >= 0) w.push_back(std::exp(c.logits[i]));
    }
    const double one = std::log(w[0] / all * w[1] / (all - w[0]));
    const double other = std::log(w[1] / all * w[0] / (all - w[1]));
    const double got = y.log_probability[row];
    EXPECT_LE(std::min(std::abs(got - one), std::abs(got - other)), 1e-12);
  }
}

// Uniform candidate sets by enumeration: over all tuples of sets, each as likely, the weight of the
// one that is taken times its probability is that of a uniform set.
TEST(Masks, candidateSetsAreUnbiasedForUniformSets) {
  if (is_simulated()) GTEST_SKIP() << "thousands of rows";
  const int64_t n = 4, k = 2;
  auto c = small_call(PND_CANDIDATES, n, k, 8);
  c.candidates = 2;
  c.floor = 0.1;
  std::vector<int> sets;
  for (int s = 0; s < 16; ++s) {
    if (__builtin_popcount(s) == k) sets.push_back(s);
  }
  const auto score = [&](int s) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += s >> i & 1 ? c.logits[i] : 0;
    return std::exp(sum);
  };
  // Every (taken, weight, log q) that may come.
  const auto q = [&](int a, int b) {
    return (1 - c.floor) * score(a) / (score(a) + score(b)) + c.floor / 2;
  };
  std::set<std::pair<int, int>> came;
  for (c.step = 0; c.step < 5; ++c.step) {
    const auto y = once(c);
    for (int64_t row = 0; row < c.rows; ++row) {
      int set = 0;
      double weight = 0;
      for (int64_t i = 0; i < n; ++i) {
        set |= (y.label[row * n + i] >= 0) << i;
        weight = std::max(weight, y.weight[row * n + i]);
        EXPECT_EQ(0.5, y.inclusion[row * n + i]);
      }
      bool known = false;
      for (int other : sets) {
        const bool is = std::abs(1 / (2 * q(set, other)) - weight) < 1e-12 * weight;
        if (is) came.insert({set, other});
        known |= is;
        if (is) {
          EXPECT_NEAR(std::log(q(set, other)), y.log_probability[row], 1e-12);
        }
      }
      EXPECT_TRUE(known) << "weight " << weight << " of set " << set;
    }
  }
  EXPECT_EQ(36u, came.size());
  std::vector<double> mean(16);
  for (int a : sets) {
    for (int b : sets) {
      mean[a] += q(a, b) / 36 / (2 * q(a, b));
      mean[b] += q(b, a) / 36 / (2 * q(b, a));
    }
  }
  for (int s : sets) EXPECT_NEAR(1.0 / 6, mean[s], 1e-12);
}

// Counts against inclusion probabilities: |z| < 4, and estimates of a sum within 4 standard errors.
TYPED_TEST(Masks, frequenciesAreTheInclusionProbabilities) {
  using T = TypeParam;
  const bool few = is_simulated() || kWatched;
  const int64_t rows = is_simulated() ? 60 : kWatched ? 2000 : 50000;
  const int64_t steps = few || sizeof(T) == 8 ? 2 : 20;
  const int64_t n = 12;
  for (int32_t scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    Call<T> c{scheme, rows, n, 4};
    const auto row = random_data<T>(n, 12);
    for (int64_t i = 0; i < rows * n; ++i) c.logits[i] = row[i % n];
    std::vector<double> count(n), chance(n), value = random_data<double>(n, 13);
    double total = 0, mean = 0, square = 0;
    for (double x : value) total += x;
    for (c.step = 0; c.step < steps; ++c.step) {
      const auto y = once(c);
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          const int64_t at = r * n + i;
          count[i] += y.label[at] >= 0;
          chance[i] += y.inclusion[at];
          sum += y.weight[at] * value[i] * (scheme == PND_CANDIDATES ? 3 : 1);
        }
        mean += sum;
        square += sum * sum;
      }
    }
    const double all = static_cast<double>(rows * steps);
    mean /= all;
    const double error = std::sqrt((square / all - mean * mean) / all);
    EXPECT_LE(std::abs(mean - total), 4 * error) << "estimate " << mean << " of " << total;
    for (int64_t i = 0; i < n && scheme != PND_CANDIDATES; ++i) {
      const double p = chance[i] / all;
      const double z = (count[i] / all - p) / std::sqrt(p * (1 - p) / all + 1e-300);
      EXPECT_LE(std::abs(z), 4) << i << " came " << count[i] / all << " for " << p;
    }
  }
}

TYPED_TEST(Masks, systematicPointsLieOneApart) {
  using T = TypeParam;
  Call<T> c{PND_SYSTEMATIC, is_simulated() ? 20 : 2000, 30, 7};
  const auto y = once(c);
  for (int64_t row = 0; row < c.rows; ++row) {
    double sum = 0, last = -1;
    for (int64_t i = 0; i < c.length; ++i) {
      const double pi = y.inclusion[row * c.length + i];
      ASSERT_TRUE(pi < 1 || y.label[row * c.length + i] >= 0);
      if (pi == 1) continue;
      const double before = sum;
      sum += pi;
      if (y.label[row * c.length + i] < 0) continue;
      // Between two points lies a whole of probability: the stretches of both reach over it.
      if (last >= 0) {
        EXPECT_LE(last - 1e-4, before - 1 + pi);
        EXPECT_GE(sum + 1e-4, last + 1 - 1e-4);
      }
      last = before;
    }
    double all = 0;
    for (int64_t i = 0; i < c.length; ++i) all += y.inclusion[row * c.length + i];
    EXPECT_NEAR(7, all, 1e-5);
  }
}

TYPED_TEST(Masks, tokensAreReplacedInTheirShares) {
  using T = TypeParam;
  Call<T> c{PND_BERNOULLI, is_simulated() ? 10 : 400, 500};
  c.rate = 0.5;
  for (int32_t &t : c.tokens) t = 2000;  // beyond the vocabulary, so that each kind is told apart
  const auto y = once(c);
  double chosen = 0, masked = 0, kept = 0, random = 0, sum = 0;
  for (size_t i = 0; i < y.label.size(); ++i) {
    if (y.label[i] < 0) continue;
    ++chosen;
    masked += y.corrupted[i] == 1000;
    kept += y.corrupted[i] == 2000;
    if (y.corrupted[i] < 1000) {
      ++random;
      sum += y.corrupted[i];
    }
  }
  const auto expect_share = [](double count, double all, double share) {
    EXPECT_LE(std::abs(count / all - share), 4 * std::sqrt(share * (1 - share) / all));
  };
  expect_share(chosen, static_cast<double>(y.label.size()), 0.5);
  expect_share(masked, chosen, 0.8);
  expect_share(random, chosen, 0.1);
  expect_share(kept, chosen, 0.1);
  EXPECT_LE(std::abs(sum / random - 499.5), 4 * 289 / std::sqrt(random));
  c.mask_share = 0;
  c.random_share = 1;
  const auto all_random = once(c);
  for (size_t i = 0; i < y.label.size(); ++i) {
    EXPECT_EQ(y.label[i], all_random.label[i]);
    if (y.label[i] >= 0) {
      EXPECT_LT(all_random.corrupted[i], 1000);
    }
  }
}

TYPED_TEST(Masks, floatsAndDoublesChooseAlike) {
  using T = TypeParam;
  if (sizeof(T) == 8) return;
  for (int32_t scheme : kSchemes) {
    const int64_t rows = is_simulated() ? 4 : 20;
    Call<T> c{scheme, rows, 100, 15};
    Call<double> d{scheme, rows, 100, 15};
    d.logits.assign(c.logits.begin(), c.logits.end());
    EXPECT_EQ(once(c).label, once(d).label) << scheme;
    EXPECT_EQ(once(c).corrupted, once(d).corrupted) << scheme;
  }
}

// What was chosen and what stands there makes this number, for each scheme: on every library,
// device and order of threads. `make` gives the call of a scheme.
template <class Make>
void expect_bits(const std::vector<uint64_t> &sums, Make make) {
  for (int32_t scheme : kSchemes) {
    const auto c = make(scheme);
    const auto y = once(c);
    expect_sound(c, y);
    uint64_t sum = 0xcbf29ce484222325u;
    for (const auto *part : {&y.label, &y.corrupted}) {
      for (int32_t word : *part) sum = (sum ^ static_cast<uint32_t>(word)) * 0x100000001b3u;
    }
    EXPECT_EQ(sums[scheme], sum) << "scheme " << scheme << std::hex << " 0x" << sum;
  }
}

TYPED_TEST(Masks, areTheBitsOfEveryDevice) {
  using T = TypeParam;
  expect_bits({0x6e07863ad508e0f3, 0xf9ecc4e058a801c7, 0x67d279afe6101ff0, 0x9facab5182920057,
               0x9997d39d8258029c, 0x6f5631cd477b9ff1},
              [](int32_t scheme) {
                Call<T> c{scheme, 9, 130, 0};
                c.rate = 0.2;
                for (T &x : c.logits) x = x * 5 - 2;
                return c;
              });
}

// Rows of which a device's shared memory does not hold all that it needs.
TYPED_TEST(Masks, longRowsAreTheBitsOfEveryDevice) {
  expect_bits({0x05bafd49fbf1aa1a, 0xd350d4e844dfcc45, 0x3c50f0af5fcf3021, 0x4b2d4af993ab1635,
               0x035df4972be6c6d7, 0x6e3463a8b2ff7b76},
              [](int32_t scheme) {
                Call<TypeParam> c{scheme, 1, 2600, 40};
                c.candidates = 2;
                return c;
              });
}

TYPED_TEST(Masks, rowsDoNotKnowTheirNeighbours) {
  using T = TypeParam;
  for (int32_t scheme : kSchemes) {
    Call<T> c{scheme, is_simulated() ? 11 : 19, 50, 9};
    const auto whole = once(c);
    // A row's number belongs to its stream: the first rows alone.
    for (int64_t rows : {1, 3, 10}) {
      Call<T> part = c;
      part.rows = rows;
      const auto y = once(part);
      for (int64_t i = 0; i < rows * 50; ++i) {
        ASSERT_EQ(whole.label[i], y.label[i]) << scheme;
        ASSERT_TRUE(same_bits(whole.inclusion[i], y.inclusion[i])) << scheme;
      }
      for (int64_t r = 0; r < rows; ++r) {
        ASSERT_TRUE(same_bits(whole.log_probability[r], y.log_probability[r])) << scheme;
      }
    }
  }
}

// Against differences of the log-probability of the same set, in double.
TEST(Masks, slopesAreThoseOfTheLogProbability) {
  for (int32_t scheme : kSchemes) {
    for (double wide : {1.0, 3.0}) {
      SCOPED_TRACE(testing::Message() << "scheme " << scheme << " logits " << wide);
      Call<double> c{scheme, is_simulated() ? 2 : 6, 9, 4};
      for (auto &x : c.logits) x *= wide;
      const auto y = everywhere(c);
      const auto d = random_data<double>(c.rows, 3);
      const auto slope = slopes_of(c, y, d);
      for (int64_t i = 0; i < c.rows * c.length; ++i) {
        const double h = 1e-6;
        double at[2];
        for (int side = 0; side < 2; ++side) {
          Call<double> moved = c;
          moved.logits[i] += side == 0 ? h : -h;
          const auto z = once(moved);
          ASSERT_EQ(y.label, z.label) << "the step is too long for this seed";
          at[side] = z.log_probability[i / c.length] * d[i / c.length];
        }
        EXPECT_NEAR((at[0] - at[1]) / (2 * h), slope[i], 1e-7) << i;
      }
    }
  }
}

TYPED_TEST(Masks, slopesOfFloatsAreNearThoseOfDoubles) {
  using T = TypeParam;
  for (int32_t scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    Call<T> c{scheme, 7, 65, 12};
    const auto y = everywhere(c);
    const std::vector<T> d = random_data<T>(c.rows, 3);
    const auto slope = slopes_of(c, y, d);
    Call<double> wide{scheme, 7, 65, 12};
    wide.logits.assign(c.logits.begin(), c.logits.end());
    const auto exact = slopes_of(wide, once(wide), std::vector<double>(d.begin(), d.end()));
    for (size_t i = 0; i < slope.size(); ++i) {
      EXPECT_NEAR(exact[i], slope[i], 2e-5 * std::max(1.0, std::abs(exact[i]))) << i;
    }
  }
}

TEST(Masks, refusesBadArguments) {
  const Machine &m = machines()[0];
  Call<float> c{PND_GUMBEL, 2, 8, 2};
  std::vector<float> p(64), pi(64), w(64);
  std::vector<int32_t> x(64), l(64);
  const auto call = [&](const Call<float> &c) {
    return run(m, c, p.data(), pi.data(), w.data(), x.data(), l.data());
  };
  EXPECT_EQ(PND_OK, call(c));
  const auto refuse = [&](auto change, const char *words) {
    Call<float> wrong = c;
    change(wrong);
    expect_refused(call(wrong), m, words);
  };
  refuse([](auto &c) { c.scheme = 6; }, "scheme = 6");
  refuse([](auto &c) { c.scheme = -1; }, "scheme = -1");
  refuse([](auto &c) { c.k = -1; }, "k = -1");
  refuse([](auto &c) { c.candidates = 0; }, "candidates = 0");
  refuse([](auto &c) { c.candidates = (1 << 20) + 1; }, "candidates");
  refuse([](auto &c) { c.rate = 1.5; }, "rate = 1.5");
  refuse([](auto &c) { c.rate = NAN; }, "rate");
  refuse([](auto &c) { c.floor = -0.1; }, "floor = -0.1");
  refuse([](auto &c) { c.mask_share = 0.95; }, "mask_share = 0.95");
  refuse([](auto &c) { c.random_share = -1; }, "random_share = -1");
  refuse([](auto &c) { c.vocabulary = 0; }, "vocabulary = 0");
  refuse([](auto &c) { c.vocabulary = (int64_t{1} << 31) + 1; }, "vocabulary");
  refuse([](auto &c) { c.mask_token = -1; }, "mask_token = -1");
  refuse([](auto &c) { c.rows = 0; }, "rows = 0");
  Call<float> long_rows = c;
  long_rows.length = 1 << 20;
  long_rows.candidates = 1 << 12;
  expect_refused(call(long_rows), m, "candidates * length");
}

}  // namespace
