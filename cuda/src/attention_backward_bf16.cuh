// SPDX-License-Identifier: Apache-2.0
// attention_backward_bf16.cuh: the gradients of attention on tensor cores; the formulas and shapes
// are attention_backward.cu's, and so are the two passes.
// Method   a block of 4 warps keeps 64 queries (keys), 16 a warp, and meets 16 to 64 keys (queries)
//          at a time in one of two stages. p and ds are computed from f32 in registers, rounded to
//          bf16 there and multiply from there, with their gates where there are any; dk and dv of
//          heads beyond 128 (32 with gates), which do not fit into registers together, are made one
//          after the other
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

// exp(score - lse) of a score and a lse to base 2. kGated: a hidden gate's may be large.
template <bool kGated>
__device__ __forceinline__ float probability(float score, float base) {
  constexpr float kMost = kMostExponent<float> * kLog2E;
  const float x = score - base;
  return power_near(kGated && x > kMost ? kMost : x);
}

// Gates of a warp's 16 rows from row0 on, a lane's elements as its sums are: that of (row, column)
// stands from[row row_step + column column_step]; beyond rows and columns there are none.
struct Gates {
  const Bf16 *from;
  int64_t row_step, column_step;
  int row0, rows, columns;

  // x times its gate, 0 where that hides its key.
  __device__ __forceinline__ float operator()(int j, int e, float x) const {
    const int row = row0 + sum_row(e), column = sum_col(j, e);
    if (row >= rows || column >= columns) return 0;
    const float gate = widened(from[row * row_step + column * column_step]);
    return gate > 0 ? gate * x : 0.0f;
  }
};

