// SPDX-License-Identifier: Apache-2.0
// attention: softmax attention with a mask of any broadcast shape, forward.
// s[i,j] = scale q[i,:] . k[j,:] + mask[i,j];  out[i,:] = sum over j of softmax(s[i,:])[j] v[j,:]
// lse[i] = log sum over j of exp s[i,j], over the keys j that query i sees
// Shapes   q, out [batch, q_steps, heads, head_size]; k, v [batch, k_steps, kv_heads, head_size];
//          lse [batch, heads, q_steps]; mask [batch|1, heads|1, q_steps|1, k_steps]
// Method   a block keeps up to 64 queries of a head in shared memory, or fewer queries of several
//          heads that share their keys, and meets 64 keys at a time: scores in registers, largest
//          score and sum carried along, out in registers, rescaled when they grow. Keys and values
//          pass through one buffer. What no query of the block sees costs nothing; what one query
//          does not see is not even multiplied by 0. bf16 on tensor cores (attention_bf16.cuh)
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

  // Takes in a tile of scores, which become exp(score - largest), times their gates where those are
  // not null, kTileSide apart; returns the factor of what was summed before for row i.
  __device__ __forceinline__ T add(int i, T (&scores)[kPerThread], const T *gates) {
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
      if (gates != nullptr) scores[j] *= gates[j * kTileSide];
      added += scores[j];
    }
    largest[i] = now;
    sum[i] = fma(sum[i], kept, fold_row(added, [](T a, T b) { return a + b; }));
    return kept;
  }
};

template <class T, int kHead, int kMostRows>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    attention_kernel(int64_t first, AttentionSizes<T> sizes, Together together, T *out, T *lse,
                     int64_t slots) {
  using Tiles = AttentionTiles<T, kHead, 1, kMostRows>;
  constexpr int kOwn = Tiles::kOwn;
  const Tiles tiles;
  using Tile = QueryTile<Tiles::kRows, T>;
  Tile &tile = tiles.template common<Tile>();
  if (threadIdx.x == 0) tile = Tile(sizes, together, slots, first + blockIdx.x);
  __syncthreads();
  if (tile.queries == 0) return;
  const Sequence &sequence = tile.sequence;
  const int64_t query0 = tile.query0, k_stride = sizes.k_stride();
  const T *q = sizes.queries() + sequence.q_at(sizes, tile.head0) + query0 * sizes.q_stride();
  copy_tile_at<Tiles::kRows, kHead>(
      tiles.fixed, Tiles::kFixedStride, sizes.head_size, sizes.whole, [&](int row) {
        const T *at =
            q + tile.query_of(row) * sizes.q_stride() + tile.head_of(row) * sizes.head_size;
        return tile.has(row) ? at : nullptr;
      });
  const T *k = sizes.keys() + sequence.k_at(sizes, tile.kv_head);
  const T *v = sizes.values() + sequence.k_at(sizes, tile.kv_head);

  // The thread's rows are queries of one head, one after the other.
  const int first_row = tile_y() * kOwn, own_query = tile.query_of(first_row);
  const int own_rows = tile.has(first_row) ? within(tile.queries - own_query, kOwn) : 0;
  const int64_t head = tile.head0 + tile.head_of(first_row), query = query0 + own_query;
  out += sequence.q_at(sizes, head) + query * sizes.q_stride();
  lse += sequence.row_at(sizes, head) + query;
  const T *mask = sequence.mask_at(sizes, head);
  if (mask != nullptr) mask += query * sizes.mask_stride();
  Statistics<T, kOwn> statistics;
  T sums[kOwn][Tiles::kCols];
  clear(sums);
  const int64_t begin = tile.begin / kTileSteps * kTileSteps, step = kTileSteps * k_stride;
  k += begin * k_stride;
  v += begin * k_stride;
  for (int64_t key = begin; key < tile.end; key += kTileSteps, k += step, v += step) {
    const int count = within(tile.end - key, kTileSteps);
    const Edges edges = sequence.key_edges(tile.query0, key, count);
    const bool all = edges.all(0, tile.queries - 1, kTileSteps);
    T scores[kOwn][kPerThread];
    clear(scores);
    tiles.dots(scores, 0, k, k_stride, count, sizes.head_size, sizes.whole);
    Interval seen[kOwn];
    PND_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      seen[i] = i < own_rows ? edges.of(own_query + i) : Interval(0, 0);
      const T *masks = mask == nullptr ? nullptr : mask + i * sizes.mask_stride() + key;
      T *weights = tiles.scores + (first_row + i) * Tiles::kScoreStride + tile_x();  // first gates
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) {
        const int column = tile_x() + j * kTileSide;
        bool sees = seen[i].has(column);
        T score = scores[i][j] * sizes.scaled_by;
        if (mask != nullptr && sees) {
          if (sizes.has_gates) {
            sees = masks[column] > 0;
            weights[j * kTileSide] = masks[column];
          } else {
            score += masks[column];
          }
        }
        if (sizes.has_gates && !sees) weights[j * kTileSide] = 0;
        scores[i][j] = sees ? score : kNothing<T>;
      }
      const T kept = statistics.add(i, scores[i], sizes.has_gates ? weights : nullptr);
      PND_UNROLL
      for (int j = 0; j < Tiles::kCols; ++j) sums[i][j] *= kept;
      PND_UNROLL
      for (int j = 0; j < kPerThread; ++j) weights[j * kTileSide] = scores[i][j];
    }
    tiles.products(sums, v, k_stride, count, sizes.head_size, sizes.whole, all, seen);
  }

  T factor[kOwn];
  PND_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    const T sum = statistics.sum[i];
    factor[i] = sum == 0 ? T(0) : T(1) / sum;
    if (tile_x() == 0 && i < own_rows) lse[i] = statistics.largest[i] + log_of(sum);
  }
  store_rows(out, sizes.q_stride(), sums, own_rows, sizes.head_size, factor);
}

