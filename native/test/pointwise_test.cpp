// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class Pointwise : public testing::Test {};
TYPED_TEST_SUITE(Pointwise, FloatTypes);

using Unary = int32_t(pnd_context *, int32_t, void *, const void *, int64_t);
using Binary = int32_t(pnd_context *, int32_t, void *, const void *, const void *, int64_t, int64_t,
                       int64_t);

// The sizes, and two that run on several threads.
std::vector<int64_t> lengths() {
  std::vector<int64_t> all(std::begin(kSizes), std::end(kSizes));
  all.push_back(40003);
  all.push_back(140001);
  return all;
}

// Within `ulps` of the exact value.
template <class T, class F>
void expect_ulps(Unary *unary, const char *name, const std::vector<T> &x, F exact, double ulps) {
  const int64_t n = static_cast<int64_t>(x.size());
  const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
    return m.function(name, unary)(m.context, type_of<T>(), to, x.data(), n);
  });
  for (int64_t i = 0; i < n; ++i) {
    const long double want = exact(static_cast<long double>(x[i]));
    if (std::isnan(want) && std::isnan(y[i])) continue;
    if (static_cast<T>(want) == y[i]) continue;
    const long double error = std::abs(y[i] - want) / ulp_of(static_cast<T>(want));
    ASSERT_LE(error, ulps) << name << "(" << x[i] << ") = " << y[i] << ", not " << want;
  }
}

TYPED_TEST(Pointwise, formulasAreWithinTwoUlp) {
  using T = TypeParam;
  const auto exp = [](long double x) { return std::exp(x); };
  const auto log = [](long double x) { return std::log(x); };
  const auto tanh = [](long double x) { return std::tanh(x); };
  const auto sigmoid = [](long double x) { return 1 / (1 + std::exp(-x)); };
  for (int64_t n : lengths()) {
    for (double scale : {1e-3, 1.0, 30.0}) {
      auto x = random_data<T>(n);
      for (T &v : x) v = static_cast<T>(v * scale);
      expect_ulps(&pnd_exp, "pnd_exp", x, exp, 2);
      expect_ulps(&pnd_tanh, "pnd_tanh", x, tanh, 2);
      expect_ulps(&pnd_sigmoid, "pnd_sigmoid", x, sigmoid, 2);
      for (T &v : x) v = std::abs(v);
      expect_ulps(&pnd_log, "pnd_log", x, log, 2);
    }
    const auto x = extreme_data<T>(n);
    expect_ulps(&pnd_exp, "pnd_exp", x, exp, 2);
    expect_ulps(&pnd_log, "pnd_log", x, log, 2);
    expect_ulps(&pnd_tanh, "pnd_tanh", x, tanh, 2);
    expect_ulps(&pnd_sigmoid, "pnd_sigmoid", x, sigmoid, 2);
  }
}

// A result of 32 MiB and more takes a way of its own to memory.
TEST(Pointwise, aLargeResultIsThatOfItsPieces) {
  if (!has_header_order()) GTEST_SKIP() << "a CPU library's way";
  constexpr int64_t kCount = (1 << 23) + 77, kPiece = 1 << 20, kGuard = 64;
  const auto x = random_data<float>(kCount);
  std::vector<float> pieces(kCount);
  for (const Machine &m : machines()) {
    void *memory = nullptr;
    ASSERT_EQ(PND_OK, PND_ON(m, pnd_allocate, &memory, (kCount + kGuard) * sizeof(float)));
    float *y = static_cast<float *>(memory);
    std::fill_n(y + kCount, kGuard, 7.0f);
    const auto expect_same = [&](const char *name) {
      EXPECT_EQ(0, std::memcmp(pieces.data(), y, kCount * sizeof(float))) << name << m.name;
      EXPECT_EQ(kGuard, std::count(y + kCount, y + kCount + kGuard, 7.0f)) << name << m.name;
    };
    ASSERT_EQ(PND_OK, PND_ON(m, pnd_silu, PND_F32, y, x.data(), kCount));
    for (int64_t i = 0; i < kCount; i += kPiece) {
      ASSERT_EQ(PND_OK, PND_ON(m, pnd_silu, PND_F32, pieces.data() + i, x.data() + i,
                               std::min(kPiece, kCount - i)));
    }
    expect_same("silu, ");
    ASSERT_EQ(PND_OK, PND_ON(m, pnd_affine, PND_F32, y, x.data(), kCount, 3, 1));
    for (int64_t i = 0; i < kCount; i += kPiece) {
      ASSERT_EQ(PND_OK, PND_ON(m, pnd_affine, PND_F32, pieces.data() + i, x.data() + i,
                               std::min(kPiece, kCount - i), 3, 1));
    }
    expect_same("affine, ");
    PND_ON(m, pnd_release, memory);
  }
}

