// SPDX-License-Identifier: Apache-2.0
// attention_backward: the gradients of attention, the mask's included.
// p[i,j] = exp(s[i,j] - lse[i]);  dp[i,j] = dout[i,:] . v[j,:];  delta[i] = dout[i,:] . out[i,:]
// ds[i,j] = p[i,j] (dp[i,j] - delta[i]), the gradient of the mask before its broadcast axes are
// summed; dq = scale ds k;  dk = scale ds^T q;  dv = p^T dout
// Shapes   as attention; dout like out; dq like q; dk, dv like k; dmask like mask
// Method   two passes that compute p and ds again from tiles: a block that keeps queries makes dq
//          and writes ds where it is the mask's gradient, a block that keeps keys makes dk and dv,
//          and the sum of ds over the queries for a mask without that axis. ds of several heads
//          that share a mask goes to scratch, as many at a time as fit, and is added from there.
//          What a query does not see costs nothing and is not even multiplied by 0. bf16 on tensor
//          cores (attention_backward_bf16.cuh)
// Order    dq is one chain over the keys, dk and dv one chain over the queries, upwards. dmask: one
//          chain over the queries of a head; then heads are added in the order of (batch, head)
// Error    <= 3 x the plain loop; sum over j of ds[i,j] is 0 within 1e-5 of the sum of |ds[i,j]|
// Work     14 head_size flops per seen pair, about 30 more
// Source   Dao et al., arXiv:2205.14135, algorithm 4
#include <algorithm>

#include "attention_backward_bf16.cuh"
#include "map.cuh"

namespace {

template <class T>
__device__ __forceinline__ T probability(T score, T lse) {
  // A row that sees nothing has lse = -infinity: p = exp(-infinity).
  return exp_of_negative(score - (lse == kNothing<T> ? -kNothing<T> : lse));
}

// dq of a block of queries, and their rows of ds.
template <class T, int kHead>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    query_kernel(int64_t first, AttentionSizes<T> sizes, Arrays<T> arrays, const T *delta,
                 Part<T> part, int64_t query_blocks) {
  using Tiles = AttentionTiles<T, kHead, 2>;
  constexpr int kOwn = Tiles::kOwn;
  const Tiles tiles;
  const int64_t block = first + blockIdx.x, pair = part.pair0 + block % part.pairs;
  const int64_t query0 =
      part.query0 + (query_blocks - 1 - block / part.pairs) * Tiles::kRows;  // the longest first
  const int rows = within(part.query0 + part.queries - query0, Tiles::kRows);
  const Sight<T> sight(sizes, pair / sizes.heads);
  const int64_t stride = sizes.row_stride(), start = sizes.query_start(pair) + query0 * stride;
  copy_tile<Tiles::kRows, kHead>(tiles.fixed, Tiles::kFixedStride, arrays.q + start, stride, rows,
                                 sizes.head_size, sizes.whole);
  copy_tile<Tiles::kRows, kHead>(tiles.fixed + Tiles::kFixedSize, Tiles::kFixedStride,
                                 arrays.dout + start, stride, rows, sizes.head_size, sizes.whole);
  const T *k = arrays.k + sizes.key_start(pair), *v = arrays.v + sizes.key_start(pair);
  const T *mask = sizes.mask_of(arrays.mask, pair);
  if (mask != nullptr) mask += query0 * sizes.mask_stride();
  T *ds = part.ds != nullptr ? part.ds : part.dmask;
  if (ds != nullptr) {
    ds += ((pair - part.pair0) * part.queries + query0 - part.query0) * sizes.k_steps;
  }

  const int first_row = tile_y() * kOwn;
  const int64_t row_start = pair * sizes.q_steps + query0;
  T sums[kOwn][Tiles::kCols];
  clear(sums);
  const int64_t most_seen = sight.count(query0 + rows - 1), least_seen = sight.count(query0);
  int64_t key = 0;
  for (; key < most_seen; key += kTileSteps) {
    const int count = within(most_seen - key, kTileSteps);
    T scores[kOwn][kPerThread], dp[kOwn][kPerThread];
    clear(scores);
    tiles.dots(scores, 0, k + key * stride, stride, count, sizes.head_size, sizes.whole);
    int none[kOwn], seen[kOwn];
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int row = first_row + i;
      none[i] = 0;
      seen[i] = row < rows ? within(sight.count(query0 + row) - key, kTileSteps) : 0;
      const T base = row < rows ? arrays.lse[row_start + row] : kNothing<T>;
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        const bool sees = column < seen[i];
        T score = scores[i][j] * sizes.scale;
        if (mask != nullptr && sees) score += mask[row * sizes.mask_stride() + key + column];
        tiles.scores[row * Tiles::kScoreStride + column] = sees ? probability(score, base) : T(0);
      }
    }
    clear(dp);
    tiles.dots(dp, 1, v + key * stride, stride, count, sizes.head_size, sizes.whole);
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int row = first_row + i;
      const T offset = row < rows ? delta[row_start + row] : T(0);
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        T &slope = tiles.scores[row * Tiles::kScoreStride + column];  // p, which becomes ds
        const T of_pair = column < seen[i] ? slope * (dp[i][j] - offset) : T(0);
        slope = of_pair;
        if (ds != nullptr && row < rows && key + column < sizes.k_steps) {
          ds[row * sizes.k_steps + key + column] = of_pair;
        }
      }
    }
    tiles.products(sums, k + key * stride, stride, count, sizes.head_size, sizes.whole,
                   key + kTileSteps <= least_seen, none, seen);
  }
  T factor[kOwn];
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) factor[i] = sizes.scale;
  store_rows(arrays.dq + start, stride, sums, rows, sizes.head_size, factor);
  if (ds == nullptr) return;
  // Keys that none of the queries sees.
  for (int row = 0; row < rows; ++row) {
    for (int64_t j = key + threadIdx.x; j < sizes.k_steps; j += kTileThreads) {
      ds[row * sizes.k_steps + j] = 0;
    }
  }
}

