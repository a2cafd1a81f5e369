// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "recurrent.h"

namespace {

// What a call is told: where rows begin in the past, resets, lengths (all of them 0); an eps of 0.
enum { kFirst = 1, kResets = 2, kLengths = 4, kNothingRuns = 8, kNoEps = 16 };
constexpr int kAll = kFirst | kResets | kLengths;

struct Sizes {
  int64_t batch, steps, layers, width, inner, heads, kv_heads, head_size, past, room, window;
  bool kept = true;  // whether what the steps remember has an adjoint
  int bounds = 0;    // what is given, of the following

  double eps() const { return bounds & kNoEps ? 0 : 1e-5; }
  int64_t states() const { return batch * steps * (layers + 1) * width; }
  int64_t kv() const { return kv_heads * head_size; }
  int64_t remembered() const { return batch * steps * kv(); }
  int64_t before() const { return batch * room * kv(); }
};

// Around tiles, lanes of positions (32), blocks of depth (256, or 1,024 on a device), groups of
// rows (256) and tasks.
const std::vector<Sizes> &all_sizes() {
  static const std::vector<Sizes> sizes = [] {
    std::vector<Sizes> all{{1, 1, 1, 2, 1, 1, 1, 2, 0, 1, 0},
                           {2, 3, 2, 6, 7, 2, 1, 2, 0, 1, 0, false},
                           {1, 2, 1, 3, 5, 3, 3, 4, 2, 3, 0},
                           {3, 5, 2, 8, 12, 2, 2, 8, 30, 34, 3},
                           {1, 2, 2, 6, 7, 1, 1, 2, 270, 280, 0},
                           {130, 2, 1, 6, 8, 1, 1, 2, 1, 1, 0},
                           {1, 3, 1, 70, 1034, 1, 1, 2, 0, 1, 0},
                           {2, 1, 1, 1034, 2, 1, 1, 2, 2, 2, 0},
                           {4, 5, 2, 6, 7, 2, 1, 2, 0, 1, 0, true, kResets},
                           {3, 4, 2, 6, 5, 2, 1, 2, 34, 35, 0, false, kFirst | kResets},
                           {5, 4, 1, 6, 7, 1, 1, 2, 2, 2, 3, true, kAll},
                           {2, 3, 2, 3, 4, 1, 1, 2, 1, 1, 0, true, kNothingRuns},
                           {4, 3, 1, 6, 7, 1, 1, 2, 1, 1, 0, true, kLengths | kNoEps}};
    if (is_simulated()) return all;
    all.insert(all.end(), {{1, 37, 1, 5, 4, 1, 1, 6, 0, 1, 0},
                           {2, 9, 1, 7, 9, 4, 2, 2, 60, 60, 5},
                           {1, 3, 1, 33, 258, 1, 1, 34, 1, 1, 0, false},
                           {1, 4, 2, 259, 12, 1, 1, 8, 0, 1, 2},
                           {9, 3, 2, 17, 20, 3, 1, 4, 3, 5, 2},
                           {70, 5, 1, 4, 6, 1, 1, 2, 0, 1, 0, false},
                           {257, 2, 2, 6, 3, 1, 1, 2, 1, 1, 0},
                           {9, 40, 2, 17, 20, 3, 1, 4, 40, 45, 0, true, kAll},
                           {70, 7, 1, 4, 6, 1, 1, 2, 3, 3, 5, true, kAll},
                           {260, 3, 2, 6, 3, 1, 1, 2, 0, 1, 0, false, kResets | kLengths},
                           {1, 300, 1, 3, 4, 1, 1, 2, 0, 1, 0, true, kResets}});
    return all;
  }();
  return sizes;
}

constexpr double kBase = 10000;
constexpr int kInputs = 13;
constexpr const char *kNames[kInputs] = {
    "x",    "past_keys", "past_values", "attention_gain", "query", "mix",  "mlp_gain",
    "wide", "narrow",    "share",       "memory_gain",    "key",   "value"};

// x, the past, then the weights, in the header's order; dstates, dkeys, dvalues.
template <class T>
struct Call {
  std::vector<T> in[kInputs], d[3];
  std::vector<int32_t> first, resets, lengths;  // empty: null

