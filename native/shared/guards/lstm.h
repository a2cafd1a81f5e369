// SPDX-License-Identifier: Apache-2.0
// guards/lstm: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

inline void lstm(Call &call, int32_t dtype, void *hidden, void *cells, void *gates, const void *x,
                 const void *weight, const void *bias, const void *initial_hidden,
                 const void *initial_cell, const int32_t *resets, const int32_t *lengths,
                 int64_t batch, int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("hidden", hidden, {batch, steps, width})
      .output("cells", cells, {batch, steps, width}, bytes_of_sum(dtype))
      .output("gates", gates, {batch, steps, 4, width})
      .input("x", x, {batch, steps, 4, width})
      .input("weight", weight, {4, width, width})
      .input("bias", bias, {4, width}, bytes_of_sum(dtype))
      .input("initial_hidden", initial_hidden, {batch, width})
      .input("initial_cell", initial_cell, {batch, width}, bytes_of_sum(dtype))
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

inline void lstm_backward(Call &call, int32_t dtype, void *dx, void *dweight, void *dbias,
                          void *dinitial_hidden, void *dinitial_cell, const void *dhidden,
                          const void *dlast_cell, const void *weight, const void *initial_hidden,
                          const void *initial_cell, const void *hidden, const void *cells,
                          const void *gates, const int32_t *resets, const int32_t *lengths,
                          int64_t batch, int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("dx", dx, {batch, steps, 4, width})
      .output("dweight", dweight, {4, width, width})
      .output("dbias", dbias, {4, width}, bytes_of_sum(dtype))
      .output("dinitial_hidden", dinitial_hidden, {batch, width})
      .output("dinitial_cell", dinitial_cell, {batch, width}, bytes_of_sum(dtype))
      .input("dhidden", dhidden, {batch, steps, width})
      .nullable_input("dlast_cell", dlast_cell, {batch, width}, bytes_of_sum(dtype))
      .input("weight", weight, {4, width, width})
      .input("initial_hidden", initial_hidden, {batch, width})
      .input("initial_cell", initial_cell, {batch, width}, bytes_of_sum(dtype))
      .input("hidden", hidden, {batch, steps, width})
      .input("cells", cells, {batch, steps, width}, bytes_of_sum(dtype))
      .input("gates", gates, {batch, steps, 4, width})
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

}  // namespace guard
