// SPDX-License-Identifier: Apache-2.0
// mask: chooses positions for masked prediction, and corrupts their tokens.
// What each scheme does stands in ponder.h; w = exp(max(logit - largest, -80))
// Shapes   logits, tokens, inclusion, weight, corrupted, label [rows, length];
//          log_probability [rows]; step [1]; row-major, contiguous, no aliasing
// Method   a block per row, what it needs in shared memory, of long rows in L2: eligible logits and
// weights, the scheme, then
//          what comes out. Time c + 1 of the race by its digits; conditional Poisson's table by
//          groups of positions, a thread per number chosen
// Order    sums that decide in 32 lanes by a warp, chains by a thread: the CPU's bits
// Error    weights within 2 ULP of the plain loop's; masks bit for bit on every device
// Work     Gumbel 60 flops and 24 bytes per position; Bernoulli 3 and 16
// Source   Efraimidis, Spirakis, Inf. Proc. Letters 97, 2006; Duffield, Lund, Thorup, JACM 54, 2007
#include "mask.cuh"

#include "guards/mask.h"

namespace {

// The eligible logits stand in space.weight.
template <class T>
__device__ double bernoulli(const Mask<T> &mask, int64_t row, const Space<T, T> &space, int64_t n) {
  const uint32_t steps = steps_of(mask.rate);
  const T rate = static_cast<T>(mask.rate), none = static_cast<T>(-__builtin_huge_val());
  over_words(mask.padded(), 0, mask.stream(row), [&](int64_t i, uint32_t word) {
    const bool is = space.weight[i] != none;
    space.chosen[i] = is && (word >> 1) < steps;
    space.chance[i] = is ? rate : T(0);
  });
  const int64_t count = count_in(mask.padded(), [&](int64_t i) { return space.chosen[i]; });
  // 0 log 0 = 0.
  const double yes = mask.rate > 0 ? log_of(mask.rate) : 0;
  const double no = mask.rate < 1 ? log_of(1 - mask.rate) : 0;
  return static_cast<double>(count) * yes + static_cast<double>(n - count) * no;
}

template <class T>
__device__ double poisson(const Mask<T> &mask, int64_t row, const Space<T, T> &space, int64_t c) {
  const int64_t padded = mask.padded();
  const T sum = sum_in<T>(padded, [&](int64_t i) { return space.weight[i]; });
  const T scale = static_cast<T>(c) / sum, least = static_cast<T>(kLeastChance);
  over_words(padded, 0, mask.stream(row), [&](int64_t i, uint32_t word) {
    const T w = space.weight[i], pi = w > 0 ? smaller(larger(scale * w, least), T(1)) : T(0);
    space.chance[i] = pi;
    space.chosen[i] = falls_below(word, pi);
  });
  if (mask.log_probability == nullptr) return 0;
  return sum_in<T>(padded, [&](int64_t i) {
    return log_of(space.chosen[i] ? space.chance[i] : 1 - space.chance[i]);
  });
}

template <class T>
__device__ double gumbel(const Mask<T> &mask, int64_t row, const Space<T, T> &space, int64_t c) {
  const int64_t padded = mask.padded();
  const Times<T> times = race(mask, row, space, c);
  over(padded, [&](int64_t i) {
    // Of the others' times, the one to beat.
    const T end = space.other[i] <= times.last ? times.next : times.last;
    space.chance[i] = chance_of(space.weight[i] * end);
  });
  if (mask.log_probability == nullptr) return 0;
  in_order(space, padded, c);
  remaining(space, padded, c, space.shifted);
  over(padded, [&](int64_t j) {
    space.other[j] = j < c ? space.weight[space.order[j]] / space.shifted[j] : T(1);
  });
  return sum_in<T>(padded, [&](int64_t j) { return log_of(space.other[j]); });
}

template <class T>
__device__ double systematic(const Mask<T> &mask, int64_t row, const Space<T, double> &space,
                             int64_t c) {
  const Certain certain = certain_of(space.weight, mask.padded(), c);
  over(mask.length, [&](int64_t i) {
    space.chance[i] = static_cast<T>(systematic_chance(certain, space.weight[i]));
  });
  return tell<double>([&] {
    const double u = middle_of(philox_block(0, mask.stream(row)).word[0]);
    const Drawn drawn = systematic_draw(space.weight, mask.length, certain, c, u,
                                        [&](int64_t i, bool is) { space.chosen[i] = is; });
    return log_of(drawn.length);
  });
}

template <class T>
__device__ double conditional(const Mask<T> &mask, int64_t row, const Space<T, double> &space,
                              int64_t c) {
  const int64_t n = mask.length, padded = mask.padded(), columns = c + 1, groups = set_groups(n);
  const double scale = odds_scale(space.weight, padded, c);
  double *yes = space.other, *no = space.shifted;
  over(padded, [&](int64_t i) {
    const double odds = scale * space.weight[i];
    no[i] = 1 / (1 + odds);
    yes[i] = odds * no[i];
  });
  over(columns, [&](int64_t j) { space.table[j] = j == 0 ? 1 : 0; });
  for (int64_t g = 0; g < groups; ++g) {
    __syncthreads();
    const double *from = space.table + g * columns;
    double *to = space.table + (g + 1) * columns, terms[kSetGroup + 1];
    group_terms(yes + g * kSetGroup, no + g * kSetGroup, terms);
    over(columns, [&](int64_t j) {
      double sum = terms[0] * from[j];
      PND_UNROLL
      for (int m = 1; m <= kSetGroup; ++m) sum = fma(terms[m], j >= m ? from[j - m] : 0.0, sum);
      to[j] = sum;
    });
  }
  const double all = tell<double>([&] {
    const PhiloxStream stream = mask.stream(row);
    int64_t j = c;
    for (int64_t g = groups - 1; g >= 0; --g) {
      const PhiloxBlock words = philox_block(static_cast<uint32_t>(g), stream);
      const double *before = space.table + g * columns;
      double terms[kSetGroup + 1], u[kSetGroup];
      PND_UNROLL
      for (int m = 0; m <= kSetGroup; ++m) terms[m] = j >= m ? before[j - m] : 0;
      PND_UNROLL
      for (int k = 0; k < kSetGroup; ++k) u[k] = middle_of(words.word[k]);
      choose_group(terms, yes + g * kSetGroup, no + g * kSetGroup, u, [&](int k, bool is) {
        space.chosen[g * kSetGroup + k] = is;
        j -= is;
      });
    }
    return space.table[groups * columns + c];
  });
  if (mask.inclusion != nullptr || mask.weight != nullptr) {
    const double inverse = 1 / all;
    double *now = space.adjoint, *next = now + columns + kSetGroup;
    over(columns + kSetGroup, [&](int64_t j) {
      now[j] = j == c ? 1 : 0;
      next[j] = 0;
    });
    for (int64_t g = groups - 1; g >= 0; --g) {
      __syncthreads();
      const double *before = space.table + g * columns;
      double sums[kSetGroup] = {}, terms[kSetGroup + 1];
      group_terms(yes + g * kSetGroup, no + g * kSetGroup, terms);
      over(columns, [&](int64_t j) {
        double sum = terms[0] * now[j];
        PND_UNROLL
        for (int m = 1; m <= kSetGroup; ++m) {
          sum = fma(terms[m], now[j + m], sum);
          sums[m - 1] = fma(now[j + m], before[j], sums[m - 1]);
        }
        next[j] = sum;
      });
      sum_team<kMaskThreads>(sums);
      if (threadIdx.x == 0) {
        constexpr double least = Format<float>::kLeastNormal;
        double chance[kSetGroup];
        group_chances(yes + g * kSetGroup, no + g * kSetGroup, sums, chance);
        PND_UNROLL
        for (int k = 0; k < kSetGroup; ++k) {
          const int64_t i = g * kSetGroup + k;
          const double x = smaller(larger(chance[k] * inverse, least), 1.0);
          space.chance[i] = static_cast<T>(yes[i] > 0 ? x : 0.0);
        }
      }
      double *other = now;
      now = next;
      next = other;
    }
  }
  if (mask.log_probability == nullptr) return 0;
  return -log_of(all) + sum_in<double>(padded, [&](int64_t i) {
    return log_of(i < n && space.chosen[i] ? yes[i] : no[i]);
  });
}

template <class T>
__device__ double candidates(const Mask<T> &mask, int64_t row, const Space<T, double> &space,
                             int64_t n, int64_t c, T &weight) {
  const int64_t taken = take_candidate(mask, row, space, n, c);
  const T chance = static_cast<T>(static_cast<double>(c) / static_cast<double>(n));
  over(mask.padded(), [&](int64_t i) {
    space.chosen[i] = 0;
    space.chance[i] = space.weight[i] > 0 ? chance : T(0);
  });
  __syncthreads();
  if (threadIdx.x == 0) {
    draw_candidate(mask, mask.stream(row), taken, space.weight, n, c,
                   [&](int64_t i, bool is) { space.chosen[i] = is; });
  }
  __syncthreads();
  const double q = candidate_chance(space.share[taken], mask);
  weight = static_cast<T>(1 / (static_cast<double>(mask.candidates) * q));
  return log_of(q);
}

// What a scheme has left of a row, as the caller asked for it; weight 0: 1 / chance.
template <class T, class U>
__device__ void put_out(const Mask<T> &mask, int64_t row, const Space<T, U> &space, T weight,
                        double log_probability) {
  const int64_t at = row * mask.length;
  __syncthreads();
  if (mask.log_probability != nullptr && threadIdx.x == 0) {
    mask.log_probability[row] = static_cast<T>(log_probability);
  }
  if (mask.inclusion != nullptr) {
    over(mask.length, [&](int64_t i) { mask.inclusion[at + i] = space.chance[i]; });
  }
  if (mask.weight != nullptr) {
    over(mask.length, [&](int64_t i) {
      const T own = weight > 0 ? weight : 1 / space.chance[i];
      mask.weight[at + i] = space.chosen[i] ? own : T(0);
    });
  }
  if (mask.label != nullptr) {
    over(mask.length,
         [&](int64_t i) { mask.label[at + i] = space.chosen[i] ? mask.tokens[at + i] : -1; });
  }
  if (mask.corrupted != nullptr) {
    const PhiloxStream stream = mask.stream(row);
    over((mask.length + 3) / 4, [&](int64_t block) {
      const auto number = static_cast<uint32_t>(block);
      const PhiloxBlock action = philox_block(kActionBlock + number, stream);
      const PhiloxBlock other = philox_block(kTokenBlock + number, stream);
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const int64_t i = 4 * block + w;
        if (i >= mask.length) continue;
        const int32_t token = mask.tokens[at + i];
        mask.corrupted[at + i] =
            space.chosen[i] ? replaced(token, action.word[w], other.word[w], mask) : token;
      }
    });
  }
  __syncthreads();
}

