// SPDX-License-Identifier: Apache-2.0
// lstm: the long short-term memory over a sequence, forward and backward through time.
// i = sigmoid(x0 + c0 + W0 h);  f = sigmoid(x1 + c1 + W1 h);  g = tanh(x2 + c2 + W2 h);
// o = sigmoid(x3 + c3 + W3 h);  cell = f cell + i g;  hidden = o tanh(cell), h and the first cell
// being the state before the step
// Shapes   x [batch, steps, 4, width]; weight [4, width, width] (output, input); bias [4, width];
//          initial_hidden, initial_cell [batch, width]; hidden, cells [batch, steps, width];
//          gates [batch, steps, 4, width]; resets [batch, steps]; lengths [batch]
// Method   recurrent.h's scan; backward, tanh(cell) is computed again
// Order    recurrent.h's, the gates in the order i, f, g, o
// Error    relative norm <= 1e-5 in f32, 1e-2 in bf16 (gradients 2e-2) against the exact scan
// Work     8 width^2 flops per step forward, 16 backward, and about 100 width
// Source   Hochreiter, Schmidhuber, Neural Computation 9(8), 1997; the forget gate: Gers,
//          Schmidhuber, Cummins, Neural Computation 12(10), 2000
#include "guards/lstm.h"
#include "recurrent_backward.h"

namespace {

struct Lstm {
  static constexpr int kGates = 4;
  static constexpr bool kHasCell = true;

  // Units [unit, unit + cols) of sequence b; x are their inputs, gates width apart, and
  // sum[g * stride] the sums of gate g.
  template <class S>
  PND_INLINE static Vec<Computed<S>> step(const Recurrence<S> &lstm, int64_t b, int64_t t,
                                          int64_t unit, int64_t cols, const Computed<S> *sum,
                                          int64_t stride, Vec<Computed<S>>, const S *x) {
    using T = Computed<S>;
    const int64_t at = lstm.row(b, t), width = lstm.width;
    const Vec<T> i = sigmoid_gate(read_some(x, cols) + load(sum));
    const Vec<T> f = sigmoid_gate(read_some(x + width, cols) + load(sum + stride));
    const Vec<T> g = tanh_gate(read_some(x + 2 * width, cols) + load(sum + 2 * stride));
    const Vec<T> o = sigmoid_gate(read_some(x + 3 * width, cols) + load(sum + 3 * stride));
    const Vec<T> cell = fma(f, read_or_zero(lstm.cell_before(b, t), unit, cols), i * g);
    S *gates = lstm.gates + at * kGates * width + unit;
    write_some(gates, i, cols);
    write_some(gates + width, f, cols);
    write_some(gates + 2 * width, g, cols);
    write_some(gates + 3 * width, o, cols);
    write_some(lstm.cells + at * width + unit, cell, cols);
    return o * tanh_gate(cell);
  }

  // slope = di, df, dg, do, which are dx too; dcell becomes that of the cell before. The state
  // before gets nothing but the products.
  template <class S>
  PND_INLINE static Vec<Computed<S>> slopes(const Recurrence<S> &lstm, int64_t b, int64_t t,
                                            int64_t unit, int64_t cols, Vec<Computed<S>> dh,
                                            Vec<Computed<S>> (&slope)[kGates], Computed<S> *dcell) {
    using T = Computed<S>;
    const int64_t at = lstm.row(b, t), width = lstm.width;
    const S *gates = lstm.gates + at * kGates * width + unit;
    const Vec<T> one = splat<T>(1);
    const Vec<T> before = read_or_zero(lstm.cell_before(b, t), unit, cols);
    const Vec<T> i = read_some(gates, cols), f = read_some(gates + width, cols);
    const Vec<T> g = read_some(gates + 2 * width, cols), o = read_some(gates + 3 * width, cols);
    const Vec<T> y = tanh_of(read_some(lstm.cells + at * width + unit, cols));
    const Vec<T> dc = fma(dh * o, one - y * y, load(dcell));
    slope[0] = dc * g * i * (one - i);
    slope[1] = dc * before * f * (one - f);
    slope[2] = dc * i * (one - g * g);
    slope[3] = dh * y * o * (one - o);
    S *dx = lstm.dx + at * kGates * width + unit;
    PND_UNROLL
    for (int gate = 0; gate < kGates; ++gate) write_some(dx + gate * width, slope[gate], cols);
    store(dcell, dc * f);
    return Vec<T>{};
  }

  template <class S>
  PND_INLINE static const S *factor(const Recurrence<S> &, int64_t, int) {
    return nullptr;
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
  return forward<Lstm>(call, context, dtype, hidden, cells, gates, x, weight, bias, initial_hidden,
                       initial_cell, resets, lengths, batch, steps, width);
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
  return backward<Lstm>(call, context, dtype, dx, dweight, dbias, dinitial_hidden, dinitial_cell,
                        dhidden, dlast_cell, weight, initial_hidden, initial_cell, hidden, cells,
                        gates, resets, lengths, batch, steps, width);
}
