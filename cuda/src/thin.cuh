// SPDX-License-Identifier: Apache-2.0
// thin.cuh: a few rows times a weight, for steps that wait for each other and read the weight again
// each time. A block makes 32 bytes of columns (8 of f32) of at most 16 rows at once.
// Method   the rows lie in shared memory, 4 KiB of each at a time; the weight comes from L2 into
//          registers, asked for before the rows are. A thread has a 128th of the depth, and sums
//          of every row with one pack of columns
// Order    part p of 128 is a chain over what is p, p + 128, ... of the depth, upwards (packs of it
//          where the weight is transposed); parts meet by lanes apart by 16, 8, ..., then by warps
//          upwards. A square sum likewise, by 256 threads, 4 KiB after 4 KiB. The number of rows
//          changes nothing
#pragma once

#include "fold.cuh"
#include "packs.cuh"
#include "ptx.cuh"
#include "scalar.cuh"

constexpr int kThinThreads = 256, kThinWarps = kThinThreads / kWarp, kThinParts = 128;

// How much of a row lies in shared memory at once.
template <class T>
constexpr int kThinDepth = kThinThreads *kWide<T>;
// How many columns a tile has.
template <class T>
constexpr int kThinCols = 2 * kWide<T>;
template <class T>
PND_SHARED int64_t thin_tiles(int64_t cols) {
  return (cols + kThinCols<T> - 1) / kThinCols<T>;
}

// A block's columns: two packs of a weight [depth, cols], or [cols, depth] where it is transposed.
template <class T>
struct ThinTile {
  const T *weight;
  int64_t stride;          // from row to row
  bool whole;              // its rows can be read by packs
  int64_t at[2], left[2];  // where the packs begin, and how many columns there are from there on

  // Tile `i` of `cols` columns.
  __device__ __forceinline__ static ThinTile of(const T *weight, int64_t stride, bool whole,
                                                int64_t i, int64_t cols) {
    const int64_t first = i * kThinCols<T>, second = first + kWide<T>;
    return {weight, stride, whole, {first, second}, {cols - first, cols - second}};
  }
  // Calls put(column, value) for the columns e of both packs, where they exist.
  template <class Put>
  __device__ __forceinline__ void each(int e, T a, T b, Put put) const {
    if (e < left[0]) put(at[0] + e, a);
    if (e < left[1]) put(at[1] + e, b);
  }
};

// What a block needs for products of at most kRows rows at once. What is multiplied, an operand, is
// a struct with
//   kNormed               whether its rows are divided by the roots of their mean squares
//   load(row, k, left)    a pack of a row, zeros where none are left
//   gains(k, left)        if normed: what its columns are multiplied by
//   scale(squares)        if normed: what the product is multiplied by
template <class T, int kRows>
class Thin {
 public:
  static constexpr size_t kBytes =
      (kRows * kThinDepth<T> + kThinWarps * (2 * kWide<T> + 1) * kRows) * sizeof(T);

