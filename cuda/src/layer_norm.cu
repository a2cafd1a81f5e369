// SPDX-License-Identifier: Apache-2.0
// layer_norm: normalise each row, then scale and shift.
// y[r,c] = (x[r,c] - mean[r]) rstd[r] gain[c] + bias[c],  rstd = 1 / sqrt(variance + eps)
// With u = (x - mean) rstd and g = dy gain: dx = rstd (g - mean of g - u (mean of g u)),
// dgain = sum over r of dy u,  dbias = sum over r of dy
// Shapes   x, y, dx, dy [rows, cols]; gain, bias, dgain, dbias [cols]; mean, rstd [rows];
//          row-major, contiguous, no aliasing
// Method   a team of threads per row, which stays in registers (rows.cuh). Two passes, corrected:
//          m = sum x / n, then d = x - m with s = sum d and q = sum d^2; mean = m + s / n, where
//          that is more than rounding, variance = (q - s^2 / n) / n; never E[x^2] - mean^2
// Order    each thread's elements upwards, then a tree over the team; teams by cols alone. dgain,
//          dbias: chunks of 64 rows, each upwards from 0, added chunk by chunk
// Error    <= 2 x the plain loop; a constant row gives bias
// Work     9 flops and 2 moves per element, backward 18 and 5, plus gain and bias
// Source   Ba, Kiros, Hinton, arXiv:1607.06450, eq. 4; the correction: Chan, Golub, LeVeque, The
//          American Statistician 37(3), 1983, eq. 1.7
#include <limits>

#include "guards/layer_norm.h"
#include "rows.cuh"
#include "sums.cuh"

namespace {

template <class T>
struct Forward {
  // (64 rounding errors)^2.
  static constexpr T kNoise =
      4096 * std::numeric_limits<T>::epsilon() * std::numeric_limits<T>::epsilon();
  T *y, *mean, *rstd;
  const T *x, *gain, *bias;
  T eps;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t start = line.row * line.cols;
    const T n = static_cast<T>(line.cols);
    const Held<T, kTeam> row(x + start, line);
    T sum[] = {0};
    over_row<T>(
        line, [&](T v) { sum[0] += v; }, row);
    sum_team<kTeam>(sum);
    const T near = sum[0] / n;
    T sums[] = {0, 0};  // of distances, of their squares
    over_row<T>(
        line,
        [&](T v) {
          const T d = v - near;
          sums[0] += d;
          sums[1] = fma(d, d, sums[1]);
        },
        row);
    sum_team<kTeam>(sums);
    // The correction is a sum with errors of its own: the mean takes it where it stands out of
    // them.
    const T s = sums[0], q = sums[1], off = s / n;
    const T variance = (q - s * off) / n;
    const T centre = s * off > kNoise * q ? near + off : near;
    const T scale = 1 / sqrt((variance < 0 ? T(0) : variance) + eps);
    if (line.leads()) {
      mean[line.row] = centre;
      rstd[line.row] = scale;
    }
    map_row(
        line, y + start, [=](T v, T k, T b) { return fma((v - centre) * scale, k, b); }, row,
        Read<T>{gain}, Read<T>{bias});
  }
};

template <class T>
struct Backward {
  T *dx;
  const T *dy, *x, *gain, *mean, *rstd;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t start = line.row * line.cols;
    const T centre = mean[line.row], scale = rstd[line.row];
    const Held<T, kTeam> d(dy + start, line), row(x + start, line);
    T sums[] = {0, 0};  // of g, of g u
    over_row<T>(
        line,
        [&](T a, T v, T k) {
          const T g = a * k;
          sums[0] += g;
          sums[1] = fma(g, (v - centre) * scale, sums[1]);
        },
        d, row, Read<T>{gain});
    sum_team<kTeam>(sums);
    const T n = static_cast<T>(line.cols), level = sums[0] / n, slope = sums[1] / n;
    map_row(
        line, dx + start,
        [=](T a, T v, T k) {
          const T u = (v - centre) * scale;
          return fma(-u, slope, a * k - level) * scale;
        },
        d, row, Read<T>{gain});
  }
};

// What an element adds to the sums of its column.
template <class T>
struct Shares {
  static constexpr int kSums = 2;
  const T *dy, *x, *mean, *rstd;
  __device__ void add(T (&sum)[kSums], int64_t row, int64_t at) const {
    sum[0] = fma(dy[at], (x[at] - mean[row]) * rstd[row], sum[0]);
    sum[1] += dy[at];
  }
};

}  // namespace

int32_t pnd_layer_norm(pnd_context *context, int32_t dtype, void *y, void *mean, void *rstd,
                       const void *x, const void *gain, const void *bias, int64_t rows,
                       int64_t cols, double eps) {
  Call call(context, "layer_norm");
  guard::layer_norm(call, dtype, y, mean, rstd, x, gain, bias, rows, cols, eps);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each_row<T>(
        call, context, rows, cols, aligned_rows(cols * sizeof(T), y, x, gain, bias),
        Forward<T>{static_cast<T *>(y), static_cast<T *>(mean), static_cast<T *>(rstd),
                   static_cast<const T *>(x), static_cast<const T *>(gain),
                   static_cast<const T *>(bias), static_cast<T>(eps)});
  });
}

int32_t pnd_layer_norm_backward(pnd_context *context, int32_t dtype, void *dx, void *dgain,
                                void *dbias, const void *dy, const void *x, const void *gain,
                                const void *mean, const void *rstd, int64_t rows, int64_t cols) {
  Call call(context, "layer_norm_backward");
  guard::layer_norm_backward(call, dtype, dx, dgain, dbias, dy, x, gain, mean, rstd, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const T *d = static_cast<const T *>(dy), *from = static_cast<const T *>(x);
    const T *centre = static_cast<const T *>(mean), *scale = static_cast<const T *>(rstd);
    T *const sums[] = {static_cast<T *>(dgain), static_cast<T *>(dbias)};
    const int32_t status =
        sum_chunks(call, context, sums, rows, cols, Shares<T>{d, from, centre, scale});
    if (status != PND_OK) return status;
    return each_row<T>(
        call, context, rows, cols, aligned_rows(cols * sizeof(T), dx, dy, x, gain),
        Backward<T>{static_cast<T *>(dx), d, from, static_cast<const T *>(gain), centre, scale});
  });
}
