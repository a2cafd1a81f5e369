// SPDX-License-Identifier: Apache-2.0
// mask.cuh: one row of a mask by one block: eligible positions, weights, the race and the sets, as
// in native/src/mask*.h and in the same orders: a sum in 32 lanes is a warp's, a chain one
// thread's.
#pragma once

#include <algorithm>

#include "ptx.cuh"
#include "rows.cuh"
#include "scalar.cuh"
#include "warp.cuh"
// After scalar.cuh, which says how what both libraries share is compiled.
#define PND_LOOP __device__ __forceinline__
#include "sampling.h"

constexpr int kMaskThreads = 256;
// Shared memory: what folds use (rows.cuh), then what one thread tells the others, then counts.
constexpr int kFolded = 1024, kTold = 64, kDigits = 256;
constexpr size_t kMaskShared = kFolded + kTold + kDigits * sizeof(unsigned);

// A call's arguments. A block's scratch memory, `stride` bytes, is its part of `scratch`; where
// that is null, it is shared memory.
template <class T>
struct Mask : MaskRule {
  int64_t rows;
  T *log_probability, *inclusion, *weight, *dlogits;
  int32_t *corrupted, *label;
  const T *logits, *dlog_probability, *chances;
  const int32_t *tokens, *eligible, *chosen;
  const int64_t *step;
  int64_t key;
  char *scratch;
  int64_t stride;

  __device__ PhiloxStream stream(int64_t row) const { return philox_stream(row, *step, key); }
  PND_SHARED int64_t padded() const { return (length + kWarp - 1) / kWarp * kWarp; }
  __device__ char *room() const {
    return scratch == nullptr ? shared_memory<char>() + kMaskShared : scratch + blockIdx.x * stride;
  }
};

// Hands out pieces of memory; from null it counts bytes.
struct Pieces {
  char *next;
  template <class T>
  PND_SHARED T *take(int64_t count) {
    T *piece = reinterpret_cast<T *>(next);
    next += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
};

PND_SHARED int64_t set_groups(int64_t length) { return (length + kSetGroup - 1) / kSetGroup; }

// A row's scratch memory: U is what its scheme computes in.
template <class T, class U>
struct Space {
  U *weight, *other, *shifted, *share;
  T *chance;
  int32_t *chosen, *order;
  double *table, *adjoint;  // conditional Poisson's F, and A twice

