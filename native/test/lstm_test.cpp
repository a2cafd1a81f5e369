// SPDX-License-Identifier: Apache-2.0
#include "recurrent.h"

namespace {

constexpr int64_t kGates = 4;

template <class T>
class Lstm : public testing::Test {};
TYPED_TEST_SUITE(Lstm, StoredTypes);

template <class S>
struct States {
  std::vector<S> hidden, gates;
  std::vector<SumOf<S>> cells;
};

template <class S>
States<S> forward(const Shape &s, const Inputs<S> &in) {
  const int64_t n = s.batch * s.steps * s.width;
  States<S> kept;
  for (const Machine &m : machines_of<S>()) {
    Placed<S> hidden(n, s.shift()), gates(4 * n, s.shift());
    Placed<SumOf<S>> cells(n, s.shift());
    expect_done(PND_ON(m, pnd_lstm, stored_type<S>(), hidden.data(), cells.data(), gates.data(),
                       in.x.data(), in.weight.data(), in.bias.data(), in.initial.data(),
                       in.initial_cell.data(), or_null(in.resets), or_null(in.lengths), s.batch,
                       s.steps, s.width),
                m);
    keep_or_compare(kept.hidden, hidden, m);
    keep_or_compare(kept.cells, cells, m);
    keep_or_compare(kept.gates, gates, m);
  }
  return kept;
}

template <class S>
struct Slopes {
  std::vector<S> dx, dweight, dinitial;
  std::vector<SumOf<S>> dbias, dinitial_cell;
};

template <class S>
Slopes<S> backward(const Shape &s, const Inputs<S> &in, const States<S> &states) {
  const int64_t w = s.width, n = s.batch * s.steps * w;
  Slopes<S> kept;
  for (const Machine &m : machines_of<S>()) {
    Placed<S> dx(4 * n, s.shift()), dweight(4 * w * w, s.shift()), dinitial(s.batch * w, s.shift());
    Placed<SumOf<S>> dbias(4 * w, s.shift()), dinitial_cell(s.batch * w, s.shift());
    expect_done(
        PND_ON(m, pnd_lstm_backward, stored_type<S>(), dx.data(), dweight.data(), dbias.data(),
               dinitial.data(), dinitial_cell.data(), in.dhidden.data(),
               in.dlast_cell.empty() ? nullptr : in.dlast_cell.data(), in.weight.data(),
               in.initial.data(), in.initial_cell.data(), states.hidden.data(), states.cells.data(),
               states.gates.data(), or_null(in.resets), or_null(in.lengths), s.batch, s.steps, w),
        m);
    keep_or_compare(kept.dx, dx, m);
    keep_or_compare(kept.dweight, dweight, m);
    keep_or_compare(kept.dbias, dbias, m);
    keep_or_compare(kept.dinitial, dinitial, m);
    keep_or_compare(kept.dinitial_cell, dinitial_cell, m);
  }
  return kept;
}

// All outputs of both directions by the header's formula in long double.
template <class S>
std::vector<std::vector<long double>> plain(const Shape &s, const Inputs<S> &in) {
  using R = long double;
  const int64_t w = s.width, n = s.batch * s.steps * w;
  std::vector<R> hidden(n), cells(n), gates(4 * n), dx(4 * n), dweight(4 * w * w), dbias(4 * w);
  std::vector<R> dinitial(s.batch * w), dinitial_cell(s.batch * w);
  for (int64_t b = 0; b < s.batch; ++b) {
    const auto before = [&](const std::vector<R> &states, const auto &first, int64_t t,
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
  using S = TypeParam;
  for (const Shape &s : shared_out<S>(shapes<S>())) {
    SCOPED_TRACE(testing::Message()
                 << "batch " << s.batch << " steps " << s.steps << " width " << s.width);
    Inputs<S> in(s, kGates);
    for (const bool bounded : {false, true}) {
      SCOPED_TRACE(bounded ? "with resets and lengths" : "plain");
      if (bounded) {
        in.bound(s);
      } else {
        in.dlast_cell.clear();
      }
      const auto exact = plain(s, in);
      const auto states = forward(s, in);
      expect_near<S>(states.hidden, exact[0], Kind::State);
      expect_near<S>(states.cells, exact[1], Kind::State);
      expect_near<S>(states.gates, exact[2], Kind::State);
      const auto slopes = backward(s, in, states);
      expect_near<S>(slopes.dx, exact[3], Kind::Gradient);
      expect_near<S>(slopes.dweight, exact[4], Kind::Gradient);
      expect_near<S>(slopes.dbias, exact[5], Kind::Gradient);
      expect_near<S>(slopes.dinitial, exact[6], Kind::Gradient);
      expect_near<S>(slopes.dinitial_cell, exact[7], Kind::Gradient);
      in.dlast_cell = random_data<SumOf<S>>(s.batch * s.width, 9);
    }
  }
}

TYPED_TEST(Lstm, goesOnFromCarriedStates) {
  using S = TypeParam;
  for (const Shape &s : {Shape{1, 17, 33}, Shape{3, 7, 301}, Shape{33, 7, 16}}) {
    Inputs<S> in(s, kGates);
    in.bound(s);
    const auto whole = forward(s, in);
    for (int64_t first : cuts(s)) {
      std::vector<S> state = in.initial;
      std::vector<SumOf<S>> cell = in.initial_cell;
      for (int part = 0; part < 2; ++part) {
        const int64_t t0 = part == 0 ? 0 : first, t1 = part == 0 ? first : s.steps;
        const Shape cut{s.batch, t1 - t0, s.width};
        Inputs<S> piece = in.part(s, kGates, t0, t1);
        piece.initial = state;
        piece.initial_cell = cell;
        const auto states = forward(cut, piece);
        for (int64_t b = 0; b < s.batch; ++b) {
          const auto compare = [&](const auto &some, const auto &all, auto &carried) {
            const auto got = some.begin() + b * cut.steps * s.width;
            const auto want = all.begin() + (b * s.steps + t0) * s.width;
            using V = std::decay_t<decltype(some)>;
            expect_equal(V(got, got + cut.steps * s.width), V(want, want + cut.steps * s.width));
            std::copy_n(got + (cut.steps - 1) * s.width, s.width, carried.begin() + b * s.width);
          };
          compare(states.hidden, whole.hidden, state);
          compare(states.cells, whole.cells, cell);
        }
      }
    }
  }
}

// x is never looked at where the states stand still, and nothing of a state survives a reset.
TYPED_TEST(Lstm, nothingPassesABoundary) {
  using S = TypeParam;
  for (const Shape &s : {Shape{3, 5, 33}, Shape{70, 7, 20}}) {
    Inputs<S> in(s, kGates);
    in.bound(s);
    for (int64_t b = 0; b < s.batch; ++b) {
      if (in.lengths[b] > 0) in.resets[b * s.steps] = 1;
    }
    const Inputs<S> spoilt = in.spoilt(s, kGates);
    const auto states = forward(s, in), also = forward(s, spoilt);
    expect_equal(also.hidden, states.hidden);
    expect_equal(also.cells, states.cells);
    expect_equal(also.gates, states.gates);
    const auto slopes = backward(s, in, states), too = backward(s, spoilt, also);
    expect_equal(too.dx, slopes.dx);
    expect_equal(too.dweight, slopes.dweight);
    expect_equal(too.dbias, slopes.dbias);
    expect_equal(too.dinitial, slopes.dinitial);
    expect_equal(too.dinitial_cell, slopes.dinitial_cell);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t i = 0; i < s.width && in.lengths[b] > 0; ++i) {
        EXPECT_EQ(0, slopes.dinitial[b * s.width + i]);
        EXPECT_EQ(0, slopes.dinitial_cell[b * s.width + i]);
      }
    }
  }
}

TYPED_TEST(Lstm, aSequenceOfNoStepsHandsItsStatesOn) {
  using S = TypeParam;
  const Shape s{2, 3, 5};
  Inputs<S> in(s, kGates);
  in.lengths = {0, 0};
  in.initial[7] = S(INFINITY);
  in.initial_cell[3] = INFINITY;
  const auto states = forward(s, in);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(in.initial[b * 5 + i], states.hidden[(b * 3 + t) * 5 + i]);
        EXPECT_EQ(in.initial_cell[b * 5 + i], states.cells[(b * 3 + t) * 5 + i]);
      }
    }
  }
  const auto slopes = backward(s, in, states);
  const auto zeros = [](const auto &like) { return std::decay_t<decltype(like)>(like.size()); };
  expect_equal(slopes.dx, zeros(slopes.dx));
  expect_equal(slopes.dweight, zeros(slopes.dweight));
  expect_equal(slopes.dbias, zeros(slopes.dbias));
  expect_equal(slopes.dinitial_cell, in.dlast_cell);
}

TYPED_TEST(Lstm, staysFiniteWhenGatesSaturate) {
  using S = TypeParam;
  const Shape s{3, 17, 33};
  Inputs<S> in(s, kGates);
  for (S &x : in.x) x = S(x * 1000);
  const auto states = forward(s, in);
  for (S x : states.hidden) EXPECT_LE(std::abs(x), 1);
  const auto slopes = backward(s, in, states);
  for (const auto *some : {&slopes.dx, &slopes.dweight, &slopes.dinitial}) {
    for (S x : *some) EXPECT_TRUE(std::isfinite(x));
  }
  for (const auto *some : {&slopes.dbias, &slopes.dinitial_cell}) {
    for (SumOf<S> x : *some) EXPECT_TRUE(std::isfinite(x));
  }
}

}  // namespace
