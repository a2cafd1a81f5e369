// SPDX-License-Identifier: Apache-2.0
// attention.h: what attention.cpp and attention_backward.cpp share: the sizes of a call, its
// sequences, which keys a query sees, and the tile of scores. S is the type the arrays hold, U what
// its elements are packed as, T what they are summed in.
#pragma once

#include "guards/attention.h"
#include "map.h"
#include "softmax.h"
#include "tile_bf16.h"

constexpr int64_t kQueryBlock = 192;  // queries that pass over a block of keys while it is in L2
// Keys whose weights are summed before they join those of earlier blocks: part of the definition.
constexpr int64_t kSumBlock = 256;
// Between a panel's rows of scores against such a block, or of weights.
template <class U>
constexpr int64_t kBlockStride = kSumBlock / kPerUnit<U> + 64 / static_cast<int64_t>(sizeof(U));
// The largest score - lse that the gradient of a gate takes part with.
template <class T>
constexpr T kMostExponent = 64;
static_assert(guard::kMostHeadSize == kDepth, "a row of q is one run of depth");

template <class S>
struct AttentionSizes : guard::Attention {
  using Unit = UnitOf<S>;
  using Sum = SumOf<Unit>;

  explicit AttentionSizes(const guard::Attention &call) : guard::Attention(call) {}

  int64_t sequences() const { return q_starts == nullptr ? batch : segments; }
  int64_t group() const { return heads / kv_heads; }  // heads that share their keys
  int64_t q_stride() const { return heads * head_size; }
  int64_t k_stride() const { return kv_heads * head_size; }
  // Whether the multiplications of q and k are fewer: a second thread would not pay.
  bool is_below(int64_t serial) const { return queries() < serial / k_steps; }
  int64_t head_units() const { return units_of<Unit>(head_size); }
  Sum scaled_by() const { return static_cast<Sum>(scale); }
  const S *mask_or_null() const { return static_cast<const S *>(mask); }
  // The mask of a head: the number of its matrix, and the distance between its rows.
  int64_t mask_matrix(int64_t b, int64_t h) const {
    return (mask_batch == 1 ? 0 : b) * mask_heads + (mask_heads == 1 ? 0 : h);
  }
  int64_t mask_stride() const { return mask_steps == 1 ? 0 : k_steps; }
};

// A sequence of the batch or a packed one: its place in the arrays, and which of its keys each of
// its queries sees. Queries and keys count from the sequence's first.
struct Sequence {
  int64_t batch, first_q, first_k;  // place in [batch, steps]
  int64_t queries, keys, stored;    // stored: the keys that exist, beyond its length too
  // Query i sees the keys from i + behind on that lie before i + ahead.
  int64_t behind, ahead;

  template <class S>
  Sequence(const AttentionSizes<S> &sizes, int64_t s) {
    const bool packed = sizes.q_starts != nullptr;
    batch = packed ? 0 : s;
    first_q = packed ? sizes.q_starts[s] : 0;
    first_k = packed ? sizes.k_starts[s] : 0;
    queries = packed ? sizes.q_starts[s + 1] - first_q : sizes.q_steps;
    stored = packed ? sizes.k_starts[s + 1] - first_k : sizes.k_steps;
    keys = sizes.lengths == nullptr ? stored : sizes.lengths[s];
    const int64_t stands = (sizes.causal == 2 ? keys : stored) - queries;  // the first query
    const bool cut = sizes.window != 0;
    behind = cut ? stands - sizes.window + 1 : -queries;
    ahead = sizes.causal != 0 ? stands + 1 : cut ? stands + sizes.window : keys;
  }

  int64_t first(int64_t query) const { return std::clamp<int64_t>(query + behind, 0, keys); }
  int64_t count(int64_t query) const { return std::clamp<int64_t>(query + ahead, 0, keys); }
  // The queries that see a key, from and up to; a key after it is seen by none before and by all
  // that follow up to its own end.
  int64_t first_query(int64_t key) const {
    return std::clamp<int64_t>(key - ahead + 1, 0, queries);
  }
  int64_t end_query(int64_t key) const { return std::clamp<int64_t>(key - behind + 1, 0, queries); }
};

// Lengths in [0, k_steps]; starts from 0, never falling, up to the steps.
inline void check_sequences(Call &call, const guard::Attention &a) {
  if (call.refused()) return;  // k_steps + 1 may overflow where it is refused
  if (a.lengths != nullptr) call.indices("lengths", a.lengths, a.batch, 0, a.k_steps + 1);
  if (a.q_starts == nullptr) return;
  call.starts("q_starts", a.q_starts, a.segments, a.q_steps);
  call.starts("k_starts", a.k_starts, a.segments, a.k_steps);
}

