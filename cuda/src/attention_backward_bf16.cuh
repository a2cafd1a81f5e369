// SPDX-License-Identifier: Apache-2.0
// attention_backward_bf16.cuh: the gradients of attention on tensor cores; the formulas and shapes
// are attention_backward.cu's, and so are the two passes.
// Method   a block of 4 warps keeps 64 queries (keys), 16 a warp, and meets 16 to 64 keys (queries)
//          at a time in one of two stages. p and ds are computed from f32 in registers, rounded to
//          bf16 there and multiply from there; dk and dv of heads beyond 128, which do not fit into
//          registers together, are made one after the other
// Order    16 keys (queries) at a time, upwards; the sum of ds over the queries is f32, a lane's
//          queries upwards, then 4 lanes
// Error    <= 3 x the plain loop with p and ds rounded to bf16
// Source   Dao, arXiv:2307.08691
#pragma once

#include "attention_backward.cuh"
#include "attention_bf16.cuh"

// The sizes of a block's work.
template <int kHead_>
struct Bf16Backward {
  static constexpr int kHead = kHead_, kThreads = 128, kRows = 64;
  static constexpr int kSteps = kHead <= 64 ? 64 : kHead <= 128 ? 32 : 16;  // rows met at a time
  static constexpr int kParts = kSteps / 8;
  static constexpr bool kKept = kHead <= 64;    // whether the own rows stay in registers
  static constexpr int kFixed = kRows * kHead;  // a matrix of own rows
  static constexpr int kTile = kSteps * kHead;  // one that passes by
  static constexpr size_t kRowBytes = 2 * kSteps * sizeof(float);  // lse and delta of a stage
  static constexpr size_t kShared = (2 * kFixed + 4 * kTile) * sizeof(Bf16) + 2 * kRowBytes;
  static_assert(kShared <= 99 << 10, "fits every device");
};

// What is taken off a row's scores: they lie in base 2. A row that sees nothing has lse = -infinity
// and p = 0.
__device__ __forceinline__ float score_base(float lse) {
  return lse == kHidden ? -kHidden : lse * kLog2E;
}

// to[row stride + column] = ds of the warp's 16 rows from row0 on, where row < rows and
// column < columns.
template <class T, int n>
__device__ __forceinline__ void store_slopes(T *to, int64_t stride, const float (&ds)[n][4],
                                             int row0, int rows, int columns) {
  const int column0 = sum_col(0, 0);
  PND_UNROLL
  for (int half = 0; half < 4; half += 2) {
    const int row = row0 + sum_row(half), left = row < rows ? columns - column0 : 0;
    T *at = to + row * stride + column0;
    PND_UNROLL
    for (int j = 0; j < n; ++j) {
      PND_UNROLL
      for (int e = 0; e < 2; ++e) {
        if (j * 8 + e < left) at[j * 8 + e] = stored<T>(ds[j][half + e]);
      }
    }
  }
}

