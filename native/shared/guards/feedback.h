// SPDX-License-Identifier: Apache-2.0
// guards/feedback: what both directions refuse.
#pragma once

#include <algorithm>

#include "call.h"
#include "guards/attention.h"

namespace guard {

// What both directions have in common.
struct Feedback {
  int32_t dtype;
  const void *past_keys, *past_values, *attention_gain, *query, *mix, *mlp_gain, *wide, *narrow,
      *share, *memory_gain, *key, *value;
  const int32_t *first, *resets, *lengths;
  int64_t batch, steps, layers, width, inner, heads, kv_heads, head_size, past, room, window;
  double eps, base;

  // The sizes, which stand before any array.
  void check_sizes(Call &call) const {
    constexpr int64_t kMost = int64_t{1} << 40;
    call.dtype(dtype)
        .size("batch", batch)
        .range("steps", steps, 1, kMost)
        .range("layers", layers, 1, kMost)
        .size("width", width)
        .size("inner", inner)
        .size("heads", heads)
        .size("kv_heads", kv_heads)
        .range("head_size", head_size, 1, kMostHeadSize)
        .require(head_size % 2 == 0, "head_size = %lld must be even",
                 static_cast<long long>(head_size))
        .size("room", room)
        .range("past", past, 0, std::clamp<int64_t>(room, 1, kMost))
        .range("window", window, 0, kMost)
        .require(eps >= 0, "eps = %g must not be negative", eps)
        .require(base > 0 && base <= 0x1p1000, "base = %g must be positive and finite", base)
        .require((past_keys == nullptr) == (past_values == nullptr),
                 "past_keys and past_values must both be null or neither")
        .require(past == 0 || past_keys != nullptr, "past = %lld must be 0 without past_keys",
                 static_cast<long long>(past));
    if (!call.refused()) {
      call.require(heads % kv_heads == 0, "heads = %lld must be a multiple of kv_heads = %lld",
                   static_cast<long long>(heads), static_cast<long long>(kv_heads));
    }
  }

  // The states of a step, whatever of them was refused.
  int64_t levels() const { return std::clamp<int64_t>(layers, 0, int64_t{1} << 40) + 1; }

  void check_arrays(Call &call) const {
    call.nullable_input("past_keys", past_keys, {batch, room, kv_heads, head_size})
        .nullable_input("past_values", past_values, {batch, room, kv_heads, head_size})
        .input("attention_gain", attention_gain, {layers, width})
        .input("query", query, {layers, width, heads, head_size})
        .input("mix", mix, {layers, heads, head_size, width})
        .input("mlp_gain", mlp_gain, {layers, width})
        .input("wide", wide, {layers, width, inner})
        .input("narrow", narrow, {layers, inner, width})
        .input("share", share, {levels()})
        .input("memory_gain", memory_gain, {width})
        .input("key", key, {width, kv_heads, head_size})
        .input("value", value, {width, kv_heads, head_size})
        .nullable_input("first", first, {batch}, sizeof *first)
        .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
        .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
  }
};

inline void feedback(Call &call, const Feedback &f, void *states, void *keys, void *values,
                     const void *x) {
  f.check_sizes(call);
  call.output("states", states, {f.batch, f.steps, f.levels(), f.width})
      .output("keys", keys, {f.batch, f.steps, f.kv_heads, f.head_size})
      .output("values", values, {f.batch, f.steps, f.kv_heads, f.head_size})
      .input("x", x, {f.batch, f.steps, f.width});
  f.check_arrays(call);
}

// The outputs of the backward function, in the header's order.
struct FeedbackSlopes {
  void *dx, *dpast_keys, *dpast_values, *dattention_gain, *dquery, *dmix, *dmlp_gain, *dwide,
      *dnarrow, *dshare, *dmemory_gain, *dkey, *dvalue;
};

inline void feedback_backward(Call &call, const Feedback &f, const FeedbackSlopes &d,
                              const void *dstates, const void *dkeys, const void *dvalues,
                              const void *states, const void *keys, const void *values) {
  f.check_sizes(call);
  call.require((d.dpast_keys == nullptr) == (f.past_keys == nullptr),
               "dpast_keys must be null exactly where past_keys is")
      .require((d.dpast_values == nullptr) == (f.past_values == nullptr),
               "dpast_values must be null exactly where past_values is")
      .output("dx", d.dx, {f.batch, f.steps, f.width})
      .nullable_output("dpast_keys", d.dpast_keys, {f.batch, f.room, f.kv_heads, f.head_size})
      .nullable_output("dpast_values", d.dpast_values, {f.batch, f.room, f.kv_heads, f.head_size})
      .output("dattention_gain", d.dattention_gain, {f.layers, f.width})
      .output("dquery", d.dquery, {f.layers, f.width, f.heads, f.head_size})
      .output("dmix", d.dmix, {f.layers, f.heads, f.head_size, f.width})
      .output("dmlp_gain", d.dmlp_gain, {f.layers, f.width})
      .output("dwide", d.dwide, {f.layers, f.width, f.inner})
      .output("dnarrow", d.dnarrow, {f.layers, f.inner, f.width})
      .output("dshare", d.dshare, {f.levels()})
      .output("dmemory_gain", d.dmemory_gain, {f.width})
      .output("dkey", d.dkey, {f.width, f.kv_heads, f.head_size})
      .output("dvalue", d.dvalue, {f.width, f.kv_heads, f.head_size})
      .input("dstates", dstates, {f.batch, f.steps, f.levels(), f.width})
      .nullable_input("dkeys", dkeys, {f.batch, f.steps, f.kv_heads, f.head_size})
      .nullable_input("dvalues", dvalues, {f.batch, f.steps, f.kv_heads, f.head_size})
      .input("states", states, {f.batch, f.steps, f.levels(), f.width})
      .input("keys", keys, {f.batch, f.steps, f.kv_heads, f.head_size})
      .input("values", values, {f.batch, f.steps, f.kv_heads, f.head_size});
  f.check_arrays(call);
}

}  // namespace guard
