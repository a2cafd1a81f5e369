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
#include "simd.h"
#include "tile_bf16.h"
// After simd.h, which it builds on.
#include "formulas.h"

constexpr int64_t kMostRows = 64;  // sequences of one task

// The arrays of a call: those that its cell or direction lacks are null.
template <class S>
struct Recurrence {
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

// One step of kRows sequences from `row` on of a group: the units of one panel. `state` is the
// operand before the step, `next` the one after it.
template <class S, class Cell, int kRows, int kSpan>
__attribute__((noinline)) void step_panel(const Group<S> &group, Packed<S, Cell, kSpan> packed,
                                          int64_t panel, int64_t t, int64_t row,
                                          Rows<UnitOf<S>> state, Rows<UnitOf<S>> next,
                                          const S *inputs) {
  using P = Packed<S, Cell, kSpan>;
  using T = Computed<S>;
  const Recurrence<S> &all = group.all;
  const int64_t width = all.width;
  if constexpr (kSpan > 1) {
    // A tile of few sequences is soon done, and would wait for the memory it writes.
    for (int r = 0; r < kRows; ++r) {
      const int64_t at = all.row(group[row + r], t) * width, unit = panel * P::kUnits;
      PND_UNROLL
      for (int g = 0; g < 4; ++g) __builtin_prefetch(all.gates + at * 4 + g * width + unit, 1);
      __builtin_prefetch(all.hidden + at + unit, 1);
    }
  }
  Tile<UnitOf<S>, kRows, Cell::kGates * kSpan> tile;
  tile.load_from(packed.bias + panel * P::kRow, 0);
  add_rows(tile, state, row, packed.weight + panel * P::panel_size(width), P::kRow,
           units_of<UnitOf<S>>(width));
  T sums[kRows * P::kRow];
  tile.store_to(sums, P::kRow);
  for (int r = 0; r < kRows; ++r) {
    const int64_t b = group[row + r];
    for (int s = 0; s < kSpan; ++s) {
      const int64_t unit = panel * P::kUnits + s * kWidth<T>;
      const int64_t cols = std::min<int64_t>(kWidth<T>, width - unit);
      if (cols <= 0) break;
      const T *sum = sums + r * P::kRow + s * kWidth<T>;
      const Vec<T> h = get<S>(state, row + r, unit, cols);
      const Vec<T> after = Cell::step(all, b, t, unit, cols, sum, P::kUnits, h,
                                      inputs + (row + r) * Cell::kGates * width + unit);
      write_some(all.hidden + all.row(b, t) * width + unit, after, cols);
      put<S>(next, row + r, unit, after, cols);
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
    S *inputs = scratch.take<S>(tasks.most * Cell::kGates * width);
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
      // Sequences lie far apart in any order: the inputs come in whole rows, not piece by piece.
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(static_cast<void *>(inputs + r * Cell::kGates * width),
                    all.x + all.row(group[r], t) * Cell::kGates * width,
                    Cell::kGates * width * sizeof(S));
      }
      const int64_t heights = (rows + kHeight - 1) / kHeight;
      for (int64_t panel = 0; panel < P::panels(width); ++panel) {
        for (int64_t p = 0; p < heights; ++p) {
          const int64_t row = panel_start(p, heights, rows);
          const int64_t height = panel_start(p + 1, heights, rows) - row;
          unrolled<kHeight>([&](auto i) {
            if (height == i() + 1) {
              step_panel<S, Cell, i() + 1, kSpan>(group, packed, panel, t, row, state, next,
                                                  inputs);
            }
          });
        }
      }
      std::swap(state, next);
    }
    for (int64_t r = 0; r < group.rows; ++r) stand_still<S, Cell>(all, group[r]);
  });
}

