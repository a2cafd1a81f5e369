// SPDX-License-Identifier: Apache-2.0
#include "bf16.h"

namespace {

template <class T>
class FastWeights : public testing::Test {};
TYPED_TEST_SUITE(FastWeights, StoredTypes);

enum Memory { kPlain, kDelta, kLowRank };
enum Decay { kNone, kScalar, kPerKey };

struct Setting {
  Memory memory;
  Decay decay;
  int64_t batch, heads, steps, keys, values;
  bool initial = false, resets = false, lengths = false;
  int32_t features = 0, normalised = 0;

  int64_t tokens() const { return batch * steps * heads; }
  int64_t columns() const { return values + normalised; }
  int64_t decay_size() const { return decay == kPerKey ? keys : 1; }
  int64_t state() const { return batch * heads * keys * columns(); }
  // Where arrays begin: some rows can be moved 16 bytes at a time, others cannot.
  int64_t shift() const { return keys % 8 == 0 && values % 8 == 0 ? 0 : 1; }
};

std::ostream &operator<<(std::ostream &to, const Setting &s) {
  return to << "memory " << s.memory << " decay " << s.decay << " batch " << s.batch << " heads "
            << s.heads << " steps " << s.steps << " keys " << s.keys << " values " << s.values
            << " initial " << s.initial << " resets " << s.resets << " lengths " << s.lengths
            << " features " << s.features << " normalised " << s.normalised;
}

constexpr double kScale = 0.7;

// Empty where a call passes null. S is a type of storage.
template <class S>
struct Inputs {
  using T = SumOf<S>;
  std::vector<S> q, k, v, dout;
  std::vector<T> decay, rate, erase, write, initial, dlast;
  std::vector<int32_t> resets, lengths;

