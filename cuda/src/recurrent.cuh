// SPDX-License-Identifier: Apache-2.0
// recurrent.cuh: the scan that recurrent cells share, forward and backward through time. A cell is
// a struct with
//   kGates     products with the state per unit, each with a weight [width, width] and a bias
//   kHasCell   whether it carries a cell beside the hidden state
//   kApart     the gate whose sum has another derivative than x, kept in Recurrence::apart; or -1
//   Before     what a unit's step needs of the state before it
//   step       the state of a unit after a step, from the sums of its gates
//   Kept       what a unit's slopes need of the step
//   slopes     the derivatives of those sums, from that of the state; what the state before it gets
//              beside the products
// Method   one launch for all steps where the device runs all blocks together, each of which keeps
//          the weights of 8 units in shared memory and takes 16 sequences after another; between
//          steps the blocks wait for each other, and hidden (backward: dx) hands on what they made.
//          Elsewhere a launch per step, which reads the weights again. A block whose sequences all
//          stand still copies their states. Backward: the same from the end; a step completes the
//          gradient of the states and turns it into those of the gates of the step before; then
//          one product for dweight. The carried gradient, the cells and the bias are floats of bf16
// Order    recurrent_tile.cuh's parts of a gate's sum are added to the bias in order; those over
//          the gates and their outputs to what slopes gives; dweight one chain over (batch, step),
//          of bf16 as product_bf16.cuh has it; dbias in 32 lanes over (batch, step)
#pragma once

#include <cooperative_groups.h>

#include "product.cuh"
#include "product_bf16.cuh"
#include "recurrent_tile.cuh"

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

// Of a scan, forward and backward, with kGates gates.
template <class S, int kGates>
using ForwardTiles = ScanTiles<S, kGates, 2>;
template <class S>
using BackwardTiles = ScanTiles<S, 1, kScanUnits>;

// How the blocks of a launch share the work: unit blocks by columns of sequence groups.
struct ScanGrid {
  int64_t unit_blocks, columns;
  bool resident;  // each block keeps its weights, and all run together
};

