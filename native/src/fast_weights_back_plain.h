// SPDX-License-Identifier: Apache-2.0
// fast_weights_back_plain: the adjoints of the plain kind without decay and without normalisation.
// There a step's dq asks for the state alone, dk and dv for its adjoint alone, and no state has to
// be kept: from the start S += k v^T, dq = S dy; from the end G += q dy^T, dv = G^T k, dk = G v.
// Shapes   as in fast_weights_backward.cpp, whose derivatives these are, bit for bit
// Method   a pass over the rows takes several steps: each piece of a row stays in registers
// Order    dv is a chain over the keys, dq and dk are sums over the columns in 32 lanes
// Work     per step and head 10 keys values flops
#pragma once

#include "fast_weights_backward.h"

template <class S>
struct PlainBack {
  using T = Computed<S>;
  static constexpr int kSteps = 4;  // of a pass

  const FastWeights<S> &f;
  int64_t bh, keys, columns, stride;
  T *state;        // [keys, stride]: S, and then G
  T *v, *dy, *de;  // [kTokens, stride], the last [kSteps, stride]
  T *room;         // [kSteps, keys]: sums that are still to be rounded
  T *features;     // [2, kTokens, keys]
  Token<S> tokens[kTokens];

  PlainBack(const FastWeights<S> &call, int64_t head, Scratch scratch)
      : f(call), bh(head), keys(f.keys), columns(f.values), stride(odd_stride(f)) {
    state = scratch.take<T>(keys * stride);
    for (T **rows : {&v, &dy}) *rows = scratch.take<T>(kTokens * stride);
    de = scratch.take<T>(kSteps * stride);
    room = scratch.take<T>(kSteps * keys);
    features = scratch.take<T>(f.room_elements());
    // A vector may pass the last column.
    for (T *rows : {v, dy}) std::memset(rows, 0, kTokens * stride * sizeof(T));
  }
  static int64_t bytes(const FastWeights<S> &f) {
    const int64_t stride = odd_stride(f);
    return Scratch::bytes<T>(f.keys * stride) + 2 * Scratch::bytes<T>(kTokens * stride) +
           Scratch::bytes<T>(kSteps * stride) + Scratch::bytes<T>(kSteps * f.keys) +
           Scratch::bytes<T>(f.room_elements());
  }

  void run() {
    const int64_t length = f.length(bh), size = keys * columns;
    load_state(state, stride, FastWeights<S>::row(f.initial, bh, size), keys, columns);
    for (int64_t t = 0; t < length; t += kTokens) {
      const int64_t n = take(t, length);
      for (int64_t i = 0, count; i < n; i += count) {
        if (tokens[i].reset) clear();
        count = i + kSteps <= n && !resets(i + 1, i + kSteps) ? kSteps : 1;
        count == 1 ? state_pass<1>(i, t) : state_pass<kSteps>(i, t);
      }
    }
    load_state(state, stride, FastWeights<S>::row(f.dlast, bh, size), keys, columns);
    clear_after(f, bh, length);
    for (int64_t t = (length - 1) / kTokens * kTokens; t >= 0 && length > 0; t -= kTokens) {
      for (int64_t i = take(t, length), count; i > 0; i -= count) {
        count = i >= kSteps && !resets(i - kSteps + 1, i) ? kSteps : 1;
        count == 1 ? slope_pass<1>(i - 1, t) : slope_pass<kSteps>(i - kSteps, t);
        if (tokens[i - count].reset) clear();
      }
    }
    if (f.dinitial == nullptr) return;
    for (int64_t j = 0; j < keys; ++j) {
      std::memcpy(f.dinitial + bh * size + j * columns, state + j * stride, columns * sizeof(T));
    }
  }

 private:
  void clear() const { std::memset(state, 0, keys * stride * sizeof(T)); }
  bool resets(int64_t from, int64_t to) const {
    for (int64_t i = from; i < to; ++i) {
      if (tokens[i].reset) return true;
    }
    return false;
  }

  // The tokens from step t on, and their rows; how many there are.
  int64_t take(int64_t t, int64_t length) {
    const int64_t n = std::min(kTokens, length - t);
    f.tokens(tokens, bh, t, n, features);
    const T scale = static_cast<T>(f.scale);
    for (int64_t i = 0; i < n; ++i) {
      read_row(v + i * stride, tokens[i].v, columns);
      T *to = dy + i * stride;
      read_row(to, f.dout + f.place(bh, t + i) * columns, columns);
      for (int64_t c = 0; c < columns; ++c) to[c] *= scale;
    }
    return n;
  }

