// SPDX-License-Identifier: Apache-2.0
// mask_sets.h: the schemes that choose a set as a whole, in f64 for either type.
// Systematic     the certain positions first: those of w >= b, b falling until it stands still; the
//                running sum of the others' probabilities is one chain
// Conditional    with x = a w, p = x / (1 + x), q = 1 / (1 + x): F[i][j], the probability that j
//                of the first i positions succeed, F[i][j] = q_i F[i-1][j] + p_i F[i-1][j-1]; from
//                the end, with j still to choose, i is chosen with probability
//                p_i F[i-1][j-1] / F[i][j]. Inclusion by the adjoint recursion: with
//                A[n][j] = [j = c], A[i-1][j] = q_i A[i][j] + p_i A[i][j+1],
//                pi_i = p_i sum over j of A[i][j] F[i-1][j-1] / F[n][c]. Any a > 0 gives the same
//                law; one that makes c the expected number keeps F[n][c] far from 0.
//                F and A step over 4 positions at once, by the probabilities that 0 to 4 of them
//                succeed: 5 products instead of 8, and a quarter of the table. What lies between is
//                made from 5 elements of F where it is asked for, and from the 4 sums over j of
//                A[i+4][j+m] F[i][j]. As many rows as a vector has lanes at once; F in blocks of
//                128 positions, made again from what stood before each of them
// Candidates     Knuth's selection sampling for each set
// Source   Chen, Dempster, Liu, Biometrika 81, 1994; Madow, Ann. Math. Stat. 20, 1949
#pragma once

#include "mask.h"
#include "tile.h"

// Their weights below a bound, and how many are not.
inline Certain certain_of(const double *w, int64_t padded, int64_t c) {
  const Vec<double> zero{}, one = splat(1.0);
  return certain_of(
      c,
      [=](double bound) {
        const Vec<double> end = splat(bound);
        return sum_in<double>(padded, [=](int64_t i) PND_INLINED {
          const Vec<double> x = load(w + i);
          return choose(x < end, x, zero);
        });
      },
      [=](double bound) {
        const Vec<double> end = splat(bound);
        return static_cast<int64_t>(sum_in<double>(
            padded, [=](int64_t i) PND_INLINED { return choose(load(w + i) < end, zero, one); }));
      });
}

inline double odds_scale(const double *w, int64_t padded, int64_t c) {
  const double first = certain_of(w, padded, c).scale;
  return odds_scale(first, c, [=](double scale, double &expected, double &variance) {
    const Vec<double> a = splat(scale), one = splat(1.0);
    Lanes<double> sums, squares;
    for (int64_t i = 0; i < padded; i += kLanes) {
      PND_UNROLL
      for (int j = 0; j < Lanes<double>::kVectors; ++j) {
        const Vec<double> no = one / fma(a, load(w + i + j * kWidth<double>), one), yes = one - no;
        sums.v[j] += yes;
        squares.v[j] += yes * no;
      }
    }
    expected = sums.fold();
    variance = squares.fold();
  });
}

// ---- conditional Poisson ------------------------------------------------------------------------

constexpr int kSetRows = kWidth<double>;

// The rows of one vector: their arrays are [position][row], but `weights` is [row][position].
// Before a row of F, which stands for a group's begin, and after A there are columns of zeros.
struct SetRows {
  int64_t length, padded, most;  // positions, and the most to choose of a row
  int64_t wanted[kSetRows];
  double scale[kSetRows];  // of the weights: their odds
  double *weights, *yes, *no, *chance, *uniform;
  uint8_t *chosen;                   // [position], a bit per row
  double *starts, *table, *adjoint;  // F before each block, within a block; A
  double log_probability[kSetRows];

  // Positions whose F stands in memory at once.
  static int64_t block(int64_t length) {
    int64_t block = 128;
    while (block * block < length) block *= 2;
    return block;
  }
  static int64_t blocks(int64_t length) { return (length + block(length) - 1) / block(length); }
  // Elements of a row of F, and of A.
  static int64_t row(int64_t most) { return (most + 1 + kSetGroup) * kSetRows; }
  static int64_t table_size(int64_t length, int64_t most) {
    return (std::min(block(length), length) / kSetGroup + 2) * row(most);
  }
};

PND_INLINE Vec<double> lanes_at(const double *x, int64_t i) { return load(x + i * kSetRows); }

// to[column][row] = from[row][column], of which either has kSetRows rows or columns.
inline void turn_lanes(const double *from, int64_t rows, int64_t cols, double *to) {
  constexpr int kSide = kSetRows < 4 ? 1 : 4;
  for (int64_t r = 0; r < rows; r += kSide) {
    for (int64_t c = 0; c < cols; c += kSide) {
      if constexpr (kSide == 4) {
        transpose_block(from + r * cols + c, cols, to + c * rows + r, rows);
      } else {
        to[c * rows + r] = from[r * cols + c];
      }
    }
  }
}

