// SPDX-License-Identifier: Apache-2.0
// attention: softmax attention with an additive mask of any broadcast shape, forward.
// s[i,j] = scale q[i,:] . k[j,:] + mask[i,j];  out[i,:] = sum over j of softmax(s[i,:])[j] v[j,:]
// lse[i] = log sum over j of exp s[i,j], over the keys j that query i sees
// Shapes   q, out [batch, q_steps, heads, head_size]; k, v [batch, k_steps, heads, head_size];
//          lse [batch, heads, q_steps]; mask [batch|1, heads|1, q_steps|1, k_steps]
// Method   a block keeps up to 64 queries of a head in shared memory and meets 64 keys at a time:
//          scores in registers, largest score and sum carried along, out in registers, rescaled
//          when they grow. Keys and values pass through one buffer. What no query of the block sees
//          costs nothing; what one query does not see is not even multiplied by 0. bf16 on tensor
//          cores (attention_bf16.cuh)
// Order    each score is one chain over the head size, then scaled; row sums fold 16 threads of 4
//          keys each, then go 64 keys by 64; each output is one chain over the keys
// Error    out <= 2 x the plain loop; lse 2 ULP and the error of the scores; a mask is arithmetic:
//          -infinity hides a key unless its score is NaN or +infinity
// Work     4 head_size flops per seen pair and product, about 15 more for the softmax
// Source   Dao et al., arXiv:2205.14135; online sum: Milakov, Gimelshein, arXiv:1805.02867
#include "attention_bf16.cuh"

namespace {

// The largest score and the sum of exponentials of a thread's rows, carried along from tile to
// tile.
template <class T, int kRows>
struct Statistics {
  T largest[kRows], sum[kRows];

  __device__ Statistics() {
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) {
      largest[i] = kNothing<T>;
      sum[i] = 0;
    }
  }

  // Takes in a tile of scores, which become exp(score - largest); returns the factor of what was
  // summed before for row i.
  __device__ __forceinline__ T add(int i, T (&scores)[kPerThread]) {
    const auto greater = [](T a, T b) { return larger(a, b); };
    T most = scores[0];
    PND_UNROLL
    for (int j = 1; j < kPerThread; ++j) most = larger(scores[j], most);
    const T now = larger(fold_row(most, greater), largest[i]);
    // While all is -infinity, any finite base gives exponentials of 0.
    const T base = now == kNothing<T> ? T(0) : now;
    const T kept = exp_of_negative(largest[i] - base);
    T added = 0;
    PND_UNROLL
    for (int j = 0; j < kPerThread; ++j) {
      scores[j] = exp_of_negative(scores[j] - base);
      added += scores[j];
    }
    largest[i] = now;
    sum[i] = fma(sum[i], kept, fold_row(added, [](T a, T b) { return a + b; }));
    return kept;
  }
};

