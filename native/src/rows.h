// SPDX-License-Identifier: Apache-2.0
// rows: loops over the elements of one row with sums in 32 lanes, and sums over rows in chunks.
#pragma once

#include "map.h"

// Calls body(first row, rows) for the groups of rows [first, last). A row's sum ends in a chain of
// dependent operations; where each step of a kernel runs over a group of rows, these chains
// overlap. A group's elements, so many a row, stay in half of a usual L1.
constexpr int64_t kGroupRows = 16;
template <class T, class Body>
PND_INLINE void each_group(int64_t first, int64_t last, int64_t elements, Body &&body) {
  constexpr int64_t kGroupBytes = 16384;
  const int64_t rows =
      std::clamp<int64_t>(kGroupBytes / static_cast<int64_t>(sizeof(T)) / elements, 1, kGroupRows);
  for (; first < last; first += rows) body(first, std::min(rows, last - first));
}

// Of a vector, the elements within the row; zeros past its end.
template <class T>
struct Whole {
  PND_INLINE Vec<T> operator()(Vec<T> v) const { return v; }
};
template <class T>
struct First {
  int64_t n;
  PND_INLINE Vec<T> operator()(Vec<T> v) const {
    T piece[kWidth<T>];
    store(piece, v);
    return load_first(piece, n);
  }
};

// Calls each(j, kept, vector of x, ...) for the vectors of a row of n elements, j a constant: the
// vector of the 32 lanes that these elements belong to. Past the row's end stands `fill`, whose
// terms must be zeros: kept(term) where another factor, being infinite, could make them NaN.
template <class T, class Each, class... X>
PND_INLINE void over_kept_lanes(int64_t n, T fill, Each &&each, const X *...x) {
  constexpr int kVectors = Lanes<T>::kVectors;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    PND_UNROLL
    for (int j = 0; j < kVectors; ++j) each(j, Whole<T>{}, load(x + i + j * kWidth<T>)...);
  }
  PND_UNROLL
  for (int j = 0; j < kVectors; ++j, i += kWidth<T>) {
    if (i + kWidth<T> <= n) {
      each(j, Whole<T>{}, load(x + i)...);
    } else if (i < n) {
      each(j, First<T>{n - i}, load_first(x + i, n - i, fill)...);
    }
  }
}
// The same for terms that `fill` alone makes zeros: each(j, vector of x, ...).
template <class T, class Each, class... X>
PND_INLINE void over_lanes(int64_t n, T fill, Each &&each, const X *...x) {
  over_kept_lanes<T>(
      n, fill, [&](int j, auto, auto... v) PND_INLINED { each(j, v...); }, x...);
}

// y[i] = f(x[i]) for a row; each is added to its lane of `sums`. f takes vectors and packs of them;
// past the row's end stands `fill`, of which f must make zeros. What stands `ahead` elements
// further in x and y is fetched into cache meanwhile; past the end of an array nothing happens.
template <class T, class F>
PND_INLINE void map_lanes(T *y, Lanes<T> &sums, int64_t n, T fill, F &&f, const T *x,
                          int64_t ahead) {
  constexpr int kVectors = Lanes<T>::kVectors;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto result = f(load_pack<kVectors>(x + i));
    store_pack(y + i, result);
    PND_UNROLL
    for (int j = 0; j < kVectors; ++j) sums.v[j] += result.v[j];
    for (int j = 0; j < kLanes; j += 64 / static_cast<int>(sizeof(T))) {
      __builtin_prefetch(x + ahead + i + j);
      __builtin_prefetch(y + ahead + i + j, 1);
    }
  }
  PND_UNROLL
  for (int j = 0; j < kVectors; ++j, i += kWidth<T>) {
    if (i >= n) break;
    const Vec<T> result = f(n - i >= kWidth<T> ? load(x + i) : load_first(x + i, n - i, fill));
    store_some(y + i, result, n - i);
    sums.v[j] += result;
  }
}

// Sums over rows, `kSums` of them of cols elements each. Chunks of 64 rows are summed on all
// threads, a group of them at a time, and then added chunk by chunk.
constexpr int64_t kChunkRows = 64, kChunkGroup = 32;
template <class T, int kSums>
constexpr int64_t chunk_scratch(int64_t cols) {
  return Scratch::bytes<T>(kChunkGroup * kSums * cols);
}
// body(first, last, partial): adds the rows [first, last) to partial [kSums * cols].
template <int kSums, class T, class Body>
inline void sum_chunks(pnd_context *context, T *const (&sums)[kSums], int64_t rows, int64_t cols,
                       Body &&body) {
  T *partials = Scratch(context, kShared).take<T>(kChunkGroup * kSums * cols);
  for (T *sum : sums) std::fill_n(sum, cols, T{0});
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  for (int64_t start = 0; start < chunks; start += kChunkGroup) {
    const int64_t group = std::min(kChunkGroup, chunks - start);
    const int64_t serial = kSerialFormula / kChunkRows / cols;
    parallel_ranges(context, group, serial, [&](int64_t g0, int64_t g1, int) {
      for (int64_t g = g0; g < g1; ++g) {
        T *partial = partials + g * kSums * cols;
        std::fill_n(partial, kSums * cols, T{0});
        const int64_t first = (start + g) * kChunkRows;
        body(first, std::min(rows, first + kChunkRows), partial);
      }
    });
    for (int64_t g = 0; g < group; ++g) {
      for (int k = 0; k < kSums; ++k) {
        const T *partial = partials + (g * kSums + k) * cols;
        for (int64_t c = 0; c < cols; ++c) sums[k][c] += partial[c];
      }
    }
  }
}
