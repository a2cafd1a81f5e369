// SPDX-License-Identifier: Apache-2.0
// guards/random: what philox and uniform refuse.
#pragma once

#include "call.h"

namespace guard {

inline void philox(Call &call, uint32_t *y, const int64_t *step, int64_t n, int64_t, int64_t,
                   int64_t) {
  call.size("n", n).output("y", y, {n}, sizeof *y).input("step", step, {1}, sizeof *step);
}

inline void uniform(Call &call, int32_t dtype, void *y, const int64_t *step, int64_t n, int64_t,
                    int64_t) {
  call.dtype(dtype).size("n", n).output("y", y, {n}).input("step", step, {1}, sizeof *step);
}

}  // namespace guard