// to[row stride + column] = ds of the warp's 16 rows from row0 on, where has(row) and
// column < columns.
template <class T, int n, class Has>
__device__ __forceinline__ void store_slopes(T *to, int64_t stride, const float (&ds)[n][4],
                                             int row0, int columns, Has has) {
  const int column0 = sum_col(0, 0);
  PND_UNROLL
  for (int half = 0; half < 4; half += 2) {
    const int row = row0 + sum_row(half), left = has(row) ? columns - column0 : 0;
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
template <class B, bool kGated>
__global__ void __launch_bounds__(B::kThreads, 2)
    query_bf16_kernel(int64_t first, AttentionSizes<Bf16> sizes, Arrays<Bf16> arrays,
                      const float *delta, Part<Bf16> part, int64_t slots, bool whole_out) {
  Bf16 *const q = shared_memory<Bf16>(), *const dout = q + B::kFixed;
  Bf16 *const stages = dout + B::kFixed;
  const PartTile<B::kRows, Bf16> tile(sizes, part, slots, first + blockIdx.x);
  if (tile.rows == 0) return;
  const Sequence &sequence = tile.sequence;
  const int head_size = static_cast<int>(sizes.head_size);
  const int64_t query0 = tile.query0, q_stride = sizes.q_stride(), k_stride = sizes.k_stride();
  const int64_t start = sequence.q_at(sizes, tile.head) + query0 * q_stride;
  const int64_t k_start = sequence.k_at(sizes, tile.head / sizes.group);
  const Bf16 *k = sizes.keys() + k_start, *v = sizes.values() + k_start;
  const Bf16 *mask = sequence.mask_at(sizes, tile.head);
  if (mask != nullptr) mask += query0 * sizes.mask_stride();
  const int64_t slopes = tile.slopes_at(sizes, part);
  const int64_t begin = tile.begin / B::kSteps * B::kSteps, end = tile.end;
  const auto copy = [&](int64_t key, int stage) {
    Bf16 *to = stages + stage * 2 * B::kTile;
    const int count = within(end - key, B::kSteps), unseen = within(tile.begin - key, B::kSteps);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to, k + key * k_stride, k_stride, count, head_size,
                                                sizes.whole, unseen);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to + B::kTile, v + key * k_stride, k_stride, count,
                                                head_size, sizes.whole, unseen);
  };
  copy_rows<B::kRows, B::kHead, B::kThreads>(q, sizes.queries() + start, q_stride, tile.rows,
                                             head_size, sizes.whole);
  copy_rows<B::kRows, B::kHead, B::kThreads>(dout, arrays.dout + start, q_stride, tile.rows,
                                             head_size, sizes.whole);
  if (begin < end) copy(begin, 0);
  commit_copies();
  await_copies<0>();
  __syncthreads();

  const int row0 = warp_number() * 16;  // the warp's first row
  const OwnRows<B::kHead, 1, B::kKept> own_q(q, row0), own_dout(dout, row0);
  float base[2], offset[2];
  PND_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = row0 + sum_row(2 * half);
    const int64_t place = sequence.row_at(sizes, tile.head) + query0 + row;
    base[half] = row < tile.rows ? score_base(arrays.lse[place]) : 0.0f;
    offset[half] = row < tile.rows ? delta[place] : 0.0f;
  }
  float sums[1][B::kHead / 8][4] = {};
  int stage = 0;
  int64_t key = begin;
  for (; key < end; key += B::kSteps, stage ^= 1) {
    if (key > begin) {
      await_copies<0>();
      __syncthreads();  // who is past it has used the other stage
    }
    if (key + B::kSteps < end) copy(key + B::kSteps, stage ^ 1);
    commit_copies();
    const Bf16 *keys = stages + stage * 2 * B::kTile, *values = keys + B::kTile;
    const int count = within(end - key, B::kSteps);
    const Edges edges = sequence.key_edges(query0, key, count);
    float scores[1][B::kParts][4] = {}, dp[1][B::kParts][4] = {};
    own_q.add_dots(scores, keys);
    mask_scores(
        scores[0], sizes.scaled_by * kLog2E, !kGated && mask != nullptr, false,
        row0 + 16 <= tile.rows && edges.all(row0, row0 + 15, B::kSteps),
        [&](int row) { return row0 + row < tile.rows ? edges.of(row0 + row) : Interval(0, 0); },
        [&](int row) {
          return MaskRow{mask + (row0 + row) * sizes.mask_stride() + key, 1};
        });
    own_dout.add_dots(dp, values);
    PND_UNROLL
    for (int j = 0; j < B::kParts; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        scores[0][j][e] =
            probability<kGated>(scores[0][j][e], base[e / 2]) * (dp[0][j][e] - offset[e / 2]);
      }
    }
    const auto store = [&](auto *ds) {
      store_slopes(ds + slopes + key, sizes.k_steps, scores[0], row0,
                   within(sizes.k_steps - sequence.first_k - key, B::kSteps),
                   [&](int row) { return tile.has(part, row); });
    };
    if (part.ds != nullptr) {
      store(part.ds);
    } else if (part.dmask != nullptr) {
      store(part.dmask);
    }
    if constexpr (kGated) {
      add_products<B::kHead>(sums, scores, keys,
                             Gates{mask + key, sizes.mask_stride(), 1, row0, tile.rows, count});
    } else {
      add_products<B::kHead>(sums, scores, keys);
    }
  }
  __syncthreads();  // the queries' tile is free for the results

  PND_UNROLL
  for (int j = 0; j < B::kHead / 8; ++j) {
    PND_UNROLL
    for (int e = 0; e < 4; ++e) sums[0][j][e] *= sizes.scaled_by;
  }
  put_sums<B::kHead>(q, row0, 0, sums[0]);
  __syncthreads();
  store_rows<B::kRows, B::kHead, B::kThreads>(arrays.dq + start, q_stride, q, tile.rows, head_size,
                                              whole_out);
  if (part.ds == nullptr && part.dmask == nullptr) return;
  // Keys that none of the queries sees.
  const int64_t from = sequence.first_k + begin, up_to = sequence.first_k + key;
  for (int row = 0; row < tile.rows; ++row) {
    if (!tile.has(part, row)) continue;
    const int64_t to = slopes + row * sizes.k_steps - sequence.first_k;
    for (int64_t j = threadIdx.x; j < sizes.k_steps; j += B::kThreads) {
      if (j >= from && j < up_to) continue;
      if (part.ds != nullptr) {
        part.ds[to + j] = 0;
      } else {
        part.dmask[to + j] = {};
      }
    }
  }
}

