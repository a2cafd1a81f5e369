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

template <class T>
struct Statistics {
  static constexpr int kSize = (kTileRows + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
  T largest[kSize], sum[kSize];

  void clear() {
    for (T &x : largest) x = kNothing<T>;
    for (T &x : sum) x = 0;
  }

  // Takes in `count` scores of each of kRows rows, kStride apart; rows may be written up to a
  // multiple of 32. most[r] holds the largest of row r in some order. kept[r] becomes
  // exp(old - new largest) and, if kStore, the scores exp(score - new largest).
  template <int kRows, int64_t kStride, bool kStore>
  PND_INLINE void add(T *scores, int64_t count, const Vec<T> *most, T *kept) {
    // What is over of the last 32 lanes counts nothing.
    const int64_t laned = (count + kLanes - 1) / kLanes * kLanes;
    for (int r = 0; r < kRows; ++r) {
      for (int64_t j = count; j < laned; ++j) scores[r * kStride + j] = kNothing<T>;
    }
    T base[kSize], added[kSize] = {};
    for (int r = 0; r < kRows; ++r) base[r] = largest_of<T>(most[r]);
    for (int r = kRows; r < kSize; ++r) base[r] = kNothing<T>;
    for (int i = 0; i < kSize; i += kWidth<T>) {
      const Vec<T> old = load(largest + i), now = larger(load(base + i), old);
      store(largest + i, now);
      // While all is -infinity, any finite base gives exponentials of 0.
      const Vec<T> finite = choose(now == splat(kNothing<T>), Vec<T>{}, now);
      store(base + i, finite);
      store(kept + i, exp_of_negative(old - finite));
    }
    for (int r = 0; r < kRows; ++r) {
      T *row = scores + r * kStride;
      const Vec<T> most_of_row = splat(base[r]);
      Lanes<T> lanes;
      for (int64_t j = 0; j < laned; j += kLanes) {
        PND_UNROLL
        for (int v = 0; v < Lanes<T>::kVectors; ++v) {
          const Vec<T> e = exp_of_negative(load(row + j + v * kWidth<T>) - most_of_row);
          if constexpr (kStore) store(row + j + v * kWidth<T>, e);
          lanes.v[v] += e;
        }
      }
      added[r] = lanes.fold();
    }
    for (int i = 0; i < kSize; i += kWidth<T>) {
      store(sum + i, fma(load(sum + i), load(kept + i), load(added + i)));
    }
  }

  // log of the sum of exp(score), per row.
  PND_INLINE void log_sums(T *to) const {
    for (int i = 0; i < kSize; i += kWidth<T>) {
      store(to + i, load(largest + i) + log_of(load(sum + i)));
    }
  }
};