// dq of a block of queries, and their rows of ds.
template <class B>
__global__ void __launch_bounds__(B::kThreads, 2)
    query_bf16_kernel(int64_t first, AttentionSizes<Bf16> sizes, Arrays<Bf16> arrays,
                      const float *delta, Part<Bf16> part, int64_t query_blocks, bool whole_out) {
  Bf16 *const q = shared_memory<Bf16>(), *const dout = q + B::kFixed;
  Bf16 *const stages = dout + B::kFixed;
  const int64_t block = first + blockIdx.x, pair = part.pair0 + block % part.pairs;
  const int64_t query0 =
      part.query0 + (query_blocks - 1 - block / part.pairs) * B::kRows;  // the longest first
  const int rows = within(part.query0 + part.queries - query0, B::kRows);
  const int head_size = static_cast<int>(sizes.head_size);
  const Sight<Bf16> sight(sizes, pair / sizes.heads);
  const int64_t stride = sizes.row_stride(), start = sizes.query_start(pair) + query0 * stride;
  const Bf16 *k = arrays.k + sizes.key_start(pair), *v = arrays.v + sizes.key_start(pair);
  const Bf16 *mask = sizes.mask_of(arrays.mask, pair);
  if (mask != nullptr) mask += query0 * sizes.mask_stride();
  const int64_t ds_start =  // its first row
      ((pair - part.pair0) * part.queries + query0 - part.query0) * sizes.k_steps;
  const int64_t most_seen = sight.count(query0 + rows - 1);
  const auto copy = [&](int64_t key, int stage) {
    Bf16 *to = stages + stage * 2 * B::kTile;
    const int count = within(most_seen - key, B::kSteps);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to, k + key * stride, stride, count, head_size,
                                                sizes.whole);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to + B::kTile, v + key * stride, stride, count,
                                                head_size, sizes.whole);
  };
  copy_rows<B::kRows, B::kHead, B::kThreads>(q, arrays.q + start, stride, rows, head_size,
                                             sizes.whole);
  copy_rows<B::kRows, B::kHead, B::kThreads>(dout, arrays.dout + start, stride, rows, head_size,
                                             sizes.whole);
  if (most_seen > 0) copy(0, 0);
  commit_copies();
  await_copies<0>();
  __syncthreads();

  const int row0 = warp_number() * 16;  // the warp's first row
  const OwnRows<B::kHead, 1, B::kKept> own_q(q, row0), own_dout(dout, row0);
  const int64_t warp_least = row0 + 16 <= rows ? sight.count(query0 + row0) : 0;
  float base[2], offset[2];
  PND_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = row0 + sum_row(2 * half);
    const int64_t place = pair * sizes.q_steps + query0 + row;
    base[half] = row < rows ? score_base(arrays.lse[place]) : 0.0f;
    offset[half] = row < rows ? delta[place] : 0.0f;
  }
  float sums[1][B::kHead / 8][4] = {};
  int stage = 0;
  int64_t key = 0;
  for (; key < most_seen; key += B::kSteps, stage ^= 1) {
    if (key > 0) {
      await_copies<0>();
      __syncthreads();  // who is past it has used the other stage
    }
    if (key + B::kSteps < most_seen) copy(key + B::kSteps, stage ^ 1);
    commit_copies();
    const Bf16 *keys = stages + stage * 2 * B::kTile, *values = keys + B::kTile;
    float scores[1][B::kParts][4] = {}, dp[1][B::kParts][4] = {};
    own_q.add_dots(scores, keys);
    mask_scores(
        scores[0], sizes.scale * kLog2E, mask != nullptr, key + B::kSteps <= warp_least,
        [&](int row) {
          const int64_t query = query0 + row0 + row;
          return Seen{0, row0 + row < rows ? within(sight.count(query) - key, B::kSteps) : 0};
        },
        [&](int row) {
          return MaskRow{mask + (row0 + row) * sizes.mask_stride() + key, 1};
        });
    own_dout.add_dots(dp, values);
    PND_UNROLL
    for (int j = 0; j < B::kParts; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        scores[0][j][e] = power_near(scores[0][j][e] - base[e / 2]) * (dp[0][j][e] - offset[e / 2]);
      }
    }
    if (part.ds != nullptr) {
      store_slopes(part.ds + ds_start + key, sizes.k_steps, scores[0], row0, rows,
                   within(sizes.k_steps - key, B::kSteps));
    } else if (part.dmask != nullptr) {
      store_slopes(part.dmask + ds_start + key, sizes.k_steps, scores[0], row0, rows,
                   within(sizes.k_steps - key, B::kSteps));
    }
    add_products<B::kHead>(sums, scores, keys);
  }
  __syncthreads();  // the queries' tile is free for the results

  PND_UNROLL
  for (int j = 0; j < B::kHead / 8; ++j) {
    PND_UNROLL
    for (int e = 0; e < 4; ++e) sums[0][j][e] *= sizes.scale;
  }
  put_sums<B::kHead>(q, row0, 0, sums[0]);
  __syncthreads();
  store_rows<B::kRows, B::kHead, B::kThreads>(arrays.dq + start, stride, q, rows, head_size,
                                              whole_out);
  if (part.ds == nullptr && part.dmask == nullptr) return;
  // Keys that none of the queries sees.
  for (int row = 0; row < rows; ++row) {
    for (int64_t j = key + threadIdx.x; j < sizes.k_steps; j += B::kThreads) {
      const int64_t at = ds_start + row * sizes.k_steps + j;
      if (part.ds != nullptr) {
        part.ds[at] = 0;
      } else {
        part.dmask[at] = {};
      }
    }
  }
}

