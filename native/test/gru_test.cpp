// SPDX-License-Identifier: Apache-2.0
#include "recurrent.h"

namespace {

constexpr int64_t kGates = 3;

template <class T>
class Gru : public testing::Test {};
TYPED_TEST_SUITE(Gru, StoredTypes);

template <class S>
struct States {
  std::vector<S> hidden, gates;
};

template <class S>
States<S> forward(const Shape &s, const Inputs<S> &in) {
  const int64_t n = s.batch * s.steps * s.width;
  States<S> kept;
  for (const Machine &m : machines_of<S>()) {
    Placed<S> hidden(n, s.shift()), gates(4 * n, s.shift());
    expect_done(PND_ON(m, pnd_gru, stored_type<S>(), hidden.data(), gates.data(), in.x.data(),
                       in.weight.data(), in.bias.data(), in.initial.data(), or_null(in.resets),
                       or_null(in.lengths), s.batch, s.steps, s.width),
                m);
    keep_or_compare(kept.hidden, hidden, m);
    keep_or_compare(kept.gates, gates, m);
  }
  return kept;
}

template <class S>
struct Slopes {
  std::vector<S> dx, dweight, dinitial;
  std::vector<SumOf<S>> dbias;
};

template <class S>
Slopes<S> backward(const Shape &s, const Inputs<S> &in, const States<S> &states) {
  const int64_t w = s.width, n = s.batch * s.steps * w;
  Slopes<S> kept;
  for (const Machine &m : machines_of<S>()) {
    Placed<S> dx(3 * n, s.shift()), dweight(3 * w * w, s.shift()), dinitial(s.batch * w, s.shift());
    Placed<SumOf<S>> dbias(3 * w, s.shift());
    expect_done(PND_ON(m, pnd_gru_backward, stored_type<S>(), dx.data(), dweight.data(),
                       dbias.data(), dinitial.data(), in.dhidden.data(), in.weight.data(),
                       in.initial.data(), states.hidden.data(), states.gates.data(),
                       or_null(in.resets), or_null(in.lengths), s.batch, s.steps, w),
                m);
    keep_or_compare(kept.dx, dx, m);
    keep_or_compare(kept.dweight, dweight, m);
    keep_or_compare(kept.dbias, dbias, m);
    keep_or_compare(kept.dinitial, dinitial, m);
  }
  return kept;
}

// hidden, gates, dx, dweight, dbias, dinitial by the header's formula in long double.
template <class S>
std::vector<std::vector<long double>> plain(const Shape &s, const Inputs<S> &in) {
  using R = long double;
  const int64_t w = s.width, n = s.batch * s.steps * w;
  std::vector<R> hidden(n), gates(4 * n), dx(3 * n), dweight(3 * w * w), dbias(3 * w);
  std::vector<R> dinitial(s.batch * w);
  for (int64_t b = 0; b < s.batch; ++b) {
    const auto before = [&](int64_t t, int64_t i) -> R {
      if (t < in.length(s, b) && in.is_reset(s, b, t)) return 0;
      return t == 0 ? static_cast<R>(in.initial[b * w + i]) : hidden[(b * s.steps + t - 1) * w + i];
    };
    for (int64_t t = 0; t < s.steps; ++t) {
      const int64_t at = b * s.steps + t;
      for (int64_t i = 0; i < w; ++i) {
        if (t >= in.length(s, b)) {
          hidden[at * w + i] = before(t, i);
          continue;
        }
        R sum[3];
        for (int64_t g = 0; g < 3; ++g) {
          sum[g] = in.bias[g * w + i];
          for (int64_t k = 0; k < w; ++k) sum[g] += in.weight[(g * w + i) * w + k] * before(t, k);
        }
        const R r = 1 / (1 + std::exp(-(in.x[(at * 3 + 0) * w + i] + sum[0])));
        const R z = 1 / (1 + std::exp(-(in.x[(at * 3 + 1) * w + i] + sum[1])));
        const R m = std::tanh(in.x[(at * 3 + 2) * w + i] + r * sum[2]);
        const R gate[4] = {r, z, m, sum[2]};
        for (int g = 0; g < 4; ++g) gates[(at * 4 + g) * w + i] = gate[g];
        hidden[at * w + i] = m + z * (before(t, i) - m);
      }
    }
    std::vector<R> carry(w), after(w);
    for (int64_t t = s.steps - 1; t >= 0; --t) {
      const int64_t at = b * s.steps + t;
      if (t >= in.length(s, b)) {
        for (int64_t i = 0; i < w; ++i) carry[i] += in.dhidden[at * w + i];
        continue;
      }
      std::fill(after.begin(), after.end(), 0);
      for (int64_t i = 0; i < w; ++i) {
        const R r = gates[(at * 4 + 0) * w + i], z = gates[(at * 4 + 1) * w + i];
        const R m = gates[(at * 4 + 2) * w + i], u = gates[(at * 4 + 3) * w + i];
        const R dh = in.dhidden[at * w + i] + carry[i];
        const R dm = dh * (1 - z) * (1 - m * m);
        const R slope[3] = {dm * u * r * (1 - r), dh * (before(t, i) - m) * z * (1 - z), dm * r};
        after[i] += dh * z;
        for (int64_t g = 0; g < 3; ++g) {
          dx[(at * 3 + g) * w + i] = g == 2 ? dm : slope[g];
          dbias[g * w + i] += slope[g];
          for (int64_t k = 0; k < w; ++k) {
            dweight[(g * w + i) * w + k] += slope[g] * before(t, k);
            after[k] += slope[g] * in.weight[(g * w + i) * w + k];
          }
        }
      }
      if (in.is_reset(s, b, t)) std::fill(after.begin(), after.end(), 0);
      carry = after;
    }
    std::copy(carry.begin(), carry.end(), dinitial.begin() + b * w);
  }
  return {hidden, gates, dx, dweight, dbias, dinitial};
}

TYPED_TEST(Gru, matchesItsFormula) {
  using S = TypeParam;
  for (const Shape &s : shared_out<S>(shapes<S>())) {
    SCOPED_TRACE(testing::Message()
                 << "batch " << s.batch << " steps " << s.steps << " width " << s.width);
    Inputs<S> in(s, kGates);
    for (const bool bounded : {false, true}) {
      SCOPED_TRACE(bounded ? "with resets and lengths" : "plain");
      if (bounded) in.bound(s);
      const auto exact = plain(s, in);
      const auto states = forward(s, in);
      expect_near<S>(states.hidden, exact[0], Kind::State);
      expect_near<S>(states.gates, exact[1], Kind::State);
      const auto slopes = backward(s, in, states);
      expect_near<S>(slopes.dx, exact[2], Kind::Gradient);
      expect_near<S>(slopes.dweight, exact[3], Kind::Gradient);
      expect_near<S>(slopes.dbias, exact[4], Kind::Gradient);
      expect_near<S>(slopes.dinitial, exact[5], Kind::Gradient);
    }
  }
}

// x is never looked at where a state stands still, and nothing of a state survives a reset.
TYPED_TEST(Gru, nothingPassesABoundary) {
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
    expect_equal(also.gates, states.gates);
    const auto slopes = backward(s, in, states), too = backward(s, spoilt, also);
    expect_equal(too.dx, slopes.dx);
    expect_equal(too.dweight, slopes.dweight);
    expect_equal(too.dbias, slopes.dbias);
    expect_equal(too.dinitial, slopes.dinitial);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t i = 0; i < s.width && in.lengths[b] > 0; ++i) {
        EXPECT_EQ(0, slopes.dinitial[b * s.width + i]);
      }
    }
  }
}

