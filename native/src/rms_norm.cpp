// SPDX-License-Identifier: Apache-2.0
// rms_norm: divide each row by its root mean square, then scale.
// y[r,c] = x[r,c] scale[r] gain[c],  scale[r] = 1 / sqrt(mean over c of x[r,c]^2 + eps)
// With u = x scale and g = dy gain: dx = scale (g - u (mean of g u)),  dgain = sum over r of dy u
// Shapes   x, y, dx, dy [rows, cols]; gain, dgain [cols]; scale [rows]; row-major, contiguous, no
//          aliasing
// Method   one pass for the squares, one for y; backward one for the product, one for dx and dgain
// Order    32 lanes, fixed fold; one thread per row. dgain: chunks of 64 rows, each upwards from 0,
//          added chunk by chunk
// Error    <= 2 x the plain loop
// Work     4 flops and 2 moves per element, backward 12 and 3, plus gain
// Source   Zhang, Sennrich, arXiv:1910.07467, eq. 4
#include "rms_norm.h"

#include "guards/rms_norm.h"

namespace {

template <class T>
void forward_rows(T *y, T *scale, const T *x, const T *gain, int64_t rows, int64_t cols, T eps) {
  for (int64_t r = 0; r < rows; ++r) scale[r] = scale_of_row(x + r * cols, cols, eps);
  for (int64_t r = 0; r < rows; ++r) {
    const Vec<T> s = splat<T>(scale[r]);
    const T *from = x + r * cols;
    T *to = y + r * cols;
    each_vector<T>(cols, [=](int64_t i, auto get, auto put) {
      put(to + i, get(from + i) * s * get(gain + i));
    });
  }
}

// dgain is the chunk's so far.
template <class T>
void backward_rows(T *dx, T *dgain, const T *dy, const T *x, const T *gain, const T *scale,
                   int64_t rows, int64_t cols) {
  T slopes[kGroupRows];
  for (int64_t r = 0; r < rows; ++r) {
    slopes[r] = mean_of_row(dy + r * cols, x + r * cols, gain, scale[r], cols);
  }
  for (int64_t r = 0; r < rows; ++r, dx += cols, dy += cols, x += cols) {
    const Vec<T> s = splat<T>(scale[r]), slope = splat<T>(slopes[r]);
    each_vector<T>(cols, [=](int64_t i, auto get, auto put) {
      const Vec<T> d = get(dy + i), u = get(x + i) * s;
      put(dx + i, fma(-u, slope, d * get(gain + i)) * s);
      put(dgain + i, fma(d, u, get(dgain + i)));
    });
  }
}

}  // namespace

int32_t pnd_rms_norm(pnd_context *context, int32_t dtype, void *y, void *scale, const void *x,
                     const void *gain, int64_t rows, int64_t cols, double eps) {
  Call call(context, "rms_norm");
  guard::rms_norm(call, dtype, y, scale, x, gain, rows, cols, eps);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(context, rows, cols, kSerialMove, [&](int64_t first, int64_t last, int) {
      each_group<T>(first, last, 2 * cols, [&](int64_t r, int64_t count) {
        forward_rows(static_cast<T *>(y) + r * cols, static_cast<T *>(scale) + r,
                     static_cast<const T *>(x) + r * cols, static_cast<const T *>(gain), count,
                     cols, static_cast<T>(eps));
      });
    });
  });
}

int32_t pnd_rms_norm_backward(pnd_context *context, int32_t dtype, void *dx, void *dgain,
                              const void *dy, const void *x, const void *gain, const void *scale,
                              int64_t rows, int64_t cols) {
  Call call(context, "rms_norm_backward");
  guard::rms_norm_backward(call, dtype, dx, dgain, dy, x, gain, scale, rows, cols);
  if (call.refused()) return call.status();
  call.reserve(0, chunk_scratch<double, 1>(cols));
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    T *const sums[] = {static_cast<T *>(dgain)};
    sum_chunks(context, sums, rows, cols, [&](int64_t first, int64_t last, T *partial) {
      each_group<T>(first, last, 3 * cols, [&](int64_t r, int64_t count) {
        backward_rows(static_cast<T *>(dx) + r * cols, partial,
                      static_cast<const T *>(dy) + r * cols, static_cast<const T *>(x) + r * cols,
                      static_cast<const T *>(gain), static_cast<const T *>(scale) + r, count, cols);
      });
    });
  });
}
