// SPDX-License-Identifier: Apache-2.0
// guards/softmax: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

inline void softmax(Call &call, int32_t dtype, void *y, const void *x, int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("y", y, {rows, cols})
      .input("x", x, {rows, cols});
}

inline void softmax_backward(Call &call, int32_t dtype, void *dx, const void *dy, const void *y,
                             int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("dx", dx, {rows, cols})
      .input("dy", dy, {rows, cols})
      .input("y", y, {rows, cols});
}

}  // namespace guard