// Asks for what step t will read and write of some units, while the step after it computes: the
// rows of a sequence lie apart, and each is soon done.
template <class S, class Cell>
PND_INLINE void ask_for(const Recurrence<S> &all, int64_t b, int64_t t, int64_t unit) {
  const int64_t width = all.width, at = all.row(b, t) * width;
  PND_UNROLL
  for (int g = 0; g < 4; ++g) __builtin_prefetch(all.gates + at * 4 + g * width + unit);
  PND_UNROLL
  for (int g = 0; g < Cell::kGates; ++g) {
    __builtin_prefetch(all.dx + at * Cell::kGates + g * width + unit, 1);
  }
  __builtin_prefetch(all.dhidden + at + unit);
  if (t == 0) return;
  __builtin_prefetch(all.hidden + at - width + unit);
  if constexpr (Cell::kHasCell) __builtin_prefetch(all.cells + at - width + unit);
}

// The gradients of one step's gates for one sequence: dx, and the operand of the product; carry
// and cell_carry become what the states before get, the former without the product.
template <class S, class Cell>
void step_slopes(const Recurrence<S> &all, int64_t b, int64_t t, int64_t row,
                 Rows<UnitOf<S>> operand, Computed<S> *carry, Computed<S> *cell_carry) {
  using T = Computed<S>;
  constexpr int64_t kCut = kDepth * kPerUnit<UnitOf<S>>;
  const int64_t width = all.width;
  const S *dhidden = all.dhidden + all.row(b, t) * width;
  for (int64_t i = 0; i < width; i += kWidth<T>) {
    const int64_t cols = std::min<int64_t>(kWidth<T>, width - i);
    if (t > 0) ask_for<S, Cell>(all, b, t - 1, i);
    const Vec<T> dh = read_some(dhidden + i, cols) + load(carry + i);
    Vec<T> slope[Cell::kGates];
    store(carry + i, Cell::slopes(all, b, t, i, cols, dh, slope, cell_carry + i));
    PND_UNROLL
    for (int g = 0; g < Cell::kGates; ++g) {
      const int64_t column = g * width + i;
      // A row of the operand is cut at multiples of kCut, a vector may lie across a cut.
      if (cols == kWidth<T> && column % kCut + kWidth<T> <= kCut) {
        put<S>(operand, row, column, slope[g], kWidth<T>);
      } else {
        for (int64_t c = 0; c < cols; ++c) {
          put<S>(operand, row, column + c, splat<T>(slope[g][c]), 1);
        }
      }
    }
  }
}

