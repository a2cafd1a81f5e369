// SPDX-License-Identifier: Apache-2.0
// guards/rotary: what both directions refuse.
#pragma once

#include <algorithm>

#include "call.h"

namespace guard {

// rotary (y, x) and rotary_backward (dx, dy)
inline void turn(Call &call, int32_t dtype, const char *to_name, void *to, const char *from_name,
                 const void *from, int64_t batch, int64_t steps, int64_t heads, int64_t head_size,
                 int64_t start, double base) {
  constexpr int64_t kMost = int64_t{1} << 40;
  call.dtype(dtype)
      .size("batch", batch)
      .range("steps", steps, 1, kMost)
      .size("heads", heads)
      .size("head_size", head_size)
      .require(head_size % 2 == 0, "head_size = %lld must be even",
               static_cast<long long>(head_size))
      .range("start", start, -kMost, kMost - std::max<int64_t>(steps, 0))
      .require(base > 0 && base <= 0x1p1000, "base = %g must be positive and finite", base)
      .output(to_name, to, {batch, steps, heads, head_size})
      .input(from_name, from, {batch, steps, heads, head_size});
}

inline void rotary(Call &call, int32_t dtype, void *y, const void *x, int64_t batch, int64_t steps,
                   int64_t heads, int64_t head_size, int64_t start, double base) {
  turn(call, dtype, "y", y, "x", x, batch, steps, heads, head_size, start, base);
}

inline void rotary_backward(Call &call, int32_t dtype, void *dx, const void *dy, int64_t batch,
                            int64_t steps, int64_t heads, int64_t head_size, int64_t start,
                            double base) {
  turn(call, dtype, "dx", dx, "dy", dy, batch, steps, heads, head_size, start, base);
}

}  // namespace guard
