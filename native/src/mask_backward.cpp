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
// Method   per row the forward function's steps again, from the same words
// Order    as the forward function's
// Error    <= 2 x the plain loop
// Work     as the forward function's
// Source   the derivatives of the formulas in ponder.h
#include "mask.h"

#include "guards/mask.h"
#include "map.h"
#include "mask_race.h"
#include "mask_sets.h"

namespace {

constexpr int64_t kSerialTokens = 1 << 13;

template <class T>
void poisson(const Mask<T> &mask, const int32_t *label, const T *chance, int64_t c, Room<T> &room,
             T *slope) {
  const int64_t padded = mask.padded();
  const T sum = sum_in<T>(padded, [&](int64_t i) { return load(room.weight + i); });
  const T share = 1 / sum, scale = static_cast<T>(c) / sum;
  for (int64_t i = 0; i < padded; ++i) {
    const T pi = scale * room.weight[i];
    const bool bounded = !(pi > static_cast<T>(kLeastChance)) || !(pi < 1);
    const T missed = -pi / (1 - pi);
    const T g = i < mask.length && label[i] >= 0 ? 1 : missed;
    room.other[i] = bounded || chance[i < mask.length ? i : 0] <= 0 ? 0 : g;
  }
  const T all = sum_in<T>(padded, [&](int64_t i) { return load(room.other + i); });
  for (int64_t i = 0; i < mask.length; ++i) {
    slope[i] = fma(-(room.weight[i] * share), all, room.other[i]);
  }
}

template <class T>
void gumbel(const Mask<T> &mask, int64_t row, int64_t c, Room<T> &room, T *slope) {
  const int64_t padded = mask.padded();
  const T last = race(mask, row, room, c).last;
  in_order(room.other, room.row.chosen, padded, last, room.order, room.words);
  remaining(room, padded, room.order, c, room.select);
  T sum = 0;
  for (int64_t j = 0; j < c; ++j) {
    sum += 1 / room.select[j];
    room.select[j] = sum;
  }
  for (int64_t i = 0; i < mask.length; ++i) slope[i] = -room.weight[i] * sum;
  for (int64_t j = 0; j < c; ++j) {
    const int32_t i = room.order[j];
    slope[i] = fma(-room.weight[i], room.select[j], T(1));
  }
}

template <class T>
void systematic(const Mask<T> &mask, int64_t row, const double *w, int64_t c, T *slope) {
  const Certain certain = certain_of(w, mask.padded(), c);
  const double u = middle_of(philox_block(0, mask.stream(row)).word[0]);
  const Drawn drawn = systematic_draw(w, mask.length, certain, c, u, [](int64_t, bool) {});
  const auto points = static_cast<double>(c - certain.count);
  const auto is_in = [&](int64_t i) { return (i <= drawn.last) - (i < drawn.first); };
  double inside = 0;
  const auto pi_of = [&](int64_t i) { return w[i] < certain.bound ? certain.scale * w[i] : 0; };
  for (int64_t i = 0; i < mask.length; ++i) inside += pi_of(i) * is_in(i);
  const double share = points > 0 ? inside / points : 0;
  for (int64_t i = 0; i < mask.length; ++i) {
    slope[i] = static_cast<T>(pi_of(i) * (is_in(i) - share) / drawn.length);
  }
}

template <class T>
void candidates(const Mask<T> &mask, int64_t row, const double *w, const double *shifted, int64_t n,
                int64_t c, Room<T> &room, double *share, double *sum, T *slope) {
  const int64_t taken = take_candidate(mask, row, w, shifted, n, c, room.words, share);
  int32_t *own = room.row.chosen;
  std::memset(own, 0, mask.padded() * sizeof(int32_t));
  std::memset(sum, 0, mask.padded() * sizeof(double));
  draw_candidate(mask, row, taken, w, n, c, room.words, [&](int64_t i, bool is) { own[i] = is; });
  for (int64_t j = 0; j < mask.candidates; ++j) {
    draw_candidate(mask, row, j, w, n, c, room.words,
                   [&](int64_t i, bool is) { sum[i] += share[j] * (own[i] - is); });
  }
  const double scale = (1 - mask.floor) * share[taken] / candidate_chance(share[taken], mask);
  for (int64_t i = 0; i < mask.length; ++i) slope[i] = static_cast<T>(scale * sum[i]);
}

// What is bounded at -80, or not eligible, has no slope.
template <class T>
void finish(const Mask<T> &mask, int64_t row, T *slope) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  const T *logits = mask.logits + row * mask.length, *chance = mask.chances + row * mask.length;
  const T d = mask.dlog_probability[row];
  T largest = kNone;
  for (int64_t i = 0; i < mask.length; ++i) {
    const bool is = chance[i] > 0 && logits[i] - logits[i] == 0;
    largest = is && logits[i] > largest ? logits[i] : largest;
  }
  for (int64_t i = 0; i < mask.length; ++i) {
    const bool is = chance[i] > 0 && logits[i] - largest >= static_cast<T>(-kFarthest);
    slope[i] = is ? d * slope[i] : 0;
  }
}

template <class T>
void backward(pnd_context *context, const Mask<T> &mask) {
  const int64_t padded = mask.padded();
  parallel_rows(
      context, mask.rows, mask.length, kSerialTokens, [&](int64_t first, int64_t last, int worker) {
        Scratch scratch(context, worker);
        Room<T> room(scratch, padded);
        double *weight = scratch.take<double>(padded), *shifted = scratch.take<double>(padded);
        double *share = scratch.take<double>(mask.candidates), *sum = scratch.take<double>(padded);
        for (int64_t row = first; row < last; ++row) {
          T *slope = mask.dlogits + row * mask.length;
          const int32_t *label = mask.chosen + row * mask.length;
          const T *chance = mask.chances + row * mask.length;
          const bool wide = mask.scheme == PND_SYSTEMATIC || mask.scheme == PND_CANDIDATES;
          const int64_t n =
              wide ? eligible_logits(mask, row, weight) : eligible_logits(mask, row, room.weight);
          const int64_t c = mask.chosen_of(n);
          if (mask.scheme == PND_BERNOULLI || c == 0 || c == n) {
            std::memset(slope, 0, mask.length * sizeof(T));
            continue;
          }
          if (wide) {
            weights_of(weight, padded, shifted);
          } else {
            weights_of<T>(room.weight, padded, nullptr);
          }
          if (mask.scheme == PND_POISSON) {
            poisson(mask, label, chance, c, room, slope);
          } else if (mask.scheme == PND_GUMBEL) {
            gumbel(mask, row, c, room, slope);
          } else if (mask.scheme == PND_SYSTEMATIC) {
            systematic(mask, row, weight, c, slope);
          } else if (mask.scheme == PND_CONDITIONAL) {
            for (int64_t i = 0; i < mask.length; ++i) {
              slope[i] = static_cast<T>(label[i] >= 0 ? 1 : 0) - chance[i];
            }
          } else {
            candidates(mask, row, weight, shifted, n, c, room, share, sum, slope);
          }
          finish(mask, row, slope);
        }
      });
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
    mask.step = *step;
    mask.key = key;
    const int64_t padded = mask.padded();
    if (call.reserve(Room<T>::bytes(padded) + 3 * Scratch::bytes<double>(padded) +
                     Scratch::bytes<double>(candidates))
            .refused()) {
      return;
    }
    backward(context, mask);
  });
  return call.status();
}
