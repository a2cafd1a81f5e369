// SPDX-License-Identifier: Apache-2.0
// fragment.cuh: tiles of bf16 in shared memory, and what the matrix instructions of a warp take
// from them and leave to them. A tile's rows are cut into chunks of 16 bytes, which change places
// with the row's number: the 8 rows that a matrix load reads, or that a warp writes at a time, lie
// in different banks.
#pragma once

#include "pack.cuh"
#include "ptx.cuh"
#include "scalar.cuh"
#include "warp.cuh"

// Where chunk `chunk` of a row of a tile begins. Of 4 chunks two rows share the 32 banks.
template <int kCols>
PND_SHARED constexpr int place(int row, int chunk) {
  return row * kCols + (chunk ^ (kCols == 32 ? row >> 1 & 3 : row & 7)) * kWide<Bf16>;
}

// Whether 8 rows of each chunk lie in different banks.
template <int kCols>
constexpr bool spreads_rows() {
  for (int chunk = 0; chunk < kCols / kWide<Bf16>; ++chunk) {
    int groups = 0;
    for (int row = 0; row < 8; ++row) groups |= 1 << place<kCols>(row, chunk) / kWide<Bf16> % 8;
    if (groups != 0xff) return false;
  }
  return true;
}
static_assert(spreads_rows<32>() && spreads_rows<64>() && spreads_rows<128>() &&
              spreads_rows<256>());

// Begins to copy tile[r][c] = from[r stride + c] for kRows x kCols, zero where r < first,
// r >= rows or c >= cols; whole: 16 bytes at a time, which cols and the rows' places must allow.
// All kThreads take part; the tile is there when its group of copies is, and after a barrier.
template <int kRows, int kCols, int kThreads>
__device__ __forceinline__ void copy_rows(Bf16 *tile, const Bf16 *from, int64_t stride, int rows,
                                          int cols, bool whole, int first = 0) {
  constexpr int kChunks = kCols / kWide<Bf16>, kAtOnce = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kRows % kAtOnce == 0, "the same for every thread");
  const int thread = static_cast<int>(threadIdx.x), row = thread / kChunks;
  const int chunk = thread % kChunks, left = cols - chunk * kWide<Bf16>;
  const Bf16 *at = from + row * stride + chunk * kWide<Bf16>;
  const int64_t step = kAtOnce * stride;
  if (whole) {
    PND_UNROLL
    for (int r = 0; r < kRows; r += kAtOnce, at += step) {
      // place(row + r, chunk), as no bit of r is one of row's.
      const int to = r * kCols + (place<kCols>(row, chunk) ^ r % 8 * kWide<Bf16>);
      const bool inside = row + r >= first && row + r < rows && left > 0;
      copy_async<16>(tile + to, at, inside);
    }
    return;
  }
#pragma unroll 1
  for (int r = row; r < kRows; r += kAtOnce, at += step) {
    const int have = r >= first && r < rows ? left : 0;
    store_pack(tile + place<kCols>(r, chunk), load_pack(at, have, false));
  }
}

// Likewise of rows anywhere: at(r) is where row r begins, null if it does not exist.
template <int kRows, int kCols, int kThreads, class At>
__device__ __forceinline__ void copy_rows_at(Bf16 *tile, int cols, bool whole, At at) {
  constexpr int kChunks = kCols / kWide<Bf16>, kAtOnce = kThreads / kChunks;
  const int thread = static_cast<int>(threadIdx.x), chunk = thread % kChunks;
  const int col = chunk * kWide<Bf16>, left = cols - col;
#pragma unroll 2
  for (int r = thread / kChunks; r < kRows; r += kAtOnce) {
    const Bf16 *from = at(r);
    Bf16 *to = tile + place<kCols>(r, chunk);
    const bool inside = from != nullptr && left > 0;
    if (whole) {
      copy_async<16>(to, inside ? from + col : nullptr, inside);
    } else {
      store_pack(to, inside ? load_pack(from + col, left, false) : Pack<Bf16>{});
    }
  }
}