  PND_SHARED explicit Space(Pieces p, const MaskRule &rule, int64_t padded, int64_t most)
      : weight(p.take<U>(padded)),
        other(p.take<U>(padded)),
        shifted(p.take<U>(padded)),
        share(p.take<U>(rule.candidates)),
        chance(p.take<T>(padded)),
        chosen(p.take<int32_t>(padded)),
        order(p.take<int32_t>(padded)),
        table(p.take<double>(most > 0 ? set_groups(rule.length + kSetGroup) * (most + 1) : 0)),
        adjoint(p.take<double>(most > 0 ? 2 * (most + 1 + kSetGroup) : 0)),
        end(p.next) {}
  char *end;
};

// ---- a block together ---------------------------------------------------------------------------

template <class F>
__device__ __forceinline__ void over(int64_t n, F f) {
#pragma unroll 1
  for (int64_t i = threadIdx.x; i < n; i += kMaskThreads) f(i);
}

// Of values that one thread knows.
template <class X>
__device__ __forceinline__ X *told() {
  return reinterpret_cast<X *>(shared_memory<unsigned char>() + kFolded);
}
template <class X, class F>
__device__ __forceinline__ X tell(F f) {
  __syncthreads();
  if (threadIdx.x == 0) *told<X>() = f();
  __syncthreads();
  return *told<X>();
}

// The sum of f(i) over a padded row: lane i mod 32, folded 16, 8, 4, 2, 1.
template <class U, class F>
__device__ U sum_in(int64_t padded, F f) {
  __syncthreads();
  if (warp_number() == 0) {
    U sum = 0;
#pragma unroll 1
    for (int64_t i = lane_number(); i < padded; i += kWarp) sum += f(i);
#pragma unroll 1
    for (int w = kWarp / 2; w > 0; w /= 2) sum += __shfl_down_sync(kAllLanes, sum, w);
    if (lane_number() == 0) *told<U>() = sum;
  }
  __syncthreads();
  return *told<U>();
}

// In any order: counts and maxima.
template <class X, class F, class Op>
__device__ X fold_in(int64_t padded, X first, F f, Op op) {
  X x[] = {first};
  __syncthreads();
  over(padded, [&](int64_t i) { x[0] = op(x[0], f(i)); });
  fold_team<kMaskThreads>(x, op);
  return x[0];
}
template <class F>
__device__ int count_in(int64_t padded, F f) {
  return fold_in(padded, 0, f, [](int a, int b) { return a + b; });
}

// Calls f(i, word) for the positions of a padded row.
template <class F>
__device__ __forceinline__ void over_words(int64_t padded, uint32_t start, PhiloxStream stream,
                                           F f) {
  over(padded / 4, [&](int64_t block) {
    PhiloxBlock words = philox_block(start + static_cast<uint32_t>(block), stream);
    // One after another: four at once do not fit into the registers.
#pragma unroll 1
    for (int w = 0; w < 4; ++w) {
      f(4 * block + w, words.word[0]);
      words = {{words.word[1], words.word[2], words.word[3], 0}};
    }
  });
}

// ---- a row --------------------------------------------------------------------------------------

// to[i] = logit, -infinity where the position is not eligible; returns how many are.
template <class T, class U>
__device__ int64_t eligible_logits(const Mask<T> &mask, int64_t row, U *to) {
  const int64_t at = row * mask.length;
  return count_in(mask.padded(), [&](int64_t i) {
    bool is = false;
    T x = 0;
    if (i < mask.length) {
      if (mask.logits != nullptr) x = mask.logits[at + i];
      is = x - x == 0;
      if (mask.tokens == nullptr) {
        is = is && mask.chances[at + i] > 0;
      } else {
        is = is && mask.tokens[at + i] >= 0 &&
             (mask.eligible == nullptr || mask.eligible[at + i] != 0);
      }
    }
    to[i] = is ? static_cast<U>(x) : static_cast<U>(-__builtin_huge_val());
    return is ? 1 : 0;
  });
}

// From the eligible logits to their weights, in place; shifted (nullable) keeps their logarithms.
template <class U>
__device__ void weights_of(U *x, int64_t padded, U *shifted) {
  const U none = static_cast<U>(-__builtin_huge_val());
  const U largest = fold_in(
      padded, none, [&](int64_t i) { return x[i]; }, [](U a, U b) { return larger(a, b); });
  over(padded, [&](int64_t i) {
    const U logit = x[i];
    if (shifted != nullptr) shifted[i] = log_weight_of(logit, largest);
    x[i] = largest == none ? U(0) : weight_of(logit, largest);
  });
  __syncthreads();
}

template <class T, class U>
__device__ void choose_all(const Space<T, U> &space, int64_t padded, bool any) {
  __syncthreads();
  over(padded, [&](int64_t i) {
    const bool is = any && space.weight[i] > 0;
    space.chosen[i] = is;
    space.chance[i] = is ? T(1) : T(0);
  });
  __syncthreads();
}

// The number of that rank, from 0, among positive ones, digit by digit of their patterns.
template <class U>
__device__ U smallest_of(const U *x, int64_t padded, int64_t rank) {
  using Bits = decltype(bits_of(U{}));
  unsigned *counts = reinterpret_cast<unsigned *>(told<unsigned char>() + kTold);
  Bits known = 0;
#pragma unroll 1
  for (int shift = static_cast<int>(sizeof(U)) * 8 - 8; shift >= 0; shift -= 8) {
    __syncthreads();
    over(kDigits, [&](int64_t d) { counts[d] = 0; });
    __syncthreads();
    over(padded, [&](int64_t i) {
      const Bits bits = bits_of(x[i]);
      if (((bits ^ known) >> shift) >> 8 == 0) {
        atomicAdd(&counts[static_cast<unsigned>(bits >> shift) & (kDigits - 1)], 1);
      }
    });
    // The digit, and how many of its numbers are smaller: each lane of a warp has a run of digits.
    struct Digit {
      int64_t digit, before;
    };
    __syncthreads();
    if (warp_number() == 0) {
      constexpr int kRun = kDigits / kWarp;
      const unsigned *run = counts + lane_number() * kRun;
      int64_t before = 0;
      PND_UNROLL
      for (int d = 0; d < kRun; ++d) before += run[d];
      const int64_t own = before;
      PND_UNROLL
      for (int w = 1; w < kWarp; w *= 2) {
        const int64_t lower = __shfl_up_sync(kAllLanes, before, w);
        if (lane_number() >= w) before += lower;
      }
      before -= own;
      if (before <= rank && rank < before + own) {
        int64_t digit = lane_number() * kRun;
        while (before + counts[digit] <= rank) before += counts[digit++];
        *told<Digit>() = {digit, before};
      }
    }
    __syncthreads();
    const Digit found = *told<Digit>();
    known |= static_cast<Bits>(found.digit) << shift;
    rank -= found.before;
  }
  __syncthreads();
  return of_bits(known);
}

template <class T>
struct Times {
  T last, next;
};

// other = the times, chosen = where the c smallest of them are; time c and time c + 1. 0 < c < n.
template <class T>
__device__ Times<T> race(const Mask<T> &mask, int64_t row, const Space<T, T> &space, int64_t c) {
  const int64_t padded = mask.padded();
  over_words(padded, 0, mask.stream(row), [&](int64_t i, uint32_t word) {
    const auto count = static_cast<int32_t>(word >> 1), rest = count ^ 0x7fffffff;
    space.other[i] = exponential_of(static_cast<T>(count), static_cast<T>(rest)) / space.weight[i];
  });
  const T next = smallest_of(space.other, padded, c);
  T last = fold_in(
      padded, T(0), [&](int64_t i) { return space.other[i] < next ? space.other[i] : T(0); },
      [](T a, T b) { return larger(a, b); });
  const int64_t before = count_in(padded, [&](int64_t i) {
    space.chosen[i] = space.other[i] < next;
    return space.chosen[i];
  });
  if (before < c) last = next;
  if (before < c && threadIdx.x == 0) {
    for (int64_t i = 0, left = c - before; left > 0; ++i) {
      if (space.other[i] != next) continue;
      space.chosen[i] = 1;
      --left;
    }
  }
  __syncthreads();
  return {last, next};
}

// order = the chosen positions in the order of their times.
template <class T>
__device__ void in_order(const Space<T, T> &space, int64_t padded, int64_t c) {
  // In any order first, behind the order's own places: c < n.
  int32_t *list = reinterpret_cast<int32_t *>(space.shifted);
  unsigned *count = told<unsigned>();
  __syncthreads();
  if (threadIdx.x == 0) *count = 0;
  __syncthreads();
  over(padded, [&](int64_t i) {
    if (space.chosen[i]) list[atomicAdd(count, 1)] = static_cast<int32_t>(i);
  });
  __syncthreads();
  over(c, [&](int64_t a) {
    const int32_t i = list[a];
    const T time = space.other[i];
    int64_t place = 0;
#pragma unroll 4
    for (int64_t b = 0; b < c; ++b) {
      const int32_t j = list[b];
      place += space.other[j] < time || (space.other[j] == time && j < i);
    }
    space.order[place] = i;
  });
  __syncthreads();
}

// left[j] = the weight of what is left when place j of the order is chosen.
template <class T>
__device__ void remaining(const Space<T, T> &space, int64_t padded, int64_t c, T *left) {
  const T rest =
      sum_in<T>(padded, [&](int64_t i) { return space.chosen[i] ? T(0) : space.weight[i]; });
  over(c, [&](int64_t j) { left[j] = space.weight[space.order[j]]; });
  __syncthreads();
  if (threadIdx.x == 0) {
    T sum = rest;
#pragma unroll 8
    for (int64_t j = c - 1; j >= 0; --j) left[j] = sum += left[j];
  }
  __syncthreads();
}

// ---- sets ---------------------------------------------------------------------------------------

__device__ inline Certain certain_of(const double *w, int64_t padded, int64_t c) {
  return certain_of(
      c,
      [=](double bound) {
        return sum_in<double>(padded, [=](int64_t i) { return w[i] < bound ? w[i] : 0.0; });
      },
      [=](double bound) {
        return static_cast<int64_t>(
            count_in(padded, [=](int64_t i) { return w[i] < bound ? 0 : 1; }));
      });
}

__device__ inline double odds_scale(const double *w, int64_t padded, int64_t c) {
  const double first = certain_of(w, padded, c).scale;
  return odds_scale(first, c, [=](double scale, double &expected, double &variance) {
    expected = sum_in<double>(padded, [=](int64_t i) { return 1 - 1 / fma(scale, w[i], 1.0); });
    variance = sum_in<double>(padded, [=](int64_t i) {
      const double no = 1 / fma(scale, w[i], 1.0);
      return (1 - no) * no;
    });
  });
}

// The positions of candidate set number `set`, by one thread: calls choose(i, is_drawn).
template <class T, class Choose>
__device__ __forceinline__ void draw_candidate(const Mask<T> &mask, PhiloxStream stream,
                                               int64_t set, const double *w, int64_t n, int64_t c,
                                               Choose choose) {
  const int64_t blocks = (mask.length + 3) / 4;
  const auto start = kDrawBlock + static_cast<uint32_t>(set * blocks);
  int64_t wanted = c, left = n;
  for (int64_t block = 0; block < blocks; ++block) {
    PhiloxBlock words = philox_block(start + static_cast<uint32_t>(block), stream);
#pragma unroll 1
    for (int k = 0; k < 4; ++k) {
      const uint32_t word = words.word[0];
      words = {{words.word[1], words.word[2], words.word[3], 0}};
      const int64_t i = 4 * block + k;
      if (i >= mask.length || w[i] == 0) continue;
      const bool is = is_drawn(word, wanted, left);
      choose(i, is);
      wanted -= is;
      --left;
    }
  }
}

// share = the softmax over the candidate sets; returns which of them is taken.
template <class T>
__device__ int64_t take_candidate(const Mask<T> &mask, int64_t row, const Space<T, double> &space,
                                  int64_t n, int64_t c) {
  const PhiloxStream stream = mask.stream(row);
  over(mask.candidates, [&](int64_t j) {
    double sum = 0;
    draw_candidate(mask, stream, j, space.weight, n, c,
                   [&](int64_t i, bool is) { sum += is ? space.shifted[i] : 0; });
    space.share[j] = sum;
  });
  return tell<int64_t>([&] {
    candidate_shares(space.share, mask.candidates);
    return taken_candidate(space.share, mask, middle_of(philox_block(0, stream).word[0]));
  });
}

// ---- launches -----------------------------------------------------------------------------------

// Runs f(std::integral_constant<int, scheme>{}): a kernel of its own each, whose registers suffice.
template <class F>
void by_scheme(int32_t scheme, F f) {
  switch (scheme) {
    case PND_BERNOULLI:
      return f(std::integral_constant<int, PND_BERNOULLI>{});
    case PND_POISSON:
      return f(std::integral_constant<int, PND_POISSON>{});
    case PND_GUMBEL:
      return f(std::integral_constant<int, PND_GUMBEL>{});
    case PND_SYSTEMATIC:
      return f(std::integral_constant<int, PND_SYSTEMATIC>{});
    case PND_CONDITIONAL:
      return f(std::integral_constant<int, PND_CONDITIONAL>{});
    default:
      return f(std::integral_constant<int, PND_CANDIDATES>{});
  }
}
// What a scheme computes in.
template <class T, int kScheme>
using Computes = std::conditional_t<kScheme >= PND_SYSTEMATIC, double, T>;

// Runs kernel(mask, most) by blocks that each take rows in turn. What a row needs lies in shared
// memory if that is little enough for several blocks of a multiprocessor, else in scratch memory of
// at most a quarter of a gigabyte. `most` is what conditional Poisson chooses at most, else 0.
template <class T, class U>
void launch_mask(Call &call, pnd_context *context, void (*kernel)(Mask<T>, int64_t), Mask<T> mask,
                 int64_t most) {
  constexpr int64_t kShared = 48 << 10, kRoom = int64_t{1} << 28;
  const Space<T, U> space(Pieces{nullptr}, mask, mask.padded(), most);
  mask.stride = reinterpret_cast<intptr_t>(space.end);
  const bool is_shared = mask.stride <= kShared;
  int64_t blocks = std::min<int64_t>(mask.rows, 8 * context->multiprocessors);
  if (!is_shared) {
    blocks = std::clamp<int64_t>(kRoom / mask.stride, 1, blocks);
    if (call.reserve(0, blocks * mask.stride).refused()) return;
    mask.scratch = static_cast<char *>(context->scratch);
  }
  launch(call, context, kernel, dim3(static_cast<unsigned>(blocks)), dim3(kMaskThreads),
         kMaskShared + (is_shared ? mask.stride : 0), mask, most);
}