constexpr int kStartsThreads = 256;

// Looks for the first place where starts break a rule: block 0 those of the queries, block 1 those
// of the keys.
__global__ void __launch_bounds__(kStartsThreads)
    starts_kernel(guard::Attention a, CheckedSight checked, Faults *faults) {
  auto *wrong = shared_memory<unsigned long long>();
  const bool of_queries = blockIdx.x == 0;
  const int32_t *starts = of_queries ? a.q_starts : a.k_starts;
  const int64_t total = of_queries ? a.q_steps : a.k_steps;
  const auto rule_of = [&](int64_t i, int64_t &number) {
    number = i == 0 ? 0 : starts[i - 1];
    if (i > 0 && starts[i] < number) return kAtLeast;
    if (i == a.segments) number = total;
    return (i == 0 || i == a.segments) && starts[i] != number ? kExactly : kBelow;
  };
  if (threadIdx.x == 0) *wrong = ~0ull;
  __syncthreads();
  int64_t number = 0;
  for (int64_t i = threadIdx.x; i <= a.segments; i += kStartsThreads) {
    if (rule_of(i, number) == kBelow) continue;
    atomicMin(wrong, static_cast<unsigned long long>(i));
    break;
  }
  __syncthreads();
  const Checked array = of_queries ? checked.q_starts : checked.k_starts;
  if (threadIdx.x > 0 || *wrong == ~0ull || faults->first[array] != ~0ull) return;
  const auto place = static_cast<int64_t>(*wrong);
  faults->rule[array] = rule_of(place, number);
  faults->number[array] = static_cast<unsigned>(number);
  faults->first[array] = *wrong << 32 | static_cast<unsigned>(starts[place]);
}

template <class T, int kHead, int kMostRows>
void launch_attention(Call &call, pnd_context *context, const AttentionSizes<T> &sizes, T *out,
                      T *lse) {
  using Tiles = AttentionTiles<T, kHead, 1, kMostRows>;
  const Together together(sizes, Tiles::kRows, Tiles::kOwn);
  const int64_t slots = sizes.q_slots(Tiles::kRows);
  launch_blocks(call, context, attention_kernel<T, kHead, kMostRows>, slots * together.units(sizes),
                dim3(kTileThreads), Tiles::kShared + sizeof(QueryTile<Tiles::kRows, T>), sizes,
                together, out, lse, slots);
}

}  // namespace

int32_t check_starts(Call &call, pnd_context *context, const guard::Attention &a,
                     CheckedSight checked) {
  if (a.q_starts == nullptr || call.refused()) return call.status();
  return launch(call, context, starts_kernel, dim3(2), dim3(kStartsThreads),
                sizeof(unsigned long long), a, checked, context->faults);
}

int32_t pnd_attention(pnd_context *context, int32_t dtype, void *out, void *lse, const void *q,
                      const void *k, const void *v, const void *mask, const int32_t *lengths,
                      const int32_t *q_starts, const int32_t *k_starts, int64_t batch,
                      int64_t heads, int64_t kv_heads, int64_t q_steps, int64_t k_steps,
                      int64_t head_size, int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                      int64_t segments, int64_t window, double scale, int32_t causal,
                      int32_t gated) {
  Call call(context, "attention");
  const guard::Attention a{dtype,    q,         k,          v,          mask,       lengths,
                           q_starts, k_starts,  batch,      heads,      kv_heads,   q_steps,
                           k_steps,  head_size, mask_batch, mask_heads, mask_steps, segments,
                           window,   scale,     causal,     gated};
  const CheckedSight checked{kLengths, kQStarts, kKStarts};
  guard::attention(call, a, out, lse);
  if (check_starts(call, context, a, checked) != PND_OK) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionSizes<T> sizes(context, a, checked);
    auto *to = static_cast<T *>(out);
    auto *to_lse = static_cast<Computed<T> *>(lse);
    by_head_size(head_size, [&](auto head) {
      if constexpr (std::is_same_v<T, Bf16>) {
        launch_attention_bf16<head()>(call, context, sizes, to, to_lse);
      } else if (constexpr int kRows = AttentionTiles<T, head(), 1>::kRows; sizes.few_queries()) {
        launch_attention<T, head(), kFewRows>(call, context, sizes, to, to_lse);
      } else {
        launch_attention<T, head(), kRows>(call, context, sizes, to, to_lse);
      }
    });
  });
  return call.status();
}
