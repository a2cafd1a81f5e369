// SPDX-License-Identifier: Apache-2.0
// guards/reduce: what sum, largest and square_sum refuse.
#pragma once

#include "call.h"

namespace guard {

// sum, largest
inline void reduce(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t mid,
                   int64_t inner) {
  call.dtype(dtype)
      .size("outer", outer)
      .size("mid", mid)
      .size("inner", inner)
      .output("y", y, {outer, inner})
      .input("x", x, {outer, mid, inner});
}

inline void square_sum(Call &call, int32_t dtype, void *y, const void *x, int64_t n) {
  call.dtype(dtype).size("n", n).output("y", y, {1}).input("x", x, {n});
}

}  // namespace guard
