// SPDX-License-Identifier: Apache-2.0
// fast_weights_chunk.cuh: what the steps of a chunk need of each other's keys, for all chunks at
// once: P and L, in the letters of fast_weights_chunk.cu.
// Method   a block of 4 warps has a chunk of one head, a warp 16 of its steps. The squares of 16
//          steps on the diagonal of L are inverted in f32. M is multiplied onwards from step to
//          step
// Order    products take 16 keys at a time, upwards, in f32
#pragma once

#include "fast_weights.cuh"
#include "fragment.cuh"

constexpr int kMost = 64;   // steps of a chunk
constexpr int kCols = 64;   // columns of a state that a block has
constexpr int kOwners = 4;  // warps of a block
constexpr int kBlock = kOwners * kWarp;
constexpr int kBands = kMost / 16;
constexpr int kSquare = 16 * 17;      // of the diagonal, rows apart
constexpr int kTile = kMost * kCols;  // of steps, or of their values
static_assert(kMost == kCols, "tiles of steps by steps and of steps by columns are alike");

// Both kernels' arguments.
struct Chunks {
  FastWeights<Bf16> f;
  int64_t chunk, panels;
  bool whole_q, whole_v, whole_out;  // rows can be moved 16 bytes at a time
  // Of each token: a row of P, one of L, and the sum of that of P. The diagonal's squares of L are
  // those of their inverse without its ones, the others are negative.
  Bf16 *scores, *system;
  float *sums;

  // Where the chunk from step t on ends: with the steps, and before a reset. All lanes ask.
  __device__ __forceinline__ int64_t end_of(int64_t bh, int64_t t, int64_t length) const {
    const int64_t full = t / chunk * chunk + chunk, end = full < length ? full : length;
    for (int i = 1; f.resets != nullptr && i < kMost; i += kWarp) {
      const int64_t at = t + i + lane_number();
      const uint32_t found = __ballot_sync(kAllLanes, at < end && f.resets_at(bh, at));
      if (found != 0) return t + i + __ffs(static_cast<int>(found)) - 1;
    }
    return end;
  }
};

// The keys of a chunk, with what multiplies its steps.
template <int kKeys>
struct KeyTiles {
  static constexpr int kRow = kMost * kKeys;
  Bf16 *q, *k;
  float *decay, *rate;

  // Begins to copy those of n tokens from `at` on.
  __device__ __forceinline__ void copy(const Chunks &c, int64_t at, int n) const {
    const FastWeights<Bf16> &f = c.f;
    const int64_t step = f.heads * f.keys, thread = threadIdx.x;
    const int keys = static_cast<int>(f.keys);
    const auto rows_of = [&](const void *array) {
      return static_cast<const Bf16 *>(array) + at * f.keys;
    };
    copy_rows<kMost, kKeys, kBlock>(q, rows_of(f.q), step, n, keys, c.whole_q);
    copy_rows<kMost, kKeys, kBlock>(k, rows_of(f.k), step, n, keys, c.whole_q);
    if (thread >= kMost) return;
    const auto copy_one = [&](float *to, const void *array) {
      if (array == nullptr) return;
      const float *from = static_cast<const float *>(array) + at;
      copy_async<4>(to + thread, thread < n ? from + thread * f.heads : from, thread < n);
    };
    copy_one(decay, f.decay);
    copy_one(rate, f.rate);
  }
  __device__ __forceinline__ static int at(int row, int key) {
    return place<kKeys>(row, key / kWide<Bf16>) + key % kWide<Bf16>;
  }
  __device__ __forceinline__ void make_features(const Chunks &c, int n) const {
    const int keys = static_cast<int>(c.f.keys);
    for (int i = static_cast<int>(threadIdx.x); i < n * keys; i += kBlock) {
      const int here = at(i / keys, i % keys);
      q[here] = narrowed(c.f.feature(widened(q[here])));
      k[here] = narrowed(c.f.feature(widened(k[here])));
    }
    __syncthreads();
  }
};

