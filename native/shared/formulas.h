// SPDX-License-Identifier: Apache-2.0
// formulas: exp, log, tanh and sigmoid from additions, products, quotients, fused multiply-adds and
// bit patterns alone, so that every build and every device computes the same bits.
//
// Each is written once for V: float, double or, where the including file offers them, a vector of
// either. Before this file stand, for the same V (native/src/simd.h for the CPU):
//   fma(a, b, c)           a b + c, rounded once
//   choose(test, a, b)     a where test, else b, per element; choose(a < b, ...) compares V
//   larger(a, b)           a where a > b, else b; smaller(a, b) likewise (b where either is NaN)
//   bits_of(x), of_bits(i) the pattern of x as unsigned integers of its size, and back
//   Element<V>             float or double
// Range    all values: infinities, zeros, subnormals and NaN have the usual results
// Error    exp 1.1, log 0.9, tanh 1.4, sigmoid 1.1 ULP over all floats, and over the doubles tested
// Method   exp: n ln 2 is taken off in two parts (Cody, Waite); log: s = f / (2 + f), as in Tang,
//          ACM TOMS 16(4), 1990; the polynomials are minimax fits made for this file
#pragma once

#include <cstdint>
#include <type_traits>

#ifndef PND_SHARED
#define PND_SHARED inline __attribute__((always_inline))
#endif

// The coefficients of a polynomial. A function returns them: a device has no address for an array
// that a class holds.
template <class T, int n>
struct Terms {
  T c[n];
};
template <class T, class... C>
PND_SHARED constexpr Terms<T, sizeof...(C)> terms(C... c) {
  return {{static_cast<T>(c)...}};
}

// What differs between the two formats. `shift` turns a float within 2^21 (2^50) into one whose low
// bits are its nearest integer.
template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int kMantissa = 23;
  static constexpr uint32_t kFraction = (uint32_t{1} << 23) - 1;
  static constexpr float kWhole = 0x1p23f;
  static constexpr int kBias = 127;
  static constexpr float kShift = 0x1.8p23f;
  static constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  static constexpr float kExpLow = -110.0f, kExpHigh = 90.0f, kTanhOne = 10.0f;
  static constexpr float kLeastNormal = 0x1p-126f;
  PND_SHARED static constexpr auto exp_terms() {
    return terms<float>(0x1p-1f, 0x1.5554dcp-3f, 0x1.5554e8p-5f, 0x1.120c44p-7f, 0x1.6d4e7ep-10f);
  }
  PND_SHARED static constexpr auto weight_terms() {
    return terms<float>(0x1.fffdfcp-2f, 0x1.5557bp-3f, 0x1.572a64p-5f, 0x1.10625p-7f);
  }
  PND_SHARED static constexpr auto tanh_terms() {
    return terms<float>(-0x1.555556p-2f, 0x1.111136p-3f, -0x1.ba193ep-5f, 0x1.65608p-6f,
                        -0x1.14df3p-7f, 0x1.389e68p-9f);
  }
  PND_SHARED static constexpr auto log_terms() {
    return terms<float>(0x1.555556p-1f, 0x1.99987p-2f, 0x1.24c012p-2f, 0x1.ceccecp-3f);
  }
};
template <>
struct Format<double> {
  static constexpr int kMantissa = 52;
  static constexpr uint64_t kFraction = (uint64_t{1} << 52) - 1;
  static constexpr double kWhole = 0x1p52;
  static constexpr int kBias = 1023;
  static constexpr double kShift = 0x1.8p52;
  static constexpr double kLn2High = 0x1.62e42fefa4p-1, kLn2Low = -0x1.8432a1b0e2634p-43;
  static constexpr double kExpLow = -750.0, kExpHigh = 710.0, kTanhOne = 20.0;
  static constexpr double kLeastNormal = 0x1p-1022;
  PND_SHARED static constexpr auto exp_terms() {
    return terms<double>(0x1p-1, 0x1.5555555555557p-3, 0x1.5555555555557p-5, 0x1.1111111110042p-7,
                         0x1.6c16c16c1569bp-10, 0x1.a01a01ac299dcp-13, 0x1.a01a01ab9eda6p-16,
                         0x1.71de0181a768fp-19, 0x1.27e4cf9b08ab5p-22, 0x1.af4f2d00b43aep-26,
                         0x1.1f8718ba82ecp-29);
  }
  PND_SHARED static constexpr auto tanh_terms() {
    return terms<double>(-0x1.5555555555555p-2, 0x1.111111111106p-3, -0x1.ba1ba1ba0df7cp-5,
                         0x1.664f487ed24a9p-6, -0x1.226e34bb1954ap-7, 0x1.d6d3afd7044e8p-9,
                         -0x1.7da12ec1868c5p-10, 0x1.353e4a78f3f98p-11, -0x1.f3d9193d3100cp-13,
                         0x1.8d3276a36e8cp-14, -0x1.2544c38370be7p-15, 0x1.58a1696bb6ee4p-17,
                         -0x1.bd38f012a0027p-20);
  }
  PND_SHARED static constexpr auto log_terms() {
    return terms<double>(0x1.5555555555555p-1, 0x1.9999999999d58p-2, 0x1.249249242f0bep-2,
                         0x1.c71c725c14fa2p-3, 0x1.745cdb92de4ecp-3, 0x1.3b215328f3038p-3,
                         0x1.0f4aafc658f84p-3, 0x1.101db0835cd63p-3);
  }
};