// Elements of an array as what they are summed in: a vector, its first n, and back.
template <class S>
PND_INLINE auto load_sums(const S *p) {
  if constexpr (std::is_same_v<S, Bf16>) {
    return load_widened(p);
  } else {
    return load(p);
  }
}
template <class S>
PND_INLINE auto load_first_sums(const S *p, int64_t n) {
  if constexpr (std::is_same_v<S, Bf16>) {
    Bf16 piece[kWidth<float>] = {};
    std::memcpy(piece, p, n * sizeof(Bf16));
    return load_widened(piece);
  } else {
    return load_first(p, n);
  }
}
// to[:] = from[:] factor
template <class S, class T>
PND_INLINE void store_scaled(S *to, const T *from, T factor, int64_t n) {
  if constexpr (std::is_same_v<S, Bf16>) {
    for (int64_t i = 0; i < n; ++i) to[i] = narrowed(from[i] * factor);
  } else {
    each_vector<T>(
        n, [&](int64_t i, auto get, auto put) { put(to + i, get(from + i) * splat(factor)); });
  }
}
// A row of the output: its sums times 1 / the sum of its weights. 0 says that no key was seen, and
// the sums may be anything.
template <class S, class T>
PND_INLINE void store_share(S *to, const T *sums, T share, int64_t n) {
  if (share == 0) {
    std::memset(static_cast<void *>(to), 0, n * sizeof(S));
  } else {
    store_scaled(to, sums, share, n);
  }
}

// A tile of scores has queries as rows; its vectors run along keys, as they do in the mask.

// Calls f(row, vector, mask there) for a tile of the mask; `left` columns of it exist.
template <class S, int kRows, int kVectors, class F>
PND_INLINE void each_mask(const S *mask, int64_t stride, int64_t left, F &&f) {
  constexpr int kWide = kWidth<UnitOf<S>>;
  const auto all = [&](auto &&get) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) f(r, v, get(mask + r * stride + v * kWide, v));
    }
  };
  if (left >= kVectors * kWide) {
    all([](const S *at, int) { return load_sums(at); });
  } else {
    all([&](const S *at, int v) {
      return load_first_sums(at, std::clamp<int64_t>(left - v * kWide, 0, kWide));
    });
  }
}

// Asks for the tile of the mask that the next panel needs: its rows lie pages apart. Past the end
// of the mask that does nothing.
template <class S, int kRows, int kVectors>
PND_INLINE void fetch_mask_below(const S *mask, int64_t stride) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(S));
  PND_UNROLL
  for (int r = kRows; r < 2 * kRows; ++r) {
    for (int64_t i = 0; i < kVectors * kWidth<UnitOf<S>>; i += kLine) {
      __builtin_prefetch(mask + r * stride + i);
    }
  }
}

// scores += mask.
template <class U, int kRows, int kVectors, class S>
PND_INLINE void add_mask(Tile<U, kRows, kVectors> &scores, const S *mask, int64_t stride,
                         int64_t left) {
  each_mask<S, kRows, kVectors>(mask, stride, left,
                                [&](int r, int v, Vec<SumOf<U>> x) { scores.sum[r][v] += x; });
}
// Scores whose gate is not above 0 become -infinity.
template <class U, int kRows, int kVectors, class S>
PND_INLINE void hide_gated(Tile<U, kRows, kVectors> &scores, const S *gates, int64_t stride,
                           int64_t left) {
  using T = SumOf<U>;
  each_mask<S, kRows, kVectors>(gates, stride, left, [&](int r, int v, Vec<T> gate) {
    scores.sum[r][v] = choose(gate > Vec<T>{}, scores.sum[r][v], splat(kNothing<T>));
  });
}

// Scores of keys that a query does not see become -infinity, or what `nothing` says. The tile
// starts at (query, key).
template <class U, int kRows, int kVectors>
PND_INLINE void hide(Tile<U, kRows, kVectors> &scores, const Sequence &sequence, int64_t query,
                     int64_t key, SumOf<U> nothing = kNothing<SumOf<U>>) {
  if (sequence.count(query) - key < kVectors * kWidth<U>) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) cut_after(scores, r, sequence.count(query + r) - key, nothing);
  }
  if (sequence.first(query + kRows - 1) > key) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) cut_before(scores, r, sequence.first(query + r) - key, nothing);
  }
}