// A state that stands still may be infinite: it is no part of dweight.
TYPED_TEST(Gru, aSequenceOfNoStepsHandsItsStateOn) {
  using S = TypeParam;
  const Shape s{2, 3, 5};
  Inputs<S> in(s, kGates);
  in.lengths = {0, 0};
  in.initial[7] = S(INFINITY);
  const auto states = forward(s, in);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(in.initial[b * 5 + i], states.hidden[(b * 3 + t) * 5 + i]);
      }
    }
  }
  const auto zeros = [](const auto &like) { return std::decay_t<decltype(like)>(like.size()); };
  expect_equal(states.gates, zeros(states.gates));
  const auto slopes = backward(s, in, states);
  expect_equal(slopes.dx, zeros(slopes.dx));
  expect_equal(slopes.dweight, zeros(slopes.dweight));
  expect_equal(slopes.dbias, zeros(slopes.dbias));
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < 5; ++i) {
      SumOf<S> sum = 0;
      for (int64_t t = 2; t >= 0; --t) sum += in.dhidden[(b * 3 + t) * 5 + i];
      EXPECT_EQ(S(sum), slopes.dinitial[b * 5 + i]);
    }
  }
}

TYPED_TEST(Gru, goesOnFromACarriedState) {
  using S = TypeParam;
  for (const Shape &s : {Shape{1, 17, 33}, Shape{3, 7, 301}, Shape{33, 7, 16}}) {
    Inputs<S> in(s, kGates);
    in.bound(s);
    const auto whole = forward(s, in);
    for (int64_t first : cuts(s)) {
      std::vector<S> state = in.initial;
      for (int part = 0; part < 2; ++part) {
        const int64_t t0 = part == 0 ? 0 : first, t1 = part == 0 ? first : s.steps;
        const Shape cut{s.batch, t1 - t0, s.width};
        Inputs<S> piece = in.part(s, kGates, t0, t1);
        piece.initial = state;
        const auto states = forward(cut, piece);
        for (int64_t b = 0; b < s.batch; ++b) {
          const auto got = states.hidden.begin() + b * cut.steps * s.width;
          const auto want = whole.hidden.begin() + (b * s.steps + t0) * s.width;
          expect_equal(std::vector<S>(got, got + cut.steps * s.width),
                       std::vector<S>(want, want + cut.steps * s.width));
          std::copy_n(got + (cut.steps - 1) * s.width, s.width, state.begin() + b * s.width);
        }
      }
    }
  }
}

