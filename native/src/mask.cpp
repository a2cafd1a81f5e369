// SPDX-License-Identifier: Apache-2.0
// mask: chooses positions for masked prediction, and corrupts their tokens.
// What each scheme does stands in ponder.h; w = exp(max(logit - largest, -80))
// Shapes   logits, tokens, inclusion, weight, corrupted, label [rows, length];
//          log_probability [rows]; step [1]; row-major, contiguous, no aliasing
// Method   per row: eligible logits and weights, the scheme, then what comes out, each a pass over
//          scratch memory in L1. Gumbel: times -log(1 - u) / w, of which time c + 1 is selected
//          without sorting (select.h); Poisson: words against probabilities; the other three in
//          mask_sets.h
// Order    sums that decide in 32 lanes; the order's log-probability: chain over the chosen from
//          the last, their logarithms in 32 lanes
// Error    weights within 2 ULP of the plain loop's; masks bit for bit on every device
// Work     Gumbel 60 flops and 24 bytes per position; Bernoulli 3 and 16
// Source   Efraimidis, Spirakis, Inf. Proc. Letters 97, 2006; Duffield, Lund, Thorup, JACM 54, 2007
#include "mask.h"

#include "guards/mask.h"
#include "map.h"
#include "mask_race.h"
#include "mask_sets.h"