// Queries [first, last) as panels of rows for tiles: f(first query, rows as a constant). Panels
// begin kTogether queries apart, or a multiple. Units of one element: a window narrower than a
// panel takes its queries one by one, so that a panel has keys that all of it sees.
template <int64_t kTogether = 1, class S, class F>
PND_INLINE void each_panel(const AttentionSizes<S> &sizes, int64_t first, int64_t last, F &&f) {
  const int64_t n = (last - first + kTogether - 1) / kTogether;
  const bool narrow = kPerUnit<UnitOf<S>> == 1 && sizes.window != 0 && sizes.window < kTileRows;
  const int64_t panels = narrow ? n : panels_of(n * kTogether);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t q0 = first + panel_start(p, panels, n) * kTogether;
    const int64_t q1 = std::min(last, first + panel_start(p + 1, panels, n) * kTogether);
    with_rows(q1 - q0, [&](auto rows) { f(q0, rows); });
  }
}

// Packs the rows of keys [count, head_size] as the columns that scores are made with. The scale
// belongs to them, so that queries serve as they lie; pairs would round it.
template <class S>
inline void pack_keys_of(UnitOf<S> *to, const S *keys, const AttentionSizes<S> &sizes,
                         int64_t count) {
  using U = UnitOf<S>;
  pack_columns(to, keys, sizes.k_stride(), sizes.head_size, count, true);
  if constexpr (kPerUnit<U> == 1) {
    const int64_t n = (count + kTileCols<U> - 1) / kTileCols<U> * kTileCols<U> * sizes.head_size;
    for (int64_t i = 0; i < n; i += kWidth<U>) {
      store(to + i, load(to + i) * splat(sizes.scaled_by()));
    }
  }
}
// Scores that were made with such columns, scaled.
template <class S, int kRows, int kVectors>
PND_INLINE void scale_scores(Tile<UnitOf<S>, kRows, kVectors> &scores,
                             const AttentionSizes<S> &sizes) {
  if constexpr (kPerUnit<UnitOf<S>> == 2) scores.scale(sizes.scaled_by());
}

// Packs rows [first, first + count) of a sequence's values, or its keys, as a right operand. Beside
// the first key that a query sees may lie, in one unit, one that none sees and that may hold
// anything: it becomes 0.
template <class S>
inline void pack_rows_of(UnitOf<S> *to, const S *rows, const AttentionSizes<S> &sizes,
                         const Sequence &sequence, int64_t first, int64_t count) {
  using U = UnitOf<S>;
  pack_columns(to, rows, sizes.k_stride(), count, sizes.head_size, false);
  if constexpr (kPerUnit<U> == 2) {
    const int64_t unseen = sequence.first(0) - 1 - first, units = units_of<U>(count);
    if (unseen < 0 || unseen >= count || unseen % 2 != 0) return;
    for (int64_t d = 0; d < sizes.head_size; d += kTileCols<U>) {
      U *row = to + d * units + unseen / 2 * kTileCols<U>;
      for (int64_t i = 0; i < kTileCols<U>; ++i) row[i].low = {0};
    }
  }
}

// The rows of a head, copied next to each other: in the arrays they are often a power of two apart,
// which few sets of a cache can hold. Whole tiles of columns, then a line that breaks the power.
template <class U>
struct Copied {
  U *data;
  int64_t stride;

  static constexpr int64_t stride_of(int64_t cols) {
    return (cols + kTileCols<U> - 1) / kTileCols<U> * kTileCols<U> +
           64 / static_cast<int64_t>(sizeof(U));
  }
  Copied(U *to, int64_t cols) : data(to), stride(stride_of(cols)) {}
  // Rows of n elements.
  template <class S>
  void fill(int64_t row, const S *from, int64_t from_stride, int64_t rows, int64_t n) const {
    for (int64_t r = 0; r < rows; ++r, from += from_stride) {
      U *to = at(row + r);
      if constexpr (std::is_same_v<S, U>) {
        each_vector<U>(n, [&](int64_t i, auto get, auto) { store(to + i, get(from + i)); });
      } else {
        pack_run(to, from, n);
      }
    }
  }
  U *at(int64_t row) const { return data + row * stride; }
};

// A thread's room for the scores of a panel against a block of keys, and for the weights that they
// become, as units: the same place where these are sums.
template <class U>
struct BlockScores {
  using T = SumOf<U>;
  T *scores;
  U *weights;

  explicit BlockScores(Scratch &scratch) : scores(scratch.take<T>(kScores)) {
    if constexpr (kInPlace) {
      weights = scores;
    } else {
      weights = scratch.take<U>(kWeights);
    }
  }
  static constexpr int64_t bytes() {
    return Scratch::bytes<T>(kScores) + Scratch::bytes<U>(kWeights);
  }