// uniform = one number for each position; numbers[r] is that of row r.
inline void uniform_lanes(SetRows &rows, const Wide &numbers, PhiloxStream stream) {
  const Vec<double> half = splat(0.5), step = splat(0x1p-31), whole = splat(0x1p52);
  const auto put = [&](int64_t i, Wide word) PND_INLINED {
    const Wide count = (word & 0xffffffffu) >> 1;
    store(rows.uniform + i * kSetRows, (of_bits(count | bits_of(whole)) - whole + half) * step);
  };
  for (int64_t i = 0; i < rows.padded; i += 4 * kPhiloxVectors) {
    PhiloxCounters x;
    PND_UNROLL
    for (int k = 0; k < kPhiloxVectors; ++k) {
      x.c0[k] = splat<uint64_t>(static_cast<uint64_t>(i / 4 + k));
      x.c1[k] = numbers;
    }
    x.encrypt(stream);
    PND_UNROLL
    for (int k = 0; k < kPhiloxVectors; ++k) {
      put(i + 4 * k, x.c0[k]);
      put(i + 4 * k + 1, x.c1[k]);
      put(i + 4 * k + 2, x.c2[k]);
      put(i + 4 * k + 3, x.c3[k]);
    }
  }
}

// The probability of each position to succeed, alone.
inline void success(SetRows &rows) {
  turn_lanes(rows.weights, kSetRows, rows.padded, rows.yes);
  const Vec<double> scale = load(rows.scale), one = splat(1.0);
  for (int64_t i = 0; i < rows.padded * kSetRows; i += kSetRows) {
    const Vec<double> odds = scale * load(rows.yes + i), no = one / (one + odds);
    store(rows.yes + i, odds * no);
    store(rows.no + i, no);
  }
}

// The arrays of a group.
struct SetGroup {
  Vec<double> yes[kSetGroup], no[kSetGroup], terms[kSetGroup + 1];

  PND_INLINE SetGroup(const SetRows &rows, int64_t first) {
    PND_UNROLL
    for (int i = 0; i < kSetGroup; ++i) {
      yes[i] = lanes_at(rows.yes, first + i);
      no[i] = lanes_at(rows.no, first + i);
    }
    group_terms(yes, no, terms);
  }
};

// F behind a group from F before it.
PND_INLINE void forward_group(const SetGroup &group, const double *from, double *to,
                              int64_t columns) {
  for (int64_t j = 0; j < columns; ++j) {
    Vec<double> sum = group.terms[0] * lanes_at(from, j);
    PND_UNROLL
    for (int m = 1; m <= kSetGroup; ++m) sum = fma(group.terms[m], lanes_at(from, j - m), sum);
    store(to + j * kSetRows, sum);
  }
}

// A before a group from A behind it, in place; s[m] = sum over j of A[j + m + 1] F[j].
PND_INLINE void adjoint_group(const SetGroup &group, const double *before, double *adjoint,
                              int64_t columns, Vec<double> *s) {
  PND_UNROLL
  for (int m = 0; m < kSetGroup; ++m) s[m] = Vec<double>{};
  for (int64_t j = 0; j < columns; ++j) {
    const Vec<double> f = lanes_at(before, j);
    Vec<double> sum = group.terms[0] * lanes_at(adjoint, j);
    PND_UNROLL
    for (int m = 1; m <= kSetGroup; ++m) {
      const Vec<double> a = lanes_at(adjoint, j + m);
      sum = fma(group.terms[m], a, sum);
      s[m - 1] = fma(a, f, s[m - 1]);
    }
    store(adjoint + j * kSetRows, sum);
  }
}

PND_INLINE Vec<double> gather_lanes(const double *x, Vec<int64_t> at) {
#if defined(__AVX512F__)
  return (Vec<double>)_mm512_mask_i64gather_pd(_mm512_setzero_pd(), 0xff, (__m512i)at, x, 8);
#else
  Vec<double> y;
  for (int r = 0; r < kSetRows; ++r) y[r] = x[at[r]];
  return y;
#endif
}