// Of a multiprocessor, as their registers have to allow.
template <class S>
constexpr int kScanBlocks = std::is_same_v<S, double> ? 1 : 2;
template <class S>
constexpr int kScanBackBlocks = std::is_same_v<S, Bf16> ? 2 : 1;

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
      typename Cell::template Before<S> before{};
      if (runs) {
        PND_UNROLL
        for (int g = 0; g < kGates; ++g) {
          x[g] = widened(all.x[(at * kGates + g) * width + own.unit]);
        }
        before = Cell::before(all, b, t, own.unit);
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

// For t = t1 down to t0, with the slopes of step t at hand (none where t = steps): those of step
// t - 1, or dinitial.
template <class S, class Cell>
__global__ void __launch_bounds__(kScanThreads, kScanBackBlocks<S>)
    scan_back_kernel(int64_t first, Recurrence<S> all, int64_t t0, int64_t t1, ScanGrid grid) {
  using T = Computed<S>;
  constexpr int kGates = Cell::kGates;
  using Tiles = BackwardTiles<S>;
  const int64_t width = all.width, depth = scan_depth(width);
  const ScanPlace own(first + blockIdx.x, grid, width);
  const int row = static_cast<int>(threadIdx.x) / 16;
  Tiles tiles(grid.resident, kGates * depth);
  // The columns of the block's units become rows.
  const auto copy_weights = [&](S *to, int64_t g, int64_t k, int cols, int places) {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < places * kScanUnits; i += kScanThreads) {
      const int output = i / kScanUnits, u = i % kScanUnits;
      const bool inside = output < cols && own.unit0 + u < width;
      to[u * tiles.weight_stride + output] =
          inside ? all.weight[(g * width + k + output) * width + own.unit0 + u] : S{};
    }
  };
  const int64_t slabs = (width + Tiles::kDeep - 1) / Tiles::kDeep;  // of a gate
  const auto cols = [&](int64_t slab) {
    return within(width - slab % slabs * Tiles::kDeep, Tiles::kDeep);
  };
  const auto places = [&](int64_t slab) { return static_cast<int>(scan_depth(cols(slab))); };
  if (grid.resident) {
    for (int g = 0; g < kGates; ++g) {
      copy_weights(tiles.weights + g * depth, g, 0, static_cast<int>(width),
                   static_cast<int>(depth));
    }
  }
  for (int64_t t = t1; t >= t0; --t) {
    if (t < t1) cooperative_groups::this_grid().sync();
    for (int64_t b0 = own.column * kScanSequences; b0 < all.batch;
         b0 += grid.columns * kScanSequences) {
      const int64_t b = b0 + own.sequence, at = all.row(b, t - 1);
      const int64_t mine = b * width + own.unit;
      const bool exists = own.exists && b < all.batch;
      const bool turns = exists && t > 0 && all.runs(b, t - 1);
      // Asked for before the products, which take as long as memory does.
      typename Cell::template Kept<S> kept{};
      T dh = 0;
      if (turns) kept = Cell::kept(all, b, t - 1, own.unit);
      if (exists && t > 0) dh = widened(all.dhidden[at * width + own.unit]);
      if (exists && t > 1) {
        PND_UNROLL
        for (int g = 0; g < 4; ++g) prefetch(all.gates + ((at - 1) * 4 + g) * width + own.unit);
        prefetch(all.dhidden + (at - 1) * width + own.unit);
      }
      const bool any = t < all.steps && all.template any_runs<kScanSequences>(b0, t);
      if (any) {
        const int64_t from = all.row(b0 + row, t);
        const bool there = b0 + row < all.batch;
        tiles.multiply(
            kGates * slabs,
            [&](int64_t slab, S *rows, S *weights) {
              const int64_t g = slab / slabs, k = slab % slabs * Tiles::kDeep;
              const S *slope = Cell::kApart == g ? all.apart + from * width
                                                 : all.dx + (from * kGates + g) * width;
              copy_scan_row(rows + row * Tiles::kStride, there ? slope + k : nullptr, cols(slab),
                            places(slab), all.whole);
              if (weights != nullptr) copy_weights(weights, g, k, cols(slab), places(slab));
            },
            [&](int64_t slab) {
              return static_cast<int>(slab / slabs * depth + slab % slabs * Tiles::kDeep);
            },
            places);
      }
      if (!exists) continue;
      const bool ran = t < all.steps && all.runs(b, t), cleared = ran && all.is_reset(b, t);
      // Where the state stood still, the products count for nothing, not even 0 times a weight.
      T passed = 0, dcell = 0;
      if (t < all.steps && !cleared) passed = all.carry[mine];
      if (ran && !cleared) passed = tiles.get(passed, own.sequence, own.local_unit());
      if constexpr (Cell::kHasCell) {
        if (t < all.steps) {
          dcell = cleared ? T(0) : all.cell_carry[mine];
        } else if (all.dlast_cell != nullptr) {
          dcell = all.dlast_cell[mine];
        }
      }
      if (t == 0) {
        all.dinitial[mine] = stored<S>(passed);
        if constexpr (Cell::kHasCell) all.dinitial_cell[mine] = dcell;
        continue;
      }
      dh += passed;
      if (turns) {
        all.carry[mine] = Cell::slopes(all, at, own.unit, kept, dh, dcell);
      } else {
        all.carry[mine] = dh;
        PND_UNROLL
        for (int g = 0; g < kGates; ++g) all.dx[(at * kGates + g) * width + own.unit] = S{};
        if constexpr (Cell::kApart >= 0) all.apart[at * width + own.unit] = S{};
      }
      if constexpr (Cell::kHasCell) all.cell_carry[mine] = dcell;
    }
  }
}

// dbias of 32 outputs of a gate, 32 lanes of (batch, step) each.
template <class S, class Cell>
__global__ void __launch_bounds__(1024) bias_kernel(int64_t first, Recurrence<S> all) {
  using T = Computed<S>;
  T(*lanes)[33] = reinterpret_cast<T(*)[33]>(shared_memory<T>());
  const int x = lane_number(), y = warp_number();
  const int64_t width = all.width, output = (first + blockIdx.x) * 32 + x;
  T sum = 0;
  if (output < Cell::kGates * width) {
    const bool apart = Cell::kApart >= 0 && output / width == Cell::kApart;
    const S *from = apart ? all.apart + output % width : all.dx + output;
    const int64_t stride = apart ? width : Cell::kGates * width;
    for (int64_t m = y; m < all.batch * all.steps; m += 32) sum += widened(from[m * stride]);
  }
  lanes[y][x] = sum;
  for (int w = 16; w > 0; w /= 2) {
    __syncthreads();
    if (y < w) lanes[y][x] += lanes[y + w][x];
  }
  if (y == 0 && output < Cell::kGates * width) all.dbias[output] = lanes[0][x];
}

// The state before each (batch, step), as rows of an operand; zeros where the state is cleared or
// stands still.
template <class S>
struct Before {
  Recurrence<S> all;
  __device__ const S *row(int64_t, int64_t m) const {
    const int64_t b = m / all.steps, t = m % all.steps;
    const S *state = all.runs(b, t) ? all.before(b, t) : nullptr;
    return state == nullptr ? all.zeros : state;
  }
};

