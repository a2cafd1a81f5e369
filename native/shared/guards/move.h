// SPDX-License-Identifier: Apache-2.0
// guards/move: what functions refuse that place elements and compute none.
#pragma once

#include "call.h"

namespace guard {

inline void fill(Call &call, int32_t dtype, void *y, int64_t n, double value) {
  call.any_dtype(dtype).size("n", n).output("y", y, {n});
  // Rounded to the nearest whole number, it must lie in the type's range.
  if (dtype == PND_I32) {
    call.require(value >= -0x1p31 - 0.5 && value < 0x1p31 - 0.5, "value = %g is beyond i32", value);
  }
}

inline void broadcast(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t mid,
                      int64_t inner) {
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("mid", mid)
      .size("inner", inner)
      .output("y", y, {outer, mid, inner})
      .input("x", x, {outer, inner});
}

inline void swap_axes(Call &call, int32_t dtype, void *y, const void *x, int64_t outer,
                      int64_t first, int64_t mid, int64_t second, int64_t inner) {
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("first", first)
      .size("mid", mid)
      .size("second", second)
      .size("inner", inner)
      .output("y", y, {outer, first, mid, second, inner})
      .input("x", x, {outer, first, mid, second, inner});
}

// What slice, pad and put have in common: a part of `count` elements from `start` on of `size`.
inline void part(Call &call, int32_t dtype, int64_t outer, int64_t size, int64_t inner,
                 int64_t start, int64_t count) {
  // The last start at which count elements fit; both sizes may still be refused ones.
  const int64_t last_start = size >= 1 && count >= 1 ? size - count : 0;
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("size", size)
      .size("inner", inner)
      .range("count", count, 1, size)
      .range("start", start, 0, last_start);
}

inline void slice(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t size,
                  int64_t inner, int64_t start, int64_t count) {
  part(call, dtype, outer, size, inner, start, count);
  call.output("y", y, {outer, count, inner}).input("x", x, {outer, size, inner});
}

inline void pad(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t size,
                int64_t inner, int64_t start, int64_t count) {
  part(call, dtype, outer, size, inner, start, count);
  call.output("y", y, {outer, size, inner}).input("x", x, {outer, count, inner});
}

inline void put(Call &call, int32_t dtype, void *y, const void *x, const int32_t *start,
                int64_t outer, int64_t size, int64_t inner, int64_t count) {
  part(call, dtype, outer, size, inner, 0, count);
  call.output("y", y, {outer, size, inner})
      .input("x", x, {outer, count, inner})
      .input("start", start, {outer}, sizeof *start);
}

inline void concat(Call &call, int32_t dtype, void *y, const void *a, const void *b, int64_t outer,
                   int64_t a_size, int64_t b_size, int64_t inner) {
  int64_t size = 0;
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("a_size", a_size)
      .size("b_size", b_size)
      .size("inner", inner)
      .require(!__builtin_add_overflow(a_size, b_size, &size), "a_size + b_size overflows")
      .output("y", y, {outer, size, inner})
      .input("a", a, {outer, a_size, inner})
      .input("b", b, {outer, b_size, inner});
}

}  // namespace guard
