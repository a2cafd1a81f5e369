// SPDX-License-Identifier: Apache-2.0
// bf16 through pnd_cast, against the definition: the nearest of the numbers with 8 bits of
// precision.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "machines.h"

namespace {

// The number with a pattern, from its sign, exponent and fraction.
double number(uint16_t bits) {
  const int exponent = bits >> 7 & 0xff, fraction = bits & 0x7f;
  const double sign = bits >> 15 != 0 ? -1 : 1;
  if (exponent == 0xff) return fraction != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(fraction, -133);
  return sign * std::ldexp(0x80 + fraction, exponent - 134);
}

template <class T>
std::vector<uint16_t> narrowed_on_all(const std::vector<T> &x) {
  return output_of<uint16_t>(x.size(), [&](const Machine &m, uint16_t *y) {
    return PND_ON(m, pnd_cast, PND_BF16, y, x.data(), x.size(), type_of<T>());
  });
}

// Between each two neighbours: the ends, the half and what lies next to it.
template <class T>
void expect_nearest() {
  std::vector<T> x;
  std::vector<uint16_t> expected;
  const auto add = [&](T value, unsigned pattern) {
    x.push_back(value);
    expected.push_back(static_cast<uint16_t>(pattern));
    x.push_back(-value);
    expected.push_back(static_cast<uint16_t>(pattern | 0x8000));
  };
  for (unsigned low = 0; low < 0x7f80; ++low) {
    // What lies beyond half the way to the next power of two is infinity.
    const double next = low == 0x7f7f ? 0x1p128 : number(static_cast<uint16_t>(low + 1));
    const T at = static_cast<T>(number(static_cast<uint16_t>(low)));
    const T half = static_cast<T>((number(static_cast<uint16_t>(low)) + next) / 2);
    add(at, low);
    add(std::nextafter(half, T{0}), low);
    add(half, low + low % 2);
    add(std::nextafter(half, std::numeric_limits<T>::infinity()), low + 1);
  }
  add(std::numeric_limits<T>::infinity(), 0x7f80);
  if (sizeof(T) == 8) add(static_cast<T>(1e300), 0x7f80);
  if (sizeof(T) == 8) add(static_cast<T>(1e-300), 0);
  x.push_back(std::numeric_limits<T>::quiet_NaN());
  expected.push_back(0x7fff);
  expect_equal(narrowed_on_all(x), expected);
}

TEST(Bf16, isTheNearestNumberOfFloats) { expect_nearest<float>(); }

TEST(Bf16, isTheNearestNumberOfDoublesRoundedOnce) { expect_nearest<double>(); }

template <class T>
void expect_widened() {
  std::vector<uint16_t> x(1 << 16);
  std::iota(x.begin(), x.end(), uint16_t{0});
  const auto wide = output_of<T>(x.size(), [&](const Machine &m, T *y) {
    return PND_ON(m, pnd_cast, type_of<T>(), y, x.data(), x.size(), PND_BF16);
  });
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_TRUE(same_bits(wide[i], static_cast<T>(number(x[i])))) << i << ": " << wide[i];
  }
}

TEST(Bf16, keepsItsValueAsAFloat) { expect_widened<float>(); }

TEST(Bf16, keepsItsValueAsADouble) { expect_widened<double>(); }

TEST(Bf16, fillRoundsOnce) {
  // Above the half by less than a float can hold.
  const double above = 1 + 0x1p-8 + 0x1p-40;
  for (int64_t n : kSizes) {
    const auto y = output_of<uint16_t>(n, [&](const Machine &m, uint16_t *to) {
      return PND_ON(m, pnd_fill, PND_BF16, to, n, above);
    });
    expect_equal(y, std::vector<uint16_t>(n, 0x3f81));
  }
}

TEST(Cast, floatsAndDoublesAreRoundedOnce) {
  for (int64_t n : kSizes) {
    const auto doubles = extreme_data<double>(n);
    const auto floats = output_of<float>(n, [&](const Machine &m, float *y) {
      return PND_ON(m, pnd_cast, PND_F32, y, doubles.data(), n, PND_F64);
    });
    const auto back = output_of<double>(n, [&](const Machine &m, double *y) {
      return PND_ON(m, pnd_cast, PND_F64, y, floats.data(), n, PND_F32);
    });
    for (int64_t i = 0; i < n; ++i) {
      const float want = static_cast<float>(doubles[i]);
      ASSERT_TRUE(same_bits(floats[i], want)) << doubles[i];
      ASSERT_TRUE(same_bits(back[i], static_cast<double>(want))) << want;
    }
  }
}

}  // namespace