namespace {

constexpr int64_t kSerialTokens = 1 << 13;

// Every eligible position (of a weight above 0), with certainty, or none.
template <class U, class T>
void choose_all(const U *weight, Row<T> &row, int64_t padded) {
  for (int64_t i = 0; i < padded; ++i) {
    row.chosen[i] = weight[i] > 0;
    row.chance[i] = weight[i] > 0 ? 1 : 0;
  }
  row.log_probability = 0;
}
template <class T>
void choose_none(Row<T> &row, int64_t padded) {
  std::memset(row.chosen, 0, padded * sizeof(int32_t));
  std::memset(row.chance, 0, padded * sizeof(T));
  row.log_probability = 0;
}

// The eligible logits stand in room.weight; 0 is -infinity, so that any finite one counts.
template <class T>
void bernoulli(const Mask<T> &mask, int64_t row, Room<T> &room, int64_t n) {
  const int64_t padded = mask.padded();
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  philox_words(room.words, 0, mask.stream(row), 0, padded);
  const uint32_t steps = steps_of(mask.rate);
  const T rate = static_cast<T>(mask.rate);
  int32_t count = 0;
  for (int64_t i = 0; i < padded; ++i) {
    const bool is = room.weight[i] != kNone;
    const int32_t chosen = is & ((room.words[i] >> 1) < steps);
    room.row.chosen[i] = chosen;
    room.row.chance[i] = is ? rate : 0;
    count += chosen;
  }
  // 0 log 0 = 0.
  const double yes = mask.rate > 0 ? log_of(mask.rate) : 0;
  const double no = mask.rate < 1 ? log_of(1 - mask.rate) : 0;
  room.row.log_probability = static_cast<double>(count) * yes + static_cast<double>(n - count) * no;
}

template <class T>
void poisson(const Mask<T> &mask, int64_t row, Room<T> &room, int64_t c) {
  const int64_t padded = mask.padded();
  philox_words(room.words, 0, mask.stream(row), 0, padded);
  const T sum = sum_in<T>(padded, [&](int64_t i) { return load(room.weight + i); });
  const Vec<T> scale = splat(static_cast<T>(c) / sum), zero{}, one = splat<T>(1);
  const Vec<T> least = splat(static_cast<T>(kLeastChance));
  for (int64_t i = 0; i < padded; i += kWidth<T>) {
    const Vec<T> w = load(room.weight + i);
    store(room.row.chance + i, choose(w > zero, smaller(larger(scale * w, least), one), zero));
  }
  for (int64_t i = 0; i < padded; ++i) {
    room.row.chosen[i] = falls_below(room.words[i], room.row.chance[i]);
  }
  if (mask.log_probability == nullptr) return;
  for (int64_t i = 0; i < padded; ++i) {
    room.other[i] = room.row.chosen[i] ? room.row.chance[i] : 1 - room.row.chance[i];
  }
  room.row.log_probability =
      sum_in<T>(padded, [&](int64_t i) { return log_of(load(room.other + i)); });
}

template <class T>
void gumbel(const Mask<T> &mask, int64_t row, Room<T> &room, int64_t c) {
  const int64_t padded = mask.padded();
  const Times<T> times = race(mask, row, room, c);
  const Vec<T> last = splat(times.last), next = splat(times.next);
  for (int64_t i = 0; i < padded; i += kWidth<T>) {
    // Of the others' times, the one to beat.
    const Vec<T> end = choose(load(room.other + i) <= last, next, last);
    store(room.row.chance + i, chance_of(load(room.weight + i) * end));
  }
  if (mask.log_probability == nullptr) return;
  in_order(room.other, room.row.chosen, padded, times.last, room.order, room.words);
  remaining(room, padded, room.order, c, room.select);
  const int64_t filled = (c + kLanes - 1) / kLanes * kLanes;
  for (int64_t j = 0; j < c; ++j) room.other[j] = room.weight[room.order[j]] / room.select[j];
  for (int64_t j = c; j < filled; ++j) room.other[j] = 1;
  room.row.log_probability =
      sum_in<T>(filled, [&](int64_t i) { return log_of(load(room.other + i)); });
}

// What a scheme has left of a row, as the caller asked for it.
template <class T>
void put_out(const Mask<T> &mask, int64_t row, Room<T> &room) {
  const Row<T> &is = room.row;
  const int64_t n = mask.length, at = row * n;
  if (mask.log_probability != nullptr) {
    mask.log_probability[row] = static_cast<T>(is.log_probability);
  }
  if (mask.inclusion != nullptr) std::memcpy(mask.inclusion + at, is.chance, n * sizeof(T));
  if (mask.weight != nullptr) {
    T *weight = mask.weight + at;
    if (is.weight > 0) {
      for (int64_t i = 0; i < n; ++i) weight[i] = is.chosen[i] ? is.weight : 0;
    } else {
      for (int64_t i = 0; i < n; ++i) {
        const T inverse = 1 / is.chance[i];
        weight[i] = is.chosen[i] ? inverse : 0;
      }
    }
  }
  const int32_t *tokens = mask.tokens + at;
  if (mask.label != nullptr) {
    int32_t *label = mask.label + at;
    for (int64_t i = 0; i < n; ++i) label[i] = is.chosen[i] ? tokens[i] : -1;
  }
  if (mask.corrupted != nullptr) {
    int32_t *corrupted = mask.corrupted + at;
    philox_words(room.words, kActionBlock, mask.stream(row), 0, mask.padded());
    philox_words(room.more, kTokenBlock, mask.stream(row), 0, mask.padded());
    for (int64_t i = 0; i < n; ++i) {
      const int32_t other = replaced(tokens[i], room.words[i], room.more[i], mask);
      corrupted[i] = is.chosen[i] ? other : tokens[i];
    }
  }
}

// The schemes that work in T.
template <class T>
void mask_rows(pnd_context *context, const Mask<T> &mask) {
  const int64_t padded = mask.padded();
  parallel_rows(context, mask.rows, mask.length, kSerialTokens,
                [&](int64_t first, int64_t last, int worker) {
                  Scratch scratch(context, worker);
                  Room<T> room(scratch, padded);
                  for (int64_t row = first; row < last; ++row) {
                    const int64_t n = eligible_logits(mask, row, room.weight);
                    const int64_t c = mask.chosen_of(n);
                    if (mask.scheme == PND_BERNOULLI) {
                      bernoulli(mask, row, room, n);
                    } else {
                      weights_of<T>(room.weight, padded, nullptr);
                      if (c == n) {
                        choose_all(room.weight, room.row, padded);
                      } else if (c == 0) {
                        choose_none(room.row, padded);
                      } else if (mask.scheme == PND_POISSON) {
                        poisson(mask, row, room, c);
                      } else {
                        gumbel(mask, row, room, c);
                      }
                    }
                    put_out(mask, row, room);
                  }
                });
}

// Those that work in f64, by one row and another.
struct SetRoom {
  double *weight, *shifted, *share;

