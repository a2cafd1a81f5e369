// SPDX-License-Identifier: Apache-2.0
// rotary.h: angles, and heads turned by them. (rotary.cpp)
#pragma once

#include "map.h"
// After map.h, which it builds on.
#include "angle.h"

// The elements of a row of h rates, cosines or sines: whole vectors of doubles.
inline int64_t padded_pairs(int64_t h) {
  constexpr int64_t kV = kWidth<double>;
  return (h + kV - 1) / kV * kV;
}

// rates[i] = base^(-i / h).
inline void rotary_rates(double *rates, int64_t h, double base) {
  constexpr int64_t kV = kWidth<double>;
  const Vec<double> log_base = log_of(splat(base));
  for (int64_t i = 0; i < h; i += kV) {
    double share[kV];
    for (int64_t j = 0; j < kV; ++j) share[j] = -static_cast<double>(i + j) / h;
    store(rates + i, exp_of(load(share) * log_base));
  }
}

// The cosines of the angles at a position, and the sines times `sign`.
template <class T>
void rotary_angles(T *cosine, T *sine, const double *rates, int64_t h, int64_t position,
                   double sign) {
  constexpr int64_t kV = kWidth<double>;
  const Vec<double> at = splat(static_cast<double>(position));
  for (int64_t i = 0; i < h; i += kV) {
    Vec<double> c, s;
    cosine_and_sine(at * load(rates + i), c, s);
    for (int64_t j = 0; j < kV; ++j) {
      cosine[i + j] = static_cast<T>(c[j]);
      sine[i + j] = static_cast<T>(s[j] * sign);
    }
  }
}

// Turns the rows of all heads, h pairs each; y may be x.
template <class T>
void turn_heads(T *y, const T *x, const T *cosine, const T *sine, int64_t heads, int64_t h) {
  each_vector<T>(h, [=](int64_t i, auto get, auto put) {
    const Vec<T> c = get(cosine + i), s = get(sine + i);
    for (int64_t at = i; at < heads * 2 * h; at += 2 * h) {
      const Vec<T> a = get(x + at), b = get(x + at + h);
      put(y + at, fma(a, c, -(b * s)));
      put(y + at + h, fma(a, s, b * c));
    }
  });
}
