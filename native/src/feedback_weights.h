// SPDX-License-Identifier: Apache-2.0
// feedback_weights.h: the weights of feedback memory as panels of columns, and the products of a
// few rows with them, whose columns are padded to whole tiles.
#pragma once

#include <algorithm>

#include "tile.h"

template <class T>
int64_t whole_tiles(int64_t width) {
  return (width + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
}

// The distance between rows of scratch memory: whole tiles, off the powers of two.
template <class T>
int64_t stride_of(int64_t width) {
  return whole_tiles<T>(width) + 64 / static_cast<int64_t>(sizeof(T));
}

// A matrix [depth, cols], or the transpose of one, as panels of columns.
template <class T>
struct Weight {
  const T *data;
  int64_t depth, cols;
  bool transposed;
  T *panels = nullptr;
  int64_t in_place = 0;  // so many columns, whole tiles, are read where they are stored

  // Packs what a product of few rows does not read in place.
  void pack(bool few) {
    in_place = few && !transposed ? cols / kTileCols<T> * kTileCols<T> : 0;
    if (in_place == cols) return;
    pack_columns(panels, data + in_place, transposed ? depth : cols, depth, cols - in_place,
                 transposed);
  }
  int64_t size() const { return depth * whole_tiles<T>(cols); }
  PND_INLINE const T *at(int64_t column, int64_t k) const {
    if (column < in_place) return data + k * cols + column;
    return panels + (column - in_place) * depth + k * kTileCols<T>;
  }
  PND_INLINE int64_t stride(int64_t column) const {
    return column < in_place ? cols : kTileCols<T>;
  }
};

template <class T, int kRows, int kVectors>
__attribute__((noinline)) void multiply_tile(T *c, int64_t c_stride, const T *a, int64_t a_stride,
                                             const T *b, int64_t b_stride, int64_t depth,
                                             bool accumulate) {
  Tile<T, kRows, kVectors> tile;
  if (accumulate) {
    tile.load_from(c, c_stride);
  } else {
    tile.clear();
  }
  tile.add_product(a, a_stride, b, b_stride, depth);
  tile.store_to(c, c_stride);
}

// Columns of a tile of one or two rows whose weights are read where they are stored: runs that are
// long enough for the processor to foresee.
#if defined(__AVX512F__)
constexpr int kRunVectors = 8;
#else
constexpr int kRunVectors = 4;
#endif

// c = (accumulate ? c : 0) + a W for `rows` rows, c's padded to whole tiles.
template <class T>
void multiply(T *c, int64_t c_stride, const T *a, int64_t a_stride, int64_t rows,
              const Weight<T> &w, bool accumulate) {
  const int64_t panels = panels_of(rows);
  const auto tiles = [&](int64_t column, auto vectors) {
    for (int64_t k = 0; k < w.depth; k += kDepth) {
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t row = panel_start(p, panels, rows);
        const auto tile = [&](auto height) {
          multiply_tile<T, height(), vectors()>(c + row * c_stride + column, c_stride,
                                                a + row * a_stride + k, a_stride, w.at(column, k),
                                                w.stride(column), std::min(kDepth, w.depth - k),
                                                accumulate || k > 0);
        };
        if constexpr (vectors() > kTileVectors) {
          rows == 1 ? tile(std::integral_constant<int, 1>{})
                    : tile(std::integral_constant<int, 2>{});
        } else {
          with_rows(panel_start(p + 1, panels, rows) - row, tile);
        }
      }
    }
  };
  int64_t first = 0;
  constexpr int64_t kRun = kRunVectors * kWidth<T>;
  for (; rows <= 2 && first + kRun <= w.in_place; first += kRun) {
    tiles(first, std::integral_constant<int, kRunVectors>{});
  }
  each_tile<T>(w.cols - first,
               [&](int64_t column, auto vectors) { tiles(first + column, vectors); });
}
