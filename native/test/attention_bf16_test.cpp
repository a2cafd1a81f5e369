// SPDX-License-Identifier: Apache-2.0
#include "attention.h"
#include "bf16.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Shape = AttentionShape;

struct Inputs {
  std::vector<Bf16> q, k, v, mask, dout;
  AttentionSight sight;

  explicit Inputs(const Shape &s)
      : q(random_bf16(s.query_size(), 1)),
        k(random_bf16(s.key_size(), 2)),
        v(random_bf16(s.key_size(), 3)),
        dout(random_bf16(s.query_size(), 4)),
        sight(s) {
    if (s.mask < 0) return;
    mask = random_bf16(s.mask_size(), 5);
    for (Bf16 &x : mask) x = s.gated ? Bf16(std::abs(static_cast<double>(x))) : x;
    for (size_t i = 2; i < mask.size(); i += 5) mask[i] = Bf16(s.gated ? 0 : -kInfinity);
  }
};

struct Results {
  std::vector<Bf16> out, dq, dk, dv, dmask;
  std::vector<float> lse;
};

Results forward(const Shape &s, const Inputs &in) {
  Results r;
  for (const Machine &m : own_machines()) {
    Placed<Bf16> out(s.query_size(), s.shift), q(in.q, s.shift), k(in.k, s.shift), v(in.v, s.shift),
        mask(in.mask, s.shift);
    Placed<float> lse(s.rows(), s.shift);
    expect_done(PND_ON(m, pnd_attention, PND_BF16, out.data(), lse.data(), q.data(), k.data(),
                       v.data(), mask.data_or_null(), in.sight.or_null(in.sight.lengths),
                       in.sight.or_null(in.sight.q_starts), in.sight.or_null(in.sight.k_starts),
                       s.batch, s.heads, s.kv_heads(), s.q_steps, s.k_steps, s.head_size,
                       s.mask_batch(), s.mask_heads(), s.mask_steps(), in.sight.segments(),
                       s.window, s.scale(), s.causal, s.gated),
                m);
    keep_or_compare(r.out, out, m);
    keep_or_compare(r.lse, lse, m);
  }
  return r;
}

void backward(const Shape &s, const Inputs &in, Results &r) {
  for (auto *gradient : {&r.dq, &r.dk, &r.dv, &r.dmask}) gradient->clear();
  for (const Machine &m : own_machines()) {
    Placed<Bf16> dq(s.query_size(), s.shift), dk(s.key_size(), s.shift), dv(s.key_size(), s.shift),
        dmask(s.mask_size(), s.shift), dout(in.dout, s.shift), q(in.q, s.shift), k(in.k, s.shift),
        v(in.v, s.shift), mask(in.mask, s.shift), out(r.out, s.shift);
    Placed<float> lse(r.lse, s.shift);
    expect_done(
        PND_ON(m, pnd_attention_backward, PND_BF16, dq.data(), dk.data(), dv.data(), dmask.data(),
               dout.data(), q.data(), k.data(), v.data(), mask.data_or_null(),
               in.sight.or_null(in.sight.lengths), in.sight.or_null(in.sight.q_starts),
               in.sight.or_null(in.sight.k_starts), out.data(), lse.data(), s.batch, s.heads,
               s.kv_heads(), s.q_steps, s.k_steps, s.head_size, s.mask_batch(), s.mask_heads(),
               s.mask_steps(), in.sight.segments(), s.window, s.scale(), s.causal, s.gated),
        m);
    keep_or_compare(r.dq, dq, m);
    keep_or_compare(r.dk, dk, m);
    keep_or_compare(r.dv, dv, m);
    keep_or_compare(r.dmask, dmask, m);
  }
}

// Naive: as one would compute it from bf16 in floats, p and ds rounded for their products, out and
// the gradients in the end.
template <class R>
AttentionResults<R> plain(const Shape &s, const Inputs &in) {
  constexpr bool kNaive = std::is_same_v<R, float>;
  const auto rounded = [](R x) { return kNaive ? R{Bf16(static_cast<double>(x))} : x; };
  auto r = plain_attention<R>(s, in, rounded);
  for (auto *gradient : {&r.dq, &r.dk, &r.dv, &r.dmask}) {
    for (R &x : *gradient) x = rounded(x);
  }
  return r;
}

