// SPDX-License-Identifier: Apache-2.0
// gru: the gated recurrent unit over a sequence, forward and backward through time.
// r = sigmoid(x0 + c0 + W0 h);  z = sigmoid(x1 + c1 + W1 h);  u = c2 + W2 h;  n = tanh(x2 + r u)
// hidden = n + z (h - n), h being the state before the step
// Shapes   x [batch, steps, 3, width]; weight [3, width, width] (output, input); bias [3, width];
//          initial [batch, width]; hidden [batch, steps, width]; gates [batch, steps, 4, width]
// Method   one launch per step, over blocks of 16 units and 16 or 64 sequences, so that every
//          multiprocessor reads its part of the weights from L2 once a step. A block has the three
//          gates of its units in registers, and the state follows from them. Backward: the same
//          from the end; a launch completes the gradient of its units' states and turns it into
//          those of the gates of the step before; then one product for dweight
// Order    each gate is one chain over the inputs that starts from the bias; the carried gradient
//          one chain over the gates r, z, u and their outputs that starts from z dh; dweight one
//          chain over (batch, step); dbias in 32 lanes over (batch, step)
// Error    relative norm <= 1e-5 in f32 against the exact scan
// Work     6 width^2 flops per step forward, 12 backward, and about 100 width
// Source   Cho et al., arXiv:1406.1078; the reset gate stands after the product
#include "product.cuh"
#include "tile.cuh"

namespace {

constexpr int kGates = 3;
constexpr int kUnits = kTileSide;  // of a block forward

template <class T>
struct Gru {
  int64_t batch, steps, width;
  T *hidden, *gates, *dx, *dweight, *dbias, *dinitial;
  const T *x, *weight, *bias, *initial, *dhidden;
  bool whole;     // rows can be moved 16 bytes at a time
  T *du, *carry;  // [batch, steps, width], [batch, width]: scratch of the backward function

  // The state before step t of sequence b, and the distance to the next sequence's.
  __device__ const T *before(int64_t b, int64_t t) const {
    return t == 0 ? initial + b * width : hidden + (b * steps + t - 1) * width;
  }
  __device__ int64_t before_stride(int64_t t) const { return t == 0 ? width : steps * width; }
};

// A block's tiles: kDeep columns of its sequences' rows and of the weights.
template <class T, int kOwn>
struct GruTiles {
  static constexpr int kSequences = kOwn * kTileSide;
  static constexpr int kDeep = 512 / static_cast<int>(sizeof(T));
  static constexpr int kStride = kDeep + kWide<T>;
  // Backward: runs of units lie side by side where there are many sequences.
  static constexpr int kCols = kOwn == 1 ? 1 : kWide<T>;
  static constexpr int kBackUnits = kCols * kTileSide;
  static constexpr size_t kShared = (kSequences + kGates * kUnits) * kStride * sizeof(T);
  static constexpr size_t kBackShared = (kSequences * kStride + kDeep * kBackUnits) * sizeof(T);
};

template <class T, int kOwn>
__global__ void __launch_bounds__(kTileThreads, 2)
    step_kernel(int64_t first, Gru<T> gru, int64_t t, int64_t unit_blocks) {
  using Tiles = GruTiles<T, kOwn>;
  constexpr int kStride = Tiles::kStride, kDeep = Tiles::kDeep;
  T *states = shared_memory<T>(), *weights = states + Tiles::kSequences * kStride;
  const int64_t block = first + blockIdx.x, width = gru.width;
  const int64_t unit0 = block % unit_blocks * kUnits, unit = unit0 + tile_x();
  const int64_t b0 = block / unit_blocks * Tiles::kSequences;
  const bool exists = unit < width;

  T sums[kOwn][kGates];
  PND_UNROLL
  for (int g = 0; g < kGates; ++g) {
    const T start = exists ? gru.bias[g * width + unit] : T(0);
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) sums[i][g] = start;
  }
  for (int64_t k = 0; k < width; k += kDeep) {
    __syncthreads();
    copy_tile<Tiles::kSequences, kDeep>(states, kStride, gru.before(b0, t) + k,
                                        gru.before_stride(t), gru.batch - b0, width - k, gru.whole);
#pragma unroll 1
    for (int g = 0; g < kGates; ++g) {
      copy_tile<kUnits, kDeep>(weights + g * kUnits * kStride, kStride,
                               gru.weight + (g * width + unit0) * width + k, width, width - unit0,
                               width - k, gru.whole);
    }
    await_copies<0>();
    __syncthreads();
    add_dots<kDeep>(sums, states + tile_y() * kOwn * kStride, kStride, weights + tile_x() * kStride,
                    kStride);
  }
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    const int64_t b = b0 + tile_y() * kOwn + i;
    if (!exists || b >= gru.batch) continue;
    const int64_t at = b * gru.steps + t;
    const T *x = gru.x + at * kGates * width + unit;
    const T h = gru.before(b, t)[unit], u = sums[i][2];
    const T r = sigmoid_of(x[0] + sums[i][0]), z = sigmoid_of(x[width] + sums[i][1]);
    const T n = tanh_of(fma(r, u, x[2 * width]));
    T *gates = gru.gates + at * 4 * width + unit;
    gates[0] = r;
    gates[width] = z;
    gates[2 * width] = n;
    gates[3 * width] = u;
    gru.hidden[at * width + unit] = fma(z, h - n, n);
  }
}

