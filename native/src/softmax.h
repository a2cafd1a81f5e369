// SPDX-License-Identifier: Apache-2.0
// softmax.h: the largest score and the sum of exponentials of each row of a panel, carried along
// from block to block of scores, as attention and cross_entropy need them.
// Order    within a block score j is in lane j mod 32; then sum = sum * exp(old - new largest) +
//          block's sum
// Source   Milakov, Gimelshein, arXiv:1805.02867, algorithm 3
#pragma once

#include <limits>

#include "simd.h"
#include "tile.h"
// After simd.h, which it builds on.
#include "formulas.h"

template <class T>
constexpr T kNothing = -std::numeric_limits<T>::infinity();

// Scores of row r from column `n` of the tile on, or before it, become -infinity, or what `nothing`
// says.
template <bool kBefore, class U, int kRows, int kVectors, class T = SumOf<U>>
PND_INLINE void cut(Tile<U, kRows, kVectors> &scores, int r, int64_t n, T nothing) {
  Vec<T> place;
  PND_UNROLL
  for (int i = 0; i < kWidth<T>; ++i) place[i] = static_cast<T>(i);
  n = std::clamp<int64_t>(n, 0, kVectors * kWidth<T>);
  PND_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const Vec<T> limit = splat(static_cast<T>(n - v * kWidth<T>)), none = splat(nothing);
    Vec<T> &x = scores.sum[r][v];
    x = kBefore ? choose(place < limit, none, x) : choose(place < limit, x, none);
  }
}
template <class U, int kRows, int kVectors, class T = SumOf<U>>
PND_INLINE void cut_after(Tile<U, kRows, kVectors> &scores, int r, int64_t n,
                          T nothing = kNothing<T>) {
  cut<false>(scores, r, n, nothing);
}
template <class U, int kRows, int kVectors, class T = SumOf<U>>
PND_INLINE void cut_before(Tile<U, kRows, kVectors> &scores, int r, int64_t n,
                           T nothing = kNothing<T>) {
  cut<true>(scores, r, n, nothing);
}

// One step of folding many rows at once: each vector holds the lanes of kGroups rows; the result
// holds those of a's rows, then b's, with lane i + half of each added (or the like) to lane i.
template <int kGroups, class V, class Op, int... kLane>
PND_INLINE V fold_pair(V a, V b, Op &&op, std::integer_sequence<int, kLane...>) {
  constexpr int kWide = sizeof...(kLane), kHalf = kWide / kGroups / 2;
  constexpr auto from = [](int lane, int offset) {
    const int group = lane / kHalf;  // its lanes follow each other; b's groups come after a's
    return group * 2 * kHalf + lane % kHalf + offset;
  };
  return op(__builtin_shufflevector(a, b, from(kLane, 0)...),
            __builtin_shufflevector(a, b, from(kLane, kHalf)...));
}

// Folds the lanes of kCount vectors, each of one row, in the order kWidth/2, ..., 2, 1 and writes
// one element per row (up to a whole number of vectors).
template <class T, int kCount, int kGroups, class Op>
PND_INLINE void fold_rows(const Vec<T> *row, T *to, Op &&op) {
  if constexpr (kGroups == kWidth<T>) {
    for (int i = 0; i < kCount; ++i) store(to + i * kWidth<T>, row[i]);
  } else {
    constexpr int kPairs = (kCount + 1) / 2;
    Vec<T> pair[kPairs];
    PND_UNROLL
    for (int i = 0; i < kPairs; ++i) {
      pair[i] = fold_pair<kGroups>(row[2 * i], row[2 * i + 1 < kCount ? 2 * i + 1 : 2 * i], op,
                                   std::make_integer_sequence<int, kWidth<T>>{});
    }
    fold_rows<T, kPairs, 2 * kGroups>(pair, to, op);
  }
}

template <class T>
struct Statistics {
  static constexpr int kSize = (kTileRows + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
  T largest[kSize], sum[kSize];

  void clear() {
    for (T &x : largest) x = kNothing<T>;
    for (T &x : sum) x = 0;
  }

  // Takes in `count` scores of each of kRows rows, kStride apart, count a multiple of kWidth.
  // most[r] holds the largest of row r in some order. kept[r] becomes exp(old - new largest) and,
  // if kStore, the scores exp(score - new largest), each weighed: weigh(r, j, e) is what a vector e
  // of row r, column j counts for.
  template <int kRows, int kStride, bool kStore, class Weigh>
  PND_INLINE void add(T *scores, int64_t count, const Vec<T> *most, T *kept, Weigh &&weigh) {
    constexpr int kVectors = Lanes<T>::kVectors;
    T base[kSize] = {}, added[kSize] = {};
    fold_rows<T, kRows, 1>(most, base, [](Vec<T> a, Vec<T> b) { return larger(a, b); });
    for (int i = 0; i < kSize; i += kWidth<T>) {
      const Vec<T> old = load(largest + i), now = larger(load(base + i), old);
      store(largest + i, now);
      // While all is -infinity, any finite base gives exponentials of 0.
      const Vec<T> finite = choose(now == splat(kNothing<T>), Vec<T>{}, now);
      store(base + i, finite);
      store(kept + i, exp_weight(old - finite));
    }
    Vec<T> sums[kRows];
    for (int r = 0; r < kRows; ++r) {
      T *row = scores + r * kStride;
      const Vec<T> most_of_row = splat(base[r]);
      const auto exponential = [&](int64_t j) {
        const Vec<T> e = weigh(r, j, exp_weight(load(row + j) - most_of_row));
        if constexpr (kStore) store(row + j, e);
        return e;
      };
      Lanes<T> lanes;
      int64_t j = 0;
      for (; j + kLanes <= count; j += kLanes) {
        PND_UNROLL
        for (int v = 0; v < kVectors; ++v) lanes.v[v] += exponential(j + v * kWidth<T>);
      }
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        if (j + v * kWidth<T> < count) lanes.v[v] += exponential(j + v * kWidth<T>);
      }
      PND_UNROLL
      for (int w = kVectors / 2; w > 0; w /= 2) {
        PND_UNROLL
        for (int v = 0; v < w; ++v) lanes.v[v] += lanes.v[v + w];
      }
      sums[r] = lanes.v[0];
    }
    fold_rows<T, kRows, 1>(sums, added, [](Vec<T> a, Vec<T> b) { return a + b; });
    for (int i = 0; i < kSize; i += kWidth<T>) {
      store(sum + i, fma(load(sum + i), load(kept + i), load(added + i)));
    }
  }

  template <int kRows, int kStride, bool kStore>
  PND_INLINE void add(T *scores, int64_t count, const Vec<T> *most, T *kept) {
    add<kRows, kStride, kStore>(scores, count, most, kept,
                                [](int, int64_t, Vec<T> e) { return e; });
  }

  // log of the sum of exp(score), per row.
  PND_INLINE void log_sums(T *to) const {
    for (int i = 0; i < kSize; i += kWidth<T>) {
      store(to + i, load(largest + i) + log_of(load(sum + i)));
    }
  }
  // 1 / sum, or 0 where that is 0, per row.
  PND_INLINE void shares(T *to) const {
    for (int i = 0; i < kSize; i += kWidth<T>) {
      const Vec<T> x = load(sum + i);
      store(to + i, choose(x == Vec<T>{}, x, splat(T{1}) / x));
    }
  }
};