  // put(row, i, tile, e, a, b): the products of a row with the columns e of the packs of tile i,
  // tile_of(i). The blocks of the grid share the work.
  template <bool kTransposed, class Operand, class TileOf, class Put>
  __device__ __forceinline__ void multiply(int64_t rows, int64_t depth, int64_t tiles,
                                           const Operand &operand, TileOf tile_of, Put put) const {
    int64_t staged = -1;  // the first of the rows that lie there whole
    int64_t first = 0;    // row
    for (int64_t number = blockIdx.x;; number += gridDim.x) {
      for (; number >= tiles; number -= tiles) first += kRows;
      if (first >= rows) return;
      const ThinTile<T> tile = tile_of(number);
      const int count = static_cast<int>(rows - first < kRows ? rows - first : kRows);
      const bool fresh = first != staged;
      T sum[kSums] = {};
      Squares squares;
      for (int64_t k0 = 0; k0 < depth; k0 += kThinDepth<T>) {
        Pack<T> weights[kAsked];
        PND_UNROLL
        for (int i = 0; i < kAsked; ++i) weights[i] = ask<kTransposed>(tile, i, k0, depth - k0);
        __syncthreads();  // all have read what lay there
        if (fresh) {
          stage(operand, first, count, k0, depth);
          if constexpr (Operand::kNormed) square(operand, k0, depth, squares);
        }
        __syncthreads();
        add<kTransposed>(sum, weights, tile, k0, depth - k0);
      }
      staged = depth <= kThinDepth<T> ? first : -1;
      meet<kTransposed>(sum);
      if constexpr (Operand::kNormed) {
        if (fresh) meet_squares(squares);
      }
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < count * kWide<T>; i += kThinThreads) {
        const int row = i / kWide<T>;
        T a = 0, b = 0;
        for (int w = 0; w < kSumWarps<kTransposed>; ++w) {
          a += sums(w, 0)[i];
          b += sums(w, 1)[i];
        }
        if constexpr (Operand::kNormed) {
          T total = 0;
          for (int w = 0; w < kThinWarps; ++w) total += square_sums()[w * kRows + row];
          const T scale = operand.scale(total);
          a *= scale;
          b *= scale;
        }
        put(first + row, number, tile, i % kWide<T>, a, b);
      }
    }
  }

 private:
  static constexpr int kSums = kRows * kWide<T>;             // of a pack of columns
  static constexpr int kPacks = kThinDepth<T> / kThinParts;  // of weights
  static constexpr int kAsked = 4;                           // of them in registers
  template <bool kTransposed>
  static constexpr int kSumWarps = kTransposed ? kThinWarps / 2 : kThinWarps;

  // Of the rows, over this thread's columns: what its lane ends with.
  struct Squares {
    T sum = 0;
    Folded own;
  };

  // A thread's place: its part of the depth, and which pack of columns it has.
  template <bool kTransposed>
  __device__ __forceinline__ static int part() {
    return kTransposed ? static_cast<int>(threadIdx.x) % kThinParts
                       : static_cast<int>(threadIdx.x) / 2;
  }
  template <bool kTransposed>
  __device__ __forceinline__ static int pack() {
    return kTransposed ? static_cast<int>(threadIdx.x) / kThinParts
                       : static_cast<int>(threadIdx.x) % 2;
  }

  __device__ __forceinline__ static T *rows() { return shared_memory<T>(); }
  __device__ __forceinline__ static T *sums(int warp, int pack) {
    return rows() + kRows * kThinDepth<T> + (warp * 2 + pack) * kSums;
  }
  __device__ __forceinline__ static T *square_sums() { return sums(kThinWarps, 0); }

  // Pack i of the weights that this thread multiplies: of the depth from k0 on, of which `left` are
  // left.
  template <bool kTransposed>
  __device__ __forceinline__ static Pack<T> ask(const ThinTile<T> &tile, int i, int64_t k0,
                                                int64_t left) {
    const int g = pack<kTransposed>();
    if constexpr (kTransposed) {
      const int e = i % kWide<T>, k = (i / kWide<T> * kThinParts + part<true>()) * kWide<T>;
      if (k >= left || e >= tile.left[g]) return {};
      return load_pack(tile.weight + (tile.at[g] + e) * tile.stride + k0 + k, left - k, tile.whole);
    } else {
      const int k = i * kThinParts + part<false>();
      if (k >= left) return {};
      return load_pack(tile.weight + (k0 + k) * tile.stride + tile.at[g], tile.left[g], tile.whole);
    }
  }

  template <class Operand>
  __device__ __forceinline__ static void stage(const Operand &operand, int64_t first, int count,
                                               int64_t k0, int64_t depth) {
    const int at = static_cast<int>(threadIdx.x) * kWide<T>;
    const int64_t k = k0 + at, left = depth - k;
#pragma unroll 2
    for (int r = 0; r < kRows; ++r) {
      const bool there = r < count && left > 0;
      store_pack(rows() + r * kThinDepth<T> + at,
                 there ? operand.load(first + r, k, left) : Pack<T>{});
    }
  }
  // Multiplies what this thread has staged by its gains, and adds its squares, of a row by lane, to
  // what the lane has.
  template <class Operand>
  __device__ __forceinline__ static void square(const Operand &operand, int64_t k0, int64_t depth,
                                                Squares &to) {
    const int at = static_cast<int>(threadIdx.x) * kWide<T>;
    const int64_t left = depth - k0 - at;
    const Pack<T> gains = left > 0 ? operand.gains(k0 + at, left) : Pack<T>{};
    T squares[kRows];
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T *row = rows() + r * kThinDepth<T> + at;
      Pack<T> x = load_pack(static_cast<const T *>(row));
      squares[r] = 0;
      PND_UNROLL
      for (int e = 0; e < kWide<T>; ++e) {
        squares[r] = fma(x.at[e], x.at[e], squares[r]);
        x.at[e] *= gains.at[e];
      }
      store_pack(row, x);
    }
    to.own = {};
    fold_values<kRows, 16, 1>(squares, to.own);
    to.sum += squares[0];
  }

  // Adds the products with all packs; the first kAsked are there, the others are asked for when
  // there is room.
  template <bool kTransposed>
  __device__ __forceinline__ static void add(T (&sum)[kSums], Pack<T> (&weights)[kAsked],
                                             const ThinTile<T> &tile, int64_t k0, int64_t left) {
    constexpr int kTogether = kTransposed ? kWide<T> : 1;
    PND_UNROLL
    for (int i = 0; i < kPacks; i += kTogether) {
      Pack<T> *const now = weights + i % kAsked;
      const int k = kTransposed ? (i / kWide<T> * kThinParts + part<true>()) * kWide<T>
                                : i * kThinParts + part<false>();
      if (k < left) {
        PND_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const T *row = rows() + r * kThinDepth<T> + k;
          if constexpr (kTransposed) {
            const Pack<T> x = load_pack(row);
            PND_UNROLL
            for (int e = 0; e < kWide<T>; ++e) {
              PND_UNROLL
              for (int j = 0; j < kWide<T>; ++j) {
                sum[r * kWide<T> + e] = fma(x.at[j], now[e].at[j], sum[r * kWide<T> + e]);
              }
            }
          } else {
            PND_UNROLL
            for (int e = 0; e < kWide<T>; ++e) {
              sum[r * kWide<T> + e] = fma(*row, now->at[e], sum[r * kWide<T> + e]);
            }
          }
        }
      }
      PND_UNROLL
      for (int n = 0; n < kTogether && i + n + kAsked < kPacks; ++n) {
        now[n] = ask<kTransposed>(tile, i + n + kAsked, k0, left);
      }
    }
  }

  template <bool kTransposed>
  __device__ __forceinline__ static void meet(T (&sum)[kSums]) {
    constexpr int kLanes = kTransposed ? 32 : 16;
    Folded own;
    fold_values<kSums, 16, kTransposed ? 1 : 2>(sum, own);
    if (!own.leads) return;
    T *to =
        sums(kTransposed ? warp_number() % kSumWarps<true> : warp_number(), pack<kTransposed>());
    PND_UNROLL
    for (int i = 0; i < (kSums > kLanes ? kSums / kLanes : 1); ++i) to[own.place + i] = sum[i];
  }
  __device__ __forceinline__ static void meet_squares(const Squares &squares) {
    if (squares.own.leads) square_sums()[warp_number() * kRows + squares.own.place] = squares.sum;
  }
};