  explicit Call(const Sizes &s) {
    const int64_t q = s.heads * s.head_size, before = s.past == 0 ? 0 : s.before();
    const int64_t sizes[kInputs] = {s.batch * s.steps * s.width,
                                    before,
                                    before,
                                    s.layers * s.width,
                                    s.layers * s.width * q,
                                    s.layers * q * s.width,
                                    s.layers * s.width,
                                    s.layers * s.width * s.inner,
                                    s.layers * s.inner * s.width,
                                    s.layers + 1,
                                    s.width,
                                    s.width * s.kv(),
                                    s.width * s.kv()};
    for (int i = 0; i < kInputs; ++i) in[i] = random_data<T>(sizes[i], i + 1);
    const auto scaled = [&](int i, int64_t depth) {
      for (T &w : in[i]) w /= std::sqrt(static_cast<T>(depth));
    };
    for (int i : {4, 7, 11, 12}) scaled(i, s.width);
    scaled(5, q);
    scaled(8, s.inner);
    // Nothing may be read behind the past.
    for (int i : {1, 2}) {
      for (int64_t b = 0; b < s.batch && before > 0; ++b) {
        for (int64_t j = s.past * s.kv(); j < s.room * s.kv(); ++j) {
          in[i][b * s.room * s.kv() + j] = std::numeric_limits<T>::quiet_NaN();
        }
      }
    }
    d[0] = random_data<T>(s.states(), 20);
    if (s.kept) {
      d[1] = random_data<T>(s.remembered(), 21);
      d[2] = random_data<T>(s.remembered(), 22);
    }
    bound(s);
  }

  int64_t length(const Sizes &s, int64_t b) const { return lengths.empty() ? s.steps : lengths[b]; }

  // A fourth of the steps forget; lengths from 0 to all steps. What is not to be read is NaN.
  void bound(const Sizes &s) {
    if (s.bounds & kFirst) first = random_index<int64_t>(s.batch, s.past + 1, 30);
    if (s.bounds & kResets) {
      resets = random_index<int64_t>(s.batch * s.steps, 4, 31);
      for (int32_t &r : resets) r = r == 0 ? -3 : 0;
    }
    if (s.bounds & kLengths) {
      lengths = random_index<int64_t>(s.batch, s.steps + 1, 32);
      lengths[s.batch / 2] = static_cast<int32_t>(s.steps);
    }
    if (s.bounds & kNothingRuns) lengths.assign(s.batch, 0);
    const auto spoil = [](std::vector<T> &x, int64_t row, int64_t from, int64_t to, int64_t size) {
      if (x.empty()) return;
      std::fill(x.begin() + (row + from) * size, x.begin() + (row + to) * size,
                std::numeric_limits<T>::quiet_NaN());
    };
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int i : {1, 2}) spoil(in[i], b * s.room, 0, first.empty() ? 0 : first[b], s.kv());
      spoil(in[0], b * s.steps, length(s, b), s.steps, s.width);
      spoil(d[0], b * s.steps, length(s, b), s.steps, (s.layers + 1) * s.width);
      for (int i : {1, 2}) spoil(d[i], b * s.steps, length(s, b), s.steps, s.kv());
    }
  }
};

template <class T>
const T *given(const std::vector<T> &x) {
  return x.empty() ? nullptr : x.data();
}

// states, keys, values.
template <class T>
std::vector<std::vector<T>> forward(const Sizes &s, const Call<T> &c) {
  return outputs_of<T>(
      {s.states(), s.remembered(), s.remembered()}, [&](const Machine &m, std::vector<T *> to) {
        const auto *in = c.in;
        return PND_ON(m, pnd_feedback, type_of<T>(), to[0], to[1], to[2], in[0].data(),
                      given(in[1]), given(in[2]), in[3].data(), in[4].data(), in[5].data(),
                      in[6].data(), in[7].data(), in[8].data(), in[9].data(), in[10].data(),
                      in[11].data(), in[12].data(), given(c.first), given(c.resets),
                      given(c.lengths), s.batch, s.steps, s.layers, s.width, s.inner, s.heads,
                      s.kv_heads, s.head_size, s.past, s.room, s.window, s.eps(), kBase);
      });
}

