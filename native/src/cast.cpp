// SPDX-License-Identifier: Apache-2.0
// cast: numbers in another type.
// y[i] = x[i], rounded once
// Shapes   y, x [n]; no aliasing
// Method   bf16 by its bits (shared/bf16.h), the rest by the processor
// Order    each element alone
// Error    exact after one rounding, to nearest and halves to even
// Work     no flops; one read and one write per element
// Source   elementary
#include "as_float.h"

namespace {

template <class From, class To>
To convert(From x) {
  if constexpr (std::is_same_v<From, To>) {
    return x;
  } else if constexpr (std::is_same_v<To, Bf16>) {
    return narrowed(x);
  } else if constexpr (std::is_same_v<From, Bf16>) {
    return static_cast<To>(widened(x));
  } else {
    return static_cast<To>(x);
  }
}

template <class F>
void by_stored_type(int32_t dtype, F &&f) {
  if (dtype == PND_BF16) return f(Bf16{});
  dtype == PND_F64 ? f(double{}) : f(float{});
}

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
      To *to = static_cast<To *>(y);
      const From *source = static_cast<const From *>(x);
      parallel_lines(context, n, kSerialMove, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) to[i] = convert<From, To>(source[i]);
      });
    });
  });
  return PND_OK;
}
