// SPDX-License-Identifier: Apache-2.0
// mask_backward: the derivative of a mask's log-probability by its logits.
// Poisson      g_i = [chosen] or -pi / (1 - pi) where pi is not bounded, else 0;
//              g_i - p_i sum g, p = softmax
// Gumbel       [chosen i] - w_i sum over the places j not after i's of 1 / (what is left at j)
// Systematic   of the length of the stretch of u: pi_i ([first <= i <= last] - share) / length
// Conditional  [chosen] - pi
// Candidates   (1 - floor) s / q times the sum over sets of their s ([chosen] - [drawn]), s being
//              the softmax over sets
// Shapes   dlogits, logits, inclusion, label [rows, length]; dlog_probability [rows]
// Method   a block per row: the forward function's steps again, from the same words
// Order    as the forward function's
// Error    <= 2 x the plain loop
// Work     as the forward function's
// Source   the derivatives of the formulas in ponder.h
#include "guards/mask.h"
#include "mask.cuh"

namespace {

template <class T>
__device__ void poisson(const Mask<T> &mask, int64_t row, const Space<T, T> &space, int64_t c,
                        T *slope) {
  const int64_t padded = mask.padded();
  const int32_t *label = mask.chosen + row * mask.length;
  const T sum = sum_in<T>(padded, [&](int64_t i) { return space.weight[i]; });
  const T share = 1 / sum, scale = static_cast<T>(c) / sum;
  over(padded, [&](int64_t i) {
    const T pi = scale * space.weight[i];
    const bool bounded = !(pi > static_cast<T>(kLeastChance)) || !(pi < 1);
    const T missed = -pi / (1 - pi);
    const T g = i < mask.length && label[i] >= 0 ? T(1) : missed;
    space.other[i] = bounded ? T(0) : g;
  });
  const T all = sum_in<T>(padded, [&](int64_t i) { return space.other[i]; });
  over(mask.length,
       [&](int64_t i) { slope[i] = fma(-(space.weight[i] * share), all, space.other[i]); });
}

template <class T>
__device__ void gumbel(const Mask<T> &mask, int64_t row, const Space<T, T> &space, int64_t c,
                       T *slope) {
  const int64_t padded = mask.padded();
  race(mask, row, space, c);
  in_order(space, padded, c);
  T *left = space.shifted;
  remaining(space, padded, c, left);
  over(c, [&](int64_t j) { left[j] = 1 / left[j]; });
  const T sum = tell<T>([&] {
    T all = 0;
#pragma unroll 8
    for (int64_t j = 0; j < c; ++j) left[j] = all += left[j];
    return all;
  });
  over(mask.length, [&](int64_t i) { slope[i] = -space.weight[i] * sum; });
  __syncthreads();
  over(c, [&](int64_t j) {
    const int32_t i = space.order[j];
    slope[i] = fma(-space.weight[i], left[j], T(1));
  });
}

template <class T>
__device__ void systematic(const Mask<T> &mask, int64_t row, const Space<T, double> &space,
                           int64_t c, T *slope) {
  const double *w = space.weight;
  const Certain certain = certain_of(w, mask.padded(), c);
  const auto pi_of = [&](int64_t i) { return w[i] < certain.bound ? certain.scale * w[i] : 0.0; };
  struct Found {
    Drawn drawn;
    double share;
  };
  const auto is_in = [](const Drawn &s, int64_t i) { return (i <= s.last) - (i < s.first); };
  const Found found = tell<Found>([&] {
    const double u = middle_of(philox_block(0, mask.stream(row)).word[0]);
    const Drawn s = systematic_draw(w, mask.length, certain, c, u, [](int64_t, bool) {});
    const auto points = static_cast<double>(c - certain.count);
    double inside = 0;
    for (int64_t i = 0; i < mask.length; ++i) inside += pi_of(i) * is_in(s, i);
    return Found{s, points > 0 ? inside / points : 0};
  });
  over(mask.length, [&](int64_t i) {
    const double part = is_in(found.drawn, i) - found.share;
    slope[i] = static_cast<T>(pi_of(i) * part / found.drawn.length);
  });
}

template <class T>
__device__ void candidates(const Mask<T> &mask, int64_t row, const Space<T, double> &space,
                           int64_t n, int64_t c, T *slope) {
  const int64_t taken = take_candidate(mask, row, space, n, c);
  __syncthreads();
  over(mask.length, [&](int64_t i) {
    space.other[i] = 0;
    space.chosen[i] = 0;
  });
  __syncthreads();
  if (threadIdx.x == 0) {
    const PhiloxStream stream = mask.stream(row);
    // The one that is taken first.
#pragma unroll 1
    for (int64_t j = -1; j < mask.candidates; ++j) {
      const double share = j < 0 ? 0 : space.share[j];
      draw_candidate(mask, stream, j < 0 ? taken : j, space.weight, n, c, [&](int64_t i, bool is) {
        if (j < 0) space.chosen[i] = is;
        space.other[i] += share * (space.chosen[i] - is);
      });
    }
  }
  __syncthreads();
  const double own = space.share[taken];
  const double scale = (1 - mask.floor) * own / candidate_chance(own, mask);
  over(mask.length, [&](int64_t i) { slope[i] = static_cast<T>(scale * space.other[i]); });
}

// What is bounded at -80, or not eligible, has no slope.
template <class T>
__device__ void finish(const Mask<T> &mask, int64_t row, T *slope) {
  const T *logits = mask.logits + row * mask.length, *chance = mask.chances + row * mask.length;
  const T d = mask.dlog_probability[row], none = static_cast<T>(-__builtin_huge_val());
  const T largest = fold_in(
      mask.length, none,
      [&](int64_t i) { return chance[i] > 0 && logits[i] - logits[i] == 0 ? logits[i] : none; },
      [](T a, T b) { return larger(a, b); });
  over(mask.length, [&](int64_t i) {
    const bool is = chance[i] > 0 && logits[i] - largest >= static_cast<T>(-kFarthest);
    slope[i] = is ? d * slope[i] : T(0);
  });
  __syncthreads();
}

template <class T, int kScheme>
__global__ void __launch_bounds__(kMaskThreads, 1) backward_kernel(Mask<T> mask, int64_t) {
  using U = Computes<T, kScheme>;
  const int64_t padded = mask.padded();
  const Space<T, U> space(Pieces{mask.room()}, mask, padded, 0);
  for (int64_t row = blockIdx.x; row < mask.rows; row += gridDim.x) {
    T *slope = mask.dlogits + row * mask.length;
    const int64_t n = eligible_logits(mask, row, space.weight), c = mask.chosen_of(n);
    if (kScheme == PND_BERNOULLI || c == 0 || c == n) {
      over(mask.length, [&](int64_t i) { slope[i] = 0; });
      __syncthreads();
      continue;
    }
    weights_of(space.weight, padded, space.shifted);
    if constexpr (kScheme == PND_POISSON) {
      poisson(mask, row, space, c, slope);
    } else if constexpr (kScheme == PND_GUMBEL) {
      gumbel(mask, row, space, c, slope);
    } else if constexpr (kScheme == PND_SYSTEMATIC) {
      systematic(mask, row, space, c, slope);
    } else if constexpr (kScheme == PND_CANDIDATES) {
      candidates(mask, row, space, n, c, slope);
    } else if constexpr (kScheme == PND_CONDITIONAL) {
      const int64_t at = row * mask.length;
      over(mask.length, [&](int64_t i) {
        slope[i] = static_cast<T>(mask.chosen[at + i] >= 0 ? 1 : 0) - mask.chances[at + i];
      });
    }
    __syncthreads();
    finish(mask, row, slope);
  }
}

}  // namespace

