// SPDX-License-Identifier: Apache-2.0
// attention_backward.cuh: what the passes of attention's gradients share for every type.
#pragma once

#include "attention.cuh"

template <class T>
struct Arrays {
  T *dq, *dk, *dv, *dmask;
  const T *dout, *q, *k, *v, *mask, *out;
  const Computed<T> *lse;
};

// Which part of all ds a launch computes, and where it goes, if anywhere: to scratch or, where it
// is the mask's gradient, there.
template <class T>
struct Part {
  Computed<T> *ds;  // [pairs, queries, k_steps]
  T *dmask;
  int64_t pair0, pairs, query0, queries;
};

constexpr int kDeltaRows = 8;  // of a block, one per warp

template <class T>
__global__ void __launch_bounds__(kDeltaRows * 32)
    delta_kernel(int64_t first, AttentionSizes<T> sizes, Computed<T> *delta, const T *dout,
                 const T *out) {
  const int64_t row = (first + blockIdx.x) * kDeltaRows + warp_number();
  if (row >= sizes.pairs() * sizes.q_steps) return;
  const int64_t size = sizes.head_size, lane = lane_number();
  Computed<T> sum = 0;
  for (int64_t d = lane; d < size; d += 32) {
    sum = fma(widened(dout[row * size + d]), widened(out[row * size + d]), sum);
  }
  PND_UNROLL
  for (int w = 16; w > 0; w /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, w);
  // Rows lie as (batch, query, head); delta as lse does.
  const int64_t head = row % sizes.heads, query = row / sizes.heads % sizes.q_steps;
  const int64_t b = row / sizes.heads / sizes.q_steps;
  if (lane == 0) delta[(b * sizes.heads + head) * sizes.q_steps + query] = sum;
}