// The adjoints of the inputs, in their order.
template <class T>
std::vector<std::vector<T>> backward(const Sizes &s, const Call<T> &c,
                                     const std::vector<std::vector<T>> &found) {
  std::vector<int64_t> sizes;
  for (const auto &x : c.in) sizes.push_back(static_cast<int64_t>(x.size()));
  return outputs_of<T>(sizes, [&](const Machine &m, std::vector<T *> to) {
    const auto *in = c.in;
    T *const no = nullptr;
    return PND_ON(m, pnd_feedback_backward, type_of<T>(), to[0], in[1].empty() ? no : to[1],
                  in[2].empty() ? no : to[2], to[3], to[4], to[5], to[6], to[7], to[8], to[9],
                  to[10], to[11], to[12], c.d[0].data(), given(c.d[1]), given(c.d[2]),
                  found[0].data(), found[1].data(), found[2].data(), given(in[1]), given(in[2]),
                  in[3].data(), in[4].data(), in[5].data(), in[6].data(), in[7].data(),
                  in[8].data(), in[9].data(), in[10].data(), in[11].data(), in[12].data(),
                  given(c.first), given(c.resets), given(c.lengths), s.batch, s.steps, s.layers,
                  s.width, s.inner, s.heads, s.kv_heads, s.head_size, s.past, s.room, s.window,
                  s.eps(), kBase);
  });
}

// Numbers that remember how they were made, so that the formula alone gives its adjoints.
class Tape {
 public:
  struct Number {
    long double value;
    int32_t place;
  };

  Number make(long double value, int32_t a = -1, long double da = 0, int32_t b = -1,
              long double db = 0) {
    nodes_.push_back({a, b, da, db});
    return {value, static_cast<int32_t>(nodes_.size()) - 1};
  }
  Number add(Number a, Number b) { return make(a.value + b.value, a.place, 1, b.place, 1); }
  Number mul(Number a, Number b) {
    return make(a.value * b.value, a.place, b.value, b.place, a.value);
  }
  Number scaled(Number a, long double c) { return make(a.value * c, a.place, c); }
  // f(a), whose derivative there is d.
  Number apply(Number a, long double f, long double d) { return make(f, a.place, d); }

  // The adjoints of all numbers, from those of some.
  std::vector<long double> adjoints(const std::vector<std::pair<Number, long double>> &of) const {
    std::vector<long double> d(nodes_.size());
    for (const auto &[number, adjoint] : of) d[number.place] += adjoint;
    for (size_t i = nodes_.size(); i-- > 0;) {
      const Node &n = nodes_[i];
      if (n.a >= 0) d[n.a] += d[i] * n.da;
      if (n.b >= 0) d[n.b] += d[i] * n.db;
    }
    return d;
  }

 private:
  struct Node {
    int32_t a, b;
    long double da, db;
  };
  std::vector<Node> nodes_;
};

