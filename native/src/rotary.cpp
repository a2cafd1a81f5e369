// SPDX-License-Identifier: Apache-2.0
// rotary: turn pairs of elements by angles that grow with the position.
// With h = head_size / 2 and a = (start + t) base^(-i / h):
// y[b,t,n,i] = x[b,t,n,i] cos a - x[b,t,n,i+h] sin a,
// y[b,t,n,i+h] = x[b,t,n,i] sin a + x[b,t,n,i+h] cos a;  backward by -a
// Shapes   x, y, dx, dy [batch, steps, heads, head_size]; head_size even; no aliasing
// Method   angles, cosines and sines in double, once per position, for all of batch and heads
// Order    each pair alone
// Error    <= 2 x the plain loop; the angle within 2^-51 of itself. |start| + steps <= 2^40
// Work     6 flops per pair, about 60 per angle; one read and one write per element
// Source   Su, Lu, Pan, Murtadha, Wen, Liu, arXiv:2104.09864, eq. 34
#include "rotary.h"

#include "guards/rotary.h"

namespace {

template <class T>
void turn(pnd_context *context, T *y, const T *x, int64_t batch, int64_t steps, int64_t heads,
          int64_t h, int64_t start, double base, double sign) {
  const int64_t padded = padded_pairs(h);
  double *rates = Scratch(context, kShared).take<double>(padded);
  rotary_rates(rates, h, base);
  const int64_t run = heads * 2 * h;
  parallel_rows(context, steps, batch * run, kSerialMove, [&](int64_t first, int64_t last, int w) {
    Scratch scratch(context, w);
    T *cosine = scratch.take<T>(padded), *sine = scratch.take<T>(padded);
    for (int64_t t = first; t < last; ++t) {
      rotary_angles(cosine, sine, rates, h, start + t, sign);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t at = (b * steps + t) * run;
        turn_heads(y + at, x + at, cosine, sine, heads, h);
      }
    }
  });
}

// By the angles of the header or, with sign -1, by the opposite ones.
int32_t rotate(Call &call, pnd_context *context, int32_t dtype, void *y, const void *x,
               int64_t batch, int64_t steps, int64_t heads, int64_t head_size, int64_t start,
               double base, double sign) {
  call.reserve(2 * Scratch::bytes<double>(head_size), Scratch::bytes<double>(head_size));
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    turn(context, static_cast<T *>(y), static_cast<const T *>(x), batch, steps, heads,
         head_size / 2, start, base, sign);
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