template <class T>
int64_t whole_tiles(int64_t width) {
  return (width + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
}

// The adjoint of a sequence's state at the last step that ran: those of the steps after it.
template <class S, class Cell>
void begin_back(const Recurrence<S> &all, int64_t b, Computed<S> *carry, Computed<S> *cell_carry) {
  const int64_t width = all.width, length = all.length(b);
  std::memset(carry, 0, width * sizeof *carry);
  for (int64_t t = all.steps - 1; t >= length; --t) {
    const S *dhidden = all.dhidden + all.row(b, t) * width;
    for (int64_t i = 0; i < width; ++i) carry[i] += widened(dhidden[i]);
  }
  std::memset(static_cast<void *>(all.dx + all.row(b, length) * Cell::kGates * width), 0,
              (all.steps - length) * Cell::kGates * width * sizeof(S));
  if constexpr (Cell::kHasCell) {
    if (all.dlast_cell == nullptr) {
      std::memset(cell_carry, 0, width * sizeof *cell_carry);
    } else {
      std::memcpy(cell_carry, all.dlast_cell + b * width, width * sizeof *cell_carry);
    }
  }
}

template <class S>
void write_row(S *to, const Computed<S> *from, int64_t n) {
  constexpr int64_t kStep = kWidth<Computed<S>>;
  for (int64_t i = 0; i < n; i += kStep) write_some(to + i, load_some(from + i, n - i), n - i);
}

template <class S, class Cell>
void scan_back(pnd_context *context, const Recurrence<S> &all) {
  using T = Computed<S>;
  using U = UnitOf<S>;
  const int64_t width = all.width, inner = Cell::kGates * width, depth = units_of<U>(inner);
  const int64_t padded = whole_tiles<U>(width);
  const Tasks<Cell> tasks(all.batch, context->threads);
  Scratch shared(context, kShared);
  U *packed = shared.take<U>(depth * padded);
  int64_t *order = shared.take<int64_t>(all.batch);
  put_in_order(all, order);
  parallel(context, padded / kTileCols<U>, [&](int64_t panel, int) {
    const int64_t first = panel * kTileCols<U>;
    pack_columns(packed + first * depth, all.weight + first, width, inner,
                 std::min<int64_t>(kTileCols<U>, width - first), false);
  });
  parallel(context, tasks.count, [&](int64_t task, int worker) {
    const Group<S> group(all, order, task, tasks.count);
    Scratch scratch(context, worker);
    const Rows<U> operand{scratch.take<U>(Rows<U>::size(tasks.most, depth)), group.rows};
    T *carry = scratch.take<T>(tasks.most * padded);
    T *cell_carry = Cell::kHasCell ? scratch.take<T>(tasks.most * padded) : carry;
    std::memset(carry, 0, group.rows * padded * sizeof(T));
    std::memset(cell_carry, 0, group.rows * padded * sizeof(T));
    for (int64_t r = 0; r < group.rows; ++r) {
      operand.clear(r, depth);  // what a last pair lacks stays zero
      begin_back<S, Cell>(all, group[r], carry + r * padded, cell_carry + r * padded);
    }
    int64_t rows = 0;
    for (int64_t t = all.steps - 1; t >= 0; --t) {
      while (rows < group.rows && group.length(rows) > t) ++rows;
      const int64_t panels = panels_of(rows);
      for (int64_t r = 0; r < rows; ++r) {
        step_slopes<S, Cell>(all, group[r], t, r, operand, carry + r * padded,
                             cell_carry + r * padded);
      }
      each_tile<U>(width, [&](int64_t column, auto vectors) {
        for (int64_t k = 0; k < depth; k += kDepth) {
          for (int64_t p = 0; p < panels; ++p) {
            const int64_t row = panel_start(p, panels, rows);
            with_rows(panel_start(p + 1, panels, rows) - row, [&](auto height) {
              tile_product<U, height(), vectors(), kRowStride<U>, 1>(
                  operand.at(row, k), packed + column * depth + k * kTileCols<U>, kTileCols<U>,
                  std::min(kDepth, depth - k), carry + row * padded + column, padded, true,
                  kTileCols<U>);
            });
          }
        }
      });
      for (int64_t r = 0; all.resets != nullptr && r < rows; ++r) {
        if (!all.is_reset(group[r], t)) continue;
        std::memset(carry + r * padded, 0, width * sizeof(T));
        if (Cell::kHasCell) std::memset(cell_carry + r * padded, 0, width * sizeof(T));
      }
    }
    for (int64_t r = 0; r < group.rows; ++r) {
      const int64_t to = group[r] * width;
      write_row(all.dinitial + to, carry + r * padded, width);
      if constexpr (Cell::kHasCell) {
        std::memcpy(all.dinitial_cell + to, cell_carry + r * padded, width * sizeof(T));
      }
    }
  });
}

// Outputs of one gate whose rows of dweight one task computes, and rows (batch, step) at a time.
constexpr int64_t kMostOutputs = 256;
template <class S>
constexpr int64_t kMostRan = kDepth *kPerUnit<UnitOf<S>>;

// The scratch of weight_slopes: of bf16, the sums wait in floats until all is added.
template <class S>
int64_t weight_scratch(int64_t width) {
  using U = UnitOf<S>;
  const int64_t sums = std::is_same_v<S, Bf16> ? kMostOutputs * width : 0;
  return Scratch::bytes<S>(kMostRan<S> * width) + Scratch::bytes<S>(kMostRan<S> * kMostOutputs) +
         Scratch::bytes<Computed<S>>(kLanes * kMostOutputs) +
         Scratch::bytes<U>(kProductScratch<U>) + Scratch::bytes<Computed<S>>(sums);
}

// dweight[gate, first ..] and dbias of the same outputs, over chunks of the rows (batch, step) that
// ran.
template <class S, class Cell>
void weight_slopes(const Recurrence<S> &all, int gate, int64_t first, int64_t outputs,
                   Scratch scratch) {
  using T = Computed<S>;
  using U = UnitOf<S>;
  const int64_t width = all.width;
  S *before = scratch.take<S>(kMostRan<S> * width);
  S *slopes = scratch.take<S>(kMostRan<S> * kMostOutputs);
  T *lanes = scratch.take<T>(kLanes * kMostOutputs);
  U *room = scratch.take<U>(kProductScratch<U>);
  S *dweight = all.dweight + (gate * width + first) * width;
  T *sums;
  if constexpr (std::is_same_v<S, T>) {
    sums = dweight;
  } else {
    sums = scratch.take<T>(outputs * width);
  }
  std::memset(lanes, 0, kLanes * kMostOutputs * sizeof(T));
  int64_t n = 0;
  bool begun = false;
  const auto add = [&] {
    product(sums, width, Matrix<S>{slopes, kMostOutputs, true}, Matrix<S>{before, width, false},
            outputs, width, n, begun, room);
    n = 0;
    begun = true;
  };
  for (int64_t b = 0; b < all.batch; ++b) {
    for (int64_t t = 0; t < all.length(b); ++t) {
      const int64_t at = all.row(b, t);
      const S *state = all.before(b, t);
      void *row = before + n * width;
      if (state == nullptr) {
        std::memset(row, 0, width * sizeof(S));
      } else {
        std::memcpy(row, state, width * sizeof(S));
      }
      const S *dx = all.dx + (at * Cell::kGates + gate) * width + first;
      const S *factor = Cell::factor(all, at, gate);
      S *slope = slopes + n * kMostOutputs;
      T *lane = lanes + n % kLanes * kMostOutputs;
      for (int64_t i = 0; i < outputs; i += kWidth<T>) {
        Vec<T> d = read_some(dx + i, outputs - i);
        if (factor != nullptr) d *= read_some(factor + first + i, outputs - i);
        write_some(slope + i, d, outputs - i);
        store(lane + i, load(lane + i) + d);
      }
      if (++n == kMostRan<S>) add();
    }
  }
  if (n > 0) add();
  if (!begun) std::memset(sums, 0, outputs * width * sizeof(T));
  if constexpr (!std::is_same_v<S, T>) write_row(dweight, sums, outputs * width);
  for (int w = kLanes / 2; w > 0; w /= 2) {
    for (int l = 0; l < w; ++l) {
      for (int64_t i = 0; i < outputs; ++i) {
        lanes[l * kMostOutputs + i] += lanes[(l + w) * kMostOutputs + i];
      }
    }
  }
  std::memcpy(all.dbias + gate * width + first, lanes, outputs * sizeof(T));
}

// What a call of either direction runs, its arguments checked.
template <class Cell, class S>
void recur(Call &call, pnd_context *context, const Recurrence<S> &all) {
  using U = UnitOf<S>;
  // Few sequences: two vectors per gate, or the chains of sums would wait for themselves.
  const bool few = all.batch <= kGateRows<Cell> / 2;
  const int64_t width = all.width, most = Tasks<Cell>(all.batch, context->threads).most;
  const auto reserved = [&](auto packed) {
    using P = decltype(packed);
    call.reserve(2 * Scratch::bytes<U>(Rows<U>::size(most, units_of<U>(width))) +
                     Scratch::bytes<S>(most * Cell::kGates * width),
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

template <class Cell, class S>
void recur_back(Call &call, pnd_context *context, const Recurrence<S> &all) {
  using U = UnitOf<S>;
  const int64_t width = all.width, depth = units_of<U>(Cell::kGates * width);
  const int64_t padded = whole_tiles<U>(width);
  const int64_t most = Tasks<Cell>(all.batch, context->threads).most;
  const int64_t for_scan = Scratch::bytes<U>(Rows<U>::size(most, depth)) +
                           (Cell::kHasCell ? 2 : 1) * Scratch::bytes<Computed<S>>(most * padded);
  call.reserve(std::max(for_scan, weight_scratch<S>(width)),
               Scratch::bytes<U>(depth * padded) + Scratch::bytes<int64_t>(all.batch));
  if (call.refused()) return;
  scan_back<S, Cell>(context, all);
  // At least two blocks of outputs per thread, whole tiles.
  const int64_t wanted = (2 * context->threads + Cell::kGates - 1) / Cell::kGates;
  const int64_t even = (width + wanted - 1) / wanted;
  const int64_t size = context->threads == 1
                           ? kMostOutputs
                           : std::min(kMostOutputs, (even + kTileRows - 1) / kTileRows * kTileRows);
  const int64_t blocks = (width + size - 1) / size;
  parallel(context, Cell::kGates * blocks, [&](int64_t chunk, int worker) {
    const int64_t first = chunk % blocks * size;
    weight_slopes<S, Cell>(all, static_cast<int>(chunk / blocks), first,
                           std::min(size, width - first), Scratch(context, worker));
  });
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
    using S = decltype(type);
    using T = Computed<S>;
    Recurrence<S> all{};
    all.batch = batch;
    all.steps = steps;
    all.width = width;
    all.hidden = static_cast<S *>(hidden);
    all.cells = static_cast<T *>(cells);
    all.gates = static_cast<S *>(gates);
    all.x = static_cast<const S *>(x);
    all.weight = static_cast<const S *>(weight);
    all.bias = static_cast<const T *>(bias);
    all.initial = static_cast<const S *>(initial);
    all.initial_cell = static_cast<const T *>(initial_cell);
    all.resets = resets;
    all.lengths = lengths;
    recur<Cell>(call, context, all);
  });
  return call.status();
}

template <class Cell>
int32_t backward(Call &call, pnd_context *context, int32_t dtype, void *dx, void *dweight,
                 void *dbias, void *dinitial, void *dinitial_cell, const void *dhidden,
                 const void *dlast_cell, const void *weight, const void *initial,
                 const void *initial_cell, const void *hidden, const void *cells, const void *gates,
                 const int32_t *resets, const int32_t *lengths, int64_t batch, int64_t steps,
                 int64_t width) {
  if (!call.refused() && lengths != nullptr) call.indices("lengths", lengths, batch, 0, steps + 1);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    using T = Computed<S>;
    Recurrence<S> all{};
    all.batch = batch;
    all.steps = steps;
    all.width = width;
    all.dx = static_cast<S *>(dx);
    all.dweight = static_cast<S *>(dweight);
    all.dbias = static_cast<T *>(dbias);
    all.dinitial = static_cast<S *>(dinitial);
    all.dinitial_cell = static_cast<T *>(dinitial_cell);
    all.dhidden = static_cast<const S *>(dhidden);
    all.dlast_cell = static_cast<const T *>(dlast_cell);
    all.weight = static_cast<const S *>(weight);
    all.initial = static_cast<const S *>(initial);
    all.initial_cell = static_cast<const T *>(initial_cell);
    all.hidden = static_cast<S *>(const_cast<void *>(hidden));
    all.cells = static_cast<T *>(const_cast<void *>(cells));
    all.gates = static_cast<S *>(const_cast<void *>(gates));
    all.resets = resets;
    all.lengths = lengths;
    recur_back<Cell>(call, context, all);
  });
  return call.status();
}