  explicit Inputs(const Setting &s)
      : q(random_stored<S>(s.tokens() * s.keys, 1)),
        k(random_stored<S>(s.tokens() * s.keys, 2, 1 / std::sqrt(s.keys))),
        v(random_stored<S>(s.tokens() * s.values, 3)),
        dout(random_stored<S>(s.tokens() * s.values, 9)),
        dlast(random_data<T>(s.state(), 10)) {
    const T small = 1 / std::sqrt(static_cast<T>(s.keys));
    const auto between = [](std::vector<T> x) {
      for (T &a : x) a = 1 / (1 + std::exp(-2 * a));
      return x;
    };
    if (s.decay != kNone) decay = between(random_data<T>(s.tokens() * s.decay_size(), 4));
    if (s.memory == kDelta) rate = between(random_data<T>(s.tokens(), 5));
    if (s.memory == kLowRank) {
      erase = random_data<T>(s.tokens() * s.keys, 6);
      write = random_data<T>(s.tokens() * s.keys, 7);
      for (T &x : erase) x *= small / 2;
      for (T &x : write) x *= small / 2;
    }
    if (s.initial) initial = random_data<T>(s.state(), 8);
    if (s.resets) {
      resets = random_index(s.batch * s.steps, 3, 11);
      for (int32_t &x : resets) x = x == 0 ? -1 : 0;
    }
    if (s.lengths) lengths = random_index(s.batch, s.steps + 1, 12);
    if (s.normalised != 0 && s.features == 0) {
      // Away from a quotient by nearly 0.
      for (S &x : q) x = S(std::abs(static_cast<T>(x)));
      for (S &x : k) x = S(std::abs(static_cast<T>(x)));
      for (T &x : initial) x = std::abs(x);
    }
  }
};

template <class T>
const T *given(const std::vector<T> &x) {
  return x.empty() ? nullptr : x.data();
}

// Results of every machine, which must agree; those of a smaller type are widened.
template <class T, class S>
std::vector<T> widened(const std::vector<S> &x) {
  return {x.begin(), x.end()};
}

// out, last.
template <class S, class T = SumOf<S>>
std::vector<std::vector<T>> forward(const Setting &s, const Inputs<S> &in, int64_t chunk) {
  std::vector<S> out;
  std::vector<T> last;
  for (const Machine &m : machines()) {
    Placed<S> out_of(s.tokens() * s.values, s.shift());
    Placed<T> last_of(s.state(), s.shift());
    expect_done(PND_ON(m, pnd_fast_weights, stored_type<S>(), out_of.data(), last_of.data(),
                       in.q.data(), in.k.data(), in.v.data(), given(in.decay), given(in.rate),
                       given(in.erase), given(in.write), given(in.initial), given(in.resets),
                       given(in.lengths), s.batch, s.heads, s.steps, s.keys, s.values,
                       s.decay_size(), chunk, kScale, s.features, s.normalised),
                m);
    keep_or_compare(out, out_of, m);
    keep_or_compare(last, last_of, m);
  }
  return {widened<T>(out), last};
}

// dq, dk, dv, ddecay, drate, derase, dwrite, dinitial; those of absent inputs are empty.
template <class S, class T = SumOf<S>>
std::vector<std::vector<T>> backward(const Setting &s, const Inputs<S> &in) {
  const std::vector<S> *tokens[] = {&in.q, &in.k, &in.v};
  const std::vector<T> *others[] = {&in.decay, &in.rate, &in.erase, &in.write, &in.initial};
  std::vector<S> token_slopes[3];
  std::vector<T> other_slopes[5];
  for (const Machine &m : machines()) {
    std::vector<Placed<S>> d;
    std::vector<Placed<T>> e;
    for (const auto *x : tokens) d.emplace_back(static_cast<int64_t>(x->size()), s.shift());
    for (const auto *x : others) e.emplace_back(static_cast<int64_t>(x->size()), s.shift());
    const auto wanted = [&](int i) { return others[i]->empty() ? nullptr : e[i].data(); };
    expect_done(PND_ON(m, pnd_fast_weights_backward, stored_type<S>(), d[0].data(), d[1].data(),
                       d[2].data(), wanted(0), wanted(1), wanted(2), wanted(3), wanted(4),
                       in.dout.data(), given(in.dlast), in.q.data(), in.k.data(), in.v.data(),
                       given(in.decay), given(in.rate), given(in.erase), given(in.write),
                       given(in.initial), given(in.resets), given(in.lengths), s.batch, s.heads,
                       s.steps, s.keys, s.values, s.decay_size(), kScale, s.features, s.normalised),
                m);
    for (int i = 0; i < 3; ++i) keep_or_compare(token_slopes[i], d[i], m);
    for (int i = 0; i < 5; ++i) keep_or_compare(other_slopes[i], e[i], m);
  }
  std::vector<std::vector<T>> all;
  for (const auto &x : token_slopes) all.push_back(widened<T>(x));
  for (auto &x : other_slopes) all.push_back(std::move(x));
  return all;
}

using Real = long double;

// One head by the header's formulas; all its states are kept.
template <class S>
struct Plain {
  const Setting &s;
  const Inputs<S> &in;
  std::vector<std::vector<Real>> result;  // out, last, then the adjoints
  int64_t b = 0, h = 0, length = 0;
  std::vector<std::vector<Real>> before, after, held, written;

  Plain(const Setting &setting, const Inputs<S> &inputs) : s(setting), in(inputs) {
    for (size_t size :
         {in.v.size(), static_cast<size_t>(s.state()), in.q.size(), in.k.size(), in.v.size(),
          in.decay.size(), in.rate.size(), in.erase.size(), in.write.size(), in.initial.size()}) {
      result.emplace_back(size);
    }
    for (b = 0; b < s.batch; ++b) {
      for (h = 0; h < s.heads; ++h) run();
    }
  }

  int64_t at(int64_t t) const { return (b * s.steps + t) * s.heads + h; }
  int64_t cell(int64_t j, int64_t c) const { return j * s.columns() + c; }
  Real feature(Real x) const { return s.features == 0 ? x : x > 0 ? x + 1 : std::exp(x); }
  Real slope(Real x) const { return s.features == 0 || x > 0 ? 1 : std::exp(x); }
  Real query(int64_t t, int64_t j) const { return feature(in.q[at(t) * s.keys + j]); }
  Real key(int64_t t, int64_t j) const { return feature(in.k[at(t) * s.keys + j]); }
  Real value(int64_t t, int64_t c) const {
    return c == s.values ? Real(1) : static_cast<Real>(in.v[at(t) * s.values + c]);
  }
  Real decay(int64_t t, int64_t j) const {
    return s.decay == kNone
               ? Real(1)
               : static_cast<Real>(in.decay[at(t) * s.decay_size() + (s.decay == kPerKey ? j : 0)]);
  }