// states, keys and values by the header's formula, then the adjoints of the inputs.
template <class T>
std::vector<std::vector<long double>> plain(const Sizes &s, const Call<T> &c) {
  using N = Tape::Number;
  using Row = std::vector<N>;
  Tape tape;
  Row in[kInputs];
  for (int i = 0; i < kInputs; ++i) {
    for (T x : c.in[i]) in[i].push_back(tape.make(x));
  }
  const auto product = [&](const Row &x, const Row &w, int64_t l, int64_t cols) {
    Row y(cols);
    const int64_t depth = static_cast<int64_t>(x.size());
    for (int64_t j = 0; j < cols; ++j) {
      y[j] = tape.make(0);
      for (int64_t k = 0; k < depth; ++k) {
        y[j] = tape.add(y[j], tape.mul(x[k], w[(l * depth + k) * cols + j]));
      }
    }
    return y;
  };
  const auto norm = [&](const Row &x, const Row &gain, int64_t l) {
    N sum = tape.make(0);
    for (const N &v : x) sum = tape.add(sum, tape.mul(v, v));
    const long double mean = sum.value / s.width + s.eps();
    const N scale = tape.apply(sum, 1 / std::sqrt(mean), -0.5L / s.width / mean / std::sqrt(mean));
    Row y;
    for (int64_t i = 0; i < s.width; ++i) {
      y.push_back(tape.mul(tape.mul(x[i], scale), gain[l * s.width + i]));
    }
    return y;
  };
  const auto turned = [&](Row x, int64_t place) {
    const int64_t half = s.head_size / 2;
    for (size_t h = 0; h < x.size(); h += s.head_size) {
      for (int64_t i = 0; i < half; ++i) {
        const long double angle =
            place * std::pow(static_cast<long double>(kBase), -static_cast<long double>(i) / half);
        const N a = x[h + i], b = x[h + i + half];
        const long double cosine = std::cos(angle), sine = std::sin(angle);
        x[h + i] = tape.add(tape.scaled(a, cosine), tape.scaled(b, -sine));
        x[h + i + half] = tape.add(tape.scaled(a, sine), tape.scaled(b, cosine));
      }
    }
    return x;
  };
  const auto plus = [&](const Row &a, const Row &b) {
    Row y;
    for (size_t i = 0; i < a.size(); ++i) y.push_back(tape.add(a[i], b[i]));
    return y;
  };
  std::vector<std::vector<long double>> results(3);
  std::vector<std::pair<N, long double>> seeds;
  const auto give = [&](int which, const Row &row) {
    for (const N &n : row) {
      const size_t at = results[which].size();
      results[which].push_back(n.value);
      if (!c.d[which].empty() && n.place >= 0) seeds.emplace_back(n, c.d[which][at]);
    }
  };
  const N nothing{0, -1};
  for (int64_t b = 0; b < s.batch; ++b) {
    std::vector<Row> keys, values;
    for (int64_t j = 0; j < s.past; ++j) {
      const int64_t at = (b * s.room + j) * s.kv();
      keys.emplace_back(in[1].begin() + at, in[1].begin() + at + s.kv());
      values.emplace_back(in[2].begin() + at, in[2].begin() + at + s.kv());
    }
    int64_t begin = c.first.empty() ? 0 : c.first[b];
    for (int64_t t = 0; t < s.steps; ++t) {
      if (t >= c.length(s, b)) {
        give(0, Row((s.layers + 1) * s.width, nothing));
        for (int which : {1, 2}) give(which, Row(s.kv(), nothing));
        continue;
      }
      const int64_t place = s.past + t, first = (b * s.steps + t) * s.width;
      if (!c.resets.empty() && c.resets[b * s.steps + t] != 0) begin = place;
      const int64_t from = std::max(begin, s.window == 0 ? 0 : place - s.window);
      std::vector<Row> x{Row(in[0].begin() + first, in[0].begin() + first + s.width)};
      give(0, x[0]);
      for (int64_t l = 0; l < s.layers; ++l) {
        Row y = x[l];
        if (from < place) {
          const int64_t q_width = s.heads * s.head_size;
          const Row q = turned(product(norm(y, in[3], l), in[4], l, q_width), place);
          Row read(q_width);
          for (int64_t h = 0; h < s.heads; ++h) {
            const int64_t g = h / (s.heads / s.kv_heads) * s.head_size;
            Row e;
            N sum = tape.make(0);
            for (int64_t j = from; j < place; ++j) {
              N score = tape.make(0);
              for (int64_t i = 0; i < s.head_size; ++i) {
                score = tape.add(score, tape.mul(q[h * s.head_size + i], keys[j][g + i]));
              }
              const long double exp = std::exp(score.value / std::sqrt(1.0L * s.head_size));
              e.push_back(tape.apply(score, exp, exp / std::sqrt(1.0L * s.head_size)));
              sum = tape.add(sum, e.back());
            }
            const N share = tape.apply(sum, 1 / sum.value, -1 / (sum.value * sum.value));
            for (int64_t i = 0; i < s.head_size; ++i) {
              N out = tape.make(0);
              for (int64_t j = from; j < place; ++j) {
                out = tape.add(out, tape.mul(tape.mul(e[j - from], share), values[j][g + i]));
              }
              read[h * s.head_size + i] = out;
            }
          }
          y = plus(y, product(read, in[5], l, s.width));
        }
        Row gated;
        for (const N &v : product(norm(y, in[6], l), in[7], l, s.inner)) {
          const long double r = std::sqrt(2 / 3.14159265358979323846L), u = v.value;
          const long double h = std::tanh(r * (u + 0.044715L * u * u * u));
          gated.push_back(
              tape.apply(v, u / 2 * (1 + h),
                         (1 + h) / 2 + u / 2 * (1 - h * h) * r * (1 + 3 * 0.044715L * u * u)));
        }
        x.push_back(plus(y, product(gated, in[8], l, s.width)));
        give(0, x.back());
      }
      Row mixed(s.width);
      for (int64_t i = 0; i < s.width; ++i) {
        mixed[i] = tape.make(0);
        for (int64_t l = 0; l <= s.layers; ++l) {
          mixed[i] = tape.add(mixed[i], tape.mul(in[9][l], x[l][i]));
        }
      }
      const Row z = norm(mixed, in[10], 0);
      keys.push_back(turned(product(z, in[11], 0, s.kv()), place));
      values.push_back(product(z, in[12], 0, s.kv()));
      give(1, keys.back());
      give(2, values.back());
    }
  }
  const auto d = tape.adjoints(seeds);
  for (const Row &inputs : in) {
    results.emplace_back();
    for (const N &n : inputs) results.back().push_back(d[n.place]);
  }
  return results;
}

