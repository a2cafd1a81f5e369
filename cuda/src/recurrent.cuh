// SPDX-License-Identifier: Apache-2.0
// recurrent.cuh: the scan that recurrent cells share, forward, and what both directions need
// (recurrent_backward.cuh has the other). A cell is a struct with
//   kGates     products with the state per unit, each with a weight [width, width] and a bias
//   kHasCell   whether it carries a cell beside the hidden state
//   kApart     the gate whose sum has another derivative than x, kept in Recurrence::apart; or -1
//   step       the state of a unit after a step, from the sums of its gates and what the unit had
//              before it: its cell, or its state where there is none
//   Kept       what a unit's slopes need of the step
//   slopes     the derivatives of those sums, from that of the state; what the state before it gets
//              beside the products
// Method   one launch for all steps where the device runs all blocks together, each of which keeps
//          the weights of 8 units in shared memory and takes 16 sequences after another; between
//          steps the blocks wait for each other, and hidden hands on what they made.
//          Elsewhere a launch per step, which reads the weights again. A block whose sequences all
//          stand still copies their states. The cells and the bias are floats of bf16
// Order    recurrent_tile.cuh's parts of a gate's sum are added to the bias in order
#pragma once

#include <cooperative_groups.h>

#include "recurrence.h"
#include "recurrent_tile.cuh"

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
  Range length_range;
  bool whole;  // rows can be moved 16 bytes at a time
  // Scratch of the backward function: [batch, steps, width] twice, [width] of 0, [batch, width]
  // twice.
  S *apart, *states, *zeros;
  T *carry, *cell_carry;

  __device__ int64_t row(int64_t b, int64_t t) const { return b * steps + t; }
  // Whether sequence b still runs at step t. A length outside its range is noted and counts as 0.
  __device__ bool runs(int64_t b, int64_t t) const {
    if (lengths == nullptr) return true;
    const int length = lengths[b];
    return length_range.holds(b, length) && t < length;
  }
  __device__ bool is_reset(int64_t b, int64_t t) const {
    return resets != nullptr && resets[row(b, t)] != 0;
  }
  // The state (cell) that step t finds, whether it is cleared or not.
  template <class A>
  __device__ const A *found(const A *after, const A *first, int64_t b, int64_t t) const {
    return t == 0 ? first + b * width : after + (row(b, t) - 1) * width;
  }
  // The state before step t; null where it is cleared.
  __device__ const S *before(int64_t b, int64_t t) const {
    return is_reset(b, t) ? nullptr : found<S>(hidden, initial, b, t);
  }
  // One unit of it, and of the cell.
  __device__ T state(int64_t b, int64_t t, int64_t unit) const {
    return is_reset(b, t) ? T(0) : widened(found<S>(hidden, initial, b, t)[unit]);
  }
  __device__ T cell(int64_t b, int64_t t, int64_t unit) const {
    return is_reset(b, t) ? T(0) : found<T>(cells, initial_cell, b, t)[unit];
  }
  // Whether one of the block's sequences runs at step t: the same for all its threads.
  template <int kSequences>
  __device__ bool any_runs(int64_t b0, int64_t t) const {
    if (lengths == nullptr) return true;
    bool any = false;
    for (int r = lane_number(); r < kSequences; r += 32) {
      if (b0 + r < batch && runs(b0 + r, t)) any = true;
    }
    return __any_sync(kAllLanes, any);
  }
};

// Of a scan with kGates gates.
template <class S, int kGates>
using ForwardTiles = ScanTiles<S, kGates, 2>;

// How the blocks of a launch share the work: unit blocks by columns of sequence groups.
struct ScanGrid {
  int64_t unit_blocks, columns;
  bool resident;  // each block keeps its weights, and all run together
};

// Of a multiprocessor, as their registers have to allow.
template <class S>
constexpr int kScanBlocks = std::is_same_v<S, double> ? 1 : 2;

// The columns of a row of weights in shared memory.
PND_SHARED int64_t scan_depth(int64_t columns) { return (columns + 15) / 16 * 16; }

// What a thread of a scan has: the place of its blocks, and one unit of one sequence of a group.
struct ScanPlace {
  int64_t unit0, column, unit;
  int sequence;
  bool exists;

  __device__ __forceinline__ ScanPlace(int64_t block, const ScanGrid &grid, int64_t width)
      : unit0(block % grid.unit_blocks * kScanUnits),
        column(block / grid.unit_blocks),
        unit(unit0 + static_cast<int>(threadIdx.x) % kScanUnits),
        sequence(static_cast<int>(threadIdx.x) / kScanUnits),
        exists(sequence < kScanSequences && unit < width) {}
  __device__ __forceinline__ int local_unit() const { return static_cast<int>(unit - unit0); }
};

