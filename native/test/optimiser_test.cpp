// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class Optimiser : public testing::Test {};
TYPED_TEST_SUITE(Optimiser, FloatTypes);

struct Adam {
  double beta1, beta2, eps, decay;
};

// One step in type U on copies of p, m, v.
template <class U, class T>
std::vector<std::vector<U>> adamw(const std::vector<std::vector<T>> &start, const std::vector<T> &g,
                                  T rate, T scale, int32_t t, Adam a) {
  std::vector<std::vector<U>> y;
  for (const auto &x : start) y.emplace_back(x.begin(), x.end());
  const U b1 = static_cast<U>(a.beta1), b2 = static_cast<U>(a.beta2);
  for (size_t i = 0; i < g.size(); ++i) {
    const U d = static_cast<U>(scale) * g[i];
    U &p = y[0][i], &m = y[1][i], &v = y[2][i];
    m = b1 * m + (1 - b1) * d;
    v = b2 * v + (1 - b2) * (d * d);
    const U up = m / (1 - std::pow(b1, static_cast<U>(t)));
    const U down = std::sqrt(v / (1 - std::pow(b2, static_cast<U>(t)))) + static_cast<U>(a.eps);
    p -= static_cast<U>(rate) * (up / down + static_cast<U>(a.decay) * p);
  }
  return y;
}

TYPED_TEST(Optimiser, adamwMatchesItsFormulaStepAfterStep) {
  using T = TypeParam;
  const Adam a = {0.9, 0.999, 1e-8, 0.01};
  for (int64_t n : {1, 3, 7, 17, 33, 301, 100003}) {
    const T rate = T(1e-3), scale = T(0.5);
    std::vector<std::vector<T>> state = {random_data<T>(n, 1), std::vector<T>(n),
                                         std::vector<T>(n)};
    for (int32_t t : {1, 2, 3, 1000}) {
      if (t == 1000) {
        state[2] = random_data<T>(n, 5);
        for (T &v : state[2]) v = v * v + T(0.1);
      }
      const auto g = random_data<T>(n, static_cast<uint32_t>(t) + 7);
      const auto next = outputs_of<T>(
          {n, n, n},
          [&](const Machine &m, std::vector<T *> x) {
            return PND_ON(m, pnd_adamw, type_of<T>(), x[0], x[1], x[2], g.data(), &rate, &t, &scale,
                          n, a.beta1, a.beta2, a.eps, a.decay);
          },
          state);
      const auto exact = adamw<long double>(state, g, rate, scale, t, a);
      const auto plain = adamw<T>(state, g, rate, scale, t, a);
      for (int i = 0; i < 3; ++i) expect_close(next[i], exact[i], plain[i]);
      // Two ULP of the largest of the parameter, its change, and the rate.
      for (int64_t i = 0; i < n && std::is_same_v<T, float>; ++i) {
        const T change = std::abs(next[0][i] - state[0][i]);
        const T size = std::max({std::abs(state[0][i]), change, rate});
        ASSERT_LE(std::abs(next[0][i] - exact[0][i]), 2 * ulp_of(size)) << t << " " << i;
      }
      state = next;
    }
  }
}

// beta^t by squaring is the same number everywhere and as good as pow.
TYPED_TEST(Optimiser, adamwCorrectsTheStartForAnyStep) {
  using T = TypeParam;
  const T rate = 1, scale = 1, g = T(0.3);
  for (int32_t t : {1, 2, 37, 1 << 20, INT32_MAX}) {
    const auto next = outputs_of<T>({1, 1, 1},
                                    [&](const Machine &m, std::vector<T *> x) {
                                      return PND_ON(m, pnd_adamw, type_of<T>(), x[0], x[1], x[2],
                                                    &g, &rate, &t, &scale, 1, 0.9, 0.999, 0, 0);
                                    },
                                    {{T{0}}, {T{0}}, {T{0}}});
    const long double up = 0.1L * g / (1 - std::pow(0.9L, (long double)t));
    const long double down = std::sqrt(0.001L * g * g / (1 - std::pow(0.999L, (long double)t)));
    EXPECT_NEAR(-up / down, next[0][0], 1e-6 * up / down);
  }
}

TYPED_TEST(Optimiser, sgdMatchesItsFormula) {
  using T = TypeParam;
  for (int64_t n : {1, 3, 7, 17, 33, 301, 100003}) {
    const T rate = T(0.1), scale = T(0.7), momentum = T(0.9), decay = T(0.01);
    const std::vector<std::vector<T>> state = {random_data<T>(n, 1), random_data<T>(n, 2)};
    const auto g = random_data<T>(n, 3);
    const auto next = outputs_of<T>(
        {n, n},
        [&](const Machine &m, std::vector<T *> x) {
          return PND_ON(m, pnd_sgd, type_of<T>(), x[0], x[1], g.data(), &rate, &scale, n, momentum,
                        decay);
        },
        state);
    const auto formula = [&](auto zero) {
      using U = decltype(zero);
      std::vector<std::vector<U>> y(2, std::vector<U>(n));
      for (int64_t i = 0; i < n; ++i) {
        y[1][i] = (U)momentum * state[1][i] + (U)scale * g[i] + (U)decay * state[0][i];
        y[0][i] = state[0][i] - (U)rate * y[1][i];
      }
      return y;
    };
    const auto exact = formula((long double)0);
    const auto plain = formula(T{0});
    for (int i = 0; i < 2; ++i) expect_close(next[i], exact[i], plain[i]);
  }
}

TEST(Optimiser, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> p(8), first(8), second(8), g(8);
  const float rate = 1, scale = 1;
  int32_t step = 1;
  const auto adam = [&](float *v, const float *gradient, int64_t n, double beta1, double eps) {
    return pnd_adamw(m.context, 0, p.data(), first.data(), v, gradient, &rate, &step, &scale, n,
                     beta1, 0.999, eps, 0);
  };
  EXPECT_EQ(PND_OK, adam(second.data(), g.data(), 8, 0.9, 1e-8));
  expect_refused(adam(second.data(), g.data(), 8, 1, 1e-8), m, "adamw: beta1 = 1 must lie");
  expect_refused(adam(second.data(), g.data(), 8, -0.1, 1e-8), m, "beta1");
  expect_refused(adam(second.data(), g.data(), 8, 0.9, -1), m, "eps = -1");
  expect_refused(adam(first.data(), g.data(), 8, 0.9, 1e-8), m, "second overlaps first");
  expect_refused(adam(second.data(), p.data(), 8, 0.9, 1e-8), m, "gradient overlaps parameter");
  expect_refused(adam(second.data(), g.data(), 0, 0.9, 1e-8), m, "n = 0");
  for (int32_t bad : {0, -3}) {
    step = bad;
    expect_refused(found(adam(second.data(), g.data(), 8, 0.9, 1e-8), m.context), m, "step[0] = ");
  }
  expect_refused(pnd_sgd(m.context, 0, p.data(), p.data(), g.data(), &rate, &scale, 8, 0.9, 0), m,
                 "velocity overlaps parameter");
  expect_refused(
      pnd_sgd(m.context, 0, p.data(), first.data(), g.data(), nullptr, &scale, 8, 0.9, 0), m,
      "rate is null");
}

}  // namespace
