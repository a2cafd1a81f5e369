// SPDX-License-Identifier: Apache-2.0
// sampling: what decides which positions a mask chooses, from operations that are the same on every
// build and device. Like formulas.h, which stands before this file, it is written for V: float,
// double or a vector of either.
// Random   a word of the Philox stream of (row, step, key) belongs to one position: words of the
//          blocks below 2^30 select, those from kActionBlock, kTokenBlock and kDrawBlock on say
//          what is put in, which token, and which positions the candidate sets hold
// Source   Philox: philox.h; exponential race: Efraimidis, Spirakis, Inf. Proc. Letters 97, 2006
#pragma once

#include "formulas.h"
#include "philox.h"
#include "ponder.h"

// A function that calls what it is given, which on a device has no host's form.
#ifndef PND_LOOP
#define PND_LOOP PND_SHARED
#endif

constexpr uint32_t kActionBlock = 1u << 30, kTokenBlock = 2u << 30, kDrawBlock = 3u << 30;

// A logit that lies further below the largest of its row counts as that far below: every weight,
// and every exponential divided by one, is then a normal number in either type.
constexpr double kFarthest = 80;
// No position that may be chosen is chosen with a smaller probability: a step of the uniform
// numbers.
constexpr double kLeastChance = 0x1p-31;
// Systematic sampling chooses a position of a higher probability always, so that no rounding makes
// two of the points that are one apart fall on it.
constexpr double kCertain = 1 - 0x1p-29;

// What the rows of a call have in common.
struct MaskRule {
  int64_t length, vocabulary, k, candidates, mask_token;
  double rate, floor;
  int32_t scheme;
  uint32_t last_masked, last_random;  // of the 31 bits of a word of kActionBlock, plus one

  // Positions to choose of n.
  PND_SHARED int64_t chosen_of(int64_t n) const {
    const int64_t wanted = k > 0 ? k : static_cast<int64_t>(rate * static_cast<double>(n) + 0.5);
    return wanted < n ? wanted : n;
  }
};

// The number of words among 2^31 whose upper 31 bits count less: chance in steps of 2^-31, upwards.
PND_SHARED uint32_t steps_of(double chance) {
  const double steps = chance * 0x1p31;
  const auto whole = static_cast<uint32_t>(steps);
  return whole + (static_cast<double>(whole) < steps ? 1 : 0);
}

// The same as (word >> 1) < steps_of(chance).
PND_SHARED bool falls_below(uint32_t word, double chance) {
  return static_cast<double>(static_cast<int32_t>(word >> 1)) < chance * 0x1p31;
}

// In (0, 1), the middle of a step.
PND_SHARED double middle_of(uint32_t word) {
  return (static_cast<double>(static_cast<int32_t>(word >> 1)) + 0.5) * 0x1p-31;
}

// What stands where a position is chosen.
PND_SHARED int32_t replaced(int32_t token, uint32_t action, uint32_t word, const MaskRule &rule) {
  if ((action >> 1) < rule.last_masked) return static_cast<int32_t>(rule.mask_token);
  if ((action >> 1) >= rule.last_random) return token;
  return static_cast<int32_t>((word * static_cast<uint64_t>(rule.vocabulary)) >> 32);
}

// Whether a position belongs to a candidate set that still takes `wanted` of `left` positions, this
// one included. Source: Knuth, TAOCP 2, algorithm 3.4.2 S.
PND_SHARED bool is_drawn(uint32_t word, int64_t wanted, int64_t left) {
  return word * static_cast<uint64_t>(left) < static_cast<uint64_t>(wanted) << 32;
}

// -log(1 - u) with u = (i + 1/2) 2^-31, from i and from 2^31 - 1 - i as V: a unit exponential whose
// relative error is small at both ends.
template <class V>
PND_SHARED V exponential_of(V i, V rest) {
  using T = Element<V>;
  const V half = constant<V>(static_cast<T>(0.5));
  V e;
  const V f = log_parts((rest + half) * constant<V>(static_cast<T>(0x1p-31)), e);
  const V u = (i + half) * constant<V>(static_cast<T>(-0x1p-31));
  return -log_sum(e, choose(e == constant<V>(0), u, f));
}

// log of the weight of an eligible logit.
template <class V>
PND_SHARED V log_weight_of(V logit, V largest) {
  return larger(logit - largest, constant<V>(static_cast<Element<V>>(-kFarthest)));
}