  void run() {
    length = in.lengths.empty() ? s.steps : in.lengths[b];
    const int64_t cells = s.keys * s.columns(), offset = (b * s.heads + h) * cells;
    std::vector<Real> state(cells);
    for (int64_t i = 0; i < cells && s.initial; ++i) state[i] = in.initial[offset + i];
    before.assign(s.steps, {});
    after = held = written = before;
    for (int64_t t = 0; t < length; ++t) {
      if (!in.resets.empty() && in.resets[b * s.steps + t] != 0) state.assign(cells, 0);
      step(t, state);
      for (int64_t c = 0; c < s.values; ++c) {
        const Real norm = s.normalised != 0 ? read(t, s.values) : 1;
        result[0][at(t) * s.values + c] = norm == 0 ? 0 : kScale * read(t, c) / norm;
      }
    }
    std::copy(state.begin(), state.end(), result[1].begin() + offset);
    for (int64_t i = 0; i < cells; ++i) {
      state[i] = in.dlast.empty() ? Real(0) : static_cast<Real>(in.dlast[offset + i]);
    }
    for (int64_t t = length - 1; t >= 0; --t) {
      step_back(t, state);
      if (!in.resets.empty() && in.resets[b * s.steps + t] != 0) state.assign(cells, 0);
    }
    if (s.initial) std::copy(state.begin(), state.end(), result[9].begin() + offset);
  }

  Real read(int64_t t, int64_t c) const {
    Real sum = 0;
    for (int64_t j = 0; j < s.keys; ++j) sum += after[t][cell(j, c)] * query(t, j);
    return sum;
  }

  void step(int64_t t, std::vector<Real> &state) {
    before[t] = state;
    held[t].assign(s.columns(), 0);
    written[t].assign(s.columns(), 0);
    for (int64_t c = 0; c < s.columns(); ++c) {
      Real u = 0, x = value(t, c);
      for (int64_t j = 0; j < s.keys; ++j) {
        if (s.memory == kDelta) u += decay(t, j) * state[cell(j, c)] * key(t, j);
        if (s.memory == kLowRank) u += state[cell(j, c)] * in.erase[at(t) * s.keys + j];
      }
      if (s.memory == kDelta) x = in.rate[at(t)] * (x - u);
      for (int64_t j = 0; j < s.keys; ++j) {
        Real &cell_now = state[cell(j, c)];
        cell_now = decay(t, j) * cell_now + key(t, j) * x;
        if (s.memory == kLowRank) cell_now += in.write[at(t) * s.keys + j] * u;
      }
      held[t][c] = u;
      written[t][c] = x;
    }
    after[t] = state;
  }

