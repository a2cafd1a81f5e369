// SPDX-License-Identifier: Apache-2.0
// rotary: turn pairs of elements by angles that grow with the position.
// With h = head_size / 2 and a = (start + t) base^(-i / h):
// y[b,t,n,i] = x[b,t,n,i] cos a - x[b,t,n,i+h] sin a,
// y[b,t,n,i+h] = x[b,t,n,i] sin a + x[b,t,n,i+h] cos a;  backward by -a
// Shapes   x, y, dx, dy [batch, steps, heads, head_size]; head_size even; no aliasing
// Method   a thread has one angle, made in double, and turns the pairs (t, i) of many heads; the
//          heads of all of batch are dealt to as many threads as fill the device
// Order    each pair alone: the CPU's bits
// Error    <= 2 x the plain loop; the angle within 2^-51 of itself. |start| + steps <= 2^40
// Work     6 flops per pair, about 150 per angle; one read and one write per element
// Source   Su, Lu, Pan, Murtadha, Wen, Liu, arXiv:2104.09864, eq. 34
#include <algorithm>

#include "guards/rotary.h"
#include "packs.cuh"
#include "scalar.cuh"

namespace {

constexpr int kFlight = 4;  // heads whose loads are under way at once

template <class T>
struct Turn {
  T *y;
  const T *x;
  int64_t batch, steps, heads, h, start;
  double base, sign;
  int64_t share;  // heads per thread, of the batch * heads in all

  __device__ void operator()(int64_t thread) const {
    const int64_t angle = quotient(thread, h), i = thread - angle * h;
    const int64_t part = quotient(angle, steps), t = angle - part * steps;
    const double rate = exp_of(-static_cast<double>(i) / h * log_of(base));
    double cosine, sine;
    cosine_and_sine(static_cast<double>(start + t) * rate, cosine, sine);
    const T c = static_cast<T>(cosine), s = static_cast<T>(sine * sign);
    const int64_t all = batch * heads;
    const int64_t last = (part + 1) * share < all ? (part + 1) * share : all;
    for (int64_t head = part * share; head < last; head += kFlight) {
      // Loads before stores, which could change what they load for all the compiler knows.
      T left[kFlight] = {}, right[kFlight] = {};
      int64_t at[kFlight] = {};
#pragma unroll
      for (int k = 0; k < kFlight; ++k) {
        if (head + k >= last) break;
        const int64_t b = quotient(head + k, heads), n = head + k - b * heads;
        at[k] = ((b * steps + t) * heads + n) * 2 * h + i;
        left[k] = x[at[k]], right[k] = x[at[k] + h];
      }
#pragma unroll
      for (int k = 0; k < kFlight; ++k) {
        if (head + k >= last) break;
        y[at[k]] = fma(left[k], c, -(right[k] * s));
        y[at[k] + h] = fma(left[k], s, right[k] * c);
      }
    }
  }
};

// By the angles of the header or, with sign -1, by the opposite ones.
int32_t rotate(Call &call, pnd_context *context, int32_t dtype, void *y, const void *x,
               int64_t batch, int64_t steps, int64_t heads, int64_t head_size, int64_t start,
               double base, double sign) {
  constexpr int64_t kThreads = 4096;  // per multiprocessor
  const int64_t h = head_size / 2, angles = steps * h, all = batch * heads;
  const int64_t parts = std::clamp<int64_t>(context->multiprocessors * kThreads / angles, 1, all);
  const int64_t share = (all + parts - 1) / parts;
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each(call, context, (all + share - 1) / share * angles,
                Turn<T>{static_cast<T *>(y), static_cast<const T *>(x), batch, steps, heads, h,
                        start, base, sign, share});
  });
}

}  // namespace

int32_t pnd_rotary(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t batch,
                   int64_t steps, int64_t heads, int64_t head_size, int64_t start, double base) {
  Call call(context, "rotary");
  guard::rotary(call, dtype, y, x, batch, steps, heads, head_size, start, base);
  if (call.refused()) return call.status();
  return rotate(call, context, dtype, y, x, batch, steps, heads, head_size, start, base, 1);
}

int32_t pnd_rotary_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                            int64_t batch, int64_t steps, int64_t heads, int64_t head_size,
                            int64_t start, double base) {
  Call call(context, "rotary_backward");
  guard::rotary_backward(call, dtype, dx, dy, batch, steps, heads, head_size, start, base);
  if (call.refused()) return call.status();
  return rotate(call, context, dtype, dx, dy, batch, steps, heads, head_size, start, base, -1);
}