template <class T, int kHead>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    attention_kernel(int64_t first, AttentionSizes<T> sizes, T *out, T *lse, const T *q, const T *k,
                     const T *v, const T *mask, int64_t query_blocks) {
  using Tiles = AttentionTiles<T, kHead, 1>;
  constexpr int kOwn = Tiles::kOwn;
  const Tiles tiles;
  // The last queries come first: where they see the most keys, they would end last.
  const int64_t block = first + blockIdx.x, pair = block % sizes.pairs();
  const int64_t query0 = (query_blocks - 1 - block / sizes.pairs()) * Tiles::kRows;
  const int rows = within(sizes.q_steps - query0, Tiles::kRows);
  const Sight<T> sight(sizes, pair / sizes.heads);
  const int64_t stride = sizes.row_stride(), start = sizes.query_start(pair) + query0 * stride;
  copy_tile<Tiles::kRows, kHead>(tiles.fixed, Tiles::kFixedStride, q + start, stride, rows,
                                 sizes.head_size, sizes.whole);
  k += sizes.key_start(pair);
  v += sizes.key_start(pair);
  mask = sizes.mask_of(mask, pair);

  Statistics<T, kOwn> statistics;
  T sums[kOwn][Tiles::kCols];
  clear(sums);
  const int first_row = tile_y() * kOwn;
  const int64_t most_seen = sight.count(query0 + rows - 1), least_seen = sight.count(query0);
  for (int64_t key = 0; key < most_seen; key += kTileSteps) {
    const int count = within(most_seen - key, kTileSteps);
    T scores[kOwn][kPerThread];
    clear(scores);
    tiles.dots(scores, 0, k + key * stride, stride, count, sizes.head_size, sizes.whole);
    int none[kOwn], seen[kOwn];
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int64_t query = query0 + first_row + i;
      none[i] = 0;
      seen[i] = first_row + i < rows ? within(sight.count(query) - key, kTileSteps) : 0;
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        const bool sees = column < seen[i];
        T score = scores[i][j] * sizes.scale;
        if (mask != nullptr && sees) score += mask[query * sizes.mask_stride() + key + column];
        scores[i][j] = sees ? score : kNothing<T>;
      }
      const T kept = statistics.add(i, scores[i]);
      PND_UNROLL
      for (int j = 0; j < Tiles::kCols; ++j) sums[i][j] *= kept;
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        tiles.scores[(first_row + i) * Tiles::kScoreStride + tile_x() + j * kTileSide] =
            scores[i][j];
      }
    }
    tiles.products(sums, v + key * stride, stride, count, sizes.head_size, sizes.whole,
                   key + kTileSteps <= least_seen, none, seen);
  }

  T factor[kOwn];
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    const T sum = statistics.sum[i];
    factor[i] = sum == 0 ? T(0) : T(1) / sum;
    if (tile_x() == 0 && first_row + i < rows) {
      lse[pair * sizes.q_steps + query0 + first_row + i] = statistics.largest[i] + log_of(sum);
    }
  }
  store_rows(out + start, stride, sums, rows, sizes.head_size, factor);
}

}  // namespace

int32_t pnd_attention(pnd_context *context, int32_t dtype, void *out, void *lse, const void *q,
                      const void *k, const void *v, const void *mask, const int32_t *lengths,
                      int64_t batch, int64_t heads, int64_t q_steps, int64_t k_steps,
                      int64_t head_size, int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                      double scale, int32_t causal) {
  Call call(context, "attention");
  guard::attention(call, dtype, out, lse, q, k, v, mask, lengths, batch, heads, q_steps, k_steps,
                   head_size, mask_batch, mask_heads, mask_steps, scale, causal);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using T = decltype(type);
    auto sizes = attention_sizes<T>(context, kLengths, lengths, batch, heads, q_steps, k_steps,
                                    head_size, mask_batch, mask_heads, mask_steps, scale, causal);
    for (const void *array : {q, k, v}) {
      sizes.whole = sizes.whole && moves_whole(static_cast<const T *>(array), 0);
    }
    auto *to = static_cast<T *>(out);
    auto *to_lse = static_cast<Computed<T> *>(lse);
    const auto *of_q = static_cast<const T *>(q), *of_k = static_cast<const T *>(k);
    const auto *of_v = static_cast<const T *>(v), *of_mask = static_cast<const T *>(mask);
    by_head_size(head_size, [&](auto head) {
      if constexpr (std::is_same_v<T, Bf16>) {
        launch_attention_bf16<head()>(call, context, sizes, to, to_lse, of_q, of_k, of_v, of_mask);
      } else {
        using Tiles = AttentionTiles<T, head(), 1>;
        const int64_t blocks = (q_steps + Tiles::kRows - 1) / Tiles::kRows;
        launch_blocks(call, context, attention_kernel<T, head()>, blocks * sizes.pairs(),
                      dim3(kTileThreads), Tiles::kShared, sizes, to, to_lse, of_q, of_k, of_v,
                      of_mask, blocks);
      }
    });
  });
  return call.status();
}