// The same rows one after another.
template <class S>
__global__ void __launch_bounds__(kScanThreads)
    before_kernel(int64_t first, Recurrence<S> all, int64_t elements) {
  const int64_t i = (first + blockIdx.x) * kScanThreads + threadIdx.x;
  if (i < elements) all.states[i] = Before<S>{all}.row(0, i / all.width)[i % all.width];
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

template <class S, class Cell>
void weight_slopes(Call &call, pnd_context *context, const Recurrence<S> &all) {
  const int64_t width = all.width, rows = all.batch * all.steps;
  if constexpr (std::is_same_v<S, Bf16>) {
    const int64_t elements = rows * width;
    launch_blocks(call, context, before_kernel<S>, (elements + kScanThreads - 1) / kScanThreads,
                  dim3(kScanThreads), 0, all, elements);
  }
  for (int g = 0; g < Cell::kGates && !call.refused(); ++g) {
    const bool apart = g == Cell::kApart;
    const S *slopes = apart ? all.apart : all.dx + g * width;
    const int64_t stride = apart ? width : Cell::kGates * width;
    S *dweight = all.dweight + g * width * width;
    if constexpr (std::is_same_v<S, Bf16>) {
      product_bf16(call, context, dweight, all.whole, Bf16Operand{slopes, stride, 0, all.whole},
                   false, Bf16Operand{all.states, width, 0, all.whole}, false, 1, width, width,
                   rows);
    } else {
      product(call, context, Operand<S, Strided<S>>{{slopes, stride, 0}, false, all.whole},
              Operand<S, Before<S>>{{all}, false, all.whole},
              ToRows<S>{dweight, width, 0, all.whole, false}, 1, Extent{width}, width,
              Extent{rows});
    }
  }
  if (call.refused()) return;
  launch_blocks(call, context, bias_kernel<S, Cell>, (Cell::kGates * width + 31) / 32, dim3(1024),
                32 * 33 * sizeof(Computed<S>), all);
}

// What a call of either direction runs, its arguments checked.
template <class Cell, class S>
void recur(Call &call, pnd_context *context, Recurrence<S> all) {
  const int64_t width = all.width;
  all.whole = moves_whole(all.hidden, width) && moves_whole(all.weight, width) &&
              moves_whole(all.initial, width);
  run_scan<ForwardTiles<S, Cell::kGates>>(call, context, all, scan_kernel<S, Cell>,
                                          scan_depth(width), all.steps - 1, false);
}

template <class Cell, class S>
void recur_back(Call &call, pnd_context *context, Recurrence<S> all) {
  using T = Computed<S>;
  const int64_t width = all.width, stored = all.batch * all.steps * width;
  const auto bytes = [](int64_t n, size_t size) {
    return (n * static_cast<int64_t>(size) + 15) / 16 * 16;
  };
  const int64_t apart = Cell::kApart < 0 ? 0 : bytes(stored, sizeof(S));
  const int64_t states = std::is_same_v<S, Bf16> ? bytes(stored, sizeof(S)) : 0;
  const int64_t zeros = bytes(width, sizeof(S)), carry = bytes(all.batch * width, sizeof(T));
  const int64_t cell_carry = Cell::kHasCell ? carry : 0;
  if (call.reserve(0, apart + states + zeros + carry + cell_carry).refused()) return;
  auto *next = static_cast<char *>(static_cast<void *>(context->scratch));
  const auto take = [&](int64_t size) { return std::exchange(next, next + size); };
  all.apart = reinterpret_cast<S *>(take(apart));
  all.states = reinterpret_cast<S *>(take(states));
  all.zeros = reinterpret_cast<S *>(take(zeros));
  all.carry = reinterpret_cast<T *>(take(carry));
  all.cell_carry = reinterpret_cast<T *>(take(cell_carry));
  all.whole = moves_whole(all.hidden, width) && moves_whole(all.weight, width) &&
              moves_whole(all.initial, width) && moves_whole(all.dx, width) &&
              moves_whole(all.dweight, width);
  const cudaError_t cleared =
      cudaMemsetAsync(all.zeros, 0, static_cast<size_t>(width) * sizeof(S), context->stream);
  if (check(call, context, cleared) != PND_OK) return;
  run_scan<BackwardTiles<S>>(call, context, all, scan_back_kernel<S, Cell>,
                             Cell::kGates * scan_depth(width), all.steps, true);
  if (!call.refused()) weight_slopes<S, Cell>(call, context, all);
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
    all.length_range = {context->faults, list, 0, steps + 1};
    recur<Cell>(call, context, all);
  });
  return call.status();
}

template <class Cell>
int32_t backward(Call &call, pnd_context *context, int32_t dtype, Checked list, void *dx,
                 void *dweight, void *dbias, void *dinitial, void *dinitial_cell,
                 const void *dhidden, const void *dlast_cell, const void *weight,
                 const void *initial, const void *initial_cell, const void *hidden,
                 const void *cells, const void *gates, const int32_t *resets,
                 const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
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
    all.length_range = {context->faults, list, 0, steps + 1};
    recur_back<Cell>(call, context, all);
  });
  return call.status();
}