template <class T>
class Feedback : public testing::Test {};
TYPED_TEST_SUITE(Feedback, FloatTypes);

TYPED_TEST(Feedback, matchesItsFormula) {
  using T = TypeParam;
  for (const Sizes &s : all_sizes()) {
    SCOPED_TRACE(testing::Message() << "batch " << s.batch << " steps " << s.steps << " width "
                                    << s.width << " past " << s.past << " bounds " << s.bounds);
    const Call<T> c(s);
    const auto exact = plain(s, c);
    const auto found = forward(s, c);
    for (int i = 0; i < 3; ++i) expect_near<T>(found[i], exact[i], Kind::State);
    const auto slopes = backward(s, c, found);
    for (int i = 0; i < kInputs; ++i) {
      SCOPED_TRACE(kNames[i]);
      expect_near<T>(slopes[i], exact[3 + i], Kind::Gradient);
    }
  }
}

// T steps are T1 and the rest from what the first remembered, in memory with room or without.
TYPED_TEST(Feedback, goesOnFromWhatItRemembers) {
  using T = TypeParam;
  std::vector<Sizes> sizes{{2, 3, 2, 6, 7, 2, 1, 2, 0, 1, 0},
                           {3, 4, 1, 6, 7, 2, 1, 2, 0, 1, 0, true, kResets | kLengths}};
  if (!is_simulated()) {
    sizes.insert(sizes.end(), {{3, 40, 2, 20, 33, 2, 2, 6, 0, 1, 0},
                               {1, 67, 1, 34, 9, 1, 1, 8, 0, 1, 3},
                               {5, 7, 1, 64, 40, 2, 1, 32, 0, 1, 0},
                               {4, 70, 1, 9, 9, 2, 1, 4, 0, 1, 0, true, kResets},
                               {4, 40, 1, 9, 9, 2, 1, 4, 0, 1, 6, true, kResets | kLengths}});
  }
  for (const Sizes &s : sizes) {
    const Call<T> c(s);
    const auto whole = forward(s, c);
    for (int64_t first : {int64_t{1}, s.steps / 2, s.steps - 1}) {
      Sizes cut = s;
      cut.steps = s.steps - first;
      cut.past = first;
      cut.room = first + first % 2;
      cut.bounds = 0;
      Call<T> rest(cut);
      for (int i = 3; i < kInputs; ++i) rest.in[i] = c.in[i];
      const auto take = [&](std::vector<T> &to, int64_t to_rows, const std::vector<T> &from,
                            int64_t start, int64_t rows, int64_t size) {
        for (int64_t b = 0; b < s.batch; ++b) {
          std::copy_n(from.begin() + (b * s.steps + start) * size, rows * size,
                      to.begin() + b * to_rows * size);
        }
      };
      take(rest.in[0], cut.steps, c.in[0], first, cut.steps, s.width);
      for (int i : {1, 2}) take(rest.in[i], cut.room, whole[i], 0, first, s.kv());
      if (!c.resets.empty()) {
        rest.first.assign(s.batch, 0);
        for (int64_t b = 0; b < s.batch; ++b) {
          for (int64_t t = 0; t < s.steps; ++t) {
            const int32_t reset = c.resets[b * s.steps + t];
            if (t >= first) {
              rest.resets.push_back(reset);
            } else if (reset != 0) {
              rest.first[b] = static_cast<int32_t>(t);
            }
          }
        }
      }
      for (int32_t length : c.lengths) {
        rest.lengths.push_back(std::max(0, length - static_cast<int32_t>(first)));
      }
      const auto found = forward(cut, rest);
      for (int i = 0; i < 3; ++i) {
        std::vector<T> want(found[i].size());
        take(want, cut.steps, whole[i], first, cut.steps,
             i == 0 ? (s.layers + 1) * s.width : s.kv());
        expect_equal(found[i], want);
      }
    }
  }
}

