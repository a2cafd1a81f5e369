// SPDX-License-Identifier: Apache-2.0
// rms_norm.h: the sums of a row that its norm and the norm's adjoint need. (rms_norm.cpp)
#pragma once

#include "rows.h"

// 1 / sqrt(mean of x^2 + eps).
template <class T>
PND_INLINE T scale_of_row(const T *x, int64_t cols, T eps) {
  Lanes<T> squares;
  over_lanes<T>(
      cols, 0, [&](int j, Vec<T> v) { squares.v[j] = fma(v, v, squares.v[j]); }, x);
  return 1 / root(squares.fold() / static_cast<T>(cols) + eps);
}

// The mean of g u, with u = x scale and g = dy gain.
template <class T>
PND_INLINE T mean_of_row(const T *dy, const T *x, const T *gain, T scale, int64_t cols) {
  const Vec<T> s = splat<T>(scale);
  Lanes<T> dots;
  over_kept_lanes<T>(
      cols, 0,
      [&](int j, auto kept, Vec<T> d, Vec<T> v, Vec<T> k) {
        dots.v[j] = fma(d * k, kept(v * s), dots.v[j]);
      },
      dy, x, gain);
  return dots.fold() / static_cast<T>(cols);
}
