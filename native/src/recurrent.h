// SPDX-License-Identifier: Apache-2.0
// recurrent: the scan that recurrent cells share, forward and backward through time. A cell says
// what a unit does with the products of the state; the products, the order of the steps, cleared
// states and sequences of different lengths are the same for all.
// A cell is a struct with
//   kGates     products with the state per unit, each with a weight [width, width] and a bias
//   kHasCell   whether it carries a cell beside the hidden state
//   step       the state of some units after a step, from the sums of their gates
//   slopes     the derivatives of those sums, from that of the state; what the state before it gets
//              beside the products
//   factor     what dx is multiplied by to be the derivative of a sum; null for 1
// Method   the weights are packed once per call. A tile holds the gates of a few units for a panel
//          of sequences, so that the state follows from registers; a sequence never waits for
//          another. The sequences of a task stand by length, the longest first, so that those which
//          still run are the first ones. Backward: the same scan from the end, then one product for
//          dweight. bf16 is multiplied as tile_bf16.h does it and computed in floats: a state is
//          rounded once, as it is stored and as the next step reads it, the slopes as they are
//          multiplied; the carried gradient, the cells and the bias are floats
// Order    each gate is one chain over the inputs that starts from the bias; the carried gradient
//          one chain over the gates and their outputs that starts from what slopes gives; dweight
//          one chain over the (batch, step) that ran; dbias in 32 lanes over them; of bf16, chains
//          as tile_bf16.h has them
// Parallel over sequences; dweight and dbias over outputs
#pragma once

#include <numeric>

#include "context.h"
#include "gates.h"
#include "recurrence.h"
#include "tile_bf16.h"

constexpr int64_t kMostRows = 64;  // sequences of one task

// The arrays of a call: those that its cell or direction lacks are null.
template <class S>
struct Recurrence {
  using Stored = S;
  using T = Computed<S>;
  int64_t batch, steps, width;
  S *hidden, *gates, *dx, *dweight, *dinitial;
  T *cells, *dbias, *dinitial_cell;
  const S *x, *weight, *initial, *dhidden;
  const T *bias, *initial_cell, *dlast_cell;
  const int32_t *resets, *lengths;

  int64_t row(int64_t b, int64_t t) const { return b * steps + t; }
  int64_t length(int64_t b) const { return lengths == nullptr ? steps : lengths[b]; }
  bool is_reset(int64_t b, int64_t t) const { return resets != nullptr && resets[row(b, t)] != 0; }
  // The state (cell) before step t; null where it is cleared.
  const S *before(int64_t b, int64_t t) const { return before(hidden, initial, b, t); }
  const T *cell_before(int64_t b, int64_t t) const { return before(cells, initial_cell, b, t); }

 private:
  template <class A>
  const A *before(const A *states, const A *first, int64_t b, int64_t t) const {
    if (is_reset(b, t)) return nullptr;
    return t == 0 ? first + b * width : states + row(b, t - 1) * width;
  }
};

template <class S>
PND_INLINE Vec<Computed<S>> read_or_zero(const S *p, int64_t i, int64_t cols) {
  return p == nullptr ? Vec<Computed<S>>{} : read_some(p + i, cols);
}

// Elements [column, column + cols) of a row of an operand, which no cut of it parts.
template <class S>
PND_INLINE void put(Rows<UnitOf<S>> rows, int64_t row, int64_t column, Vec<Computed<S>> x,
                    int64_t cols) {
  using U = UnitOf<S>;
  U *to = rows.at(row, column / kPerUnit<U>);
  if constexpr (kPerUnit<U> == 2) {
    write_some(reinterpret_cast<Bf16 *>(to) + column % 2, x, cols);
  } else {
    store_some(to, rounded<S>(x), cols);
  }
}
template <class S>
PND_INLINE Vec<Computed<S>> get(Rows<UnitOf<S>> rows, int64_t row, int64_t column, int64_t cols) {
  using U = UnitOf<S>;
  const U *from = rows.at(row, column / kPerUnit<U>);
  if constexpr (kPerUnit<U> == 2) {
    return read_some(reinterpret_cast<const Bf16 *>(from) + column % 2, cols);
  } else {
    return load_some(from, cols);
  }
}

// The most sequences of a tile with one vector per gate: 24 sums of 32 registers, 12 of 16.
#if defined(__AVX512F__)
template <class Cell>
constexpr int kGateRows = 24 / Cell::kGates;
#else
template <class Cell>
constexpr int kGateRows = 12 / Cell::kGates;
#endif

