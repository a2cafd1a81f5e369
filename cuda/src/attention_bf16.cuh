// SPDX-License-Identifier: Apache-2.0
// attention_bf16.cuh: attention on tensor cores, forward; formula and shapes as in attention.cu.
// Method   a block of 4 warps keeps queries of a head, 16 or 32 a warp, and meets 32 or 64 keys at
//          a time, which come into one of two stages while the other is used. Scores, largest
//          score and sum stay in a warp's registers, in base 2; p is rounded to bf16 there and
//          multiplies v from there. Keys that no query of the block sees are not touched; one that
//          only some queries see counts as 0 times its value for the others
// Order    scores and outputs take 16 elements (keys) at a time, upwards; row sums are f32, a
//          lane's keys upwards, then 4 lanes
// Error    out <= 2 x the plain loop with p rounded to bf16; lse 1e-5
// Source   Dao, arXiv:2307.08691
#pragma once

#include "attention.cuh"
#include "fragment.cuh"

constexpr float kLog2E = 0x1.715476p0f, kLn2 = 0x1.62e43p-1f;
constexpr float kHidden = -std::numeric_limits<float>::infinity();  // a score

// The sizes of a block's work. kBands: 16 queries each, of a warp.
template <int kHead_, int kBands_>
struct Bf16Attention {
  static constexpr int kHead = kHead_, kBands = kBands_, kThreads = 128;
  static constexpr int kOwn = 16 * kBands, kRows = kThreads / 32 * kOwn;
  static constexpr int kKeys = kHead * kBands <= 64 ? 64 : 32;
  static constexpr int kParts = kKeys / 8;  // of a row of scores, 8 keys each
  // Whether queries stay in registers.
  static constexpr bool kKept = kBands == 1 && kHead <= 128;
  static constexpr int kTile = kKeys * kHead;  // of keys or values
  static constexpr size_t kShared = (kRows * kHead + 4 * kTile) * sizeof(Bf16);
  static_assert(kShared <= 99 << 10, "fits every device");
};

// The columns of a row of scores that it sees: [low, high).
struct Seen {
  int low, high;
};

// A row of the mask, in whose column c stands from[c step].
struct MaskRow {
  const Bf16 *from;
  int64_t step;
};

// Scores of 16 rows to base 2: scale them, add the mask, hide what a row does not see. seen(row) is
// a row's Seen, mask_row(row) its MaskRow, if there is a mask; all: every row sees all.
template <int n, class F, class G>
__device__ __forceinline__ void mask_scores(float (&scores)[n][4], float scale, bool has_mask,
                                            bool all, F seen, G mask_row) {
  if (all && !has_mask) {
    PND_UNROLL
    for (int j = 0; j < n; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) scores[j][e] *= scale;
    }
    return;
  }
  const int column0 = sum_col(0, 0);
  PND_UNROLL
  for (int half = 0; half < 4; half += 2) {
    const int row = sum_row(half);
    Seen columns = seen(row);
    columns = {columns.low - column0, columns.high - column0};
    MaskRow mask{};
    if (has_mask) {
      mask = mask_row(row);
      mask.from += column0 * mask.step;
    }
    PND_UNROLL
    for (int j = 0; j < n; ++j, mask.from += 8 * mask.step) {
      PND_UNROLL
      for (int e = 0; e < 2; ++e) {
        const bool sees = j * 8 + e >= columns.low && j * 8 + e < columns.high;
        float added = 0;
        if (has_mask && sees) added = widened(mask.from[e * mask.step]) * kLog2E;
        float &score = scores[j][half + e];
        score = sees ? fma(score, scale, added) : kHidden;
      }
    }
  }
}

