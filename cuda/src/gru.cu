// SPDX-License-Identifier: Apache-2.0
// gru: the gated recurrent unit over a sequence, forward and backward through time.
// r = sigmoid(x0 + c0 + W0 h);  z = sigmoid(x1 + c1 + W1 h);  u = c2 + W2 h;  n = tanh(x2 + r u)
// hidden = n + z (h - n), h being the state before the step
// Shapes   x [batch, steps, 3, width]; weight [3, width, width] (output, input); bias [3, width];
//          initial [batch, width]; hidden [batch, steps, width]; gates [batch, steps, 4, width];
//          resets [batch, steps]; lengths [batch]
// Method   recurrent.cuh's scan
// Order    recurrent.cuh's, the gates in the order r, z, u
// Error    relative norm <= 1e-5 in f32, 1e-2 in bf16 (gradients 2e-2) against the exact scan
// Work     6 width^2 flops per step forward, 12 backward, and about 100 width
// Source   Cho et al., arXiv:1406.1078; the reset gate stands after the product
#include "guards/gru.h"
#include "recurrent_backward.cuh"

namespace {

struct Gru {
  static constexpr int kGates = 3, kApart = 2;
  static constexpr bool kHasCell = false;

  // Of the unit in row `at` of (batch, step).
  template <class S, class T>
  __device__ __forceinline__ static T step(const Recurrence<S> &gru, int64_t at, int64_t unit,
                                           const T (&x)[kGates], T h, const T (&sum)[kGates]) {
    const int64_t width = gru.width;
    const T u = sum[2], r = sigmoid_of(x[0] + sum[0]), z = sigmoid_of(x[1] + sum[1]);
    const T n = tanh_of(fma(r, u, x[2]));
    S *gates = gru.gates + at * 4 * width + unit;
    gates[0] = stored<S>(r);
    gates[width] = stored<S>(z);
    gates[2 * width] = stored<S>(n);
    gates[3 * width] = stored<S>(u);
    return fma(z, h - n, n);
  }

  template <class S>
  struct Kept {
    Computed<S> r, z, n, u, h;
  };
  template <class S>
  __device__ __forceinline__ static Kept<S> kept(const Recurrence<S> &gru, int64_t b, int64_t t,
                                                 int64_t unit) {
    const int64_t width = gru.width;
    const S *gates = gru.gates + gru.row(b, t) * 4 * width + unit;
    return {widened(gates[0]), widened(gates[width]), widened(gates[2 * width]),
            widened(gates[3 * width]), gru.state(b, t, unit)};
  }

  // From the gradient dh of the state after the step to those of the step's gates; returns z dh.
  template <class S, class T>
  __device__ __forceinline__ static T slopes(const Recurrence<S> &gru, int64_t at, int64_t unit,
                                             const Kept<S> &kept, T dh, T &) {
    const int64_t width = gru.width;
    const auto [r, z, n, u, h] = kept;
    const T dn = dh * (T(1) - z) * (T(1) - n * n);
    S *dx = gru.dx + at * kGates * width + unit;
    dx[0] = stored<S>(dn * u * r * (T(1) - r));
    dx[width] = stored<S>(dh * (h - n) * z * (T(1) - z));
    dx[2 * width] = stored<S>(dn);
    gru.apart[at * width + unit] = stored<S>(dn * r);
    return dh * z;
  }
};

}  // namespace

int32_t pnd_gru(pnd_context *context, int32_t dtype, void *hidden, void *gates, const void *x,
                const void *weight, const void *bias, const void *initial, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  Call call(context, "gru");
  guard::gru(call, dtype, hidden, gates, x, weight, bias, initial, resets, lengths, batch, steps,
             width);
  return forward<Gru>(call, context, dtype, kGruLengths, hidden, nullptr, gates, x, weight, bias,
                      initial, nullptr, resets, lengths, batch, steps, width);
}

int32_t pnd_gru_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t steps, int64_t width) {
  Call call(context, "gru_backward");
  guard::gru_backward(call, dtype, dx, dweight, dbias, dinitial, dhidden, weight, initial, hidden,
                      gates, resets, lengths, batch, steps, width);
  return backward<Gru>(call, context, dtype, kGruLengthsBackward, dx, dweight, dbias, dinitial,
                       nullptr, dhidden, nullptr, weight, initial, nullptr, hidden, nullptr, gates,
                       resets, lengths, batch, steps, width);
}
