// SPDX-License-Identifier: Apache-2.0
// layer_norm: normalise each row, then scale and shift.
// y[r,c] = (x[r,c] - mean[r]) rstd[r] gain[c] + bias[c],  rstd = 1 / sqrt(variance + eps)
// With u = (x - mean) rstd and g = dy gain: dx = rstd (g - mean of g - u (mean of g u)),
// dgain = sum over r of dy u,  dbias = sum over r of dy
// Shapes   x, y, dx, dy [rows, cols]; gain, bias, dgain, dbias [cols]; mean, rstd [rows];
//          row-major, contiguous, no aliasing
// Method   two passes per row, corrected: m = sum x / n, then d = x - m with s = sum d and
//          q = sum d^2; mean = m + s / n, where that is more than rounding, variance =
//          (q - s^2 / n) / n; never E[x^2] - mean^2
// Order    32 lanes, fixed fold; one thread per row. dgain, dbias: chunks of 64 rows, each upwards
//          from 0, added chunk by chunk
// Error    <= 2 x the plain loop; a constant row gives bias
// Work     9 flops and 2 moves per element, backward 18 and 3, plus gain and bias
// Source   Ba, Kiros, Hinton, arXiv:1607.06450, eq. 4; the correction: Chan, Golub, LeVeque, The
//          American Statistician 37(3), 1983, eq. 1.7
#include <limits>

#include "guards/layer_norm.h"
#include "rows.h"

namespace {

// (64 rounding errors)^2.
template <class T>
constexpr T kNoise = 4096 * std::numeric_limits<T>::epsilon() * std::numeric_limits<T>::epsilon();

template <class T>
PND_INLINE T mean_of_row(const T *x, int64_t cols) {
  Lanes<T> sums;
  over_lanes<T>(
      cols, 0, [&](int j, Vec<T> v) { sums.v[j] += v; }, x);
  return sums.fold() / static_cast<T>(cols);
}

// mean is near enough to centre the row: it is corrected.
template <class T>
PND_INLINE void moments_of_row(T &mean, T &rstd, const T *x, int64_t cols, T eps) {
  const T n = static_cast<T>(cols), near = mean;
  const Vec<T> m = splat<T>(near);
  Lanes<T> distances, squares;
  over_kept_lanes<T>(
      cols, near,
      [&](int j, auto kept, Vec<T> v) {
        const Vec<T> d = kept(v - m);
        distances.v[j] += d;
        squares.v[j] = fma(d, d, squares.v[j]);
      },
      x);
  // The correction is a sum with errors of its own: the mean takes it where it stands out of them.
  const T s = distances.fold(), q = squares.fold(), off = s / n;
  const T variance = (q - s * off) / n;
  mean = s * off > kNoise<T> * q ? near + off : near;
  rstd = 1 / root((variance < 0 ? 0 : variance) + eps);
}

template <class T>
void forward_rows(T *y, T *mean, T *rstd, const T *x, const T *gain, const T *bias, int64_t rows,
                  int64_t cols, T eps) {
  for (int64_t r = 0; r < rows; ++r) mean[r] = mean_of_row(x + r * cols, cols);
  for (int64_t r = 0; r < rows; ++r) {
    moments_of_row(mean[r], rstd[r], x + r * cols, cols, eps);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const Vec<T> centre = splat<T>(mean[r]), scale = splat<T>(rstd[r]);
    const T *from = x + r * cols;
    T *to = y + r * cols;
    each_vector<T>(cols, [=](int64_t i, auto get, auto put) {
      put(to + i, fma((get(from + i) - centre) * scale, get(gain + i), get(bias + i)));
    });
  }
}

// The means of g and of g u over a row.
template <class T>
PND_INLINE void means_of_row(T &level, T &slope, const T *dy, const T *x, const T *gain, T mean,
                             T rstd, int64_t cols) {
  const Vec<T> centre = splat<T>(mean), scale = splat<T>(rstd);
  Lanes<T> sums, dots;
  over_kept_lanes<T>(
      cols, 0,
      [&](int j, auto kept, Vec<T> d, Vec<T> v, Vec<T> k) {
        const Vec<T> g = d * k;
        sums.v[j] += g;
        dots.v[j] = fma(g, kept((v - centre) * scale), dots.v[j]);
      },
      dy, x, gain);
  const T n = static_cast<T>(cols);
  level = sums.fold() / n;
  slope = dots.fold() / n;
}

// dgain and dbias are the chunk's so far.
template <class T>
void backward_rows(T *dx, T *dgain, T *dbias, const T *dy, const T *x, const T *gain, const T *mean,
                   const T *rstd, int64_t rows, int64_t cols) {
  T levels[kGroupRows], slopes[kGroupRows];
  for (int64_t r = 0; r < rows; ++r) {
    means_of_row(levels[r], slopes[r], dy + r * cols, x + r * cols, gain, mean[r], rstd[r], cols);
  }
  for (int64_t r = 0; r < rows; ++r, dx += cols, dy += cols, x += cols) {
    const Vec<T> centre = splat<T>(mean[r]), scale = splat<T>(rstd[r]);
    const Vec<T> level = splat<T>(levels[r]), slope = splat<T>(slopes[r]);
    each_vector<T>(cols, [=](int64_t i, auto get, auto put) {
      const Vec<T> d = get(dy + i), u = (get(x + i) - centre) * scale;
      put(dx + i, fma(-u, slope, d * get(gain + i) - level) * scale);
      put(dgain + i, fma(d, u, get(dgain + i)));
      put(dbias + i, get(dbias + i) + d);
    });
  }
}

}  // namespace

int32_t pnd_layer_norm(pnd_context *context, int32_t dtype, void *y, void *mean, void *rstd,
                       const void *x, const void *gain, const void *bias, int64_t rows,
                       int64_t cols, double eps) {
  Call call(context, "layer_norm");
  guard::layer_norm(call, dtype, y, mean, rstd, x, gain, bias, rows, cols, eps);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(context, rows, cols, kSerialMove, [&](int64_t first, int64_t last, int) {
      each_group<T>(first, last, 2 * cols, [&](int64_t r, int64_t count) {
        forward_rows(static_cast<T *>(y) + r * cols, static_cast<T *>(mean) + r,
                     static_cast<T *>(rstd) + r, static_cast<const T *>(x) + r * cols,
                     static_cast<const T *>(gain), static_cast<const T *>(bias), count, cols,
                     static_cast<T>(eps));
      });
    });
  });
}

int32_t pnd_layer_norm_backward(pnd_context *context, int32_t dtype, void *dx, void *dgain,
                                void *dbias, const void *dy, const void *x, const void *gain,
                                const void *mean, const void *rstd, int64_t rows, int64_t cols) {
  Call call(context, "layer_norm_backward");
  guard::layer_norm_backward(call, dtype, dx, dgain, dbias, dy, x, gain, mean, rstd, rows, cols);
  if (call.refused()) return call.status();
  call.reserve(0, chunk_scratch<double, 2>(cols));
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    T *const sums[] = {static_cast<T *>(dgain), static_cast<T *>(dbias)};
    sum_chunks(context, sums, rows, cols, [&](int64_t first, int64_t last, T *partial) {
      each_group<T>(first, last, 3 * cols, [&](int64_t r, int64_t count) {
        backward_rows(static_cast<T *>(dx) + r * cols, partial, partial + cols,
                      static_cast<const T *>(dy) + r * cols, static_cast<const T *>(x) + r * cols,
                      static_cast<const T *>(gain), static_cast<const T *>(mean) + r,
                      static_cast<const T *>(rstd) + r, count, cols);
      });
    });
  });
}
