// SPDX-License-Identifier: Apache-2.0
// tile: the register-tiled, packed matrix product that matmul, attention, cross-entropy and the
// recurrent kernels share.
//
// A tile is up to kTileRows rows by two vectors of columns, kept in registers while k runs. The
// rows come from A, one element broadcast at a time; the columns are vectors of B.
//   B is packed in panels of kTileCols columns, [panel][k][kTileCols], padded with zeros: a block
//   of
//     kDepth x kBlockCols lives in L2 and streams through L1.
//   A is packed without ever being transposed: op(A) = A copies rows of kDepth elements, op(A) =
//   A^T
//     copies runs of kTileRows. The two layouts differ by two compile-time strides only. A panel of
//     A stays in L1 while all panels of the B block pass.
// Order    an element of C is one chain of fused multiply-adds over k, from 0 upwards, so its bits
//          depend neither on the tile, nor on the vector width, nor on any blocking
// Source   the layering of Goto, van de Geijn, ACM TOMS 34(3), 2008
#pragma once

#include <algorithm>
#include <utility>

#include "pair.h"

#if defined(__AVX512F__)
constexpr int kTileRows = 8;  // 16 of 32 registers; more rows were no faster
#elif defined(__AVX2__)
constexpr int kTileRows = 6;  // 12 sums, 2 of B, 1 of A: 15 of 16 registers
#elif defined(__aarch64__)
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;
// Whether a tile leaves registers for work of another kind.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kSpareRegisters = true;
#else
constexpr bool kSpareRegisters = false;
#endif
template <class T>
constexpr int kTileCols = kTileVectors *kWidth<T>;

// Blocking: 256 deep, 2 KiB of columns (512 KiB of packed B, half of a usual L2).
constexpr int64_t kDepth = 256;
template <class T>
constexpr int64_t kBlockCols = 2048 / static_cast<int64_t>(sizeof(T));
// The stride of a packed row of A: off the power of two, so that rows fall into different sets.
template <class T>
constexpr int64_t kRowStride = kDepth + 64 / static_cast<int64_t>(sizeof(T));
constexpr int64_t kPrefetchRows = 8;  // ahead in a transposed one: 202 to 222 GFLOP/s on a Zen 5
constexpr int64_t kPanelGroup = 16;  // panels of A packed together: whole pages of a transposed one

// The sums of one tile.
template <class T, int kRows, int kVectors>
struct Tile {
  using Sum = SumOf<T>;
  Vec<Sum> sum[kRows][kVectors];

  PND_INLINE void clear() {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Vec<Sum>{};
    }
  }
  PND_INLINE void load_from(const Sum *c, int64_t stride) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(c + r * stride + v * kWidth<T>);
    }
  }
  PND_INLINE void store_to(Sum *c, int64_t stride) const {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) store(c + r * stride + v * kWidth<T>, sum[r][v]);
    }
  }
  // most[r] = the larger of itself and sum[r][:], per lane.
  PND_INLINE void raise_to(Vec<Sum> *most) const {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      Vec<Sum> x = sum[r][0];
      for (int v = 1; v < kVectors; ++v) x = larger(x, sum[r][v]);
      most[r] = larger(x, most[r]);
    }
  }
  PND_INLINE void scale_rows(const Sum *scale) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] *= splat(scale[r]);
    }
  }
  PND_INLINE void scale(Sum factor) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] *= splat(factor);
    }
  }
  // sum[r][:] += a[r * kRowStep] * b[:] for the rows [kFirst, kLast).
  template <int64_t kRowStep, int kFirst = 0, int kLast = kRows>
  PND_INLINE void add_step(const T *a, const T *b) {
    Vec<T> row[kVectors];
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) row[v] = load(b + v * kWidth<T>);
    PND_UNROLL
    for (int r = kFirst; r < kLast; ++r) {
      const Vec<T> x = splat<T>(a[r * kRowStep]);
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = plus_product(sum[r][v], x, row[v]);
    }
  }
  // sum[r][:] += sum over k of a[r * kRowStep + k * kStep] * b[k * b_stride + :].
  template <int64_t kRowStep, int64_t kStep>
  PND_INLINE void add_product(const T *a, const T *b, int64_t b_stride, int64_t depth) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < depth; ++k, a += kStep, b += b_stride) add_step<kRowStep>(a, b);
  }
  // Likewise, a's rows any distance apart, its columns next to each other.
  PND_INLINE void add_product(const T *a, int64_t a_stride, const T *b, int64_t b_stride,
                              int64_t depth) {
    add_product(a, a_stride, b, b_stride, depth, 0, [](int64_t) {});
  }
  // Likewise, in parts, with between(part) after each of them: work whose steps wait for each
  // other, which the products, that do not wait, hide.
  template <class F>
  PND_INLINE void add_product(const T *a, int64_t a_stride, const T *b, int64_t b_stride,
                              int64_t depth, int64_t parts, F &&between) {
    const T *row[kRows];
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) row[r] = a + r * a_stride;
    int64_t k = 0;
    const auto add_up_to = [&](int64_t end) PND_INLINED {
#pragma GCC unroll 4
      for (; k < end; ++k, b += b_stride) {
        Vec<T> of_b[kVectors];
        PND_UNROLL
        for (int v = 0; v < kVectors; ++v) of_b[v] = load(b + v * kWidth<T>);
        PND_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const Vec<T> x = splat<T>(row[r][k]);
          PND_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = plus_product(sum[r][v], x, of_b[v]);
        }
      }
    };
    for (int64_t part = 0; part < parts; ++part) {
      if constexpr (kSpareRegisters) add_up_to(k + depth / parts);
      between(part);
    }
    add_up_to(depth);
  }
};