  void step_back(int64_t t, std::vector<Real> &g) {
    std::vector<Real> dy(s.columns());
    const Real norm = s.normalised != 0 ? read(t, s.values) : 1;
    for (int64_t c = 0; c < s.values && norm != 0; ++c) {
      const Real d = in.dout[at(t) * s.values + c];
      dy[c] = kScale * d / norm;
      if (s.normalised != 0) dy[s.values] -= kScale * d * read(t, c) / norm / norm;
    }
    std::vector<Real> dq(s.keys), dk(s.keys), dd(s.keys), next(g.size());
    for (int64_t c = 0; c < s.columns(); ++c) {
      Real e = 0, du = 0;
      for (int64_t j = 0; j < s.keys; ++j) {
        g[cell(j, c)] += query(t, j) * dy[c];
        dq[j] += after[t][cell(j, c)] * dy[c];
        e += g[cell(j, c)] * key(t, j);
        if (s.memory == kLowRank) du += g[cell(j, c)] * in.write[at(t) * s.keys + j];
        dk[j] += g[cell(j, c)] * written[t][c];
      }
      Real dv = e;
      if (s.memory == kDelta) {
        dv = in.rate[at(t)] * e;
        result[6][at(t)] += e * (value(t, c) - held[t][c]);
      }
      if (c < s.values) result[4][at(t) * s.values + c] = dv;
      for (int64_t j = 0; j < s.keys; ++j) {
        const Real was = before[t][cell(j, c)];
        Real &now = g[cell(j, c)];
        if (s.memory == kDelta) {
          dk[j] -= decay(t, j) * was * dv;
          now -= key(t, j) * dv;
        }
        dd[j] += now * was;
        if (s.memory == kLowRank) {
          const int64_t place = at(t) * s.keys + j;
          result[7][place] += was * du;
          result[8][place] += now * held[t][c];
        }
        now *= decay(t, j);
        if (s.memory == kLowRank) now += in.erase[at(t) * s.keys + j] * du;
      }
    }
    for (int64_t j = 0; j < s.keys; ++j) {
      const int64_t place = at(t) * s.keys + j;
      result[2][place] = dq[j] * slope(in.q[place]);
      result[3][place] = dk[j] * slope(in.k[place]);
      if (s.decay == kScalar) result[5][at(t)] += dd[j];
      if (s.decay == kPerKey) result[5][place] = dd[j];
    }
  }
};

// |got - exact| <= limit x the largest exact value; the limits of a double are both 1e-12.
enum class Kind { State, Gradient };
template <class S>
void expect_within(const std::vector<SumOf<S>> &got, const std::vector<Real> &exact, Kind kind) {
  ASSERT_EQ(got.size(), exact.size());
  Real largest = 0, error = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    largest = std::max(largest, std::abs(exact[i]));
    if (!(std::abs(got[i] - exact[i]) <= error)) error = std::abs(got[i] - exact[i]);
  }
  const bool state = kind == Kind::State;
  const Real limit = std::is_same_v<S, double>  ? 1e-12L
                     : std::is_same_v<S, float> ? (state ? 2e-5L : 1e-4L)
                                                : (state ? 5e-3L : 2e-2L);
  EXPECT_LE(error, limit * largest);
}

// Every memory with every decay, around the vectors, the panels and the prepared tokens.
std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (Memory memory : {kPlain, kDelta, kLowRank}) {
    for (Decay decay : {kNone, kScalar, kPerKey}) {
      all.push_back({memory, decay, 2, 2, 19, 7, 33, true});
      all.push_back({memory, decay, 1, 3, 35, 64, 17, false, true});
      all.push_back({memory, decay, 3, 1, 7, 17, 70, true, true, true, 1});
    }
    all.push_back({memory, kScalar, 1, 1, 3, 1, 1, true, false, true, 1});
    all.push_back({memory, kPerKey, 1, 1, 5, 256, 256});
  }
  for (Decay decay : {kNone, kScalar, kPerKey}) {
    all.push_back({kPlain, decay, 2, 2, 37, 17, 32, false, true, true, 1, 1});
    all.push_back({kPlain, decay, 1, 2, 18, 5, 64, true, false, false, 0, 1});
  }
  return all;
}

// On the simulated device a third of them in bf16, which is computed as float is.
template <class S>
std::vector<Setting> settings_of() {
  std::vector<Setting> all = settings(), taken;
  if (!is_simulated() || !std::is_same_v<S, Bf16>) return all;
  for (size_t i = 0; i < all.size(); i += 3) taken.push_back(all[i]);
  return taken;
}

TYPED_TEST(FastWeights, matchesItsFormula) {
  using S = TypeParam;
  for (const Setting &s : shared_out<S>(settings_of<S>())) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs<S> in(s);
    const Plain<S> exact(s, in);
    std::vector<int64_t> chunks = {0, 1, 7, 16, 64, s.steps};
    if (!has_header_order()) chunks = {0, 7};  // one way for all of them
    for (int64_t chunk : chunks) {
      SCOPED_TRACE(testing::Message() << "chunk " << chunk);
      const auto got = forward(s, in, chunk);
      expect_within<S>(got[0], exact.result[0], Kind::State);
      expect_within<S>(got[1], exact.result[1], Kind::State);
    }
    const auto slopes = backward(s, in);
    for (size_t i = 0; i < slopes.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "adjoint " << i);
      expect_within<S>(slopes[i], exact.result[2 + i], Kind::Gradient);
    }
  }
}

TYPED_TEST(FastWeights, needsNoAdjointOfTheLastState) {
  using S = TypeParam;
  const Setting s{kDelta, kPerKey, 2, 2, 21, 9, 40, true, true};
  Inputs<S> in(s);
  in.dlast.clear();
  const Plain<S> exact(s, in);
  const auto slopes = backward(s, in);
  for (size_t i = 0; i < slopes.size(); ++i)
    expect_within<S>(slopes[i], exact.result[2 + i], Kind::Gradient);
}