TYPED_TEST(Pointwise, affineIsOneFusedMultiplyAdd) {
  using T = TypeParam;
  for (int64_t n : lengths()) {
    for (const auto &x : {random_data<T>(n), extreme_data<T>(n)}) {
      const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
        return PND_ON(m, pnd_affine, type_of<T>(), to, x.data(), n, 0.1, -1.7);
      });
      std::vector<T> want(n);
      for (int64_t i = 0; i < n; ++i) want[i] = std::fma(T(0.1), x[i], T(-1.7));
      expect_equal(y, want);
    }
  }
}

TYPED_TEST(Pointwise, powersAreProductsQuotientsAndRoots) {
  using T = TypeParam;
  const auto expect = [](const std::vector<T> &x, double exponent, auto f) {
    const int64_t n = static_cast<int64_t>(x.size());
    const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_power, type_of<T>(), to, x.data(), n, exponent);
    });
    std::vector<T> want(n);
    for (int64_t i = 0; i < n; ++i) want[i] = f(x[i]);
    expect_equal(y, want);
  };
  for (int64_t n : lengths()) {
    for (const auto &x : {random_data<T>(n), extreme_data<T>(n)}) {
      expect(x, -2, [](T v) { return 1 / (v * v); });
      expect(x, -1, [](T v) { return 1 / v; });
      expect(x, -0.5, [](T v) { return 1 / std::sqrt(v); });
      expect(x, 0, [](T) { return T{1}; });
      expect(x, 0.5, [](T v) { return std::sqrt(v); });
      expect(x, 1, [](T v) { return v; });
      expect(x, 2, [](T v) { return v * v; });
      expect(x, 3, [](T v) { return v * (v * v); });
    }
  }
}

TYPED_TEST(Pointwise, otherPowersGoThroughExpAndLog) {
  using T = TypeParam;
  auto x = random_data<T>(301);
  for (T &v : x) v = std::abs(v) + T(0.01);
  for (double exponent : {1.7, -0.3, 5.0}) {
    const auto y = output_of<T>(301, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_power, type_of<T>(), to, x.data(), 301, exponent);
    });
    for (size_t i = 0; i < x.size(); ++i) {
      const long double e = static_cast<T>(exponent),
                        size = std::abs(e * std::log((long double)x[i]));
      const long double want = std::pow(static_cast<long double>(x[i]), e);
      ASSERT_LE(std::abs(y[i] - want), want * std::numeric_limits<T>::epsilon() * (2 * size + 2))
          << x[i] << "^" << exponent;
    }
  }
}