// Rows as the left operand of tiles, whatever their width: cut into blocks of kDepth columns, each
// [row][kRowStride]. Padded with zeros to whole tiles they serve as a right operand too.
template <class T>
struct Rows {
  T *data;
  int64_t rows;

  static int64_t size(int64_t rows, int64_t width) {
    return (width + kDepth - 1) / kDepth * rows * kRowStride<T>;
  }
  PND_INLINE T *at(int64_t row, int64_t column) const {
    return data + (column / kDepth * rows + row) * kRowStride<T> + column % kDepth;
  }
  void fill(int64_t row, const T *from, int64_t width, T scale = 1) const {
    for (int64_t k = 0; k < width; k += kDepth) {
      const int64_t n = std::min(kDepth, width - k);
      const int64_t whole = (n + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
      T *to = at(row, k);
      int64_t i = 0;
      for (; i < n; i += kWidth<T>) store(to + i, load_some(from + k + i, n - i) * splat(scale));
      for (; i < whole; i += kWidth<T>) store(to + i, Vec<T>{});
    }
  }
  void clear(int64_t row, int64_t width) const {
    for (int64_t k = 0; k < width; k += kDepth) {
      std::memset(at(row, k), 0, std::min(kDepth, width - k) * sizeof(T));
    }
  }
};

// tile += rows [row, row + kRows) of a, `depth` columns of them, times b.
template <class T, int kRows, int kVectors>
PND_INLINE void add_rows(Tile<T, kRows, kVectors> &tile, Rows<T> a, int64_t row, const T *b,
                         int64_t b_stride, int64_t depth) {
  for (int64_t k = 0; k < depth; k += kDepth) {
    tile.template add_product<kRowStride<T>, 1>(a.at(row, k), b + k * b_stride, b_stride,
                                                std::min(kDepth, depth - k));
  }
}

// Calls f(std::integral_constant<int, rows>) for 1 <= rows <= kTileRows: each height has a kernel
// of its own, so that no row is padded.
template <class F>
PND_INLINE void with_rows(int64_t rows, F &&f) {
  const auto at = [&]<int... kRows>(std::integer_sequence<int, kRows...>) {
    (void)((rows == kRows + 1 ? (f(std::integral_constant<int, kRows + 1>{}), true) : false) ||
           ...);
  };
  at(std::make_integer_sequence<int, kTileRows>{});
}

// `n` rows cut into panels of nearly equal height: the first row of panel p.
PND_INLINE int64_t panels_of(int64_t n) { return (n + kTileRows - 1) / kTileRows; }
PND_INLINE int64_t panel_start(int64_t p, int64_t panels, int64_t n) { return p * n / panels; }

// Calls f(std::integral_constant<int, i>) for 0 <= i < kCount.
template <int kCount, class F>
PND_INLINE void unrolled(F &&f) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    (f(std::integral_constant<int, kIndex>{}), ...);
  }
  (std::make_integer_sequence<int, kCount>{});
}

