// SPDX-License-Identifier: Apache-2.0
// guards/layer_norm: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

inline void layer_norm(Call &call, int32_t dtype, void *y, void *mean, void *rstd, const void *x,
                       const void *gain, const void *bias, int64_t rows, int64_t cols, double eps) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .require(eps >= 0, "eps = %g must not be negative", eps)
      .output("y", y, {rows, cols})
      .output("mean", mean, {rows})
      .output("rstd", rstd, {rows})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols})
      .input("bias", bias, {cols});
}

inline void layer_norm_backward(Call &call, int32_t dtype, void *dx, void *dgain, void *dbias,
                                const void *dy, const void *x, const void *gain, const void *mean,
                                const void *rstd, int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("dx", dx, {rows, cols})
      .output("dgain", dgain, {cols})
      .output("dbias", dbias, {cols})
      .input("dy", dy, {rows, cols})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols})
      .input("mean", mean, {rows})
      .input("rstd", rstd, {rows});
}

}  // namespace guard