// Steps t0 to t1.
template <class S, class Cell>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks<S>)
    scan_kernel(int64_t first, Recurrence<S> all, int64_t t0, int64_t t1, ScanGrid grid) {
  using T = Computed<S>;
  constexpr int kGates = Cell::kGates;
  using Tiles = ForwardTiles<S, kGates>;
  const int64_t width = all.width, depth = scan_depth(width);
  const ScanPlace own(first + blockIdx.x, grid, width);
  const int row = static_cast<int>(threadIdx.x) / 16;  // what this thread helps to copy
  Tiles tiles(grid.resident, depth);
  const auto copy_weights = [&](S *to, int64_t k, int cols, int places) {
#pragma unroll 1
    for (int r = row; r < Tiles::kRows; r += kScanThreads / 16) {
      const int64_t unit = own.unit0 + r % kScanUnits;
      const S *from = all.weight + (r / kScanUnits * width + unit) * width + k;
      copy_scan_row(to + r * tiles.weight_stride, unit < width ? from : nullptr, cols, places,
                    all.whole);
    }
  };
  const auto cols = [&](int64_t slab) { return within(width - slab * Tiles::kDeep, Tiles::kDeep); };
  const auto places = [&](int64_t slab) { return static_cast<int>(scan_depth(cols(slab))); };
  if (grid.resident) {
    copy_weights(tiles.weights, 0, static_cast<int>(width), static_cast<int>(depth));
  }
  T bias[kGates];
  PND_UNROLL
  for (int g = 0; g < kGates; ++g) bias[g] = own.exists ? all.bias[g * width + own.unit] : T(0);

  for (int64_t t = t0; t <= t1; ++t) {
    if (t > t0) cooperative_groups::this_grid().sync();
    for (int64_t b0 = own.column * kScanSequences; b0 < all.batch;
         b0 += grid.columns * kScanSequences) {
      const int64_t b = b0 + own.sequence, at = all.row(b, t), to = at * width + own.unit;
      const bool exists = own.exists && b < all.batch, runs = exists && all.runs(b, t);
      // Asked for before the products, which take as long as memory does.
      T x[kGates] = {};
      T before = 0;
      if (runs) {
        PND_UNROLL
        for (int g = 0; g < kGates; ++g) {
          x[g] = widened(all.x[(at * kGates + g) * width + own.unit]);
        }
        before = Cell::kHasCell ? all.cell(b, t, own.unit) : all.state(b, t, own.unit);
      }
      if (exists && t < t1) {
        PND_UNROLL
        for (int g = 0; g < kGates; ++g) {
          prefetch(all.x + ((at + 1) * kGates + g) * width + own.unit);
        }
      }
      if (all.template any_runs<kScanSequences>(b0, t)) {
        const S *state = b0 + row < all.batch ? all.before(b0 + row, t) : nullptr;
        tiles.multiply((width + Tiles::kDeep - 1) / Tiles::kDeep,
                       [&](int64_t slab, S *rows, S *weights) {
                         const int64_t k = slab * Tiles::kDeep;
                         copy_scan_row(rows + row * Tiles::kStride,
                                       state == nullptr ? nullptr : state + k, cols(slab),
                                       places(slab), all.whole);
                         if (weights != nullptr) copy_weights(weights, k, cols(slab), places(slab));
                       },
                       [](int64_t slab) { return static_cast<int>(slab * Tiles::kDeep); }, places);
      }
      if (!exists) continue;
      if (runs) {
        T sum[kGates];
        PND_UNROLL
        for (int g = 0; g < kGates; ++g) {
          sum[g] = tiles.get(bias[g], own.sequence, g * kScanUnits + own.local_unit());
        }
        all.hidden[to] = stored<S>(Cell::step(all, at, own.unit, x, before, sum));
        continue;
      }
      all.hidden[to] = all.template found<S>(all.hidden, all.initial, b, t)[own.unit];
      if constexpr (Cell::kHasCell) {
        all.cells[to] = all.template found<T>(all.cells, all.initial_cell, b, t)[own.unit];
      }
      PND_UNROLL
      for (int g = 0; g < 4; ++g) all.gates[(at * 4 + g) * width + own.unit] = S{};
    }
  }
}

// Runs a scan's kernel for the steps 0 to `last`, or from the last on: in one launch if the device
// has room for the blocks of all units at the same time, else a step at a time.
template <class Tiles, class S>
void run_scan(Call &call, pnd_context *context, const Recurrence<S> &all,
              void (*kernel)(int64_t, Recurrence<S>, int64_t, int64_t, ScanGrid), int64_t columns,
              int64_t last, bool from_last) {
  const int64_t units = (all.width + kScanUnits - 1) / kScanUnits;
  const int64_t groups = (all.batch + kScanSequences - 1) / kScanSequences;
  const size_t resident = Tiles::bytes(true, columns);
  const int64_t room =
      all.steps > 1 ? blocks_together(call, context, kernel, kScanThreads, resident) : 0;
  if (call.refused()) return;
  if (room >= units) {
    const ScanGrid grid{units, groups < room / units ? groups : room / units, true};
    launch_together(call, context, kernel, dim3(static_cast<unsigned>(units * grid.columns)),
                    dim3(kScanThreads), resident, 0, all, 0, last, grid);
    return;
  }
  for (int64_t i = 0; i <= last && !call.refused(); ++i) {
    const int64_t t = from_last ? last - i : i;
    launch_blocks(call, context, kernel, units * groups, dim3(kScanThreads),
                  Tiles::bytes(false, columns), all, t, t, ScanGrid{units, groups, false});
  }
}

// What a call runs, its arguments checked.
template <class Cell, class S>
void recur(Call &call, pnd_context *context, Recurrence<S> all) {
  const int64_t width = all.width;
  all.whole = moves_whole(all.hidden, width) && moves_whole(all.weight, width) &&
              moves_whole(all.initial, width);
  run_scan<ForwardTiles<S, Cell::kGates>>(call, context, all, scan_kernel<S, Cell>,
                                          scan_depth(width), all.steps - 1, false);
}

// A cell's function of the header, which has stated `call`'s arguments; without a cell, its arrays
// are null. `list` is what a length outside its range is noted as.
template <class Cell>
int32_t forward(Call &call, pnd_context *context, int32_t dtype, Checked list, void *hidden,
                void *cells, void *gates, const void *x, const void *weight, const void *bias,
                const void *initial, const void *initial_cell, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    auto all = recurrence_of<Recurrence<decltype(type)>>(
        hidden, cells, gates, weight, initial, initial_cell, resets, lengths, batch, steps, width);
    give_inputs(all, x, bias);
    all.length_range = {context->faults, list, 0, steps + 1};
    recur<Cell>(call, context, all);
  });
  return call.status();
}
