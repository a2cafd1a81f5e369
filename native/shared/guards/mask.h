// SPDX-License-Identifier: Apache-2.0
// guards/mask: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

// What mask and mask_backward have in common.
inline void mask_sizes(Call &call, int32_t dtype, int64_t rows, int64_t length, int64_t k,
                       int64_t candidates, double rate, double floor, int32_t scheme) {
  constexpr int64_t kMostWords = int64_t{1} << 31;
  call.dtype(dtype)
      .range("rows", rows, 1, int64_t{1} << 32)
      .range("length", length, 1, kMostWords)
      .range("candidates", candidates, 1, int64_t{1} << 20)
      .require(candidates < 1 || length <= kMostWords / candidates,
               "candidates * length = %lld * %lld must not pass 2^31",
               static_cast<long long>(candidates), static_cast<long long>(length))
      .require(k >= 0, "k = %lld must not be negative", static_cast<long long>(k))
      .require(rate >= 0 && rate <= 1, "rate = %g must lie in [0, 1]", rate)
      .require(floor >= 0 && floor <= 1, "floor = %g must lie in [0, 1]", floor)
      .range("scheme", scheme, PND_BERNOULLI, PND_CANDIDATES);
}

inline void mask(Call &call, int32_t dtype, void *log_probability, void *inclusion, void *weight,
                 int32_t *corrupted, int32_t *label, const void *logits, const int32_t *tokens,
                 const int32_t *eligible, const int64_t *step, int64_t rows, int64_t length,
                 int64_t vocabulary, int64_t k, int64_t candidates, int64_t mask_token, int64_t,
                 double rate, double floor, double mask_share, double random_share,
                 int32_t scheme) {
  mask_sizes(call, dtype, rows, length, k, candidates, rate, floor, scheme);
  call.range("vocabulary", vocabulary, 1, int64_t{1} << 31)
      .range("mask_token", mask_token, 0, (int64_t{1} << 31) - 1)
      .require(mask_share >= 0 && random_share >= 0 && mask_share + random_share <= 1,
               "mask_share = %g and random_share = %g must be shares of 1", mask_share,
               random_share)
      .nullable_output("log_probability", log_probability, {rows})
      .nullable_output("inclusion", inclusion, {rows, length})
      .nullable_output("weight", weight, {rows, length})
      .nullable_output("corrupted", corrupted, {rows, length}, sizeof *corrupted)
      .nullable_output("label", label, {rows, length}, sizeof *label)
      .nullable_input("logits", logits, {rows, length})
      .input("tokens", tokens, {rows, length}, sizeof *tokens)
      .nullable_input("eligible", eligible, {rows, length}, sizeof *eligible)
      .input("step", step, {1}, sizeof *step);
}

inline void mask_backward(Call &call, int32_t dtype, void *dlogits, const void *dlog_probability,
                          const void *logits, const void *inclusion, const int32_t *label,
                          const int64_t *step, int64_t rows, int64_t length, int64_t k,
                          int64_t candidates, int64_t, double rate, double floor, int32_t scheme) {
  mask_sizes(call, dtype, rows, length, k, candidates, rate, floor, scheme);
  call.output("dlogits", dlogits, {rows, length})
      .input("dlog_probability", dlog_probability, {rows})
      .input("logits", logits, {rows, length})
      .input("inclusion", inclusion, {rows, length})
      .input("label", label, {rows, length}, sizeof *label)
      .input("step", step, {1}, sizeof *step);
}

}  // namespace guard
