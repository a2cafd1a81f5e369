// SPDX-License-Identifier: Apache-2.0
// recurrent.cuh: the scan that recurrent cells share, forward and backward through time. A cell is
// a struct with
//   kGates     products with the state per unit, each with a weight [width, width] and a bias
//   kHasCell   whether it carries a cell beside the hidden state
//   kApart     the gate whose sum has another derivative than x, kept in Recurrence::apart; or -1
//   step       the state of a unit after a step, from the sums of its gates
//   slopes     the derivatives of those sums, from that of the state; what the state before it gets
//              beside the products
// Method   one launch per step, over blocks of 16 units and 16 or 64 sequences, so that every
//          multiprocessor reads its part of the weights from L2 once a step. A block has the gates
//          of its units in registers, and the state follows from them; one whose sequences all
//          stand still copies their states. Backward: the same from the end; a launch completes the
//          gradient of its units' states and turns it into those of the gates of the step before;
//          then one product for dweight
// Order    each gate is one chain over the inputs that starts from the bias; the carried gradient
//          one chain over the gates and their outputs that starts from what slopes gives; dweight
//          one chain over (batch, step); dbias in 32 lanes over (batch, step)
#pragma once

#include "product.cuh"
#include "tile.cuh"

constexpr int kUnits = kTileSide;  // of a block forward