int32_t pnd_mask_backward(pnd_context *context, int32_t dtype, void *dlogits,
                          const void *dlog_probability, const void *logits, const void *inclusion,
                          const int32_t *label, const int64_t *step, int64_t rows, int64_t length,
                          int64_t k, int64_t candidates, int64_t key, double rate, double floor,
                          int32_t scheme) {
  Call call(context, "mask_backward");
  guard::mask_backward(call, dtype, dlogits, dlog_probability, logits, inclusion, label, step, rows,
                       length, k, candidates, key, rate, floor, scheme);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Mask<T> mask{};
    mask.length = length;
    mask.k = k;
    mask.candidates = candidates;
    mask.rate = rate;
    mask.floor = floor;
    mask.scheme = scheme;
    mask.rows = rows;
    mask.dlogits = static_cast<T *>(dlogits);
    mask.dlog_probability = static_cast<const T *>(dlog_probability);
    mask.logits = static_cast<const T *>(logits);
    mask.chances = static_cast<const T *>(inclusion);
    mask.chosen = label;
    mask.step = step;
    mask.key = key;
    by_scheme(scheme, [&](auto is) {
      launch_mask<T, Computes<T, is()>>(call, context, backward_kernel<T, is()>, mask, 0);
    });
  });
  return call.status();
}
