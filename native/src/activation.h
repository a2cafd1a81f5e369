// SPDX-License-Identifier: Apache-2.0
// activation.h: the formulas of gelu and silu, on vectors and packs of them. (activation.cpp)
#pragma once

#include <limits>

#include "pack.h"
// After pack.h, which it builds on.
#include "formulas.h"

// From here on the gate is 0 or 1; the slope is computed within, where no product overflows.
template <class V>
PND_INLINE V bounded(V x, double bound) {
  const V low = constant<V>(static_cast<Element<V>>(-bound));
  return smaller(-low, larger(low, x));
}

// -|x|.
template <class V>
PND_INLINE V minus_size(V x) {
  return of_bits(bits_of(x) | bits_of(constant<V>(static_cast<Element<V>>(-0.0))));
}

struct Gelu {
  static constexpr double kBound = 32;
  static constexpr double kLinear = 0x1.9884533d43651p+0;  // 2 sqrt(2/pi)
  static constexpr double kCubic = 0.044715 * kLinear;
  template <class V>
  static PND_INLINE V argument(V x) {
    using T = Element<V>;
    return x *
           fma(x * x, constant<V>(static_cast<T>(kCubic)), constant<V>(static_cast<T>(kLinear)));
  }
  template <class V>
  static PND_INLINE V slope(V x) {
    using T = Element<V>;
    return fma(x * x, constant<V>(static_cast<T>(3 * kCubic)),
               constant<V>(static_cast<T>(kLinear)));
  }
};

struct Silu {
  static constexpr double kBound = 1000;
  template <class V>
  static PND_INLINE V argument(V x) {
    return x;
  }
  template <class V>
  static PND_INLINE V slope(V) {
    return constant<V>(1);
  }
};

// x times its gate.
template <class Gate, class V>
PND_INLINE V gated(V v) {
  const V zero = constant<V>(0), one = constant<V>(1);
  const V e = exp_of_negative(minus_size(Gate::argument(v)));
  // -infinity times the gate 0 would be NaN.
  const V least = constant<V>(std::numeric_limits<Element<V>>::lowest());
  return larger(least, v) * choose(v < zero, e, one) / (one + e);
}

// The adjoint of x from that of the product, d.
template <class Gate, class V>
PND_INLINE V gated_back(V d, V any) {
  const V zero = constant<V>(0), one = constant<V>(1);
  const V v = bounded(any, Gate::kBound);
  const V e = exp_of_negative(minus_size(Gate::argument(v)));
  const V r = one / (one + e);
  return d * fma(v * Gate::slope(v), e * r * r, choose(v < zero, e, one) * r);
}
