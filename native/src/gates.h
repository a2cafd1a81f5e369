// SPDX-License-Identifier: Apache-2.0
// gates: sigmoid and tanh as the gates of a recurrent cell need them, in half the operations of
// formulas.h's, and each at one quotient: a cell computes many of them beside its products, on the
// same pipes. For double they are formulas.h's.
// Range    all values; a sigmoid below 2^-126 becomes that, NaN stays NaN
// Error    of floats 4 ULP for |x| <= 16, and of the sigmoid below that 3 + |x| / 8
// Method   exp x = 2^n exp r as in exp_weight; tanh x = e / (e + 2) with e = exp 2x - 1: where x is
//          small n is 0, and nothing cancels
#pragma once

#include "simd.h"
// After simd.h, which it builds on.
#include "formulas.h"

// For floats with |x| <= 126 ln 2: x = n ln 2 + r; scale becomes 2^n; returns exp r - 1, from the
// terms of its polynomial after r.
template <int kTerms>
PND_INLINE Vec<float> exp_scaled(Vec<float> x, Terms<float, kTerms> of, Vec<float> &scale) {
  using F = Format<float>;
  const Vec<float> shift = splat(F::kShift + F::kBias);
  const Vec<float> shifted = fma(x, splat(0x1.715476p0f), shift);  // its low bits: n + bias
  const Vec<float> r = fma(shifted - shift, splat(-0x1.62e43p-1f), x);
  scale = of_bits(bits_of(shifted) << F::kMantissa);
  return fma(polynomial(r, of), r * r, r);
}

template <class V>
PND_INLINE V sigmoid_gate(V x) {
  if constexpr (sizeof(Element<V>) == 8) {
    return sigmoid_of(x);
  } else {
    const V one = splat(1.0f), most = splat(87.3f);  // 126 ln 2
    V scale;
    const V p = exp_scaled(smaller(most, larger(-most, -x)), Format<float>::weight_terms(), scale);
    return one / (fma(p, scale, scale) + one);
  }
}

template <class V>
PND_INLINE V tanh_gate(V x) {
  if constexpr (sizeof(Element<V>) == 8) {
    return tanh_of(x);
  } else {
    const V last = splat(Format<float>::kTanhOne);
    const V bounded = smaller(last, larger(-last, x));
    V scale;
    const V p = exp_scaled(bounded + bounded, Format<float>::exp_terms(), scale);
    const V e = fma(p, scale, scale - splat(1.0f));
    return e / (e + splat(2.0f));
  }
}