template <class B>
__global__ void __launch_bounds__(B::kThreads, 2)
    attention_bf16_kernel(int64_t first, AttentionSizes<Bf16> sizes, Bf16 *out, float *lse,
                          const Bf16 *q, const Bf16 *k, const Bf16 *v, const Bf16 *mask,
                          int64_t query_blocks, bool whole_out) {
  constexpr int kBands = B::kBands;
  Bf16 *const queries = shared_memory<Bf16>(), *const stages = queries + B::kRows * B::kHead;
  // The last queries come first: where they see the most keys, they would end last.
  const int64_t block = first + blockIdx.x, pair = block % sizes.pairs();
  const int64_t query0 = (query_blocks - 1 - block / sizes.pairs()) * B::kRows;
  const int rows = within(sizes.q_steps - query0, B::kRows);
  const int head_size = static_cast<int>(sizes.head_size);
  const Sight<Bf16> sight(sizes, pair / sizes.heads);
  const int64_t stride = sizes.row_stride(), start = sizes.query_start(pair) + query0 * stride;
  k += sizes.key_start(pair);
  v += sizes.key_start(pair);
  mask = sizes.mask_of(mask, pair);
  const int64_t most_seen = sight.count(query0 + rows - 1);
  const auto copy_keys = [&](int64_t key, int stage) {
    Bf16 *to = stages + stage * 2 * B::kTile;
    const int count = within(most_seen - key, B::kKeys);
    copy_rows<B::kKeys, B::kHead, B::kThreads>(to, k + key * stride, stride, count, head_size,
                                               sizes.whole);
    copy_rows<B::kKeys, B::kHead, B::kThreads>(to + B::kTile, v + key * stride, stride, count,
                                               head_size, sizes.whole);
  };
  copy_rows<B::kRows, B::kHead, B::kThreads>(queries, q + start, stride, rows, head_size,
                                             sizes.whole);
  if (most_seen > 0) copy_keys(0, 0);
  commit_copies();
  await_copies<0>();
  __syncthreads();

  const int row0 = warp_number() * B::kOwn;  // the warp's first row
  const OwnRows<B::kHead, kBands, B::kKept> own(queries, row0);
  const int64_t warp_most =
      row0 < rows ? sight.count(query0 + within(row0 + B::kOwn, rows) - 1) : 0;
  const int64_t warp_least = row0 + B::kOwn <= rows ? sight.count(query0 + row0) : 0;
  float sums[kBands][B::kHead / 8][4] = {};
  float largest[kBands][2], total[kBands][2];
  PND_UNROLL
  for (int band = 0; band < kBands; ++band) {
    PND_UNROLL
    for (int half = 0; half < 2; ++half) {
      largest[band][half] = kHidden;
      total[band][half] = 0;
    }
  }
  int stage = 0;
  for (int64_t key = 0; key < most_seen; key += B::kKeys, stage ^= 1) {
    if (key > 0) {
      await_copies<0>();
      __syncthreads();  // who is past it has used the other stage
    }
    if (key + B::kKeys < most_seen) copy_keys(key + B::kKeys, stage ^ 1);
    commit_copies();
    if (key >= warp_most) continue;
    const Bf16 *keys = stages + stage * 2 * B::kTile, *values = keys + B::kTile;
    float scores[kBands][B::kParts][4] = {};
    own.add_dots(scores, keys);
    PND_UNROLL
    for (int band = 0; band < kBands; ++band) {
      const int first_row = row0 + band * 16;
      mask_scores(
          scores[band], sizes.scale * kLog2E, mask != nullptr, key + B::kKeys <= warp_least,
          [&](int row) {
            const int64_t query = query0 + first_row + row;
            return Seen{0, first_row + row < rows ? within(sight.count(query) - key, B::kKeys) : 0};
          },
          [&](int row) {
            const int64_t query = query0 + first_row + row;
            return MaskRow{mask + query * sizes.mask_stride() + key, 1};
          });
      PND_UNROLL
      for (int half = 0; half < 2; ++half) {
        float most = largest[band][half];
        PND_UNROLL
        for (int j = 0; j < B::kParts; ++j) {
          most = fmaxf(most, fmaxf(scores[band][j][2 * half], scores[band][j][2 * half + 1]));
        }
        most = fold_lanes(most, [](float a, float b) { return fmaxf(a, b); });
        // While all is -infinity, any finite base gives powers of 0.
        const float base = most == kHidden ? 0.0f : most;
        const float kept = power_near(largest[band][half] - base);
        float added = 0;
        PND_UNROLL
        for (int j = 0; j < B::kParts; ++j) {
          PND_UNROLL
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            scores[band][j][e] = power_near(scores[band][j][e] - base);
            added += scores[band][j][e];
          }
        }
        largest[band][half] = most;
        total[band][half] = fma(total[band][half], kept, added);
        PND_UNROLL
        for (int j = 0; j < B::kHead / 8; ++j) {
          sums[band][j][2 * half] *= kept;
          sums[band][j][2 * half + 1] *= kept;
        }
      }
    }
    add_products<B::kHead>(sums, scores, values);
  }
  __syncthreads();  // the queries' tile is free for the results

  PND_UNROLL
  for (int band = 0; band < kBands; ++band) {
    PND_UNROLL
    for (int half = 0; half < 2; ++half) {
      const float sum = fold_lanes(total[band][half], [](float a, float b) { return a + b; });
      const float factor = sum == 0 ? 0.0f : 1.0f / sum;
      PND_UNROLL
      for (int j = 0; j < B::kHead / 8; ++j) {
        PND_UNROLL
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          sums[band][j][e] = factor == 0 ? 0.0f : sums[band][j][e] * factor;
        }
      }
      const int row = row0 + band * 16 + sum_row(2 * half);
      if (lane_number() % 4 == 0 && row < rows) {
        lse[pair * sizes.q_steps + query0 + row] = fma(largest[band][half], kLn2, log_of(sum));
      }
    }
    put_sums<B::kHead>(queries, row0 + band * 16, 0, sums[band]);
  }
  __syncthreads();
  store_rows<B::kRows, B::kHead, B::kThreads>(out + start, stride, queries, rows, head_size,
                                              whole_out);
}

template <int kHead>
void launch_attention_bf16(Call &call, pnd_context *context, const AttentionSizes<Bf16> &sizes,
                           Bf16 *out, float *lse, const Bf16 *q, const Bf16 *k, const Bf16 *v,
                           const Bf16 *mask) {
  const bool whole_out = moves_whole(out, sizes.head_size);
  const auto run = [&](auto bands) {
    using B = Bf16Attention<kHead, bands()>;
    const int64_t blocks = (sizes.q_steps + B::kRows - 1) / B::kRows;
    launch_blocks(call, context, attention_bf16_kernel<B>, blocks * sizes.pairs(),
                  dim3(B::kThreads), B::kShared, sizes, out, lse, q, k, v, mask, blocks, whole_out);
  };
  // Many queries to a block where that leaves no multiprocessor idle.
  if constexpr (kHead <= 64) {
    using B = Bf16Attention<kHead, 2>;
    const int64_t blocks = (sizes.q_steps + B::kRows - 1) / B::kRows * sizes.pairs();
    if (blocks >= context->multiprocessors) return run(std::integral_constant<int, 2>{});
  }
  run(std::integral_constant<int, 1>{});
}
