// SPDX-License-Identifier: Apache-2.0
// attention_backward: the gradients of attention, the mask's included.
// p[i,j] = exp(s[i,j] - lse[i]);  dp[i,j] = dout[i,:] . v[j,:];  delta[i] = dout[i,:] . out[i,:]
// ds[i,j] = p[i,j] (dp[i,j] - delta[i]), the gradient of the mask before its broadcast axes are
// summed; dq = scale ds k;  dk = scale ds^T q;  dv = p^T dout. A gate g takes part as p = g e and
// ds = g dg, where e = exp(s - lse) and dg = e (dp - delta) is its own gradient
// Shapes   as attention; dout like out; dq like q; dk, dv like k; dmask like mask
// Method   two passes that compute p and ds again from tiles: a block that keeps queries makes dq
//          and writes ds where it is the mask's gradient, a block that keeps keys meets the queries
//          of all heads that share them and makes dk and dv, and the sum of ds over the queries of
//          a head for a mask without that axis. ds of several heads that share a mask goes to
//          scratch, as many at a time as fit, and is added from there. What a query does not see
//          costs nothing and is not even multiplied by 0. bf16 on tensor cores
//          (attention_backward_bf16.cuh)
// Order    dq is one chain over the keys, dk and dv one chain over the queries of the group's
//          heads, upwards. dmask: one chain over the queries of a head; then heads are added in the
//          order of (batch, head)
// Error    <= 3 x the plain loop; sum over j of ds[i,j] is 0 within 1e-5 of the sum of |ds[i,j]|
// Work     14 head_size flops per seen pair, about 30 more
// Source   Dao et al., arXiv:2205.14135, algorithm 4
#include <algorithm>

#include "attention_backward_bf16.cuh"
#include "map.cuh"

namespace {

// Fewer rows of doubles, whose second tile of scores would not fit.
template <class T, int kHead>
using BackwardTiles = AttentionTiles<T, kHead, 2, sizeof(T) == 4 ? 64 : 32>;

// A block's keys of one head, and the queries that see any of them, from a multiple of kTileSteps
// on.
template <int kRows, class T>
struct KeyTile {
  int64_t kv_head, key0, begin, end;
  Sequence sequence;
  int stored, rows;  // keys that exist, and that lie within the length
  T mask_sum[kRows];