// The weight; 0 where the logit is -infinity.
template <class V>
PND_SHARED V weight_of(V logit, V largest) {
  return choose(logit == constant<V>(-__builtin_huge_val()), constant<V>(0),
                exp_of_negative(log_weight_of(logit, largest)));
}

// 1 - exp(-x) for x >= 0, infinity included; at least the smallest normal number where x > 0.
template <class V>
PND_SHARED V chance_of(V x) {
  using T = Element<V>;
  V n;
  const V p = exp_reduced(-smaller(constant<V>(static_cast<T>(kFarthest)), x), n);
  const V scale = power_of_two(n), one = constant<V>(1);
  const V chance = fma(-p, scale, one - scale);
  const V least = constant<V>(Format<T>::kLeastNormal);
  return choose(x > constant<V>(0), larger(chance, least), constant<V>(0));
}

// ---- systematic ---------------------------------------------------------------------------------

// pi = min(1, scale w) sums to c: positions of w >= bound are certain, `count` of them.
struct Certain {
  double scale, bound;
  int64_t count;
};

// From sum_below(bound), the sum of the weights below a bound, and count_from(bound), how many are
// not: the bound falls until it stands still.
template <class Sum, class Count>
PND_LOOP Certain certain_of(int64_t c, Sum &&sum_below, Count &&count_from) {
  Certain found{0, __builtin_huge_val(), 0};
  for (;;) {
    const double sum = sum_below(found.bound);
    found.scale = sum > 0 ? static_cast<double>(c - found.count) / sum : 0;
    if (found.scale == 0) return found;
    const double next = kCertain / found.scale;
    const int64_t count = count_from(next);
    if (count == found.count) return found;
    found.count = count;
    found.bound = next;
  }
}

// The probability of a position; of what cannot be chosen beside the certain ones, the least.
PND_SHARED double systematic_chance(const Certain &certain, double w) {
  if (w == 0) return 0;
  if (w >= certain.bound) return 1;
  return larger(certain.scale * w, static_cast<double>(Format<float>::kLeastNormal));
}

// What the draw of a row leaves: the set's probability is the length of the stretch of u that gives
// it, which begins behind position `first` and ends at position `last` (-1: at 0 and at 1).
struct Drawn {
  double length;
  int64_t first, last;
};

// Calls choose(i, is_chosen) for each position.
template <class Choose>
PND_LOOP Drawn systematic_draw(const double *w, int64_t n, const Certain &certain, int64_t c,
                               double u, Choose &&choose) {
  const auto points = static_cast<double>(c - certain.count);
  int64_t last = -1;
  for (int64_t i = 0; i < n; ++i) {
    if (w[i] > 0 && w[i] < certain.bound) last = i;
  }
  Drawn drawn{0, -1, -1};
  double before = 0, low = 0, high = 1, point = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (w[i] == 0 || w[i] >= certain.bound) {
      choose(i, w[i] > 0);
      continue;
    }
    const double sum = before + certain.scale * w[i];
    const double after = i == last ? points : sum < points ? sum : points;
    const bool is = after > point + u;
    if (is) {
      if (before - point > low) {
        low = before - point;
        drawn.first = i;
      }
      if (after - point < high) {
        high = after - point;
        drawn.last = i;
      }
      point += 1;
    }
    choose(i, is);
    before = after;
  }
  drawn.length = high - low > kLeastChance ? high - low : kLeastChance;
  return drawn;
}

// ---- conditional Poisson ------------------------------------------------------------------------

// a such that about c positions succeed where each does with probability a w / (1 + a w), from
// a first one; sums_at(a, expected, variance) says how many do.
template <class Sums>
PND_LOOP double odds_scale(double scale, int64_t c, Sums &&sums_at) {
  // Where all that are chosen are certain, what is left of them decides.
  if (scale == 0) scale = 1;
  for (int turn = 0; turn < 30; ++turn) {
    double expected, variance;
    sums_at(scale, expected, variance);
    const double off = static_cast<double>(c) - expected;
    if (off * off <= 16 * variance) break;
    const double step = off / variance;
    scale *= exp_of(step > 2 ? 2.0 : step < -2 ? -2.0 : step);
  }
  return scale;
}

// Positions are taken in groups. Of a group, yes[i] is the probability that position i succeeds,
// no[i] that it does not.
constexpr int kSetGroup = 4;

