// SPDX-License-Identifier: Apache-2.0
// feedback_read.h: how a step reads the memory: scores of many positions at once, their softmax,
// and the values' sum.
#pragma once

#include "feedback.h"
#include "softmax.h"

// The positions that a head reads, counted from the origin: blocks of 32 from `begin` on, of which
// [first, end) exist.
struct Visible {
  int64_t begin, first, end;

  template <class T>
  Visible(const Feedback<T> &f, int64_t b, int64_t place)
      : first(f.oldest(b, place) - f.origin()), end(place - f.origin()) {
    begin = first / kLanes * kLanes;
  }
};

// Products of a head's row with the columns of `of` [head_size, slots], f(block's first position,
// tile) for each block of 32; outside of what exists they are `nothing`.
template <class T, class F>
PND_INLINE void each_block(const Visible &seen, const T *row, const T *of, int64_t slots,
                           int64_t head_size, T nothing, F &&f) {
  for (int64_t j = seen.begin; j < seen.end; j += kLanes) {
    Tile<T, 1, Lanes<T>::kVectors> tile;
    tile.clear();
    tile.add_product(row, 0, of + j, slots, head_size);
    if (j < seen.first) cut_before(tile, 0, seen.first - j, nothing);
    if (j + kLanes > seen.end) cut_after(tile, 0, seen.end - j, nothing);
    f(j, tile);
  }
}

// p[j] = softmax over the visible positions of scale q . k_j, zeros in the rest of their blocks.
template <class T>
__attribute__((noinline)) void attend(T *p, const Visible &seen, const T *q, const T *keys,
                                      int64_t slots, int64_t head_size, T scale) {
  constexpr int kVectors = Lanes<T>::kVectors;
  Vec<T> most[kVectors];
  for (Vec<T> &m : most) m = splat(kNothing<T>);
  each_block(seen, q, keys, slots, head_size, kNothing<T>, [&](int64_t j, auto &tile) {
    tile.scale(scale);
    tile.store_to(p + j, 0);
    for (int v = 0; v < kVectors; ++v) most[v] = larger(tile.sum[0][v], most[v]);
  });
  for (int v = 1; v < kVectors; ++v) most[0] = larger(most[v], most[0]);
  const T found = largest_of<T>(most[0]);
  // Where all is -infinity, any finite base gives exponentials of 0.
  const Vec<T> largest = splat(found == kNothing<T> ? T{0} : found);
  Lanes<T> sums;
  for (int64_t j = seen.begin; j < seen.end; j += kLanes) {
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      T *at = p + j + v * kWidth<T>;
      const Vec<T> e = exp_of_negative(load(at) - largest);
      store(at, e);
      sums.v[v] += e;
    }
  }
  const T sum = sums.fold();
  const Vec<T> share = splat(sum == 0 ? sum : 1 / sum);
  for (int64_t j = seen.begin; j < seen.end; j += kWidth<T>) store(p + j, load(p + j) * share);
}

// to[0, size) += sum over j < count of p[j] rows[j][0, size), j upwards.
template <class T>
__attribute__((noinline)) void add_rows(T *to, const T *p, const T *rows, int64_t stride,
                                        int64_t count, int64_t size) {
  int64_t i = 0;
  const auto add = [&](auto vectors, auto get, auto put) PND_INLINED {
    constexpr int kVectors = vectors();
    Vec<T> sum[kVectors];
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[v] = get(to + i + v * kWidth<T>);
    const T *row = rows + i;
    for (int64_t j = 0; j < count; ++j, row += stride) {
      const Vec<T> w = splat(p[j]);
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[v] = fma(w, get(row + v * kWidth<T>), sum[v]);
    }
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) put(to + i + v * kWidth<T>, sum[v]);
    i += kVectors * kWidth<T>;
  };
  const auto load_all = [](const T *x) PND_INLINED { return load(x); };
  const auto store_all = [](T *x, Vec<T> v) PND_INLINED { store(x, v); };
  while (i + 4 * kWidth<T> <= size) add(std::integral_constant<int, 4>{}, load_all, store_all);
  while (i + kWidth<T> <= size) add(std::integral_constant<int, 1>{}, load_all, store_all);
  if (i == size) return;
  const int64_t rest = size - i;
  add(
      std::integral_constant<int, 1>{}, [=](const T *x) PND_INLINED { return load_first(x, rest); },
      [=](T *x, Vec<T> v) PND_INLINED { store_first(x, v, rest); });
}

// read [heads, head_size] = what the heads of sequence b read at a position with the queries q; p
// [heads, p_stride] becomes their weights.
template <class T>
void read_memory(T *read, T *p, int64_t p_stride, const Feedback<T> &f, int64_t b, int64_t place,
                 const T *q, const T *keys) {
  const int64_t size = f.head_size, group = f.heads / f.kv_heads, slots = f.slots();
  const Visible seen(f, b, place);
  std::memset(read, 0, f.q_width() * sizeof(T));
  for (int64_t h = 0; h < f.heads; ++h) {
    const int64_t column = h / group * size;
    T *weights = p + h * p_stride;
    attend(weights, seen, q + h * size, keys + column * slots, slots, size, f.scale());
    f.runs(f.past_values, f.values, b, f.oldest(b, place), place,
           [&](const T *rows, int64_t from, int64_t count) {
             add_rows(read + h * size, weights + from - f.origin(), rows + column, f.kv_width(),
                      count, size);
           });
  }
}
