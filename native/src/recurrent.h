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
//          dweight
// Order    each gate is one chain over the inputs that starts from the bias; the carried gradient
//          one chain over the gates and their outputs that starts from what slopes gives; dweight
//          one chain over the (batch, step) that ran; dbias in 32 lanes over them
// Parallel over sequences; dweight and dbias over outputs
#pragma once

#include <numeric>

#include "context.h"
#include "simd.h"
#include "tile.h"
// After simd.h, which it builds on.
#include "formulas.h"

constexpr int64_t kMostRows = 64;  // sequences of one task

// The arrays of a call: those that its cell or direction lacks are null.
template <class T>
struct Recurrence {
  int64_t batch, steps, width;
  T *hidden, *cells, *gates, *dx, *dweight, *dbias, *dinitial, *dinitial_cell;
  const T *x, *weight, *bias, *initial, *initial_cell, *dhidden, *dlast_cell;
  const int32_t *resets, *lengths;

  int64_t row(int64_t b, int64_t t) const { return b * steps + t; }
  int64_t length(int64_t b) const { return lengths == nullptr ? steps : lengths[b]; }
  bool is_reset(int64_t b, int64_t t) const { return resets != nullptr && resets[row(b, t)] != 0; }
  // The state (cell) before step t; null where it is cleared.
  const T *before(int64_t b, int64_t t) const { return before(hidden, initial, b, t); }
  const T *cell_before(int64_t b, int64_t t) const { return before(cells, initial_cell, b, t); }

 private:
  const T *before(const T *states, const T *first, int64_t b, int64_t t) const {
    if (is_reset(b, t)) return nullptr;
    return t == 0 ? first + b * width : states + row(b, t - 1) * width;
  }
};

template <class T>
PND_INLINE Vec<T> load_or_zero(const T *p, int64_t i, int64_t cols) {
  return p == nullptr ? Vec<T>{} : load_some(p + i, cols);
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
template <class T>
struct Group {
  const Recurrence<T> &all;
  const int64_t *order;
  int64_t first, step, rows;

  Group(const Recurrence<T> &r, const int64_t *order, int64_t task, int64_t tasks)
      : all(r),
        order(order),
        first(task),
        step(tasks),
        rows((r.batch - task + tasks - 1) / tasks) {}
  int64_t operator[](int64_t r) const { return order[first + r * step]; }
  int64_t length(int64_t r) const { return all.length((*this)[r]); }
};

// The sequences, the longest first.
template <class T>
void put_in_order(const Recurrence<T> &all, int64_t *order) {
  std::iota(order, order + all.batch, 0);
  if (all.lengths == nullptr) return;
  std::sort(order, order + all.batch, [&](int64_t a, int64_t b) {
    return all.lengths[a] != all.lengths[b] ? all.lengths[a] > all.lengths[b] : a < b;
  });
}

// weight as [panel][input][gate][kSpan vectors of units], and bias as [panel][gate][...] behind
// each panel; units rounded up to whole panels with zeros.
template <class T, class Cell, int kSpan>
struct Packed {
  static constexpr int64_t kUnits = kSpan * kWidth<T>, kRow = Cell::kGates * kUnits;
  static int64_t panels(int64_t width) { return (width + kUnits - 1) / kUnits; }
  static int64_t panel_size(int64_t width) { return (width + 1) * kRow; }
  static int64_t size(int64_t width) { return panels(width) * panel_size(width); }

  static void pack_panel(T *to, const T *weight, const T *bias, int64_t width, int64_t panel) {
    constexpr int64_t kBlock = 32 / static_cast<int64_t>(sizeof(T));
    const int64_t first = panel * kUnits, n = std::min(kUnits, width - first);
    to += panel * panel_size(width);
    if (n < kUnits) std::memset(to, 0, panel_size(width) * sizeof(T));
    const int64_t whole_n = n / kBlock * kBlock, whole_k = width / kBlock * kBlock;
    for (int gate = 0; gate < Cell::kGates; ++gate) {
      const T *from = weight + (gate * width + first) * width;
      T *out = to + gate * kUnits;
      for (int64_t j = 0; j < whole_n; j += kBlock) {
        for (int64_t k = 0; k < whole_k; k += kBlock) {
          transpose_block(from + j * width + k, width, out + k * kRow + j, kRow);
        }
      }
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t k = j < whole_n ? whole_k : 0; k < width; ++k) {
          out[k * kRow + j] = from[j * width + k];
        }
        out[width * kRow + j] = bias[gate * width + first + j];
      }
    }
  }
};