// From the gradient dh of the state after step t to those of the step's gates; z dh is carried.
template <class T>
__device__ __forceinline__ void step_slopes(const Gru<T> &gru, int64_t b, int64_t t, int64_t unit,
                                            T dh) {
  const int64_t width = gru.width, at = b * gru.steps + t;
  const T *gates = gru.gates + at * 4 * width + unit;
  const T r = gates[0], z = gates[width], n = gates[2 * width], u = gates[3 * width];
  const T dn = dh * (T(1) - z) * (T(1) - n * n);
  T *dx = gru.dx + at * kGates * width + unit;
  dx[0] = dn * u * r * (T(1) - r);
  dx[width] = dh * (gru.before(b, t)[unit] - n) * z * (T(1) - z);
  dx[2 * width] = dn;
  gru.du[at * width + unit] = dn * r;
  gru.carry[b * width + unit] = dh * z;
}

// With the slopes of step t at hand (none where t = steps): those of step t - 1, or dinitial.
template <class T, int kOwn>
__global__ void __launch_bounds__(kTileThreads, 2)
    step_back_kernel(int64_t first, Gru<T> gru, int64_t t, int64_t unit_blocks) {
  using Tiles = GruTiles<T, kOwn>;
  constexpr int kStride = Tiles::kStride, kDeep = Tiles::kDeep, kCols = Tiles::kCols;
  constexpr int kWide = Tiles::kBackUnits;
  T *slopes = shared_memory<T>(), *weights = slopes + Tiles::kSequences * kStride;
  const int64_t block = first + blockIdx.x, width = gru.width;
  const int64_t unit0 = block % unit_blocks * kWide;
  const int64_t b0 = block / unit_blocks * Tiles::kSequences;
  const auto each_own = [&](auto &&body) {
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      PND_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int64_t b = b0 + tile_y() * kOwn + i, unit = unit0 + Columns<T, kCols>::at(j);
        if (b < gru.batch && unit < width) body(i, j, b, unit);
      }
    }
  };
  T sums[kOwn][kCols];
  clear(sums);
  if (t < gru.steps) {
    each_own(
        [&](int i, int j, int64_t b, int64_t unit) { sums[i][j] = gru.carry[b * width + unit]; });
    for (int g = 0; g < kGates; ++g) {
      const int64_t at = b0 * gru.steps + t, row = g == 2 ? width : kGates * width;
      const T *from = g == 2 ? gru.du + at * width : gru.dx + (at * kGates + g) * width;
      for (int64_t k = 0; k < width; k += kDeep) {
        __syncthreads();
        copy_tile<Tiles::kSequences, kDeep>(slopes, kStride, from + k, gru.steps * row,
                                            gru.batch - b0, width - k, gru.whole);
        copy_tile<kDeep, kWide>(weights, kWide, gru.weight + (g * width + k) * width + unit0, width,
                                width - k, width - unit0, gru.whole);
        await_copies<0>();
        __syncthreads();
        add_products<kDeep>(sums, slopes + tile_y() * kOwn * kStride, kStride, weights, kWide);
      }
    }
  }
  each_own([&](int i, int j, int64_t b, int64_t unit) {
    if (t == 0) {
      gru.dinitial[b * width + unit] = sums[i][j];
    } else {
      const T dh = gru.dhidden[(b * gru.steps + t - 1) * width + unit] + sums[i][j];
      step_slopes(gru, b, t - 1, unit, dh);
    }
  });
}

// dbias of 32 outputs of a gate, 32 lanes of (batch, step) each.
template <class T>
__global__ void __launch_bounds__(1024) bias_kernel(int64_t first, Gru<T> gru) {
  T(*lanes)[33] = reinterpret_cast<T(*)[33]>(shared_memory<T>());
  const int x = lane_number(), y = warp_number();
  const int64_t width = gru.width, output = (first + blockIdx.x) * 32 + x;
  T sum = 0;
  if (output < kGates * width) {
    const bool is_u = output >= 2 * width;
    const T *from = is_u ? gru.du + (output - 2 * width) : gru.dx + output;
    const int64_t stride = is_u ? width : kGates * width;
    for (int64_t m = y; m < gru.batch * gru.steps; m += 32) sum += from[m * stride];
  }
  lanes[y][x] = sum;
  for (int w = 16; w > 0; w /= 2) {
    __syncthreads();
    if (y < w) lanes[y][x] += lanes[y + w][x];
  }
  if (y == 0 && output < kGates * width) gru.dbias[output] = lanes[0][x];
}

// The state before each (batch, step), as rows of an operand.
template <class T>
struct Before {
  Gru<T> gru;
  __device__ const T *row(int64_t, int64_t m) const {
    return gru.before(m / gru.steps, m % gru.steps);
  }
};

