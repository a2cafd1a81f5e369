// SPDX-License-Identifier: Apache-2.0
// guards/attention: what both directions refuse.
#pragma once

#include <algorithm>

#include "call.h"

namespace guard {

constexpr int64_t kMostHeadSize = 256, kMostSegments = int64_t{1} << 30;

// What both directions have in common.
struct Attention {
  int32_t dtype;
  const void *q, *k, *v, *mask;
  const int32_t *lengths, *q_starts, *k_starts;
  int64_t batch, heads, kv_heads, q_steps, k_steps, head_size, mask_batch, mask_heads, mask_steps,
      segments, window;
  double scale;
  int32_t causal, gated;

  int64_t queries() const { return batch * q_steps * heads * head_size; }
  int64_t keys() const { return batch * k_steps * kv_heads * head_size; }
  int64_t masks() const { return mask_batch * mask_heads * mask_steps * k_steps; }

  // The sizes, which stand before any array.
  void check_sizes(Call &call) const {
    const auto broadcast = [&](const char *name, int64_t size, int64_t full) {
      call.require(size == 1 || size == full, "%s = %lld must be 1 or %lld", name,
                   static_cast<long long>(size), static_cast<long long>(full));
    };
    call.float_dtype("dtype", dtype)
        .size("batch", batch)
        .size("heads", heads)
        .size("kv_heads", kv_heads)
        .size("q_steps", q_steps)
        .size("k_steps", k_steps)
        .range("head_size", head_size, 1, kMostHeadSize)
        .range("window", window, 0, int64_t{1} << 40)
        .range("causal", causal, 0, 2)
        .range("gated", gated, 0, 1);
    if (!call.refused()) {
      call.require(heads % kv_heads == 0, "heads = %lld must be a multiple of kv_heads = %lld",
                   static_cast<long long>(heads), static_cast<long long>(kv_heads));
    }
    broadcast("mask_batch", mask_batch, batch);
    broadcast("mask_heads", mask_heads, heads);
    broadcast("mask_steps", mask_steps, q_steps);
    call.require(causal != 2 || lengths != nullptr, "causal = 2 needs lengths");
    call.require((q_starts == nullptr) == (k_starts == nullptr),
                 "q_starts and k_starts must both be null or neither");
    if (q_starts == nullptr) {
      call.require(segments == 0, "segments = %lld must be 0 without q_starts",
                   static_cast<long long>(segments));
    } else {
      call.range("segments", segments, 1, kMostSegments)
          .require(batch == 1, "batch = %lld must be 1 with q_starts",
                   static_cast<long long>(batch))
          .require(lengths == nullptr, "lengths must be null with q_starts");
    }
  }

  void check_arrays(Call &call) const {
    // Whatever was refused above.
    const int64_t starts = std::clamp<int64_t>(segments, 0, kMostSegments) + 1;
    call.input("q", q, {batch, q_steps, heads, head_size})
        .input("k", k, {batch, k_steps, kv_heads, head_size})
        .input("v", v, {batch, k_steps, kv_heads, head_size})
        .nullable_input("mask", mask, {mask_batch, mask_heads, mask_steps, k_steps})
        .nullable_input("lengths", lengths, {batch}, sizeof *lengths)
        .nullable_input("q_starts", q_starts, {starts}, sizeof *q_starts)
        .nullable_input("k_starts", k_starts, {starts}, sizeof *k_starts);
  }
};

inline void attention(Call &call, const Attention &a, void *out, void *lse) {
  a.check_sizes(call);
  call.output("out", out, {a.batch, a.q_steps, a.heads, a.head_size})
      .output("lse", lse, {a.batch, a.heads, a.q_steps}, bytes_of_sum(a.dtype));
  a.check_arrays(call);
}

inline void attention_backward(Call &call, const Attention &a, void *dq, void *dk, void *dv,
                               void *dmask, const void *dout, const void *out, const void *lse) {
  a.check_sizes(call);
  a.check_arrays(call);
  call.output("dq", dq, {a.batch, a.q_steps, a.heads, a.head_size})
      .output("dk", dk, {a.batch, a.k_steps, a.kv_heads, a.head_size})
      .output("dv", dv, {a.batch, a.k_steps, a.kv_heads, a.head_size})
      .nullable_output("dmask", dmask, {a.mask_batch, a.mask_heads, a.mask_steps, a.k_steps})
      .input("dout", dout, {a.batch, a.q_steps, a.heads, a.head_size})
      .input("out", out, {a.batch, a.q_steps, a.heads, a.head_size})
      .input("lse", lse, {a.batch, a.heads, a.q_steps}, bytes_of_sum(a.dtype));
}

}  // namespace guard
