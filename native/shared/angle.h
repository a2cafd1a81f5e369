// SPDX-License-Identifier: Apache-2.0
// angle: cosine and sine of doubles, from fused multiply-adds and bit patterns alone (formulas.h
// says what stands before this file).
// Range    |x| <= 2^40; beyond it, and for NaN, the result means nothing
// Error    2^-52 absolutely
// Method   x = k pi/2 + r with pi/2 in two parts; Taylor's series on |r| <= pi/4 + 2^-40, whose
//          first missing terms are below 2^-63; quarter turns by k mod 4
#pragma once

#include "formulas.h"

template <class V>
PND_SHARED void cosine_and_sine(V x, V &cosine, V &sine) {
  static_assert(std::is_same_v<Element<V>, double>);
  constexpr auto cosine_terms =
      terms<double>(-0x1p-1, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
                    -1.0 / 87178291200, 1.0 / 20922789888000);
  constexpr auto sine_terms =
      terms<double>(-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800,
                    1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000);
  const V shift = constant<V>(Format<double>::kShift);
  const V shifted = fma(x, constant<V>(0x1.45f306dc9c883p-1), shift);  // 2 / pi
  const V k = shifted - shift;
  V r = fma(k, constant<V>(-0x1.921fb54442d18p+0), x);
  r = fma(k, constant<V>(-0x1.1a62633145c07p-54), r);
  const V square = r * r;
  const V c = fma(polynomial(square, cosine_terms), square, constant<V>(1));
  const V s = fma(polynomial(square, sine_terms) * square, r, r);
  // The low bits of `shifted` are those of k.
  const auto turn = bits_of(shifted);
  const auto odd = (turn & 1) != 0;
  const V near_cosine = choose(odd, s, c), near_sine = choose(odd, c, s);
  cosine = of_bits(bits_of(near_cosine) ^ (((turn + 1) & 2) << 62));
  sine = of_bits(bits_of(near_sine) ^ ((turn & 2) << 62));
}