  __device__ KeyTile(const AttentionSizes<T> &sizes, int64_t block)
      : kv_head(block % sizes.kv_heads),
        sequence(sequence_of<kRows>(sizes, sizes.k_starts, block / sizes.kv_heads % sizes.batch,
                                    block / (sizes.kv_heads * sizes.batch), key0)) {
    stored = within(sequence.stored - key0, kRows);
    rows = within(sequence.keys - key0, kRows);
    begin = sequence.first_query(key0) / kTileSteps * kTileSteps;
    end = rows == 0 ? begin : sequence.end_query(key0 + rows - 1);
  }
};

// exp(score - lse), which only a hidden gate's score can make large.
template <class T>
__device__ __forceinline__ T probability(T score, T lse) {
  // A row that sees nothing has lse = -infinity: p = exp(-infinity).
  const T x = score - (lse == kNothing<T> ? -kNothing<T> : lse);
  return exp_of_negative(smaller(kMostExponent<T>, x));
}

// gate x, 0 where the gate hides its key.
template <class T>
__device__ __forceinline__ T gated(T gate, T x) {
  return gate > 0 ? gate * x : T(0);
}

// dq of a block of queries, and their rows of ds.
template <class T, int kHead>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    query_kernel(int64_t first, AttentionSizes<T> sizes, Arrays<T> arrays, const T *delta,
                 Part<T> part, int64_t slots) {
  using Tiles = BackwardTiles<T, kHead>;
  constexpr int kOwn = Tiles::kOwn;
  const Tiles tiles;
  using Tile = PartTile<Tiles::kRows, T>;
  Tile &tile = tiles.template common<Tile>();
  if (threadIdx.x == 0) tile = Tile(sizes, part, slots, first + blockIdx.x);
  __syncthreads();
  if (tile.rows == 0) return;
  const Sequence &sequence = tile.sequence;
  const int64_t query0 = tile.query0, q_stride = sizes.q_stride(), k_stride = sizes.k_stride();
  const int64_t start = sequence.q_at(sizes, tile.head) + query0 * q_stride;
  copy_tile<Tiles::kRows, kHead>(tiles.fixed, Tiles::kFixedStride, sizes.queries() + start,
                                 q_stride, tile.rows, sizes.head_size, sizes.whole);
  copy_tile<Tiles::kRows, kHead>(tiles.fixed + Tiles::kFixedSize, Tiles::kFixedStride,
                                 arrays.dout + start, q_stride, tile.rows, sizes.head_size,
                                 sizes.whole);
  const int64_t k_start = sequence.k_at(sizes, tile.head / sizes.group);
  const T *k = sizes.keys() + k_start, *v = sizes.values() + k_start;
  const T *mask = sequence.mask_at(sizes, tile.head);
  if (mask != nullptr) mask += query0 * sizes.mask_stride();
  T *ds = part.ds != nullptr ? part.ds : part.dmask;
  if (ds != nullptr) ds += tile.slopes_at(sizes, part);

  const int first_row = tile_y() * kOwn;
  const int64_t row_start = sequence.row_at(sizes, tile.head) + query0;
  T sums[kOwn][Tiles::kCols];
  clear(sums);
  const int64_t begin = tile.begin / kTileSteps * kTileSteps;
  int64_t key = begin;
  for (; key < tile.end; key += kTileSteps) {
    const int count = within(tile.end - key, kTileSteps);
    const Edges edges = sequence.key_edges(tile.query0, key, count);
    T scores[kOwn][kPerThread], dp[kOwn][kPerThread];
    clear(scores);
    tiles.dots(scores, 0, k + key * k_stride, k_stride, count, sizes.head_size, sizes.whole);
    Interval seen[kOwn];
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int row = first_row + i;
      seen[i] = row < tile.rows ? edges.of(row) : Interval(0, 0);
      const T base = row < tile.rows ? arrays.lse[row_start + row] : kNothing<T>;
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        const bool sees = seen[i].has(column);
        T score = scores[i][j] * sizes.scaled_by;
        if (mask != nullptr && !sizes.has_gates && sees) {
          score += mask[row * sizes.mask_stride() + key + column];
        }
        tiles.scores[row * Tiles::kScoreStride + column] = sees ? probability(score, base) : T(0);
      }
    }
    clear(dp);
    tiles.dots(dp, 1, v + key * k_stride, k_stride, count, sizes.head_size, sizes.whole);
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int row = first_row + i;
      const T offset = row < tile.rows ? delta[row_start + row] : T(0);
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        const bool sees = seen[i].has(column);
        T &slope = tiles.scores[row * Tiles::kScoreStride + column];  // p, which becomes ds
        T of_pair = sees ? slope * (dp[i][j] - offset) : T(0);
        if (ds != nullptr && tile.has(part, row) &&
            sequence.first_k + key + column < sizes.k_steps) {
          ds[row * sizes.k_steps + key + column] = of_pair;
        }
        if (sizes.has_gates && sees) {
          of_pair = gated(mask[row * sizes.mask_stride() + key + column], of_pair);
        }
        slope = of_pair;
      }
    }
    tiles.products(sums, k + key * k_stride, k_stride, count, sizes.head_size, sizes.whole,
                   edges.all(0, tile.rows - 1, kTileSteps), seen);
  }
  T factor[kOwn];
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) factor[i] = sizes.scaled_by;
  store_rows(arrays.dq + start + first_row * q_stride, q_stride, sums, tile.rows - first_row,
             sizes.head_size, factor);
  if (ds == nullptr) return;
  // Keys that none of the queries sees.
  for (int row = 0; row < tile.rows; ++row) {
    if (!tile.has(part, row)) continue;
    T *to = ds + row * sizes.k_steps - sequence.first_k;
    const int64_t from = sequence.first_k + begin, up_to = sequence.first_k + key;
    for (int64_t j = threadIdx.x; j < sizes.k_steps; j += kTileThreads) {
      if (j < from || j >= up_to) to[j] = 0;
    }
  }
}

