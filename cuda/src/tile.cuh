// SPDX-License-Identifier: Apache-2.0
// tile.cuh: products of row-major tiles in shared memory, for kernels whose blocks keep rows
// (attention, scans). The 256 threads of a block stand 16 x 16; the 16 of one half warp own the
// same rows, so that what a row needs stays within a warp. A tile's rows lie 16 bytes further apart
// than its columns need: 8 rows of one column are then in different banks. Order    one chain of
// fused multiply-adds per element, upwards
#pragma once

#include <limits>

#include "pack.cuh"
#include "ptx.cuh"
#include "scalar.cuh"
#include "warp.cuh"

template <class T>
constexpr T kNothing = -std::numeric_limits<T>::infinity();

constexpr int kTileSide = 16, kTileThreads = kTileSide * kTileSide;

// The thread's place: of kRows rows per thread its first one is kRows tile_y().
__device__ __forceinline__ int tile_x() { return static_cast<int>(threadIdx.x) % kTileSide; }
__device__ __forceinline__ int tile_y() { return static_cast<int>(threadIdx.x) / kTileSide; }

template <class T, int kRows, int kCols>
__device__ __forceinline__ void clear(T (&sum)[kRows][kCols]) {
  PND_UNROLL
  for (int i = 0; i < kRows; ++i) {
    PND_UNROLL
    for (int j = 0; j < kCols; ++j) sum[i][j] = 0;
  }
}

// copy_tile_at below, kWidth elements at a time.
template <int kRows, int kCols, int kWidth, class T, class At>
__device__ __forceinline__ void copy_runs(T *tile, int tile_stride, int64_t cols, At at) {
  constexpr int kPerRow = kCols / kWidth, kAll = kRows * kPerRow;
  static_assert(kCols % kWidth == 0, "whole runs");
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kAll; i += kTileThreads) {
    const int r = i / kPerRow, c = i % kPerRow * kWidth;
    const T *from = at(r);
    const bool inside = from != nullptr && c < cols;
    T *to = tile + r * tile_stride + c;
    if constexpr (kWidth * sizeof(T) < 4) {
      *to = inside ? from[c] : T{};  // too small for copy_async
    } else {
      copy_async<kWidth *static_cast<int>(sizeof(T))>(to, inside ? from + c : nullptr, inside);
    }
  }
}

// Begins to copy kRows x kCols, tile[r][c] = at(r)[c], zero where at(r) is null or c >= cols;
// whole: 16 bytes at a time, which cols and the rows' places must allow. All threads take part; the
// tile is there after await_copies<0>() and a barrier.
template <int kRows, int kCols, class T, class At>
__device__ __forceinline__ void copy_tile_at(T *tile, int tile_stride, int64_t cols, bool whole,
                                             At at) {
  if (whole) {
    copy_runs<kRows, kCols, kWide<T>>(tile, tile_stride, cols, at);
  } else {
    copy_runs<kRows, kCols, 1>(tile, tile_stride, cols, at);
  }
  commit_copies();
}

// Likewise from[r stride + c] of the first `rows` rows.
template <int kRows, int kCols, class T>
__device__ __forceinline__ void copy_tile(T *tile, int tile_stride, const T *from, int64_t stride,
                                          int64_t rows, int64_t cols, bool whole) {
  copy_tile_at<kRows, kCols>(tile, tile_stride, cols, whole,
                             [&](int r) { return r < rows ? from + r * stride : nullptr; });
}

// sum[i][j] += a[i,:] . b[16 j,:] over kDepth columns. a points at the thread's first row, b at row
// tile_x().
template <int kDepth, class T, class S, int kRows, int kCols>
__device__ __forceinline__ void add_dots(T (&sum)[kRows][kCols], const S *a, int a_stride,
                                         const S *b, int b_stride) {
#pragma unroll 1
  for (int k = 0; k < kDepth; k += kWide<S>) {
    Pack<S> left[kRows];
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) left[i] = load_pack(a + i * a_stride + k);
    PND_UNROLL
    for (int j = 0; j < kCols; ++j) {
      const Pack<S> right = load_pack(b + j * kTileSide * b_stride + k);
      PND_UNROLL
      for (int e = 0; e < kWide<S>; ++e) {
        const T factor = widened(right.at[e]);
        PND_UNROLL
        for (int i = 0; i < kRows; ++i) sum[i][j] = fma(widened(left[i].at[e]), factor, sum[i][j]);
      }
    }
  }
}

