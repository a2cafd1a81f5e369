// SPDX-License-Identifier: Apache-2.0
// fast_weights.cuh: what fast_weights.cu and fast_weights_backward.cu share: a call's arrays, the
// rows of a step in shared memory, and a panel of a state in the registers of a block. S is the
// type that q, k, v, out and their adjoints are stored as, T what all else is and is computed as.
#pragma once

#include "guards/fast_weights.h"
#include "packs.cuh"
#include "ptx.cuh"
#include "scalar.cuh"
#include "warp.cuh"

enum class Memory { kPlain, kDelta, kLowRank };

constexpr int kPanel = 32;  // columns of a state that a block has, one per lane
constexpr int kWarps = 8;   // that share its rows: warp w has the keys w, w + 8, ...
constexpr int kThreads = kPanel * kWarps;
static_assert(guard::kMostKeys <= kThreads, "a thread loads at most one element of each row");

template <class S>
struct FastWeights : guard::FastWeights {
  using T = Computed<S>;
  Faults *faults;
  Checked checked;

  FastWeights(const guard::FastWeights &call, pnd_context *context, Checked array)
      : guard::FastWeights(call), faults(context->faults), checked(array) {}

  PND_SHARED int64_t width() const { return values + normalised; }
  PND_SHARED int64_t heads_of_all() const { return batch * heads; }
  PND_SHARED int64_t tokens() const { return batch * steps * heads; }
  PND_SHARED int64_t place(int64_t bh, int64_t t) const {
    return (bh / heads * steps + t) * heads + bh % heads;
  }
  // A length outside its range is noted and counts as 0.
  __device__ int64_t length(int64_t b) const {
    if (lengths == nullptr) return steps;
    return Range{faults, checked, 0, steps + 1}.holds(b, lengths[b]) ? lengths[b] : 0;
  }
  __device__ bool resets_at(int64_t bh, int64_t t) const {
    return resets != nullptr && resets[bh / heads * steps + t] != 0;
  }
  __device__ static T at(const void *array, int64_t i) { return static_cast<const T *>(array)[i]; }
  __device__ static T token_at(const void *array, int64_t i) {
    return widened(static_cast<const S *>(array)[i]);
  }
  // elu + 1, and its derivative.
  __device__ T feature(T x) const { return features == 0 ? x : x > T(0) ? x + T(1) : exp_of(x); }
  __device__ T feature_slope(T x) const { return features == 0 || x > T(0) ? T(1) : exp_of(x); }
  __device__ T value(int64_t place, int64_t column) const {
    return column < values ? token_at(v, place * values + column) : column < width() ? T(1) : T(0);
  }
};

// What a backward call is given and finds beside that; those that it lacks are null.
template <class S>
struct Slopes {
  using T = Computed<S>;
  S *dq, *dk, *dv;
  T *ddecay, *drate, *derase, *dwrite, *dinitial;
  const S *dout;
  const T *dlast;
};

// The rows of one step in shared memory, for all threads of the block after its next barrier.
template <class T>
struct StepRows {
  T *q, *k, *decay, *erase, *write;

  static constexpr int kRows = 5;
  __device__ StepRows(T *shared, int64_t keys)
      : q(shared),
        k(shared + keys),
        decay(shared + 2 * keys),
        erase(shared + 3 * keys),
        write(shared + 4 * keys) {}

  template <class S>
  __device__ void load(const FastWeights<S> &f, int64_t place) const {
    const int64_t j = threadIdx.x, i = place * f.keys + j;
    if (j >= f.keys) return;
    q[j] = f.feature(f.token_at(f.q, i));
    k[j] = f.feature(f.token_at(f.k, i));
    decay[j] = f.decay == nullptr  ? T(1)
               : f.decay_size == 1 ? f.at(f.decay, place)
                                   : f.at(f.decay, i);
    if (f.erase != nullptr) {
      erase[j] = f.at(f.erase, i);
      write[j] = f.at(f.write, i);
    }
  }
};

// The sum of the warps' parts for each column, in the order of the warps; `shared` has kThreads
// elements, which nobody reads or writes between two barriers around this.
template <class T>
__device__ __forceinline__ T over_warps(T part, T *shared) {
  shared[threadIdx.x] = part;
  __syncthreads();
  T sum = shared[lane_number()];
  PND_UNROLL
  for (int w = 1; w < kWarps; ++w) sum += shared[w * kPanel + lane_number()];
  return sum;
}