// Chooses, and fills chance and log_probability.
inline void conditional_sets(SetRows &rows, bool wants_chance, bool wants_log) {
  const int64_t columns = rows.most + 1, row = SetRows::row(rows.most);
  const int64_t block = SetRows::block(rows.length), blocks = SetRows::blocks(rows.length);
  const Vec<double> zero{}, one = splat(1.0), least = splat<double>(Format<float>::kLeastNormal);
  constexpr int64_t kBefore = kSetGroup * kSetRows;
  std::memset(rows.starts, 0, row * sizeof(double));
  store(rows.starts + kBefore, one);
  std::memset(rows.adjoint, 0, row * sizeof(double));
  Vec<int64_t> at{};  // of the number still to choose, in a row of F
  for (int r = 0; r < kSetRows; ++r) {
    at[r] = rows.wanted[r] * kSetRows + r;
    rows.adjoint[rows.wanted[r] * kSetRows + r] = 1;
  }
  const auto end_of = [&](int64_t first) { return std::min(first + block, rows.length); };
  const auto fill = [&](int64_t first) {
    std::memcpy(rows.table, rows.starts + first / block * row, row * sizeof(double));
    double *from = rows.table;
    for (int64_t i = first; i < end_of(first); i += kSetGroup, from += row) {
      std::memset(from + row, 0, kBefore * sizeof(double));
      forward_group(SetGroup(rows, i), from + kBefore, from + row + kBefore, columns);
    }
    return from;  // F behind the block
  };
  const double *all = nullptr;
  for (int64_t b = 0; b < blocks; ++b) {
    all = fill(b * block);
    if (b + 1 < blocks) std::memcpy(rows.starts + (b + 1) * row, all, row * sizeof(double));
  }
  const Vec<double> whole = gather_lanes(all + kBefore, at), inverse = one / whole;
  Vec<double> product = one, logarithm{};
  for (int64_t first = (blocks - 1) * block; first >= 0; first -= block) {
    if (first + block < rows.length) fill(first);
    const int64_t groups = (end_of(first) - first + kSetGroup - 1) / kSetGroup;
    for (int64_t g = groups - 1; g >= 0; --g) {
      const int64_t i = first + g * kSetGroup;
      const double *before = rows.table + g * row + kBefore;
      const SetGroup group(rows, i);
      Vec<double> terms[kSetGroup + 1], u[kSetGroup];
      PND_UNROLL
      for (int m = 0; m <= kSetGroup; ++m) terms[m] = gather_lanes(before - m * kSetRows, at);
      PND_UNROLL
      for (int k = 0; k < kSetGroup; ++k) u[k] = lanes_at(rows.uniform, i + k);
      choose_group(terms, group.yes, group.no, u, [&](int k, auto is) PND_INLINED {
        at -= (Vec<int64_t>)is & kSetRows;
        const Vec<double> chosen = choose(is, one, zero);
        rows.chosen[i + k] = static_cast<uint8_t>(above<double>(chosen, zero));
        product *= choose(is, group.yes[k], group.no[k]);
      });
      // Products of 8 stay normal.
      if (wants_log && g % 2 == 0) {
        logarithm += log_of(product);
        product = one;
      }
      if (!wants_chance) continue;
      Vec<double> s[kSetGroup], chance[kSetGroup];
      adjoint_group(group, before, rows.adjoint, columns, s);
      group_chances(group.yes, group.no, s, chance);
      PND_UNROLL
      for (int k = 0; k < kSetGroup; ++k) {
        const Vec<double> x = smaller(larger(chance[k] * inverse, least), one);
        store(rows.chance + (i + k) * kSetRows, choose(group.yes[k] > zero, x, zero));
      }
    }
  }
  if (wants_log) store(rows.log_probability, logarithm - log_of(whole));
}

// ---- candidate sets -----------------------------------------------------------------------------

// The positions of candidate set number `set`: calls choose(i, is_drawn) for the eligible ones.
// words [padded] is scratch memory.
template <class T, class Choose>
void draw_candidate(const Mask<T> &mask, int64_t row, int64_t set, const double *w, int64_t n,
                    int64_t c, uint32_t *words, Choose &&choose) {
  const int64_t blocks = (mask.length + 3) / 4;
  const auto start = kDrawBlock + static_cast<uint32_t>(set * blocks);
  philox_words(words, start, mask.stream(row), 0, mask.length);
  int64_t wanted = c, left = n;
  for (int64_t i = 0; i < mask.length; ++i) {
    if (w[i] == 0) continue;
    const bool is = is_drawn(words[i], wanted, left);
    choose(i, is);
    wanted -= is;
    --left;
  }
}

// share = the softmax over the candidate sets; returns which of them is taken.
template <class T>
int64_t take_candidate(const Mask<T> &mask, int64_t row, const double *w, const double *shifted,
                       int64_t n, int64_t c, uint32_t *words, double *share) {
  for (int64_t j = 0; j < mask.candidates; ++j) {
    double sum = 0;
    draw_candidate(mask, row, j, w, n, c, words,
                   [&](int64_t i, bool is) { sum += is ? shifted[i] : 0; });
    share[j] = sum;
  }
  candidate_shares(share, mask.candidates);
  const double u = middle_of(philox_block(0, mask.stream(row)).word[0]);
  return taken_candidate(share, mask, u);
}
