// SPDX-License-Identifier: Apache-2.0
// tile_bf16: products of bf16 by the tiles of tile.h. Operands become pairs, or floats, while they
// are packed; sums are floats and are rounded once.
// Order    by pairs: k upwards, two at a time as the processor adds them; as floats: one chain of
//          fused multiply-adds over k
#pragma once

#include "stored.h"
#include "tile.h"

// n neighbours along the sum as units. What a last pair lacks is zero.
PND_INLINE void pack_run(float *to, const Bf16 *from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = widened(from[i]);
}
// n units that lie beside each other across the sum: the first of each pair in `from`, the second
// in `next`, or nullptr where the sum ends.
PND_INLINE void pack_across(float *to, const Bf16 *from, const Bf16 *, int64_t n) {
  // By hand: GCC 12 takes a run of known length apart into single elements.
  int64_t i = 0;
  for (; i + kWidth<float> <= n; i += kWidth<float>) store(to + i, load_widened(from + i));
  for (; i < n; ++i) to[i] = widened(from[i]);
}
#if defined(__AVX512BF16__)
PND_INLINE void pack_run(Pair *to, const Bf16 *from, int64_t n) {
  constexpr int64_t kStep = 2 * kWidth<Pair>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    store(to + i / 2, load(reinterpret_cast<const Pair *>(from + i)));
  }
  if (i == n) return;
  std::memcpy(to + i / 2, from + i, (n - i) * sizeof(Bf16));
  if (n % 2 != 0) to[n / 2].high = {0};
}
PND_INLINE void pack_across(Pair *to, const Bf16 *from, const Bf16 *next, int64_t n) {
  if (next == nullptr) {
    for (int64_t i = 0; i < n; ++i) to[i] = {from[i], {0}};
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = {from[i], next[i]};
  }
}
// The first n of a vector's elements as units along the sum, the rest zeros.
PND_INLINE Vec<Pair> load_first_units(const Bf16 *p, int64_t n) {
  const auto lanes = static_cast<__mmask32>((uint64_t{1} << n) - 1);
  return (Vec<Pair>)_mm512_maskz_loadu_epi16(lanes, p);
}
// Vectors of units across the sum of 16 columns, or of 32 that lie as the processor zips them: in
// turns, four columns in the first vector, four in the second.
PND_INLINE Vec<Pair> load_across(const Bf16 *from, const Bf16 *next) {
  typedef uint16_t Half __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
  const auto low = __builtin_convertvector(*reinterpret_cast<const Half *>(from), Vec<uint32_t>);
  const auto high = __builtin_convertvector(*reinterpret_cast<const Half *>(next), Vec<uint32_t>);
  return low | high << 16;
}
PND_INLINE void load_zipped(Vec<Pair> *x, const Bf16 *from, const Bf16 *next) {
  const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(next);
  x[0] = (Vec<Pair>)_mm512_unpacklo_epi16(low, high);
  x[1] = (Vec<Pair>)_mm512_unpackhi_epi16(low, high);
}
// A vector of sums, rounded, as elements `place` and on of a run; and two of them across the sum.
PND_INLINE void store_run(Pair *run, int64_t place, Vec<float> x) {
  Bf16 *to = reinterpret_cast<Bf16 *>(run) + place;
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), (__m256i)_mm512_cvtneps_pbh((__m512)x));
}
PND_INLINE void store_across(Pair *to, Vec<float> low, Vec<float> high) {
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes)));
  const Halves both = (Halves)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  store(to, (Vec<Pair>)__builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                               6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                               13, 29, 14, 30, 15, 31));
}
PND_INLINE void transpose_block(const Pair *from, int64_t from_stride, Pair *to,
                                int64_t to_stride) {
  transpose_block(reinterpret_cast<const float *>(from), from_stride, reinterpret_cast<float *>(to),
                  to_stride);
}
#endif

// pack_columns of tile.h for stored bf16: panels of units_of(depth) rows.
template <class T>
inline void pack_columns(T *to, const Bf16 *b, int64_t stride, int64_t depth, int64_t cols,
                         bool transposed) {
  constexpr int64_t kCols = kTileCols<T>, kRun = 64;
  const int64_t units = units_of<T>(depth);
  if constexpr (kPerUnit<T> == 2) {
    const bool whole = reinterpret_cast<uintptr_t>(b) % sizeof(T) == 0;
    if (transposed && whole && depth % 2 == 0 && stride % 2 == 0) {  // pairs as they lie
      return pack_columns(to, reinterpret_cast<const T *>(b), stride / 2, units, cols, true);
    }
  }
  for (int64_t first = 0; first < cols; first += kCols, to += units * kCols) {
    const int64_t n = std::min(kCols, cols - first);
    if (transposed) {
      T run[kCols * kRun];
      for (int64_t u = 0; u < units; u += kRun) {
        const int64_t k = u * kPerUnit<T>, count = std::min(kRun * kPerUnit<T>, depth - k);
        for (int64_t j = 0; j < n; ++j) {
          pack_run(run + j * kRun, b + (first + j) * stride + k, count);
        }
        pack_columns(to + u * kCols, static_cast<const T *>(run), kRun, units_of<T>(count), n,
                     true);
      }
      continue;
    }
    for (int64_t u = 0; u < units; ++u) {
      const int64_t k = u * kPerUnit<T>;
      const Bf16 *from = b + k * stride + first;
      const Bf16 *next = k + 1 < depth ? from + stride : nullptr;
      T *row = to + u * kCols;
      if (n == kCols) {
        pack_across(row, from, next, kCols);
      } else {
        pack_across(row, from, next, n);
        std::memset(static_cast<void *>(row + n), 0, (kCols - n) * sizeof(T));
      }
    }
  }
}

