// SPDX-License-Identifier: Apache-2.0
// guards/gru: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

inline void gru(Call &call, int32_t dtype, void *hidden, void *gates, const void *x,
                const void *weight, const void *bias, const void *initial, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("hidden", hidden, {batch, steps, width})
      .output("gates", gates, {batch, steps, 4, width})
      .input("x", x, {batch, steps, 3, width})
      .input("weight", weight, {3, width, width})
      .input("bias", bias, {3, width}, bytes_of_sum(dtype))
      .input("initial", initial, {batch, width})
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

inline void gru_backward(Call &call, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("dx", dx, {batch, steps, 3, width})
      .output("dweight", dweight, {3, width, width})
      .output("dbias", dbias, {3, width}, bytes_of_sum(dtype))
      .output("dinitial", dinitial, {batch, width})
      .input("dhidden", dhidden, {batch, steps, width})
      .input("weight", weight, {3, width, width})
      .input("initial", initial, {batch, width})
      .input("hidden", hidden, {batch, steps, width})
      .input("gates", gates, {batch, steps, 4, width})
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

}  // namespace guard