// Rows of the batch's arrays, cut along the steps.
template <class T>
std::vector<T> cut(const std::vector<T> &x, const Setting &s, int64_t t0, int64_t t1) {
  const int64_t row = static_cast<int64_t>(x.size()) / (s.batch * s.steps);
  std::vector<T> part;
  for (int64_t b = 0; b < s.batch; ++b) {
    part.insert(part.end(), x.begin() + (b * s.steps + t0) * row,
                x.begin() + (b * s.steps + t1) * row);
  }
  return part;
}

TYPED_TEST(FastWeights, goesOnFromACarriedState) {
  using S = TypeParam;
  using T = SumOf<S>;
  for (Setting s : settings_of<S>()) {
    if (s.steps < 17) continue;
    SCOPED_TRACE(testing::Message() << s);
    s.initial = true;
    s.lengths = false;
    const Inputs<S> in(s);
    const int64_t some = std::is_same_v<S, Bf16> ? 16 : 4;
    for (int64_t chunk : {int64_t{0}, some}) {
      const auto whole = forward(s, in, chunk);
      for (int64_t first : {int64_t{1}, std::max<int64_t>(some, 8), s.steps - 1}) {
        if (chunk > 0 && first % chunk != 0) continue;
        std::vector<T> state = in.initial;
        for (int part = 0; part < 2; ++part) {
          const int64_t t0 = part == 0 ? 0 : first, t1 = part == 0 ? first : s.steps;
          Setting piece = s;
          piece.steps = t1 - t0;
          Inputs<S> part_of(piece);
          part_of.q = cut(in.q, s, t0, t1);
          part_of.k = cut(in.k, s, t0, t1);
          part_of.v = cut(in.v, s, t0, t1);
          part_of.decay = cut(in.decay, s, t0, t1);
          part_of.rate = cut(in.rate, s, t0, t1);
          part_of.erase = cut(in.erase, s, t0, t1);
          part_of.write = cut(in.write, s, t0, t1);
          part_of.resets = cut(in.resets, s, t0, t1);
          part_of.initial = state;
          const auto got = forward(piece, part_of, chunk);
          expect_equal(got[0], cut(whole[0], s, t0, t1));
          state = got[1];
        }
        expect_equal(state, whole[1]);
      }
    }
  }
}

TYPED_TEST(FastWeights, aResetForgetsInfinities) {
  using S = TypeParam;
  using T = SumOf<S>;
  for (Memory memory : {kPlain, kDelta, kLowRank}) {
    const Setting s{memory, kScalar, 1, 2, 20, 9, 18, true, true};
    Inputs<S> in(s);
    std::fill(in.resets.begin(), in.resets.end(), 0);
    in.resets[5] = 1;
    Setting tail = s;
    tail.steps = 15;
    tail.initial = false;
    Inputs<S> later(tail);
    later.q = cut(in.q, s, 5, 20);
    later.k = cut(in.k, s, 5, 20);
    later.v = cut(in.v, s, 5, 20);
    later.decay = cut(in.decay, s, 5, 20);
    later.rate = cut(in.rate, s, 5, 20);
    later.erase = cut(in.erase, s, 5, 20);
    later.write = cut(in.write, s, 5, 20);
    later.dout = cut(in.dout, s, 5, 20);
    later.dlast = in.dlast;
    std::fill(later.resets.begin(), later.resets.end(), 0);
    for (T &x : in.initial) x = std::numeric_limits<T>::infinity();
    const auto got = forward(s, in, 0), want = forward(tail, later, 0);
    expect_equal(cut(got[0], s, 5, 20), want[0]);
    expect_equal(got[1], want[1]);
    const auto chunked = forward(s, in, 16);
    expect_within<S>(cut(chunked[0], s, 5, 20), {want[0].begin(), want[0].end()}, Kind::State);
    const auto slopes = backward(s, in), want_slopes = backward(tail, later);
    for (int i = 0; i < 3; ++i) {
      const auto &exact = want_slopes[i];
      expect_within<S>(cut(slopes[i], s, 5, 20), {exact.begin(), exact.end()}, Kind::Gradient);
    }
  }
}

