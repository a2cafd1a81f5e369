// SPDX-License-Identifier: Apache-2.0
// rms_norm: divide each row by its root mean square, then scale.
// y[r,c] = x[r,c] scale[r] gain[c],  scale[r] = 1 / sqrt(mean over c of x[r,c]^2 + eps)
// With u = x scale and g = dy gain: dx = scale (g - u (mean of g u)),  dgain = sum over r of dy u
// Shapes   x, y, dx, dy [rows, cols]; gain, dgain [cols]; scale [rows]; row-major, contiguous, no
//          aliasing
// Method   a team of threads per row, which stays in registers (rows.cuh): the squares, then y;
//          backward the product, then dx; dgain apart
// Order    each thread's elements upwards, then a tree over the team; teams by cols alone. dgain:
//          chunks of 64 rows, each upwards from 0, added chunk by chunk
// Error    <= 2 x the plain loop
// Work     4 flops and 2 moves per element, backward 12 and 5, plus gain
// Source   Zhang, Sennrich, arXiv:1910.07467, eq. 4
#include "guards/rms_norm.h"
#include "rows.cuh"
#include "sums.cuh"

namespace {

template <class T>
struct Forward {
  T *y, *scale;
  const T *x, *gain;
  T eps;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t start = line.row * line.cols;
    const Held<T, kTeam> row(x + start, line);
    T squares[] = {0};
    over_row<T>(
        line, [&](T v) { squares[0] = fma(v, v, squares[0]); }, row);
    sum_team<kTeam>(squares);
    const T s = 1 / sqrt(squares[0] / static_cast<T>(line.cols) + eps);
    if (line.leads()) scale[line.row] = s;
    map_row(
        line, y + start, [=](T v, T k) { return v * s * k; }, row, Read<T>{gain});
  }
};

template <class T>
struct Backward {
  T *dx;
  const T *dy, *x, *gain, *scale;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t start = line.row * line.cols;
    const T s = scale[line.row];
    const Held<T, kTeam> d(dy + start, line), row(x + start, line);
    T dot[] = {0};
    over_row<T>(
        line, [&](T a, T v, T k) { dot[0] = fma(a * k, v * s, dot[0]); }, d, row, Read<T>{gain});
    sum_team<kTeam>(dot);
    const T slope = dot[0] / static_cast<T>(line.cols);
    map_row(
        line, dx + start, [=](T a, T v, T k) { return fma(-(v * s), slope, a * k) * s; }, d, row,
        Read<T>{gain});
  }
};

// What an element adds to the sum of its column.
template <class T>
struct Shares {
  static constexpr int kSums = 1;
  const T *dy, *x, *scale;
  __device__ void add(T (&sum)[kSums], int64_t row, int64_t at) const {
    sum[0] = fma(dy[at], x[at] * scale[row], sum[0]);
  }
};

}  // namespace

int32_t pnd_rms_norm(pnd_context *context, int32_t dtype, void *y, void *scale, const void *x,
                     const void *gain, int64_t rows, int64_t cols, double eps) {
  Call call(context, "rms_norm");
  guard::rms_norm(call, dtype, y, scale, x, gain, rows, cols, eps);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each_row<T>(
        call, context, rows, cols, aligned_rows(cols * sizeof(T), y, x, gain),
        Forward<T>{static_cast<T *>(y), static_cast<T *>(scale), static_cast<const T *>(x),
                   static_cast<const T *>(gain), static_cast<T>(eps)});
  });
}

int32_t pnd_rms_norm_backward(pnd_context *context, int32_t dtype, void *dx, void *dgain,
                              const void *dy, const void *x, const void *gain, const void *scale,
                              int64_t rows, int64_t cols) {
  Call call(context, "rms_norm_backward");
  guard::rms_norm_backward(call, dtype, dx, dgain, dy, x, gain, scale, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const T *d = static_cast<const T *>(dy), *from = static_cast<const T *>(x);
    const T *by = static_cast<const T *>(scale);
    T *const sums[] = {static_cast<T *>(dgain)};
    const int32_t status = sum_chunks(call, context, sums, rows, cols, Shares<T>{d, from, by});
    if (status != PND_OK) return status;
    return each_row<T>(
        call, context, rows, cols, aligned_rows(cols * sizeof(T), dx, dy, x, gain),
        Backward<T>{static_cast<T *>(dx), d, from, static_cast<const T *>(gain), by});
  });
}