// dk (kDk) and dv (kDv) of a block of keys, and with dk the sums of ds over the queries, as they
// are or rounded (nullable; [pairs, k_steps]).
template <class B, bool kDk, bool kDv>
__global__ void __launch_bounds__(B::kThreads, 2)
    key_bf16_kernel(int64_t first, AttentionSizes<Bf16> sizes, Arrays<Bf16> arrays,
                    const float *delta, float *mask_sums, Bf16 *rounded_sums, bool whole_out) {
  Bf16 *const k = shared_memory<Bf16>(), *const v = k + B::kFixed, *const stages = v + B::kFixed;
  float *const row_stages = reinterpret_cast<float *>(stages + 4 * B::kTile);
  const int64_t block = first + blockIdx.x, pair = block % sizes.pairs();
  const int64_t key0 = block / sizes.pairs() * B::kRows;
  const int head_size = static_cast<int>(sizes.head_size);
  const Sight<Bf16> sight(sizes, pair / sizes.heads);
  const int rows = within(sight.length - key0, B::kRows);  // the others get zeros
  const int64_t stride = sizes.row_stride(), start = sizes.key_start(pair) + key0 * stride;
  const Bf16 *q = arrays.q + sizes.query_start(pair), *dout = arrays.dout + sizes.query_start(pair);
  const Bf16 *mask = sizes.mask_of(arrays.mask, pair);
  if (mask != nullptr) mask += key0;
  const int64_t query0 =
      rows == 0 ? sizes.q_steps : sight.first_query(key0) / B::kSteps * B::kSteps;
  const auto copy = [&](int64_t query, int stage) {
    Bf16 *to = stages + stage * 2 * B::kTile;
    const int count = within(sizes.q_steps - query, B::kSteps);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to, q + query * stride, stride, count, head_size,
                                                sizes.whole);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to + B::kTile, dout + query * stride, stride, count,
                                                head_size, sizes.whole);
    const int row = static_cast<int>(threadIdx.x) % B::kSteps;
    if (threadIdx.x >= 2 * B::kSteps) return;
    const float *from = static_cast<int>(threadIdx.x) < B::kSteps ? arrays.lse : delta;
    copy_async<4>(row_stages + stage * 2 * B::kSteps + threadIdx.x,
                  from + pair * sizes.q_steps + query + row, row < count);
  };
  copy_rows<B::kRows, B::kHead, B::kThreads>(k, arrays.k + start, stride, rows, head_size,
                                             sizes.whole);
  copy_rows<B::kRows, B::kHead, B::kThreads>(v, arrays.v + start, stride, rows, head_size,
                                             sizes.whole);
  if (query0 < sizes.q_steps) copy(query0, 0);
  commit_copies();
  await_copies<0>();
  __syncthreads();

  const int row0 = warp_number() * 16;  // the warp's first row
  const OwnRows<B::kHead, 1, B::kKept> own_k(k, row0), own_v(v, row0);
  float dk[1][kDk ? B::kHead / 8 : 1][4] = {}, dv[1][kDv ? B::kHead / 8 : 1][4] = {};
  float mask_sum[2] = {};
  int stage = 0;
  for (int64_t query = query0; query < sizes.q_steps; query += B::kSteps, stage ^= 1) {
    if (query > query0) {
      await_copies<0>();
      __syncthreads();  // who is past it has used the other stage
    }
    if (query + B::kSteps < sizes.q_steps) copy(query + B::kSteps, stage ^ 1);
    commit_copies();
    const int count = within(sizes.q_steps - query, B::kSteps);
    const Bf16 *queries = stages + stage * 2 * B::kTile, *douts = queries + B::kTile;
    const float *lse = row_stages + stage * 2 * B::kSteps, *offset = lse + B::kSteps;
    float scores[1][B::kParts][4] = {};
    own_k.add_dots(scores, queries);
    mask_scores(
        scores[0], sizes.scale * kLog2E, mask != nullptr,
        rows >= row0 + 16 && count == B::kSteps && sight.first_query(key0 + row0 + 15) <= query,
        [&](int row) {
          const int64_t low = sight.first_query(key0 + row0 + row) - query;
          return Seen{within(low, B::kSteps), row0 + row < rows ? count : 0};
        },
        [&](int row) {
          return MaskRow{mask + query * sizes.mask_stride() + row0 + row, sizes.mask_stride()};
        });
    PND_UNROLL
    for (int j = 0; j < B::kParts; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        scores[0][j][e] = power_near(scores[0][j][e] - score_base(lse[sum_col(j, e)]));
      }
    }
    if constexpr (kDv) add_products<B::kHead>(dv, scores, douts);
    if constexpr (kDk) {
      float dp[1][B::kParts][4] = {};
      own_v.add_dots(dp, douts);
      PND_UNROLL
      for (int j = 0; j < B::kParts; ++j) {
        PND_UNROLL
        for (int e = 0; e < 4; ++e) {
          scores[0][j][e] *= dp[0][j][e] - offset[sum_col(j, e)];  // p becomes ds
          mask_sum[e / 2] += scores[0][j][e];
        }
      }
      add_products<B::kHead>(dk, scores, queries);
    }
  }
  __syncthreads();  // the tiles are free for the results

  const auto put = [&](auto &sums, Bf16 *tile, float factor) {
    PND_UNROLL
    for (int j = 0; j < B::kHead / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        sums[0][j][e] = row0 + sum_row(e) < rows ? sums[0][j][e] * factor : 0.0f;
      }
    }
    put_sums<B::kHead>(tile, row0, 0, sums[0]);
  };
  if constexpr (kDk) put(dk, k, sizes.scale);
  if constexpr (kDv) put(dv, v, 1.0f);
  __syncthreads();
  // Computed again, lest they take registers all the time.
  const int all_rows = within(sizes.k_steps - key0, B::kRows);
  const int64_t to = sizes.key_start(pair) + key0 * stride;
  if constexpr (kDk) {
    store_rows<B::kRows, B::kHead, B::kThreads>(arrays.dk + to, stride, k, all_rows, head_size,
                                                whole_out);
  }
  if constexpr (kDv) {
    store_rows<B::kRows, B::kHead, B::kThreads>(arrays.dv + to, stride, v, all_rows, head_size,
                                                whole_out);
  }
  if constexpr (kDk) {
    PND_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row0 + sum_row(2 * half);
      float sum = fold_lanes(mask_sum[half], [](float a, float b) { return a + b; });
      if (row >= rows) sum = 0;
      if (lane_number() % 4 != 0 || row >= all_rows) continue;
      const int64_t at = pair * sizes.k_steps + key0 + row;
      if (mask_sums != nullptr) mask_sums[at] = sum;
      if (rounded_sums != nullptr) rounded_sums[at] = narrowed(sum);
    }
  }
}

