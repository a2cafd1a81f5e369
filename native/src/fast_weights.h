// SPDX-License-Identifier: Apache-2.0
// fast_weights.h: what the step form, the chunked form and the backward function share: a call's
// sizes and arrays, the tokens of one head, and the sums that run over its keys and columns. S is
// the type that q, k, v, out and their adjoints are stored as, T what all else is and is computed
// as.
#pragma once

#include "guards/fast_weights.h"
#include "rows.h"
#include "stored.h"
#include "tile.h"
// After simd.h, which it builds on.
#include "formulas.h"

enum class Memory { kPlain, kDelta, kLowRank };

// Tokens that are prepared together.
constexpr int64_t kTokens = 16;

// One step of one head. The pointers are to rows of the inputs or of scratch memory.
template <class S>
struct Token {
  using T = Computed<S>;
  const T *q, *k;
  const S *v;
  const T *decay, *erase, *write;
  T rate, kq, wq;  // k . q and write . q
  bool reset;
};

template <class S>
struct FastWeights : guard::FastWeights {
  using T = Computed<S>;
  static constexpr bool kRounds = !std::is_same_v<S, T>;
  S *out;
  T *last;
  int64_t chunk;
  // Of the backward function.
  S *dq, *dk, *dv;
  T *ddecay, *drate, *derase, *dwrite, *dinitial;
  const S *dout;
  const T *dlast;

  explicit FastWeights(const guard::FastWeights &call) : guard::FastWeights(call) {}

  Memory kind() const {
    return rate != nullptr ? Memory::kDelta : erase != nullptr ? Memory::kLowRank : Memory::kPlain;
  }
  // The place of step t of head bh = (b, h) in [batch, steps, heads].
  int64_t place(int64_t bh, int64_t t) const {
    return (bh / heads * steps + t) * heads + bh % heads;
  }
  int64_t length(int64_t bh) const { return lengths == nullptr ? steps : lengths[bh / heads]; }
  // Between the rows of a state in scratch memory: its columns rounded up to whole vectors.
  int64_t stride() const { return (columns() + kWidth<T> - 1) / kWidth<T> * kWidth<T>; }
  // Whether the multiplications are so few that a second thread would not pay.
  bool is_small() const { return batch * steps * heads < (1 << 15) / (keys * values); }
  template <class E = T>
  static const E *row(const void *array, int64_t at, int64_t size) {
    return array == nullptr ? nullptr : static_cast<const E *>(array) + at * size;
  }
  // Elements of scratch that tokens() needs.
  int64_t room_elements() const { return features || kRounds ? 2 * kTokens * keys : 0; }

  // Prepares the n <= kTokens tokens from step t on; `room` holds their q and k where these
  // are not the arrays' own.
  void tokens(Token<S> *to, int64_t bh, int64_t t, int64_t n, T *room) const {
    int64_t at = place(bh, t);
    const int32_t *reset = resets == nullptr ? nullptr : resets + bh / heads * steps + t;
    for (int64_t i = 0; i < n; ++i, at += heads) {
      Token<S> token{prepared(room + 2 * i * keys, row<S>(q, at, keys)),
                     prepared(room + (2 * i + 1) * keys, row<S>(k, at, keys)),
                     row<S>(v, at, values),
                     row(decay, at, decay_size),
                     row(erase, at, keys),
                     row(write, at, keys),
                     T(0),
                     T(0),
                     T(0),
                     false};
      if (rate != nullptr) token.rate = *row(rate, at, 1);
      if (rate != nullptr || erase != nullptr) token.kq = dot_of(token.k, token.q, keys);
      if (erase != nullptr) token.wq = dot_of(token.write, token.q, keys);
      token.reset = reset != nullptr && reset[i] != 0;
      to[i] = token;
    }
  }

 private:
  // A row of keys as it is, or in `to`: widened, and elu + 1 where the call asks for it.
  const T *prepared(T *to, const S *x) const {
    if constexpr (!kRounds) {
      if (!features) return x;
    }
    for (int64_t j = 0; j < keys; j += kWidth<T>) {
      Vec<T> a = read_some(x + j, keys - j);
      if (features) a = choose(a > Vec<T>{}, a + splat<T>(1), exp_of(a));
      store_some(to + j, a, keys - j);
    }
    return to;
  }
};

// Of the columns from `first` on, `left` of which exist, `kVectors` vectors; zeros past the end.
template <int kVectors, class S, class T = Computed<S>>
PND_INLINE Pack<Vec<T>, kVectors> load_columns(const S *p, int64_t left) {
  Pack<Vec<T>, kVectors> x;
  PND_UNROLL
  for (int c = 0; c < kVectors; ++c) {
    const int64_t here = left - c * kWidth<T>;
    x.v[c] = here <= 0 ? Vec<T>{} : read_some(p + c * kWidth<T>, here);
  }
  return x;
}
template <class S, class V, int kVectors, class T = Computed<S>>
PND_INLINE void store_columns(S *p, const Pack<V, kVectors> &x, int64_t left) {
  PND_UNROLL
  for (int c = 0; c < kVectors; ++c) {
    const int64_t here = left - c * kWidth<T>;
    if (here > 0) write_some(p + c * kWidth<T>, x.v[c], here);
  }
}

// The state of a head between an array and scratch memory. Without one: zeros.
template <class T>
inline void load_state(T *state, int64_t stride, const T *from, int64_t keys, int64_t columns) {
  if (from == nullptr) return static_cast<void>(std::memset(state, 0, keys * stride * sizeof(T)));
  for (int64_t j = 0; j < keys; ++j) {
    const T *row = from + j * columns;
    for (int64_t c = 0; c < columns; c += kWidth<T>) {
      store(state + j * stride + c, load_some(row + c, columns - c));
    }
  }
}

// Lengths in [0, steps].
inline void check_lengths(Call &call, const guard::FastWeights &f) {
  if (call.refused()) return;  // steps + 1 may overflow where it is refused
  if (f.lengths != nullptr) call.indices("lengths", f.lengths, f.batch, 0, f.steps + 1);
}

// The chunked form. (fast_weights_chunk.cpp)
template <class S>
void run_chunked(Call &call, pnd_context *context, const FastWeights<S> &f);