  SetRoom(Scratch &scratch, int64_t padded, int64_t candidates)
      : weight(scratch.take<double>(padded)),
        shifted(scratch.take<double>(padded)),
        share(scratch.take<double>(candidates)) {}
  static int64_t bytes(int64_t padded, int64_t candidates) {
    return 2 * Scratch::bytes<double>(padded) + Scratch::bytes<double>(candidates);
  }
};

template <class T>
void systematic(const Mask<T> &mask, int64_t row, Room<T> &room, const double *w, int64_t c) {
  const Certain certain = certain_of(w, mask.padded(), c);
  for (int64_t i = 0; i < mask.length; ++i) {
    room.row.chance[i] = static_cast<T>(systematic_chance(certain, w[i]));
  }
  const double u = middle_of(philox_block(0, mask.stream(row)).word[0]);
  const Drawn drawn = systematic_draw(w, mask.length, certain, c, u,
                                      [&](int64_t i, bool is) { room.row.chosen[i] = is; });
  room.row.log_probability = log_of(drawn.length);
}

template <class T>
void candidates(const Mask<T> &mask, int64_t row, Room<T> &room, const SetRoom &set, int64_t n,
                int64_t c) {
  const int64_t taken =
      take_candidate(mask, row, set.weight, set.shifted, n, c, room.words, set.share);
  choose_none(room.row, mask.padded());
  const T chance = static_cast<T>(static_cast<double>(c) / static_cast<double>(n));
  draw_candidate(mask, row, taken, set.weight, n, c, room.words, [&](int64_t i, bool is) {
    room.row.chosen[i] = is;
    room.row.chance[i] = chance;
  });
  const double q = candidate_chance(set.share[taken], mask);
  room.row.weight = static_cast<T>(1 / (static_cast<double>(mask.candidates) * q));
  room.row.log_probability = log_of(q);
}

template <class T>
void set_rows(pnd_context *context, const Mask<T> &mask) {
  const int64_t padded = mask.padded();
  parallel_rows(context, mask.rows, mask.length, kSerialTokens,
                [&](int64_t first, int64_t last, int worker) {
                  Scratch scratch(context, worker);
                  Room<T> room(scratch, padded);
                  const SetRoom set(scratch, padded, mask.candidates);
                  for (int64_t row = first; row < last; ++row) {
                    room.row.weight = 0;
                    const int64_t n = eligible_logits(mask, row, set.weight);
                    const int64_t c = mask.chosen_of(n);
                    weights_of(set.weight, padded, set.shifted);
                    if (c == n) {
                      choose_all(set.weight, room.row, padded);
                    } else if (c == 0) {
                      choose_none(room.row, padded);
                    } else if (mask.scheme == PND_SYSTEMATIC) {
                      systematic(mask, row, room, set.weight, c);
                    } else {
                      candidates(mask, row, room, set, n, c);
                    }
                    put_out(mask, row, room);
                  }
                });
}

// Scratch memory of the rows of a vector; a row chooses at most `most` positions.
template <class T>
struct ConditionalRoom {
  double *weight;
  SetRows set;

