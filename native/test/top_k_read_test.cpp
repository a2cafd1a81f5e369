// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "machines.h"

namespace {

template <class T>
class TopKRead : public testing::Test {};
TYPED_TEST_SUITE(TopKRead, FloatTypes);

struct Shape {
  int64_t batch, queries, slots, key_size, value_size, count;
  bool lengths;
  int64_t start = -1;

  // Where the slots end that a query may read.
  int64_t written(int64_t query) const {
    return start < 0 ? slots : std::min(slots, start + query % queries);
  }
};

// Around the tiles, the blocks of 128 slots and 256 queries, the depth (256) and a full count.
constexpr Shape kShapes[] = {{1, 1, 1, 1, 1, 1, false},       {1, 1, 301, 33, 7, 5, false},
                             {3, 7, 17, 3, 33, 4, true},      {2, 33, 129, 17, 17, 17, true},
                             {1, 300, 65, 8, 8, 3, false},    {2, 5, 33, 301, 3, 256, true},
                             {1, 17, 700, 16, 64, 32, false}, {2, 65, 65, 16, 8, 4, false, 0},
                             {2, 17, 40, 5, 3, 7, true, 30}};

template <class T>
struct Inputs {
  std::vector<T> q, keys, values, dout;
  std::vector<int32_t> lengths;
  T scale = static_cast<T>(0.7);

  explicit Inputs(const Shape &s)
      : q(random_data<T>(s.batch * s.queries * s.key_size, 1)),
        keys(random_data<T>(s.batch * s.slots * s.key_size, 2)),
        values(random_data<T>(s.batch * s.slots * s.value_size, 3)),
        dout(random_data<T>(s.batch * s.queries * s.value_size, 4)) {
    // All slots, none, and in between.
    for (int64_t i = 0; s.lengths && i < s.batch * s.queries; ++i) {
      lengths.push_back(static_cast<int32_t>(i * 7 % (s.slots + 1)));
    }
    if (s.lengths) lengths.back() = static_cast<int32_t>(s.slots);
  }
  const int32_t *filled() const { return lengths.empty() ? nullptr : lengths.data(); }
};

template <class T>
struct Answer {
  std::vector<T> out, p;
  std::vector<int32_t> index;
};

template <class T>
Answer<T> forward(const Shape &s, const Inputs<T> &in) {
  std::vector<int32_t> index, first;
  const int64_t reads = s.batch * s.queries * s.count;
  const auto all = outputs_of<T>(
      {s.batch * s.queries * s.value_size, reads}, [&](const Machine &m, std::vector<T *> to) {
        index.assign(reads, -9);
        const int32_t status =
            PND_ON(m, pnd_top_k_read, type_of<T>(), to[0], to[1], index.data(), in.q.data(),
                   in.keys.data(), in.values.data(), in.filled(), s.batch, s.queries, s.slots,
                   s.key_size, s.value_size, s.count, s.start, in.scale);
        m.function("pnd_synchronize", &pnd_synchronize)(m.context);
        if (first.empty()) first = index;
        EXPECT_EQ(first, index) << m.name;
        return status;
      });
  return {all[0], all[1], first};
}

// dq, dkeys, dvalues.
template <class T>
std::vector<std::vector<T>> backward(const Shape &s, const Inputs<T> &in, const Answer<T> &a) {
  return outputs_of<T>(
      {s.batch * s.queries * s.key_size, s.batch * s.slots * s.key_size,
       s.batch * s.slots * s.value_size},
      [&](const Machine &m, std::vector<T *> to) {
        return PND_ON(m, pnd_top_k_read_backward, type_of<T>(), to[0], to[1], to[2], in.dout.data(),
                      in.q.data(), in.keys.data(), in.values.data(), a.p.data(), a.index.data(),
                      s.batch, s.queries, s.slots, s.key_size, s.value_size, s.count, in.scale);
      });
}

// The scores as every library has them.
template <class T>
T score(const Shape &s, const Inputs<T> &in, int64_t query, int64_t slot) {
  const int64_t b = query / s.queries;
  T sum = 0;
  for (int64_t c = 0; c < s.key_size; ++c) {
    sum =
        std::fma(in.q[query * s.key_size + c], in.keys[(b * s.slots + slot) * s.key_size + c], sum);
  }
  return sum * in.scale;
}

// The slots of the best scores, the first `count` of them in a row each.
template <class T>
std::vector<int32_t> best_slots(const Shape &s, const Inputs<T> &in) {
  std::vector<int32_t> index;
  for (int64_t i = 0; i < s.batch * s.queries; ++i) {
    const int64_t length = in.lengths.empty() ? s.slots : in.lengths[i];
    const int64_t filled = std::min(length, s.written(i));
    std::vector<int32_t> order;
    for (int64_t m = 0; m < filled; ++m) {
      if (score(s, in, i, m) > -std::numeric_limits<T>::infinity()) {
        order.push_back(static_cast<int32_t>(m));
      }
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return score(s, in, i, a) > score(s, in, i, b); });
    order.resize(static_cast<size_t>(s.count), -1);
    index.insert(index.end(), order.begin(), order.end());
  }
  return index;
}

