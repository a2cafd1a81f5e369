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
//                law; one that makes c the expected number keeps F[n][c] far from 0. As many rows
//                as a vector has lanes at once; F in blocks of 128 positions, made again from what
//                stood before each of them
// Candidates     Knuth's selection sampling for each set
// Source   Chen, Dempster, Liu, Biometrika 81, 1994; Madow, Ann. Math. Stat. 20, 1949
#pragma once

#include "mask.h"

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
constexpr int64_t kSetBlock = 128;  // positions whose F stands in memory at once

// The rows of one vector. odds, yes, no, chance, factor: [position][row].
struct SetRows {
  int64_t length, most;  // positions, and the most to choose of a row
  int64_t wanted[kSetRows];
  double scale[kSetRows];            // of the weights: their odds
  double *odds, *yes, *no, *chance;  // odds: the weights at first
  double *factor;                    // yes where chosen, else no
  double *starts, *table, *adjoint;  // F before each block, within a block; A
  uint32_t *words[kSetRows];
  int32_t *chosen[kSetRows];
  double log_probability[kSetRows];

  static int64_t blocks(int64_t length) { return (length + kSetBlock - 1) / kSetBlock; }
};

// to[j] = q from[j] + p from[j-1].
PND_INLINE void next_row(const double *from, double *to, Vec<double> p, Vec<double> q,
                         int64_t most) {
  Vec<double> left{};
  for (int64_t j = 0; j <= most; ++j) {
    const Vec<double> own = load(from + j * kSetRows);
    store(to + j * kSetRows, fma(p, left, q * own));
    left = own;
  }
}

// The probability of each position to succeed, alone.
inline void success(SetRows &rows) {
  const Vec<double> scale = load(rows.scale), one = splat(1.0);
  for (int64_t i = 0; i < rows.length * kSetRows; i += kSetRows) {
    const Vec<double> odds = scale * load(rows.odds + i), no = one / (one + odds);
    store(rows.yes + i, odds * no);
    store(rows.no + i, no);
  }
}

// The sum of the factors' logarithms: those of products of 8, which stay normal.
PND_INLINE Vec<double> log_factors(const SetRows &rows) {
  Vec<double> sum{};
  for (int64_t i = 0; i < rows.length; i += 8) {
    Vec<double> product = splat(1.0);
    for (int64_t k = i; k < std::min(i + 8, rows.length); ++k) {
      product *= load(rows.factor + k * kSetRows);
    }
    sum += log_of(product);
  }
  return sum;
}

// Chooses, and fills chance and log_probability.
inline void conditional_sets(SetRows &rows, bool wants_chance, bool wants_log) {
  const int64_t row = (rows.most + 1) * kSetRows, blocks = SetRows::blocks(rows.length);
  const auto at = [](double *x, int64_t i) { return x + i * kSetRows; };
  std::memset(rows.starts, 0, row * sizeof(double));
  for (int r = 0; r < kSetRows; ++r) rows.starts[r] = 1;
  std::memset(rows.adjoint, 0, (row + kSetRows) * sizeof(double));
  int64_t left[kSetRows];
  for (int r = 0; r < kSetRows; ++r) {
    left[r] = rows.wanted[r];
    rows.adjoint[left[r] * kSetRows + r] = 1;
  }
  const auto fill = [&](int64_t block, int64_t i, double *from, double *to) {
    const int64_t position = block * kSetBlock + i;
    next_row(from, to, load(at(rows.yes, position)), load(at(rows.no, position)), rows.most);
  };
  // What stands before each block, by two rows in turn.
  for (int64_t b = 0; b + 1 < blocks; ++b) {
    double *from = rows.starts + b * row, *spare[2] = {rows.table, rows.table + row};
    for (int64_t i = 0; i < kSetBlock; ++i) {
      double *to = i + 1 == kSetBlock ? rows.starts + (b + 1) * row : spare[i % 2];
      fill(b, i, from, to);
      from = to;
    }
  }
  Vec<double> whole{}, inverse{};
  const Vec<double> zero{}, one = splat(1.0), least = splat<double>(Format<float>::kLeastNormal);
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t first = b * kSetBlock, n = std::min(kSetBlock, rows.length - first);
    std::memcpy(rows.table, rows.starts + b * row, row * sizeof(double));
    for (int64_t i = 0; i < n; ++i) {
      fill(b, i, rows.table + i * row, rows.table + (i + 1) * row);
    }
    if (b == blocks - 1) {
      for (int r = 0; r < kSetRows; ++r) {
        whole[r] = rows.table[n * row + left[r] * kSetRows + r];
      }
    }
    if (b == blocks - 1) inverse = one / whole;
    for (int64_t i = n - 1; i >= 0; --i) {
      const double *before = rows.table + i * row, *after = before + row;
      const double *yes = at(rows.yes, first + i);
      for (int r = 0; r < kSetRows; ++r) {
        const int64_t j = left[r], below = j > 0 ? j - 1 : 0;
        const double part = yes[r] * before[below * kSetRows + r];
        const bool is =
            (j > 0) & (middle_of(rows.words[r][first + i]) * after[j * kSetRows + r] < part);
        rows.chosen[r][first + i] = is;
        left[r] = j - is;
        at(rows.factor, first + i)[r] = is ? yes[r] : at(rows.no, first + i)[r];
      }
      if (!wants_chance) continue;
      const Vec<double> p = load(yes), q = load(at(rows.no, first + i));
      Vec<double> sum{}, own = load(rows.adjoint);
      for (int64_t j = 0; j < rows.most; ++j) {
        const Vec<double> next = load(at(rows.adjoint, j + 1));
        sum = fma(next, load(before + j * kSetRows), sum);
        store(at(rows.adjoint, j), fma(p, next, q * own));
        own = next;
      }
      store(at(rows.adjoint, rows.most), q * own);
      const Vec<double> chance = smaller(larger(p * sum * inverse, least), one);
      store(at(rows.chance, first + i), choose(p > zero, chance, zero));
    }
  }
  if (wants_log) store(rows.log_probability, log_factors(rows) - log_of(whole));
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
