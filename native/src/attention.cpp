// SPDX-License-Identifier: Apache-2.0
// attention: softmax attention with an additive mask of any broadcast shape, forward.
// s[i,j] = scale q[i,:] . k[j,:] + mask[i,j];  out[i,:] = sum over j of softmax(s[i,:])[j] v[j,:]
// lse[i] = log sum over j of exp s[i,j], over the keys j that query i sees
// Shapes   q, out [batch, q_steps, heads, head_size]; k, v [batch, k_steps, heads, head_size];
//          lse [batch, heads, q_steps]; mask [batch|1, heads|1, q_steps|1, k_steps]
// Method   K^T and V are packed once per head. A panel of queries meets 256 keys at a time: scores
//          in L1, largest score and sum carried along, the output rescaled when they grow. Keys
//          that no query of a panel sees cost nothing, and their values are never touched.
// Order    each score is one chain of fused multiply-adds over the head size; row sums run in 32
//          lanes within 256 keys, then block by block; each output is one chain over the keys
// Parallel over heads, or over ranges of queries where there are few heads
// Error    out <= 2 x the plain loop; lse 2 ULP and the error of the scores; a mask is arithmetic:
//          -infinity hides a key unless its score is NaN or +infinity
// Work     4 head_size flops per seen pair and product, about 15 more for the softmax
// Source   Dao et al., arXiv:2205.14135; online sum: Milakov, Gimelshein, arXiv:1805.02867
#include "attention.h"
#include "as_float.h"

namespace {

constexpr int64_t kKeyBlock = 256;  // part of the definition: sums are carried from block to block
template <class T>
constexpr int64_t kScoreStride = kKeyBlock + 64 / static_cast<int64_t>(sizeof(T));

template <class T>
struct Head {
  Sight sight;
  const T *q, *mask;
  T *out, *lse;
  const T *keys, *values;  // packed; `values` in panels of sight.length rows
};

// kRows queries, the first one `query`, against keys [key, key + count).
template <class T, int kRows>
__attribute__((noinline)) void attend_panel(const AttentionSizes<T> &sizes, const Head<T> &head,
                                            int64_t query, int64_t key, int64_t count,
                                            const T *queries, T *scores, Statistics<T> &statistics,
                                            T *sums) {
  constexpr int64_t kStride = kScoreStride<T>, kCols = kTileCols<T>;
  Vec<T> most[kRows];
  for (Vec<T> &m : most) m = splat(kNothing<T>);
  each_tile<T>(count, [&](int64_t j, auto vectors) {
    Tile<T, kRows, vectors()> tile;
    tile.clear();
    tile.template add_product<kRowStride<T>, 1>(queries, head.keys + (key + j) * sizes.head_size,
                                                kCols, sizes.head_size);
    if (head.mask != nullptr) {
      add_mask(tile, head.mask + query * sizes.mask_stride() + key + j, sizes.mask_stride(),
               sizes.k_steps - key - j);
    }
    hide(tile, head.sight, query, key + j);
    tile.raise_to(most);
    tile.store_to(scores + j, kStride);
  });
  T kept[Statistics<T>::kSize];
  statistics.template add<kRows, kStride, true>(
      scores, (count + kWidth<T> - 1) / kWidth<T> * kWidth<T>, most, kept);

  each_tile<T>(sizes.head_size, [&](int64_t d, auto vectors) {
    Tile<T, kRows, vectors()> tile;
    if (key == 0) {
      tile.clear();
    } else {
      tile.load_from(sums + d, kRowStride<T>);
      tile.scale_rows(kept);
    }
    add_seen_keys<kStride>(tile, head.sight, query, key, count, scores,
                           head.values + d * head.sight.length + key * kCols, kCols);
    tile.store_to(sums + d, kRowStride<T>);
  });
}

// out = sums / sum, lse = largest + log sum of the queries of one panel.
template <class T>
void finish_panel(const AttentionSizes<T> &sizes, const Head<T> &head, int64_t query, int64_t rows,
                  const Statistics<T> &statistics, const T *sums) {
  T lse[Statistics<T>::kSize];
  statistics.log_sums(lse);
  std::memcpy(head.lse + query, lse, rows * sizeof(T));
  for (int64_t r = 0; r < rows; ++r) {
    T *out = head.out + (query + r) * sizes.row_stride();
    const T *from = sums + r * kRowStride<T>;
    const T sum = statistics.sum[r];
    if (sum == 0) {
      std::memset(out, 0, sizes.head_size * sizeof(T));
      continue;
    }
    for (int64_t d = 0; d < sizes.head_size; d += kWidth<T>) {
      store_some(out + d, load(from + d) / splat(sum), sizes.head_size - d);
    }
  }
}

// What a thread needs for kQueryBlock queries.
template <class T>
struct Room {
  T *queries, *sums, *scores;
  Statistics<T> *statistics;