// dk and dv of a block of keys, and the sums of ds over the queries (nullable; [pairs, k_steps]).
template <class T, int kHead>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    key_kernel(int64_t first, AttentionSizes<T> sizes, Arrays<T> arrays, const T *delta,
               T *mask_sums) {
  using Tiles = AttentionTiles<T, kHead, 2>;
  constexpr int kOwn = Tiles::kOwn;
  const Tiles tiles;
  const int64_t block = first + blockIdx.x, pair = block % sizes.pairs();
  const int64_t key0 = block / sizes.pairs() * Tiles::kRows;
  const Sight<T> sight(sizes, pair / sizes.heads);
  const int stored = within(sizes.k_steps - key0, Tiles::kRows);
  const int rows = within(sight.length - key0, Tiles::kRows);  // the others get zeros
  const int64_t stride = sizes.row_stride(), start = sizes.key_start(pair) + key0 * stride;
  copy_tile<Tiles::kRows, kHead>(tiles.fixed, Tiles::kFixedStride, arrays.k + start, stride, rows,
                                 sizes.head_size, sizes.whole);
  copy_tile<Tiles::kRows, kHead>(tiles.fixed + Tiles::kFixedSize, Tiles::kFixedStride,
                                 arrays.v + start, stride, rows, sizes.head_size, sizes.whole);
  const T *q = arrays.q + sizes.query_start(pair), *dout = arrays.dout + sizes.query_start(pair);
  const T *mask = sizes.mask_of(arrays.mask, pair);
  if (mask != nullptr) mask += key0;

  const int64_t row_start = pair * sizes.q_steps;
  const int first_row = tile_y() * kOwn, thread = static_cast<int>(threadIdx.x);
  T dk[kOwn][Tiles::kCols], dv[kOwn][Tiles::kCols], mask_sum = 0;
  clear(dk);
  clear(dv);
  for (int64_t query = sight.first_query(key0) / kTileSteps * kTileSteps;
       rows > 0 && query < sizes.q_steps; query += kTileSteps) {
    const int count = within(sizes.q_steps - query, kTileSteps);
    const bool all = rows == Tiles::kRows && count == kTileSteps &&
                     sight.first_of(key0 + Tiles::kRows - 1, query) <= 0;
    // The first query of these that sees each row. Past `count` all is 0; rows that do not exist
    // may hold anything.
    const int first_low = sight.first_of(key0 + first_row, query);
    int low[kOwn], high[kOwn];
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      low[i] = first_low + i;
      high[i] = kTileSteps;
    }
    T scores[kOwn][kPerThread], dp[kOwn][kPerThread];
    clear(scores);
    tiles.dots(scores, 0, q + query * stride, stride, count, sizes.head_size, sizes.whole);
    PND_UNROLL
    for (int j = 0; j < kPerThread; ++j) {
      const int column = tile_x() + j * kTileSide;
      const T base = column < count ? arrays.lse[row_start + query + column] : kNothing<T>;
      PND_UNROLL
      for (int i = 0; i < kOwn; ++i) {
        const bool sees = column < count && column >= low[i];
        T score = scores[i][j] * sizes.scale;
        if (mask != nullptr && sees && first_row + i < rows) {
          score += mask[(query + column) * sizes.mask_stride() + first_row + i];
        }
        tiles.scores[(first_row + i) * Tiles::kScoreStride + column] =
            sees ? probability(score, base) : T(0);
      }
    }
    tiles.products(dv, dout + query * stride, stride, count, sizes.head_size, sizes.whole, all, low,
                   high);
    clear(dp);
    tiles.dots(dp, 1, dout + query * stride, stride, count, sizes.head_size, sizes.whole);
    PND_UNROLL
    for (int j = 0; j < kPerThread; ++j) {
      const int column = tile_x() + j * kTileSide;
      const T offset = column < count ? delta[row_start + query + column] : T(0);
      PND_UNROLL
      for (int i = 0; i < kOwn; ++i) {
        T &slope = tiles.scores[(first_row + i) * Tiles::kScoreStride + column];
        const bool sees = column < count && column >= low[i];
        slope = sees ? slope * (dp[i][j] - offset) : T(0);  // p becomes ds
      }
    }
    tiles.products(dk, q + query * stride, stride, count, sizes.head_size, sizes.whole, all, low,
                   high);
    if (mask_sums != nullptr && thread < Tiles::kRows) {
      for (int j = 0; j < kTileSteps; ++j) {
        mask_sum += tiles.scores[thread * Tiles::kScoreStride + j];
      }
    }
  }
  T one[kOwn], scale[kOwn];
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    one[i] = first_row + i < rows ? T(1) : T(0);
    scale[i] = one[i] * sizes.scale;
  }
  store_rows(arrays.dv + start, stride, dv, stored, sizes.head_size, one);
  store_rows(arrays.dk + start, stride, dk, stored, sizes.head_size, scale);
  if (mask_sums != nullptr && thread < stored) {
    mask_sums[pair * sizes.k_steps + key0 + thread] = thread < rows ? mask_sum : T(0);
  }
}

