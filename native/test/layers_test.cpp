// SPDX-License-Identifier: Apache-2.0
// softmax, layer_norm, rms_norm, gelu and silu against their formulas.
#include "machines.h"

namespace {

template <class T>
class Layers : public testing::Test {};
TYPED_TEST_SUITE(Layers, FloatTypes);

// rows, cols
constexpr int64_t kShapes[][2] = {{1, 1},   {3, 7},    {7, 3},   {17, 33},  {33, 17},  {301, 1},
                                  {1, 301}, {64, 128}, {65, 64}, {301, 40}, {3, 5003}, {2100, 5}};

enum class Data { kRandom, kShifted, kStructured, kHuge };
constexpr Data kKinds[] = {Data::kRandom, Data::kShifted, Data::kStructured, Data::kHuge};

template <class T>
std::vector<T> data_of(Data kind, int64_t n, uint32_t seed = 1) {
  auto x = random_data<T>(n, seed);
  for (int64_t i = 0; i < n; ++i) {
    if (kind == Data::kShifted) x[i] = x[i] * T(3) + T(1000);
    if (kind == Data::kStructured) x[i] = static_cast<T>(i % 7 - 3) * T(0.25);
    if (kind == Data::kHuge) x[i] *= T(1e12);
  }
  return x;
}

// A formula in type U, on the rows of the arrays x; returns one array per output.
template <class U>
using Arrays = std::vector<std::vector<U>>;

template <class U, class T>
Arrays<U> widened(const Arrays<T> &x) {
  Arrays<U> y;
  for (const auto &a : x) y.emplace_back(a.begin(), a.end());
  return y;
}

// Compares each output with the formula in long double and in the type itself.
template <class T, class Formula>
void expect_formula(const Arrays<T> &got, const Arrays<T> &in, Formula formula,
                    long double largest = 0) {
  const Arrays<long double> exact = formula(widened<long double>(in));
  const Arrays<T> plain = formula(in);
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "output " << i);
    expect_close(got[i], exact[i], plain[i], largest);
  }
}

TYPED_TEST(Layers, softmaxMatchesItsDefinition) {
  using T = TypeParam;
  for (const auto &[rows, cols] : kShapes) {
    for (Data kind : kKinds) {
      // The same few numbers thousands of times: the plain loop's errors may cancel by chance.
      if (kind == Data::kStructured && cols > 1000) continue;
      const int64_t n = rows * cols;
      const auto x = data_of<T>(kind, n);
      const auto y = output_of<T>(n, [&, r = rows, c = cols](const Machine &m, T *to) {
        return PND_ON(m, pnd_softmax, type_of<T>(), to, x.data(), r, c);
      });
      SCOPED_TRACE(testing::Message() << rows << " x " << cols);
      expect_formula<T>({y}, {x}, [k = cols](const auto &in) {
        auto out = in;
        using U = typename std::decay_t<decltype(in)>::value_type::value_type;
        for (size_t r = 0; r < out[0].size(); r += k) {
          U most = in[0][r], sum = 0;
          for (int64_t c = 0; c < k; ++c) most = std::max(most, in[0][r + c]);
          for (int64_t c = 0; c < k; ++c) sum += out[0][r + c] = std::exp(in[0][r + c] - most);
          for (int64_t c = 0; c < k; ++c) out[0][r + c] /= sum;
        }
        return out;
      });
      const auto dy = data_of<T>(Data::kRandom, n, 2);
      const auto dx = output_of<T>(n, [&, r = rows, c = cols](const Machine &m, T *to) {
        return PND_ON(m, pnd_softmax_backward, type_of<T>(), to, dy.data(), y.data(), r, c);
      });
      expect_formula<T>({dx}, {dy, y}, [k = cols](const auto &in) {
        auto out = in;
        using U = typename std::decay_t<decltype(in)>::value_type::value_type;
        for (size_t r = 0; r < out[0].size(); r += k) {
          U dot = 0;
          for (int64_t c = 0; c < k; ++c) dot += in[0][r + c] * in[1][r + c];
          for (int64_t c = 0; c < k; ++c) out[0][r + c] = in[1][r + c] * (in[0][r + c] - dot);
        }
        return out;
      });
    }
  }
}

