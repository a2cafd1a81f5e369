// SPDX-License-Identifier: Apache-2.0
// guards/matmul: what it refuses.
#pragma once

#include "call.h"

namespace guard {

inline void matmul(Call &call, int32_t dtype, void *y, const void *a, const void *b, int64_t batch,
                   int64_t rows, int64_t cols, int64_t inner, int32_t a_transposed,
                   int32_t b_transposed) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("rows", rows)
      .size("cols", cols)
      .size("inner", inner)
      .range("a_transposed", a_transposed, 0, 1)
      .range("b_transposed", b_transposed, 0, 1)
      .output("y", y, {batch, rows, cols})
      .input("a", a, {batch, rows, inner})
      .input("b", b, {batch, inner, cols});
}

}  // namespace guard