// out, p, dq, dkeys, dvalues by the header's formula in R, from slots and scores of T.
template <class R, class T>
std::vector<std::vector<R>> plain(const Shape &s, const Inputs<T> &in,
                                  const std::vector<int32_t> &index) {
  const int64_t rows = s.batch * s.queries, ks = s.key_size, vs = s.value_size;
  std::vector<R> out(rows * vs), p(rows * s.count), dq(rows * ks), dkeys(s.batch * s.slots * ks),
      dvalues(s.batch * s.slots * vs);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t b = i / s.queries;
    const int32_t *slot = &index[i * s.count];
    R sum = 0, mean = 0;
    std::vector<R> dp(s.count);
    for (int64_t j = 0; j < s.count && slot[j] >= 0; ++j) {
      const R from_first = static_cast<R>(score(s, in, i, slot[j])) - score(s, in, i, slot[0]);
      sum += p[i * s.count + j] = std::exp(from_first);
    }
    for (int64_t j = 0; j < s.count && slot[j] >= 0; ++j) {
      p[i * s.count + j] /= sum;
      for (int64_t c = 0; c < vs; ++c) {
        const R value = in.values[(b * s.slots + slot[j]) * vs + c];
        out[i * vs + c] += p[i * s.count + j] * value;
        dp[j] += in.dout[i * vs + c] * value;
      }
      mean += p[i * s.count + j] * dp[j];
    }
    for (int64_t j = 0; j < s.count && slot[j] >= 0; ++j) {
      const R weight = p[i * s.count + j], ds = in.scale * weight * (dp[j] - mean);
      const int64_t row = b * s.slots + slot[j];
      for (int64_t c = 0; c < ks; ++c) {
        dq[i * ks + c] += ds * in.keys[row * ks + c];
        dkeys[row * ks + c] += ds * in.q[i * ks + c];
      }
      for (int64_t c = 0; c < vs; ++c) dvalues[row * vs + c] += weight * in.dout[i * vs + c];
    }
  }
  return {out, p, dq, dkeys, dvalues};
}

template <class T>
void expect_formula(const Shape &s, const Inputs<T> &in) {
  const std::vector<int32_t> index = best_slots(s, in);
  const Answer<T> a = forward(s, in);
  ASSERT_EQ(index, a.index);
  const auto exact = plain<long double>(s, in, index);
  const auto loop = plain<T>(s, in, index);
  expect_close(a.out, exact[0], loop[0]);
  expect_close(a.p, exact[1], loop[1]);
  const auto slopes = backward(s, in, a);
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    expect_close(slopes[i], exact[2 + i], loop[2 + i], 0, 3);
  }
}

