// SPDX-License-Identifier: Apache-2.0
// softmax: the exponentials of each row, scaled to sum to one.
// y[r,c] = exp(x[r,c] - max x[r,:]) / sum over k of exp(x[r,k] - max x[r,:])
// dx[r,c] = y[r,c] (dy[r,c] - sum over k of dy[r,k] y[r,k])
// Shapes   all [rows, cols]; row-major, contiguous, no aliasing
// Method   a team of threads per row, which stays in registers (rows.cuh): the largest; the sum of
//          exponentials; the exponentials again, times 1 / sum
// Order    each thread's elements upwards, then a tree over the team; teams by cols alone
// Error    <= 2 x the plain loop; a row of -infinity gives zeros, a NaN or +infinity NaN
// Work     8 flops and 2 moves per element, backward 4 and 3
// Source   Bridle, Neurocomputing: Algorithms, Architectures and Applications, 1990
#include "guards/softmax.h"
#include "rows.cuh"
#include "scalar.cuh"

namespace {

template <class T>
struct Softmax {
  T *y;
  const T *x;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    constexpr T kInfinity = __builtin_huge_val();
    const Held<T, kTeam> row(x + line.row * line.cols, line);
    T most[] = {-kInfinity};
    over_row<T>(
        line, [&](T v) { most[0] = larger(v, most[0]); }, row);
    fold_team<kTeam>(most, [](T a, T b) { return larger(a, b); });
    // Where all is -infinity, exp(x - 0) = 0 and the sum is 0. A NaN, which the maximum passed
    // over, shows in the sum.
    const T shift = most[0] == -kInfinity ? T(0) : most[0];
    T sum[] = {0};
    over_row<T>(
        line, [&](T v) { sum[0] += exp_of_negative(v - shift); }, row);
    sum_team<kTeam>(sum);
    const T scale = sum[0] == 0 ? T(0) : 1 / sum[0];
    map_row(
        line, y + line.row * line.cols, [=](T v) { return exp_of_negative(v - shift) * scale; },
        row);
  }
};

template <class T>
struct Backward {
  T *dx;
  const T *dy, *y;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t start = line.row * line.cols;
    const Held<T, kTeam> d(dy + start, line), p(y + start, line);
    T dot[] = {0};
    over_row<T>(
        line, [&](T a, T b) { dot[0] = fma(a, b, dot[0]); }, d, p);
    sum_team<kTeam>(dot);
    map_row(
        line, dx + start, [&](T a, T b) { return b * (a - dot[0]); }, d, p);
  }
};

}  // namespace

int32_t pnd_softmax(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t rows,
                    int64_t cols) {
  Call call(context, "softmax");
  guard::softmax(call, dtype, y, x, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each_row<T>(call, context, rows, cols, aligned_rows(cols * sizeof(T), y, x),
                       Softmax<T>{static_cast<T *>(y), static_cast<const T *>(x)});
  });
}

int32_t pnd_softmax_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                             const void *y, int64_t rows, int64_t cols) {
  Call call(context, "softmax_backward");
  guard::softmax_backward(call, dtype, dx, dy, y, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each_row<T>(
        call, context, rows, cols, aligned_rows(cols * sizeof(T), dx, dy, y),
        Backward<T>{static_cast<T *>(dx), static_cast<const T *>(dy), static_cast<const T *>(y)});
  });
}