// Sequences cut into tasks: as many in one as keep the weights' panels busy, as few as keep the
// threads busy. Task k has the sequences k, k + count, .. of those in the order of their lengths.
template <class Cell>
struct Tasks {
  int64_t most, count;

  Tasks(int64_t batch, int64_t threads) {
    const int64_t even = (batch + threads - 1) / threads;
    most = std::min(kMostRows, (even + kGateRows<Cell> - 1) / kGateRows<Cell> * kGateRows<Cell>);
    count = (batch + most - 1) / most;
  }
};

// The sequences of a task. Those that run at a step are the first ones.
template <class S>
struct Group {
  const Recurrence<S> &all;
  const int64_t *order;
  int64_t first, step, rows;

  Group(const Recurrence<S> &r, const int64_t *order, int64_t task, int64_t tasks)
      : all(r),
        order(order),
        first(task),
        step(tasks),
        rows((r.batch - task + tasks - 1) / tasks) {}
  int64_t operator[](int64_t r) const { return order[first + r * step]; }
  int64_t length(int64_t r) const { return all.length((*this)[r]); }
};

// The sequences, the longest first.
template <class S>
void put_in_order(const Recurrence<S> &all, int64_t *order) {
  std::iota(order, order + all.batch, 0);
  if (all.lengths == nullptr) return;
  std::sort(order, order + all.batch, [&](int64_t a, int64_t b) {
    return all.lengths[a] != all.lengths[b] ? all.lengths[a] > all.lengths[b] : a < b;
  });
}

// weight as [panel][input][gate][kSpan vectors of outputs], inputs in pairs where they are
// multiplied so, and bias as [panel][gate][...]; outputs rounded up to whole panels with zeros.
template <class S, class Cell, int kSpan>
struct Packed {
  using T = Computed<S>;
  using U = UnitOf<S>;
  static constexpr int64_t kUnits = kSpan * kWidth<T>, kRow = Cell::kGates * kUnits;
  static int64_t panels(int64_t width) { return (width + kUnits - 1) / kUnits; }
  static int64_t panel_size(int64_t width) { return units_of<U>(width) * kRow; }

  U *weight;
  T *bias;

  void pack_panel(const Recurrence<S> &all, int64_t panel) const {
    const int64_t width = all.width, first = panel * kUnits, n = std::min(kUnits, width - first);
    U *to = weight + panel * panel_size(width);
    T *biases = bias + panel * kRow;
    if (n < kUnits) {
      std::memset(static_cast<void *>(to), 0, panel_size(width) * sizeof(U));
      std::memset(biases, 0, kRow * sizeof(T));
    }
    for (int gate = 0; gate < Cell::kGates; ++gate) {
      pack_gate(to + gate * kUnits, all.weight + (gate * width + first) * width, width, n);
      std::memcpy(biases + gate * kUnits, all.bias + gate * width + first, n * sizeof(T));
    }
  }

 private:
  // to[k][j] = from[j][k] of n rows.
  static void pack_gate(U *to, const S *from, int64_t width, int64_t n) {
    constexpr int64_t kBlock = 32 / static_cast<int64_t>(sizeof(U)), kRun = 64;
    const int64_t depth = units_of<U>(width);
    U run[kBlock * kRun];
    for (int64_t j = 0; j < n; j += kBlock) {
      const int64_t rows = std::min(kBlock, n - j);
      for (int64_t first = 0; first < depth; first += kRun) {
        const int64_t cols = std::min(kRun, depth - first);
        const U *block = run;
        int64_t stride = kRun;
        if constexpr (std::is_same_v<S, U>) {
          block = from + j * width + first;
          stride = width;
        } else {
          const int64_t k = first * kPerUnit<U>, count = std::min(kRun * kPerUnit<U>, width - k);
          for (int64_t r = 0; r < rows; ++r) {
            pack_run(run + r * kRun, from + (j + r) * width + k, count);
          }
        }
        const int64_t whole = rows == kBlock ? cols / kBlock * kBlock : 0;
        U *out = to + first * kRow + j;
        for (int64_t k = 0; k < whole; k += kBlock) {
          transpose_block(block + k, stride, out + k * kRow, kRow);
        }
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t k = whole; k < cols; ++k) out[k * kRow + r] = block[r * stride + k];
        }
      }
    }
  }
};