TYPED_TEST(Layers, softmaxOfExtremeRows) {
  using T = TypeParam;
  const T inf = std::numeric_limits<T>::infinity(), nan = std::nan("");
  for (int64_t cols : {1, 3, 7, 17, 33, 301}) {
    // -infinity alone; one finite; a NaN among -infinity; a NaN among numbers; +infinity; huge.
    std::vector<T> x(6 * cols, -inf);
    x[cols + cols / 2] = T(3);
    x[2 * cols + cols - 1] = nan;
    for (int64_t c = 0; c < cols; ++c) x[3 * cols + c] = x[4 * cols + c] = T(c);
    x[3 * cols] = nan;
    x[4 * cols + cols / 2] = inf;
    for (int64_t c = 0; c < cols; ++c) {
      x[5 * cols + c] = c % 2 ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
    }
    const auto y = output_of<T>(6 * cols, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_softmax, type_of<T>(), to, x.data(), 6, cols);
    });
    for (int64_t c = 0; c < cols; ++c) {
      ASSERT_EQ(T{0}, y[c]);
      ASSERT_EQ(T(c == cols / 2), y[cols + c]);
      for (int r = 2; r < 5; ++r) ASSERT_TRUE(std::isnan(y[r * cols + c])) << r;
      ASSERT_NEAR(c % 2 ? 0.0 : 1.0 / ((cols + 1) / 2), y[5 * cols + c], 1e-7);
    }
  }
}

TYPED_TEST(Layers, layerNormMatchesItsDefinition) {
  using T = TypeParam;
  const double eps = 1e-5;
  for (const auto &[rows, cols] : kShapes) {
    for (Data kind : kKinds) {
      // The same few numbers thousands of times: the plain loop's errors may cancel by chance.
      if (kind == Data::kStructured && cols > 1000) continue;
      const int64_t n = rows * cols;
      const auto x = data_of<T>(kind, n), gain = random_data<T>(cols, 2),
                 bias = random_data<T>(cols, 3);
      const auto out = outputs_of<T>(
          {n, rows, rows}, [&, r = rows, c = cols](const Machine &m, std::vector<T *> to) {
            return PND_ON(m, pnd_layer_norm, type_of<T>(), to[0], to[1], to[2], x.data(),
                          gain.data(), bias.data(), r, c, eps);
          });
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << " " << static_cast<int>(kind));
      expect_formula<T>(out, {x, gain, bias}, [&, rows = rows, k = cols](const auto &in) {
        using U = typename std::decay_t<decltype(in)>::value_type::value_type;
        Arrays<U> y = {in[0], std::vector<U>(rows), std::vector<U>(rows)};
        for (int64_t r = 0; r < rows; ++r) {
          const U *row = in[0].data() + r * k;
          U mean = 0, squares = 0;
          for (int64_t c = 0; c < k; ++c) mean += row[c];
          mean /= static_cast<U>(k);
          for (int64_t c = 0; c < k; ++c) squares += (row[c] - mean) * (row[c] - mean);
          const U rstd =
              1 / std::sqrt(squares / static_cast<U>(k) + static_cast<U>(static_cast<T>(eps)));
          for (int64_t c = 0; c < k; ++c)
            y[0][r * k + c] = (row[c] - mean) * rstd * in[1][c] + in[2][c];
          y[1][r] = mean, y[2][r] = rstd;
        }
        return y;
      });
      const auto dy = random_data<T>(n, 4);
      const auto back = outputs_of<T>(
          {n, cols, cols}, [&, r = rows, c = cols](const Machine &m, std::vector<T *> to) {
            return PND_ON(m, pnd_layer_norm_backward, type_of<T>(), to[0], to[1], to[2], dy.data(),
                          x.data(), gain.data(), out[1].data(), out[2].data(), r, c);
          });
      expect_formula<T>(
          back, {dy, x, gain, out[1], out[2]}, [rows = rows, k = cols](const auto &in) {
            using U = typename std::decay_t<decltype(in)>::value_type::value_type;
            Arrays<U> y = {in[0], std::vector<U>(k), std::vector<U>(k)};
            for (int64_t r = 0; r < rows; ++r) {
              const U mean = in[3][r], rstd = in[4][r];
              U level = 0, slope = 0;
              for (int64_t c = 0; c < k; ++c) {
                const U u = (in[1][r * k + c] - mean) * rstd, g = in[0][r * k + c] * in[2][c];
                level += g, slope += g * u;
                y[1][c] += in[0][r * k + c] * u;
                y[2][c] += in[0][r * k + c];
              }
              level /= static_cast<U>(k), slope /= static_cast<U>(k);
              for (int64_t c = 0; c < k; ++c) {
                const U u = (in[1][r * k + c] - mean) * rstd;
                y[0][r * k + c] = rstd * (in[0][r * k + c] * in[2][c] - level - u * slope);
              }
            }
            return y;
          });
    }
  }
}

