// SPDX-License-Identifier: Apache-2.0
// attention_bf16.cuh: attention on tensor cores, forward; formula and shapes as in attention.cu.
// Method   a block of 4 warps keeps queries, 16 or 32 a warp, and meets 32 or 64 keys at a time,
//          which come into one of two stages while the other is used. Scores, largest score and sum
//          stay in a warp's registers, in base 2; p is rounded to bf16 there and multiplies v from
//          there. Keys that no query of the block sees are not touched; one that only some queries
//          see counts as 0 times its value for the others. A gate adds its logarithm to the score
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

// A row of the mask, in whose column c stands from[c step].
struct MaskRow {
  const Bf16 *from;
  int64_t step;
};

// Scores of 16 rows to base 2: scale them, add the mask (the logarithms of gates), hide what a row
// does not see. seen(row) is the
// columns that a row sees, mask_row(row) its MaskRow, if there is a mask; all: every
// row sees all.
template <int n, class F, class G>
__device__ __forceinline__ void mask_scores(float (&scores)[n][4], float scale, bool has_mask,
                                            bool has_gates, bool all, F seen, G mask_row) {
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
    const Interval sight = seen(row);
    const int low = sight.low() - column0, high = sight.high() - column0;
    MaskRow mask{};
    if (has_mask) {
      mask = mask_row(row);
      mask.from += column0 * mask.step;
    }
    PND_UNROLL
    for (int j = 0; j < n; ++j, mask.from += 8 * mask.step) {
      PND_UNROLL
      for (int e = 0; e < 2; ++e) {
        bool sees = j * 8 + e >= low && j * 8 + e < high;
        float added = 0;
        if (has_mask && sees) {
          const float x = widened(mask.from[e * mask.step]);
          if (has_gates) sees = x > 0;
          added = has_gates ? logarithm_near(x) : x * kLog2E;
        }
        float &score = scores[j][half + e];
        score = sees ? fma(score, scale, added) : kHidden;
      }
    }
  }
}