// Cuts `cols` columns into tiles: calls f(first column, std::integral_constant<int, vectors>).
template <class T, class F>
PND_INLINE void each_tile(int64_t cols, F &&f) {
  int64_t first = 0;
  for (; first + kWidth<T> < cols; first += kTileCols<T>) {
    f(first, std::integral_constant<int, kTileVectors>{});
  }
  if (first < cols) f(first, std::integral_constant<int, 1>{});
}

// Loads a tile of C (zeros where it does not accumulate), lets f change it and stores `cols`
// columns of it. Fewer than a whole tile go through a copy.
template <class T, int kRows, int kVectors, class F>
PND_INLINE void change_tile(SumOf<T> *c, int64_t stride, bool accumulate, int64_t cols, F &&f) {
  constexpr int64_t kCols = kVectors * kWidth<T>;
  const bool whole = cols >= kCols;
  SumOf<T> copy[kRows * kCols];
  Tile<T, kRows, kVectors> tile;
  if (!accumulate) {
    tile.clear();
  } else if (whole) {
    tile.load_from(c, stride);
  } else {
    std::memset(copy, 0, sizeof copy);
    for (int r = 0; r < kRows; ++r) {
      std::memcpy(copy + r * kCols, c + r * stride, cols * sizeof(SumOf<T>));
    }
    tile.load_from(copy, kCols);
  }
  f(tile);
  if (whole) {
    tile.store_to(c, stride);
    return;
  }
  tile.store_to(copy, kCols);
  for (int r = 0; r < kRows; ++r) {
    std::memcpy(c + r * stride, copy + r * kCols, cols * sizeof(SumOf<T>));
  }
}

// One tile of C = (accumulate ? C : 0) + A B, `cols` columns of it.
template <class T, int kRows, int kVectors, int64_t kRowStep, int64_t kStep>
__attribute__((noinline)) void tile_product(const T *a, const T *b, int64_t b_stride, int64_t depth,
                                            SumOf<T> *c, int64_t c_stride, bool accumulate,
                                            int64_t cols) {
  change_tile<T, kRows, kVectors>(c, c_stride, accumulate, cols, [&](auto &tile) {
    tile.template add_product<kRowStep, kStep>(a, b, b_stride, depth);
  });
}

