// SPDX-License-Identifier: Apache-2.0
#include "recurrent.h"

namespace {

constexpr int64_t kGates = 4;

template <class T>
class Lstm : public testing::Test {};
TYPED_TEST_SUITE(Lstm, FloatTypes);

// hidden, cells and gates.
template <class T>
std::vector<std::vector<T>> forward(const Shape &s, const Inputs<T> &in) {
  const int64_t n = s.batch * s.steps * s.width;
  return outputs_of<T>({n, n, 4 * n}, [&](const Machine &m, std::vector<T *> to) {
    return PND_ON(m, pnd_lstm, type_of<T>(), to[0], to[1], to[2], in.x.data(), in.weight.data(),
                  in.bias.data(), in.initial.data(), in.initial_cell.data(), or_null(in.resets),
                  or_null(in.lengths), s.batch, s.steps, s.width);
  });
}

// dx, dweight, dbias, dinitial_hidden, dinitial_cell.
template <class T>
std::vector<std::vector<T>> backward(const Shape &s, const Inputs<T> &in,
                                     const std::vector<std::vector<T>> &states) {
  const int64_t w = s.width, n = s.batch * s.steps * w;
  return outputs_of<T>(
      {4 * n, 4 * w * w, 4 * w, s.batch * w, s.batch * w},
      [&](const Machine &m, std::vector<T *> to) {
        return PND_ON(m, pnd_lstm_backward, type_of<T>(), to[0], to[1], to[2], to[3], to[4],
                      in.dhidden.data(), in.dlast_cell.empty() ? nullptr : in.dlast_cell.data(),
                      in.weight.data(), in.initial.data(), in.initial_cell.data(), states[0].data(),
                      states[1].data(), states[2].data(), or_null(in.resets), or_null(in.lengths),
                      s.batch, s.steps, w);
      });
}

// All outputs of both directions by the header's formula in long double.
template <class T>
std::vector<std::vector<long double>> plain(const Shape &s, const Inputs<T> &in) {
  using R = long double;
  const int64_t w = s.width, n = s.batch * s.steps * w;
  std::vector<R> hidden(n), cells(n), gates(4 * n), dx(4 * n), dweight(4 * w * w), dbias(4 * w);
  std::vector<R> dinitial(s.batch * w), dinitial_cell(s.batch * w);
  for (int64_t b = 0; b < s.batch; ++b) {
    const auto before = [&](const std::vector<R> &states, const std::vector<T> &first, int64_t t,
                            int64_t i) -> R {
      if (t < in.length(s, b) && in.is_reset(s, b, t)) return 0;
      return t == 0 ? static_cast<R>(first[b * w + i]) : states[(b * s.steps + t - 1) * w + i];
    };
    const auto h = [&](int64_t t, int64_t i) { return before(hidden, in.initial, t, i); };
    const auto c = [&](int64_t t, int64_t i) { return before(cells, in.initial_cell, t, i); };
    for (int64_t t = 0; t < s.steps; ++t) {
      const int64_t at = b * s.steps + t;
      for (int64_t i = 0; i < w; ++i) {
        R &cell = cells[at * w + i], &state = hidden[at * w + i];
        if (t >= in.length(s, b)) {
          state = h(t, i);
          cell = c(t, i);
          continue;
        }
        R gate[4];
        for (int64_t g = 0; g < 4; ++g) {
          R sum = in.x[(at * 4 + g) * w + i] + static_cast<R>(in.bias[g * w + i]);
          for (int64_t k = 0; k < w; ++k) sum += in.weight[(g * w + i) * w + k] * h(t, k);
          gate[g] = g == 2 ? std::tanh(sum) : 1 / (1 + std::exp(-sum));
          gates[(at * 4 + g) * w + i] = gate[g];
        }
        cell = gate[1] * c(t, i) + gate[0] * gate[2];
        state = gate[3] * std::tanh(cell);
      }
    }
    std::vector<R> carry(w), cell_carry(w), after(w);
    for (int64_t i = 0; i < w && !in.dlast_cell.empty(); ++i) {
      cell_carry[i] = in.dlast_cell[b * w + i];
    }
    for (int64_t t = s.steps - 1; t >= 0; --t) {
      const int64_t at = b * s.steps + t;
      if (t >= in.length(s, b)) {
        for (int64_t i = 0; i < w; ++i) carry[i] += in.dhidden[at * w + i];
        continue;
      }
      std::fill(after.begin(), after.end(), 0);
      for (int64_t i = 0; i < w; ++i) {
        const R *gate = gates.data() + at * 4 * w + i;
        const R in_gate = gate[0], f = gate[w], g = gate[2 * w], o = gate[3 * w];
        const R y = std::tanh(cells[at * w + i]), dh = in.dhidden[at * w + i] + carry[i];
        const R dc = cell_carry[i] + dh * o * (1 - y * y);
        const R slope[4] = {dc * g * in_gate * (1 - in_gate), dc * c(t, i) * f * (1 - f),
                            dc * in_gate * (1 - g * g), dh * y * o * (1 - o)};
        cell_carry[i] = dc * f;
        for (int64_t q = 0; q < 4; ++q) {
          dx[(at * 4 + q) * w + i] = slope[q];
          dbias[q * w + i] += slope[q];
          for (int64_t k = 0; k < w; ++k) {
            dweight[(q * w + i) * w + k] += slope[q] * h(t, k);
            after[k] += slope[q] * in.weight[(q * w + i) * w + k];
          }
        }
      }
      if (in.is_reset(s, b, t)) {
        std::fill(after.begin(), after.end(), 0);
        std::fill(cell_carry.begin(), cell_carry.end(), 0);
      }
      carry = after;
    }
    std::copy(carry.begin(), carry.end(), dinitial.begin() + b * w);
    std::copy(cell_carry.begin(), cell_carry.end(), dinitial_cell.begin() + b * w);
  }
  return {hidden, cells, gates, dx, dweight, dbias, dinitial, dinitial_cell};
}

TYPED_TEST(Lstm, matchesItsFormula) {
  using T = TypeParam;
  for (const Shape &s : kShapes) {
    SCOPED_TRACE(testing::Message()
                 << "batch " << s.batch << " steps " << s.steps << " width " << s.width);
    Inputs<T> in(s, kGates);
    for (const bool bounded : {false, true}) {
      SCOPED_TRACE(bounded ? "with resets and lengths" : "plain");
      if (bounded) {
        in.bound(s);
      } else {
        in.dlast_cell.clear();
      }
      const auto exact = plain(s, in);
      const auto states = forward(s, in);
      for (int i = 0; i < 3; ++i) {
        SCOPED_TRACE(i);
        expect_near(states[i], exact[i]);
      }
      const auto slopes = backward(s, in, states);
      for (int i = 0; i < 5; ++i) {
        SCOPED_TRACE(i);
        expect_near(slopes[i], exact[3 + i]);
      }
      in.dlast_cell = random_data<T>(s.batch * s.width, 9);
    }
  }
}

TYPED_TEST(Lstm, goesOnFromCarriedStates) {
  using T = TypeParam;
  for (const Shape &s : {Shape{1, 17, 33}, Shape{3, 7, 301}, Shape{33, 7, 16}}) {
    Inputs<T> in(s, kGates);
    in.bound(s);
    const auto whole = forward(s, in);
    for (int64_t first : {int64_t{1}, s.steps / 2, s.steps - 1}) {
      std::vector<T> state[2] = {in.initial, in.initial_cell};
      for (int part = 0; part < 2; ++part) {
        const int64_t t0 = part == 0 ? 0 : first, t1 = part == 0 ? first : s.steps;
        const Shape cut{s.batch, t1 - t0, s.width};
        Inputs<T> piece = in.part(s, kGates, t0, t1);
        piece.initial = state[0];
        piece.initial_cell = state[1];
        const auto states = forward(cut, piece);
        for (int64_t b = 0; b < s.batch; ++b) {
          for (int i = 0; i < 2; ++i) {
            const auto got = states[i].begin() + b * cut.steps * s.width;
            const auto want = whole[i].begin() + (b * s.steps + t0) * s.width;
            expect_equal(std::vector<T>(got, got + cut.steps * s.width),
                         std::vector<T>(want, want + cut.steps * s.width));
            std::copy_n(got + (cut.steps - 1) * s.width, s.width, state[i].begin() + b * s.width);
          }
        }
      }
    }
  }
}

// x is never looked at where the states stand still, and nothing of a state survives a reset.
TYPED_TEST(Lstm, nothingPassesABoundary) {
  using T = TypeParam;
  for (const Shape &s : {Shape{3, 5, 33}, Shape{70, 7, 20}}) {
    Inputs<T> in(s, kGates);
    in.bound(s);
    for (int64_t b = 0; b < s.batch; ++b) {
      if (in.lengths[b] > 0) in.resets[b * s.steps] = 1;
    }
    const Inputs<T> spoilt = in.spoilt(s, kGates);
    const auto states = forward(s, in), also = forward(s, spoilt);
    for (int i = 0; i < 3; ++i) expect_equal(also[i], states[i]);
    const auto slopes = backward(s, in, states), too = backward(s, spoilt, also);
    for (int i = 0; i < 5; ++i) expect_equal(too[i], slopes[i]);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t i = 0; i < s.width && in.lengths[b] > 0; ++i) {
        EXPECT_EQ(0, slopes[3][b * s.width + i]);
        EXPECT_EQ(0, slopes[4][b * s.width + i]);
      }
    }
  }
}