TYPED_TEST(Gru, aSequenceDoesNotKnowItsNeighbours) {
  using S = TypeParam;
  const Shape s{70, 3, 20}, alone{1, 3, 20};
  Inputs<S> in(s, kGates);
  in.bound(s);
  const auto whole = forward(s, in);
  for (int64_t b : {0, 5, 63, 64, 69}) {
    Inputs<S> one(alone, kGates);
    one.weight = in.weight;
    one.bias = in.bias;
    std::copy_n(in.x.begin() + b * one.x.size(), one.x.size(), one.x.begin());
    std::copy_n(in.initial.begin() + b * s.width, s.width, one.initial.begin());
    one.bound(alone);
    std::copy_n(in.resets.begin() + b * s.steps, s.steps, one.resets.begin());
    one.lengths = {in.lengths[b]};
    const auto states = forward(alone, one);
    const auto want = whole.hidden.begin() + b * states.hidden.size();
    expect_equal(states.hidden, std::vector<S>(want, want + states.hidden.size()));
  }
}

TYPED_TEST(Gru, staysFiniteWhenGatesSaturate) {
  using S = TypeParam;
  const Shape s{3, 17, 33};
  Inputs<S> in(s, kGates);
  for (S &x : in.x) x = S(x * 1000);
  const auto states = forward(s, in);
  for (S x : states.hidden) EXPECT_LE(std::abs(x), 5);
  const auto slopes = backward(s, in, states);
  for (const auto *some : {&slopes.dx, &slopes.dweight, &slopes.dinitial}) {
    for (S x : *some) EXPECT_TRUE(std::isfinite(x));
  }
  for (SumOf<S> x : slopes.dbias) EXPECT_TRUE(std::isfinite(x));
}

TEST(Gru, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> hidden(64), gates(64), x(64), weight(64), bias(64), initial(64);
  const auto call = [&](float *to, int64_t batch, int64_t width) {
    return pnd_gru(m.context, PND_F32, to, gates.data(), x.data(), weight.data(), bias.data(),
                   initial.data(), nullptr, nullptr, batch, 3, width);
  };
  EXPECT_EQ(PND_OK, call(hidden.data(), 2, 2));
  expect_refused(call(hidden.data(), 0, 2), m, "batch = 0");
  expect_refused(call(hidden.data(), 2, -1), m, "width = -1");
  expect_refused(call(weight.data(), 2, 2), m, "weight overlaps hidden");
  expect_refused(call(nullptr, 2, 2), m, "hidden is null");
}

}  // namespace