// A thread's rows of one column of a state.
template <class T, int kRows>
struct StatePart {
  T s[kRows];

  // Calls body(i, j) for the keys j of this thread, the i-th of its rows.
  template <class F>
  static __device__ __forceinline__ void each(int64_t keys, F &&body) {
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int j = i * kWarps + warp_number();
      if (j < keys) body(i, j);
    }
  }
  __device__ __forceinline__ void clear() {
    PND_UNROLL
    for (int i = 0; i < kRows; ++i) s[i] = T(0);
  }
  // From and to rows `stride` apart, of which `p` points at this thread's column of the first.
  __device__ __forceinline__ void load(const T *p, int64_t stride, int64_t keys) {
    each(keys, [&](int i, int j) { s[i] = p[j * stride]; });
  }
  __device__ __forceinline__ void store(T *p, int64_t stride, int64_t keys) const {
    each(keys, [&](int i, int j) { p[j * stride] = s[i]; });
  }
  __device__ __forceinline__ T dot(const T *row, int64_t keys) const {
    T sum = T(0);
    each(keys, [&](int i, int j) { sum = fma(s[i], row[j], sum); });
    return sum;
  }

  // One step: what it writes with k into `x`, what low rank writes with `write` into `u` (delta:
  // v - u).
  template <Memory kKind>
  __device__ __forceinline__ void step(const StepRows<T> &rows, int64_t keys, T rate, T *shared,
                                       T &x, T &u) {
    if constexpr (kKind == Memory::kLowRank) u = over_warps(dot(rows.erase, keys), shared);
    each(keys, [&](int i, int j) { s[i] *= rows.decay[j]; });
    if constexpr (kKind == Memory::kDelta) {
      u = x - over_warps(dot(rows.k, keys), shared);
      x = rate * u;
    }
    each(keys, [&](int i, int j) {
      if constexpr (kKind == Memory::kLowRank) s[i] = fma(rows.write[j], u, s[i]);
      s[i] = fma(rows.k[j], x, s[i]);
    });
  }
};

// Calls f(std::integral_constant<Memory, kind>, std::integral_constant<int, rows of a thread>).
template <class F>
void by_memory(const guard::FastWeights &sizes, F &&f) {
  const auto by_rows = [&](auto kind) {
    if (sizes.keys <= 8 * kWarps) {
      f(kind, std::integral_constant<int, 8>{});
    } else if (sizes.keys <= 16 * kWarps) {
      f(kind, std::integral_constant<int, 16>{});
    } else {
      f(kind, std::integral_constant<int, 32>{});
    }
  };
  if (sizes.rate != nullptr) {
    by_rows(std::integral_constant<Memory, Memory::kDelta>{});
  } else if (sizes.erase != nullptr) {
    by_rows(std::integral_constant<Memory, Memory::kLowRank>{});
  } else {
    by_rows(std::integral_constant<Memory, Memory::kPlain>{});
  }
}

// Where the reads of a scan go: to[place * stride + column - first], times scale and over the norm.
template <class To>
struct Reads {
  using T = Computed<To>;
  To *to;
  int64_t stride, first;
  T scale;
  const T *norms;  // of each place; nullable

  __device__ void put(int64_t place, int64_t column, T y) const {
    if (norms != nullptr) y = norms[place] == T(0) ? T(0) : y / norms[place];
    to[place * stride + column - first] = stored<To>(y * scale);
  }
};

// Scans the columns [first, end) of every head; `last` is nullable.
template <class S, class To>
int32_t scan(Call &call, pnd_context *context, const FastWeights<S> &f, int64_t first, int64_t end,
             Reads<To> reads, Computed<S> *last);

// Whether a call in bf16 goes in chunks on tensor cores, which scan_chunks does:
// fast_weights_chunk.
bool takes_chunks(const guard::FastWeights &f, int64_t chunk);
int32_t scan_chunks(Call &call, pnd_context *context, const FastWeights<Bf16> &f, int64_t chunk,
                    Reads<Bf16> reads, float *last);

// Whether the adjoints of a call in bf16 are made so, which scan_chunks_back does:
// fast_weights_chunk_backward.
bool takes_chunks_back(const pnd_context *context, const guard::FastWeights &f);
int32_t scan_chunks_back(Call &call, pnd_context *context, const FastWeights<Bf16> &f,
                         const Slopes<Bf16> &d);
