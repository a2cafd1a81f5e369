// SPDX-License-Identifier: Apache-2.0
// fast_weights_chunk_carry.cuh: what goes from chunk to chunk on the way to the adjoints of the
// plain kind: S from the first on, G from the last on, in the letters of
// fast_weights_chunk_backward.cu.
// Order    products take 16 steps at a time, upwards, in f32
#pragma once

#include "fast_weights_chunk.cuh"

// x, of which a decay leaves so much: of infinity, 0 leaves nothing.
__device__ __forceinline__ float times(float x, float decay) {
  return decay == 0 ? 0.0f : x * decay;
}

struct ChunksBack {
  FastWeights<Bf16> f;
  Slopes<Bf16> d;
  int64_t chunks, panels;
  bool whole_keys, whole_values;  // rows can be moved 16 bytes at a time
  // Of each head, chunk and panel [keys, kCols]: S and G.
  Bf16 *states = nullptr, *slopes = nullptr;

  // The steps of a chunk that are there.
  __device__ __forceinline__ int count(int64_t bh, int64_t chunk) const {
    const int64_t left = f.length(bh / f.heads) - chunk * kMost;
    return left <= 0 ? 0 : within(left, kMost);
  }
  // What step t leaves of the state before it.
  __device__ __forceinline__ float leaves(int64_t bh, int64_t t) const {
    if (f.resets_at(bh, t)) return 0;
    return f.decay == nullptr ? 1.0f : f.at(f.decay, f.place(bh, t));
  }
  __device__ __forceinline__ int64_t panel_at(int64_t bh, int64_t chunk, int64_t panel) const {
    return (bh * chunks + chunk) * panels + panel;
  }
  // Begins to copy a chunk's rows of keys, or of columns from `first` on.
  __device__ __forceinline__ static const Bf16 *rows(const void *array) {
    return static_cast<const Bf16 *>(array);
  }
  template <int kKeys, int kThreads>
  __device__ __forceinline__ void copy_keys(Bf16 *tile, const void *array, int64_t bh, int64_t t,
                                            int n) const {
    copy_rows<kMost, kKeys, kThreads>(tile, rows(array) + f.place(bh, t) * f.keys, f.heads * f.keys,
                                      n, static_cast<int>(f.keys), whole_keys);
  }
  template <int kThreads>
  __device__ __forceinline__ void copy_columns(Bf16 *tile, const void *array, int64_t bh, int64_t t,
                                               int n, int64_t first) const {
    copy_rows<kMost, kCols, kThreads>(tile, rows(array) + f.place(bh, t) * f.values + first,
                                      f.heads * f.values, n, within(f.values - first, kCols),
                                      whole_values);
  }
  template <int kKeys, int kThreads>
  __device__ __forceinline__ void make_features(Bf16 *tile, int n) const {
    const int keys = static_cast<int>(f.keys);
    for (int i = static_cast<int>(threadIdx.x); f.features != 0 && i < n * keys; i += kThreads) {
      Bf16 &x = tile[KeyTiles<kKeys>::at(i / keys, i % keys)];
      x = narrowed(f.feature(widened(x)));
    }
  }
};

template <int kKeys>
constexpr size_t kCarryBytes = (3 * KeyTiles<kKeys>::kRow + 2 * kTile) * sizeof(Bf16) +
                               (2 * kMost + 1) * sizeof(float);

// What one block carries from chunk to chunk: S from the first on, or G from the last on.
template <int kKeys, bool kBackward>
struct Carry {
  static constexpr int kRow = KeyTiles<kKeys>::kRow;
  const ChunksBack &c;
  const FastWeights<Bf16> &f;
  const int64_t bh, panel, first;
  Bf16 *const rounded = shared_memory<Bf16>();
  float *const weights = reinterpret_cast<float *>(rounded + 3 * kRow + 2 * kTile);
  float *const leaves = weights + kMost, *const left = leaves + kMost;
  StateBands<kKeys> state = {};

