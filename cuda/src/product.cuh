// SPDX-License-Identifier: Apache-2.0
// product.cuh: the product of two matrices whose rows may lie anywhere, as matmul, cross_entropy
// and recurrent cells need it: y[r,c] = sum over k of a(r,k) b(k,c).
// Method   a block computes a square of y; slices of 8 or 16 k of both operands go through shared
//          memory, two buffers in turn; a thread holds a square of sums in registers
// Order    one chain of fused multiply-adds per element, k upwards
// Source   Volkov, Demmel, SC 2008
#pragma once

#include "context.cuh"
#include "pack.cuh"
#include "ptx.cuh"
#include "scalar.cuh"
#include "warp.cuh"

constexpr int kProductSide = 16, kProductThreads = kProductSide * kProductSide;

// The sizes of a block's work; small blocks where large ones would leave multiprocessors idle.
template <class T, bool kLarge>
struct Blocking {
  static constexpr int kTile = 32 / static_cast<int>(sizeof(T)) / (kLarge ? 1 : 2);
  static constexpr int kSpan = kProductSide * kTile;  // rows and columns of a block
  static constexpr int kDepth = kLarge ? 8 : 16;      // of a slice: one vector per thread
  static constexpr int kStride = kSpan + kWide<T>;    // of a slice in shared memory
  static constexpr int kSlice = kDepth * kStride;
  static constexpr size_t kShared = 4 * kSlice * sizeof(T);
  static_assert(kSpan * kDepth == kProductThreads * kWide<T>, "one vector per thread");
};

// Rows at equal distances; one matrix of a batch is `step` from the next.
template <class T>
struct Strided {
  const T *data;
  int64_t stride, step;
  __device__ const T *row(int64_t batch, int64_t i) const {
    return data + batch * step + i * stride;
  }
};

// Rows by their numbers in a list.
template <class T>
struct Listed {
  const T *data;
  int64_t stride;
  const int64_t *list;
  __device__ const T *row(int64_t, int64_t i) const { return data + list[i] * stride; }
};

// A size, or as much of it as a list on the device has from `first` on.
struct Extent {
  int64_t size;
  const int64_t *count = nullptr;
  int64_t first = 0;
  __device__ int64_t get() const {
    if (count == nullptr) return size;
    const int64_t left = *count - first;
    return left < 0 ? 0 : left < size ? left : size;
  }
};

// One operand. `along`: its rows run along k, one per row (column) of y; else across, one per k.
template <class T, class Rows>
struct Operand {
  Rows rows;
  bool along, whole;  // whole: see load_pack
};

// What a thread moves of an operand's slices from global to shared memory: one vector of each.
template <class B, class T>
struct Slice {
  Pack<T> part;
  int span, depth;  // its place

  __device__ __forceinline__ explicit Slice(bool along) {
    const int i = static_cast<int>(threadIdx.x);
    constexpr int kAlong = B::kDepth / kWide<T>, kAcross = B::kSpan / kWide<T>;
    span = along ? i / kAlong : i % kAcross * kWide<T>;
    depth = along ? i % kAlong * kWide<T> : i / kAcross;
  }

  template <class Rows>
  __device__ __forceinline__ void load(const Operand<T, Rows> &from, int64_t batch, int64_t span0,
                                       int64_t spans, int64_t depth0, int64_t depths) {
    const int64_t s = span0 + span, d = depth0 + depth;
    part = {};
    if (s >= spans || d >= depths) return;
    part = from.along ? load_pack(from.rows.row(batch, s) + d, depths - d, from.whole)
                      : load_pack(from.rows.row(batch, d) + s, spans - s, from.whole);
  }

  __device__ __forceinline__ void store(T *to, bool along) const {
    if (!along) return store_pack(to + depth * B::kStride + span, part);
    PND_UNROLL
    for (int i = 0; i < kWide<T>; ++i) to[(depth + i) * B::kStride + span] = part.at[i];
  }
};

// The sums of one thread. Its rows and columns come in runs of kWide; the runs of all threads lie
// next to each other.
template <class T, bool kLarge>
struct Sums {
  using B = Blocking<T, kLarge>;
  static constexpr int kTile = B::kTile, kRun = kWide<T>;
  T sum[kTile][kTile];
  int x, y;  // the thread's place: 8 x 4 of a warp share what they read

  __device__ __forceinline__ Sums() {
    const int lane = lane_number(), warp = warp_number();
    x = lane % 8 + warp % 2 * 8;
    y = lane / 8 + warp / 2 * 4;
  }
  __device__ __forceinline__ void clear() {
    PND_UNROLL
    for (int i = 0; i < kTile; ++i) {
      PND_UNROLL
      for (int j = 0; j < kTile; ++j) sum[i][j] = 0;
    }
  }
  __device__ __forceinline__ static int at(int place, int i) {
    return i / kRun * (kProductSide * kRun) + place * kRun + i % kRun;
  }
  __device__ __forceinline__ int row(int i) const { return at(y, i); }
  __device__ __forceinline__ int col(int i) const { return at(x, i); }

  __device__ __forceinline__ void add_step(const T *a, const T *b) {
    T left[kTile], right[kTile];
    PND_UNROLL
    for (int i = 0; i < kTile; i += kRun) {
      const Pack<T> from_a = load_pack(a + row(i)), from_b = load_pack(b + col(i));
      PND_UNROLL
      for (int j = 0; j < kRun; ++j) {
        left[i + j] = from_a.at[j];
        right[i + j] = from_b.at[j];
      }
    }
    PND_UNROLL
    for (int i = 0; i < kTile; ++i) {
      PND_UNROLL
      for (int j = 0; j < kTile; ++j) sum[i][j] = fma(left[i], right[j], sum[i][j]);
    }
  }