template <class T, int kScheme>
__global__ void __launch_bounds__(kMaskThreads, 1) mask_kernel(Mask<T> mask, int64_t most) {
  using U = Computes<T, kScheme>;
  const int64_t padded = mask.padded();
  const Space<T, U> space(Pieces{mask.room()}, mask, padded, most);
  for (int64_t row = blockIdx.x; row < mask.rows; row += gridDim.x) {
    const int64_t n = eligible_logits(mask, row, space.weight), c = mask.chosen_of(n);
    double log_probability = 0;
    T weight = 0;
    if constexpr (kScheme == PND_BERNOULLI) {
      log_probability = bernoulli(mask, row, space, n);
    } else {
      weights_of(space.weight, padded, space.shifted);
      if (c == n || c == 0) {
        choose_all(space, padded, c > 0);
      } else if constexpr (kScheme == PND_POISSON) {
        log_probability = poisson(mask, row, space, c);
      } else if constexpr (kScheme == PND_GUMBEL) {
        log_probability = gumbel(mask, row, space, c);
      } else if constexpr (kScheme == PND_SYSTEMATIC) {
        log_probability = systematic(mask, row, space, c);
      } else if constexpr (kScheme == PND_CONDITIONAL) {
        log_probability = conditional(mask, row, space, c);
      } else {
        log_probability = candidates(mask, row, space, n, c, weight);
      }
    }
    put_out(mask, row, space, weight, log_probability);
  }
}

}  // namespace