  __device__ Carry(const ChunksBack &call, int64_t block)
      : c(call),
        f(call.f),
        bh(block / call.panels),
        panel(block % call.panels),
        first(panel * kCols) {}

  __device__ __forceinline__ Bf16 *keys(int stage) const { return rounded + kRow * (1 + stage); }
  __device__ __forceinline__ Bf16 *columns(int stage) const {
    return rounded + 3 * kRow + kTile * stage;
  }
  // Calls body(place in an array [.., keys, width], element).
  template <class F>
  __device__ __forceinline__ void each_cell(F body) {
    state.each([&](int key, int col, float &x) {
      if (key < f.keys && first + col < f.values) {
        body((bh * f.keys + key) * f.values + first + col, x);
      }
    });
  }
  __device__ __forceinline__ void copy(int64_t chunk, int stage) const {
    const int64_t t = chunk * kMost;
    const int n = c.count(bh, chunk);
    c.template copy_keys<kKeys, kBlock>(keys(stage), kBackward ? f.q : f.k, bh, t, n);
    c.template copy_columns<kBlock>(columns(stage), kBackward ? c.d.dout : f.v, bh, t, n, first);
  }

  __device__ __forceinline__ void run() {
    const float *from = kBackward ? c.d.dlast : static_cast<const float *>(f.initial);
    if (from != nullptr) each_cell([&](int64_t at, float &x) { x = from[at]; });
    const int64_t count = (f.length(bh / f.heads) + kMost - 1) / kMost;
    const auto chunk_of = [&](int64_t i) { return kBackward ? count - 1 - i : i; };
    if (count > 0) copy(chunk_of(0), 0);
    for (int64_t i = 0; i < count; ++i) {
      const int stage = static_cast<int>(i % 2);
      commit_copies();
      if (i + 1 < count) copy(chunk_of(i + 1), 1 - stage);
      commit_copies();
      leave(chunk_of(i));
      await_copies<1>();
      __syncthreads();
      add(chunk_of(i), stage);
      __syncthreads();  // all have read what the next chunk replaces
    }
    if (kBackward && c.d.dinitial != nullptr) {
      each_cell([&](int64_t at, float &x) { c.d.dinitial[at] = x; });
    }
  }

 private:
  // Writes what is carried, and makes the weights of the chunk's steps.
  __device__ __forceinline__ void leave(int64_t chunk) {
    state.put(rounded);
    const int64_t at = c.panel_at(bh, chunk, panel), t = chunk * kMost;
    const int thread = static_cast<int>(threadIdx.x), n = c.count(bh, chunk);
    if (thread < n) leaves[thread] = c.leaves(bh, t + thread);
    __syncthreads();
    store_rows<kKeys, kCols, kBlock>((kBackward ? c.slopes : c.states) + at * kKeys * kCols, kCols,
                                     rounded, kKeys, kCols, true);
    if (thread <= kMost) {
      // Of step `thread`; the last thread's product is what is left of the state.
      float product = 1;
      for (int i = kBackward || thread == kMost ? 0 : thread + 1;
           i < (kBackward && thread < n ? thread + 1 : n); ++i) {
        product *= leaves[i];
      }
      if (thread == kMost) {
        *left = product;
      } else {
        const float scale = kBackward ? static_cast<float>(f.scale) : 1.0f;
        weights[thread] = thread < n ? product * scale : 0.0f;
      }
    }
  }
  __device__ __forceinline__ void add(int64_t chunk, int stage) {
    const int n = c.count(bh, chunk);
    c.template make_features<kKeys, kBlock>(keys(stage), n);
    __syncthreads();
    const float kept = *left;
    state.each([=](int, int, float &x) { x = times(x, kept); });
    state.add(keys(stage), columns(stage), weights, n);
  }
};

template <int kKeys, bool kBackward>
__global__ void __launch_bounds__(kBlock, 2) carry_kernel(int64_t first_block, ChunksBack c) {
  Carry<kKeys, kBackward>(c, first_block + blockIdx.x).run();
}
