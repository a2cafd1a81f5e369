// SPDX-License-Identifier: Apache-2.0
// softmax: the exponentials of each row, scaled to sum to one.
// y[r,c] = exp(x[r,c] - max x[r,:]) / sum over k of exp(x[r,k] - max x[r,:])
// dx[r,c] = y[r,c] (dy[r,c] - sum over k of dy[r,k] y[r,k])
// Shapes   all [rows, cols]; row-major, contiguous, no aliasing
// Method   three steps over a group of rows in cache: the largest; exponentials and their sum; the
//          scaling by 1 / sum
// Order    32 lanes, fixed fold; one thread per row
// Error    <= 2 x the plain loop; a row of -infinity gives zeros, a NaN or +infinity NaN
// Work     5 flops and 2 moves per element, backward 4 and 3
// Source   Bridle, Neurocomputing: Algorithms, Architectures and Applications, 1990
#include "rows.h"

#include "formulas.h"
#include "guards/softmax.h"

namespace {

template <class T>
constexpr T kInfinity = __builtin_inf();

// The largest element. A NaN, which it may pass over, shows in the sum of exponentials.
template <class T>
PND_INLINE T largest_of_row(const T *x, int64_t cols) {
  Lanes<T> most(-kInfinity<T>);
  over_lanes<T>(
      cols, -kInfinity<T>, [&](int j, Vec<T> v) { most.v[j] = larger(v, most.v[j]); }, x);
  Vec<T> larger_one = most.v[0];
  PND_UNROLL
  for (int j = 1; j < Lanes<T>::kVectors; ++j) larger_one = larger(most.v[j], larger_one);
  return largest_of<T>(larger_one);
}

// y = exp(x - largest); returns its sum. Where all is -infinity, exp(x - 0) = 0 and the sum is 0.
template <class T>
PND_INLINE T exponentials(T *y, const T *x, T largest, int64_t cols, int64_t ahead) {
  const T shift = largest == -kInfinity<T> ? 0 : largest;
  Lanes<T> sums;
  map_lanes<T>(
      y, sums, cols, -kInfinity<T>,
      [=](auto v) PND_INLINED { return exp_of_negative(v - constant<decltype(v)>(shift)); }, x,
      ahead);
  return sums.fold();
}

// Each step runs over all rows before the next: the rows' folds overlap. The next group is fetched
// while the processor is busy with exponentials.
template <class T>
void softmax_rows(T *y, const T *x, int64_t rows, int64_t cols) {
  T largest[kGroupRows], sum[kGroupRows];
  for (int64_t r = 0; r < rows; ++r) largest[r] = largest_of_row(x + r * cols, cols);
  for (int64_t r = 0; r < rows; ++r) {
    sum[r] = exponentials(y + r * cols, x + r * cols, largest[r], cols, rows * cols);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const Vec<T> scale = splat<T>(sum[r] == 0 ? 0 : 1 / sum[r]);
    T *row = y + r * cols;
    each_vector<T>(cols,
                   [&](int64_t i, auto get, auto put) { put(row + i, get(row + i) * scale); });
  }
}

template <class T>
PND_INLINE T dot_of_rows(const T *dy, const T *y, int64_t cols) {
  Lanes<T> sums;
  over_lanes<T>(
      cols, 0, [&](int j, Vec<T> d, Vec<T> p) { sums.v[j] = fma(d, p, sums.v[j]); }, dy, y);
  return sums.fold();
}

template <class T>
void softmax_backward_rows(T *dx, const T *dy, const T *y, int64_t rows, int64_t cols) {
  T dots[kGroupRows];
  for (int64_t r = 0; r < rows; ++r) dots[r] = dot_of_rows(dy + r * cols, y + r * cols, cols);
  for (int64_t r = 0; r < rows; ++r) {
    const Vec<T> dot = splat<T>(dots[r]);
    each_vector<T>(cols, [&](int64_t i, auto get, auto put) {
      i += r * cols;
      put(dx + i, get(y + i) * (get(dy + i) - dot));
    });
  }
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
      each_group<T>(first, last, 2 * cols, [&](int64_t r, int64_t count) {
        softmax_rows(static_cast<T *>(y) + r * cols, static_cast<const T *>(x) + r * cols, count,
                     cols);
      });
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
      each_group<T>(first, last, 3 * cols, [&](int64_t r, int64_t count) {
        softmax_backward_rows(static_cast<T *>(dx) + r * cols,
                              static_cast<const T *>(dy) + r * cols,
                              static_cast<const T *>(y) + r * cols, count, cols);
      });
    });
  });
}