TYPED_TEST(Layers, layerNormOfAConstantRowIsBias) {
  using T = TypeParam;
  for (int64_t cols : {1, 3, 7, 17, 33, 301}) {
    for (double value : {0.1, -1e6 / 3, 1e20 / 7, 0.0}) {
      const std::vector<T> x(cols, static_cast<T>(value));
      const auto gain = random_data<T>(cols, 2), bias = random_data<T>(cols, 3);
      const auto out = outputs_of<T>({cols, 1, 1}, [&](const Machine &m, std::vector<T *> to) {
        return PND_ON(m, pnd_layer_norm, type_of<T>(), to[0], to[1], to[2], x.data(), gain.data(),
                      bias.data(), 1, cols, 1e-5);
      });
      expect_equal(out[0], bias);
      EXPECT_EQ(static_cast<T>(value), out[1][0]);
    }
  }
}

// dgain and dbias of 200 rows: four chunks, each upwards, added chunk by chunk.
TYPED_TEST(Layers, sumsOverRowsRunInChunksOf64) {
  using T = TypeParam;
  if (!has_header_order()) GTEST_SKIP() << "a CUDA library has orders of its own";
  const int64_t rows = 200, cols = 33, n = rows * cols;
  const auto x = random_data<T>(n, 1), dy = random_data<T>(n, 2), gain = random_data<T>(cols, 3);
  const auto mean = random_data<T>(rows, 4), rstd = random_data<T>(rows, 5);
  const auto layer = outputs_of<T>({n, cols, cols}, [&](const Machine &m, std::vector<T *> to) {
    return PND_ON(m, pnd_layer_norm_backward, type_of<T>(), to[0], to[1], to[2], dy.data(),
                  x.data(), gain.data(), mean.data(), rstd.data(), rows, cols);
  });
  const auto rms = outputs_of<T>({n, cols}, [&](const Machine &m, std::vector<T *> to) {
    return PND_ON(m, pnd_rms_norm_backward, type_of<T>(), to[0], to[1], dy.data(), x.data(),
                  gain.data(), rstd.data(), rows, cols);
  });
  std::vector<T> dgain(cols), dbias(cols), rms_dgain(cols);
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t start = 0; start < rows; start += 64) {
      T a = 0, b = 0, k = 0;
      for (int64_t r = start; r < std::min(rows, start + 64); ++r) {
        const int64_t i = r * cols + c;
        a = std::fma(dy[i], (x[i] - mean[r]) * rstd[r], a);
        b += dy[i];
        k = std::fma(dy[i], x[i] * rstd[r], k);
      }
      dgain[c] += a, dbias[c] += b, rms_dgain[c] += k;
    }
  }
  expect_equal(layer[1], dgain);
  expect_equal(layer[2], dbias);
  expect_equal(rms[1], rms_dgain);
}

