// SPDX-License-Identifier: Apache-2.0
// fast_weights_backward.h: what both forms of the backward function share: sums of rows over their
// columns, in 32 lanes, and what a step leaves where it has no part.
#pragma once

#include "fast_weights.h"

// Calls body(i, j, kept) for the vectors of the columns: from column i on, lane vector j of 32;
// kept(x) is x with zeros past the last column.
template <class T, class Body>
PND_INLINE void over_columns(int64_t columns, Body &&body) {
  int64_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    PND_UNROLL
    for (int j = 0; j < Lanes<T>::kVectors; ++j) body(i + j * kWidth<T>, j, Whole<T>{});
  }
  PND_UNROLL
  for (int j = 0; j < Lanes<T>::kVectors; ++j, i += kWidth<T>) {
    if (i + kWidth<T> <= columns) {
      body(i, j, Whole<T>{});
    } else if (i < columns) {
      body(i, j, First<T>{columns - i});
    }
  }
}

// The sums of the elements of four vectors, each as fold_vector has it.
template <class T>
PND_INLINE void fold_four(const Vec<T> *x, T *to) {
  constexpr int n = kWidth<T>;
  // Of the vectors in pairs: halves, and then quarters, that stand beside each other.
  const auto halves = [](Vec<T> a, Vec<T> b) PND_INLINED {
    if constexpr (n == 16) {
      return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
             __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                     31);
    } else if constexpr (n == 8) {
      return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
             __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    }
  };
  if constexpr (n == 16) {
    const Vec<T> a = halves(x[0], x[1]), b = halves(x[2], x[3]);
    Vec<T> y =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
        __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    y += __builtin_shufflevector(y, y, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    y += __builtin_shufflevector(y, y, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    for (int i = 0; i < 4; ++i) to[i] = y[4 * i];
  } else if constexpr (n == 8) {
    for (int i = 0; i < 4; i += 2) {
      Vec<T> y = halves(x[i], x[i + 1]);
      y += __builtin_shufflevector(y, y, 2, 3, 0, 1, 6, 7, 4, 5);
      y += __builtin_shufflevector(y, y, 1, 0, 3, 2, 5, 4, 7, 6);
      to[i] = y[0];
      to[i + 1] = y[4];
    }
  } else {
    for (int i = 0; i < 4; ++i) to[i] = fold_vector(x[i], [](auto a, auto b) { return a + b; });
  }
}

// What lanes sum up for row after row, of which four are folded together.
template <class T>
struct RowSums {
  Vec<T> of[4];

  // to[j] of n, once the last of its four is known.
  PND_INLINE void put(T *to, int64_t j, int64_t n, const Lanes<T> &lanes) {
    Vec<T> sum[Lanes<T>::kVectors];
    PND_UNROLL
    for (int i = 0; i < Lanes<T>::kVectors; ++i) sum[i] = lanes.v[i];
    PND_UNROLL
    for (int w = Lanes<T>::kVectors / 2; w > 0; w /= 2) {
      PND_UNROLL
      for (int i = 0; i < w; ++i) sum[i] += sum[i + w];
    }
    of[j % 4] = sum[0];
    if (j % 4 == 3) {
      fold_four(of, to + j - 3);
    } else if (j + 1 == n) {
      for (int64_t i = j - j % 4; i < n; ++i) {
        to[i] = fold_vector(of[i % 4], [](auto a, auto b) { return a + b; });
      }
    }
  }
};

// Where the sums of a row are made: in place, or in `room` where they are still to be rounded.
template <class S>
PND_INLINE Computed<S> *sums_of(S *row, [[maybe_unused]] Computed<S> *room) {
  if constexpr (FastWeights<S>::kRounds) {
    return room;
  } else {
    return row;
  }
}
// The adjoint of a row of x, which is q or k, from that of its feature, which sums_of has.
// (elu + 1)' is 1 above 0 and exp below, which is the feature.
template <class S>
inline void finish_row(const FastWeights<S> &f, S *row, Computed<S> *room, const void *x,
                       int64_t at, const Computed<S> *feature) {
  const S *own = FastWeights<S>::template row<S>(x, at, f.keys);
  Computed<S> *sums = sums_of(row, room);
  for (int64_t j = 0; j < f.keys && f.features; ++j) {
    if (!(widened(own[j]) > 0)) sums[j] *= feature[j];
  }
  if constexpr (FastWeights<S>::kRounds) write_row(row, sums, f.keys);
}

// The derivatives of the steps after a head's last one.
template <class S>
inline void clear_after(const FastWeights<S> &f, int64_t bh, int64_t length) {
  for (int64_t t = length; t < f.steps; ++t) {
    const auto clear = [&](auto *array, int64_t size) {
      if (array == nullptr) return;
      std::memset(static_cast<void *>(array + f.place(bh, t) * size), 0, size * sizeof *array);
    };
    clear(f.dq, f.keys);
    clear(f.dk, f.keys);
    clear(f.dv, f.values);
    clear(f.ddecay, f.decay_size);
    clear(f.drate, 1);
    clear(f.derase, f.keys);
    clear(f.dwrite, f.keys);
  }
}

// Between the rows of a state: whole vectors, and an odd number of lines, so that the rows of a
// block of columns fall into all sets.
template <class S>
inline int64_t odd_stride(const FastWeights<S> &f) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(Computed<S>));
  return ((f.stride() + kLine - 1) / kLine | 1) * kLine;
}