// sum += 16 rows of `left` from `row` on times the first `depth` of the kDepth rows of a tile.
template <int kDepth>
__device__ __forceinline__ void add_reads(float (&sum)[kCols / 8][4], const Bf16 *left, int row,
                                          const Bf16 *tile, int depth = kDepth) {
#pragma unroll 2
  for (int j = 0; j < depth; j += 16) {
    uint32_t a[4];
    load_square<kDepth, false, false>(a, left, row, j);
    PND_UNROLL
    for (int c = 0; c < kCols / 8; c += 2) {
      uint32_t b[4];
      load_square<kCols, true, true>(b, tile, j, c * 8);
      multiply_square(sum[c], sum[c + 1], a, b);
    }
  }
}

// A first factor, transposed, whose steps are multiplied: of[0], of[1], of[8] and of[9] are this
// lane's.
__device__ __forceinline__ void scale_pairs(uint32_t (&keys)[4], const float *of) {
  PND_UNROLL
  for (int e = 0; e < 4; ++e) {
    const float low = widened(Bf16{static_cast<uint16_t>(keys[e])});
    const float high = widened(Bf16{static_cast<uint16_t>(keys[e] >> 16)});
    keys[e] = bf16_pair(low * of[e / 2 * 8], high * of[e / 2 * 8 + 1]);
  }
}

// A block's columns of a state, in registers: a warp has some bands of 16 keys.
template <int kKeys>
struct StateBands {
  static constexpr int kBands = kKeys / 16 / kOwners;
  float x[kBands][kCols / 8][4];

  __device__ __forceinline__ static int key(int band) {
    return (warp_number() * kBands + band) * 16;
  }
  // body(key, column, element) for the thread's elements.
  template <class F>
  __device__ __forceinline__ void each(F body) {
    PND_UNROLL
    for (int band = 0; band < kBands; ++band) {
      PND_UNROLL
      for (int j = 0; j < kCols / 8; ++j) {
        PND_UNROLL
        for (int e = 0; e < 4; ++e) body(key(band) + sum_row(e), sum_col(j, e), x[band][j][e]);
      }
    }
  }
  // To a tile of bf16.
  __device__ __forceinline__ void put(Bf16 *tile) const {
    PND_UNROLL
    for (int band = 0; band < kBands; ++band) put_sums<kCols>(tile, key(band), 0, x[band]);
  }
  // += the sum over n steps of keys values^T, each times its weight, if there are any.
  __device__ __forceinline__ void add(const Bf16 *keys, const Bf16 *values, const float *weights,
                                      int n) {
    for (int i = 0; i < n; i += 16) {
      uint32_t left[kBands][4];
      PND_UNROLL
      for (int band = 0; band < kBands; ++band) {
        load_square<kKeys, false, true>(left[band], keys, i, key(band));
        if (weights != nullptr) scale_pairs(left[band], weights + i + lane_number() % 4 * 2);
      }
      PND_UNROLL
      for (int col = 0; col < kCols / 8; col += 2) {
        uint32_t right[4];
        load_square<kCols, true, true>(right, values, i, col * 8);
        PND_UNROLL
        for (int band = 0; band < kBands; ++band) {
          multiply_square(x[band][col], x[band][col + 1], left[band], right);
        }
      }
    }
  }
};

template <int kKeys>
constexpr size_t kPrepareBytes = (2 * KeyTiles<kKeys>::kRow + 2 * kTile) * sizeof(Bf16) +
                                 (kMost * kMost + kOwners * kSquare + 2 * kMost) * sizeof(float);

// A chunk of one head.
template <int kKeys, bool kDelta>
struct Prepared {
  static_assert(kPrepareBytes<kKeys> <= 99 << 10, "fits every device");
  const Chunks &c;
  const int row0;  // of the warp's 16 steps
  KeyTiles<kKeys> keys;
  Bf16 *scores, *system;
  float *between, *square;  // M, and the warp's square on the diagonal of L

  __device__ explicit Prepared(const Chunks &call) : c(call), row0(warp_number() * 16) {
    keys.q = shared_memory<Bf16>();
    keys.k = keys.q + KeyTiles<kKeys>::kRow;
    scores = keys.k + KeyTiles<kKeys>::kRow;
    system = scores + kTile;
    between = reinterpret_cast<float *>(system + kTile);
    square = between + kMost * kMost + warp_number() * kSquare;
    keys.decay = between + kMost * kMost + kOwners * kSquare;
    keys.rate = keys.decay + kMost;
  }