// e[m] = the probability that m of a group's positions succeed.
template <class V>
PND_SHARED void group_terms(const V *yes, const V *no, V *e) {
  e[0] = no[0];
  e[1] = yes[0];
  PND_UNROLL
  for (int i = 1; i < kSetGroup; ++i) {
    V left = constant<V>(0);
    PND_UNROLL
    for (int m = 0; m <= kSetGroup; ++m) {
      if (m > i + 1) continue;
      const V own = m > i ? constant<V>(0) : e[m];
      e[m] = fma(yes[i], left, no[i] * own);
      left = own;
    }
  }
}

// to[m] = what follows of from[m] and from[m + 1] by a position.
template <int kCount, class V>
PND_SHARED void next_terms(const V *from, V *to, V yes, V no) {
  PND_UNROLL
  for (int m = 0; m < kCount; ++m) to[m] = fma(yes, from[m + 1], no * from[m]);
}
template <int kCount, class Test, class V>
PND_SHARED void shift_terms(V *x, Test test) {
  PND_UNROLL
  for (int m = 0; m < kCount; ++m) x[m] = choose(test, x[m + 1], x[m]);
}

// Chooses from the last position of a group to its first, by the uniform numbers u: put(i, whether
// i is chosen). before[m] is the probability that all but m of those that are left to choose
// succeed before the group; it is overwritten.
template <class V, class Put>
PND_LOOP void choose_group(V *before, const V *yes, const V *no, const V *u, Put &&put) {
  V one[4], two[3], three[2], all[1];
  next_terms<4>(before, one, yes[0], no[0]);
  next_terms<3>(one, two, yes[1], no[1]);
  next_terms<2>(two, three, yes[2], no[2]);
  next_terms<1>(three, all, yes[3], no[3]);
  const auto last = u[3] * all[0] < yes[3] * three[1];
  put(3, last);
  shift_terms<1>(three, last);
  shift_terms<2>(two, last);
  shift_terms<3>(one, last);
  shift_terms<4>(before, last);
  const auto third = u[2] * three[0] < yes[2] * two[1];
  put(2, third);
  shift_terms<1>(two, third);
  shift_terms<2>(one, third);
  shift_terms<3>(before, third);
  const auto second = u[1] * two[0] < yes[1] * one[1];
  put(1, second);
  shift_terms<1>(one, second);
  shift_terms<2>(before, second);
  put(0, u[0] * one[0] < yes[0] * before[1]);
}

// chance[i] = yes[i] times the sum over m of s[m] and the probability that m of the group's other
// positions succeed: those of the other pair first.
template <class V>
PND_SHARED void group_chances(const V *yes, const V *no, const V *s, V *chance) {
  PND_UNROLL
  for (int i = 0; i < kSetGroup; i += 2) {
    const int a = (i + 2) % kSetGroup, b = a + 1;
    const V none = no[a] * no[b], both = yes[a] * yes[b], one = fma(yes[a], no[b], no[a] * yes[b]);
    const V low = fma(both, s[2], fma(one, s[1], none * s[0]));
    const V high = fma(both, s[3], fma(one, s[2], none * s[1]));
    chance[i] = yes[i] * fma(yes[i + 1], high, no[i + 1] * low);
    chance[i + 1] = yes[i + 1] * fma(yes[i], high, no[i] * low);
  }
}

// ---- candidate sets -----------------------------------------------------------------------------

// From the sums of logits to their softmax, in place: one chain.
PND_LOOP void candidate_shares(double *share, int64_t candidates) {
  double most = share[0], sum = 0;
  for (int64_t j = 1; j < candidates; ++j) most = share[j] > most ? share[j] : most;
  for (int64_t j = 0; j < candidates; ++j) sum += share[j] = exp_of_negative(share[j] - most);
  for (int64_t j = 0; j < candidates; ++j) share[j] /= sum;
}

// The probability q of a set with that share.
PND_SHARED double candidate_chance(double share, const MaskRule &rule) {
  return fma(1 - rule.floor, share, rule.floor / static_cast<double>(rule.candidates));
}

// Which of them is taken.
PND_LOOP int64_t taken_candidate(const double *share, const MaskRule &rule, double u) {
  double sum = 0;
  for (int64_t j = 0; j + 1 < rule.candidates; ++j) {
    sum += candidate_chance(share[j], rule);
    if (u < sum) return j;
  }
  return rule.candidates - 1;
}
