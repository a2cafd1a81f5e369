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
//          then one product for dweight. bf16 is widened as it is multiplied, and rounded as it is
//          stored; the carried gradient, the cells and the bias are floats
// Order    each gate is one chain over the inputs that starts from the bias; the carried gradient
//          one chain over the gates and their outputs that starts from what slopes gives; dweight
//          one chain over (batch, step), of bf16 as product_bf16.cuh has it; dbias in 32 lanes over
//          (batch, step)
#pragma once

#include "product.cuh"
#include "product_bf16.cuh"
#include "tile.cuh"

constexpr int kUnits = kTileSide;  // of a block forward

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

// A block's tiles: kDeep columns of its sequences' rows and of the weights.
template <class S, class Cell, int kOwn>
struct RecurrentTiles {
  static constexpr int kSequences = kOwn * kTileSide;
  static constexpr int kDeep = 512 / static_cast<int>(sizeof(Computed<S>));
  static constexpr int kStride = kDeep + kWide<S>;
  // Backward: runs of units lie side by side where there are many sequences.
  static constexpr int kCols = kOwn == 1 ? 1 : kWide<S>;
  static constexpr int kBackUnits = kCols * kTileSide;
  static constexpr size_t kShared = (kSequences + Cell::kGates * kUnits) * kStride * sizeof(S);
  static constexpr size_t kBackShared = (kSequences * kStride + kDeep * kBackUnits) * sizeof(S);
};

template <class S, class Cell, int kOwn>
__global__ void __launch_bounds__(kTileThreads, 2)
    step_kernel(int64_t first, Recurrence<S> all, int64_t t, int64_t unit_blocks) {
  using Tiles = RecurrentTiles<S, Cell, kOwn>;
  using T = Computed<S>;
  constexpr int kStride = Tiles::kStride, kDeep = Tiles::kDeep, kGates = Cell::kGates;
  S *states = shared_memory<S>(), *weights = states + Tiles::kSequences * kStride;
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
          states, kStride, width - k, all.whole, [&](int r) -> const S * {
            const int64_t b = b0 + r;
            const S *state = b < all.batch ? all.before(b, t) : nullptr;
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
      all.hidden[to] = stored<S>(Cell::step(all, b, t, unit, sums[i]));
      continue;
    }
    all.hidden[to] = all.template found<S>(all.hidden, all.initial, b, t)[unit];
    if constexpr (Cell::kHasCell) {
      all.cells[to] = all.template found<T>(all.cells, all.initial_cell, b, t)[unit];
    }
    PND_UNROLL
    for (int g = 0; g < 4; ++g) all.gates[(at * 4 + g) * width + unit] = S{};
  }
}

// With the slopes of step t at hand (none where t = steps): those of step t - 1, or dinitial.
template <class S, class Cell, int kOwn>
__global__ void __launch_bounds__(kTileThreads, 2)
    step_back_kernel(int64_t first, Recurrence<S> all, int64_t t, int64_t unit_blocks) {
  using Tiles = RecurrentTiles<S, Cell, kOwn>;
  using T = Computed<S>;
  constexpr int kStride = Tiles::kStride, kDeep = Tiles::kDeep, kCols = Tiles::kCols;
  constexpr int kWide = Tiles::kBackUnits;
  S *slopes = shared_memory<S>(), *weights = slopes + Tiles::kSequences * kStride;
  const int64_t block = first + blockIdx.x, width = all.width;
  const int64_t unit0 = block % unit_blocks * kWide;
  const int64_t b0 = block / unit_blocks * Tiles::kSequences;
  const auto each_own = [&](auto &&body) {
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      PND_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int64_t b = b0 + tile_y() * kOwn + i, unit = unit0 + Columns<S, kCols>::at(j);
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
      const S *from = apart ? all.apart + at * width : all.dx + (at * Cell::kGates + g) * width;
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
      all.dinitial[own] = stored<S>(passed);
      if constexpr (Cell::kHasCell) all.dinitial_cell[own] = dcell;
      return;
    }
    const int64_t at = all.row(b, t - 1);
    const T dh = widened(all.dhidden[at * width + unit]) + passed;
    if (all.runs(b, t - 1)) {
      all.carry[own] = Cell::slopes(all, b, t - 1, unit, dh, dcell);
    } else {
      all.carry[own] = dh;
      PND_UNROLL
      for (int g = 0; g < Cell::kGates; ++g) {
        all.dx[(at * Cell::kGates + g) * width + unit] = S{};
      }
      if constexpr (Cell::kApart >= 0) all.apart[at * width + unit] = S{};
    }
    if constexpr (Cell::kHasCell) all.cell_carry[own] = dcell;
  });
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
__global__ void __launch_bounds__(kTileThreads)
    before_kernel(int64_t first, Recurrence<S> all, int64_t elements) {
  const int64_t i = (first + blockIdx.x) * kTileThreads + threadIdx.x;
  if (i < elements) all.states[i] = Before<S>{all}.row(0, i / all.width)[i % all.width];
}

template <class S, class Cell, int kOwn>
void scan(Call &call, pnd_context *context, const Recurrence<S> &all) {
  using Tiles = RecurrentTiles<S, Cell, kOwn>;
  const int64_t units = (all.width + kUnits - 1) / kUnits;
  const int64_t blocks = units * ((all.batch + Tiles::kSequences - 1) / Tiles::kSequences);
  for (int64_t t = 0; t < all.steps && !call.refused(); ++t) {
    launch_blocks(call, context, step_kernel<S, Cell, kOwn>, blocks, dim3(kTileThreads),
                  Tiles::kShared, all, t, units);
  }
}

template <class S, class Cell, int kOwn>
void scan_back(Call &call, pnd_context *context, const Recurrence<S> &all) {
  using Tiles = RecurrentTiles<S, Cell, kOwn>;
  const int64_t units = (all.width + Tiles::kBackUnits - 1) / Tiles::kBackUnits;
  const int64_t blocks = units * ((all.batch + Tiles::kSequences - 1) / Tiles::kSequences);
  for (int64_t t = all.steps; t >= 0 && !call.refused(); --t) {
    launch_blocks(call, context, step_back_kernel<S, Cell, kOwn>, blocks, dim3(kTileThreads),
                  Tiles::kBackShared, all, t, units);
  }
}

template <class S, class Cell>
void weight_slopes(Call &call, pnd_context *context, const Recurrence<S> &all) {
  const int64_t width = all.width, rows = all.batch * all.steps;
  if constexpr (std::is_same_v<S, Bf16>) {
    const int64_t elements = rows * width;
    launch_blocks(call, context, before_kernel<S>, (elements + kTileThreads - 1) / kTileThreads,
                  dim3(kTileThreads), 0, all, elements);
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

// Many sequences: four for each thread.
inline bool many(int64_t batch) { return batch > 2 * kTileSide; }

// What a call of either direction runs, its arguments checked.
template <class Cell, class S>
void recur(Call &call, pnd_context *context, Recurrence<S> all) {
  const int64_t width = all.width;
  all.whole = moves_whole(all.hidden, width) && moves_whole(all.weight, width) &&
              moves_whole(all.initial, width);
  if (many(all.batch)) {
    scan<S, Cell, 4>(call, context, all);
  } else {
    scan<S, Cell, 1>(call, context, all);
  }
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
  if (many(all.batch)) {
    scan_back<S, Cell, 4>(call, context, all);
  } else {
    scan_back<S, Cell, 1>(call, context, all);
  }
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