// The arrays of a call: those that its cell or direction lacks are null.
template <class T>
struct Recurrence {
  int64_t batch, steps, width;
  T *hidden, *cells, *gates, *dx, *dweight, *dbias, *dinitial, *dinitial_cell;
  const T *x, *weight, *bias, *initial, *initial_cell, *dhidden, *dlast_cell;
  const int32_t *resets, *lengths;
  Range length_range;
  bool whole;  // rows can be moved 16 bytes at a time
  // Scratch of the backward function: [batch, steps, width], [batch, width] twice, [width] of 0.
  T *apart, *carry, *cell_carry, *zeros;

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
  __device__ const T *found(const T *states, const T *first, int64_t b, int64_t t) const {
    return t == 0 ? first + b * width : states + (row(b, t) - 1) * width;
  }
  // The state before step t; null where it is cleared.
  __device__ const T *before(int64_t b, int64_t t) const {
    return is_reset(b, t) ? nullptr : found(hidden, initial, b, t);
  }
  // One unit of it, and of the cell.
  __device__ T state(int64_t b, int64_t t, int64_t unit) const {
    return is_reset(b, t) ? T(0) : found(hidden, initial, b, t)[unit];
  }
  __device__ T cell(int64_t b, int64_t t, int64_t unit) const {
    return is_reset(b, t) ? T(0) : found(cells, initial_cell, b, t)[unit];
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

// A block's tiles: kDeep columns of its sequences' rows and of the weights.
template <class T, class Cell, int kOwn>
struct RecurrentTiles {
  static constexpr int kSequences = kOwn * kTileSide;
  static constexpr int kDeep = 512 / static_cast<int>(sizeof(T));
  static constexpr int kStride = kDeep + kWide<T>;
  // Backward: runs of units lie side by side where there are many sequences.
  static constexpr int kCols = kOwn == 1 ? 1 : kWide<T>;
  static constexpr int kBackUnits = kCols * kTileSide;
  static constexpr size_t kShared = (kSequences + Cell::kGates * kUnits) * kStride * sizeof(T);
  static constexpr size_t kBackShared = (kSequences * kStride + kDeep * kBackUnits) * sizeof(T);
};

template <class T, class Cell, int kOwn>
__global__ void __launch_bounds__(kTileThreads, 2)
    step_kernel(int64_t first, Recurrence<T> all, int64_t t, int64_t unit_blocks) {
  using Tiles = RecurrentTiles<T, Cell, kOwn>;
  constexpr int kStride = Tiles::kStride, kDeep = Tiles::kDeep, kGates = Cell::kGates;
  T *states = shared_memory<T>(), *weights = states + Tiles::kSequences * kStride;
  const int64_t block = first + blockIdx.x, width = all.width;
  const int64_t unit0 = block % unit_blocks * kUnits, unit = unit0 + tile_x();
  const int64_t b0 = block / unit_blocks * Tiles::kSequences;
  const bool exists = unit < width;

  T sums[kOwn][kGates];
  if (all.template any_runs<Tiles::kSequences>(b0, t)) {
    PND_UNROLL
    for (int g = 0; g < kGates; ++g) {
      const T start = exists ? all.bias[g * width + unit] : T(0);
      PND_UNROLL
      for (int i = 0; i < kOwn; ++i) sums[i][g] = start;
    }
    for (int64_t k = 0; k < width; k += kDeep) {
      __syncthreads();
      copy_tile_at<Tiles::kSequences, kDeep>(
          states, kStride, width - k, all.whole, [&](int r) -> const T * {
            const int64_t b = b0 + r;
            const T *state = b < all.batch ? all.before(b, t) : nullptr;
            return state == nullptr ? nullptr : state + k;
          });
#pragma unroll 1
      for (int g = 0; g < kGates; ++g) {
        copy_tile<kUnits, kDeep>(weights + g * kUnits * kStride, kStride,
                                 all.weight + (g * width + unit0) * width + k, width, width - unit0,
                                 width - k, all.whole);
      }
      await_copies<0>();
      __syncthreads();
      add_dots<kDeep>(sums, states + tile_y() * kOwn * kStride, kStride,
                      weights + tile_x() * kStride, kStride);
    }
  }
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    const int64_t b = b0 + tile_y() * kOwn + i;
    if (!exists || b >= all.batch) continue;
    const int64_t at = all.row(b, t), to = at * width + unit;
    if (all.runs(b, t)) {
      all.hidden[to] = Cell::step(all, b, t, unit, sums[i]);
      continue;
    }
    all.hidden[to] = all.found(all.hidden, all.initial, b, t)[unit];
    if constexpr (Cell::kHasCell) {
      all.cells[to] = all.found(all.cells, all.initial_cell, b, t)[unit];
    }
    PND_UNROLL
    for (int g = 0; g < 4; ++g) all.gates[(at * 4 + g) * width + unit] = 0;
  }
}

// With the slopes of step t at hand (none where t = steps): those of step t - 1, or dinitial.
template <class T, class Cell, int kOwn>
__global__ void __launch_bounds__(kTileThreads, 2)
    step_back_kernel(int64_t first, Recurrence<T> all, int64_t t, int64_t unit_blocks) {
  using Tiles = RecurrentTiles<T, Cell, kOwn>;
  constexpr int kStride = Tiles::kStride, kDeep = Tiles::kDeep, kCols = Tiles::kCols;
  constexpr int kWide = Tiles::kBackUnits;
  T *slopes = shared_memory<T>(), *weights = slopes + Tiles::kSequences * kStride;
  const int64_t block = first + blockIdx.x, width = all.width;
  const int64_t unit0 = block % unit_blocks * kWide;
  const int64_t b0 = block / unit_blocks * Tiles::kSequences;
  const auto each_own = [&](auto &&body) {
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      PND_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int64_t b = b0 + tile_y() * kOwn + i, unit = unit0 + Columns<T, kCols>::at(j);
        if (b < all.batch && unit < width) body(i, j, b, unit);
      }
    }
  };
  T sums[kOwn][kCols];
  clear(sums);
  if (t < all.steps && all.template any_runs<Tiles::kSequences>(b0, t)) {
    each_own(
        [&](int i, int j, int64_t b, int64_t unit) { sums[i][j] = all.carry[b * width + unit]; });
    for (int g = 0; g < Cell::kGates; ++g) {
      const bool apart = g == Cell::kApart;
      const int64_t at = all.row(b0, t), row = apart ? width : Cell::kGates * width;
      const T *from = apart ? all.apart + at * width : all.dx + (at * Cell::kGates + g) * width;
      for (int64_t k = 0; k < width; k += kDeep) {
        __syncthreads();
        copy_tile<Tiles::kSequences, kDeep>(slopes, kStride, from + k, all.steps * row,
                                            all.batch - b0, width - k, all.whole);
        copy_tile<kDeep, kWide>(weights, kWide, all.weight + (g * width + k) * width + unit0, width,
                                width - k, width - unit0, all.whole);
        await_copies<0>();
        __syncthreads();
        add_products<kDeep>(sums, slopes + tile_y() * kOwn * kStride, kStride, weights, kWide);
      }
    }
  }
  each_own([&](int i, int j, int64_t b, int64_t unit) {
    const int64_t own = b * width + unit;
    const bool ran = t < all.steps && all.runs(b, t), cleared = ran && all.is_reset(b, t);
    // Where the state stood still, the products count for nothing, not even 0 times a weight.
    const T passed = t < all.steps && !ran ? all.carry[own] : cleared ? T(0) : sums[i][j];
    T dcell = 0;
    if constexpr (Cell::kHasCell) {
      if (t < all.steps) {
        dcell = cleared ? T(0) : all.cell_carry[own];
      } else if (all.dlast_cell != nullptr) {
        dcell = all.dlast_cell[own];
      }
    }
    if (t == 0) {
      all.dinitial[own] = passed;
      if constexpr (Cell::kHasCell) all.dinitial_cell[own] = dcell;
      return;
    }
    const int64_t at = all.row(b, t - 1);
    const T dh = all.dhidden[at * width + unit] + passed;
    if (all.runs(b, t - 1)) {
      all.carry[own] = Cell::slopes(all, b, t - 1, unit, dh, dcell);
    } else {
      all.carry[own] = dh;
      PND_UNROLL
      for (int g = 0; g < Cell::kGates; ++g) {
        all.dx[(at * Cell::kGates + g) * width + unit] = 0;
      }
      if constexpr (Cell::kApart >= 0) all.apart[at * width + unit] = 0;
    }
    if constexpr (Cell::kHasCell) all.cell_carry[own] = dcell;
  });
}

