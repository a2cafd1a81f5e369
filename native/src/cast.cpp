// SPDX-License-Identifier: Apache-2.0
// cast: numbers in another type.
// y[i] = x[i], rounded once
// Shapes   y, x [n]; no aliasing
// Method   bf16 by its bits (shared/bf16.h), the rest by the processor
// Order    each element alone
// Error    exact after one rounding, to nearest and halves to even
// Work     no flops; one read and one write per element
// Source   elementary
#include "guards/cast.h"
#include "as_float.h"

int32_t pnd_cast(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                 int32_t from) {
  Call call(context, "cast");
  guard::cast(call, dtype, y, x, n, from);
  if (call.refused()) return call.status();
  by_stored_type(from, [&](auto of) {
    by_stored_type(dtype, [&](auto into) {
      using From = decltype(of);
      using To = decltype(into);
      To *to = static_cast<To *>(y);
      const From *source = static_cast<const From *>(x);
      parallel_lines(context, n, kSerialMove, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) to[i] = converted<To>(source[i]);
      });
    });
  });
  return PND_OK;
}
