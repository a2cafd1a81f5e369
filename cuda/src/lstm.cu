// SPDX-License-Identifier: Apache-2.0
// lstm: the long short-term memory over a sequence, forward and backward through time.
// i = sigmoid(x0 + c0 + W0 h);  f = sigmoid(x1 + c1 + W1 h);  g = tanh(x2 + c2 + W2 h);
// o = sigmoid(x3 + c3 + W3 h);  cell = f cell + i g;  hidden = o tanh(cell), h and the first cell
// being the state before the step
// Shapes   x [batch, steps, 4, width]; weight [4, width, width] (output, input); bias [4, width];
//          initial_hidden, initial_cell [batch, width]; hidden, cells [batch, steps, width];
//          gates [batch, steps, 4, width]; resets [batch, steps]; lengths [batch]
// Method   recurrent.cuh's scan; backward, tanh(cell) is computed again
// Order    recurrent.cuh's, the gates in the order i, f, g, o
// Error    relative norm <= 1e-5 in f32, 1e-2 in bf16 (gradients 2e-2) against the exact scan
// Work     8 width^2 flops per step forward, 16 backward, and about 100 width
// Source   Hochreiter, Schmidhuber, Neural Computation 9(8), 1997; the forget gate: Gers,
//          Schmidhuber, Cummins, Neural Computation 12(10), 2000
#include "guards/lstm.h"
#include "recurrent_backward.cuh"

namespace {

struct Lstm {
  static constexpr int kGates = 4, kApart = -1;
  static constexpr bool kHasCell = true;

  // Of the unit in row `at` of (batch, step).
  template <class S, class T>
  __device__ __forceinline__ static T step(const Recurrence<S> &lstm, int64_t at, int64_t unit,
                                           const T (&x)[kGates], T before, const T (&sum)[kGates]) {
    const int64_t width = lstm.width;
    const T i = sigmoid_of(x[0] + sum[0]), f = sigmoid_of(x[1] + sum[1]);
    const T g = tanh_of(x[2] + sum[2]), o = sigmoid_of(x[3] + sum[3]);
    const T cell = fma(f, before, i * g);
    S *gates = lstm.gates + at * kGates * width + unit;
    gates[0] = stored<S>(i);
    gates[width] = stored<S>(f);
    gates[2 * width] = stored<S>(g);
    gates[3 * width] = stored<S>(o);
    lstm.cells[at * width + unit] = cell;
    return o * tanh_of(cell);
  }

  template <class S>
  struct Kept {
    Computed<S> i, f, g, o, cell, before;
  };
  template <class S>
  __device__ __forceinline__ static Kept<S> kept(const Recurrence<S> &lstm, int64_t b, int64_t t,
                                                 int64_t unit) {
    const int64_t width = lstm.width, at = lstm.row(b, t);
    const S *gates = lstm.gates + at * kGates * width + unit;
    return {widened(gates[0]),         widened(gates[width]),         widened(gates[2 * width]),
            widened(gates[3 * width]), lstm.cells[at * width + unit], lstm.cell(b, t, unit)};
  }

  // From the gradients of the state and the cell after the step to those of the step's gates; dcell
  // becomes that of the cell before. The state before gets nothing but the products.
  template <class S, class T>
  __device__ __forceinline__ static T slopes(const Recurrence<S> &lstm, int64_t at, int64_t unit,
                                             const Kept<S> &kept, T dh, T &dcell) {
    const int64_t width = lstm.width;
    const auto [i, f, g, o, cell, before] = kept;
    const T y = tanh_of(cell);
    const T dc = fma(dh * o, T(1) - y * y, dcell);
    S *dx = lstm.dx + at * kGates * width + unit;
    dx[0] = stored<S>(dc * g * i * (T(1) - i));
    dx[width] = stored<S>(dc * before * f * (T(1) - f));
    dx[2 * width] = stored<S>(dc * i * (T(1) - g * g));
    dx[3 * width] = stored<S>(dh * y * o * (T(1) - o));
    dcell = dc * f;
    return 0;
  }
};

}  // namespace

int32_t pnd_lstm(pnd_context *context, int32_t dtype, void *hidden, void *cells, void *gates,
                 const void *x, const void *weight, const void *bias, const void *initial_hidden,
                 const void *initial_cell, const int32_t *resets, const int32_t *lengths,
                 int64_t batch, int64_t steps, int64_t width) {
  Call call(context, "lstm");
  guard::lstm(call, dtype, hidden, cells, gates, x, weight, bias, initial_hidden, initial_cell,
              resets, lengths, batch, steps, width);
  return forward<Lstm>(call, context, dtype, kLstmLengths, hidden, cells, gates, x, weight, bias,
                       initial_hidden, initial_cell, resets, lengths, batch, steps, width);
}

int32_t pnd_lstm_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight, void *dbias,
                          void *dinitial_hidden, void *dinitial_cell, const void *dhidden,
                          const void *dlast_cell, const void *weight, const void *initial_hidden,
                          const void *initial_cell, const void *hidden, const void *cells,
                          const void *gates, const int32_t *resets, const int32_t *lengths,
                          int64_t batch, int64_t steps, int64_t width) {
  Call call(context, "lstm_backward");
  guard::lstm_backward(call, dtype, dx, dweight, dbias, dinitial_hidden, dinitial_cell, dhidden,
                       dlast_cell, weight, initial_hidden, initial_cell, hidden, cells, gates,
                       resets, lengths, batch, steps, width);
  return backward<Lstm>(call, context, dtype, kLstmLengthsBackward, dx, dweight, dbias,
                        dinitial_hidden, dinitial_cell, dhidden, dlast_cell, weight, initial_hidden,
                        initial_cell, hidden, cells, gates, resets, lengths, batch, steps, width);
}
