// SPDX-License-Identifier: Apache-2.0
// select.h: one order statistic of a row. The value is unique, so the way to it may differ per
// build.
#pragma once

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace select_detail {

constexpr int kSample = 64;

// less[i] = how many of the sample lie below sample[i].
template <class T>
PND_INLINE void ranks(const T *sample, int32_t *less) {
  constexpr int kVectors = kSample / kWidth<T>;
  using Count = decltype(Vec<T>{} < Vec<T>{});
  Vec<T> own[kVectors];
  Count count[kVectors] = {};
  PND_UNROLL
  for (int v = 0; v < kVectors; ++v) own[v] = load(sample + v * kWidth<T>);
  for (int i = 0; i < kSample; ++i) {
    const Vec<T> one = splat(sample[i]);
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) count[v] -= one < own[v];
  }
  for (int v = 0; v < kVectors; ++v) {
    for (int j = 0; j < kWidth<T>; ++j) {
      less[v * kWidth<T> + j] = static_cast<int32_t>(count[v][j]);
    }
  }
}

// The element of that rank (from 0) of the sample.
template <class T>
PND_INLINE T ranked(const T *sample, const int32_t *less, int rank) {
  T best = sample[0];
  int most = -1;
  for (int i = 0; i < kSample; ++i) {
    const bool nearer = less[i] <= rank && less[i] > most;
    best = nearer ? sample[i] : best;
    most = nearer ? less[i] : most;
  }
  return best;
}

// to = the elements of x in [low, high], in order; returns their number; below = those less than
// low. `to` has room for a vector more.
template <class T>
PND_INLINE int64_t between(const T *x, int64_t n, T low, T high, T *to, int64_t &below) {
  int64_t kept = 0, under = 0, i = 0;
#if defined(__AVX512F__)
  for (; i + kWidth<T> <= n; i += kWidth<T>) {
    const Vec<T> v = load(x + i);
    if constexpr (sizeof(T) == 4) {
      const __mmask16 less = _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(low), _CMP_LT_OQ);
      const __mmask16 keep =
          _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(high), _CMP_LE_OQ) & ~less;
      // To a register first: the form that writes to memory is slow on Zen 4.
      store(to + kept, (Vec<T>)_mm512_maskz_compress_ps(keep, (__m512)v));
      kept += __builtin_popcount(keep);
      under += __builtin_popcount(less);
    } else {
      const __mmask8 less = _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(low), _CMP_LT_OQ);
      const __mmask8 keep = static_cast<__mmask8>(
          _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(high), _CMP_LE_OQ) & ~less);
      store(to + kept, (Vec<T>)_mm512_maskz_compress_pd(keep, (__m512d)v));
      kept += __builtin_popcount(keep);
      under += __builtin_popcount(less);
    }
  }
#endif
  for (; i < n; ++i) {
    to[kept] = x[i];
    kept += x[i] >= low && x[i] <= high;
    under += x[i] < low;
  }
  below = under;
  return kept;
}

}  // namespace select_detail

// Elements of scratch memory that smallest_of needs for n.
template <class T>
constexpr int64_t select_room(int64_t n) {
  return 2 * (n + kLanes);
}

// The element of that rank, from 0, among x[0, n) in rising order; no NaN. A sorted sample brackets
// it; what lies in the bracket remains, until few do.
template <class T>
T smallest_of(const T *x, int64_t n, int64_t rank, T *room) {
  using namespace select_detail;
  constexpr T kInfinity = __builtin_inf();
  alignas(64) T sample[kSample];
  int32_t less[kSample];
  T *to = room, *next = room + n + kLanes;
  while (n > kSample) {
    constexpr int kRuns = 4, kRun = kSample / kRuns;
    for (int r = 0; r < kRuns; ++r) {
      std::memcpy(sample + r * kRun, x + (n - kRun) * r / (kRuns - 1), kRun * sizeof(T));
    }
    ranks(sample, less);
    const double share = static_cast<double>(rank) / static_cast<double>(n);
    const double middle = share * kSample;
    const double wide = 2.4 * std::sqrt(middle * (1 - share)) + 1;
    T low = middle - wide < 0 ? -kInfinity : ranked(sample, less, static_cast<int>(middle - wide));
    T high = middle + wide >= kSample - 1
                 ? kInfinity
                 : ranked(sample, less, static_cast<int>(middle + wide) + 1);
    int64_t below = 0, kept;
    for (;;) {
      kept = between(x, n, low, high, to, below);
      if (rank < below) {
        low = -kInfinity;  // the bracket missed it
      } else if (rank >= below + kept) {
        high = kInfinity;
      } else {
        break;
      }
    }
    if (low == high) return low;
    if (kept == n) {
      std::nth_element(to, to + rank, to + kept);
      return to[rank];
    }
    rank -= below;
    x = to;
    n = kept;
    std::swap(to, next);
  }
  for (int i = 0; i < kSample; ++i) sample[i] = i < n ? x[i] : kInfinity;
  ranks(sample, less);
  return ranked(sample, less, static_cast<int>(rank));
}
