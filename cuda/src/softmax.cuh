// SPDX-License-Identifier: Apache-2.0
// softmax.cuh: the largest score and the sum of exponentials of each row, carried along from tile
// to tile of scores, as attention and cross_entropy need them.
// Order    within a tile each of 16 threads adds its own scores, then they are folded 8, 4, 2, 1;
//          then sum = sum * exp(old - new largest) + the tile's sum
// Source   Milakov, Gimelshein, arXiv:1805.02867, algorithm 3
#pragma once

#include "tile.cuh"

// Of a thread's rows, of each of which it has kCols scores of a tile and 15 other lanes the rest.
template <class T, int kRows, int kCols>
struct Statistics {
  T largest[kRows], sum[kRows];

  __device__ Statistics() {
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) {
      largest[i] = kNothing<T>;
      sum[i] = 0;
    }
  }

  // Takes in a tile of scores, which become exp(score - largest); returns the factor of what was
  // summed before for row i.
  __device__ __forceinline__ T add(int i, T (&scores)[kCols]) {
    const auto greater = [](T a, T b) { return larger(a, b); };
    T most = scores[0];
    PND_UNROLL
    for (int j = 1; j < kCols; ++j) most = larger(scores[j], most);
    const T now = larger(fold_row(most, greater), largest[i]);
    // While all is -infinity, any finite base gives exponentials of 0.
    const T base = now == kNothing<T> ? T(0) : now;
    const T kept = exp_of_negative(largest[i] - base);
    T added = 0;
    PND_UNROLL
    for (int j = 0; j < kCols; ++j) {
      scores[j] = exp_of_negative(scores[j] - base);
      added += scores[j];
    }
    largest[i] = now;
    sum[i] = fma(sum[i], kept, fold_row(added, [](T a, T b) { return a + b; }));
    return kept;
  }
};
