// SPDX-License-Identifier: Apache-2.0
// guards/pointwise: what element-wise functions refuse.
#pragma once

#include "call.h"

namespace guard {

// affine, power, exp, log, tanh, sigmoid, gelu, silu
inline void apply(Call &call, int32_t dtype, void *y, const void *x, int64_t n) {
  call.dtype(dtype).size("n", n).output("y", y, {n}).input("x", x, {n});
}

// add, sub, mul, div, maximum, greater
inline void combine(Call &call, int32_t dtype, void *y, const void *a, const void *b, int64_t outer,
                    int64_t mid, int64_t inner) {
  call.dtype(dtype)
      .size("outer", outer)
      .size("mid", mid)
      .size("inner", inner)
      .output("y", y, {outer, mid, inner})
      .input("a", a, {outer, mid, inner})
      .input("b", b, {outer, inner});
}

}  // namespace guard
