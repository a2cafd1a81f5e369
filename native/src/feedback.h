// SPDX-License-Identifier: Apache-2.0
// feedback.h: what the two directions of feedback memory share: the sizes of a call, its weights as
// panels, the rows of a task, and how a step reads the memory.
#pragma once

#include <algorithm>
#include <numeric>

#include "activation.h"
#include "rms_norm.h"
#include "rotary.h"
#include "softmax.h"
#include "tile.h"

// Sequences of one task: at least so many, which share what is read of the weights, and at most.
constexpr int64_t kLeastSequences = 4, kMostSequences = 64;

template <class T>
int64_t whole_tiles(int64_t width) {
  return (width + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
}

// The distance between rows of scratch memory: whole tiles, off the powers of two.
template <class T>
int64_t stride_of(int64_t width) {
  return whole_tiles<T>(width) + 64 / static_cast<int64_t>(sizeof(T));
}

// A matrix [depth, cols], or the transpose of one, as panels of columns.
template <class T>
struct Weight {
  const T *data;
  int64_t depth, cols;
  bool transposed;
  T *panels = nullptr;
  int64_t in_place = 0;  // so many columns, whole tiles, are read where they are stored

  // Packs what a product of few rows does not read in place.
  void pack(bool few) {
    in_place = few && !transposed ? cols / kTileCols<T> * kTileCols<T> : 0;
    if (in_place == cols) return;
    pack_columns(panels, data + in_place, transposed ? depth : cols, depth, cols - in_place,
                 transposed);
  }
  int64_t size() const { return depth * whole_tiles<T>(cols); }
  PND_INLINE const T *at(int64_t column, int64_t k) const {
    if (column < in_place) return data + k * cols + column;
    return panels + (column - in_place) * depth + k * kTileCols<T>;
  }
  PND_INLINE int64_t stride(int64_t column) const {
    return column < in_place ? cols : kTileCols<T>;
  }
};

template <class T, int kRows, int kVectors>
__attribute__((noinline)) void multiply_tile(T *c, int64_t c_stride, const T *a, int64_t a_stride,
                                             const T *b, int64_t b_stride, int64_t depth,
                                             bool accumulate) {
  Tile<T, kRows, kVectors> tile;
  if (accumulate) {
    tile.load_from(c, c_stride);
  } else {
    tile.clear();
  }
  tile.add_product(a, a_stride, b, b_stride, depth);
  tile.store_to(c, c_stride);
}

// Columns of a tile of one or two rows whose weights are read where they are stored: runs that are
// long enough for the processor to foresee.
#if defined(__AVX512F__)
constexpr int kRunVectors = 8;
#else
constexpr int kRunVectors = 4;
#endif

// c = (accumulate ? c : 0) + a W for `rows` rows, c's padded to whole tiles.
template <class T>
void multiply(T *c, int64_t c_stride, const T *a, int64_t a_stride, int64_t rows,
              const Weight<T> &w, bool accumulate) {
  const int64_t panels = panels_of(rows);
  const auto tiles = [&](int64_t column, auto vectors) {
    for (int64_t k = 0; k < w.depth; k += kDepth) {
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t row = panel_start(p, panels, rows);
        const auto tile = [&](auto height) {
          multiply_tile<T, height(), vectors()>(c + row * c_stride + column, c_stride,
                                                a + row * a_stride + k, a_stride, w.at(column, k),
                                                w.stride(column), std::min(kDepth, w.depth - k),
                                                accumulate || k > 0);
        };
        if constexpr (vectors() > kTileVectors) {
          rows == 1 ? tile(std::integral_constant<int, 1>{})
                    : tile(std::integral_constant<int, 2>{});
        } else {
          with_rows(panel_start(p + 1, panels, rows) - row, tile);
        }
      }
    }
  };
  int64_t first = 0;
  constexpr int64_t kRun = kRunVectors * kWidth<T>;
  for (; rows <= 2 && first + kRun <= w.in_place; first += kRun) {
    tiles(first, std::integral_constant<int, kRunVectors>{});
  }
  each_tile<T>(w.cols - first,
               [&](int64_t column, auto vectors) { tiles(first + column, vectors); });
}

