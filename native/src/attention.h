// SPDX-License-Identifier: Apache-2.0
// attention.h: what attention.cpp and attention_backward.cpp share: the sizes of a call, which keys
// a query sees, and the tile of scores.
#pragma once

#include "context.h"
#include "softmax.h"

constexpr int64_t kQueryBlock = 192;  // queries that pass over a block of keys while it is in L2
static_assert(guard::kMostHeadSize == kDepth, "a row of q is one run of depth");

template <class T>
struct AttentionSizes {
  int64_t batch, heads, q_steps, k_steps, head_size, mask_batch, mask_heads, mask_steps;
  const int32_t *lengths;
  T scale;
  bool causal;

  int64_t pairs() const { return batch * heads; }
  int64_t row_stride() const { return heads * head_size; }
  int64_t query_start(int64_t b, int64_t h) const { return (b * q_steps * heads + h) * head_size; }
  int64_t key_start(int64_t b, int64_t h) const { return (b * k_steps * heads + h) * head_size; }
  // The mask of a head: the number of its matrix, and the distance between its rows.
  int64_t mask_matrix(int64_t b, int64_t h) const {
    return (mask_batch == 1 ? 0 : b) * mask_heads + (mask_heads == 1 ? 0 : h);
  }
  int64_t mask_stride() const { return mask_steps == 1 ? 0 : k_steps; }
};

// Which keys a query sees: the first count(query) ones.
struct Sight {
  int64_t length, offset;
  bool causal;

  template <class T>
  Sight(const AttentionSizes<T> &sizes, int64_t b)
      : length(sizes.lengths == nullptr ? sizes.k_steps : sizes.lengths[b]),
        offset(sizes.k_steps - sizes.q_steps + 1),
        causal(sizes.causal) {}

  int64_t count(int64_t query) const {
    return causal ? std::clamp<int64_t>(query + offset, 0, length) : length;
  }
  // The first query that sees the key, below 0 where that would be one before the first.
  int64_t first_query(int64_t key) const { return causal ? key - offset + 1 : 0; }
};

inline void check_lengths(Call &call, const int32_t *lengths, int64_t batch, int64_t k_steps) {
  if (call.refused() || lengths == nullptr) return;  // k_steps + 1 may overflow where it is refused
  call.indices("lengths", lengths, batch, 0, k_steps + 1);
}

// A tile of scores has queries as rows; its vectors run along keys, as they do in the mask.

// scores += mask. mask points at the tile's first element; `left` columns of it exist.
template <class T, int kRows, int kVectors>
PND_INLINE void add_mask(Tile<T, kRows, kVectors> &scores, const T *mask, int64_t stride,
                         int64_t left) {
  if (left >= kVectors * kWidth<T>) {
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        scores.sum[r][v] += load(mask + r * stride + v * kWidth<T>);
      }
    }
    return;
  }
  PND_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const int64_t n = std::clamp<int64_t>(left - v * kWidth<T>, 0, kWidth<T>);
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      scores.sum[r][v] += load_first(mask + r * stride + v * kWidth<T>, n);
    }
  }
}

// Scores of keys that a query does not see become -infinity. The tile starts at (query, key).
template <class T, int kRows, int kVectors>
PND_INLINE void hide(Tile<T, kRows, kVectors> &scores, const Sight &sight, int64_t query,
                     int64_t key) {
  if (sight.count(query) - key >= kVectors * kWidth<T>) return;
  PND_UNROLL
  for (int r = 0; r < kRows; ++r) cut_row(scores, r, sight.count(query + r) - key);
}

// Copies rows, scaled.
template <class T>
inline void copy_rows(T *to, const T *from, int64_t stride, int64_t rows, int64_t cols, T scale) {
  for (int64_t r = 0; r < rows; ++r) Rows<T>{to, rows}.fill(r, from + r * stride, cols, scale);
}

// Adds to a tile of rows = queries [query, query + kRows) the product of their probabilities (or
// the like) and the rows of keys [key, key + count) they see: whole up to the first query's sight,
// then key by key for the queries that see it. `a` is at (query, key), `b` at key.
template <int64_t kRowStep, class T, int kRows, int kVectors>
PND_INLINE void add_seen_keys(Tile<T, kRows, kVectors> &tile, const Sight &sight, int64_t query,
                              int64_t key, int64_t count, const T *a, const T *b,
                              int64_t b_stride) {
  const int64_t whole = std::clamp<int64_t>(sight.count(query) - key, 0, count);
  tile.template add_product<kRowStep, 1>(a, b, b_stride, whole);
  if (whole == count) return;
  unrolled<kRows - 1>([&](auto step) {
    // The one key that queries from query + step + 1 on see and the ones before do not.
    const int64_t k = query + step() + sight.offset - key;
    if (k >= 0 && k < count) {
      tile.template add_step<kRowStep, step() + 1, kRows>(a + k, b + k * b_stride);
    }
  });
}

// Adds to a tile of rows = keys [key, key + kRows) the product over the queries [query, query +
// count) that see them. `a` is at (query, key), its rows (queries) kStep apart; `b` at query.
template <int64_t kStep, class T, int kRows, int kVectors>
PND_INLINE void add_seeing_queries(Tile<T, kRows, kVectors> &tile, const Sight &sight,
                                   int64_t query, int64_t key, int64_t count, const T *a,
                                   const T *b, int64_t b_stride) {
  const int64_t first = sight.first_query(key) - query;
  const int64_t whole = std::clamp<int64_t>(sight.causal ? first + kRows - 1 : 0, 0, count);
  if (whole > 0) {
    unrolled<kRows - 1>([&](auto step) {
      // The one query that sees keys up to key + step and none after.
      const int64_t q = first + step();
      if (q >= 0 && q < count) {
        tile.template add_step<1, 0, step() + 1>(a + q * kStep, b + q * b_stride);
      }
    });
  }
  tile.template add_product<1, kStep>(a + whole * kStep, b + whole * b_stride, b_stride,
                                      count - whole);
}
