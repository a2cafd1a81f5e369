// SPDX-License-Identifier: Apache-2.0
// activation: gelu and silu, both x times a logistic gate.
// gelu  y = x / (1 + exp -t), t = 2 sqrt(2/pi) (x + 0.044715 x^3): (1 + tanh(t/2)) / 2 is the gate
// silu  y = x / (1 + exp -x)
// With e = exp -|t| and r = 1 / (1 + e) the gate is r or e r, its slope e r^2:
// dx = dy (gate + x t' e r^2)
// Shapes   x, y, dx, dy [n]
// Method   one exponential and one quotient per element; no difference of nearly equal numbers
// Order    each element alone
// Error    <= 2 x the plain loop; -infinity gives -0 and slope 0, +infinity itself and slope 1
// Work     gelu 8 flops and 2 moves per element, backward 16 and 3; silu 4, backward 10
// Source   Hendrycks, Gimpel, arXiv:1606.08415; Elfwing, Uchibe, Doya, arXiv:1702.03118
#include <limits>

#include "map.h"

#include "formulas.h"

namespace {

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

template <class Gate>
int32_t forward(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
                int64_t n) {
  Call call(context, name);
  guard::apply(call, dtype, y, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const auto f = [](auto v) PND_INLINED {
      using V = decltype(v);
      const V zero = constant<V>(0), one = constant<V>(1);
      const V e = exp_of_negative(minus_size(Gate::argument(v)));
      // -infinity times the gate 0 would be NaN.
      const V least = constant<V>(std::numeric_limits<T>::lowest());
      return larger(least, v) * choose(v < zero, e, one) / (one + e);
    };
    map_formula(context, static_cast<T *>(y), n, f, static_cast<const T *>(x));
  });
}

template <class Gate>
int32_t backward(pnd_context *context, const char *name, int32_t dtype, void *dx, const void *dy,
                 const void *x, int64_t n) {
  Call call(context, name);
  guard::apply_backward(call, dtype, dx, dy, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const auto f = [](auto d, auto any) PND_INLINED {
      using V = decltype(d);
      const V zero = constant<V>(0), one = constant<V>(1);
      const V v = bounded(any, Gate::kBound);
      const V e = exp_of_negative(minus_size(Gate::argument(v)));
      const V r = one / (one + e);
      return d * fma(v * Gate::slope(v), e * r * r, choose(v < zero, e, one) * r);
    };
    map_formula(context, static_cast<T *>(dx), n, f, static_cast<const T *>(dy),
                static_cast<const T *>(x));
  });
}

}  // namespace

int32_t pnd_gelu(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return forward<Gelu>(context, "gelu", dtype, y, x, n);
}

int32_t pnd_gelu_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                          const void *x, int64_t n) {
  return backward<Gelu>(context, "gelu_backward", dtype, dx, dy, x, n);
}

int32_t pnd_silu(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return forward<Silu>(context, "silu", dtype, y, x, n);
}

int32_t pnd_silu_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                          const void *x, int64_t n) {
  return backward<Silu>(context, "silu_backward", dtype, dx, dy, x, n);
}