// dmask[g, query0 k_steps + e] += the sum of ds[pair - pair0, e] over the pairs of a part that
// share matrix g, upwards; from 0 for the first part.
template <class T>
struct SumHeads {
  T *dmask;
  const Computed<T> *ds;
  int64_t heads, mask_batch, mask_heads, matrix, elements, start, pair0, pairs;

  __device__ void operator()(int64_t n) const {
    const int64_t g = n / elements, e = n % elements;
    // Pairs begin, begin + step, ... below end.
    const int64_t step = mask_heads == 1 ? 1 : heads;
    const int64_t begin = mask_batch == 1 ? g : g * heads;
    const int64_t last = pair0 + pairs;
    const int64_t end = mask_batch == 1 || begin + heads > last ? last : begin + heads;
    int64_t pair = begin;
    if (pair < pair0) pair += (pair0 - pair + step - 1) / step * step;
    T &to = dmask[g * matrix + start + e];
    Computed<T> sum = pair0 == 0 ? Computed<T>(0) : widened(to);
#pragma unroll 8
    for (; pair < end; pair += step) sum += ds[(pair - pair0) * elements + e];
    to = stored<T>(sum);
  }
};

// How dmask comes to be.
template <class T>
class Backward {
 public:
  Backward(Call &call, pnd_context *context, const AttentionSizes<T> &sizes,
           const Arrays<T> &arrays)
      : call_(call), context_(context), sizes_(sizes), arrays_(arrays) {
    const int64_t pairs = sizes.pairs();
    over_queries_ = arrays.dmask != nullptr && sizes.mask_steps == 1;
    over_heads_ = arrays.dmask != nullptr && sizes.mask_batch * sizes.mask_heads != pairs;
    part_pairs_ = pairs;
    part_queries_ = sizes.q_steps;
    delta_bytes_ = (pairs * sizes.q_steps * size() + 255) / 256 * 256;
    if (over_queries_) {
      ds_bytes_ = over_heads_ ? pairs * sizes.k_steps * size() : 0;
    } else if (over_heads_) {
      const int64_t row = sizes.k_steps * size(), head = sizes.q_steps * row;
      // What is rounded must be summed in one go.
      part_pairs_ = kRounds ? pairs : std::clamp<int64_t>(kMostBytes / head, 1, pairs);
      const int64_t rows = kMostBytes / row / (kRounds ? pairs : 1);
      part_queries_ =
          std::clamp<int64_t>(rows / kMostRows * kMostRows, kMostRows, sizes.q_steps + kMostRows);
      part_queries_ = std::min(part_queries_, sizes.q_steps);
      ds_bytes_ = part_pairs_ * part_queries_ * row;
    }
  }