int32_t pnd_mask(pnd_context *context, int32_t dtype, void *log_probability, void *inclusion,
                 void *weight, int32_t *corrupted, int32_t *label, const void *logits,
                 const int32_t *tokens, const int32_t *eligible, const int64_t *step, int64_t rows,
                 int64_t length, int64_t vocabulary, int64_t k, int64_t candidates,
                 int64_t mask_token, int64_t key, double rate, double floor, double mask_share,
                 double random_share, int32_t scheme) {
  Call call(context, "mask");
  guard::mask(call, dtype, log_probability, inclusion, weight, corrupted, label, logits, tokens,
              eligible, step, rows, length, vocabulary, k, candidates, mask_token, key, rate, floor,
              mask_share, random_share, scheme);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Mask<T> mask{};
    static_cast<MaskRule &>(mask) = {
        length, vocabulary, k,      candidates,           mask_token,
        rate,   floor,      scheme, steps_of(mask_share), steps_of(mask_share + random_share)};
    mask.rows = rows;
    mask.log_probability = static_cast<T *>(log_probability);
    mask.inclusion = static_cast<T *>(inclusion);
    mask.weight = static_cast<T *>(weight);
    mask.corrupted = corrupted;
    mask.label = label;
    mask.logits = static_cast<const T *>(logits);
    mask.tokens = tokens;
    mask.eligible = eligible;
    mask.step = step;
    mask.key = key;
    const int64_t most = scheme == PND_CONDITIONAL ? mask.chosen_of(length) : 0;
    by_scheme(scheme, [&](auto is) {
      launch_mask<T, Computes<T, is()>>(call, context, mask_kernel<T, is()>, mask, most);
    });
  });
  return call.status();
}