// The column of a tile of 16 kCols columns that a thread's sum j belongs to: runs of up to 16
// bytes, the runs of all threads next to each other.
template <class T, int kCols>
struct Columns {
  static constexpr int kRun = kCols < kWide<T> ? kCols : kWide<T>;
  __device__ __forceinline__ static int at(int j) {
    return j / kRun * (kTileSide * kRun) + tile_x() * kRun + j % kRun;
  }
  // One row's values.
  __device__ __forceinline__ static void load(Computed<T> (&to)[kCols], const T *row) {
    PND_UNROLL
    for (int j = 0; j < kCols; j += kRun) {
      if constexpr (kRun == kWide<T>) {
        const Pack<T> x = load_pack(row + at(j));
        PND_UNROLL
        for (int e = 0; e < kRun; ++e) to[j + e] = widened(x.at[e]);
      } else {
        PND_UNROLL
        for (int e = 0; e < kRun; ++e) to[j + e] = widened(row[at(j) + e]);
      }
    }
  }
};

// sum[i][j] += sum over k of a[i][k] b[k][column j] over kDepth rows of b. a points at the thread's
// first row.
template <int kDepth, class T, class S, int kRows, int kCols>
__device__ __forceinline__ void add_products(T (&sum)[kRows][kCols], const S *a, int a_stride,
                                             const S *b, int b_stride) {
#pragma unroll 1
  for (int k = 0; k < kDepth; k += kWide<S>) {
    Pack<S> left[kRows];
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) left[i] = load_pack(a + i * a_stride + k);
    PND_UNROLL
    for (int e = 0; e < kWide<S>; ++e) {
      T right[kCols];
      Columns<S, kCols>::load(right, b + (k + e) * b_stride);
      PND_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const T factor = widened(left[i].at[e]);
        PND_UNROLL
        for (int j = 0; j < kCols; ++j) sum[i][j] = fma(factor, right[j], sum[i][j]);
      }
    }
  }
}

// A range [low, high) of a tile's columns, in one register.
struct Interval {
  unsigned both;

  Interval() = default;
  __device__ __forceinline__ Interval(int low, int high)
      : both(static_cast<unsigned>(low) | static_cast<unsigned>(high) << 16) {}
  __device__ __forceinline__ int low() const { return static_cast<int>(both & 0xffff); }
  __device__ __forceinline__ int high() const { return static_cast<int>(both >> 16); }
  __device__ __forceinline__ bool has(int column) const {
    return column >= low() && column < high();
  }
};

// The same over k < kDepth, row i over the start + k in sees[i] alone: what lies outside is not
// even multiplied by 0.
template <int kDepth, class T, int kRows, int kCols>
__device__ __forceinline__ void add_some_products(T (&sum)[kRows][kCols], const T *a, int a_stride,
                                                  const T *b, int b_stride, int start,
                                                  const Interval (&sees)[kRows]) {
#pragma unroll 1
  for (int k = 0; k < kDepth; ++k) {
    T right[kCols];
    Columns<T, kCols>::load(right, b + k * b_stride);
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) {
      if (!sees[i].has(start + k)) continue;
      const T left = a[i * a_stride + k];
      PND_UNROLL
      for (int j = 0; j < kCols; ++j) sum[i][j] = fma(left, right[j], sum[i][j]);
    }
  }
}

// op over the 16 values of a row's threads; all get the result.
template <class T, class Op>
__device__ __forceinline__ T fold_row(T x, Op op) {
  PND_UNROLL
  for (int w = kTileSide / 2; w > 0; w /= 2) x = op(x, __shfl_xor_sync(kAllLanes, x, w));
  return x;
}
