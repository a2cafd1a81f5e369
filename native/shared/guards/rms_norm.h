// SPDX-License-Identifier: Apache-2.0
// guards/rms_norm: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

inline void rms_norm(Call &call, int32_t dtype, void *y, void *scale, const void *x,
                     const void *gain, int64_t rows, int64_t cols, double eps) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .require(eps >= 0, "eps = %g must not be negative", eps)
      .output("y", y, {rows, cols})
      .output("scale", scale, {rows})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols});
}

inline void rms_norm_backward(Call &call, int32_t dtype, void *dx, void *dgain, const void *dy,
                              const void *x, const void *gain, const void *scale, int64_t rows,
                              int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("dx", dx, {rows, cols})
      .output("dgain", dgain, {cols})
      .input("dy", dy, {rows, cols})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols})
      .input("scale", scale, {rows});
}

}  // namespace guard
