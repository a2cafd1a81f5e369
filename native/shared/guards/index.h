// SPDX-License-Identifier: Apache-2.0
// guards/index: what gather, scatter_add and one_hot refuse.
#pragma once

#include "call.h"

namespace guard {

inline void gather(Call &call, int32_t dtype, void *y, const void *table, const int32_t *index,
                   int64_t count, int64_t rows, int64_t cols) {
  call.any_dtype(dtype)
      .size("count", count)
      .size("rows", rows)
      .size("cols", cols)
      .output("y", y, {count, cols})
      .input("table", table, {rows, cols})
      .input("index", index, {count}, sizeof *index);
}

inline void scatter_add(Call &call, int32_t dtype, void *table, const void *x, const int32_t *index,
                        int64_t count, int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("count", count)
      .size("rows", rows)
      .size("cols", cols)
      .output("table", table, {rows, cols})
      .input("x", x, {count, cols})
      .input("index", index, {count}, sizeof *index);
}

inline void one_hot(Call &call, int32_t dtype, void *y, const int32_t *index, int64_t count,
                    int64_t classes) {
  call.dtype(dtype)
      .size("count", count)
      .size("classes", classes)
      .output("y", y, {count, classes})
      .input("index", index, {count}, sizeof *index);
}

}  // namespace guard
