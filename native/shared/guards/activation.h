// SPDX-License-Identifier: Apache-2.0
// guards/activation: what gelu, silu and their backward functions refuse.
#pragma once

#include "call.h"
#include "guards/pointwise.h"

namespace guard {

// gelu_backward, silu_backward
inline void apply_backward(Call &call, int32_t dtype, void *dx, const void *dy, const void *x,
                           int64_t n) {
  call.dtype(dtype).size("n", n).output("dx", dx, {n}).input("dy", dy, {n}).input("x", x, {n});
}

}  // namespace guard