  // sum += the square at (row0, col0) of the product. All threads of the block take part; `shared`
  // holds B::kShared bytes.
  template <class RowsA, class RowsB>
  __device__ __forceinline__ void add(const Operand<T, RowsA> &a, const Operand<T, RowsB> &b,
                                      int64_t batch, int64_t row0, int64_t rows, int64_t col0,
                                      int64_t cols, int64_t depth, T *shared) {
    Slice<B, T> next_a(a.along), next_b(b.along);
    next_a.load(a, batch, row0, rows, 0, depth);
    next_b.load(b, batch, col0, cols, 0, depth);
    int turn = 0;
    for (int64_t k = 0; k < depth; k += B::kDepth, turn ^= 1) {
      T *slice_a = shared + turn * 2 * B::kSlice, *slice_b = slice_a + B::kSlice;
      next_a.store(slice_a, a.along);
      next_b.store(slice_b, b.along);
      // One barrier a turn: who is past it has read the other buffer.
      __syncthreads();
      const int64_t left = depth - k;
      if (left > B::kDepth) {
        next_a.load(a, batch, row0, rows, k + B::kDepth, depth);
        next_b.load(b, batch, col0, cols, k + B::kDepth, depth);
      }
      // No step past the end: adding a zero would turn -0 into 0.
      const int steps = left < B::kDepth ? static_cast<int>(left) : B::kDepth;
#pragma unroll(kLarge ? 1 : 4)
      for (int d = 0; d < steps; ++d) add_step(slice_a + d * B::kStride, slice_b + d * B::kStride);
    }
    __syncthreads();  // the buffers are free again
  }
};

// Calls out.put(batch, row, col, values, left) for every run of columns of y: `left` of the values
// exist. Blocks are numbered from `first` on.
template <class T, bool kLarge, class RowsA, class RowsB, class Out>
__global__ void __launch_bounds__(kProductThreads, 2)
    product_kernel(int64_t first, Operand<T, RowsA> a, Operand<T, RowsB> b, Out out, Extent rows_of,
                   int64_t cols, Extent depth, int64_t row_blocks, int64_t col_blocks) {
  using S = Sums<T, kLarge>;
  const int64_t block = first + blockIdx.x, g = block / row_blocks / col_blocks;
  const int64_t row0 = block % row_blocks * S::B::kSpan;
  const int64_t col0 = block / row_blocks % col_blocks * S::B::kSpan;
  const int64_t rows = rows_of.get();
  if (row0 >= rows) return;
  S sums;
  sums.clear();
  sums.add(a, b, g, row0, rows, col0, cols, depth.get(), shared_memory<T>());
  PND_UNROLL
  for (int i = 0; i < S::kTile; ++i) {
    PND_UNROLL
    for (int j = 0; j < S::kTile; j += S::kRun) {
      const int64_t row = row0 + sums.row(i), col = col0 + sums.col(j);
      if (row >= rows || col >= cols) continue;
      Pack<T> values;
      PND_UNROLL
      for (int e = 0; e < S::kRun; ++e) values.at[e] = sums.sum[i][j + e];
      out.put(g, row, col, values, cols - col);
    }
  }
}

// Where a product goes: rows `stride` apart, matrices `step` apart.
template <class T>
struct ToRows {
  T *data;
  int64_t stride, step;
  bool whole, adds;  // adds: to what is there
  __device__ void put(int64_t batch, int64_t row, int64_t col, Pack<T> values, int64_t left) const {
    T *to = data + batch * step + row * stride + col;
    if (adds) {
      const Pack<T> old = load_pack(static_cast<const T *>(to), left, whole);
      PND_UNROLL
      for (int i = 0; i < kWide<T>; ++i) values.at[i] += old.at[i];
    }
    store_pack(to, values, left, whole);
  }
};

template <class T, bool kLarge, class RowsA, class RowsB, class Out>
int32_t product_in_blocks(Call &call, pnd_context *context, Operand<T, RowsA> a,
                          Operand<T, RowsB> b, Out out, int64_t batch, Extent rows, int64_t cols,
                          Extent depth) {
  using B = Blocking<T, kLarge>;
  const int64_t row_blocks = (rows.size + B::kSpan - 1) / B::kSpan;
  const int64_t col_blocks = (cols + B::kSpan - 1) / B::kSpan;
  return launch_blocks(call, context, product_kernel<T, kLarge, RowsA, RowsB, Out>,
                       batch * row_blocks * col_blocks, dim3(kProductThreads), B::kShared, a, b,
                       out, rows, cols, depth, row_blocks, col_blocks);
}

template <class T, class RowsA, class RowsB, class Out>
int32_t product(Call &call, pnd_context *context, Operand<T, RowsA> a, Operand<T, RowsB> b, Out out,
                int64_t batch, Extent rows, int64_t cols, Extent depth) {
  constexpr int64_t kSpan = Blocking<T, true>::kSpan;
  const int64_t large = batch * ((rows.size + kSpan - 1) / kSpan) * ((cols + kSpan - 1) / kSpan);
  if (large >= context->multiprocessors) {
    return product_in_blocks<T, true>(call, context, a, b, out, batch, rows, cols, depth);
  }
  return product_in_blocks<T, false>(call, context, a, b, out, batch, rows, cols, depth);
}