// to[c][r] = from[r][c] on one square block of 32 bytes a side, in 256-bit registers. The halves of
// rows i and i + 4 are loaded into one register, which saves the shuffles across halves.
PND_INLINE void transpose_block(const float *from, int64_t from_stride, float *to,
                                int64_t to_stride) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef float EightAnywhere __attribute__((vector_size(32), aligned(4), may_alias));
  typedef float FourAnywhere __attribute__((vector_size(16), aligned(4), may_alias));
  Eight r[8];
  PND_UNROLL
  for (int i = 0; i < 8; ++i) {
    const float *p = from + (i & 3) * from_stride + (i >> 2) * 4;
    const FourAnywhere low = *reinterpret_cast<const FourAnywhere *>(p);
    const FourAnywhere high = *reinterpret_cast<const FourAnywhere *>(p + 4 * from_stride);
    r[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
  }
  PND_UNROLL
  for (int h = 0; h < 8; h += 4) {
    const Eight a = __builtin_shufflevector(r[h], r[h + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    const Eight b = __builtin_shufflevector(r[h], r[h + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    const Eight c = __builtin_shufflevector(r[h + 2], r[h + 3], 0, 8, 1, 9, 4, 12, 5, 13);
    const Eight d = __builtin_shufflevector(r[h + 2], r[h + 3], 2, 10, 3, 11, 6, 14, 7, 15);
    const auto put = [&](int row, Eight x) {
      *reinterpret_cast<EightAnywhere *>(to + (h + row) * to_stride) = x;
    };
    put(0, __builtin_shufflevector(a, c, 0, 1, 8, 9, 4, 5, 12, 13));
    put(1, __builtin_shufflevector(a, c, 2, 3, 10, 11, 6, 7, 14, 15));
    put(2, __builtin_shufflevector(b, d, 0, 1, 8, 9, 4, 5, 12, 13));
    put(3, __builtin_shufflevector(b, d, 2, 3, 10, 11, 6, 7, 14, 15));
  }
}
PND_INLINE void transpose_block(const double *from, int64_t from_stride, double *to,
                                int64_t to_stride) {
  typedef double Four __attribute__((vector_size(32)));
  typedef double FourAnywhere __attribute__((vector_size(32), aligned(8), may_alias));
  Four r[4];
  PND_UNROLL
  for (int i = 0; i < 4; ++i)
    r[i] = *reinterpret_cast<const FourAnywhere *>(from + i * from_stride);
  const Four a = __builtin_shufflevector(r[0], r[1], 0, 4, 2, 6);
  const Four b = __builtin_shufflevector(r[0], r[1], 1, 5, 3, 7);
  const Four c = __builtin_shufflevector(r[2], r[3], 0, 4, 2, 6);
  const Four d = __builtin_shufflevector(r[2], r[3], 1, 5, 3, 7);
  const auto put = [&](int row, Four x) {
    *reinterpret_cast<FourAnywhere *>(to + row * to_stride) = x;
  };
  put(0, __builtin_shufflevector(a, c, 0, 1, 4, 5));
  put(1, __builtin_shufflevector(b, d, 0, 1, 4, 5));
  put(2, __builtin_shufflevector(a, c, 2, 3, 6, 7));
  put(3, __builtin_shufflevector(b, d, 2, 3, 6, 7));
}

// Packs op(B)[0, depth) x [0, cols) into panels, cols rounded up to whole panels.
// transposed: b is [cols][depth] with that stride.
template <class T>
inline void pack_columns(T *to, const T *b, int64_t stride, int64_t depth, int64_t cols,
                         bool transposed) {
  constexpr int64_t kCols = kTileCols<T>, kBlock = 32 / static_cast<int64_t>(sizeof(T));
  for (int64_t first = 0; first < cols; first += kCols, to += depth * kCols) {
    const int64_t n = std::min(kCols, cols - first);
    if (!transposed && n == kCols) {
      const T *from = b + first;
      for (int64_t k = 0; k < depth; ++k) {
        PND_UNROLL
        for (int v = 0; v < kTileVectors; ++v) {
          store(to + k * kCols + v * kWidth<T>, load(from + k * stride + v * kWidth<T>));
        }
      }
      continue;
    }
    if (n < kCols) std::memset(to, 0, depth * kCols * sizeof(T));
    if (!transposed) {
      for (int64_t k = 0; k < depth; ++k) {
        std::memcpy(to + k * kCols, b + k * stride + first, n * sizeof(T));
      }
      continue;
    }
    const T *from = b + first * stride;
    const int64_t whole_n = n / kBlock * kBlock, whole_k = depth / kBlock * kBlock;
    for (int64_t j = 0; j < whole_n; j += kBlock) {
      for (int64_t k = 0; k < whole_k; k += kBlock) {
        transpose_block(from + j * stride + k, stride, to + k * kCols + j, kCols);
      }
    }
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t k = j < whole_n ? whole_k : 0; k < depth; ++k) {
        to[k * kCols + j] = from[j * stride + k];
      }
    }
  }
}

// Elements of scratch that `product` needs.
template <class T>
constexpr int64_t kProductScratch = kDepth *kBlockCols<T> + kPanelGroup *kTileRows *kRowStride<T>;

// One operand: its address, the distance between stored rows, and whether it is read transposed.
template <class T>
struct Matrix {
  const T *data;
  int64_t stride;
  bool transposed;
};

// Packs panels [first, last) of op(A), `rows` high in all, columns [k0, k0 + depth).
template <class T>
inline void pack_rows(T *to, Matrix<T> a, int64_t rows, int64_t panels, int64_t first, int64_t last,
                      int64_t k0, int64_t depth) {
  const int64_t start = panel_start(first, panels, rows), end = panel_start(last, panels, rows);
  if (!a.transposed) {
    for (int64_t r = start; r < end; ++r) {
      std::memcpy(to + (r - start) * kRowStride<T>, a.data + r * a.stride + k0, depth * sizeof(T));
    }
    return;
  }
  for (int64_t k = 0; k < depth; ++k) {
    const T *from = a.data + (k0 + k) * a.stride;
    // The rows are pages apart: the processor does not foresee them.
    if (k + kPrefetchRows < depth) {
      for (int64_t r = start; r < end; r += 64 / static_cast<int64_t>(sizeof(T))) {
        __builtin_prefetch(from + kPrefetchRows * a.stride + r);
      }
    }
    for (int64_t p = first; p < last; ++p) {
      const int64_t r0 = panel_start(p, panels, rows), r1 = panel_start(p + 1, panels, rows);
      T *run = to + (p - first) * kTileRows * kRowStride<T> + k * kTileRows;
      if (p + 1 < panels) {
        std::memcpy(run, from + r0, kTileRows * sizeof(T));  // a fixed size; what is over is unused
      } else {
        for (int64_t r = r0; r < r1; ++r) run[r - r0] = from[r];
      }
    }
  }
}

// What a product asks of one tile: its place, and its packed operands in one run of depth.
template <class T>
struct Piece {
  int64_t row, col, cols;  // cols: those of its columns that exist
  const T *a, *b;
  int64_t b_stride, depth;
  bool first, last;  // of the runs of depth
};

// Calls run<rows, vectors, step of a row, step of k>(piece) for the pieces of op(A) op(B), the runs
// of depth of a tile in rising order. T is what S is packed as; scratch: kProductScratch elements.
template <class T, class S, class F>
inline void each_piece(Matrix<S> a, Matrix<S> b, int64_t rows, int64_t cols, int64_t inner,
                       T *scratch, F &&run) {
  constexpr int64_t kCols = kTileCols<T>, kStride = kRowStride<T>, kRun = kDepth * kPerUnit<T>;
  T *packed_b = scratch, *packed_a = scratch + kDepth * kBlockCols<T>;
  const int64_t panels = panels_of(rows);
  for (int64_t j0 = 0; j0 < cols; j0 += kBlockCols<T>) {
    const int64_t width = std::min(kBlockCols<T>, cols - j0);
    for (int64_t k0 = 0; k0 < inner; k0 += kRun) {
      const int64_t count = std::min(kRun, inner - k0), depth = units_of<T>(count);
      const S *b_at = b.transposed ? b.data + j0 * b.stride + k0 : b.data + k0 * b.stride + j0;
      int64_t in_place = 0;
      // With few rows a copy of B does not pay: whole panels are read where they are.
      if constexpr (std::is_same_v<S, T>) {
        if (!b.transposed && panels <= 8) in_place = width / kCols * kCols;
      }
      if (in_place < width) {
        pack_columns(packed_b + in_place * depth, b_at + (b.transposed ? 0 : in_place), b.stride,
                     count, width - in_place, b.transposed);
      }
      for (int64_t p0 = 0; p0 < panels; p0 += kPanelGroup) {
        const int64_t p1 = std::min(p0 + kPanelGroup, panels);
        pack_rows(packed_a, a, rows, panels, p0, p1, k0, count);
        for (int64_t p = p0; p < p1; ++p) {
          const int64_t r0 = panel_start(p, panels, rows);
          const int64_t height = panel_start(p + 1, panels, rows) - r0;
          const T *panel =
              packed_a + (a.transposed ? (p - p0) * kTileRows * kStride
                                       : (r0 - panel_start(p0, panels, rows)) * kStride);
          with_rows(height, [&](auto rows_here) {
            constexpr int kRows = rows_here();
            for (int64_t j = 0; j < width; j += kCols) {
              Piece<T> piece{
                  r0,    j0 + j,  std::min(kCols, width - j), panel, packed_b + j * depth, kCols,
                  depth, k0 == 0, k0 + count == inner};
              if constexpr (std::is_same_v<S, T>) {
                if (j < in_place) piece.b = b_at + j, piece.b_stride = b.stride;
              }
              const auto run_it = [&](auto vectors) {
                if (a.transposed) {
                  run.template operator()<kRows, vectors(), 1, kTileRows>(piece);
                } else {
                  run.template operator()<kRows, vectors(), kStride, 1>(piece);
                }
              };
              if (piece.cols > kWidth<T>) {
                run_it(std::integral_constant<int, kTileVectors>{});
              } else {
                run_it(std::integral_constant<int, 1>{});
              }
            }
          });
        }
      }
    }
  }
}

// C = (accumulate ? C : 0) + op(A) op(B), on the calling thread; scratch: kProductScratch elements.
template <class S>
inline void product(SumOf<UnitOf<S>> *c, int64_t c_stride, Matrix<S> a, Matrix<S> b, int64_t rows,
                    int64_t cols, int64_t inner, bool accumulate, UnitOf<S> *scratch) {
  using T = UnitOf<S>;
  const auto run =
      [&]<int kRows, int kVectors, int64_t kRowStep, int64_t kStep>(const Piece<T> &p) {
        tile_product<T, kRows, kVectors, kRowStep, kStep>(p.a, p.b, p.b_stride, p.depth,
                                                          c + p.row * c_stride + p.col, c_stride,
                                                          accumulate || !p.first, p.cols);
      };
  each_piece(a, b, rows, cols, inner, scratch, run);
}