TYPED_TEST(Layers, rmsNormMatchesItsDefinition) {
  using T = TypeParam;
  const double eps = 1e-6;
  for (const auto &[rows, cols] : kShapes) {
    for (Data kind : kKinds) {
      // The same few numbers thousands of times: the plain loop's errors may cancel by chance.
      if (kind == Data::kStructured && cols > 1000) continue;
      const int64_t n = rows * cols;
      const auto x = data_of<T>(kind, n), gain = random_data<T>(cols, 2);
      const auto out =
          outputs_of<T>({n, rows}, [&, r = rows, c = cols](const Machine &m, std::vector<T *> to) {
            return PND_ON(m, pnd_rms_norm, type_of<T>(), to[0], to[1], x.data(), gain.data(), r, c,
                          eps);
          });
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << " " << static_cast<int>(kind));
      expect_formula<T>(out, {x, gain}, [&, rows = rows, k = cols](const auto &in) {
        using U = typename std::decay_t<decltype(in)>::value_type::value_type;
        Arrays<U> y = {in[0], std::vector<U>(rows)};
        for (int64_t r = 0; r < rows; ++r) {
          U squares = 0;
          for (int64_t c = 0; c < k; ++c) squares += in[0][r * k + c] * in[0][r * k + c];
          y[1][r] =
              1 / std::sqrt(squares / static_cast<U>(k) + static_cast<U>(static_cast<T>(eps)));
          for (int64_t c = 0; c < k; ++c) y[0][r * k + c] = in[0][r * k + c] * y[1][r] * in[1][c];
        }
        return y;
      });
      const auto dy = random_data<T>(n, 4);
      const auto back =
          outputs_of<T>({n, cols}, [&, r = rows, c = cols](const Machine &m, std::vector<T *> to) {
            return PND_ON(m, pnd_rms_norm_backward, type_of<T>(), to[0], to[1], dy.data(), x.data(),
                          gain.data(), out[1].data(), r, c);
          });
      // dx is a difference of terms of this size.
      long double largest = 0;
      for (int64_t i = 0; i < n; ++i) {
        largest =
            std::max(largest, std::abs((long double)out[1][i / cols] * dy[i] * gain[i % cols]));
      }
      expect_formula<T>(
          back, {dy, x, gain, out[1]},
          [rows = rows, k = cols](const auto &in) {
            using U = typename std::decay_t<decltype(in)>::value_type::value_type;
            Arrays<U> y = {in[0], std::vector<U>(k)};
            for (int64_t r = 0; r < rows; ++r) {
              const U scale = in[3][r];
              U slope = 0;
              for (int64_t c = 0; c < k; ++c) {
                const int64_t i = r * k + c;
                slope += in[0][i] * in[2][c] * (in[1][i] * scale);
                y[1][c] += in[0][i] * (in[1][i] * scale);
              }
              slope /= static_cast<U>(k);
              for (int64_t c = 0; c < k; ++c) {
                const int64_t i = r * k + c;
                y[0][i] = scale * (in[0][i] * in[2][c] - in[1][i] * scale * slope);
              }
            }
            return y;
          },
          largest);
    }
  }
}

template <class U>
U gelu(U x) {
  const U k = std::sqrt(2 / std::acos(U(-1)));
  return x / 2 * (1 + std::tanh(k * (x + U(0.044715) * (x * x * x))));
}
template <class U>
U gelu_slope(U x) {
  const U k = std::sqrt(2 / std::acos(U(-1)));
  const U bend = std::tanh(k * (x + U(0.044715) * (x * x * x)));
  return U(0.5) * (1 + bend) + x / 2 * (1 - bend * bend) * k * (1 + 3 * U(0.044715) * x * x);
}
template <class U>
U silu(U x) {
  return x / (1 + std::exp(-x));
}
template <class U>
U silu_slope(U x) {
  const U s = 1 / (1 + std::exp(-x));
  return s * (1 + x * (1 - s));
}

TYPED_TEST(Layers, activationsMatchTheirDefinitions) {
  using T = TypeParam;
  const auto each = [](auto f) {
    return [f](const auto &in) {
      auto out = in;
      for (size_t i = 0; i < in[0].size(); ++i) out[0][i] = f(in[0][i]);
      return out;
    };
  };
  const auto times = [](auto f) {
    return [f](const auto &in) {
      auto out = in;
      for (size_t i = 0; i < in[0].size(); ++i) out[0][i] = in[0][i] * f(in[1][i]);
      return out;
    };
  };
  for (int64_t n : {1, 3, 7, 17, 33, 301, 40003}) {
    for (double scale : {0.01, 1.0, 4.0}) {
      auto x = random_data<T>(n);
      for (T &v : x) v = static_cast<T>(v * scale);
      const auto dy = random_data<T>(n, 2);
      const auto forward = [&](const char *name, decltype(pnd_gelu) *f) {
        return output_of<T>(n, [&](const Machine &m, T *to) {
          return m.function(name, f)(m.context, type_of<T>(), to, x.data(), n);
        });
      };
      const auto backward = [&](const char *name, decltype(pnd_gelu_backward) *f) {
        return output_of<T>(n, [&](const Machine &m, T *to) {
          return m.function(name, f)(m.context, type_of<T>(), to, dy.data(), x.data(), n);
        });
      };
      SCOPED_TRACE(testing::Message() << n << " " << scale);
      expect_formula<T>({forward("pnd_gelu", &pnd_gelu)}, {x},
                        each([](auto v) { return gelu(v); }));
      expect_formula<T>({forward("pnd_silu", &pnd_silu)}, {x},
                        each([](auto v) { return silu(v); }));
      expect_formula<T>({backward("pnd_gelu_backward", &pnd_gelu_backward)}, {dy, x},
                        times([](auto v) { return gelu_slope(v); }));
      expect_formula<T>({backward("pnd_silu_backward", &pnd_silu_backward)}, {dy, x},
                        times([](auto v) { return silu_slope(v); }));
    }
  }
}