template <int kHead>
void launch_queries_bf16(Call &call, pnd_context *context, const AttentionSizes<Bf16> &sizes,
                         const Arrays<Bf16> &arrays, const float *delta, const Part<Bf16> &part) {
  using B = Bf16Backward<kHead>;
  const int64_t blocks = (part.queries + B::kRows - 1) / B::kRows;
  launch_blocks(call, context, query_bf16_kernel<B>, blocks * part.pairs, dim3(B::kThreads),
                B::kShared, sizes, arrays, delta, part, blocks,
                moves_whole(arrays.dq, sizes.head_size));
}

template <int kHead>
void launch_keys_bf16(Call &call, pnd_context *context, const AttentionSizes<Bf16> &sizes,
                      const Arrays<Bf16> &arrays, const float *delta, float *mask_sums,
                      Bf16 *rounded_sums) {
  using B = Bf16Backward<kHead>;
  const int64_t blocks = (sizes.k_steps + B::kRows - 1) / B::kRows * sizes.pairs();
  const bool whole_out =
      moves_whole(arrays.dk, sizes.head_size) && moves_whole(arrays.dv, sizes.head_size);
  const auto run = [&](auto kernel) {
    launch_blocks(call, context, kernel, blocks, dim3(B::kThreads), B::kShared, sizes, arrays,
                  delta, mask_sums, rounded_sums, whole_out);
  };
  if constexpr (kHead <= 128) {
    run(key_bf16_kernel<B, true, true>);
  } else {
    run(key_bf16_kernel<B, true, false>);
    if (!call.refused()) run(key_bf16_kernel<B, false, true>);
  }
}