// dk (kDk) and dv (kDv) of a block of keys, and with dk the sums of ds over the queries, as they
// are or rounded (nullable; [pairs, k_steps]).
template <class B, bool kDk, bool kDv, bool kGated>
__global__ void __launch_bounds__(B::kThreads, 2)
    key_bf16_kernel(int64_t first, AttentionSizes<Bf16> sizes, Arrays<Bf16> arrays,
                    const float *delta, float *mask_sums, Bf16 *rounded_sums, bool whole_out) {
  Bf16 *const k = shared_memory<Bf16>(), *const v = k + B::kFixed, *const stages = v + B::kFixed;
  float *const row_stages = reinterpret_cast<float *>(stages + 4 * B::kTile);
  const int64_t block = first + blockIdx.x, units = sizes.batch * sizes.kv_heads;
  const int64_t kv_head = block % units % sizes.kv_heads;
  int64_t key0;
  const Sequence sequence = sequence_of<B::kRows>(
      sizes, sizes.k_starts, block % units / sizes.kv_heads, block / units, key0);
  const int all_rows = within(sequence.stored - key0, B::kRows);
  if (all_rows == 0) return;
  const int head_size = static_cast<int>(sizes.head_size);
  // The others get zeros.
  const int rows = within(sequence.keys - key0, B::kRows);
  const int unseen = within(sequence.first(0) - key0, B::kRows);
  const int64_t q_stride = sizes.q_stride(), k_stride = sizes.k_stride();
  const int64_t start = sequence.k_at(sizes, kv_head) + key0 * k_stride;
  // Those of the group's first head.
  const int64_t head0 = kv_head * sizes.group, q_start = sequence.q_at(sizes, head0);
  const int64_t row_start = sequence.row_at(sizes, head0);
  const Bf16 *q = sizes.queries() + q_start, *dout = arrays.dout + q_start;
  // The queries that see any of the keys.
  const int64_t begin =
      rows == 0 ? sequence.queries : sequence.first_query(key0) / B::kSteps * B::kSteps;
  const int64_t end = sequence.end_query(key0 + rows - 1);
  const auto copy = [&](int64_t head, int64_t query, int stage) {
    Bf16 *to = stages + stage * 2 * B::kTile;
    const int count = within(end - query, B::kSteps);
    const int64_t at = query * q_stride + head * head_size;
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to, q + at, q_stride, count, head_size,
                                                sizes.whole);
    copy_rows<B::kSteps, B::kHead, B::kThreads>(to + B::kTile, dout + at, q_stride, count,
                                                head_size, sizes.whole);
    const int row = static_cast<int>(threadIdx.x) % B::kSteps;
    if (threadIdx.x >= 2 * B::kSteps) return;
    const float *from = static_cast<int>(threadIdx.x) < B::kSteps ? arrays.lse : delta;
    copy_async<4>(row_stages + stage * 2 * B::kSteps + threadIdx.x,
                  from + row_start + head * sizes.q_steps + query + row, row < count);
  };
  copy_rows<B::kRows, B::kHead, B::kThreads>(k, sizes.keys() + start, k_stride, rows, head_size,
                                             sizes.whole, unseen);
  copy_rows<B::kRows, B::kHead, B::kThreads>(v, sizes.values() + start, k_stride, rows, head_size,
                                             sizes.whole, unseen);
  if (begin < end) copy(0, begin, 0);
  commit_copies();
  await_copies<0>();
  __syncthreads();

  const int row0 = warp_number() * 16;  // the warp's first row
  const OwnRows<B::kHead, 1, B::kKept> own_k(k, row0), own_v(v, row0);
  float dk[1][kDk ? B::kHead / 8 : 1][4] = {}, dv[1][kDv ? B::kHead / 8 : 1][4] = {};
  int stage = 0;
  for (int64_t head = 0; head < sizes.group; ++head) {
    float mask_sum[2] = {};
    for (int64_t query = begin; query < end; query += B::kSteps, stage ^= 1) {
      if (head > 0 || query > begin) {
        await_copies<0>();
        __syncthreads();  // who is past it has used the other stage
      }
      if (query + B::kSteps < end) {
        copy(head, query + B::kSteps, stage ^ 1);
      } else if (head + 1 < sizes.group) {
        copy(head + 1, begin, stage ^ 1);
      }
      commit_copies();
      const int count = within(end - query, B::kSteps);
      const Edges edges = sequence.query_edges(key0, query, count);
      const Bf16 *queries = stages + stage * 2 * B::kTile, *douts = queries + B::kTile;
      const float *lse = row_stages + stage * 2 * B::kSteps, *offset = lse + B::kSteps;
      const Bf16 *mask = sequence.mask_at(sizes, head0);
      if (mask != nullptr) mask += head * sizes.mask_head() + query * sizes.mask_stride() + key0;
      const Gates gates{mask, 1, sizes.mask_stride(), row0, rows, count};
      float scores[1][B::kParts][4] = {};
      own_k.add_dots(scores, queries);
      mask_scores(
          scores[0], sizes.scaled_by * kLog2E, !kGated && mask != nullptr, false,
          row0 + 16 <= rows && edges.all(row0, row0 + 15, B::kSteps),
          [&](int row) { return row0 + row < rows ? edges.of(row0 + row) : Interval(0, 0); },
          [&](int row) {
            return MaskRow{mask + row0 + row, sizes.mask_stride()};
          });
      PND_UNROLL
      for (int j = 0; j < B::kParts; ++j) {
        PND_UNROLL
        for (int e = 0; e < 4; ++e) {
          scores[0][j][e] = probability<kGated>(scores[0][j][e], score_base(lse[sum_col(j, e)]));
        }
      }
      if constexpr (kDv && kGated) add_products<B::kHead>(dv, scores, douts, gates);
      if constexpr (kDv && !kGated) add_products<B::kHead>(dv, scores, douts);
      if constexpr (kDk) {
        float dp[1][B::kParts][4] = {};
        own_v.add_dots(dp, douts);
        PND_UNROLL
        for (int j = 0; j < B::kParts; ++j) {
          PND_UNROLL
          for (int e = 0; e < 4; ++e) {
            scores[0][j][e] *= dp[0][j][e] - offset[sum_col(j, e)];  // the mask's gradient
            mask_sum[e / 2] += scores[0][j][e];
          }
        }
        if constexpr (kGated) {
          add_products<B::kHead>(dk, scores, queries, gates);
        } else {
          add_products<B::kHead>(dk, scores, queries);
        }
      }
    }
    if constexpr (kDk) {
      PND_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = row0 + sum_row(2 * half);
        float sum = fold_lanes(mask_sum[half], [](float a, float b) { return a + b; });
        if (row >= rows) sum = 0;
        if (lane_number() % 4 != 0 || row >= all_rows) continue;
        const int64_t at =
            (sequence.batch * sizes.heads + head0 + head) * sizes.k_steps + sequence.first_k;
        if (mask_sums != nullptr) mask_sums[at + key0 + row] = sum;
        if (rounded_sums != nullptr) rounded_sums[at + key0 + row] = narrowed(sum);
      }
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
  if constexpr (kDk) put(dk, k, sizes.scaled_by);
  if constexpr (kDv) put(dv, v, 1.0f);
  __syncthreads();
  if constexpr (kDk) {
    store_rows<B::kRows, B::kHead, B::kThreads>(arrays.dk + start, k_stride, k, all_rows, head_size,
                                                whole_out);
  }
  if constexpr (kDv) {
    store_rows<B::kRows, B::kHead, B::kThreads>(arrays.dv + start, k_stride, v, all_rows, head_size,
                                                whole_out);
  }
}