// to[r stride + c] = tile[r][c] for r < rows and c < cols. All kThreads take part.
template <int kRows, int kCols, int kThreads>
__device__ __forceinline__ void store_rows(Bf16 *to, int64_t stride, const Bf16 *tile, int rows,
                                           int cols, bool whole) {
  constexpr int kChunks = kCols / kWide<Bf16>, kAtOnce = kThreads / kChunks;
  const int thread = static_cast<int>(threadIdx.x), chunk = thread % kChunks;
  const int left = cols - chunk * kWide<Bf16>;
  if (left <= 0) return;
#pragma unroll 4
  for (int r = thread / kChunks; r < kRows; r += kAtOnce) {
    if (r >= rows) return;
    store_pack(to + r * stride + chunk * kWide<Bf16>, load_pack(tile + place<kCols>(r, chunk)),
               left, whole);
  }
}

// Likewise to rows anywhere, as copy_rows_at takes them.
template <int kRows, int kCols, int kThreads, class At>
__device__ __forceinline__ void store_rows_at(const Bf16 *tile, int cols, bool whole, At at) {
  constexpr int kChunks = kCols / kWide<Bf16>, kAtOnce = kThreads / kChunks;
  const int thread = static_cast<int>(threadIdx.x), chunk = thread % kChunks;
  const int left = cols - chunk * kWide<Bf16>;
  if (left <= 0) return;
#pragma unroll 2
  for (int r = thread / kChunks; r < kRows; r += kAtOnce) {
    Bf16 *to = at(r);
    if (to == nullptr) continue;
    store_pack(to + chunk * kWide<Bf16>, load_pack(tile + place<kCols>(r, chunk)), left, whole);
  }
}

// What stands from (row, col) of a tile on, 16 x 16, or the transpose of that: as multiply_bf16
// takes its first factor. kSecond: as it takes the transpose of two second ones, rows 0 to 7 in
// to[0] and to[1], rows 8 to 15 behind them. row is a multiple of 8, col of 16.
template <int kCols, bool kSecond, bool kTransposed>
__device__ __forceinline__ void load_square(uint32_t (&to)[4], const Bf16 *tile, int row, int col) {
  // The order of the four 8 x 8 matrices: down first or to the right first.
  const int lane = lane_number(), second = lane / 8 % 2, third = lane / 16;
  constexpr bool kDown = kSecond == kTransposed;
  const int origin = place<kCols>(lane % 8 + (kDown ? second : third) * 8, kDown ? third : second);
  // The same as place(row + ..., col / 8 + ...), for one operation per column. Second factors pass
  // by: it is left to where it is needed, as addresses for all columns would take the registers of
  // the sums.
  const Bf16 *const base = shared_memory<Bf16>();
  const int first = static_cast<int>(tile - base) + row * kCols;
  const int at = kSecond ? (first + origin) ^ col : first + (origin ^ col);
  load_matrices<4, kTransposed>(to, base + at);
}

// left, right += a b^T, where b is a square as the second factors; left: its rows 0 to 7.
__device__ __forceinline__ void multiply_square(float (&left)[4], float (&right)[4],
                                                const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  const uint32_t upper[2] = {b[0], b[1]}, lower[2] = {b[2], b[3]};
  multiply_bf16(left, a, upper);
  multiply_bf16(right, a, lower);
}

// Two neighbours, moved by one instruction.
struct alignas(4) Bf16Pair {
  Bf16 at[2];
};

__device__ __forceinline__ void store_pair(Bf16 *to, float low, float high) {
  const uint32_t pair = bf16_pair(low, high);
  *reinterpret_cast<Bf16Pair *>(to) = {
      {{static_cast<uint16_t>(pair)}, {static_cast<uint16_t>(pair >> 16)}}};
}