template <class B>
__global__ void __launch_bounds__(B::kThreads, 2)
    attention_bf16_kernel(int64_t first, AttentionSizes<Bf16> sizes, Together together, Bf16 *out,
                          float *lse, int64_t slots, bool whole_out) {
  constexpr int kBands = B::kBands;
  Bf16 *const queries = shared_memory<Bf16>(), *const stages = queries + B::kRows * B::kHead;
  const QueryTile<B::kRows, Bf16> tile(sizes, together, slots, first + blockIdx.x);
  if (tile.queries == 0) return;
  const Sequence &sequence = tile.sequence;
  const int64_t query0 = tile.query0;
  const int head_size = static_cast<int>(sizes.head_size);
  const int64_t k_stride = sizes.k_stride();
  const Bf16 *k = sizes.keys() + sequence.k_at(sizes, tile.kv_head);
  const Bf16 *v = sizes.values() + sequence.k_at(sizes, tile.kv_head);
  const Bf16 *mask = sequence.mask_at(sizes, tile.head0);
  if (mask != nullptr) mask += query0 * sizes.mask_stride();
  const int64_t begin = tile.begin / B::kKeys * B::kKeys, end = tile.end;
  const auto copy_keys = [&](int64_t key, int stage) {
    Bf16 *to = stages + stage * 2 * B::kTile;
    const int count = within(end - key, B::kKeys), unseen = within(tile.begin - key, B::kKeys);
    copy_rows<B::kKeys, B::kHead, B::kThreads>(to, k + key * k_stride, k_stride, count, head_size,
                                               sizes.whole, unseen);
    copy_rows<B::kKeys, B::kHead, B::kThreads>(to + B::kTile, v + key * k_stride, k_stride, count,
                                               head_size, sizes.whole, unseen);
  };
  const auto place_of = [&](int row) {
    return sequence.q_at(sizes, tile.head0 + tile.head_of(row)) +
           (query0 + tile.query_of(row)) * sizes.q_stride();
  };
  copy_rows_at<B::kRows, B::kHead, B::kThreads>(queries, head_size, sizes.whole, [&](int row) {
    return tile.has(row) ? sizes.queries() + place_of(row) : nullptr;
  });
  if (begin < end) copy_keys(begin, 0);
  commit_copies();
  await_copies<0>();
  __syncthreads();

  const int row0 = warp_number() * B::kOwn;  // the warp's first row
  const OwnRows<B::kHead, kBands, B::kKept> own(queries, row0);
  // The queries of the warp's rows, from query0 on: those of one head, or all of some.
  const int span = 1 << tile.shift < B::kOwn ? 1 << tile.shift : B::kOwn;
  const int own_first = tile.query_of(row0);
  const int own_last = own_first + within(tile.queries - 1 - own_first, span - 1);
  const int64_t warp_begin = sequence.first(query0 + own_first);
  const int64_t warp_end = tile.has(row0) ? sequence.count(query0 + own_last) : 0;
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
  for (int64_t key = begin; key < end; key += B::kKeys, stage ^= 1) {
    if (key > begin) {
      await_copies<0>();
      __syncthreads();  // who is past it has used the other stage
    }
    if (key + B::kKeys < end) copy_keys(key + B::kKeys, stage ^ 1);
    commit_copies();
    if (key >= warp_end || key + B::kKeys <= warp_begin) continue;
    const Bf16 *keys = stages + stage * 2 * B::kTile, *values = keys + B::kTile;
    const Edges edges = sequence.key_edges(query0, key, within(end - key, B::kKeys));
    float scores[kBands][B::kParts][4] = {};
    own.add_dots(scores, keys);
    PND_UNROLL
    for (int band = 0; band < kBands; ++band) {
      const int first_row = row0 + band * 16;
      mask_scores(
          scores[band], sizes.scaled_by * kLog2E, mask != nullptr, sizes.has_gates,
          edges.all(own_first, own_last, B::kKeys),
          [&](int row) {
            const int r = first_row + row;
            return tile.has(r) ? edges.of(tile.query_of(r)) : Interval(0, 0);
          },
          [&](int row) {
            const int r = first_row + row;
            return MaskRow{mask + tile.query_of(r) * sizes.mask_stride() +
                               tile.head_of(r) * sizes.mask_head() + key,
                           1};
          });
      PND_UNROLL
      for (int half = 0; half < 2; ++half) {
        float now = largest[band][half];
        PND_UNROLL
        for (int j = 0; j < B::kParts; ++j) {
          now = fmaxf(now, fmaxf(scores[band][j][2 * half], scores[band][j][2 * half + 1]));
        }
        now = fold_lanes(now, [](float a, float b) { return fmaxf(a, b); });
        // While all is -infinity, any finite base gives powers of 0.
        const float base = now == kHidden ? 0.0f : now;
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
        largest[band][half] = now;
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
      if (lane_number() % 4 == 0 && tile.has(row)) {
        lse[sequence.row_at(sizes, tile.head0 + tile.head_of(row)) + query0 + tile.query_of(row)] =
            fma(largest[band][half], kLn2, log_of(sum));
      }
    }
    put_sums<B::kHead>(queries, row0 + band * 16, 0, sums[band]);
  }
  __syncthreads();
  store_rows_at<B::kRows, B::kHead, B::kThreads>(queries, head_size, whole_out, [&](int row) {
    return tile.has(row) ? out + place_of(row) : nullptr;
  });
}

template <int kHead>
void launch_attention_bf16(Call &call, pnd_context *context, const AttentionSizes<Bf16> &sizes,
                           Bf16 *out, float *lse) {
  const bool whole_out = moves_whole(out, sizes.head_size);
  const auto run = [&](auto bands) {
    using B = Bf16Attention<kHead, bands()>;
    const Together together(sizes, B::kRows, 1);
    const int64_t slots = sizes.q_slots(B::kRows);
    launch_blocks(call, context, attention_bf16_kernel<B>, slots * together.units(sizes),
                  dim3(B::kThreads), B::kShared, sizes, together, out, lse, slots, whole_out);
  };
  // Many queries to a block where that leaves no multiprocessor idle.
  if constexpr (kHead <= 64) {
    using B = Bf16Attention<kHead, 2>;
    const int64_t blocks = sizes.q_slots(B::kRows) * sizes.pairs();
    if (!sizes.few_queries() && blocks >= context->multiprocessors) {
      return run(std::integral_constant<int, 2>{});
    }
  }
  run(std::integral_constant<int, 1>{});
}