TYPED_TEST(TopKRead, matchesItsFormula) {
  for (const Shape &s : shared_out<TypeParam>(kShapes)) {
    SCOPED_TRACE(testing::Message() << "queries " << s.queries << " slots " << s.slots);
    expect_formula(s, Inputs<TypeParam>(s));
  }
}

TYPED_TEST(TopKRead, takesTheLowerOfEqualSlots) {
  for (const Shape &s : shared_out<TypeParam>(kShapes)) {
    SCOPED_TRACE(testing::Message() << "queries " << s.queries << " slots " << s.slots);
    Inputs<TypeParam> in(s);
    for (auto *x : {&in.q, &in.keys}) {
      for (auto &v : *x) v = std::round(v);  // few different scores
    }
    expect_formula(s, in);
  }
}

TYPED_TEST(TopKRead, leavesOutWhatIsNoScore) {
  using T = TypeParam;
  const Shape s{2, 17, 65, 5, 7, 9, false};
  Inputs<T> in(s);
  for (T &x : in.q) x = std::abs(x) + 1;
  const T wrong[] = {std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::infinity()};
  // All slots of the first batch but four, and every third one of the second.
  for (int64_t m = 0; m < s.batch * s.slots; ++m) {
    if (m < s.slots ? m % 16 != 15 : m % 3 == 0) in.keys[m * s.key_size] = wrong[m % 2];
  }
  const std::vector<int32_t> index = best_slots(s, in);
  EXPECT_EQ(-1, index[4]);
  const Answer<T> a = forward(s, in);
  EXPECT_EQ(index, a.index);
  const auto exact = plain<long double>(s, in, index);
  expect_close(a.out, exact[0], plain<T>(s, in, index)[0]);
}

TYPED_TEST(TopKRead, neverReadsSlotsPastTheLength) {
  using T = TypeParam;
  const Shape s{3, 9, 40, 6, 5, 50, true};
  Inputs<T> in(s), spoilt(s);
  for (int64_t i = 0; i < s.batch * s.queries; ++i) {
    const int64_t most = i / s.queries * 19;
    in.lengths[i] = spoilt.lengths[i] = static_cast<int32_t>(most - i % s.queries % (most + 1));
  }
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t m = b * 19; m < s.slots; ++m) {
      spoilt.keys[(b * s.slots + m) * s.key_size] = std::numeric_limits<T>::infinity();
      spoilt.values[(b * s.slots + m) * s.value_size] = std::numeric_limits<T>::quiet_NaN();
    }
  }
  const Answer<T> a = forward(s, in), b = forward(s, spoilt);
  EXPECT_EQ(a.index, b.index);
  expect_equal(a.out, b.out);
  for (int64_t i = 0; i < s.queries * s.value_size; ++i) EXPECT_EQ(T{0}, a.out[i]);
}

TYPED_TEST(TopKRead, refusesAnIndexOutsideTheSlots) {
  const Shape s{1, 2, 5, 3, 3, 2, false};
  const Inputs<TypeParam> in(s);
  const Machine &m = machines()[0];
  std::vector<TypeParam> p(4), dq(6), dkeys(15), dvalues(15);
  const auto status = [&](int32_t slot) {
    const int32_t index[] = {0, 4, slot, 1};
    return found(
        PND_ON(m, pnd_top_k_read_backward, type_of<TypeParam>(), dq.data(), dkeys.data(),
               dvalues.data(), in.dout.data(), in.q.data(), in.keys.data(), in.values.data(),
               p.data(), index, s.batch, s.queries, s.slots, s.key_size, s.value_size, s.count, 1),
        m.context);
  };
  EXPECT_EQ(PND_OK, status(-1)) << message_of(m);
  expect_refused(status(5), m, "index[2] = 5");
  expect_refused(status(-2), m, "index[2] = -2");
}

}  // namespace
