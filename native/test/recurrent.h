// SPDX-License-Identifier: Apache-2.0
// recurrent: what the tests of recurrent cells share: shapes, inputs with and without boundaries,
// the measure of an error. S is a type of storage.
#pragma once

#include "bf16.h"

template <class S>
const std::vector<Machine> &machines_of() {
  static const std::vector<Machine> all = std::is_same_v<S, Bf16> ? own_machines() : machines();
  return all;
}

struct Shape {
  int64_t batch, steps, width;

  // Where outputs begin: some rows can be moved 16 bytes at a time, others cannot.
  int64_t shift() const { return width % 8 == 0 ? 0 : 1; }
};

// Around the tiles, the panels of units and the depth (256).
constexpr Shape kShapes[] = {{1, 1, 1},   {1, 7, 33},  {3, 3, 7},    {2, 17, 17},
                             {7, 3, 64},  {17, 2, 33}, {5, 3, 300},  {1, 2, 301},
                             {33, 3, 16}, {70, 2, 8},  {4, 100, 12}, {13, 33, 20}};
// Of pairs, around twice the depth, where a processor has them.
constexpr Shape kPairShapes[] = {{1, 2, 517}, {6, 100, 5}};

template <class S>
std::vector<Shape> shapes() {
  std::vector<Shape> all(std::begin(kShapes), std::end(kShapes));
  if (std::is_same_v<S, Bf16> && has_header_order()) {
    all.insert(all.end(), std::begin(kPairShapes), std::end(kPairShapes));
  }
  return all;
}

// Before which steps a scan is cut in two, each time. A sanitizer sees the same in all pieces of
// some steps: on the simulated device, where they take long, it is cut once.
inline std::vector<int64_t> cuts(const Shape &s) {
  if (kWatched && is_simulated()) return {1};
  return {1, s.steps / 2, s.steps - 1};
}

template <class S>
struct Inputs {
  using T = SumOf<S>;
  std::vector<S> x, weight, initial, dhidden;
  std::vector<T> bias, initial_cell, dlast_cell;
  std::vector<int32_t> resets, lengths;  // empty: null

  Inputs(const Shape &s, int64_t gates)
      : x(random_stored<S>(s.batch * s.steps * gates * s.width, 1)),
        weight(random_stored<S>(gates * s.width * s.width, 2, 1 / std::sqrt(s.width))),
        initial(random_stored<S>(s.batch * s.width, 4)),
        dhidden(random_stored<S>(s.batch * s.steps * s.width, 5)),
        bias(random_data<T>(gates * s.width, 3)),
        initial_cell(random_data<T>(s.batch * s.width, 8)),
        dlast_cell(random_data<T>(s.batch * s.width, 9)) {}

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
        std::fill_n(other.x.begin() + (b * s.steps + t) * row, row, S(NAN));
        other.resets[b * s.steps + t] = 1;
      }
      if (lengths[b] == 0) continue;
      std::fill_n(other.initial.begin() + b * s.width, s.width, S(INFINITY));
      std::fill_n(other.initial_cell.begin() + b * s.width, s.width, T(INFINITY));
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

// norm(got - exact) <= limit norm(exact): 1e-5 in float, 1e-12 in double, of bf16 1e-2 and for
// gradients 2e-2, the sums stored as floats too.
enum class Kind { State, Gradient };
template <class S, class T>
void expect_near(const std::vector<T> &got, const std::vector<long double> &exact, Kind kind) {
  ASSERT_EQ(got.size(), exact.size());
  long double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const long double off = static_cast<T>(got[i]) - exact[i];
    error += off * off;
    size += exact[i] * exact[i];
  }
  const long double limit = std::is_same_v<S, float>    ? 1e-5L
                            : std::is_same_v<S, double> ? 1e-12L
                            : kind == Kind::State       ? 1e-2L
                                                        : 2e-2L;
  EXPECT_LE(std::sqrt(error), limit * std::sqrt(size));
}
// Where both have one limit.
template <class T>
void expect_near(const std::vector<T> &got, const std::vector<long double> &exact) {
  expect_near<T>(got, exact, Kind::State);
}