  int64_t bytes() const { return delta_bytes_ + ds_bytes_; }

  template <int kHead>
  void run() {
    constexpr int64_t kOnce = kDeltaRows;
    auto *delta = static_cast<Computed<T> *>(context_->scratch);
    Computed<T> *ds = delta + delta_bytes_ / size();
    const int64_t pairs = sizes_.pairs();
    launch_blocks(call_, context_, delta_kernel<T>, (pairs * sizes_.q_steps + kOnce - 1) / kOnce,
                  dim3(kDeltaRows * 32), 0, sizes_, delta, arrays_.dout, arrays_.out);
    Computed<T> *mask_sums = over_queries_ && over_heads_ ? ds : nullptr;
    T *own_sums = over_queries_ && !over_heads_ ? arrays_.dmask : nullptr;
    if (call_.refused()) return;
    if constexpr (kRounds) {
      launch_keys_bf16<kHead>(call_, context_, sizes_, arrays_, delta, mask_sums, own_sums);
    } else {
      using Tiles = AttentionTiles<T, kHead, 2>;
      launch_blocks(call_, context_, key_kernel<T, kHead>,
                    (sizes_.k_steps + Tiles::kRows - 1) / Tiles::kRows * pairs, dim3(kTileThreads),
                    Tiles::kShared, sizes_, arrays_, delta,
                    mask_sums != nullptr ? mask_sums : own_sums);
    }
    if (over_queries_ && over_heads_) add_heads({ds, nullptr, 0, pairs, 0, 1});
    Computed<T> *to = !over_queries_ && over_heads_ ? ds : nullptr;
    T *own = !over_queries_ && !over_heads_ ? arrays_.dmask : nullptr;
    for (int64_t query = 0; query < sizes_.q_steps; query += part_queries_) {
      for (int64_t pair = 0; pair < pairs; pair += part_pairs_) {
        const Part<T> part{to,    own,
                           pair,  std::min(part_pairs_, pairs - pair),
                           query, std::min(part_queries_, sizes_.q_steps - query)};
        if (call_.refused()) return;
        if constexpr (kRounds) {
          launch_queries_bf16<kHead>(call_, context_, sizes_, arrays_, delta, part);
        } else {
          using Tiles = AttentionTiles<T, kHead, 2>;
          const int64_t blocks = (part.queries + Tiles::kRows - 1) / Tiles::kRows;
          launch_blocks(call_, context_, query_kernel<T, kHead>, blocks * part.pairs,
                        dim3(kTileThreads), Tiles::kShared, sizes_, arrays_, delta, part, blocks);
        }
        if (to != nullptr) add_heads(part);
      }
    }
  }

