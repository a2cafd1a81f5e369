// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class Rotary : public testing::Test {};
TYPED_TEST_SUITE(Rotary, FloatTypes);

// batch, steps, heads, head_size, start
constexpr int64_t kShapes[][5] = {{1, 1, 1, 2, 0},    {3, 7, 1, 6, 5},      {2, 33, 3, 34, 0},
                                  {1, 301, 2, 64, 0}, {7, 17, 3, 16, 1000}, {1, 3, 1, 602, 3},
                                  {2, 1, 17, 32, 77}, {3, 200, 4, 32, -100}};

template <class T, class U>
std::vector<U> turned(const std::vector<T> &x, const int64_t (&s)[5], double base, int sign) {
  std::vector<U> y(x.size());
  const int64_t h = s[3] / 2;
  for (int64_t row = 0; row < s[0] * s[1] * s[2]; ++row) {
    const int64_t t = row / s[2] % s[1];
    for (int64_t i = 0; i < h; ++i) {
      const U rate = std::pow(static_cast<U>(base), -static_cast<U>(i) / static_cast<U>(h));
      const U angle = static_cast<U>(s[4] + t) * rate;
      const U c = std::cos(angle), n = std::sin(angle) * static_cast<U>(sign);
      const U a = x[row * 2 * h + i], b = x[row * 2 * h + h + i];
      y[row * 2 * h + i] = a * c - b * n;
      y[row * 2 * h + h + i] = a * n + b * c;
    }
  }
  return y;
}

TYPED_TEST(Rotary, matchesItsDefinitionAndBackwardTurnsBack) {
  using T = TypeParam;
  for (const auto &s : kShapes) {
    for (double base : {10000.0, 2.0}) {
      const int64_t n = s[0] * s[1] * s[2] * s[3];
      const auto x = random_data<T>(n);
      const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
        return PND_ON(m, pnd_rotary, type_of<T>(), to, x.data(), s[0], s[1], s[2], s[3], s[4],
                      base);
      });
      const auto dx = output_of<T>(n, [&](const Machine &m, T *to) {
        return PND_ON(m, pnd_rotary_backward, type_of<T>(), to, y.data(), s[0], s[1], s[2], s[3],
                      s[4], base);
      });
      SCOPED_TRACE(testing::Message() << s[0] << " " << s[1] << " " << s[2] << " " << s[3]);
      expect_close(y, turned<T, long double>(x, s, base, 1), turned<T, T>(x, s, base, 1));
      expect_close(dx, turned<T, long double>(y, s, base, -1), turned<T, T>(y, s, base, -1));
      const double limit = 4 * std::numeric_limits<T>::epsilon();
      for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(x[i], dx[i], limit * 4);
    }
  }
}

// Steps in two parts are the same steps.
TYPED_TEST(Rotary, startContinuesASequence) {
  using T = TypeParam;
  const auto x = random_data<T>(33 * 6);
  const auto part = [&](int64_t first, int64_t last) {
    return output_of<T>((last - first) * 6, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_rotary, type_of<T>(), to, x.data() + first * 6, 1, last - first, 1, 6,
                    first, 1e4);
    });
  };
  auto joined = part(0, 17);
  const auto rest = part(17, 33);
  joined.insert(joined.end(), rest.begin(), rest.end());
  expect_equal(joined, part(0, 33));
}

// Far positions: the angle is taken in double, whatever the type.
TEST(Rotary, isRightFarFromTheStart) {
  for (int64_t start : {int64_t{1000003}, int64_t{1} << 31, (int64_t{1} << 40) - 1}) {
    const std::vector<double> x = {1, 0};
    const auto y = output_of<double>(2, [&](const Machine &m, double *to) {
      return PND_ON(m, pnd_rotary, PND_F64, to, x.data(), 1, 1, 1, 2, start, 1e4);
    });
    EXPECT_NEAR(std::cos(static_cast<long double>(start)), y[0], 1e-15);
    EXPECT_NEAR(std::sin(static_cast<long double>(start)), y[1], 1e-15);
  }
}

TEST(Rotary, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> x(64), y(64);
  const auto turn = [&](float *to, int64_t size, int64_t steps, int64_t start, double base) {
    return pnd_rotary(m.context, 0, to, x.data(), 2, steps, 2, size, start, base);
  };
  EXPECT_EQ(PND_OK, turn(y.data(), 8, 2, 0, 1e4));
  expect_refused(turn(y.data(), 7, 2, 0, 1e4), m, "rotary: head_size = 7 must be even");
  expect_refused(turn(y.data(), 0, 2, 0, 1e4), m, "head_size = 0");
  expect_refused(turn(y.data(), 8, 0, 0, 1e4), m, "steps = 0");
  expect_refused(turn(y.data(), 8, 2, int64_t{1} << 40, 1e4), m, "start");
  expect_refused(turn(y.data(), 8, 2, 0, 0), m, "base = 0 must be positive");
  expect_refused(turn(y.data(), 8, 2, 0, std::nan("")), m, "base");
  expect_refused(turn(y.data(), 8, 2, 0, HUGE_VAL), m, "base");
  expect_refused(turn(x.data(), 8, 2, 0, 1e4), m, "x overlaps y");
  expect_refused(pnd_rotary_backward(m.context, 0, y.data(), nullptr, 2, 2, 2, 8, 0, 1e4), m,
                 "dy is null");
}

}  // namespace
