// SPDX-License-Identifier: Apache-2.0
// guards/cast: what it refuses.
#pragma once

#include "call.h"

namespace guard {

inline void cast(Call &call, int32_t dtype, void *y, const void *x, int64_t n, int32_t from) {
  call.float_dtype("dtype", dtype).size("n", n).output("y", y, {n});
  call.float_dtype("from", from).input("x", x, {n});
}

}  // namespace guard