// NaN in the rows of an array's steps that do not count.
template <class E>
void spoil_beyond(std::vector<E> &x, const Setting &s, const std::vector<int32_t> &lengths) {
  const int64_t row = static_cast<int64_t>(x.size()) / (s.batch * s.steps);
  for (int64_t b = 0; b < s.batch; ++b) {
    std::fill(x.begin() + (b * s.steps + lengths[b]) * row, x.begin() + (b + 1) * s.steps * row,
              E(NAN));
  }
}

TYPED_TEST(FastWeights, whatLiesBeyondALengthIsNotUsed) {
  using S = TypeParam;
  for (Memory memory : {kPlain, kDelta, kLowRank}) {
    const Decay decay = memory == kLowRank ? kPerKey : kScalar;
    const Setting s{memory, decay, 3, 2, 18, 5, 34, true, true, true, memory == kPlain};
    Inputs<S> in(s);
    in.lengths = {0, 7, 18};
    const auto out = forward(s, in, 0), chunked = forward(s, in, 16), slopes = backward(s, in);
    Inputs<S> other = in;
    const auto spoil = [&](auto &...arrays) { (spoil_beyond(arrays, s, in.lengths), ...); };
    spoil(other.q, other.k, other.v, other.decay, other.rate, other.erase, other.write, other.dout);
    for (int64_t t = 7; t < 18; ++t) other.resets[s.steps + t] = 1;
    const auto same = forward(s, other, 0), same_chunked = forward(s, other, 16);
    for (int i = 0; i < 2; ++i) {
      expect_equal(same[i], out[i]);
      expect_equal(same_chunked[i], chunked[i]);
    }
    const auto same_slopes = backward(s, other);
    for (size_t i = 0; i < slopes.size(); ++i) expect_equal(same_slopes[i], slopes[i]);
    for (int64_t i = 7 * s.heads * s.values; i < 18 * s.heads * s.values; ++i) {
      EXPECT_EQ(out[0][18 * s.heads * s.values + i], 0);
    }
  }
}

TYPED_TEST(FastWeights, chunksSurviveDecaysThatUnderflow) {
  using S = TypeParam;
  using T = SumOf<S>;
  for (int kind = 0; kind < 6; ++kind) {
    const Setting s{
        static_cast<Memory>(kind / 2), kind % 2 == 0 ? kScalar : kPerKey, 1, 2, 70, 11, 20, true};
    Inputs<S> in(s);
    for (size_t i = 0; i < in.decay.size(); ++i) {
      in.decay[i] = i % 7 == 0 ? T(0) : i % 3 == 0 ? T(1e-30) : i % 5 == 0 ? T(-0.9) : T(1);
    }
    const Plain<S> exact(s, in);
    const auto chunked = forward(s, in, 64);
    for (int i = 0; i < 2; ++i) expect_within<S>(chunked[i], exact.result[i], Kind::State);
  }
}

TYPED_TEST(FastWeights, aNormOfZeroGivesZeros) {
  using S = TypeParam;
  using T = SumOf<S>;
  const Setting s{kPlain, kNone, 1, 1, 3, 4, 5, false, false, false, 0, 1};
  Inputs<S> in(s);
  std::fill(in.q.begin(), in.q.end(), S(0));
  for (int64_t chunk : {0, 2}) {
    const auto got = forward(s, in, chunk);
    for (T x : got[0]) EXPECT_EQ(x, 0);
  }
  for (const auto &slopes : backward(s, in)) {
    for (T x : slopes) EXPECT_TRUE(std::isfinite(x));
  }
}

// What a CUDA library takes in chunks: around its tiles of 64 steps, keys and values, with chunks
// that end before a reset, before a length and with the last step.
std::vector<Setting> chunk_settings() {
  return {{kPlain, kNone, 1, 2, 70, 17, 33, true, true},
          {kPlain, kScalar, 2, 1, 37, 64, 64, true, false, true},
          {kPlain, kScalar, 1, 1, 131, 9, 70, true, true, false, 1, 1},
          {kPlain, kScalar, 1, 1, 131, 65, 5, true, false, false, 1},
          {kPlain, kNone, 2, 1, 20, 100, 5, true, false, true, 0, 1},
          {kDelta, kNone, 2, 1, 70, 64, 64, true, true, true},
          {kDelta, kScalar, 1, 2, 69, 100, 72, false, true},
          {kDelta, kScalar, 1, 1, 130, 5, 3, true}};
}

