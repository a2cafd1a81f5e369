// SPDX-License-Identifier: Apache-2.0
// recurrent_backward.cuh: the scan of recurrent.cuh back through time, and the products that
// follow. Method   from the end, by the blocks of the scan forward: a step completes the gradient
// of the
//          states and turns it into those of the gates of the step before, which dx hands on; then
//          one product for dweight. The carried gradient is of floats where the arrays are of bf16
// Order    recurrent_tile.cuh's parts of the sums over the gates and their outputs are added to
// what
//          slopes gives; dweight is one chain over (batch, step), of bf16 as product_bf16.cuh has
//          it; dbias runs in 32 lanes over (batch, step)
#pragma once

#include "product.cuh"
#include "product_bf16.cuh"
#include "recurrent.cuh"

template <class S>
using BackwardTiles = ScanTiles<S, 1, kScanUnits>;
// Of a multiprocessor, as their registers have to allow.
template <class S>
constexpr int kScanBackBlocks = std::is_same_v<S, Bf16> ? 2 : 1;

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

// The backward function of a cell, as recurrent.cuh's forward.
template <class Cell>
int32_t backward(Call &call, pnd_context *context, int32_t dtype, Checked list, void *dx,
                 void *dweight, void *dbias, void *dinitial, void *dinitial_cell,
                 const void *dhidden, const void *dlast_cell, const void *weight,
                 const void *initial, const void *initial_cell, const void *hidden,
                 const void *cells, const void *gates, const int32_t *resets,
                 const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    auto all = recurrence_of<Recurrence<decltype(type)>>(
        hidden, cells, gates, weight, initial, initial_cell, resets, lengths, batch, steps, width);
    give_slopes(all, dx, dweight, dbias, dinitial, dinitial_cell, dhidden, dlast_cell);
    all.length_range = {context->faults, list, 0, steps + 1};
    recur_back<Cell>(call, context, all);
  });
  return call.status();
}