// Asks for what step t of a sequence reads and writes of some units.
template <class S, class Cell>
PND_INLINE void ask_ahead(const Recurrence<S> &all, int64_t b, int64_t t, int64_t unit) {
  const int64_t width = all.width, at = all.row(b, t) * width + unit;
  PND_UNROLL
  for (int g = 0; g < 4; ++g) __builtin_prefetch(all.gates + at * 4 - 3 * unit + g * width, 1);
  __builtin_prefetch(all.hidden + at, 1);
  if constexpr (Cell::kHasCell) __builtin_prefetch(all.cells + at, 1);
  const S *x = all.x + at * Cell::kGates - (Cell::kGates - 1) * unit;
  PND_UNROLL
  for (int g = 0; g < Cell::kGates; ++g) __builtin_prefetch(x + g * width);
}

// One step of kRows sequences from `row` on of a group: the units of one panel. `state` is the
// operand before the step, `next` the one after it.
template <class S, class Cell, int kRows, int kSpan>
__attribute__((noinline)) void step_panel(const Group<S> &group, Packed<S, Cell, kSpan> packed,
                                          int64_t panel, int64_t t, int64_t row,
                                          Rows<UnitOf<S>> state, Rows<UnitOf<S>> next) {
  using P = Packed<S, Cell, kSpan>;
  using T = Computed<S>;
  const Recurrence<S> &all = group.all;
  const int64_t width = all.width;
  Tile<UnitOf<S>, kRows, Cell::kGates * kSpan> tile;
  tile.load_from(packed.bias + panel * P::kRow, 0);
  // Sequences lie far apart, and the gates would wait for what they read and write: row by row it
  // comes while the products run.
  using U = UnitOf<S>;
  const int64_t depth = units_of<U>(width), part = depth / kRows & -4;
  const U *weight = packed.weight + panel * P::panel_size(width);
  for (int64_t r = 0, k = 0; r < kRows; ++r) {
    ask_ahead<S, Cell>(all, group[row + r], t, panel * P::kUnits);
    const int64_t end = r + 1 == kRows ? depth : k + part;
    for (int64_t n; k < end; k += n) {
      n = std::min(kDepth - k % kDepth, end - k);
      tile.template add_product<kRowStride<U>, 1>(state.at(row, k), weight + k * P::kRow, P::kRow,
                                                  n);
    }
  }
  T sums[kRows * P::kRow];
  tile.store_to(sums, P::kRow);
  for (int r = 0; r < kRows; ++r) {
    const int64_t b = group[row + r];
    for (int s = 0; s < kSpan; ++s) {
      const int64_t unit = panel * P::kUnits + s * kWidth<T>;
      const T *sum = sums + r * P::kRow + s * kWidth<T>;
      const auto step = [&](int64_t cols) PND_INLINED {
        const Vec<T> h = get<S>(state, row + r, unit, cols);
        const Vec<T> after = Cell::step(all, b, t, unit, cols, sum, P::kUnits, h,
                                        all.x + all.row(b, t) * Cell::kGates * width + unit);
        write_some(all.hidden + all.row(b, t) * width + unit, after, cols);
        put<S>(next, row + r, unit, after, cols);
      };
      // A whole vector is a case of its own, with no question at each of its loads and stores.
      if (width - unit >= kWidth<T>) {
        step(kWidth<T>);
      } else if (width > unit) {
        step(width - unit);
      }
    }
  }
}

// The steps at which a sequence stands still.
template <class S, class Cell>
void stand_still(const Recurrence<S> &all, int64_t b) {
  const int64_t length = all.length(b), rest = all.steps - length, width = all.width;
  if (rest == 0) return;
  const auto repeat = [&](auto *states, const auto *first) {
    const auto *last = length == 0 ? first + b * width : states + all.row(b, length - 1) * width;
    for (int64_t t = length; t < all.steps; ++t) {
      std::memcpy(states + all.row(b, t) * width, last, width * sizeof *states);
    }
  };
  repeat(all.hidden, all.initial);
  if constexpr (Cell::kHasCell) repeat(all.cells, all.initial_cell);
  std::memset(static_cast<void *>(all.gates + all.row(b, length) * 4 * width), 0,
              rest * 4 * width * sizeof(S));
}