  // kCount steps from token `first` on: what they write, and dq.
  template <int kCount>
  __attribute__((noinline)) void state_pass(int64_t first, int64_t t) const {
    const T *k[kCount];
    T *dq[kCount];
    PND_UNROLL
    for (int i = 0; i < kCount; ++i) {
      k[i] = tokens[first + i].k;
      dq[i] = sums_of(f.dq + f.place(bh, t + first + i) * keys, room + i * keys);
    }
    // To the compiler, the stores to S might change any member.
    const int64_t n = keys, next_row = stride, width = columns;
    const T *const written = v + first * stride, *const read = dy + first * stride;
    T *row = state;
    RowSums<T> sums[kCount];
    for (int64_t j = 0; j < n; ++j, row += next_row) {
      Lanes<T> of[kCount];
      Vec<T> key[kCount];
      PND_UNROLL
      for (int i = 0; i < kCount; ++i) key[i] = splat(k[i][j]);
      over_columns<T>(width, [&](int64_t c, int lane, auto kept) PND_INLINED {
        Vec<T> s = load(row + c);
        PND_UNROLL
        for (int i = 0; i < kCount; ++i) {
          s = fma(key[i], load(written + i * next_row + c), s);
          of[i].v[lane] = fma(kept(s), kept(load(read + i * next_row + c)), of[i].v[lane]);
        }
        store(row + c, s);
      });
      PND_UNROLL
      for (int i = 0; i < kCount; ++i) sums[i].put(dq[i], j, n, of[i]);
    }
    for (int i = 0; i < kCount; ++i) {
      const int64_t at = f.place(bh, t + first + i);
      finish_row(f, f.dq + at * keys, room + i * keys, f.q, at, tokens[first + i].q);
    }
  }

  // kCount steps from token first + kCount - 1 down to `first`: their part in G, dk and dv.
  template <int kCount>
  __attribute__((noinline)) void slope_pass(int64_t first, int64_t t) const {
    const T *k[kCount], *q[kCount];
    T *dk[kCount];
    PND_UNROLL
    for (int i = 0; i < kCount; ++i) {
      k[i] = tokens[first + i].k;
      q[i] = tokens[first + i].q;
      dk[i] = sums_of(f.dk + f.place(bh, t + first + i) * keys, room + i * keys);
    }
    const int64_t n = keys, next_row = stride, width = columns;
    const T *const written = v + first * stride, *const read = dy + first * stride;
    T *const e = de;
    std::memset(e, 0, kCount * stride * sizeof(T));
    T *row = state;
    RowSums<T> sums[kCount];
    for (int64_t j = 0; j < n; ++j, row += next_row) {
      Lanes<T> of[kCount];
      Vec<T> key[kCount], query[kCount];
      PND_UNROLL
      for (int i = 0; i < kCount; ++i) key[i] = splat(k[i][j]), query[i] = splat(q[i][j]);
      over_columns<T>(width, [&](int64_t c, int lane, auto kept) PND_INLINED {
        Vec<T> g = load(row + c);
        PND_UNROLL
        for (int i = kCount - 1; i >= 0; --i) {
          const int64_t at = i * next_row + c;
          g = fma(query[i], load(read + at), g);
          store(e + at, fma(g, key[i], load(e + at)));
          of[i].v[lane] = fma(kept(g), kept(load(written + at)), of[i].v[lane]);
        }
        store(row + c, g);
      });
      PND_UNROLL
      for (int i = 0; i < kCount; ++i) sums[i].put(dk[i], j, n, of[i]);
    }
    for (int i = 0; i < kCount; ++i) {
      const int64_t at = f.place(bh, t + first + i);
      write_row(f.dv + at * columns, e + i * next_row, columns);
      finish_row(f, f.dk + at * keys, room + i * keys, f.k, at, tokens[first + i].k);
    }
  }
};

template <class S>
inline void run_back_plain(Call &call, pnd_context *context, const FastWeights<S> &f) {
  using B = PlainBack<S>;
  if (call.reserve(B::bytes(f)).refused()) return;
  parallel(context, f.batch * f.heads, f.is_small(),
           [&](int64_t bh, int worker) { B(f, bh, Scratch(context, worker)).run(); });
}