// One operation on every shape, with random and with extreme data.
template <class T, class F>
void expect_combined(Binary *binary, const char *name, F f) {
  const int64_t shapes[][3] = {
      {1, 1, 1},     {1, 1, 301},   {7, 3, 17},    {3, 33, 1},  {33, 7, 1},    {1, 301, 3},
      {3, 101, 7},   {2, 65, 33},   {5, 40, 64},   {5, 40, 65}, {3, 2, 301},   {1, 7, 9001},
      {1, 40001, 3}, {301, 301, 1}, {1, 301, 301}, {2, 2, 3},   {1, 1, 90001}, {17, 33, 16}};
  for (const auto &[outer, mid, inner] : shapes) {
    for (bool extreme : {false, true}) {
      const int64_t n = outer * mid * inner;
      const auto a = extreme ? extreme_data<T>(n) : random_data<T>(n, 1);
      auto b = extreme ? extreme_data<T>(outer * inner) : random_data<T>(outer * inner, 2);
      if (extreme) std::rotate(b.begin(), b.begin() + b.size() / 3, b.end());
      const auto y =
          output_of<T>(n, [&, outer = outer, mid = mid, inner = inner](const Machine &m, T *to) {
            return m.function(name, binary)(m.context, type_of<T>(), to, a.data(), b.data(), outer,
                                            mid, inner);
          });
      std::vector<T> want(n);
      for (int64_t i = 0; i < n; ++i) want[i] = f(a[i], b[i / (mid * inner) * inner + i % inner]);
      SCOPED_TRACE(testing::Message() << name << " " << outer << " " << mid << " " << inner);
      expect_equal(y, want);
    }
  }
}

TYPED_TEST(Pointwise, twoOperandsAreBroadcastAndRoundedOnce) {
  using T = TypeParam;
  expect_combined<T>(&pnd_add, "pnd_add", [](T a, T b) { return a + b; });
  expect_combined<T>(&pnd_sub, "pnd_sub", [](T a, T b) { return a - b; });
  expect_combined<T>(&pnd_mul, "pnd_mul", [](T a, T b) { return a * b; });
  expect_combined<T>(&pnd_div, "pnd_div", [](T a, T b) { return a / b; });
  expect_combined<T>(&pnd_maximum, "pnd_maximum", [](T a, T b) { return a < b || b != b ? b : a; });
  expect_combined<T>(&pnd_greater, "pnd_greater", [](T a, T b) { return T(a > b ? 1 : 0); });
}

TEST(Pointwise, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> x(64), y(64), b(8);
  const auto add = [&](int32_t dtype, void *to, const void *left, const void *right, int64_t outer,
                       int64_t mid, int64_t inner) {
    return pnd_add(m.context, dtype, to, left, right, outer, mid, inner);
  };
  expect_refused(add(PND_F32, nullptr, x.data(), b.data(), 1, 8, 8), m, "add: y is null");
  expect_refused(add(PND_F32, y.data(), nullptr, b.data(), 1, 8, 8), m, "a is null");
  expect_refused(add(PND_F32, y.data(), x.data(), nullptr, 1, 8, 8), m, "b is null");
  expect_refused(add(PND_F32, y.data(), y.data(), b.data(), 1, 8, 8), m, "overlaps");
  expect_refused(add(PND_F32, y.data(), y.data() + 63, b.data(), 1, 8, 8), m, "overlaps");
  expect_refused(add(PND_F32, y.data(), x.data(), b.data(), 0, 8, 8), m, "outer = 0");
  expect_refused(add(PND_F32, y.data(), x.data(), b.data(), 1, -1, 8), m, "mid = -1");
  expect_refused(add(PND_F32, y.data(), x.data(), b.data(), 1, int64_t{1} << 40, int64_t{1} << 40),
                 m, "overflows");
  expect_refused(add(PND_F64, reinterpret_cast<char *>(y.data()) + 4, x.data(), b.data(), 1, 1, 1),
                 m, "aligned");
  expect_refused(add(7, y.data(), x.data(), b.data(), 1, 8, 8), m, "dtype = 7");
  expect_refused(add(PND_I32, y.data(), x.data(), b.data(), 1, 8, 8), m, "i32", PND_UNSUPPORTED);
  expect_refused(pnd_exp(m.context, PND_F32, y.data(), x.data(), 0), m, "n = 0");
  expect_refused(pnd_power(m.context, PND_F32, y.data(), y.data(), 8, 2), m, "overlaps");
  EXPECT_EQ(PND_OK, add(PND_F32, y.data(), x.data(), x.data(), 1, 8, 8))
      << "inputs may be one array";
}

}  // namespace