// A constant as V.
template <class V>
PND_SHARED V constant(Element<V> x) {
  if constexpr (std::is_floating_point_v<V>) {
    return x;
  } else {
    return x - V{};  // not x + 0: that would turn -0 into +0
  }
}

// c[0] + c[1] x + c[2] x^2 + ...
template <class V, int kTerms>
PND_SHARED V polynomial(V x, Terms<Element<V>, kTerms> of) {
  V sum = constant<V>(of.c[kTerms - 1]);
  PND_UNROLL
  for (int i = kTerms - 2; i >= 0; --i) sum = fma(sum, x, constant<V>(of.c[i]));
  return sum;
}

// 2^n for whole n with n + bias in [0, 2 bias + 1].
template <class V>
PND_SHARED V power_of_two(V n) {
  using F = Format<Element<V>>;
  return of_bits(bits_of(n + constant<V>(F::kShift + F::kBias)) << F::kMantissa);
}

// x = n ln 2 + r with whole n and |r| <= ln 2 / 2; returns exp r - 1.
template <class V>
PND_SHARED V exp_reduced(V x, V &n) {
  using F = Format<Element<V>>;
  const V shift = constant<V>(F::kShift);
  n = fma(x, constant<V>(static_cast<Element<V>>(0x1.71547652b82fep0)), shift) - shift;
  V r = fma(n, constant<V>(-F::kLn2High), x);
  r = fma(n, constant<V>(-F::kLn2Low), r);
  return fma(polynomial(r, F::exp_terms()), r * r, r);
}

// 2^n as a product of two: one alone could not reach subnormal and the largest results.
template <class V>
PND_SHARED void two_powers(V n, V &first, V &second) {
  using F = Format<Element<V>>;
  // The low bits of `both` are n + 2 bias; each half of that is the exponent field of a power.
  const auto both = bits_of(n + constant<V>(F::kShift + 2 * F::kBias)), half = both >> 1;
  first = of_bits(half << F::kMantissa);
  second = of_bits((both - half) << F::kMantissa);
}

// exp x.
template <class V>
PND_SHARED V exp_of(V x) {
  using F = Format<Element<V>>;
  x = smaller(constant<V>(F::kExpHigh), larger(constant<V>(F::kExpLow), x));
  V n, first, second;
  const V p = exp_reduced(x, n);
  two_powers(n, first, second);
  return fma(p, first, first) * second;
}

// exp x for x <= 64 or NaN, where a result below the least normal number may become 0.
template <class V>
PND_SHARED V exp_of_negative(V x) {
  using F = Format<Element<V>>;
  x = larger(constant<V>(-F::kBias * F::kLn2High), x);
  V n;
  const V p = exp_reduced(x, n);
  const V scale = power_of_two(n);  // n = -bias gives 0
  return fma(p, scale, scale);
}

// exp x for x <= 0 or NaN as a softmax needs it: within 1.7 ULP for x >= -1 and 1.7 + |x| / 8 ULP
// below; what is below the least normal number may become 0. For double it is exp_of_negative.
template <class V>
PND_SHARED V exp_weight(V x) {
  using F = Format<Element<V>>;
  if constexpr (sizeof(Element<V>) == 8) {
    return exp_of_negative(x);
  } else {
    x = larger(constant<V>(-F::kBias * F::kLn2High), x);
    const V shift = constant<V>(F::kShift + F::kBias);
    const V shifted = fma(x, constant<V>(0x1.715476p0f), shift);  // its low bits: n + bias
    const V r = fma(shifted - shift, constant<V>(-0x1.62e43p-1f), x);
    const V p = fma(polynomial(r, F::weight_terms()), r * r, r);
    const V scale = of_bits(bits_of(shifted) << F::kMantissa);
    return fma(p, scale, scale);
  }
}