// dbias of 32 outputs of a gate, 32 lanes of (batch, step) each.
template <class T, class Cell>
__global__ void __launch_bounds__(1024) bias_kernel(int64_t first, Recurrence<T> all) {
  T(*lanes)[33] = reinterpret_cast<T(*)[33]>(shared_memory<T>());
  const int x = lane_number(), y = warp_number();
  const int64_t width = all.width, output = (first + blockIdx.x) * 32 + x;
  T sum = 0;
  if (output < Cell::kGates * width) {
    const bool apart = Cell::kApart >= 0 && output / width == Cell::kApart;
    const T *from = apart ? all.apart + output % width : all.dx + output;
    const int64_t stride = apart ? width : Cell::kGates * width;
    for (int64_t m = y; m < all.batch * all.steps; m += 32) sum += from[m * stride];
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
template <class T>
struct Before {
  Recurrence<T> all;
  __device__ const T *row(int64_t, int64_t m) const {
    const int64_t b = m / all.steps, t = m % all.steps;
    const T *state = all.runs(b, t) ? all.before(b, t) : nullptr;
    return state == nullptr ? all.zeros : state;
  }
};

template <class T, class Cell, int kOwn>
void scan(Call &call, pnd_context *context, const Recurrence<T> &all) {
  using Tiles = RecurrentTiles<T, Cell, kOwn>;
  const int64_t units = (all.width + kUnits - 1) / kUnits;
  const int64_t blocks = units * ((all.batch + Tiles::kSequences - 1) / Tiles::kSequences);
  for (int64_t t = 0; t < all.steps && !call.refused(); ++t) {
    launch_blocks(call, context, step_kernel<T, Cell, kOwn>, blocks, dim3(kTileThreads),
                  Tiles::kShared, all, t, units);
  }
}

template <class T, class Cell, int kOwn>
void scan_back(Call &call, pnd_context *context, const Recurrence<T> &all) {
  using Tiles = RecurrentTiles<T, Cell, kOwn>;
  const int64_t units = (all.width + Tiles::kBackUnits - 1) / Tiles::kBackUnits;
  const int64_t blocks = units * ((all.batch + Tiles::kSequences - 1) / Tiles::kSequences);
  for (int64_t t = all.steps; t >= 0 && !call.refused(); --t) {
    launch_blocks(call, context, step_back_kernel<T, Cell, kOwn>, blocks, dim3(kTileThreads),
                  Tiles::kBackShared, all, t, units);
  }
}

template <class T, class Cell>
void weight_slopes(Call &call, pnd_context *context, const Recurrence<T> &all) {
  const int64_t width = all.width, rows = all.batch * all.steps;
  for (int g = 0; g < Cell::kGates && !call.refused(); ++g) {
    const Strided<T> slopes = g == Cell::kApart
                                  ? Strided<T>{all.apart, width, 0}
                                  : Strided<T>{all.dx + g * width, Cell::kGates * width, 0};
    product(call, context, Operand<T, Strided<T>>{slopes, false, all.whole},
            Operand<T, Before<T>>{{all}, false, all.whole},
            ToRows<T>{all.dweight + g * width * width, width, 0, all.whole, false}, 1,
            Extent{width}, width, Extent{rows});
  }
  if (call.refused()) return;
  launch_blocks(call, context, bias_kernel<T, Cell>, (Cell::kGates * width + 31) / 32, dim3(1024),
                32 * 33 * sizeof(T), all);
}

// Many sequences: four for each thread.
inline bool many(int64_t batch) { return batch > 2 * kTileSide; }

// What a call runs, its arguments checked.
template <class Cell, class T>
void recur(Call &call, pnd_context *context, Recurrence<T> all) {
  const int64_t width = all.width;
  all.whole = moves_whole(all.hidden, width) && moves_whole(all.weight, width) &&
              moves_whole(all.initial, width);
  if (many(all.batch)) {
    scan<T, Cell, 4>(call, context, all);
  } else {
    scan<T, Cell, 1>(call, context, all);
  }
}

template <class Cell, class T>
void recur_back(Call &call, pnd_context *context, Recurrence<T> all) {
  const int64_t width = all.width;
  const auto padded = [](int64_t n) { return (n + kWide<T> - 1) / kWide<T> * kWide<T>; };
  const int64_t apart = Cell::kApart < 0 ? 0 : padded(all.batch * all.steps * width);
  const int64_t carry = padded(all.batch * width);
  const int64_t cell_carry = Cell::kHasCell ? carry : 0;
  const int64_t elements = apart + carry + cell_carry + width;
  if (call.reserve(0, elements * static_cast<int64_t>(sizeof(T))).refused()) return;
  all.apart = static_cast<T *>(context->scratch);
  all.carry = all.apart + apart;
  all.cell_carry = all.carry + carry;
  all.zeros = all.cell_carry + cell_carry;
  all.whole = moves_whole(all.hidden, width) && moves_whole(all.weight, width) &&
              moves_whole(all.initial, width) && moves_whole(all.dx, width) &&
              moves_whole(all.dweight, width);
  const cudaError_t cleared =
      cudaMemsetAsync(all.zeros, 0, static_cast<size_t>(width) * sizeof(T), context->stream);
  if (check(call, context, cleared) != PND_OK) return;
  if (many(all.batch)) {
    scan_back<T, Cell, 4>(call, context, all);
  } else {
    scan_back<T, Cell, 1>(call, context, all);
  }
  if (!call.refused()) weight_slopes<T, Cell>(call, context, all);
}
