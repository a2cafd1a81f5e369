// SPDX-License-Identifier: Apache-2.0
#include "attention.h"
#include "machines.h"

namespace {

template <class T>
class Attention : public testing::Test {};
TYPED_TEST_SUITE(Attention, FloatTypes);

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

using Shape = AttentionShape;

template <class T>
struct Inputs {
  std::vector<T> q, k, v, mask, dout;
  AttentionSight sight;

  explicit Inputs(const Shape &s)
      : q(random_data<T>(s.query_size(), 1)),
        k(random_data<T>(s.key_size(), 2)),
        v(random_data<T>(s.key_size(), 3)),
        dout(random_data<T>(s.query_size(), 4)),
        sight(s) {
    if (s.mask < 0) return;
    mask = random_data<T>(s.mask_size(), 5);
    for (T &x : mask) x = s.gated ? std::abs(x) : x;
    for (size_t i = 2; i < mask.size(); i += 5) mask[i] = s.gated ? 0 : -kInfinity<T>;
  }
  const T *mask_or_null() const { return mask.empty() ? nullptr : mask.data(); }
};

template <class R>
using Results = AttentionResults<R>;

template <class T>
Results<T> forward(const Shape &s, const Inputs<T> &in) {
  auto outputs =
      outputs_of<T>({s.query_size(), s.rows()}, [&](const Machine &m, std::vector<T *> to) {
        return PND_ON(m, pnd_attention, type_of<T>(), to[0], to[1], in.q.data(), in.k.data(),
                      in.v.data(), in.mask_or_null(), in.sight.or_null(in.sight.lengths),
                      in.sight.or_null(in.sight.q_starts), in.sight.or_null(in.sight.k_starts),
                      s.batch, s.heads, s.kv_heads(), s.q_steps, s.k_steps, s.head_size,
                      s.mask_batch(), s.mask_heads(), s.mask_steps(), in.sight.segments(), s.window,
                      s.scale(), s.causal, s.gated);
      });
  return {outputs[0], outputs[1], {}, {}, {}, {}};
}

template <class T>
void backward(const Shape &s, const Inputs<T> &in, Results<T> &results) {
  auto outputs = outputs_of<T>(
      {s.query_size(), s.key_size(), s.key_size(), s.mask_size()},
      [&](const Machine &m, std::vector<T *> to) {
        return PND_ON(m, pnd_attention_backward, type_of<T>(), to[0], to[1], to[2], to[3],
                      in.dout.data(), in.q.data(), in.k.data(), in.v.data(), in.mask_or_null(),
                      in.sight.or_null(in.sight.lengths), in.sight.or_null(in.sight.q_starts),
                      in.sight.or_null(in.sight.k_starts), results.out.data(), results.lse.data(),
                      s.batch, s.heads, s.kv_heads(), s.q_steps, s.k_steps, s.head_size,
                      s.mask_batch(), s.mask_heads(), s.mask_steps(), in.sight.segments(), s.window,
                      s.scale(), s.causal, s.gated);
      });
  results.dq = outputs[0];
  results.dk = outputs[1];
  results.dv = outputs[2];
  results.dmask = outputs[3];
}

template <class R, class T>
Results<R> plain(const Shape &s, const Inputs<T> &in) {
  return plain_attention<R>(s, in, [](R x) { return x; });
}

// All mask shapes with all kinds of sight, and sizes around tiles, blocks and threads.
std::vector<Shape> shapes() {
  std::vector<Shape> all = {{1, 1, 3, 3, 1},    {1, 1, 7, 17, 7},    {2, 3, 33, 17, 8},
                            {1, 2, 17, 33, 32}, {1, 1, 301, 301, 7}, {4, 2, 1, 301, 64},
                            {1, 1, 301, 3, 80}, {1, 2, 33, 301, 80}, {5, 1, 33, 33, 64},
                            {1, 1, 8, 16, 256}, {1, 3, 130, 7, 33}};
  const size_t sizes = all.size();
  for (size_t i = 0; i < sizes; ++i) {
    Shape shape = all[i];
    shape.causal = true;
    all.push_back(shape);
  }
  for (int mask = 0; mask < 8; ++mask) {
    for (bool lengths : {false, true}) {
      all.push_back({3, 2, 17, 33, 8, mask, lengths, false});
      all.push_back({3, 2, 33, 17, 7, mask, lengths, true});
      all.push_back({4, 1, 7, 301, 16, mask, lengths, true});
    }
    all.push_back({1, 2, 301, 140, 8, mask, false, true});
  }
  const auto kinds = attention_kinds();
  all.insert(all.end(), kinds.begin(), kinds.end());
  return all;
}

TYPED_TEST(Attention, matchesItsFormula) {
  using T = TypeParam;
  for (const Shape &s : shared_out<T>(shapes())) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs<T> in(s);
    Results<T> got = forward<T>(s, in);
    backward<T>(s, in, got);
    const auto exact = plain<long double>(s, in);
    const auto naive = plain<T>(s, in);
    expect_close(got.out, exact.out, naive.out);
    expect_close(got.lse, exact.lse, naive.lse);
    expect_close(got.dq, exact.dq, naive.dq, 0, 3);
    expect_close(got.dk, exact.dk, naive.dk, 0, 3);
    expect_close(got.dv, exact.dv, naive.dv, 0, 3);
    expect_close(got.dmask, exact.dmask, naive.dmask, 0, 3);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(Attention, aQueryOfASequenceIsAQueryAlone) {
  using T = TypeParam;
  const Shape whole{1, 2, 301, 301, 32, -1, false, true}, alone{1, 2, 1, 0, 32, -1, false, true};
  const Inputs<T> in(whole);
  const auto all = forward<T>(whole, in);
  for (int64_t i : {0, 6, 31, 32, 255, 256, 300}) {
    Shape s = alone;
    s.k_steps = i + 1;
    Inputs<T> part(s);
    std::copy_n(in.q.begin() + whole.query(0, i, 0), s.query_size(), part.q.begin());
    std::copy_n(in.k.begin(), s.key_size(), part.k.begin());
    std::copy_n(in.v.begin(), s.key_size(), part.v.begin());
    const auto one = forward<T>(s, part);
    const auto at = all.out.begin() + whole.query(0, i, 0);
    SCOPED_TRACE(i);
    expect_equal(one.out, std::vector<T>(at, at + s.query_size()));
    expect_equal(one.lse, {all.lse[whole.row(0, 0, i)], all.lse[whole.row(0, 1, i)]});
  }
}

TYPED_TEST(Attention, fewQueriesAreTheLastOfMany) {
  using T = TypeParam;
  if (!has_header_order()) GTEST_SKIP() << "the simulated device takes one path for all";
  for (const AttentionStep &step : attention_steps(1)) {
    const Shape s = step.alone();
    SCOPED_TRACE(testing::Message() << s);
    Inputs<T> whole(step.whole), alone(s);
    // The values of the last key are infinite, for whom they are visible.
    const int64_t row = s.kv_heads() * s.head_size;
    std::fill_n(whole.v.end() - row, row, kInfinity<T>);
    const auto all = forward<T>(step.whole, whole);
    alone.q = queries_alone(step, whole.q);
    alone.k = whole.k;
    alone.v = whole.v;
    const auto few = forward<T>(s, with_spoilt_keys(s, alone));
    expect_equal(few.out, queries_alone(step, all.out));
    expect_equal(few.lse, rows_alone(step, all.lse));
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(Attention, neverTouchesWhatAQueryDoesNotSee) {
  using T = TypeParam;
  for (const Shape &s : shapes_with_unseen_keys()) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs<T> clean(s), in = with_spoilt_keys(s, clean);
    Results<T> want = forward<T>(s, clean), got = forward<T>(s, in);
    backward<T>(s, clean, want);
    backward<T>(s, in, got);
    expect_equal(got.out, want.out);
    expect_equal(got.lse, want.lse);
    expect_equal(got.dq, want.dq);
    expect_equal(got.dk, want.dk);
    expect_equal(got.dv, want.dv);
    expect_equal(got.dmask, want.dmask);
  }
  // The last key of a causal pass: only the last query may know it.
  const Shape s{1, 1, 40, 40, 16, -1, false, true};
  const Inputs<T> clean(s);
  Inputs<T> in = clean;
  std::fill_n(in.k.begin() + s.key(0, 39, 0), s.head_size, std::nan(""));
  std::fill_n(in.v.begin() + s.key(0, 39, 0), s.head_size, kInfinity<T>);
  Results<T> want = forward<T>(s, clean), got = forward<T>(s, in);
  want.out.resize(39 * s.head_size);
  EXPECT_TRUE(std::isnan(got.out.back()));
  got.out.resize(39 * s.head_size);
  expect_equal(got.out, want.out);
  // And the first query's gradient: only the first key may know it.
  in = clean;
  std::fill_n(in.dout.begin(), s.head_size, std::nan(""));
  want = forward<T>(s, clean);
  got = want;
  backward<T>(s, clean, want);
  backward<T>(s, in, got);
  EXPECT_TRUE(std::isnan(got.dv[0]));
  expect_equal(std::vector<T>(got.dk.begin() + s.head_size, got.dk.end()),
               std::vector<T>(want.dk.begin() + s.head_size, want.dk.end()));
  expect_equal(std::vector<T>(got.dv.begin() + s.head_size, got.dv.end()),
               std::vector<T>(want.dv.begin() + s.head_size, want.dv.end()));
}

TYPED_TEST(Attention, aQueryWithoutKeysGivesZeros) {
  using T = TypeParam;
  // Masks of -infinity in the first head; no length in the first sequence; no sight before the
  // third query.
  Shape masked{1, 2, 9, 17, 8, 2, false, false}, empty{2, 1, 9, 17, 8, -1, true, false};
  Shape blind{1, 1, 9, 7, 8, -1, false, true};
  for (const Shape &s : {masked, empty, blind}) {
    SCOPED_TRACE(testing::Message() << s);
    Inputs<T> in(s);
    if (s.mask >= 0) std::fill_n(in.mask.begin(), s.k_steps, -kInfinity<T>);
    Results<T> got = forward<T>(s, in);
    backward<T>(s, in, got);
    const int64_t rows = s.causal ? 2 : s.q_steps;
    for (int64_t i = 0; i < rows; ++i) {
      EXPECT_EQ(got.lse[s.row(0, 0, i)], -kInfinity<T>);
      for (int64_t d = 0; d < s.head_size; ++d) {
        EXPECT_EQ(got.out[s.query(0, i, 0) + d], 0);
        EXPECT_EQ(got.dq[s.query(0, i, 0) + d], 0);
      }
    }
    for (T x : got.dk) EXPECT_TRUE(std::isfinite(x));
    for (T x : got.dv) EXPECT_TRUE(std::isfinite(x));
    for (T x : got.dmask) EXPECT_TRUE(std::isfinite(x));
  }
}

TYPED_TEST(Attention, aWindowOfOneGivesTheValueItself) {
  using T = TypeParam;
  Shape s{2, 2, 33, 33, 20, -1, false, 1};
  s.window = 1;
  const Inputs<T> in(s);
  Results<T> got = forward<T>(s, in);
  backward<T>(s, in, got);
  expect_equal(got.out, in.v);
  expect_equal(got.dv, in.dout);
  // ds = p (dp - delta), whose last two are the same sum in two orders.
  for (int64_t row = 0; row < s.rows(); ++row) {
    const T *dout = in.dout.data() + row * s.head_size, *v = in.v.data() + row * s.head_size;
    T size = 0;
    for (int64_t d = 0; d < s.head_size; ++d) size += std::abs(dout[d] * v[d]);
    const T limit = 8 * std::numeric_limits<T>::epsilon() * size;
    for (int64_t d = 0; d < s.head_size; ++d) {
      const int64_t at = row * s.head_size + d;
      EXPECT_LE(std::abs(got.dq[at]), limit * std::abs(in.k[at]));
      EXPECT_LE(std::abs(got.dk[at]), limit * std::abs(in.q[at]));
    }
  }
}

TYPED_TEST(Attention, aGroupsHeadsAreSummedInTheirOrder) {
  using T = TypeParam;
  // Of two keys, each query sees one: p = 1, and dv is a sum of dout alone.
  const T large = 1 / std::numeric_limits<T>::epsilon() * 4;
  Shape s{1, 6, 2, 2, 8, -1, false, 1};
  s.group = 3;
  s.window = 1;
  Inputs<T> in(s);
  for (int64_t h = 0; h < s.heads; ++h) {
    for (int64_t i = 0; i < s.q_steps; ++i) {
      const T term = h % 3 == 0 ? large : h % 3 == 1 ? -large : static_cast<T>(1 + i);
      std::fill_n(in.dout.begin() + s.query(0, i, h), s.head_size, term);
    }
  }
  Results<T> got = forward<T>(s, in);
  backward<T>(s, in, got);
  for (int64_t j = 0; j < s.k_steps; ++j) {
    for (int64_t h = 0; h < s.heads; h += 3) EXPECT_EQ(got.dv[s.key(0, j, h)], 1 + j);
  }
}

TYPED_TEST(Attention, aHiddenGateLearnsFromAtMostExp64) {
  using T = TypeParam;
  for (bool over_queries : {false, true}) {
    Shape s{1, 1, 2, 2, 4, over_queries ? 0 : 4, false, 0};
    s.gated = true;
    Inputs<T> in(s);
    // Scores of 0 and 100, before whose gate the lse of 0 knows nothing of it.
    std::fill(in.q.begin(), in.q.end(), T(5));
    std::fill(in.k.begin(), in.k.end(), T(0));
    std::fill_n(in.k.begin() + s.key(0, 1, 0), s.head_size, T(10));
    for (size_t i = 0; i < in.mask.size(); ++i) in.mask[i] = i % 2 == 0 ? 1 : 0;
    Results<T> got = forward<T>(s, in);
    expect_equal(got.lse, {0, 0});
    backward<T>(s, in, got);
    double sum = 0;
    for (int64_t i = 0; i < s.q_steps; ++i) {
      double slope = 0;
      for (int64_t d = 0; d < s.head_size; ++d) {
        const double dv = in.v[s.key(0, 1, 0) + d] - double{in.v[s.key(0, 0, 0) + d]};
        slope += in.dout[s.query(0, i, 0) + d] * dv;
      }
      sum = std::exp(64.0) * slope + (over_queries ? sum : 0);
      const double is = got.dmask[s.mask_at(0, 0, i, 1)];
      if (!over_queries || i == 1) {
        EXPECT_NEAR(is, sum, 1e-5 * std::abs(sum));
      }
    }
    for (T x : got.dq) EXPECT_EQ(x, 0);
  }
}

TYPED_TEST(Attention, slopesOfARowSumToZero) {
  using T = TypeParam;
  const Shape s{2, 2, 33, 301, 64, 7, true, true};
  const Inputs<T> in(s);
  Results<T> got = forward<T>(s, in);
  backward<T>(s, in, got);
  for (int64_t row = 0; row < s.rows(); ++row) {
    double sum = 0, size = 0;
    for (int64_t j = 0; j < s.k_steps; ++j) {
      sum += got.dmask[row * s.k_steps + j];
      size += std::abs(got.dmask[row * s.k_steps + j]);
    }
    EXPECT_LE(std::abs(sum), (std::is_same_v<T, float> ? 1e-5 : 1e-13) * size);
  }
}

TYPED_TEST(Attention, aMasksBroadcastAxesAreSummedInTheOrderOfTheHeader) {
  using T = TypeParam;
  const Shape full{3, 3, 33, 301, 8, 7, true, false};
  for (int mask = 0; mask < 7; ++mask) {
    Shape s = full;
    s.mask = mask;
    const Inputs<T> in(s);
    Inputs<T> wide(full);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) {
        for (int64_t i = 0; i < s.q_steps; ++i) {
          for (int64_t j = 0; j < s.k_steps; ++j) {
            wide.mask[full.mask_at(b, h, i, j)] = in.mask[s.mask_at(b, h, i, j)];
          }
        }
      }
    }
    Results<T> narrow = forward<T>(s, in), whole = forward<T>(full, wide);
    expect_equal(narrow.out, whole.out);
    backward<T>(s, in, narrow);
    backward<T>(full, wide, whole);
    std::vector<T> want(s.mask_size());
    std::vector<long double> exact(s.mask_size());
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) {
        std::vector<T> head(s.mask_steps() * s.k_steps);
        for (int64_t i = 0; i < s.q_steps; ++i) {
          for (int64_t j = 0; j < s.k_steps; ++j) {
            const T slope = whole.dmask[full.mask_at(b, h, i, j)];
            head[(s.mask_steps() == 1 ? 0 : i) * s.k_steps + j] += slope;
            exact[s.mask_at(b, h, i, j)] += slope;
          }
        }
        for (size_t i = 0; i < head.size(); ++i) want[s.mask_at(b, h, 0, 0) + i] += head[i];
      }
    }
    SCOPED_TRACE(mask);
    expect_close(narrow.dmask, exact, want);
    if (has_header_order()) expect_equal(narrow.dmask, want);
  }
}

