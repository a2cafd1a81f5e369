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
#include "activation.h"

#include "guards/activation.h"
#include "map.h"

namespace {

template <class Gate>
int32_t forward(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
                int64_t n) {
  Call call(context, name);
  guard::apply(call, dtype, y, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const auto f = [](auto v) PND_INLINED { return gated<Gate>(v); };
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
    const auto f = [](auto d, auto v) PND_INLINED { return gated_back<Gate>(d, v); };
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