 private:
  static constexpr bool kRounds = std::is_same_v<T, Bf16>;
  static constexpr int64_t kMostBytes = 256 << 20;  // of ds at a time
  static constexpr int64_t kMostRows = 64;          // of any block
  static constexpr int64_t size() { return sizeof(Computed<T>); }

  void add_heads(const Part<T> &part) {
    if (call_.refused()) return;
    const int64_t elements = part.queries * sizes_.k_steps;
    each(call_, context_, sizes_.mask_batch * sizes_.mask_heads * elements,
         SumHeads<T>{arrays_.dmask, part.ds, sizes_.heads, sizes_.mask_batch, sizes_.mask_heads,
                     sizes_.mask_steps * sizes_.k_steps, elements, part.query0 * sizes_.k_steps,
                     part.pair0, part.pairs});
  }

  Call &call_;
  pnd_context *context_;
  const AttentionSizes<T> &sizes_;
  const Arrays<T> &arrays_;
  bool over_queries_, over_heads_;  // whether dmask sums over them
  int64_t part_pairs_, part_queries_, delta_bytes_, ds_bytes_ = 0;
};

}  // namespace

int32_t pnd_attention_backward(pnd_context *context, int32_t dtype, void *dq, void *dk, void *dv,
                               void *dmask, const void *dout, const void *q, const void *k,
                               const void *v, const void *mask, const int32_t *lengths,
                               const void *out, const void *lse, int64_t batch, int64_t heads,
                               int64_t q_steps, int64_t k_steps, int64_t head_size,
                               int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                               double scale, int32_t causal) {
  Call call(context, "attention_backward");
  guard::attention_backward(call, dtype, dq, dk, dv, dmask, dout, q, k, v, mask, lengths, out, lse,
                            batch, heads, q_steps, k_steps, head_size, mask_batch, mask_heads,
                            mask_steps, scale, causal);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using T = decltype(type);
    auto sizes =
        attention_sizes<T>(context, kLengthsBackward, lengths, batch, heads, q_steps, k_steps,
                           head_size, mask_batch, mask_heads, mask_steps, scale, causal);
    for (const void *array : {q, k, v, dout}) {
      sizes.whole = sizes.whole && moves_whole(static_cast<const T *>(array), 0);
    }
    const Arrays<T> arrays{static_cast<T *>(dq),
                           static_cast<T *>(dk),
                           static_cast<T *>(dv),
                           static_cast<T *>(dmask),
                           static_cast<const T *>(dout),
                           static_cast<const T *>(q),
                           static_cast<const T *>(k),
                           static_cast<const T *>(v),
                           static_cast<const T *>(mask),
                           static_cast<const T *>(out),
                           static_cast<const Computed<T> *>(lse)};
    Backward<T> backward(call, context, sizes, arrays);
    if (call.reserve(0, backward.bytes()).refused()) return;
    by_head_size(head_size, [&](auto head) { backward.template run<head()>(); });
  });
  return call.status();
}