TYPED_TEST(Layers, activationsHaveTheirLimits) {
  using T = TypeParam;
  using L = std::numeric_limits<T>;
  const std::vector<T> x = {
      L::infinity(), -L::infinity(), L::max(), L::lowest(),    L::quiet_NaN(), 0,
      -T{0},         T(1e20),        T(-1e20), L::denorm_min()};
  const std::vector<T> dy(x.size(), T{2});
  const int64_t n = static_cast<int64_t>(x.size());
  const std::vector<T> y = {
      L::infinity(), -T{0}, L::max(),           -T{0}, L::quiet_NaN(), 0, -T{0},
      T(1e20),       -T{0}, L::denorm_min() / 2};
  const std::vector<T> slope = {2, 0, 2, 0, L::quiet_NaN(), 1, 1, 2, 0, 1};
  for (bool is_gelu : {true, false}) {
    const auto got = output_of<T>(n, [&](const Machine &m, T *to) {
      return is_gelu ? PND_ON(m, pnd_gelu, type_of<T>(), to, x.data(), n)
                     : PND_ON(m, pnd_silu, type_of<T>(), to, x.data(), n);
    });
    const auto dx = output_of<T>(n, [&](const Machine &m, T *to) {
      return is_gelu ? PND_ON(m, pnd_gelu_backward, type_of<T>(), to, dy.data(), x.data(), n)
                     : PND_ON(m, pnd_silu_backward, type_of<T>(), to, dy.data(), x.data(), n);
    });
    expect_equal(got, y);
    for (int64_t i = 0; i < n; ++i) {
      if (std::isnan(slope[i])) {
        EXPECT_TRUE(std::isnan(dx[i]));
      } else {
        EXPECT_EQ(slope[i], dx[i]) << x[i];
      }
    }
  }
}

TEST(Layers, refuseBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> x(64), y(64), gain(8), bias(8), mean(8), rstd(8), dgain(8);
  pnd_context *c = m.context;
  const auto norm = [&](float *to, float *means, const float *gains, int64_t rows, double eps) {
    return pnd_layer_norm(c, 0, to, means, rstd.data(), x.data(), gains, bias.data(), rows, 8, eps);
  };
  EXPECT_EQ(PND_OK, norm(y.data(), mean.data(), gain.data(), 8, 0));
  expect_refused(norm(y.data(), mean.data(), gain.data(), 8, -1e-5), m, "layer_norm: eps = -1e-05");
  expect_refused(norm(y.data(), mean.data(), gain.data(), 8, std::nan("")), m, "eps");
  expect_refused(norm(y.data(), mean.data(), nullptr, 8, 0), m, "gain is null");
  expect_refused(norm(y.data(), y.data(), gain.data(), 8, 0), m, "mean overlaps y");
  expect_refused(norm(x.data(), mean.data(), gain.data(), 8, 0), m, "x overlaps y");
  expect_refused(norm(y.data(), mean.data(), gain.data(), 0, 0), m, "rows = 0");
  expect_refused(pnd_layer_norm_backward(c, 0, y.data(), dgain.data(), dgain.data(), x.data(),
                                         x.data(), gain.data(), mean.data(), rstd.data(), 8, 8),
                 m, "dbias overlaps dgain");
  expect_refused(pnd_rms_norm(c, 0, y.data(), mean.data(), x.data(), gain.data(), 8, 8, -1), m,
                 "eps");
  expect_refused(pnd_rms_norm_backward(c, 2, y.data(), dgain.data(), x.data(), x.data(),
                                       gain.data(), mean.data(), 8, 8),
                 m, "i32", PND_UNSUPPORTED);
  expect_refused(pnd_softmax(c, 0, x.data(), x.data(), 8, 8), m, "overlaps");
  expect_refused(pnd_softmax_backward(c, 0, y.data(), nullptr, x.data(), 8, 8), m, "dy is null");
  expect_refused(pnd_gelu(c, 0, y.data(), x.data(), -3), m, "n = -3");
  expect_refused(pnd_silu_backward(c, 0, y.data(), x.data(), y.data(), 8), m, "overlaps");
}

}  // namespace