template <class T>
struct Feedback : guard::Feedback {
  T *states, *keys, *values;
  const int64_t *begins = nullptr;  // begin_each's table, where a step may forget

  Feedback(const guard::Feedback &call, void *states, void *keys, void *values)
      : guard::Feedback(call),
        states(static_cast<T *>(states)),
        keys(static_cast<T *>(keys)),
        values(static_cast<T *>(values)) {}

  static const T *of(const void *array, int64_t at = 0) {
    return static_cast<const T *>(array) + at;
  }
  int64_t q_width() const { return heads * head_size; }
  int64_t kv_width() const { return kv_heads * head_size; }
  T *state(int64_t b, int64_t t, int64_t level) const {
    return states + ((b * steps + t) * levels() + level) * width;
  }
  // Whether steps may read less than all that stands before them.
  bool forgets() const { return first != nullptr || resets != nullptr; }
  // Row b's steps that are computed.
  int64_t length(int64_t b) const { return lengths == nullptr ? steps : lengths[b]; }
  // The oldest position that a step at this one reads of those that it remembers.
  int64_t window_start(int64_t place) const {
    return window == 0 ? 0 : std::max<int64_t>(0, place - window);
  }
  int64_t oldest(int64_t b, int64_t place) const {
    return begins == nullptr ? window_start(place)
                             : std::max(window_start(place), begins[b * steps + place - past]);
  }
  bool reads(int64_t b, int64_t t) const { return oldest(b, past + t) < past + t; }
  // Writes to `table` [batch, steps] what each step of a sequence remembers the positions from.
  void begin_each(int64_t *table, int64_t b) const {
    int64_t place = first == nullptr ? 0 : first[b];
    for (int64_t t = 0; t < steps; ++t) {
      if (resets != nullptr && resets[b * steps + t] != 0) place = past + t;
      table[b * steps + t] = place;
    }
  }
  // Positions in scratch memory: from `origin` on, which keeps them in their lanes.
  int64_t origin() const { return window_start(past) / kLanes * kLanes; }
  int64_t slots() const {
    // Rows of an odd number of lines do not share cache sets.
    const int64_t blocks = (past + steps - origin() + kLanes - 1) / kLanes;
    return (blocks | 1) * kLanes;
  }
  int64_t pairs() const { return padded_pairs(head_size / 2); }
  T scale() const { return 1 / root(static_cast<T>(head_size)); }

  // Calls f(the keys' or values' rows, where f's first position stands among the remembered, count)
  // for the past and for this call's steps of the positions [from, to).
  template <class F>
  void runs(const void *before, const T *now, int64_t b, int64_t from, int64_t to, F &&f) const {
    if (from < past) {
      f(of(before, (b * room + from) * kv_width()), from, std::min(to, past) - from);
    }
    const int64_t start = std::max(from, past);
    if (start < to) f(now + (b * steps + start - past) * kv_width(), start, to - start);
  }

  // A sequence's rows up to position `end` as columns: to [kv_width, slots]. Those that no step
  // remembers are left out.
  void transpose(T *to, const void *before, const T *now, int64_t b, int64_t end) const {
    constexpr int64_t kBlock = 32 / static_cast<int64_t>(sizeof(T));
    const int64_t size = kv_width(), stride = slots();
    const int64_t start = std::max(origin(), begins == nullptr ? 0 : begins[b * steps]);
    runs(before, now, b, start, end, [&](const T *rows, int64_t from, int64_t count) {
      T *column = to + from - origin();
      const int64_t whole = count / kBlock * kBlock, whole_size = size / kBlock * kBlock;
      for (int64_t j = 0; j < whole; j += kBlock) {
        for (int64_t i = 0; i < whole_size; i += kBlock) {
          transpose_block(rows + j * size + i, size, column + i * stride + j, stride);
        }
      }
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t i = j < whole ? whole_size : 0; i < size; ++i) {
          column[i * stride + j] = rows[j * size + i];
        }
      }
    });
  }

  // What the weights of a layer are called here.
  Weight<T> query_of(int64_t l, bool back) const {
    return weight(query, l, width, q_width(), back);
  }
  Weight<T> mix_of(int64_t l, bool back) const { return weight(mix, l, q_width(), width, back); }
  Weight<T> wide_of(int64_t l, bool back) const { return weight(wide, l, width, inner, back); }
  Weight<T> narrow_of(int64_t l, bool back) const { return weight(narrow, l, inner, width, back); }
  Weight<T> key_of(bool back) const { return weight(key, 0, width, kv_width(), back); }
  Weight<T> value_of(bool back) const { return weight(value, 0, width, kv_width(), back); }

 private:
  static Weight<T> weight(const void *array, int64_t l, int64_t in, int64_t out, bool back) {
    return {of(array, l * in * out), back ? out : in, back ? in : out, back};
  }
};