// A warp's sums of 16 rows and 8 n columns, to the tile from (row, col) on.
template <int kCols, int n>
__device__ __forceinline__ void put_sums(Bf16 *tile, int row, int col, const float (&sum)[n][4]) {
  const int lane = lane_number(), r = row + lane / 4, chunk = col / kWide<Bf16>;
  PND_UNROLL
  for (int j = 0; j < n; ++j) {
    store_pair(tile + place<kCols>(r, chunk + j) + lane % 4 * 2, sum[j][0], sum[j][1]);
    store_pair(tile + place<kCols>(r + 8, chunk + j) + lane % 4 * 2, sum[j][2], sum[j][3]);
  }
}

// The place of this lane's element e of part j of the sums of 16 rows.
__device__ __forceinline__ int sum_row(int e) { return lane_number() / 4 + e / 2 * 8; }
__device__ __forceinline__ int sum_col(int j, int e) {
  return j * 8 + lane_number() % 4 * 2 + e % 2;
}

// 16 kBands rows of a tile as first factors, in registers where they are kept.
template <int kCols, int kBands, bool kKept>
struct OwnRows {
  const Bf16 *tile;
  int row;
  uint32_t kept[kKept ? kBands : 1][kKept ? kCols / 16 : 1][4];

  // The tile must be there.
  __device__ __forceinline__ OwnRows(const Bf16 *from, int first) : tile(from), row(first) {
    if constexpr (kKept) {
      PND_UNROLL
      for (int band = 0; band < kBands; ++band) {
        PND_UNROLL
        for (int k = 0; k < kCols / 16; ++k) load(kept[band][k], band, k);
      }
    }
  }
  __device__ __forceinline__ void load(uint32_t (&to)[4], int band, int k) const {
    load_square<kCols, false, false>(to, tile, row + band * 16, k * 16);
  }

  // sum += these rows . the 8 n rows of another tile.
  template <int n>
  __device__ __forceinline__ void add_dots(float (&sum)[kBands][n][4], const Bf16 *other) const {
#pragma unroll(kKept ? kCols / 16 : 2)
    for (int k = 0; k < kCols / 16; ++k) {
      uint32_t left[kBands][4];
      PND_UNROLL
      for (int band = 0; band < kBands; ++band) {
        if constexpr (kKept) {
          PND_UNROLL
          for (int i = 0; i < 4; ++i) left[band][i] = kept[band][k][i];
        } else {
          load(left[band], band, k);
        }
      }
      PND_UNROLL
      for (int j = 0; j < n; j += 2) {
        uint32_t right[4];
        load_square<kCols, true, false>(right, other, j * 8, k * 16);
        PND_UNROLL
        for (int band = 0; band < kBands; ++band) {
          multiply_square(sum[band][j], sum[band][j + 1], left[band], right);
        }
      }
    }
  }
};

// sum += p, rounded to bf16, times the 8 n rows of a tile: sums of one product are first factors of
// the next where they stand. With `of`, of(j, e, p) takes the place of element e of part j.
struct Unchanged {
  __device__ __forceinline__ float operator()(int, int, float x) const { return x; }
};
template <int kCols, int kBands, int n, class F = Unchanged>
__device__ __forceinline__ void add_products(float (&sum)[kBands][kCols / 8][4],
                                             const float (&p)[kBands][n][4], const Bf16 *tile,
                                             F of = {}) {
  PND_UNROLL
  for (int j = 0; j < n; j += 2) {
    uint32_t left[kBands][4];
    PND_UNROLL
    for (int band = 0; band < kBands; ++band) {
      PND_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int part = j + i / 2, e = i % 2 * 2;
        left[band][i] =
            bf16_pair(of(part, e, p[band][part][e]), of(part, e + 1, p[band][part][e + 1]));
      }
    }
    PND_UNROLL
    for (int c = 0; c < kCols / 8; c += 2) {
      uint32_t right[4];
      load_square<kCols, true, true>(right, tile, j * 8, c * 8);
      PND_UNROLL
      for (int band = 0; band < kBands; ++band) {
        multiply_square(sum[band][c], sum[band][c + 1], left[band], right);
      }
    }
  }
}

// The sum, or another fold, over the 4 lanes that hold a row.
template <class Op>
__device__ __forceinline__ float fold_lanes(float x, Op op) {
  x = op(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return op(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