TYPED_TEST(Lstm, aSequenceOfNoStepsHandsItsStatesOn) {
  using T = TypeParam;
  const Shape s{2, 3, 5};
  Inputs<T> in(s, kGates);
  in.lengths = {0, 0};
  in.initial[7] = in.initial_cell[3] = std::numeric_limits<T>::infinity();
  const auto states = forward(s, in);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(in.initial[b * 5 + i], states[0][(b * 3 + t) * 5 + i]);
        EXPECT_EQ(in.initial_cell[b * 5 + i], states[1][(b * 3 + t) * 5 + i]);
      }
    }
  }
  const auto slopes = backward(s, in, states);
  for (int i = 0; i < 3; ++i) expect_equal(slopes[i], std::vector<T>(slopes[i].size(), 0));
  expect_equal(slopes[4], in.dlast_cell);
}

TYPED_TEST(Lstm, staysFiniteWhenGatesSaturate) {
  using T = TypeParam;
  const Shape s{3, 17, 33};
  Inputs<T> in(s, kGates);
  for (T &x : in.x) x *= 1000;
  const auto states = forward(s, in);
  for (T x : states[0]) EXPECT_LE(std::abs(x), 1);
  for (const auto &slopes : backward(s, in, states)) {
    for (T x : slopes) EXPECT_TRUE(std::isfinite(x));
  }
}

}  // namespace