template <class S, class Cell, int kSpan>
void scan(pnd_context *context, const Recurrence<S> &all) {
  using P = Packed<S, Cell, kSpan>;
  using U = UnitOf<S>;
  constexpr int kHeight = kGateRows<Cell> / kSpan;
  const int64_t width = all.width, depth = units_of<U>(width);
  const Tasks<Cell> tasks(all.batch, context->threads);
  Scratch shared(context, kShared);
  const P packed{shared.take<U>(P::panels(width) * P::panel_size(width)),
                 shared.take<Computed<S>>(P::panels(width) * P::kRow)};
  int64_t *order = shared.take<int64_t>(all.batch);
  put_in_order(all, order);
  parallel(context, P::panels(width), [&](int64_t panel, int) { packed.pack_panel(all, panel); });
  parallel(context, tasks.count, [&](int64_t task, int worker) {
    const Group<S> group(all, order, task, tasks.count);
    Scratch scratch(context, worker);
    Rows<U> state{scratch.take<U>(Rows<U>::size(tasks.most, depth)), group.rows};
    Rows<U> next{scratch.take<U>(Rows<U>::size(tasks.most, depth)), group.rows};
    for (int64_t r = 0; r < group.rows; ++r) {
      // What a last pair lacks stays zero.
      state.clear(r, depth);
      next.clear(r, depth);
      const S *first = all.initial + group[r] * width;
      for (int64_t i = 0; i < width; i += kWidth<Computed<S>>) {
        put<S>(state, r, i, read_some(first + i, width - i), width - i);
      }
    }
    int64_t rows = group.rows;
    for (int64_t t = 0; t < all.steps; ++t) {
      while (rows > 0 && group.length(rows - 1) <= t) --rows;
      if (rows == 0) break;
      for (int64_t r = 0; all.resets != nullptr && r < rows; ++r) {
        if (all.is_reset(group[r], t)) state.clear(r, depth);
      }
      const int64_t heights = (rows + kHeight - 1) / kHeight;
      for (int64_t panel = 0; panel < P::panels(width); ++panel) {
        for (int64_t p = 0; p < heights; ++p) {
          const int64_t row = panel_start(p, heights, rows);
          const int64_t height = panel_start(p + 1, heights, rows) - row;
          unrolled<kHeight>([&](auto i) {
            if (height == i() + 1) {
              step_panel<S, Cell, i() + 1, kSpan>(group, packed, panel, t, row, state, next);
            }
          });
        }
      }
      std::swap(state, next);
    }
    for (int64_t r = 0; r < group.rows; ++r) stand_still<S, Cell>(all, group[r]);
  });
}

// What a call runs, its arguments checked.
template <class Cell, class S>
void recur(Call &call, pnd_context *context, const Recurrence<S> &all) {
  using U = UnitOf<S>;
  // Few sequences: two vectors per gate, or the chains of sums would wait for themselves.
  const bool few = all.batch <= kGateRows<Cell> / 2;
  const int64_t width = all.width, most = Tasks<Cell>(all.batch, context->threads).most;
  const auto reserved = [&](auto packed) {
    using P = decltype(packed);
    call.reserve(2 * Scratch::bytes<U>(Rows<U>::size(most, units_of<U>(width))),
                 Scratch::bytes<U>(P::panels(width) * P::panel_size(width)) +
                     Scratch::bytes<Computed<S>>(P::panels(width) * P::kRow) +
                     Scratch::bytes<int64_t>(all.batch));
    return !call.refused();
  };
  if (few) {
    if (reserved(Packed<S, Cell, 2>{})) scan<S, Cell, 2>(context, all);
  } else {
    if (reserved(Packed<S, Cell, 1>{})) scan<S, Cell, 1>(context, all);
  }
}

// A cell's function of the header, which has stated `call`'s arguments; without a cell, its arrays
// are null.
template <class Cell>
int32_t forward(Call &call, pnd_context *context, int32_t dtype, void *hidden, void *cells,
                void *gates, const void *x, const void *weight, const void *bias,
                const void *initial, const void *initial_cell, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  if (!call.refused() && lengths != nullptr) call.indices("lengths", lengths, batch, 0, steps + 1);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    auto all = recurrence_of<Recurrence<decltype(type)>>(
        hidden, cells, gates, weight, initial, initial_cell, resets, lengths, batch, steps, width);
    give_inputs(all, x, bias);
    recur<Cell>(call, context, all);
  });
  return call.status();
}
