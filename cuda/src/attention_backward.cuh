// SPDX-License-Identifier: Apache-2.0
// attention_backward.cuh: what the passes of attention's gradients share for every type.
#pragma once

#include "attention.cuh"

template <class T>
struct Arrays {
  T *dq, *dk, *dv, *dmask;
  const T *dout, *out;
  const Computed<T> *lse;
};

// Which part of all ds a launch computes, and where it goes, if anywhere: to scratch or, where it
// is the mask's gradient, there.
template <class T>
struct Part {
  Computed<T> *ds;  // [pairs, queries, k_steps]
  T *dmask;
  int64_t pair0, pairs, query0, queries;

  // The grid for blocks of `rows` queries. The part begins with such a block where sequences are
  // not packed; else blocks of the whole pass are looked through for those that it has rows of.
  int64_t slots(const AttentionSizes<T> &sizes, int rows) const {
    return sizes.segments == 0 ? (queries + rows - 1) / rows : sizes.q_slots(rows);
  }
};

// A block's queries of one head, those that the part has rows of.
template <int kRows, class T>
struct PartTile {
  int64_t pair, head, query0;
  Sequence sequence;
  int64_t begin, end;  // the keys that any of them sees
  int rows;            // queries that exist; 0: none of them is the part's
  int64_t part_row;    // query0 among the part's queries

  __device__ __forceinline__ PartTile(const AttentionSizes<T> &sizes, const Part<T> &part,
                                      int64_t slots, int64_t block)
      : pair(part.pair0 + block % part.pairs),
        head(pair % sizes.heads),
        // The last queries come first: where they see the most keys, they would end last.
        sequence(sequence_of<kRows>(sizes, sizes.q_starts, pair / sizes.heads,
                                    slots - 1 - block / part.pairs, query0)) {
    if (sizes.q_starts == nullptr) query0 += part.query0;
    rows = within(sequence.queries - query0, kRows);
    part_row = sequence.first_q + query0 - part.query0;
    if (part_row + rows <= 0 || part_row >= part.queries) rows = 0;
    begin = sequence.first(query0);
    end = sequence.count(query0 + rows - 1);
  }
  __device__ bool has(const Part<T> &part, int row) const {
    return row < rows && part_row + row >= 0 && part_row + row < part.queries;
  }
  // The place of row 0 and the sequence's first key in a part's ds.
  __device__ int64_t slopes_at(const AttentionSizes<T> &sizes, const Part<T> &part) const {
    return ((pair - part.pair0) * part.queries + part_row) * sizes.k_steps + sequence.first_k;
  }
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