TYPED_TEST(Feedback, aSequenceDoesNotKnowItsNeighbours) {
  using T = TypeParam;
  const int64_t batch = is_simulated() ? 3 : 70;
  for (int bounds : {0, kAll}) {
    const Sizes s{batch, 3, 1, 20, 9, 2, 2, 4, 2, 3, 0, true, bounds};
    Sizes alone = s;
    alone.batch = 1;
    const Call<T> c(s);
    const auto whole = forward(s, c), slopes = backward(s, c, whole);
    for (int64_t b : {int64_t{0}, batch / 2, batch - 1}) {
      const auto own = [&](const auto &x) {
        const int64_t size = static_cast<int64_t>(x.size()) / batch;
        return std::decay_t<decltype(x)>(x.begin() + b * size, x.begin() + (b + 1) * size);
      };
      Call<T> one = c;
      for (int i : {0, 1, 2}) {
        one.in[i] = own(c.in[i]);
        one.d[i] = own(c.d[i]);
      }
      for (auto *x : {&one.first, &one.resets, &one.lengths}) *x = own(*x);
      const auto found = forward(alone, one);
      for (int i : {0, 1, 2}) expect_equal(found[i], own(whole[i]));
      const auto d = backward(alone, one, found);
      for (int i : {0, 1, 2}) expect_equal(d[i], own(slopes[i]));
    }
  }
}

// After a reset a row has the states and adjoints of one that begins there, after a past that it
// does not read bit for bit; of one that begins at the first position but for what rotary rounds.
TYPED_TEST(Feedback, aResetBeginsAnew) {
  using T = TypeParam;
  const int64_t steps = is_simulated() ? 5 : 45, start = is_simulated() ? 2 : 37;
  const Sizes s{2, steps, 2, 6, 9, 2, 1, 4, 0, 1, 0, false};
  Call<T> c(s);
  c.resets.assign(s.batch * steps, 0);
  for (int64_t b = 0; b < s.batch; ++b) c.resets[b * steps + start] = 1;
  // Of the steps before, nothing counts. Keys turn with their position, and so do their adjoints,
  // of which none are given.
  const int64_t states = (s.layers + 1) * s.width;
  for (int64_t b = 0; b < s.batch; ++b) {
    std::fill_n(c.d[0].begin() + b * steps * states, start * states, T{0});
  }
  const auto whole = forward(s, c), slopes = backward(s, c, whole);
  const auto after = [&](const std::vector<T> &x) {
    const int64_t row = static_cast<int64_t>(x.size()) / (s.batch * steps);
    std::vector<T> part;
    for (int64_t b = 0; b < s.batch; ++b) {
      part.insert(part.end(), x.begin() + (b * steps + start) * row,
                  x.begin() + (b + 1) * steps * row);
    }
    return part;
  };
  for (int64_t past : {start, int64_t{0}}) {
    Sizes rest = s;
    rest.steps = steps - start;
    rest.past = past;
    rest.room = std::max<int64_t>(1, past);
    Call<T> alone(rest);
    for (int i = 3; i < kInputs; ++i) alone.in[i] = c.in[i];
    alone.in[0] = after(c.in[0]);
    alone.d[0] = after(c.d[0]);
    if (past > 0) {
      alone.first.assign(s.batch, static_cast<int32_t>(past));
      for (int i : {1, 2}) alone.in[i].assign(s.batch * past * s.kv(), NAN);
    }
    const auto found = forward(rest, alone), d = backward(rest, alone, found);
    const auto near = [&](const std::vector<T> &x, const std::vector<T> &y) {
      double largest = 0, distance = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        largest = std::max<double>(largest, std::abs(x[i]));
        distance = std::max<double>(distance, std::abs(x[i] - y[i]));
      }
      EXPECT_LE(distance, (sizeof(T) == 8 ? 1e-12 : 1e-4) * largest);
    };
    for (int i : {0, 2}) {
      past > 0 ? expect_equal(found[i], after(whole[i])) : near(found[i], after(whole[i]));
    }
    past > 0 ? expect_equal(d[0], after(slopes[0])) : near(d[0], after(slopes[0]));
    for (int i = 3; i < kInputs; ++i) near(d[i], slopes[i]);
    const int64_t row = s.width;
    for (int64_t b = 0; b < s.batch; ++b) {
      expect_equal(std::vector<T>(slopes[0].begin() + b * steps * row,
                                  slopes[0].begin() + (b * steps + start) * row),
                   std::vector<T>(start * row, T{0}));
    }
  }
}

