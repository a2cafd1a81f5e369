// SPDX-License-Identifier: Apache-2.0
// gru: the gated recurrent unit over a sequence, forward and backward through time.
// r = sigmoid(x0 + c0 + W0 h);  z = sigmoid(x1 + c1 + W1 h);  u = c2 + W2 h;  n = tanh(x2 + r u)
// hidden = n + z (h - n), h being the state before the step
// Shapes   x [batch, steps, 3, width]; weight [3, width, width] (output, input); bias [3, width];
//          initial [batch, width]; hidden [batch, steps, width]; gates [batch, steps, 4, width];
//          resets [batch, steps]; lengths [batch]
// Method   recurrent.h's scan
// Order    recurrent.h's, the gates in the order r, z, u
// Error    relative norm <= 1e-5 in f32, 1e-2 in bf16 (gradients 2e-2) against the exact scan
// Work     6 width^2 flops per step forward, 12 backward, and about 100 width
// Source   Cho et al., arXiv:1406.1078; the reset gate stands after the product
#include "guards/gru.h"
#include "recurrent_backward.h"

namespace {

struct Gru {
  static constexpr int kGates = 3;
  static constexpr bool kHasCell = false;

  // Units [unit, unit + cols) of sequence b; x are their inputs, gates width apart, and
  // sum[g * stride] the sums of gate g.
  template <class S>
  PND_INLINE static Vec<Computed<S>> step(const Recurrence<S> &gru, int64_t b, int64_t t,
                                          int64_t unit, int64_t cols, const Computed<S> *sum,
                                          int64_t stride, Vec<Computed<S>> h, const S *x) {
    using T = Computed<S>;
    const int64_t at = gru.row(b, t), width = gru.width;
    const Vec<T> reset = sigmoid_gate(read_some(x, cols) + load(sum));
    const Vec<T> keep = sigmoid_gate(read_some(x + width, cols) + load(sum + stride));
    const Vec<T> u = load(sum + 2 * stride);
    const Vec<T> n = tanh_gate(fma(reset, u, read_some(x + 2 * width, cols)));
    S *gates = gru.gates + at * 4 * width + unit;
    write_some(gates, reset, cols);
    write_some(gates + width, keep, cols);
    write_some(gates + 2 * width, n, cols);
    write_some(gates + 3 * width, u, cols);
    return fma(keep, h - n, n);
  }

  // dx; slope = dr, dz, du; returns z dh.
  template <class S>
  PND_INLINE static Vec<Computed<S>> slopes(const Recurrence<S> &gru, int64_t b, int64_t t,
                                            int64_t unit, int64_t cols, Vec<Computed<S>> dh,
                                            Vec<Computed<S>> (&slope)[kGates], Computed<S> *) {
    using T = Computed<S>;
    const int64_t at = gru.row(b, t), width = gru.width;
    const S *gates = gru.gates + at * 4 * width + unit;
    const Vec<T> one = splat<T>(1), h = read_or_zero(gru.before(b, t), unit, cols);
    const Vec<T> r = read_some(gates, cols), z = read_some(gates + width, cols);
    const Vec<T> n = read_some(gates + 2 * width, cols), u = read_some(gates + 3 * width, cols);
    const Vec<T> dn = dh * (one - z) * (one - n * n);
    slope[0] = dn * u * r * (one - r);
    slope[1] = dh * (h - n) * z * (one - z);
    slope[2] = dn * r;
    S *dx = gru.dx + at * kGates * width + unit;
    write_some(dx, slope[0], cols);
    write_some(dx + width, slope[1], cols);
    write_some(dx + 2 * width, dn, cols);
    return dh * z;
  }

  // du = dn r.
  template <class S>
  PND_INLINE static const S *factor(const Recurrence<S> &gru, int64_t at, int gate) {
    return gate == 2 ? gru.gates + at * 4 * gru.width : nullptr;
  }
};

}  // namespace

int32_t pnd_gru(pnd_context *context, int32_t dtype, void *hidden, void *gates, const void *x,
                const void *weight, const void *bias, const void *initial, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  Call call(context, "gru");
  guard::gru(call, dtype, hidden, gates, x, weight, bias, initial, resets, lengths, batch, steps,
             width);
  return forward<Gru>(call, context, dtype, hidden, nullptr, gates, x, weight, bias, initial,
                      nullptr, resets, lengths, batch, steps, width);
}

int32_t pnd_gru_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t steps, int64_t width) {
  Call call(context, "gru_backward");
  guard::gru_backward(call, dtype, dx, dweight, dbias, dinitial, dhidden, weight, initial, hidden,
                      gates, resets, lengths, batch, steps, width);
  return backward<Gru>(call, context, dtype, dx, dweight, dbias, dinitial, nullptr, dhidden,
                       nullptr, weight, initial, nullptr, hidden, nullptr, gates, resets, lengths,
                       batch, steps, width);
}