// |got - exact| <= times x the largest error of the naive computation + the rounding of the largest
// value; the same infinities.
template <class T>
void expect_near(const std::vector<T> &got, const std::vector<double> &exact,
                 const std::vector<float> &naive, int times, double least) {
  ASSERT_EQ(got.size(), exact.size());
  double error = 0, largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    if (!std::isfinite(exact[i])) continue;
    largest = std::max(largest, std::abs(exact[i]));
    error = std::max(error, std::abs(naive[i] - exact[i]));
  }
  const double limit = times * error + least * largest;
  for (size_t i = 0; i < exact.size(); ++i) {
    if (exact[i] == got[i]) continue;
    ASSERT_LE(std::abs(got[i] - exact[i]), limit)
        << "at " << i << ": " << got[i] << " for " << exact[i];
  }
}
constexpr double kRounding = 0x1p-8;

// All mask shapes with all kinds of sight, all head sizes to compile for, and sizes around tiles,
// blocks and warps.
std::vector<Shape> shapes() {
  std::vector<Shape> all = {{1, 1, 1, 1, 1},      {1, 1, 7, 17, 8},    {1, 2, 17, 7, 20},
                            {1, 1, 63, 65, 32},   {1, 1, 64, 64, 40},  {2, 1, 65, 63, 64},
                            {1, 1, 129, 129, 64}, {1, 1, 33, 129, 80}, {1, 1, 65, 33, 128},
                            {1, 1, 17, 40, 200},  {1, 1, 65, 17, 256}, {1, 2, 130, 100, 16},
                            {4, 1, 129, 70, 24}};
  const size_t sizes = all.size();
  for (size_t i = 0; i < sizes; ++i) {
    Shape shape = all[i];
    shape.causal = true;
    all.push_back(shape);
  }
  for (int mask = 0; mask < 8; ++mask) {
    for (bool lengths : {false, true}) {
      all.push_back({3, 2, 17, 33, 8, mask, lengths, false});
      all.push_back({3, 2, 33, 17, 7, mask, lengths, true, 1});
    }
    all.push_back({3, 1, 65, 70, 32, mask, true, true});
  }
  all.push_back({1, 2, 17, 33, 64, -1, false, false, 1});
  all.push_back({1, 1, 33, 17, 128, 4, false, false, 4});
  const auto kinds = attention_kinds();
  all.insert(all.end(), kinds.begin(), kinds.end());
  return all;
}

TEST(AttentionBf16, matchesItsFormula) {
  for (const Shape &s : shapes()) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs in(s);
    Results got = forward(s, in);
    const auto exact = plain<double>(s, in);
    const auto naive = plain<float>(s, in);
    expect_near(got.out, exact.out, naive.out, 2, kRounding);
    expect_near(got.lse, exact.lse, naive.lse, 2, 1e-5);
    if (HasFailure()) return;
    backward(s, in, got);
    expect_near(got.dq, exact.dq, naive.dq, 3, kRounding);
    expect_near(got.dk, exact.dk, naive.dk, 3, kRounding);
    expect_near(got.dv, exact.dv, naive.dv, 3, kRounding);
    expect_near(got.dmask, exact.dmask, naive.dmask, 3, kRounding);
    if (HasFailure()) return;
  }
}

TEST(AttentionBf16, fewQueriesAreTheLastOfMany) {
  if (!has_header_order()) GTEST_SKIP() << "a device multiplies tiles of queries";
  for (const AttentionStep &step : attention_steps(2)) {
    const Shape s = step.alone();
    SCOPED_TRACE(testing::Message() << s);
    const Inputs whole(step.whole);
    Inputs alone(s);
    alone.q = queries_alone(step, whole.q);
    alone.k = whole.k;
    alone.v = whole.v;
    const Results all = forward(step.whole, whole), few = forward(s, with_spoilt_keys(s, alone));
    expect_equal(few.out, queries_alone(step, all.out));
    expect_equal(few.lse, rows_alone(step, all.lse));
    if (HasFailure()) return;
  }
}

TEST(AttentionBf16, neverTouchesKeysThatNoQuerySees) {
  for (const Shape &s : shapes_with_unseen_keys()) {
    SCOPED_TRACE(testing::Message() << s);
    const Inputs clean(s), in = with_spoilt_keys(s, clean);
    Results want = forward(s, clean), got = forward(s, in);
    backward(s, clean, want);
    backward(s, in, got);
    expect_equal(got.out, want.out);
    expect_equal(got.lse, want.lse);
    expect_equal(got.dq, want.dq);
    expect_equal(got.dk, want.dk);
    expect_equal(got.dv, want.dv);
    expect_equal(got.dmask, want.dmask);
  }
}