  ConditionalRoom(Scratch &scratch, int64_t padded, int64_t length, int64_t most)
      : weight(scratch.take<double>(padded)), set{} {
    const int64_t row = SetRows::row(most);
    set.length = length;
    set.padded = padded;
    for (double **array : {&set.weights, &set.yes, &set.no, &set.chance, &set.uniform}) {
      *array = scratch.take<double>(padded * kSetRows);
    }
    set.chosen = scratch.take<uint8_t>(padded);
    set.starts = scratch.take<double>(SetRows::blocks(length) * row);
    set.table = scratch.take<double>(SetRows::table_size(length, most));
    set.adjoint = scratch.take<double>(row);
  }
  static int64_t bytes(int64_t padded, int64_t length, int64_t most) {
    const int64_t row = SetRows::row(most);
    return Scratch::bytes<double>(padded) + 5 * Scratch::bytes<double>(padded * kSetRows) +
           Scratch::bytes<uint8_t>(padded) + Scratch::bytes<double>(SetRows::blocks(length) * row) +
           Scratch::bytes<double>(SetRows::table_size(length, most)) + Scratch::bytes<double>(row);
  }
};

// Of one row among those of a vector: its weights, and the scale that makes odds of them; returns
// whether it draws.
template <class T>
bool begin_conditional(const Mask<T> &mask, int64_t row, int r, SetRows &set) {
  double *weight = set.weights + r * set.padded;
  const int64_t n = eligible_logits(mask, row, weight), c = mask.chosen_of(n);
  weights_of<double>(weight, set.padded, nullptr);
  const bool draws = c > 0 && c < n;
  set.scale[r] = draws ? odds_scale(weight, set.padded, c) : 0;
  set.wanted[r] = draws ? c : 0;
  return draws;
}

// Where a row draws, its chances stand in weights.
template <class T>
void end_conditional(const Mask<T> &mask, int64_t row, int r, bool draws, ConditionalRoom<T> &room,
                     Row<T> &out) {
  const int64_t padded = mask.padded();
  if (!draws) {
    const int64_t n = eligible_logits(mask, row, room.weight);
    weights_of<double>(room.weight, padded, nullptr);
    if (mask.chosen_of(n) > 0) {
      choose_all(room.weight, out, padded);
    } else {
      choose_none(out, padded);
    }
    return;
  }
  const double *chance = room.set.weights + r * padded;
  for (int64_t i = 0; i < mask.length; ++i) {
    out.chosen[i] = room.set.chosen[i] >> r & 1;
    out.chance[i] = static_cast<T>(chance[i]);
  }
  out.log_probability = room.set.log_probability[r];
}

template <class T>
void conditional_rows(pnd_context *context, const Mask<T> &mask, int64_t most) {
  const int64_t groups = (mask.rows + kSetRows - 1) / kSetRows;
  const int64_t padded = mask.padded();
  const bool wants_chance = mask.inclusion != nullptr || mask.weight != nullptr;
  parallel_rows(context, groups, mask.length * kSetRows, kSerialTokens,
                [&](int64_t first, int64_t last, int worker) {
                  Scratch scratch(context, worker);
                  Room<T> room(scratch, padded);
                  ConditionalRoom<T> of(scratch, padded, mask.length, most);
                  SetRows &set = of.set;
                  for (int64_t group = first; group < last; ++group) {
                    bool draws[kSetRows];
                    Wide numbers{};
                    set.most = 0;
                    for (int r = 0; r < kSetRows; ++r) {
                      // The last rows stand in for those that are not there.
                      const int64_t row = std::min(group * kSetRows + r, mask.rows - 1);
                      draws[r] = begin_conditional(mask, row, r, set);
                      numbers[r] = mask.stream(row).row;
                      set.most = std::max(set.most, set.wanted[r]);
                    }
                    if (set.most > 0) {
                      success(set);
                      uniform_lanes(set, numbers, mask.stream(0));
                      conditional_sets(set, wants_chance, mask.log_probability != nullptr);
                      if (wants_chance) turn_lanes(set.chance, padded, kSetRows, set.weights);
                    }
                    for (int r = 0; r < kSetRows; ++r) {
                      const int64_t row = group * kSetRows + r;
                      if (row >= mask.rows) break;
                      end_conditional(mask, row, r, draws[r], of, room.row);
                      put_out(mask, row, room);
                    }
                  }
                });
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
    mask.step = *step;
    mask.key = key;
    const int64_t padded = mask.padded(), room = Room<T>::bytes(padded);
    if (scheme == PND_CONDITIONAL) {
      const int64_t most = mask.chosen_of(length);
      if (call.reserve(room + ConditionalRoom<T>::bytes(padded, length, most)).refused()) return;
      conditional_rows(context, mask, most);
    } else if (scheme == PND_SYSTEMATIC || scheme == PND_CANDIDATES) {
      if (call.reserve(room + SetRoom::bytes(padded, candidates)).refused()) return;
      set_rows(context, mask);
    } else {
      if (call.reserve(room).refused()) return;
      mask_rows(context, mask);
    }
  });
  return call.status();
}
