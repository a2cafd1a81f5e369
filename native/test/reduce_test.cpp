// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class Reduce : public testing::Test {};
TYPED_TEST_SUITE(Reduce, FloatTypes);

constexpr int64_t kShapes[][3] = {
    {1, 1, 1},   {1, 33, 1},   {7, 17, 1},   {301, 3, 1},  {3, 301, 1},   {1, 100003, 1},
    {1, 1, 301}, {3, 7, 17},   {2, 33, 3},   {1, 301, 33}, {7, 31, 301},  {2, 32, 129},
    {33, 2, 2},  {1, 64, 700}, {1, 3001, 7}, {17, 40, 65}, {1, 9001, 64}, {2, 65, 1025}};

// The header's order, in plain code: lane m mod 32, folded 16, 8, 4, 2, 1.
template <class T, class Term>
T lane_sum_of(int64_t n, Term term) {
  T lane[32] = {};
  for (int64_t m = 0; m < n; ++m) lane[m % 32] = term(m, lane[m % 32]);
  for (int w = 16; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) lane[i] += lane[i + w];
  }
  return lane[0];
}

TYPED_TEST(Reduce, sumRunsInTheOrderOfTheHeader) {
  using T = TypeParam;
  if (!has_header_order()) GTEST_SKIP() << "a CUDA library has orders of its own";
  for (const auto &[outer, mid, inner] : kShapes) {
    auto x = random_data<T>(outer * mid * inner);
    if (inner == 17) std::fill(x.begin(), x.end(), -T{0});
    if (inner == 3) x = extreme_data<T>(outer * mid * inner);
    const auto y =
        output_of<T>(outer * inner, [&, o = outer, k = mid, i = inner](const Machine &m, T *to) {
          return PND_ON(m, pnd_sum, type_of<T>(), to, x.data(), o, k, i);
        });
    std::vector<T> want(outer * inner);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        want[o * inner + i] = lane_sum_of<T>(mid, [&, k = mid, n = inner](int64_t m, T lane) {
          return lane + x[(o * k + m) * n + i];
        });
      }
    }
    SCOPED_TRACE(testing::Message() << outer << " " << mid << " " << inner);
    expect_equal(y, want);
  }
}

TYPED_TEST(Reduce, sumIsCloseToTheExactOne) {
  using T = TypeParam;
  for (int64_t n : {1, 3, 7, 17, 33, 301, 100003}) {
    const auto x = random_data<T>(n);
    const auto y = output_of<T>(1, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_sum, type_of<T>(), to, x.data(), 1, n, 1);
    });
    long double exact = 0;
    T plain = 0;
    for (T v : x) exact += v, plain += v;
    expect_close<T>(y, {exact}, {plain});
  }
}

TYPED_TEST(Reduce, sumsOfAnyShapeAreCloseToTheExactOnes) {
  using T = TypeParam;
  for (const auto &[outer, mid, inner] : kShapes) {
    const auto x = random_data<T>(outer * mid * inner);
    const auto y =
        output_of<T>(outer * inner, [&, o = outer, k = mid, i = inner](const Machine &m, T *to) {
          return PND_ON(m, pnd_sum, type_of<T>(), to, x.data(), o, k, i);
        });
    std::vector<long double> exact(outer * inner);
    std::vector<T> plain(outer * inner);
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t at = i / (mid * inner) * inner + i % inner;
      exact[at] += x[i], plain[at] += x[i];
    }
    SCOPED_TRACE(testing::Message() << outer << " " << mid << " " << inner);
    expect_close<T>(y, exact, plain, 1);
  }
}

TYPED_TEST(Reduce, squareSumIsCloseToTheExactOne) {
  using T = TypeParam;
  for (int64_t n : {1, 3, 7, 17, 33, 301, 100003}) {
    const auto x = random_data<T>(n);
    const auto y = output_of<T>(1, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_square_sum, type_of<T>(), to, x.data(), n);
    });
    long double exact = 0;
    T plain = 0;
    for (T v : x) exact += static_cast<long double>(v) * v, plain += v * v;
    expect_close<T>(y, {exact}, {plain});
  }
}

TYPED_TEST(Reduce, squareSumRunsInTheOrderOfTheHeader) {
  using T = TypeParam;
  if (!has_header_order()) GTEST_SKIP() << "a CUDA library has orders of its own";
  for (int64_t n : {1, 3, 7, 17, 33, 301, 100003}) {
    for (const auto &x : {random_data<T>(n), extreme_data<T>(n)}) {
      const auto y = output_of<T>(1, [&](const Machine &m, T *to) {
        return PND_ON(m, pnd_square_sum, type_of<T>(), to, x.data(), n);
      });
      const T want =
          lane_sum_of<T>(n, [&](int64_t i, T lane) { return std::fma(x[i], x[i], lane); });
      expect_equal(y, {want});
    }
  }
}

TYPED_TEST(Reduce, largestIsTheLargestOrNaN) {
  using T = TypeParam;
  const T infinity = std::numeric_limits<T>::infinity();
  for (const auto &[outer, mid, inner] : kShapes) {
    for (int kind = 0; kind < 3; ++kind) {
      auto x = random_data<T>(outer * mid * inner);
      if (kind == 1) std::fill(x.begin(), x.end(), -infinity);
      if (kind == 2) {
        // A NaN at every place of a row in turn, among infinities.
        for (size_t i = 0; i < x.size(); i += 3) x[i] = i % 2 ? infinity : -infinity;
        for (size_t i = 5; i < x.size(); i += mid * inner + inner + 1) x[i] = std::nan("");
      }
      const auto y =
          output_of<T>(outer * inner, [&, o = outer, k = mid, i = inner](const Machine &m, T *to) {
            return PND_ON(m, pnd_largest, type_of<T>(), to, x.data(), o, k, i);
          });
      std::vector<T> want(outer * inner, -infinity);
      for (size_t i = 0; i < x.size(); ++i) {
        T &w = want[i / (mid * inner) * inner + i % inner];
        w = x[i] > w || x[i] != x[i] ? x[i] : w;
      }
      SCOPED_TRACE(testing::Message() << outer << " " << mid << " " << inner << " " << kind);
      expect_equal(y, want);
    }
  }
}

TEST(Reduce, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<double> x(64), y(64);
  expect_refused(pnd_sum(m.context, 1, x.data(), x.data(), 1, 8, 8), m, "sum: x overlaps y");
  expect_refused(pnd_sum(m.context, 1, y.data(), x.data(), 1, 8, 0), m, "inner = 0");
  expect_refused(pnd_largest(m.context, 1, y.data(), nullptr, 1, 8, 8), m, "x is null");
  expect_refused(pnd_largest(m.context, 2, y.data(), x.data(), 1, 8, 8), m, "i32", PND_UNSUPPORTED);
  expect_refused(pnd_square_sum(m.context, 1, y.data(), x.data(), -1), m, "n = -1");
  expect_refused(pnd_square_sum(m.context, 1, x.data() + 63, x.data(), 64), m, "overlaps");
}

}  // namespace
