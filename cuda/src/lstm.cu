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
// Error    relative norm <= 1e-5 in f32 against the exact scan
// Work     8 width^2 flops per step forward, 16 backward, and about 100 width
// Source   Hochreiter, Schmidhuber, Neural Computation 9(8), 1997; the forget gate: Gers,
//          Schmidhuber, Cummins, Neural Computation 12(10), 2000
#include "recurrent.cuh"

namespace {

struct Lstm {
  static constexpr int kGates = 4, kApart = -1;
  static constexpr bool kHasCell = true;

  template <class T>
  __device__ __forceinline__ static T step(const Recurrence<T> &lstm, int64_t b, int64_t t,
                                           int64_t unit, const T (&sum)[kGates]) {
    const int64_t width = lstm.width, at = lstm.row(b, t);
    const T *x = lstm.x + at * kGates * width + unit;
    const T i = sigmoid_of(x[0] + sum[0]), f = sigmoid_of(x[width] + sum[1]);
    const T g = tanh_of(x[2 * width] + sum[2]), o = sigmoid_of(x[3 * width] + sum[3]);
    const T cell = fma(f, lstm.cell(b, t, unit), i * g);
    T *gates = lstm.gates + at * kGates * width + unit;
    gates[0] = i;
    gates[width] = f;
    gates[2 * width] = g;
    gates[3 * width] = o;
    lstm.cells[at * width + unit] = cell;
    return o * tanh_of(cell);
  }

  // From the gradients of the state and the cell after step t to those of the step's gates; dcell
  // becomes that of the cell before. The state before gets nothing but the products.
  template <class T>
  __device__ __forceinline__ static T slopes(const Recurrence<T> &lstm, int64_t b, int64_t t,
                                             int64_t unit, T dh, T &dcell) {
    const int64_t width = lstm.width, at = lstm.row(b, t);
    const T *gates = lstm.gates + at * kGates * width + unit;
    const T i = gates[0], f = gates[width], g = gates[2 * width], o = gates[3 * width];
    const T y = tanh_of(lstm.cells[at * width + unit]);
    const T dc = fma(dh * o, T(1) - y * y, dcell);
    T *dx = lstm.dx + at * kGates * width + unit;
    dx[0] = dc * g * i * (T(1) - i);
    dx[width] = dc * lstm.cell(b, t, unit) * f * (T(1) - f);
    dx[2 * width] = dc * i * (T(1) - g * g);
    dx[3 * width] = dh * y * o * (T(1) - o);
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
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Recurrence<T> lstm{};
    lstm.batch = batch;
    lstm.steps = steps;
    lstm.width = width;
    lstm.hidden = static_cast<T *>(hidden);
    lstm.cells = static_cast<T *>(cells);
    lstm.gates = static_cast<T *>(gates);
    lstm.x = static_cast<const T *>(x);
    lstm.weight = static_cast<const T *>(weight);
    lstm.bias = static_cast<const T *>(bias);
    lstm.initial = static_cast<const T *>(initial_hidden);
    lstm.initial_cell = static_cast<const T *>(initial_cell);
    lstm.resets = resets;
    lstm.lengths = lengths;
    lstm.length_range = {context->faults, kLstmLengths, 0, steps + 1};
    recur<Lstm>(call, context, lstm);
  });
  return call.status();
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
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Recurrence<T> lstm{};
    lstm.batch = batch;
    lstm.steps = steps;
    lstm.width = width;
    lstm.dx = static_cast<T *>(dx);
    lstm.dweight = static_cast<T *>(dweight);
    lstm.dbias = static_cast<T *>(dbias);
    lstm.dinitial = static_cast<T *>(dinitial_hidden);
    lstm.dinitial_cell = static_cast<T *>(dinitial_cell);
    lstm.dhidden = static_cast<const T *>(dhidden);
    lstm.dlast_cell = static_cast<const T *>(dlast_cell);
    lstm.weight = static_cast<const T *>(weight);
    lstm.initial = static_cast<const T *>(initial_hidden);
    lstm.initial_cell = static_cast<const T *>(initial_cell);
    lstm.hidden = static_cast<T *>(const_cast<void *>(hidden));
    lstm.cells = static_cast<T *>(const_cast<void *>(cells));
    lstm.gates = static_cast<T *>(const_cast<void *>(gates));
    lstm.resets = resets;
    lstm.lengths = lengths;
    lstm.length_range = {context->faults, kLstmLengthsBackward, 0, steps + 1};
    recur_back<Lstm>(call, context, lstm);
  });
  return call.status();
}
