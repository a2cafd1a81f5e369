// SPDX-License-Identifier: Apache-2.0
// guards/optimiser: what adamw and sgd refuse.
#pragma once

#include "call.h"

namespace guard {

inline void adamw(Call &call, int32_t dtype, void *parameter, void *first, void *second,
                  const void *gradient, const void *rate, const int32_t *step, const void *scale,
                  int64_t n, double beta1, double beta2, double eps, double) {
  call.dtype(dtype)
      .size("n", n)
      .require(beta1 >= 0 && beta1 < 1, "beta1 = %g must lie in [0, 1)", beta1)
      .require(beta2 >= 0 && beta2 < 1, "beta2 = %g must lie in [0, 1)", beta2)
      .require(eps >= 0, "eps = %g must not be negative", eps)
      .output("parameter", parameter, {n})
      .output("first", first, {n})
      .output("second", second, {n})
      .input("gradient", gradient, {n})
      .input("rate", rate, {1})
      .input("step", step, {1}, sizeof *step)
      .input("scale", scale, {1});
}

inline void sgd(Call &call, int32_t dtype, void *parameter, void *velocity, const void *gradient,
                const void *rate, const void *scale, int64_t n, double, double) {
  call.dtype(dtype)
      .size("n", n)
      .output("parameter", parameter, {n})
      .output("velocity", velocity, {n})
      .input("gradient", gradient, {n})
      .input("rate", rate, {1})
      .input("scale", scale, {1});
}

}  // namespace guard