// One step of kRows sequences from `row` on of a group: the units of one panel. `state` is the
// operand before the step, `next` the one after it.
template <class T, class Cell, int kRows, int kSpan>
__attribute__((noinline)) void step_panel(const Group<T> &group, const T *packed, int64_t panel,
                                          int64_t t, int64_t row, Rows<T> state, Rows<T> next,
                                          const T *inputs) {
  using P = Packed<T, Cell, kSpan>;
  const Recurrence<T> &all = group.all;
  const int64_t width = all.width;
  const T *weight = packed + panel * P::panel_size(width), *bias = weight + width * P::kRow;
  if constexpr (kSpan > 1) {
    // A tile of few sequences is soon done, and would wait for the memory it writes.
    for (int r = 0; r < kRows; ++r) {
      const int64_t at = all.row(group[row + r], t) * width, unit = panel * P::kUnits;
      PND_UNROLL
      for (int g = 0; g < 4; ++g) __builtin_prefetch(all.gates + at * 4 + g * width + unit, 1);
      __builtin_prefetch(all.hidden + at + unit, 1);
    }
  }
  Tile<T, kRows, Cell::kGates * kSpan> tile;
  tile.load_from(bias, 0);
  add_rows(tile, state, row, weight, P::kRow, width);
  T sums[kRows * P::kRow];
  tile.store_to(sums, P::kRow);
  for (int r = 0; r < kRows; ++r) {
    const int64_t b = group[row + r];
    for (int s = 0; s < kSpan; ++s) {
      const int64_t unit = panel * P::kUnits + s * kWidth<T>;
      const int64_t cols = std::min<int64_t>(kWidth<T>, width - unit);
      if (cols <= 0) break;
      const T *sum = sums + r * P::kRow + s * kWidth<T>;
      const Vec<T> h = load_some(state.at(row + r, unit), cols);
      const Vec<T> after = Cell::step(all, b, t, unit, cols, sum, P::kUnits, h,
                                      inputs + (row + r) * Cell::kGates * width + unit);
      store_some(all.hidden + all.row(b, t) * width + unit, after, cols);
      store_some(next.at(row + r, unit), after, cols);
    }
  }
}

// The steps at which a sequence stands still.
template <class T, class Cell>
void stand_still(const Recurrence<T> &all, int64_t b) {
  const int64_t length = all.length(b), rest = all.steps - length, width = all.width;
  if (rest == 0) return;
  const auto repeat = [&](T *states, const T *first) {
    const T *last = length == 0 ? first + b * width : states + all.row(b, length - 1) * width;
    for (int64_t t = length; t < all.steps; ++t) {
      std::memcpy(states + all.row(b, t) * width, last, width * sizeof(T));
    }
  };
  repeat(all.hidden, all.initial);
  if constexpr (Cell::kHasCell) repeat(all.cells, all.initial_cell);
  std::memset(all.gates + all.row(b, length) * 4 * width, 0, rest * 4 * width * sizeof(T));
}