 private:
  static constexpr bool kInPlace = std::is_same_v<T, U>;
  static constexpr int64_t kScores = kTileRows * kBlockStride<T>;
  static constexpr int64_t kWeights = kInPlace ? 0 : kTileRows * kBlockStride<U>;
};

// Adds to a tile of rows = queries [query, query + kRows) the product of their probabilities (or
// the like) and the rows of keys [key, key + count) they see: key by key for those that the last
// queries do not see any more, whole for those that all see, key by key for those that the first
// queries do not see yet. `a` is at (query, key), `b` at key. In pairs, where `key` is even, what a
// query does not see has probability 0 and counts as that.
template <int64_t kRowStep, class U, int kRows, int kVectors>
PND_INLINE void add_seen_keys(Tile<U, kRows, kVectors> &tile, const Sequence &sequence,
                              int64_t query, int64_t key, int64_t count, const U *a, const U *b,
                              int64_t b_stride) {
  if constexpr (kPerUnit<U> == 2) {
    const int64_t seen = std::clamp<int64_t>(sequence.first(query) - key, 0, count) / 2;
    tile.template add_product<kRowStep, 1>(a + seen, b + seen * b_stride, b_stride,
                                           units_of<U>(count) - seen);
    return;
  }
  const int64_t from = std::clamp<int64_t>(sequence.first(query + kRows - 1) - key, 0, count);
  const int64_t to = std::clamp<int64_t>(sequence.count(query) - key, from, count);
  if (from > 0) {
    unrolled<kRows - 1>([&](auto step) {
      // The one key that queries up to query + step see and the ones after do not.
      const int64_t k = query + step() + sequence.behind - key;
      if (k >= 0 && k < from) {
        tile.template add_step<kRowStep, 0, step() + 1>(a + k, b + k * b_stride);
      }
    });
  }
  tile.template add_product<kRowStep, 1>(a + from, b + from * b_stride, b_stride, to - from);
  if (to < count) {
    unrolled<kRows - 1>([&](auto step) {
      // The one key that queries from query + step + 1 on see and the ones before do not.
      const int64_t k = query + step() + sequence.ahead - key;
      if (k >= to && k < count) {
        tile.template add_step<kRowStep, step() + 1, kRows>(a + k, b + k * b_stride);
      }
    });
  }
}

// Adds to a tile of rows = keys [key, key + kRows) the product over the queries [query, query +
// count) that see them. `a` is at (query, key), its rows (queries) kStep apart; `b` at query. In
// pairs, where `query` is even, as above.
template <int64_t kStep, class U, int kRows, int kVectors>
PND_INLINE void add_seeing_queries(Tile<U, kRows, kVectors> &tile, const Sequence &sequence,
                                   int64_t query, int64_t key, int64_t count, const U *a,
                                   const U *b, int64_t b_stride) {
  if constexpr (kPerUnit<U> == 2) {
    const int64_t begin = std::clamp<int64_t>(sequence.first_query(key) - query, 0, count) / 2;
    const int64_t end = units_of<U>(
        std::clamp<int64_t>(sequence.end_query(key + kRows - 1) - query, begin * 2, count));
    tile.template add_product<1, kStep>(a + begin * kStep, b + begin * b_stride, b_stride,
                                        end - begin);
    return;
  }
  const int64_t from = std::clamp<int64_t>(sequence.first_query(key + kRows - 1) - query, 0, count);
  const int64_t to = std::clamp<int64_t>(sequence.end_query(key) - query, from, count);
  if (from > 0) {
    unrolled<kRows - 1>([&](auto step) {
      // The one query that sees keys up to key + step and none after.
      const int64_t q = key + step() - sequence.ahead + 1 - query;
      if (q >= 0 && q < from) {
        tile.template add_step<1, 0, step() + 1>(a + q * kStep, b + q * b_stride);
      }
    });
  }
  tile.template add_product<1, kStep>(a + from * kStep, b + from * b_stride, b_stride, to - from);
  if (to < count) {
    unrolled<kRows - 1>([&](auto step) {
      // The one query that sees keys from key + step + 1 on and none before.
      const int64_t q = key + step() - sequence.behind + 1 - query;
      if (q >= to && q < count) {
        tile.template add_step<1, step() + 1, kRows>(a + q * kStep, b + q * b_stride);
      }
    });
  }
}

// attention_few.cpp: the forward call, where few queries and no mask meet the keys of a head. The
// same bits as attention.cpp gives.
template <class S>
bool has_few_queries(const AttentionSizes<S> &sizes);
template <class S, class T>
void attend_few(Call &call, pnd_context *context, const AttentionSizes<S> &sizes, S *out, T *lse);
