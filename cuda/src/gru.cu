// SPDX-License-Identifier: Apache-2.0
// gru: the gated recurrent unit over a sequence, forward and backward through time.
// r = sigmoid(x0 + c0 + W0 h);  z = sigmoid(x1 + c1 + W1 h);  u = c2 + W2 h;  n = tanh(x2 + r u)
// hidden = n + z (h - n), h being the state before the step
// Shapes   x [batch, steps, 3, width]; weight [3, width, width] (output, input); bias [3, width];
//          initial [batch, width]; hidden [batch, steps, width]; gates [batch, steps, 4, width];
//          resets [batch, steps]; lengths [batch]
// Method   recurrent.cuh's scan
// Order    recurrent.cuh's, the gates in the order r, z, u
// Error    relative norm <= 1e-5 in f32 against the exact scan
// Work     6 width^2 flops per step forward, 12 backward, and about 100 width
// Source   Cho et al., arXiv:1406.1078; the reset gate stands after the product
#include "recurrent.cuh"

namespace {

struct Gru {
  static constexpr int kGates = 3, kApart = 2;
  static constexpr bool kHasCell = false;

  template <class T>
  __device__ __forceinline__ static T step(const Recurrence<T> &gru, int64_t b, int64_t t,
                                           int64_t unit, const T (&sum)[kGates]) {
    const int64_t width = gru.width, at = gru.row(b, t);
    const T *x = gru.x + at * kGates * width + unit;
    const T h = gru.state(b, t, unit), u = sum[2];
    const T r = sigmoid_of(x[0] + sum[0]), z = sigmoid_of(x[width] + sum[1]);
    const T n = tanh_of(fma(r, u, x[2 * width]));
    T *gates = gru.gates + at * 4 * width + unit;
    gates[0] = r;
    gates[width] = z;
    gates[2 * width] = n;
    gates[3 * width] = u;
    return fma(z, h - n, n);
  }

  // From the gradient dh of the state after step t to those of the step's gates; returns z dh.
  template <class T>
  __device__ __forceinline__ static T slopes(const Recurrence<T> &gru, int64_t b, int64_t t,
                                             int64_t unit, T dh, T &) {
    const int64_t width = gru.width, at = gru.row(b, t);
    const T *gates = gru.gates + at * 4 * width + unit;
    const T r = gates[0], z = gates[width], n = gates[2 * width], u = gates[3 * width];
    const T dn = dh * (T(1) - z) * (T(1) - n * n);
    T *dx = gru.dx + at * kGates * width + unit;
    dx[0] = dn * u * r * (T(1) - r);
    dx[width] = dh * (gru.state(b, t, unit) - n) * z * (T(1) - z);
    dx[2 * width] = dn;
    gru.apart[at * width + unit] = dn * r;
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
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Recurrence<T> gru{};
    gru.batch = batch;
    gru.steps = steps;
    gru.width = width;
    gru.hidden = static_cast<T *>(hidden);
    gru.gates = static_cast<T *>(gates);
    gru.x = static_cast<const T *>(x);
    gru.weight = static_cast<const T *>(weight);
    gru.bias = static_cast<const T *>(bias);
    gru.initial = static_cast<const T *>(initial);
    gru.resets = resets;
    gru.lengths = lengths;
    gru.length_range = {context->faults, kGruLengths, 0, steps + 1};
    recur<Gru>(call, context, gru);
  });
  return call.status();
}

int32_t pnd_gru_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t steps, int64_t width) {
  Call call(context, "gru_backward");
  guard::gru_backward(call, dtype, dx, dweight, dbias, dinitial, dhidden, weight, initial, hidden,
                      gates, resets, lengths, batch, steps, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Recurrence<T> gru{};
    gru.batch = batch;
    gru.steps = steps;
    gru.width = width;
    gru.dx = static_cast<T *>(dx);
    gru.dweight = static_cast<T *>(dweight);
    gru.dbias = static_cast<T *>(dbias);
    gru.dinitial = static_cast<T *>(dinitial);
    gru.dhidden = static_cast<const T *>(dhidden);
    gru.weight = static_cast<const T *>(weight);
    gru.initial = static_cast<const T *>(initial);
    gru.hidden = static_cast<T *>(const_cast<void *>(hidden));
    gru.gates = static_cast<T *>(const_cast<void *>(gates));
    gru.resets = resets;
    gru.lengths = lengths;
    gru.length_range = {context->faults, kGruLengthsBackward, 0, steps + 1};
    recur_back<Gru>(call, context, gru);
  });
  return call.status();
}