template <class T, class Cell, int kSpan>
void scan(pnd_context *context, const Recurrence<T> &all) {
  using P = Packed<T, Cell, kSpan>;
  constexpr int kHeight = kGateRows<Cell> / kSpan;
  const int64_t width = all.width;
  const Tasks<Cell> tasks(all.batch, context->threads);
  Scratch shared(context, kShared);
  T *packed = shared.take<T>(P::size(width));
  int64_t *order = shared.take<int64_t>(all.batch);
  put_in_order(all, order);
  parallel(context, P::panels(width),
           [&](int64_t panel, int) { P::pack_panel(packed, all.weight, all.bias, width, panel); });
  parallel(context, tasks.count, [&](int64_t task, int worker) {
    const Group<T> group(all, order, task, tasks.count);
    Scratch scratch(context, worker);
    Rows<T> state{scratch.take<T>(Rows<T>::size(tasks.most, width)), group.rows};
    Rows<T> next{scratch.take<T>(Rows<T>::size(tasks.most, width)), group.rows};
    T *inputs = scratch.take<T>(tasks.most * Cell::kGates * width);
    for (int64_t r = 0; r < group.rows; ++r) {
      state.fill(r, all.initial + group[r] * width, width);
    }
    int64_t rows = group.rows;
    for (int64_t t = 0; t < all.steps; ++t) {
      while (rows > 0 && group.length(rows - 1) <= t) --rows;
      if (rows == 0) break;
      for (int64_t r = 0; all.resets != nullptr && r < rows; ++r) {
        if (all.is_reset(group[r], t)) state.clear(r, width);
      }
      // Sequences lie far apart in any order: the inputs come in whole rows, not piece by piece.
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(inputs + r * Cell::kGates * width,
                    all.x + all.row(group[r], t) * Cell::kGates * width,
                    Cell::kGates * width * sizeof(T));
      }
      const int64_t heights = (rows + kHeight - 1) / kHeight;
      for (int64_t panel = 0; panel < P::panels(width); ++panel) {
        for (int64_t p = 0; p < heights; ++p) {
          const int64_t row = panel_start(p, heights, rows);
          const int64_t height = panel_start(p + 1, heights, rows) - row;
          unrolled<kHeight>([&](auto i) {
            if (height == i() + 1) {
              step_panel<T, Cell, i() + 1, kSpan>(group, packed, panel, t, row, state, next,
                                                  inputs);
            }
          });
        }
      }
      std::swap(state, next);
    }
    for (int64_t r = 0; r < group.rows; ++r) stand_still<T, Cell>(all, group[r]);
  });
}

// The gradients of one step's gates for one sequence: dx, and the operand of the product; carry
// and cell_carry become what the states before get, the former without the product.
template <class T, class Cell>
void step_slopes(const Recurrence<T> &all, int64_t b, int64_t t, int64_t row, Rows<T> operand,
                 T *carry, T *cell_carry) {
  const int64_t width = all.width;
  const T *dhidden = all.dhidden + all.row(b, t) * width;
  for (int64_t i = 0; i < width; i += kWidth<T>) {
    const int64_t cols = std::min<int64_t>(kWidth<T>, width - i);
    const Vec<T> dh = load_some(dhidden + i, cols) + load(carry + i);
    Vec<T> slope[Cell::kGates];
    store(carry + i, Cell::slopes(all, b, t, i, cols, dh, slope, cell_carry + i));
    PND_UNROLL
    for (int g = 0; g < Cell::kGates; ++g) {
      const int64_t column = g * width + i;
      // A row of the operand is cut at multiples of kDepth, a vector may lie across a cut.
      if (cols == kWidth<T> && column % kDepth + kWidth<T> <= kDepth) {
        store(operand.at(row, column), slope[g]);
      } else {
        for (int64_t c = 0; c < cols; ++c) *operand.at(row, column + c) = slope[g][c];
      }
    }
  }
}