// dk and dv of a block of keys, and the sums of ds over the queries (nullable; [pairs, k_steps]).
template <class T, int kHead>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    key_kernel(int64_t first, AttentionSizes<T> sizes, Arrays<T> arrays, const T *delta,
               T *mask_sums) {
  using Tiles = BackwardTiles<T, kHead>;
  constexpr int kOwn = Tiles::kOwn;
  const Tiles tiles;
  using Tile = KeyTile<Tiles::kRows, T>;
  Tile &own = tiles.template common<Tile>();
  // Where e stays until it is ds: behind that where, with gates, p takes its place.
  constexpr int kBehind = Tiles::kScores + static_cast<int>(sizeof(Tile) / sizeof(T));
  const int kept = sizes.has_gates ? kBehind : 0;
  if (threadIdx.x == 0) own = Tile(sizes, first + blockIdx.x);
  __syncthreads();
  if (own.stored == 0) return;
  const Sequence &sequence = own.sequence;
  const int64_t q_stride = sizes.q_stride(), k_stride = sizes.k_stride();
  const auto start = [&] { return sequence.k_at(sizes, own.kv_head) + own.key0 * k_stride; };
  copy_tile<Tiles::kRows, kHead>(tiles.fixed, Tiles::kFixedStride, sizes.keys() + start(), k_stride,
                                 own.rows, sizes.head_size, sizes.whole);
  copy_tile<Tiles::kRows, kHead>(tiles.fixed + Tiles::kFixedSize, Tiles::kFixedStride,
                                 sizes.values() + start(), k_stride, own.rows, sizes.head_size,
                                 sizes.whole);

  const int first_row = tile_y() * kOwn, thread = static_cast<int>(threadIdx.x);
  T dk[kOwn][Tiles::kCols], dv[kOwn][Tiles::kCols];
  clear(dk);
  clear(dv);
  for (int64_t i = 0; i < sizes.group; ++i) {
    const int64_t head = own.kv_head * sizes.group + i;
    if (thread < Tiles::kRows) own.mask_sum[thread] = 0;
    for (int64_t query = own.begin; query < own.end; query += kTileSteps) {
      const int count = within(own.end - query, kTileSteps);
      const int64_t at = sequence.q_at(sizes, head) + query * q_stride;
      const int64_t row = sequence.row_at(sizes, head) + query;
      const T *q = sizes.queries() + at, *dout = arrays.dout + at;
      const T *mask = sequence.mask_at(sizes, head);
      if (mask != nullptr) mask += query * sizes.mask_stride() + own.key0 + first_row;
      const Edges edges = sequence.query_edges(own.key0, query, count);
      // Rows that do not exist may hold anything.
      const bool all = edges.all(0, own.rows - 1, kTileSteps);
      Interval seen[kOwn];
      PND_UNROLL
      for (int i = 0; i < kOwn; ++i) seen[i] = edges.of(first_row + i);
      T scores[kOwn][kPerThread], dp[kOwn][kPerThread];
      clear(scores);
      tiles.dots(scores, 0, q, q_stride, count, sizes.head_size, sizes.whole);
      const auto mask_of = [&](int i, int column) {
        if (first_row + i >= own.rows) return T(0);
        return mask[column * sizes.mask_stride() + i];
      };
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        const T base = column < count ? arrays.lse[row + column] : kNothing<T>;
        PND_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          const bool sees = seen[i].has(column);
          const int at = (first_row + i) * Tiles::kScoreStride + column;
          T score = scores[i][j] * sizes.scaled_by;
          if (mask != nullptr && !sizes.has_gates && sees) score += mask_of(i, column);
          const T e = sees ? probability(score, base) : T(0);
          tiles.scores[kept + at] = e;
          if (sizes.has_gates) tiles.scores[at] = sees ? gated(mask_of(i, column), e) : T(0);
        }
      }
      tiles.products(dv, dout, q_stride, count, sizes.head_size, sizes.whole, all, seen);
      clear(dp);
      tiles.dots(dp, 1, dout, q_stride, count, sizes.head_size, sizes.whole);
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        const T offset = column < count ? delta[row + column] : T(0);
        PND_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          const int at = (first_row + i) * Tiles::kScoreStride + column;
          // The gradient of the mask, which becomes ds.
          tiles.scores[at] =
              seen[i].has(column) ? tiles.scores[kept + at] * (dp[i][j] - offset) : T(0);
        }
      }
      if (mask_sums != nullptr) {
        __syncthreads();
        for (int j = 0; j < kTileSteps && thread < Tiles::kRows; ++j) {
          own.mask_sum[thread] += tiles.scores[thread * Tiles::kScoreStride + j];
        }
      }
      if (sizes.has_gates) {
        __syncthreads();
        PND_UNROLL
        for (int j = 0; j < kPerThread; ++j) {
          const int column = tile_x() + j * kTileSide;
          PND_UNROLL
          for (int i = 0; i < kOwn; ++i) {
            T &slope = tiles.scores[(first_row + i) * Tiles::kScoreStride + column];
            if (seen[i].has(column)) slope = gated(mask_of(i, column), slope);
          }
        }
      }
      tiles.products(dk, q, q_stride, count, sizes.head_size, sizes.whole, all, seen);
    }
    if (mask_sums != nullptr && thread < own.stored) {
      const int64_t at = (sequence.batch * sizes.heads + head) * sizes.k_steps + sequence.first_k;
      mask_sums[at + own.key0 + thread] = thread < own.rows ? own.mask_sum[thread] : T(0);
    }
  }
  T one[kOwn], scale[kOwn];
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    one[i] = first_row + i < own.rows ? T(1) : T(0);
    scale[i] = one[i] * sizes.scaled_by;
  }
  const int64_t to = start() + first_row * k_stride;
  store_rows(arrays.dv + to, k_stride, dv, own.stored - first_row, sizes.head_size, one);
  store_rows(arrays.dk + to, k_stride, dk, own.stored - first_row, sizes.head_size, scale);
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
      using Tiles = BackwardTiles<T, kHead>;
      constexpr size_t kBytes = Tiles::kShared + sizeof(KeyTile<Tiles::kRows, T>);
      constexpr size_t kGates = Tiles::kScores * sizeof(T);
      static_assert(kBytes + kGates <= 99 << 10, "fits every device");
      launch_blocks(call_, context_, key_kernel<T, kHead>,
                    sizes_.k_slots(Tiles::kRows) * sizes_.batch * sizes_.kv_heads,
                    dim3(kTileThreads), kBytes + (sizes_.has_gates ? kGates : 0), sizes_, arrays_,
                    delta, mask_sums != nullptr ? mask_sums : own_sums);
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
          using Tiles = BackwardTiles<T, kHead>;
          const int64_t slots = part.slots(sizes_, Tiles::kRows);
          launch_blocks(call_, context_, query_kernel<T, kHead>, slots * part.pairs,
                        dim3(kTileThreads), Tiles::kShared + sizeof(PartTile<Tiles::kRows, T>),
                        sizes_, arrays_, delta, part, slots);
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
                               const int32_t *q_starts, const int32_t *k_starts, const void *out,
                               const void *lse, int64_t batch, int64_t heads, int64_t kv_heads,
                               int64_t q_steps, int64_t k_steps, int64_t head_size,
                               int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                               int64_t segments, int64_t window, double scale, int32_t causal,
                               int32_t gated) {
  Call call(context, "attention_backward");
  const guard::Attention a{dtype,    q,         k,          v,          mask,       lengths,
                           q_starts, k_starts,  batch,      heads,      kv_heads,   q_steps,
                           k_steps,  head_size, mask_batch, mask_heads, mask_steps, segments,
                           window,   scale,     causal,     gated};
  const CheckedSight checked{kLengthsBackward, kQStartsBackward, kKStartsBackward};
  guard::attention_backward(call, a, dq, dk, dv, dmask, dout, out, lse);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using T = decltype(type);
    AttentionSizes<T> sizes(context, a, checked);
    sizes.also_moves(dout);
    const Arrays<T> arrays{static_cast<T *>(dq),
                           static_cast<T *>(dk),
                           static_cast<T *>(dv),
                           static_cast<T *>(dmask),
                           static_cast<const T *>(dout),
                           static_cast<const T *>(out),
                           static_cast<const Computed<T> *>(lse)};
    Backward<T> backward(call, context, sizes, arrays);
    if (call.reserve(0, backward.bytes()).refused()) return;
    if (check_starts(call, context, a, checked) != PND_OK) return;
    by_head_size(head_size, [&](auto head) { backward.template run<head()>(); });
  });
  return call.status();
}
