// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class CrossEntropy : public testing::Test {};
TYPED_TEST_SUITE(CrossEntropy, FloatTypes);

struct Shape {
  int64_t rows, classes, width;
};

// Around the blocks of rows (192), classes (128) and depth (256), and of one.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 7, 3},     {3, 33, 17},   {7, 128, 7},
                             {33, 129, 33}, {301, 17, 8},  {200, 301, 5}, {17, 300, 257},
                             {193, 2, 33},  {400, 140, 16}};

template <class T>
struct Inputs {
  std::vector<T> x, weight, dloss;
  std::vector<int32_t> target;

  explicit Inputs(const Shape &s)
      : x(random_data<T>(s.rows * s.width, 1)),
        weight(random_data<T>(s.classes * s.width, 2)),
        dloss(random_data<T>(s.rows, 3)),
        target(random_index(s.rows, static_cast<uint32_t>(s.classes))) {}

  // Two rows of three lose their target, and what they hold is no number.
  void drop_targets(const Shape &s) {
    for (int64_t r = 0; r < s.rows; ++r) {
      if (r % 3 == 1) continue;
      target[r] = -1;
      std::fill_n(x.begin() + r * s.width, s.width, std::nan(""));
    }
  }
};

template <class T>
std::vector<std::vector<T>> forward(const Shape &s, const Inputs<T> &in) {
  return outputs_of<T>({s.rows, s.rows}, [&](const Machine &m, std::vector<T *> to) {
    return PND_ON(m, pnd_cross_entropy, type_of<T>(), to[0], to[1], in.x.data(), in.weight.data(),
                  in.target.data(), s.rows, s.classes, s.width);
  });
}

template <class T>
std::vector<std::vector<T>> backward(const Shape &s, const Inputs<T> &in,
                                     const std::vector<T> &lse) {
  return outputs_of<T>({s.rows * s.width, s.classes * s.width},
                       [&](const Machine &m, std::vector<T *> to) {
                         return PND_ON(m, pnd_cross_entropy_backward, type_of<T>(), to[0], to[1],
                                       in.dloss.data(), in.x.data(), in.weight.data(),
                                       in.target.data(), lse.data(), s.rows, s.classes, s.width);
                       });
}

// loss, lse, dx, dweight by the header's formula, computed in R.
template <class R, class T>
std::vector<std::vector<R>> plain(const Shape &s, const Inputs<T> &in) {
  std::vector<R> loss(s.rows), lse(s.rows), dx(s.rows * s.width), dweight(s.classes * s.width);
  std::vector<R> logits(s.classes);
  for (int64_t r = 0; r < s.rows; ++r) {
    if (in.target[r] < 0) continue;
    R largest = -std::numeric_limits<R>::infinity(), sum = 0;
    for (int64_t c = 0; c < s.classes; ++c) {
      logits[c] = 0;
      for (int64_t k = 0; k < s.width; ++k) {
        logits[c] += static_cast<R>(in.x[r * s.width + k]) * in.weight[c * s.width + k];
      }
      largest = std::max(largest, logits[c]);
    }
    for (R x : logits) sum += std::exp(x - largest);
    lse[r] = largest + std::log(sum);
    loss[r] = lse[r] - logits[in.target[r]];
    for (int64_t c = 0; c < s.classes; ++c) {
      const R p = in.dloss[r] * (std::exp(logits[c] - lse[r]) - (c == in.target[r] ? 1 : 0));
      for (int64_t k = 0; k < s.width; ++k) {
        dx[r * s.width + k] += p * in.weight[c * s.width + k];
        dweight[c * s.width + k] += p * in.x[r * s.width + k];
      }
    }
  }
  return {loss, lse, dx, dweight};
}