TEST(FastWeights, chunksOfBf16MatchTheirFormula) {
  for (const Setting &s : chunk_settings()) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs<Bf16> in(s);
    const Plain<Bf16> exact(s, in);
    for (int64_t chunk : {16, 32, 48, 64}) {
      if (is_simulated() && chunk == 32) continue;  // as 48 with a square of steps less
      SCOPED_TRACE(testing::Message() << "chunk " << chunk);
      const auto got = forward(s, in, chunk);
      expect_within<Bf16>(got[0], exact.result[0], Kind::State);
      expect_within<Bf16>(got[1], exact.result[1], Kind::State);
    }
    if (s.memory != kPlain) continue;  // whose adjoints have no chunks
    const auto slopes = backward(s, in);
    for (size_t i = 0; i < slopes.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "adjoint " << i);
      expect_within<Bf16>(slopes[i], exact.result[2 + i], Kind::Gradient);
    }
  }
}

// What is not finite in a step reaches no output of the sixteens before its own.
TEST(FastWeights, chunksOfBf16LookBackAlone) {
  for (Memory memory : {kPlain, kDelta}) {
    const Setting s{memory, kScalar, 1, 1, 50, 16, 16};
    Inputs<Bf16> in(s);
    const auto want = forward(s, in, 64);
    in.v[36 * s.values] = Bf16(INFINITY);
    in.k[36 * s.keys] = in.v[36 * s.values];
    const auto found = forward(s, in, 64);
    expect_equal(cut(found[0], s, 0, 32), cut(want[0], s, 0, 32));
    EXPECT_FALSE(std::isfinite(static_cast<float>(found[0][36 * s.values])));
  }
}

TEST(FastWeights, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<std::vector<float>> a(12, std::vector<float>(64));
  const std::vector<int32_t> lengths = {4};
  const auto call = [&](const float *rate, const float *erase, const float *write, int64_t keys,
                        int64_t decay_size, int64_t chunk, int32_t normalised,
                        const int32_t *length = nullptr) {
    const int32_t status =
        pnd_fast_weights(m.context, PND_F32, a[0].data(), a[1].data(), a[2].data(), a[3].data(),
                         a[4].data(), a[5].data(), rate, erase, write, nullptr, nullptr, length, 1,
                         1, 3, keys, 4, decay_size, chunk, 1, 0, normalised);
    return found(status, m.context);
  };
  const float *one = a[6].data(), *two = a[7].data(), *three = a[8].data();
  EXPECT_EQ(PND_OK, call(nullptr, nullptr, nullptr, 2, 2, 0, 1));
  expect_refused(call(nullptr, one, nullptr, 2, 2, 0, 0), m, "erase and write");
  expect_refused(call(one, two, three, 2, 2, 0, 0), m, "rate must be null");
  expect_refused(call(one, nullptr, nullptr, 2, 2, 0, 1), m, "normalised = 1 excludes");
  expect_refused(call(nullptr, nullptr, nullptr, 257, 1, 0, 0), m, "keys = 257");
  expect_refused(call(nullptr, nullptr, nullptr, 4, 3, 0, 0), m, "decay_size = 3");
  expect_refused(call(nullptr, nullptr, nullptr, 2, 2, 257, 0), m, "chunk = 257");
  expect_refused(call(nullptr, nullptr, nullptr, 2, 2, 0, 0, lengths.data()), m, "lengths[0] = 4");
  const auto back = [&](float *drate, const float *rate) {
    return pnd_fast_weights_backward(
        m.context, PND_F32, a[0].data(), a[1].data(), a[2].data(), nullptr, drate, nullptr, nullptr,
        nullptr, a[3].data(), nullptr, a[4].data(), a[5].data(), a[6].data(), nullptr, rate,
        nullptr, nullptr, nullptr, nullptr, nullptr, 1, 1, 3, 2, 4, 1, 1, 0, 0);
  };
  EXPECT_EQ(PND_OK, back(a[7].data(), a[8].data()));
  expect_refused(back(nullptr, a[8].data()), m, "drate must be null exactly where rate is");
}

}  // namespace
