// SPDX-License-Identifier: Apache-2.0
// guards/top_k_read: what both directions refuse.
#pragma once

#include "call.h"

namespace guard {

// The most slots that a query reads, and that its memories may have in all.
constexpr int64_t kMostReads = 256, kMostSlots = (int64_t{1} << 31) - 1;

// What both directions have in common.
struct TopKRead {
  int32_t dtype;
  const void *q, *keys, *values;
  int64_t batch, queries, slots, key_size, value_size, count;
  double scale;

  void check_sizes(Call &call) const {
    call.dtype(dtype)
        .size("batch", batch)
        .size("queries", queries)
        .range("slots", slots, 1, kMostSlots)
        .size("key_size", key_size)
        .size("value_size", value_size)
        .range("count", count, 1, kMostReads);
  }

  void check_arrays(Call &call) const {
    call.input("q", q, {batch, queries, key_size})
        .input("keys", keys, {batch, slots, key_size})
        .input("values", values, {batch, slots, value_size});
  }
};

inline void top_k_read(Call &call, const TopKRead &r, void *out, void *p, int32_t *index,
                       const int32_t *lengths, int64_t start) {
  r.check_sizes(call);
  call.range("start", start, -1, int64_t{1} << 40);
  call.output("out", out, {r.batch, r.queries, r.value_size})
      .output("p", p, {r.batch, r.queries, r.count})
      .output("index", index, {r.batch, r.queries, r.count}, sizeof *index);
  r.check_arrays(call);
  call.nullable_input("lengths", lengths, {r.batch, r.queries}, sizeof *lengths);
}

inline void top_k_read_backward(Call &call, const TopKRead &r, void *dq, void *dkeys, void *dvalues,
                                const void *dout, const void *p, const int32_t *index) {
  r.check_sizes(call);
  call.output("dq", dq, {r.batch, r.queries, r.key_size})
      .output("dkeys", dkeys, {r.batch, r.slots, r.key_size})
      .output("dvalues", dvalues, {r.batch, r.slots, r.value_size})
      .input("dout", dout, {r.batch, r.queries, r.value_size});
  r.check_arrays(call);
  call.input("p", p, {r.batch, r.queries, r.count})
      .input("index", index, {r.batch, r.queries, r.count}, sizeof *index);
  if (!call.refused()) {
    call.require(r.batch <= kMostSlots / r.slots, "batch = %lld times slots = %lld is too large",
                 static_cast<long long>(r.batch), static_cast<long long>(r.slots));
  }
}

}  // namespace guard
