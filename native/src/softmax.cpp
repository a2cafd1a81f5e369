// SPDX-License-Identifier: Apache-2.0
// softmax: the exponentials of each row, scaled to sum to one.
// y[r,c] = exp(x[r,c] - max x[r,:]) / sum over k of exp(x[r,k] - max x[r,:])
// dx[r,c] = y[r,c] (dy[r,c] - sum over k of dy[r,k] y[r,k])
// Shapes   all [rows, cols]; row-major, contiguous, no aliasing
// Method   per row: the largest; exponentials and their sum; the scaling by 1 / sum, in cache
// Order    32 lanes, fixed fold; one thread per row
// Error    <= 2 x the plain loop; a row of -infinity gives zeros, a NaN or +infinity NaN
// Work     5 flops and 2 moves per element, backward 4 and 3
// Source   Bridle, Neurocomputing: Algorithms, Architectures and Applications, 1990
#include "rows.h"

#include "formulas.h"

namespace {

template <class T>
void softmax_row(T *y, const T *x, int64_t cols) {
  constexpr T kInfinity = __builtin_inf();
  Lanes<T> most(-kInfinity);
  over_lanes<T>(
      cols, -kInfinity, [&](int j, Vec<T> v) { most.v[j] = larger(v, most.v[j]); }, x);
  Vec<T> larger_one = most.v[0];
  PND_UNROLL
  for (int j = 1; j < Lanes<T>::kVectors; ++j) larger_one = larger(most.v[j], larger_one);
  const T largest = largest_of<T>(larger_one);
  // Where all is -infinity, exp(x - 0) = 0 and the sum is 0. A NaN, which the maximum passed over,
  // shows in the sum.
  const Vec<T> shift = splat<T>(largest == -kInfinity ? 0 : largest);
  Lanes<T> sums;
  map_lanes<T>(
      y, cols, -kInfinity,
      [&](int j, Vec<T> v) {
        const Vec<T> e = exp_of_negative(v - shift);
        sums.v[j] += e;
        return e;
      },
      x);
  const T sum = sums.fold();
  const Vec<T> scale = splat<T>(sum == 0 ? 0 : 1 / sum);
  each_vector<T>(cols, [&](int64_t i, auto get, auto put) { put(y + i, get(y + i) * scale); });
}

template <class T>
void softmax_backward_row(T *dx, const T *dy, const T *y, int64_t cols) {
  Lanes<T> sums;
  over_lanes<T>(
      cols, 0, [&](int j, Vec<T> d, Vec<T> p) { sums.v[j] = fma(d, p, sums.v[j]); }, dy, y);
  const Vec<T> dot = splat<T>(sums.fold());
  each_vector<T>(
      cols, [&](int64_t i, auto get, auto put) { put(dx + i, get(y + i) * (get(dy + i) - dot)); });
}

}  // namespace

int32_t pnd_softmax(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t rows,
                    int64_t cols) {
  Call call(context, "softmax");
  guard::softmax(call, dtype, y, x, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(context, rows, cols, kSerialFormula, [&](int64_t first, int64_t last, int) {
      for (int64_t r = first; r < last; ++r) {
        softmax_row(static_cast<T *>(y) + r * cols, static_cast<const T *>(x) + r * cols, cols);
      }
    });
  });
}

int32_t pnd_softmax_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                             const void *y, int64_t rows, int64_t cols) {
  Call call(context, "softmax_backward");
  guard::softmax_backward(call, dtype, dx, dy, y, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(context, rows, cols, kSerialMove, [&](int64_t first, int64_t last, int) {
      for (int64_t r = first; r < last; ++r) {
        softmax_backward_row(static_cast<T *>(dx) + r * cols, static_cast<const T *>(dy) + r * cols,
                             static_cast<const T *>(y) + r * cols, cols);
      }
    });
  });
}
