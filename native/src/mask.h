// SPDX-License-Identifier: Apache-2.0
// mask.h: one row of a mask: which positions are eligible, their weights, and what a scheme leaves.
// Rows are padded with positions that are not eligible, so that loops over a row's scratch memory
// have no tails.
#pragma once

#include <limits>

#include "context.h"
#include "random.h"
#include "select.h"
#include "simd.h"
// After simd.h, which it builds on.
#include "sampling.h"

// A call's arguments.
template <class T>
struct Mask : MaskRule {
  int64_t rows;
  T *log_probability, *inclusion, *weight, *dlogits;
  int32_t *corrupted, *label;
  const T *logits, *dlog_probability, *chances;
  const int32_t *tokens, *eligible, *chosen;
  int64_t step, key;

  PhiloxStream stream(int64_t row) const { return philox_stream(row, step, key); }
  int64_t padded() const { return (length + kLanes - 1) / kLanes * kLanes; }
};

// What a scheme says of a row: arrays of padded() elements.
template <class T>
struct Row {
  T *chance;        // the inclusion
  int32_t *chosen;  // 1 or 0
  T weight;         // of each chosen position, or 0: 1 / chance
  double log_probability;
};

// shifted[i] = logit, -infinity where the position is not eligible; returns how many are. In the
// backward function, which has no tokens, those that have a chance are eligible.
template <class T, class U>
int64_t eligible_logits(const Mask<T> &mask, int64_t row, U *shifted) {
  constexpr U kNone = -std::numeric_limits<U>::infinity();
  const int64_t n = mask.length, at = row * n;
  int32_t count = 0;
  const auto fill = [&](auto logit, auto may) PND_INLINED {
    for (int64_t i = 0; i < n; ++i) {
      const T x = logit(i);
      const bool is = (x - x == 0) & may(i);
      shifted[i] = is ? static_cast<U>(x) : kNone;
      count += is;
    }
  };
  const auto with_logits = [&](auto may) PND_INLINED {
    if (mask.logits == nullptr) return fill([](int64_t) { return T(0); }, may);
    const T *logits = mask.logits + at;
    fill([logits](int64_t i) { return logits[i]; }, may);
  };
  if (mask.tokens == nullptr) {
    const T *chances = mask.chances + at;
    with_logits([chances](int64_t i) { return chances[i] > 0; });
  } else if (mask.eligible == nullptr) {
    const int32_t *tokens = mask.tokens + at;
    with_logits([tokens](int64_t i) { return tokens[i] >= 0; });
  } else {
    const int32_t *tokens = mask.tokens + at, *eligible = mask.eligible + at;
    with_logits([=](int64_t i) { return (tokens[i] >= 0) & (eligible[i] != 0); });
  }
  for (int64_t i = n; i < mask.padded(); ++i) shifted[i] = kNone;
  return count;
}

template <class U>
PND_INLINE U largest_in(const U *x, int64_t padded) {
  Lanes<U> most(-std::numeric_limits<U>::infinity());
  for (int64_t i = 0; i < padded; i += kLanes) {
    PND_UNROLL
    for (int j = 0; j < Lanes<U>::kVectors; ++j) {
      most.v[j] = larger(load(x + i + j * kWidth<U>), most.v[j]);
    }
  }
  Vec<U> all = most.v[0];
  PND_UNROLL
  for (int j = 1; j < Lanes<U>::kVectors; ++j) all = larger(most.v[j], all);
  return largest_of<U>(all);
}

// The sum of f(i) for the vectors of a padded row, in 32 lanes.
template <class U, class F>
PND_INLINE U sum_in(int64_t padded, F &&f) {
  Lanes<U> sum;
  for (int64_t i = 0; i < padded; i += kLanes) {
    PND_UNROLL
    for (int j = 0; j < Lanes<U>::kVectors; ++j) sum.v[j] += f(i + j * kWidth<U>);
  }
  return sum.fold();
}

// From the eligible logits to their weights, in place; shifted (nullable) keeps their logarithms.
template <class U>
void weights_of(U *x, int64_t padded, U *shifted) {
  const U largest = largest_in(x, padded);
  if (largest == -std::numeric_limits<U>::infinity()) {
    std::memset(x, 0, padded * sizeof(U));
    return;
  }
  const Vec<U> most = splat(largest);
  for (int64_t i = 0; i < padded; i += kWidth<U>) {
    const Vec<U> logit = load(x + i);
    if (shifted != nullptr) store(shifted + i, log_weight_of(logit, most));
    store(x + i, weight_of(logit, most));
  }
}

// The 31 upper bits of words as numbers, and 2^31 - 1 less them.
template <class U>
PND_INLINE void counts_of(const uint32_t *words, Vec<U> &count, Vec<U> &rest) {
  typedef uint32_t Bits __attribute__((vector_size(4 * kWidth<U>)));
  typedef int32_t Whole __attribute__((vector_size(4 * kWidth<U>)));
  Bits bits;
  std::memcpy(&bits, words, sizeof bits);
  bits >>= 1;
  count = __builtin_convertvector((Whole)bits, Vec<U>);
  rest = __builtin_convertvector((Whole)(bits ^ 0x7fffffffu), Vec<U>);
}

// Scratch memory of one row, and of one more array of each kind for a scheme.
template <class T>
struct Room {
  T *weight, *other, *select;
  uint32_t *words, *more;
  int32_t *order;
  Row<T> row;

  Room(Scratch &scratch, int64_t padded)
      : weight(scratch.take<T>(padded)),
        other(scratch.take<T>(padded)),
        select(scratch.take<T>(select_room<T>(padded))),
        words(scratch.take<uint32_t>(padded)),
        more(scratch.take<uint32_t>(padded)),
        order(scratch.take<int32_t>(padded)),
        row{scratch.take<T>(padded), scratch.take<int32_t>(padded), 0, 0} {}
  static int64_t bytes(int64_t padded) {
    return 3 * Scratch::bytes<T>(padded) + Scratch::bytes<T>(select_room<T>(padded)) +
           4 * Scratch::bytes<uint32_t>(padded);
  }
};