// pack_rows of tile.h for stored bf16: columns [k0, k0 + depth).
template <class T>
inline void pack_rows(T *to, Matrix<Bf16> a, int64_t rows, int64_t panels, int64_t first,
                      int64_t last, int64_t k0, int64_t depth) {
  const int64_t start = panel_start(first, panels, rows), end = panel_start(last, panels, rows);
  if (!a.transposed) {
    for (int64_t r = start; r < end; ++r) {
      pack_run(to + (r - start) * kRowStride<T>, a.data + r * a.stride + k0, depth);
    }
    return;
  }
  int64_t row[kPanelGroup + 1];
  for (int64_t p = first; p <= last; ++p) row[p - first] = panel_start(p, panels, rows);
  for (int64_t u = 0, k = 0; k < depth; ++u, k += kPerUnit<T>) {
    const Bf16 *from = a.data + (k0 + k) * a.stride;
    const Bf16 *next = k + 1 < depth ? from + a.stride : nullptr;
    // As in tile.h: the rows are pages apart.
    if (k + kPrefetchRows + 1 < depth) {
      for (int64_t r = start; r < end; r += 32) {
        __builtin_prefetch(from + kPrefetchRows * a.stride + r);
        __builtin_prefetch(from + (kPrefetchRows + 1) * a.stride + r);
      }
    }
    for (int64_t p = first; p < last; ++p) {
      const int64_t r0 = row[p - first];
      T *run = to + ((p - first) * kRowStride<T> + u) * kTileRows;
      const Bf16 *second = next == nullptr ? nullptr : next + r0;
      if (p + 1 < panels) {
        pack_across(run, from + r0, second, kTileRows);  // a fixed size; what is over is unused
      } else {
        pack_across(run, from + r0, second, row[p + 1 - first] - r0);
      }
    }
  }
}

// Stores `cols` columns of a tile, each sum rounded.
template <class T, int kRows, int kVectors>
PND_INLINE void store_narrowed(const Tile<T, kRows, kVectors> &tile, Bf16 *y, int64_t stride,
                               int64_t cols) {
  PND_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const int64_t left = cols - v * kWidth<T>;
      if (left > 0) write_some(y + r * stride + v * kWidth<T>, tile.sum[r][v], left);
    }
  }
}

// Floats of scratch that the product below needs beside kProductScratch: sums wait there from one
// run of depth to the next.
constexpr int64_t kSumRows = 512;
constexpr int64_t kSums = kSumRows * kBlockCols<float>;

// One piece of the product below.
template <class T, int kRows, int kVectors, int64_t kRowStep, int64_t kStep>
__attribute__((noinline)) void narrowed_product(Bf16 *y, int64_t y_stride, float *sums,
                                                const Piece<T> &p) {
  Tile<T, kRows, kVectors> tile;
  if (p.first) {
    tile.clear();
  } else {
    tile.load_from(sums, kBlockCols<float>);
  }
  tile.template add_product<kRowStep, kStep>(p.a, p.b, p.b_stride, p.depth);
  if (p.last) {
    store_narrowed(tile, y, y_stride, p.cols);
  } else {
    tile.store_to(sums, kBlockCols<float>);
  }
}

// Y = op(A) op(B), on the calling thread; sums: kSums floats, nullptr where inner is one run.
inline void product(Bf16 *y, int64_t y_stride, Matrix<Bf16> a, Matrix<Bf16> b, int64_t rows,
                    int64_t cols, int64_t inner, Bf16Unit *scratch, float *sums) {
  const int64_t block = sums == nullptr ? rows : kSumRows;
  for (int64_t r0 = 0; r0 < rows; r0 += block) {
    const Matrix<Bf16> left{a.data + r0 * (a.transposed ? 1 : a.stride), a.stride, a.transposed};
    const auto run = [&]<int kRows, int kVectors, int64_t kRowStep, int64_t kStep>(
                         const Piece<Bf16Unit> &p) {
      narrowed_product<Bf16Unit, kRows, kVectors, kRowStep, kStep>(
          y + (r0 + p.row) * y_stride + p.col, y_stride,
          sums == nullptr ? nullptr : sums + p.row * kBlockCols<float> + p.col % kBlockCols<float>,
          p);
    };
    each_piece(left, b, std::min(block, rows - r0), cols, inner, scratch, run);
  }
}