// Runs f(whether there are gates, as a constant).
template <class F>
void by_gates(const AttentionSizes<Bf16> &sizes, F &&f) {
  if (sizes.has_gates) return f(std::true_type{});
  f(std::false_type{});
}

template <int kHead>
void launch_queries_bf16(Call &call, pnd_context *context, const AttentionSizes<Bf16> &sizes,
                         const Arrays<Bf16> &arrays, const float *delta, const Part<Bf16> &part) {
  using B = Bf16Backward<kHead>;
  const int64_t slots = part.slots(sizes, B::kRows);
  by_gates(sizes, [&](auto gated) {
    launch_blocks(call, context, query_bf16_kernel<B, gated()>, slots * part.pairs,
                  dim3(B::kThreads), B::kShared, sizes, arrays, delta, part, slots,
                  moves_whole(arrays.dq, sizes.head_size));
  });
}

template <int kHead>
void launch_keys_bf16(Call &call, pnd_context *context, const AttentionSizes<Bf16> &sizes,
                      const Arrays<Bf16> &arrays, const float *delta, float *mask_sums,
                      Bf16 *rounded_sums) {
  using B = Bf16Backward<kHead>;
  const bool whole_out =
      moves_whole(arrays.dk, sizes.head_size) && moves_whole(arrays.dv, sizes.head_size);
  const auto run = [&](auto kernel) {
    launch_blocks(call, context, kernel, sizes.k_slots(B::kRows) * sizes.batch * sizes.kv_heads,
                  dim3(B::kThreads), B::kShared, sizes, arrays, delta, mask_sums, rounded_sums,
                  whole_out);
  };
  by_gates(sizes, [&](auto gated) {
    if constexpr (kHead <= (gated() ? 32 : 128)) {
      run(key_bf16_kernel<B, true, true, gated()>);
    } else {
      run(key_bf16_kernel<B, true, false, gated()>);
      if (!call.refused()) run(key_bf16_kernel<B, false, true, gated()>);
    }
  });
}