template <class T>
int64_t whole_tiles(int64_t width) {
  return (width + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
}

// The adjoint of a sequence's state at the last step that ran: those of the steps after it.
template <class T, class Cell>
void begin_back(const Recurrence<T> &all, int64_t b, T *carry, T *cell_carry) {
  const int64_t width = all.width, length = all.length(b);
  std::memset(carry, 0, width * sizeof(T));
  for (int64_t t = all.steps - 1; t >= length; --t) {
    const T *dhidden = all.dhidden + all.row(b, t) * width;
    for (int64_t i = 0; i < width; ++i) carry[i] += dhidden[i];
  }
  std::memset(all.dx + all.row(b, length) * Cell::kGates * width, 0,
              (all.steps - length) * Cell::kGates * width * sizeof(T));
  if constexpr (Cell::kHasCell) {
    if (all.dlast_cell == nullptr) {
      std::memset(cell_carry, 0, width * sizeof(T));
    } else {
      std::memcpy(cell_carry, all.dlast_cell + b * width, width * sizeof(T));
    }
  }
}

template <class T, class Cell>
void scan_back(pnd_context *context, const Recurrence<T> &all) {
  const int64_t width = all.width, depth = Cell::kGates * width, padded = whole_tiles<T>(width);
  const Tasks<Cell> tasks(all.batch, context->threads);
  Scratch shared(context, kShared);
  T *packed = shared.take<T>(depth * padded);
  int64_t *order = shared.take<int64_t>(all.batch);
  put_in_order(all, order);
  parallel(context, padded / kTileCols<T>, [&](int64_t panel, int) {
    const int64_t first = panel * kTileCols<T>;
    pack_columns(packed + first * depth, all.weight + first, width, depth,
                 std::min<int64_t>(kTileCols<T>, width - first), false);
  });
  parallel(context, tasks.count, [&](int64_t task, int worker) {
    const Group<T> group(all, order, task, tasks.count);
    Scratch scratch(context, worker);
    const Rows<T> operand{scratch.take<T>(Rows<T>::size(tasks.most, depth)), group.rows};
    T *carry = scratch.take<T>(tasks.most * padded);
    T *cell_carry = Cell::kHasCell ? scratch.take<T>(tasks.most * padded) : carry;
    std::memset(carry, 0, group.rows * padded * sizeof(T));
    std::memset(cell_carry, 0, group.rows * padded * sizeof(T));
    for (int64_t r = 0; r < group.rows; ++r) {
      begin_back<T, Cell>(all, group[r], carry + r * padded, cell_carry + r * padded);
    }
    int64_t rows = 0;
    for (int64_t t = all.steps - 1; t >= 0; --t) {
      while (rows < group.rows && group.length(rows) > t) ++rows;
      const int64_t panels = panels_of(rows);
      for (int64_t r = 0; r < rows; ++r) {
        step_slopes<T, Cell>(all, group[r], t, r, operand, carry + r * padded,
                             cell_carry + r * padded);
      }
      each_tile<T>(width, [&](int64_t column, auto vectors) {
        for (int64_t k = 0; k < depth; k += kDepth) {
          for (int64_t p = 0; p < panels; ++p) {
            const int64_t row = panel_start(p, panels, rows);
            with_rows(panel_start(p + 1, panels, rows) - row, [&](auto height) {
              tile_product<T, height(), vectors(), kRowStride<T>, 1>(
                  operand.at(row, k), packed + column * depth + k * kTileCols<T>, kTileCols<T>,
                  std::min(kDepth, depth - k), carry + row * padded + column, padded, true,
                  kTileCols<T>);
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
      std::memcpy(all.dinitial + to, carry + r * padded, width * sizeof(T));
      if constexpr (Cell::kHasCell) {
        std::memcpy(all.dinitial_cell + to, cell_carry + r * padded, width * sizeof(T));
      }
    }
  });
}

// Outputs of one gate whose rows of dweight one task computes.
constexpr int64_t kMostOutputs = 256;

// dweight[gate, first ..] and dbias of the same outputs, over chunks of kDepth of the rows (batch,
// step) that ran.
template <class T, class Cell>
void weight_slopes(const Recurrence<T> &all, int gate, int64_t first, int64_t outputs,
                   Scratch scratch) {
  const int64_t width = all.width;
  T *before = scratch.take<T>(kDepth * width);
  T *slopes = scratch.take<T>(kDepth * kMostOutputs);
  T *lanes = scratch.take<T>(kLanes * kMostOutputs);
  T *room = scratch.take<T>(kProductScratch<T>);
  T *dweight = all.dweight + (gate * width + first) * width;
  std::memset(lanes, 0, kLanes * kMostOutputs * sizeof(T));
  int64_t n = 0;
  bool begun = false;
  const auto add = [&] {
    product(dweight, width, Matrix<T>{slopes, kMostOutputs, true}, Matrix<T>{before, width, false},
            outputs, width, n, begun, room);
    n = 0;
    begun = true;
  };
  for (int64_t b = 0; b < all.batch; ++b) {
    for (int64_t t = 0; t < all.length(b); ++t) {
      const int64_t at = all.row(b, t);
      const T *state = all.before(b, t);
      if (state == nullptr) {
        std::memset(before + n * width, 0, width * sizeof(T));
      } else {
        std::memcpy(before + n * width, state, width * sizeof(T));
      }
      const T *dx = all.dx + (at * Cell::kGates + gate) * width + first;
      const T *factor = Cell::factor(all, at, gate);
      T *slope = slopes + n * kMostOutputs, *lane = lanes + n % kLanes * kMostOutputs;
      for (int64_t i = 0; i < outputs; ++i) {
        slope[i] = factor != nullptr ? dx[i] * factor[first + i] : dx[i];
        lane[i] += slope[i];
      }
      if (++n == kDepth) add();
    }
  }
  if (n > 0) add();
  if (!begun) std::memset(dweight, 0, outputs * width * sizeof(T));
  for (int w = kLanes / 2; w > 0; w /= 2) {
    for (int l = 0; l < w; ++l) {
      for (int64_t i = 0; i < outputs; ++i) {
        lanes[l * kMostOutputs + i] += lanes[(l + w) * kMostOutputs + i];
      }
    }
  }
  std::memcpy(all.dbias + gate * width + first, lanes, outputs * sizeof(T));
}

// What a call runs, its arguments checked.
template <class Cell, class T>
void recur(Call &call, pnd_context *context, const Recurrence<T> &all) {
  // Few sequences: two vectors per gate, or the chains of sums would wait for themselves.
  const bool few = all.batch <= kGateRows<Cell> / 2;
  const int64_t most = Tasks<Cell>(all.batch, context->threads).most;
  const int64_t packed =
      few ? Packed<T, Cell, 2>::size(all.width) : Packed<T, Cell, 1>::size(all.width);
  call.reserve(2 * Scratch::bytes<T>(Rows<T>::size(most, all.width)) +
                   Scratch::bytes<T>(most * Cell::kGates * all.width),
               Scratch::bytes<T>(packed) + Scratch::bytes<int64_t>(all.batch));
  if (call.refused()) return;
  if (few) {
    scan<T, Cell, 2>(context, all);
  } else {
    scan<T, Cell, 1>(context, all);
  }
}

template <class Cell, class T>
void recur_back(Call &call, pnd_context *context, const Recurrence<T> &all) {
  const int64_t width = all.width, depth = Cell::kGates * width, padded = whole_tiles<T>(width);
  const int64_t most = Tasks<Cell>(all.batch, context->threads).most;
  const int64_t for_scan = Scratch::bytes<T>(Rows<T>::size(most, depth)) +
                           (Cell::kHasCell ? 2 : 1) * Scratch::bytes<T>(most * padded);
  const int64_t for_weights =
      Scratch::bytes<T>(kDepth * width) + Scratch::bytes<T>(kDepth * kMostOutputs) +
      Scratch::bytes<T>(kLanes * kMostOutputs) + Scratch::bytes<T>(kProductScratch<T>);
  call.reserve(std::max(for_scan, for_weights),
               Scratch::bytes<T>(depth * padded) + Scratch::bytes<int64_t>(all.batch));
  if (call.refused()) return;
  scan_back<T, Cell>(context, all);
  // At least two blocks of outputs per thread, whole tiles.
  const int64_t wanted = (2 * context->threads + Cell::kGates - 1) / Cell::kGates;
  const int64_t even = (width + wanted - 1) / wanted;
  const int64_t size = context->threads == 1
                           ? kMostOutputs
                           : std::min(kMostOutputs, (even + kTileRows - 1) / kTileRows * kTileRows);
  const int64_t blocks = (width + size - 1) / size;
  parallel(context, Cell::kGates * blocks, [&](int64_t chunk, int worker) {
    const int64_t first = chunk % blocks * size;
    weight_slopes<T, Cell>(all, static_cast<int>(chunk / blocks), first,
                           std::min(size, width - first), Scratch(context, worker));
  });
}