TEST(AttentionBf16, aQueryWithoutKeysGivesZeros) {
  // Masks of -infinity in the first head; no length in the first sequence; no sight before the
  // third query.
  Shape masked{1, 2, 9, 17, 8, 2, false, false}, empty{2, 1, 9, 17, 8, -1, true, false};
  Shape blind{1, 1, 9, 7, 8, -1, false, true};
  for (const Shape &s : {masked, empty, blind}) {
    SCOPED_TRACE(testing::Message() << s);
    Inputs in(s);
    if (s.mask >= 0) std::fill_n(in.mask.begin(), s.k_steps, Bf16(-kInfinity));
    Results got = forward(s, in);
    backward(s, in, got);
    for (int64_t i = 0; i < (s.causal ? 2 : s.q_steps); ++i) {
      EXPECT_EQ(got.lse[s.row(0, 0, i)], -kInfinity);
      for (int64_t d = 0; d < s.head_size; ++d) {
        EXPECT_EQ(got.out[s.query(0, i, 0) + d], 0);
        EXPECT_EQ(got.dq[s.query(0, i, 0) + d], 0);
      }
    }
    for (const auto *gradient : {&got.dk, &got.dv, &got.dmask}) {
      for (Bf16 x : *gradient) EXPECT_TRUE(std::isfinite(x));
    }
  }
}

TEST(AttentionBf16, keysBeyondTheLengthGetZerosWhateverTheQueriesHold) {
  const Shape s{1, 1, 33, 45, 16, 0, true, false};
  Inputs in(s);
  in.sight.lengths = {20};
  Results got = forward(s, in);
  for (Bf16 &x : in.dout) x = Bf16(NAN);
  backward(s, in, got);
  for (int64_t j = 0; j < s.k_steps; ++j) {
    EXPECT_EQ(j >= 20, got.dk[s.key(0, j, 0)] == 0);
    EXPECT_EQ(j >= 20, got.dv[s.key(0, j, 0)] == 0);
    EXPECT_EQ(j >= 20, got.dmask[j] == 0);
  }
}

TEST(AttentionBf16, aNaNReachesWhoSeesIt) {
  const Shape s{1, 1, 17, 40, 24, -1, false, false};
  Inputs in(s);
  in.q[s.query(0, 16, 0)] = Bf16(NAN);
  Results got = forward(s, in);
  for (int64_t i = 0; i < s.q_steps; ++i) {
    EXPECT_EQ(i == 16, std::isnan(got.lse[i]));
    EXPECT_EQ(i == 16, std::isnan(got.out[s.query(0, i, 0) + 23]));
  }
}

TEST(AttentionBf16, aHiddenGateLearnsFromAtMostExp64) {
  for (int mask : {0, 4}) {
    Shape s{1, 1, 1, 2, 4, mask, false, 0};
    s.gated = true;
    Inputs in(s);
    // Scores of 0 and 100, of which the lse, 0, knows the first alone.
    for (int64_t d = 0; d < s.head_size; ++d) {
      in.q[d] = Bf16(5.0);
      in.k[s.key(0, 0, 0) + d] = in.v[s.key(0, 0, 0) + d] = Bf16(0.0);
      in.k[s.key(0, 1, 0) + d] = Bf16(10.0);
      in.v[s.key(0, 1, 0) + d] = in.dout[d] = Bf16(0.5);
    }
    in.mask = {Bf16(1.0), Bf16(0.0)};
    Results got = forward(s, in);
    EXPECT_EQ(got.lse[0], 0);
    backward(s, in, got);
    EXPECT_NEAR(static_cast<double>(got.dmask[1]), std::exp(64.0), 0x1p-8 * std::exp(64.0));
    for (Bf16 x : got.dq) EXPECT_EQ(static_cast<double>(x), 0);
  }
}

TEST(AttentionBf16, survivesScoresThatExpCannotHold) {
  const Shape s{1, 1, 7, 129, 8, 4, false, false};
  Inputs in(s);
  for (Bf16 &x : in.mask) x = Bf16(1000.0 * x);
  Results got = forward(s, in);
  const auto exact = plain<double>(s, in);
  const auto naive = plain<float>(s, in);
  expect_near(got.out, exact.out, naive.out, 2, kRounding);
  expect_near(got.lse, exact.lse, naive.lse, 2, 1e-5);
  backward(s, in, got);
  expect_near(got.dv, exact.dv, naive.dv, 3, kRounding);
}

}  // namespace