  explicit Room(Scratch &scratch)
      : queries(scratch.take<T>(kQueryBlock * kRowStride<T>)),
        sums(scratch.take<T>(kQueryBlock * kRowStride<T>)),
        scores(scratch.take<T>(kTileRows * kScoreStride<T>)),
        statistics(scratch.take<Statistics<T>>(kQueryBlock)) {}
  static constexpr int64_t bytes() {
    return 2 * Scratch::bytes<T>(kQueryBlock * kRowStride<T>) +
           Scratch::bytes<T>(kTileRows * kScoreStride<T>) +
           Scratch::bytes<Statistics<T>>(kQueryBlock);
  }
};

// Queries [first, last) of one head.
template <class T>
void attend(const AttentionSizes<T> &sizes, const Head<T> &head, int64_t first, int64_t last,
            const Room<T> &room) {
  for (int64_t q0 = first; q0 < last; q0 += kQueryBlock) {
    const int64_t n = std::min(kQueryBlock, last - q0), panels = panels_of(n);
    copy_rows(room.queries, head.q + q0 * sizes.row_stride(), sizes.row_stride(), n,
              sizes.head_size, sizes.scale);
    for (int64_t p = 0; p < panels; ++p) room.statistics[p].clear();
    const int64_t seen = head.sight.count(q0 + n - 1);
    for (int64_t key = 0; key < seen; key += kKeyBlock) {
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t r0 = panel_start(p, panels, n), r1 = panel_start(p + 1, panels, n);
        const int64_t count = std::min(kKeyBlock, head.sight.count(q0 + r1 - 1) - key);
        if (count <= 0) continue;
        with_rows(r1 - r0, [&](auto rows) {
          attend_panel<T, rows()>(sizes, head, q0 + r0, key, count,
                                  room.queries + r0 * kRowStride<T>, room.scores,
                                  room.statistics[p], room.sums + r0 * kRowStride<T>);
        });
      }
    }
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t r0 = panel_start(p, panels, n), r1 = panel_start(p + 1, panels, n);
      finish_panel(sizes, head, q0 + r0, r1 - r0, room.statistics[p],
                   room.sums + r0 * kRowStride<T>);
    }
  }
}

// Elements of the packed keys and values of one head.
template <class T>
int64_t packed_keys(const AttentionSizes<T> &sizes) {
  return (sizes.k_steps + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T> * sizes.head_size;
}
template <class T>
int64_t packed_values(const AttentionSizes<T> &sizes) {
  return (sizes.head_size + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T> * sizes.k_steps;
}

// Ranges of queries per head: one where the heads keep all threads busy.
template <class T>
int64_t query_ranges(const AttentionSizes<T> &sizes, int64_t threads) {
  if (threads == 1 || sizes.pairs() >= 2 * threads) return 1;
  const int64_t wanted = (4 * threads + sizes.pairs() - 1) / sizes.pairs();
  return std::min(wanted, (sizes.q_steps + 4 * kTileRows - 1) / (4 * kTileRows));
}

template <class T>
void forward(pnd_context *context, const AttentionSizes<T> &sizes, T *out, T *lse, const T *q,
             const T *k, const T *v, const T *mask, Scratch for_all) {
  const int64_t ranges = query_ranges(sizes, context->threads);
  const bool shared = ranges > 1;  // the packed heads are
  const auto head_of = [&](int64_t pair, T *packed) {
    const int64_t b = pair / sizes.heads, h = pair % sizes.heads;
    const int64_t start = sizes.query_start(b, h), matrix = sizes.mask_steps * sizes.k_steps;
    return Head<T>{Sight(sizes, b),
                   q + start,
                   mask == nullptr ? nullptr : mask + sizes.mask_matrix(b, h) * matrix,
                   out + start,
                   lse + pair * sizes.q_steps,
                   packed,
                   packed + packed_keys(sizes)};
  };
  const auto pack = [&](int64_t pair, T *packed) {
    const int64_t b = pair / sizes.heads, start = sizes.key_start(b, pair % sizes.heads);
    const int64_t length = Sight(sizes, b).length;
    pack_columns(packed, k + start, sizes.row_stride(), sizes.head_size, length, true);
    pack_columns(packed + packed_keys(sizes), v + start, sizes.row_stride(), length,
                 sizes.head_size, false);
  };
  const int64_t size = packed_keys(sizes) + packed_values(sizes);
  T *all = shared ? for_all.take<T>(sizes.pairs() * size) : nullptr;
  if (shared) {
    parallel(context, sizes.pairs(), [&](int64_t pair, int) { pack(pair, all + pair * size); });
  }
  parallel(context, sizes.pairs() * ranges, [&](int64_t chunk, int worker) {
    const int64_t pair = chunk / ranges, range = chunk % ranges;
    Scratch scratch(context, worker);
    const Room<T> room(scratch);
    T *packed = shared ? all + pair * size : scratch.take<T>(size);
    if (!shared) pack(pair, packed);
    attend(sizes, head_of(pair, packed), range * sizes.q_steps / ranges,
           (range + 1) * sizes.q_steps / ranges, room);
  });
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
  check_lengths(call, lengths, batch, k_steps);
  if (call.refused()) return call.status();
  AsFloat floats(dtype);
  floats.output(out, batch * q_steps * heads * head_size);
  floats.input(q, batch * q_steps * heads * head_size);
  floats.input(k, batch * k_steps * heads * head_size);
  floats.input(v, batch * k_steps * heads * head_size);
  floats.input(mask, mask_batch * mask_heads * mask_steps * k_steps);
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionSizes<T> sizes{
        batch,      heads,      q_steps,    k_steps, head_size,
        mask_batch, mask_heads, mask_steps, lengths, static_cast<T>(scale),
        causal != 0};
    const int64_t packed = packed_keys(sizes) + packed_values(sizes);
    const bool shared = query_ranges(sizes, context->threads) > 1;
    call.reserve(Room<T>::bytes() + (shared ? 0 : Scratch::bytes<T>(packed)),
                 floats.bytes() + (shared ? Scratch::bytes<T>(sizes.pairs() * packed) : 0));
    if (call.refused()) return;
    Scratch for_all(context, kShared);
    floats.widen_inputs(context, for_all);
    forward(context, sizes, static_cast<T *>(out), static_cast<T *>(lse), static_cast<const T *>(q),
            static_cast<const T *>(k), static_cast<const T *>(v), static_cast<const T *>(mask),
            for_all);
    floats.narrow_outputs(context);
  });
  return call.status();
}
