// SPDX-License-Identifier: Apache-2.0
// guards/cross_entropy: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

inline void cross_entropy(Call &call, int32_t dtype, void *loss, void *lse, const void *x,
                          const void *weight, const int32_t *target, int64_t rows, int64_t classes,
                          int64_t width) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("classes", classes)
      .size("width", width)
      .output("loss", loss, {rows})
      .output("lse", lse, {rows})
      .input("x", x, {rows, width})
      .input("weight", weight, {classes, width})
      .input("target", target, {rows}, sizeof *target);
}

inline void cross_entropy_backward(Call &call, int32_t dtype, void *dx, void *dweight,
                                   const void *dloss, const void *x, const void *weight,
                                   const int32_t *target, const void *lse, int64_t rows,
                                   int64_t classes, int64_t width) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("classes", classes)
      .size("width", width)
      .output("dx", dx, {rows, width})
      .output("dweight", dweight, {classes, width})
      .input("dloss", dloss, {rows})
      .input("x", x, {rows, width})
      .input("weight", weight, {classes, width})
      .input("target", target, {rows}, sizeof *target)
      .input("lse", lse, {rows});
}

}  // namespace guard