TYPED_TEST(CrossEntropy, matchesItsFormula) {
  using T = TypeParam;
  for (const Shape &s : kShapes) {
    for (bool dropped : {false, true}) {
      SCOPED_TRACE(testing::Message() << s.rows << " rows, " << s.classes << " classes, width "
                                      << s.width << ", dropped " << dropped);
      Inputs<T> in(s);
      if (dropped) in.drop_targets(s);
      const auto exact = plain<long double>(s, in);
      const auto naive = plain<T>(s, in);
      const auto loss = forward(s, in);
      expect_close(loss[0], exact[0], naive[0]);
      expect_close(loss[1], exact[1], naive[1]);
      const auto slopes = backward(s, in, loss[1]);
      if (s.classes == 1) continue;  // p is a difference of equal numbers
      expect_close(slopes[0], exact[2], naive[2], 0, 3);
      expect_close(slopes[1], exact[3], naive[3], 0, 3);
    }
  }
}

TYPED_TEST(CrossEntropy, oneClassGivesNoLossAndNoSlope) {
  using T = TypeParam;
  const Shape s{33, 1, 17};
  const Inputs<T> in(s);
  const auto loss = forward(s, in);
  EXPECT_EQ(loss[0], std::vector<T>(s.rows, 0));
  const auto slopes = backward(s, in, loss[1]);
  for (T x : slopes[0]) EXPECT_EQ(x, 0);
  for (T x : slopes[1]) EXPECT_EQ(x, 0);
}

TYPED_TEST(CrossEntropy, rowsWithoutATargetGiveZeros) {
  using T = TypeParam;
  const Shape s{33, 17, 7};
  Inputs<T> in(s);
  std::fill(in.target.begin(), in.target.end(), -1);
  const auto loss = forward(s, in);
  expect_equal(loss[0], std::vector<T>(s.rows, 0));
  expect_equal(loss[1], std::vector<T>(s.rows, 0));
  const auto slopes = backward(s, in, loss[1]);
  expect_equal(slopes[0], std::vector<T>(s.rows * s.width, 0));
  expect_equal(slopes[1], std::vector<T>(s.classes * s.width, 0));
}

TYPED_TEST(CrossEntropy, rowsWithoutATargetChangeNoBit) {
  using T = TypeParam;
  const Shape few{100, 140, 16}, many{300, 140, 16};
  Inputs<T> in(many), kept(few);
  in.drop_targets(many);
  for (int64_t r = 0; r < few.rows; ++r) {
    std::copy_n(in.x.begin() + (3 * r + 1) * many.width, many.width,
                kept.x.begin() + r * few.width);
    kept.target[r] = in.target[3 * r + 1];
    kept.dloss[r] = in.dloss[3 * r + 1];
  }
  kept.weight = in.weight;
  const auto loss = forward(many, in), kept_loss = forward(few, kept);
  for (int64_t r = 0; r < few.rows; ++r) EXPECT_EQ(loss[1][3 * r + 1], kept_loss[1][r]);
  expect_equal(backward(many, in, loss[1])[1], backward(few, kept, kept_loss[1])[1]);
}

TYPED_TEST(CrossEntropy, survivesLogitsThatExpCannotHold) {
  using T = TypeParam;
  const Shape s{17, 301, 33};
  Inputs<T> in(s);
  for (T &x : in.x) x *= 1000;
  const auto exact = plain<long double>(s, in);
  const auto naive = plain<T>(s, in);
  const auto loss = forward(s, in);
  expect_close(loss[0], exact[0], naive[0]);
  expect_close(loss[1], exact[1], naive[1]);
}

TEST(CrossEntropy, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<double> loss(8), lse(8), x(64), weight(64);
  std::vector<int32_t> target = {0, 3};
  const auto call = [&](double *to, int64_t classes, int64_t width) {
    return pnd_cross_entropy(m.context, PND_F64, to, lse.data(), x.data(), weight.data(),
                             target.data(), 2, classes, width);
  };
  EXPECT_EQ(PND_OK, call(loss.data(), 4, 2));
  expect_refused(found(call(loss.data(), 3, 2), m.context), m, "target[1] = 3");
  expect_refused(call(loss.data(), 4, 0), m, "width = 0");
  expect_refused(call(x.data(), 4, 2), m, "x overlaps loss");
}

}  // namespace
