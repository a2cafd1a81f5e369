// SPDX-License-Identifier: Apache-2.0
// recurrent_backward: the scan of recurrent.h from the end, and the derivatives by the weights.
#pragma once

#include "recurrent.h"

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

// What a call runs, its arguments checked.
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

// As forward.
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
    auto all = recurrence_of<Recurrence<decltype(type)>>(
        hidden, cells, gates, weight, initial, initial_cell, resets, lengths, batch, steps, width);
    give_slopes(all, dx, dweight, dbias, dinitial, dinitial_cell, dhidden, dlast_cell);
    recur_back<Cell>(call, context, all);
  });
  return call.status();
}