TYPED_TEST(Attention, survivesScoresThatExpCannotHold) {
  using T = TypeParam;
  const Shape s{1, 1, 7, 301, 8, 4, false, false};
  Inputs<T> in(s);
  for (size_t i = 0; i < in.mask.size(); ++i) {
    if (std::isfinite(in.mask[i])) in.mask[i] *= 1000;
  }
  Results<T> got = forward<T>(s, in);
  backward<T>(s, in, got);
  const auto exact = plain<long double>(s, in);
  const auto naive = plain<T>(s, in);
  expect_close(got.out, exact.out, naive.out);
  expect_close(got.lse, exact.lse, naive.lse);
  expect_close(got.dv, exact.dv, naive.dv, 0, 3);
}

TEST(Attention, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> out(64), lse(64), q(64), k(64), v(64), mask(64);
  const std::vector<int32_t> negative = {3, -1}, late = {1, 2, 2}, falling = {0, 2, 1, 2},
                             short_of = {0, 1, 1}, keys = {0, 1, 4};
  struct Arguments {
    float *to;
    const int32_t *lengths = nullptr, *q_starts = nullptr, *k_starts = nullptr;
    int64_t batch = 2, kv_heads = 2, head_size = 2, mask_batch = 1, mask_steps = 1, segments = 0,
            window = 0;
    int32_t causal = 0, gated = 0;
  };
  const auto call = [&](Arguments a) {
    return pnd_attention(m.context, PND_F32, a.to, lse.data(), q.data(), k.data(), v.data(),
                         mask.data(), a.lengths, a.q_starts, a.k_starts, a.batch, 2, a.kv_heads, 2,
                         4, a.head_size, a.mask_batch, 1, a.mask_steps, a.segments, a.window, 1.0,
                         a.causal, a.gated);
  };
  const Arguments right{out.data()};
  const auto refuses = [&](const char *words, auto &&change) {
    Arguments wrong = right;
    change(wrong);
    expect_refused(found(call(wrong), m.context), m, words);
  };
  EXPECT_EQ(PND_OK, call(right));
  refuses("head_size = 257", [](auto &a) { a.head_size = 257; });
  refuses("mask_batch = 3 must be 1 or 2", [](auto &a) { a.mask_batch = 3; });
  refuses("mask_steps = 4 must be 1 or 2", [](auto &a) { a.mask_steps = 4; });
  refuses("causal = 3", [](auto &a) { a.causal = 3; });
  refuses("causal = 2 needs lengths", [](auto &a) { a.causal = 2; });
  refuses("gated = 2", [](auto &a) { a.gated = 2; });
  refuses("window = -1", [](auto &a) { a.window = -1; });
  refuses("heads = 2 must be a multiple of kv_heads = 3", [](auto &a) { a.kv_heads = 3; });
  refuses("lengths[1] = -1", [&](auto &a) { a.lengths = negative.data(); });
  refuses("q overlaps out", [&](auto &a) { a.to = q.data(); });
  refuses("segments = 1 must be 0", [](auto &a) { a.segments = 1; });
  refuses("must both be null", [&](auto &a) { a.q_starts = keys.data(); });
  const auto packed = [&](const std::vector<int32_t> &starts) {
    return [&](auto &a) {
      a.batch = 1;
      a.segments = static_cast<int64_t>(starts.size()) - 1;
      a.q_starts = a.k_starts = starts.data();
    };
  };
  refuses("q_starts[0] = 1 must be 0", packed(late));
  refuses("q_starts[2] = 1 must not be below 2", packed(falling));
  refuses("q_starts[2] = 1 must be 2", packed(short_of));
  const auto kept = packed(short_of);
  refuses("batch = 2 must be 1", [&](auto &a) { kept(a), a.batch = 2; });
  refuses("lengths must be null", [&](auto &a) { kept(a), a.lengths = keys.data(); });
  refuses("segments = 0", [&](auto &a) { kept(a), a.segments = 0; });
}

}  // namespace