// y = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for normal y > 0; returns f.
template <class V>
PND_SHARED V log_parts(V y, V &e) {
  using T = Element<V>;
  using F = Format<T>;
  const auto root = bits_of(constant<V>(static_cast<T>(0x1.6a09e667f3bcdp-1)));
  const auto shifted = bits_of(y) + (bits_of(constant<V>(1)) - root);
  e = of_bits((shifted >> F::kMantissa) | bits_of(constant<V>(F::kWhole))) -
      constant<V>(F::kWhole + F::kBias);
  const auto fraction = shifted & F::kFraction;
  return of_bits(fraction + root) - constant<V>(1);
}

// e ln 2 + log(1 + f) for whole e and such an f.
template <class V>
PND_SHARED V log_sum(V e, V f) {
  using T = Element<V>;
  using F = Format<T>;
  const V s = f / (f + constant<V>(2));
  const V z = s * s;
  const V square = f * f * constant<V>(static_cast<T>(0.5));
  const V tail = fma(s, fma(polynomial(z, F::log_terms()), z, square), e * constant<V>(F::kLn2Low));
  return fma(e, constant<V>(F::kLn2High), f - (square - tail));
}

// log x.
template <class V>
PND_SHARED V log_of(V x) {
  using T = Element<V>;
  using F = Format<T>;
  const V zero = constant<V>(0);
  // A subnormal number is scaled up by 2^mantissa first.
  const auto subnormal = x < constant<V>(F::kLeastNormal);
  const V least = choose(subnormal, constant<V>(static_cast<T>(F::kMantissa)), zero);
  V e;
  const V f = log_parts(choose(subnormal, x * constant<V>(F::kWhole), x), e);
  V result = log_sum(e - least, f);
  const V infinity = constant<V>(__builtin_huge_val());
  result = choose(x == zero, -infinity, result);
  result = choose(x == infinity, infinity, result);
  return choose(x >= zero, result, constant<V>(__builtin_nan("")));  // negative and NaN
}

// x with the sign bits of y put in.
template <class V>
PND_SHARED V signed_as(V x, V y) {
  return of_bits(bits_of(x) | (bits_of(y) & bits_of(constant<V>(static_cast<Element<V>>(-0.0)))));
}

// tanh x: an odd polynomial below 0.625, then 1 - 2 / (exp 2|x| + 1).
template <class V>
PND_SHARED V tanh_of(V x) {
  using T = Element<V>;
  using F = Format<T>;
  const V one = constant<V>(1), two = constant<V>(2);
  const V last = constant<V>(F::kTanhOne);  // from here on tanh x rounds to 1
  const V size = larger(-x, x);
  const V bounded = smaller(last, size);
  V n;
  const V p = exp_reduced(bounded + bounded, n);
  const V scale = power_of_two(n);
  const V large = one - two / (fma(p, scale, scale) + one);
  const V square = x * x;
  const V small = fma(polynomial(square, F::tanh_terms()) * square, x, x);
  return choose(size < constant<V>(static_cast<T>(0.625)), small, signed_as(large, x));
}

// 1 / (1 + exp -x). With e = exp -|x|: q = e / (1 + e) is corrected by its remainder, in which the
// rounding errors of e and of 1 + e are known and 1 / (1 + e) is 1 - q; then q or 1 - q.
template <class V>
PND_SHARED V sigmoid_of(V x) {
  using F = Format<Element<V>>;
  const V one = constant<V>(1), zero = constant<V>(0), low = constant<V>(F::kExpLow);
  V n, first, second;
  const V p = exp_reduced(larger(low, smaller(-x, x)), n);
  two_powers(n, first, second);
  const V rounded = one + p;
  const V e = rounded * first * second, e_error = (p - (rounded - one)) * first * second;
  const V sum = one + e, sum_error = e - (sum - one) + e_error;
  V q = e / sum;
  const V remainder = fma(-q, sum, e) + fma(-q, sum_error, e_error);
  q = fma(remainder, one - q, q);
  return choose(x < zero, q, one - q);
}
