// SPDX-License-Identifier: Apache-2.0
// cast: numbers in another type.
// y[i] = x[i], rounded once
// Shapes   y, x [n]; no aliasing
// Method   an element per thread and turn; bf16 by its bits (shared/bf16.h), the rest by the device
// Order    each element alone: the CPU's bits
// Error    exact after one rounding, to nearest and halves to even
// Work     no flops; one read and one write per element
// Source   elementary
#include "guards/cast.h"
#include "map.cuh"
#include "scalar.cuh"

namespace {

template <class To, class From>
struct Cast {
  To *y;
  const From *x;

  __device__ void operator()(int64_t i) const { y[i] = converted<To>(x[i]); }
};

}  // namespace

int32_t pnd_cast(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                 int32_t from) {
  Call call(context, "cast");
  guard::cast(call, dtype, y, x, n, from);
  if (call.refused()) return call.status();
  by_stored_type(from, [&](auto of) {
    by_stored_type(dtype, [&](auto into) {
      using From = decltype(of);
      using To = decltype(into);
      each(call, context, n, Cast<To, From>{static_cast<To *>(y), static_cast<const From *>(x)});
    });
  });
  return call.status();
}