  __device__ __forceinline__ void run(int64_t bh, int64_t t, int n) const {
    const int64_t first = c.f.place(bh, t);
    keys.copy(c, first, n);
    commit_copies();
    await_copies<0>();
    __syncthreads();
    if (c.f.features != 0) keys.make_features(c, n);
    if (c.f.decay != nullptr) multiply_decays(n);
    if (row0 < n) {
      make_scores(first, n);
      if constexpr (kDelta) {
        make_system(n);
        __syncwarp();
        invert_square();
      }
    }
    __syncthreads();
    const auto store = [&](Bf16 *to, const Bf16 *tile) {
      store_rows_at<kMost, kMost, kBlock>(tile, kMost, true, [&](int row) {
        return row < n ? to + (first + row * c.f.heads) * kMost : nullptr;
      });
    };
    store(c.scores, scores);
    if constexpr (kDelta) store(c.system, system);
    __syncthreads();
  }

 private:
  __device__ __forceinline__ void multiply_decays(int n) const {
    const int i = static_cast<int>(threadIdx.x);
    float product = 1;
    for (int t = i; i < kMost && t < n; ++t) {
      if (t > i) product *= keys.decay[t];
      between[t * kMost + i] = product;
    }
    __syncthreads();
  }
  // x M(row, i), for the steps that there are and i from `last` down; else 0.
  __device__ __forceinline__ float decayed(float x, int row, int i, int last, int n) const {
    if (i > last || row >= n) return 0;
    return c.f.decay == nullptr ? x : x * between[row * kMost + i];
  }

  __device__ __forceinline__ void make_scores(int64_t first, int n) const {
    float dots[1][kMost / 8][4] = {}, sum[2] = {};
    OwnRows<kKeys, 1, false>(keys.q, row0).add_dots(dots, keys.k);
    PND_UNROLL
    for (int j = 0; j < kMost / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + sum_row(e);
        dots[0][j][e] = decayed(dots[0][j][e], row, sum_col(j, e), row, n);
        sum[e / 2] += dots[0][j][e];
      }
    }
    put_sums<kMost>(scores, row0, 0, dots[0]);
    if (c.f.normalised == 0) return;
    PND_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row0 + sum_row(2 * half);
      sum[half] = fold_lanes(sum[half], [](float a, float b) { return a + b; });
      if (lane_number() % 4 == 0 && row < n) c.sums[first + row * c.f.heads] = sum[half];
    }
  }

  __device__ __forceinline__ void make_system(int n) const {
    float dots[1][kMost / 8][4] = {};
    OwnRows<kKeys, 1, false>(keys.k, row0).add_dots(dots, keys.k);
    PND_UNROLL
    for (int j = 0; j < kMost / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + sum_row(e), i = sum_col(j, e);
        float &dot = dots[0][j][e];
        dot = -(keys.rate[row] * decayed(dot, row, i, row - 1, n));
        if (i >= row0 && i < row0 + 16) square[sum_row(e) * 17 + i - row0] = dot;
      }
    }
    put_sums<kMost>(system, row0, 0, dots[0]);
  }

  __device__ __forceinline__ void invert_square() const {
    const int col = lane_number();
    if (col >= 16) return;
    float inverse[16];
    PND_UNROLL
    for (int row = 0; row < 16; ++row) {
      inverse[row] = row == col ? 1.0f : 0.0f;
      PND_UNROLL
      for (int i = 0; i < row; ++i) {
        inverse[row] = fma(square[row * 17 + i], inverse[i], inverse[row]);
      }
      const int at = place<kMost>(row0 + row, (row0 + col) / kWide<Bf16>) + col % kWide<Bf16>;
      system[at] = narrowed(row == col ? 0.0f : inverse[row]);
    }
  }
};

template <int kKeys, bool kDelta>
__global__ void __launch_bounds__(kBlock)
    prepare_kernel(int64_t first, Chunks c, int64_t chunks_of_head) {
  const Prepared<kKeys, kDelta> prepared(c);
  const int64_t block = first + blockIdx.x, bh = block / chunks_of_head;
  const int64_t length = c.f.length(bh / c.f.heads), begin = block % chunks_of_head * c.chunk;
  for (int64_t t = begin; t < length && t < begin + c.chunk;) {
    const int64_t end = c.end_of(bh, t, length);
    prepared.run(bh, t, static_cast<int>(end - t));
    t = end;
  }
}