// Refuses rows that begin or end where they cannot.
inline void check_rows(Call &call, const guard::Feedback &f) {
  if (call.refused()) return;
  if (f.first != nullptr) call.indices("first", f.first, f.batch, 0, f.past + 1);
  if (f.lengths != nullptr) call.indices("lengths", f.lengths, f.batch, 0, f.steps + 1);
}

// Cosines and sines of all steps, one row of `pairs` for each.
template <class T>
void all_angles(T *cosine, T *sine, double *rates, const Feedback<T> &f, double sign) {
  rotary_rates(rates, f.head_size / 2, f.base);
  for (int64_t t = 0; t < f.steps; ++t) {
    rotary_angles(cosine + t * f.pairs(), sine + t * f.pairs(), rates, f.head_size / 2, f.past + t,
                  sign);
  }
}

// The sequences of a task that run at a step, upwards.
struct Running {
  const int64_t *rows;
  int64_t count;

  template <class T>
  Running(int64_t *room, const Feedback<T> &f, int64_t t, int64_t first, int64_t end)
      : rows(room), count(0) {
    for (int64_t b = first; b < end; ++b) {
      if (t < f.length(b)) room[count++] = b;
    }
  }
  int64_t operator[](int64_t r) const { return rows[r]; }
  // Whether one of them reads the memory at step t.
  template <class T>
  bool read(const Feedback<T> &f, int64_t t) const {
    return std::any_of(rows, rows + count, [&](int64_t b) { return f.reads(b, t); });
  }
};

// Sequences cut into tasks of about as many steps.
struct Tasks {
  int64_t batch, most, count;

  Tasks(const guard::Feedback &f, int64_t threads) : batch(f.batch) {
    const int64_t even = (batch + threads - 1) / threads;
    most = std::clamp(even, kLeastSequences, kMostSequences);
    count = (batch + most - 1) / most;
    if (f.lengths != nullptr) most = std::min(batch, kMostSequences);
  }
  // The first sequence of each task, and behind the last: starts [count + 1].
  void cut(int64_t *starts, const int32_t *lengths) const {
    const int64_t total =
        lengths == nullptr ? batch : std::accumulate(lengths, lengths + batch, int64_t{0});
    int64_t b = 0, seen = 0;
    starts[0] = 0;
    for (int64_t task = 1; task <= count; ++task) {
      const int64_t least = batch - (count - task) * most, end = starts[task - 1] + most;
      while (b < std::min(end, batch) && (b < least || seen * count < total * task)) {
        seen += lengths == nullptr ? 1 : lengths[b];
        ++b;
      }
      starts[task] = b;
    }
  }
};

// y = x scale gain, with scale = 1 / sqrt(mean x^2 + eps), which is returned.
template <class T>
T normalise(T *y, const T *x, const T *gain, int64_t cols, double eps) {
  const T scale = scale_of_row(x, cols, static_cast<T>(eps));
  const Vec<T> s = splat(scale);
  each_vector<T>(
      cols, [=](int64_t i, auto get, auto put) { put(y + i, get(x + i) * s * get(gain + i)); });
  return scale;
}

// z = sum over l of share[l] x_l for a sequence's step.
template <class T>
void mix_states(T *z, const Feedback<T> &f, int64_t b, int64_t t) {
  const T *x = f.state(b, t, 0), *share = f.of(f.share);
  each_vector<T>(f.width, [&](int64_t i, auto get, auto put) {
    Vec<T> sum{};
    for (int64_t l = 0; l < f.levels(); ++l) {
      sum = fma(splat(share[l]), get(x + l * f.width + i), sum);
    }
    put(z + i, sum);
  });
}

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