// One array may be both weights.
TYPED_TEST(Feedback, keysAndValuesMayShareTheirWeights) {
  using T = TypeParam;
  const Sizes s{2, 3, 1, 6, 7, 2, 2, 4, 0, 1, 0};
  Call<T> c(s);
  c.in[12] = c.in[11];
  const auto want = forward(s, c);
  const auto found = outputs_of<T>(
      {s.states(), s.remembered(), s.remembered()}, [&](const Machine &m, std::vector<T *> to) {
        const auto *in = c.in;
        T *const no = nullptr;
        return PND_ON(m, pnd_feedback, type_of<T>(), to[0], to[1], to[2], in[0].data(), no, no,
                      in[3].data(), in[4].data(), in[5].data(), in[6].data(), in[7].data(),
                      in[8].data(), in[9].data(), in[10].data(), in[11].data(), in[11].data(),
                      nullptr, nullptr, nullptr, s.batch, s.steps, s.layers, s.width, s.inner,
                      s.heads, s.kv_heads, s.head_size, s.past, s.room, s.window, s.eps(), kBase);
      });
  for (int i = 0; i < 3; ++i) expect_equal(found[i], want[i]);
}

TEST(Feedback, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> a[18];
  for (auto &x : a) x.resize(64);
  const auto call = [&](int64_t heads, int64_t size, int64_t past, int64_t room, bool remembers,
                        int32_t dtype = PND_F32, const int32_t *first = nullptr,
                        const int32_t *lengths = nullptr) {
    const float *before = remembers ? a[16].data() : nullptr;
    const int32_t status = pnd_feedback(
        m.context, dtype, a[0].data(), a[1].data(), a[2].data(), a[3].data(), before,
        remembers ? a[17].data() : nullptr, a[4].data(), a[5].data(), a[6].data(), a[7].data(),
        a[8].data(), a[9].data(), a[10].data(), a[11].data(), a[12].data(), a[13].data(), first,
        nullptr, lengths, 1, 2, 1, 2, 2, heads, 2, size, past, room, 0, 1e-5, 10000);
    return found(status, m.context);
  };
  EXPECT_EQ(PND_OK, call(2, 2, 1, 2, true));
  EXPECT_EQ(PND_OK, call(2, 2, 0, 1, false));
  expect_refused(call(3, 2, 1, 2, true), m, "heads = 3 must be a multiple of kv_heads = 2");
  expect_refused(call(2, 3, 1, 2, true), m, "head_size = 3 must be even");
  expect_refused(call(2, 2, 3, 2, true), m, "past = 3");
  expect_refused(call(2, 2, 1, 2, false), m, "past = 1 must be 0 without past_keys");
  expect_refused(call(2, 2, 1, 0, true), m, "room = 0");
  const int32_t all = 2, three = 3, less = -1;
  EXPECT_EQ(PND_OK, call(2, 2, 2, 2, true, PND_F32, &all, &all));
  expect_refused(call(2, 2, 1, 2, true, PND_F32, &all), m, "first[0] = 2 must lie in [0, 2)");
  expect_refused(call(2, 2, 1, 2, true, PND_F32, &less), m, "first[0] = -1");
  expect_refused(call(2, 2, 1, 2, true, PND_F32, nullptr, &three), m,
                 "lengths[0] = 3 must lie in [0, 3)");
  EXPECT_EQ(PND_UNSUPPORTED, call(2, 2, 1, 2, true, PND_BF16));
  EXPECT_NE(std::string::npos, message_of(m).find("bf16"));
}

}  // namespace
