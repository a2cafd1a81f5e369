// SPDX-License-Identifier: Apache-2.0
// map: loops over elements that do not meet, on all threads. The last elements of a range go
// through the same vector code as the others.
#pragma once

#include <algorithm>

#include "context.h"
#include "pack.h"

// Below so many elements a second thread does not pay: for work that memory bounds, and for tens
// of operations per element.
constexpr int64_t kSerialMove = 1 << 15;
constexpr int64_t kSerialFormula = 1 << 14;

// Calls body(first, last) on ranges that cover [0, n). All but the last end at a multiple of 64
// elements, so that aligned arrays stay aligned.
template <class Body>
inline void parallel_lines(pnd_context *context, int64_t n, int64_t serial, Body &&body) {
  constexpr int64_t kLine = 64;
  const int64_t lines = (n - 1) / kLine + 1;
  parallel_ranges(context, lines, serial / kLine, [&](int64_t first, int64_t last, int) {
    body(first * kLine, last == lines ? n : last * kLine);
  });
}

// Calls body(first, last, worker) on ranges of rows of so many elements each.
template <class Body>
inline void parallel_rows(pnd_context *context, int64_t rows, int64_t cols, int64_t serial,
                          Body &&body) {
  parallel_ranges(context, rows, serial / cols, body);
}

// Calls body(i, get, put) for the vectors of [0, n): get(p + i) and put(p + i, v) load and store
// the elements that exist; past the end stand zeros.
template <class T, class Body>
PND_INLINE void each_vector(int64_t n, Body &&body) {
  int64_t i = 0;
  for (; i + kWidth<T> <= n; i += kWidth<T>) {
    body(
        i, [](const T *p) { return load(p); }, [](T *p, Vec<T> v) { store(p, v); });
  }
  if (i == n) return;
  const int64_t rest = n - i;
  body(
      i, [=](const T *p) { return load_first(p, rest); },
      [=](T *p, Vec<T> v) { store_first(p, v, rest); });
}

// y[i] = f(x[i], ...) over [0, n); y shares no element with an x. f takes vectors, or, where kPack
// is not 1, packs of so many as well. kPast: y is aligned and is stored past the caches.
template <int kPack = 1, bool kPast = false, class T, class F, class... X>
PND_INLINE void map_run(T *y, int64_t n, F &&f, const X *...x) {
  const auto put = [](T *p, Vec<T> v) { kPast ? store_past(p, v) : store(p, v); };
  int64_t i = 0;
  if constexpr (kPack > 1) {
    constexpr int64_t kStep = kPack * kWidth<T>;
    for (; i + kStep <= n; i += kStep) {
      const auto result = f(load_pack<kPack>(x + i)...);
      PND_UNROLL
      for (int v = 0; v < kPack; ++v) put(y + i + v * kWidth<T>, result.v[v]);
    }
  }
  for (; i + kWidth<T> <= n; i += kWidth<T>) put(y + i, f(load(x + i)...));
  if constexpr (kPast) end_past();
  if (i == n) return;
  if (n >= kWidth<T>) {
    i = n - kWidth<T>;  // computes some elements again
    store(y + i, f(load(x + i)...));
  } else {
    store_first(y, f(load_first(x, n)...), n);
  }
}

// Results of so many bytes are stored past the caches: nothing of them would be there when they are
// read, and a line that is stored whole need not be fetched first.
constexpr int64_t kPastBytes = 1 << 25;

// The same on all threads.
template <int kPack = 1, class T, class F, class... X>
inline void map_all(pnd_context *context, int64_t serial, T *y, int64_t n, F &&f, const X *...x) {
  const bool past = n >= kPastBytes / static_cast<int64_t>(sizeof(T)) &&
                    reinterpret_cast<uintptr_t>(y) % kVectorBytes == 0;
  parallel_lines(context, n, serial, [&](int64_t first, int64_t last) {
    // A copy, which no store can change: its constants stay in registers.
    const auto own = f;
    if (past) {
      map_run<kPack, true>(y + first, last - first, own, (x + first)...);
    } else {
      map_run<kPack>(y + first, last - first, own, (x + first)...);
    }
  });
}

// Vectors in a pack for formulas of tens of operations.
#if defined(__AVX2__)
constexpr int kFormulaPack = 4;
#else
constexpr int kFormulaPack = 1;
#endif

// y[i] = f(x[i], ...) for such a formula, on all threads. f is PND_INLINED: a pack that is passed
// as an argument would stand in memory.
template <class T, class F, class... X>
inline void map_formula(pnd_context *context, T *y, int64_t n, F &&f, const X *...x) {
  map_all<kFormulaPack>(context, kSerialFormula, y, n, f, x...);
}

// Runs f(uint16_t{}), f(uint32_t{}) or f(uint64_t{}), whichever has the element's size.
template <class F>
inline int32_t by_size(int32_t dtype, F &&f) {
  switch (bytes_of(dtype)) {
    case 2:
      f(uint16_t{});
      break;
    case 4:
      f(uint32_t{});
      break;
    default:
      f(uint64_t{});
  }
  return PND_OK;
}

// to[i] += scale * from[i], fused.
template <class T>
PND_INLINE void add_scaled(T *to, T scale, const T *from, int64_t n) {
  each_vector<T>(n, [&](int64_t i, auto get, auto put) {
    put(to + i, fma(splat(scale), get(from + i), get(to + i)));
  });
}

// to[i] = from[i]. Short runs are copied here, long ones by the library.
template <class T>
PND_INLINE void copy_run(T *to, const T *from, int64_t n) {
  if (n >= 4096 / static_cast<int64_t>(sizeof(T))) {
    std::memcpy(to, from, n * sizeof(T));
  } else if (n < kWidth<T>) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  } else {
    map_run(
        to, n, [](Vec<T> x) { return x; }, from);
  }
}
