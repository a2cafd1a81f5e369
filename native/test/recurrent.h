// SPDX-License-Identifier: Apache-2.0
// recurrent: what the tests of recurrent cells share: shapes, inputs with and without boundaries,
// the measure of an error.
#pragma once

#include "machines.h"

struct Shape {
  int64_t batch, steps, width;
};

// Around the tiles, the panels of units and the depth (256).
constexpr Shape kShapes[] = {{1, 1, 1},   {1, 7, 33},  {3, 3, 7},    {2, 17, 17},
                             {7, 3, 64},  {17, 2, 33}, {5, 3, 300},  {1, 2, 301},
                             {33, 3, 16}, {70, 2, 8},  {4, 100, 12}, {13, 33, 20}};

template <class T>
struct Inputs {
  std::vector<T> x, weight, bias, initial, initial_cell, dhidden, dlast_cell;
  std::vector<int32_t> resets, lengths;  // empty: null

  Inputs(const Shape &s, int64_t gates)
      : x(random_data<T>(s.batch * s.steps * gates * s.width, 1)),
        weight(random_data<T>(gates * s.width * s.width, 2)),
        bias(random_data<T>(gates * s.width, 3)),
        initial(random_data<T>(s.batch * s.width, 4)),
        initial_cell(random_data<T>(s.batch * s.width, 8)),
        dhidden(random_data<T>(s.batch * s.steps * s.width, 5)),
        dlast_cell(random_data<T>(s.batch * s.width, 9)) {
    for (T &w : weight) w /= std::sqrt(static_cast<T>(s.width));
  }

  // A third of the steps cleared; lengths from 0 to all steps.
  void bound(const Shape &s) {
    resets = random_index<int64_t>(s.batch * s.steps, 3, 6);
    for (int32_t &r : resets) r = r == 0 ? -7 : 0;
    lengths = random_index<int64_t>(s.batch, s.steps + 1, 7);
    lengths[s.batch / 2] = static_cast<int32_t>(s.steps);
    lengths[0] = 0;
  }
  // Steps [t0, t1) of inputs with boundaries; the states before them are the caller's.
  Inputs part(const Shape &s, int64_t gates, int64_t t0, int64_t t1) const {
    const Shape cut{s.batch, t1 - t0, s.width};
    Inputs piece(cut, gates);
    piece.weight = weight;
    piece.bias = bias;
    piece.bound(cut);
    const int64_t row = gates * s.width;
    for (int64_t b = 0; b < s.batch; ++b) {
      std::copy_n(x.begin() + (b * s.steps + t0) * row, cut.steps * row,
                  piece.x.begin() + b * cut.steps * row);
      std::copy_n(resets.begin() + b * s.steps + t0, cut.steps,
                  piece.resets.begin() + b * cut.steps);
      piece.lengths[b] = static_cast<int32_t>(std::clamp<int64_t>(lengths[b] - t0, 0, cut.steps));
    }
    return piece;
  }
  // The same with NaN in every x, and a reset, after a sequence's end, and with infinite states
  // before sequences that a reset clears.
  Inputs spoilt(const Shape &s, int64_t gates) const {
    Inputs other = *this;
    const int64_t row = gates * s.width;
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t t = lengths[b]; t < s.steps; ++t) {
        std::fill_n(other.x.begin() + (b * s.steps + t) * row, row,
                    std::numeric_limits<T>::quiet_NaN());
        other.resets[b * s.steps + t] = 1;
      }
      if (lengths[b] == 0) continue;
      for (auto *state : {&other.initial, &other.initial_cell}) {
        std::fill_n(state->begin() + b * s.width, s.width, std::numeric_limits<T>::infinity());
      }
    }
    return other;
  }
  int64_t length(const Shape &s, int64_t b) const { return lengths.empty() ? s.steps : lengths[b]; }
  bool is_reset(const Shape &s, int64_t b, int64_t t) const {
    return !resets.empty() && resets[b * s.steps + t] != 0;
  }
};

inline const int32_t *or_null(const std::vector<int32_t> &x) {
  return x.empty() ? nullptr : x.data();
}

// norm(got - exact) <= 1e-5 (double: 1e-12) norm(exact).
template <class T>
void expect_near(const std::vector<T> &got, const std::vector<long double> &exact) {
  ASSERT_EQ(got.size(), exact.size());
  long double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - exact[i]) * (got[i] - exact[i]);
    size += exact[i] * exact[i];
  }
  EXPECT_LE(std::sqrt(error), (std::is_same_v<T, float> ? 1e-5L : 1e-12L) * std::sqrt(size));
}