// Many sequences: four for each thread.
inline bool many(int64_t batch) { return batch > 2 * kTileSide; }

template <class T, int kOwn>
void scan(Call &call, pnd_context *context, const Gru<T> &gru) {
  using Tiles = GruTiles<T, kOwn>;
  const int64_t units = (gru.width + kUnits - 1) / kUnits;
  const int64_t blocks = units * ((gru.batch + Tiles::kSequences - 1) / Tiles::kSequences);
  for (int64_t t = 0; t < gru.steps && !call.refused(); ++t) {
    launch_blocks(call, context, step_kernel<T, kOwn>, blocks, dim3(kTileThreads), Tiles::kShared,
                  gru, t, units);
  }
}

template <class T, int kOwn>
void scan_back(Call &call, pnd_context *context, const Gru<T> &gru) {
  using Tiles = GruTiles<T, kOwn>;
  const int64_t units = (gru.width + Tiles::kBackUnits - 1) / Tiles::kBackUnits;
  const int64_t blocks = units * ((gru.batch + Tiles::kSequences - 1) / Tiles::kSequences);
  for (int64_t t = gru.steps; t >= 0 && !call.refused(); --t) {
    launch_blocks(call, context, step_back_kernel<T, kOwn>, blocks, dim3(kTileThreads),
                  Tiles::kBackShared, gru, t, units);
  }
}

template <class T>
void weight_slopes(Call &call, pnd_context *context, const Gru<T> &gru) {
  const int64_t width = gru.width, rows = gru.batch * gru.steps;
  for (int g = 0; g < kGates && !call.refused(); ++g) {
    const Strided<T> slopes =
        g == 2 ? Strided<T>{gru.du, width, 0} : Strided<T>{gru.dx + g * width, kGates * width, 0};
    product(call, context, Operand<T, Strided<T>>{slopes, false, gru.whole},
            Operand<T, Before<T>>{{gru}, false, gru.whole},
            ToRows<T>{gru.dweight + g * width * width, width, 0, gru.whole, false}, 1,
            Extent{width}, width, Extent{rows});
  }
  if (call.refused()) return;
  launch_blocks(call, context, bias_kernel<T>, (kGates * width + 31) / 32, dim3(1024),
                32 * 33 * sizeof(T), gru);
}

}  // namespace

int32_t pnd_gru(pnd_context *context, int32_t dtype, void *hidden, void *gates, const void *x,
                const void *weight, const void *bias, const void *initial, int64_t batch,
                int64_t steps, int64_t width) {
  Call call(context, "gru");
  guard::gru(call, dtype, hidden, gates, x, weight, bias, initial, batch, steps, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Gru<T> gru{};
    gru.batch = batch;
    gru.steps = steps;
    gru.width = width;
    gru.hidden = static_cast<T *>(hidden);
    gru.gates = static_cast<T *>(gates);
    gru.x = static_cast<const T *>(x);
    gru.weight = static_cast<const T *>(weight);
    gru.bias = static_cast<const T *>(bias);
    gru.initial = static_cast<const T *>(initial);
    gru.whole = moves_whole(gru.hidden, width) && moves_whole(gru.weight, width) &&
                moves_whole(gru.initial, width);
    if (many(batch)) {
      scan<T, 4>(call, context, gru);
    } else {
      scan<T, 1>(call, context, gru);
    }
  });
  return call.status();
}

int32_t pnd_gru_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates, int64_t batch,
                         int64_t steps, int64_t width) {
  Call call(context, "gru_backward");
  guard::gru_backward(call, dtype, dx, dweight, dbias, dinitial, dhidden, weight, initial, hidden,
                      gates, batch, steps, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t states = (batch * steps * width + kWide<T> - 1) / kWide<T> * kWide<T>;
    if (call.reserve(0, (states + batch * width) * sizeof(T)).refused()) return;
    Gru<T> gru{};
    gru.batch = batch;
    gru.steps = steps;
    gru.width = width;
    gru.dx = static_cast<T *>(dx);
    gru.dweight = static_cast<T *>(dweight);
    gru.dbias = static_cast<T *>(dbias);
    gru.dinitial = static_cast<T *>(dinitial);
    gru.dhidden = static_cast<const T *>(dhidden);
    gru.weight = static_cast<const T *>(weight);
    gru.initial = static_cast<const T *>(initial);
    gru.hidden = static_cast<T *>(const_cast<void *>(hidden));
    gru.gates = static_cast<T *>(const_cast<void *>(gates));
    gru.du = static_cast<T *>(context->scratch);
    gru.carry = gru.du + states;
    gru.whole = moves_whole(gru.hidden, width) && moves_whole(gru.weight, width) &&
                moves_whole(gru.initial, width) && moves_whole(gru.dx, width) &&
                moves_whole(gru.dweight, width);
    if (many(batch)) {
      scan_back<T, 4>(call, context, gru);
    } else {
      scan_back<T, 1>(call, context, gru);
    }
    if (!call.refused()) weight_slopes(call, context, gru);
  });
  return call.status();
}
