// SPDX-License-Identifier: Apache-2.0
#include "bf16.h"

namespace {

struct Shape {
  int64_t batch, rows, cols, inner;
  int64_t y_shift = 0, a_shift = 0, b_shift = 0;  // in elements
};

struct Product {
  Shape s;
  bool a_transposed, b_transposed;
  std::vector<Bf16> a, b;

  Product(const Shape &shape, int variant)
      : s(shape),
        a_transposed(variant & 1),
        b_transposed(variant & 2),
        a(random_bf16(s.batch * s.rows * s.inner, 1)),
        b(random_bf16(s.batch * s.inner * s.cols, 2)) {}

  int64_t a_at(int64_t g, int64_t r, int64_t k) const {
    return g * s.rows * s.inner + (a_transposed ? k * s.rows + r : r * s.inner + k);
  }
  int64_t b_at(int64_t g, int64_t k, int64_t c) const {
    return g * s.inner * s.cols + (b_transposed ? c * s.inner + k : k * s.cols + c);
  }

  std::vector<Bf16> run() const {
    std::vector<Bf16> result;
    for (const Machine &m : own_machines()) {
      Placed<Bf16> y(s.batch * s.rows * s.cols, s.y_shift), left(a, s.a_shift), right(b, s.b_shift);
      expect_done(PND_ON(m, pnd_matmul, PND_BF16, y.data(), left.data(), right.data(), s.batch,
                         s.rows, s.cols, s.inner, a_transposed, b_transposed),
                  m);
      keep_or_compare(result, y, m);
    }
    return result;
  }

  // Each element is a sum of floats in any order, rounded once.
  void check(const std::vector<Bf16> &y) const {
    for (int64_t i = 0; i < s.batch * s.rows * s.cols; ++i) {
      const int64_t g = i / s.cols / s.rows, r = i / s.cols % s.rows, c = i % s.cols;
      double sum = 0, size = 0;
      for (int64_t k = 0; k < s.inner; ++k) {
        const double term = static_cast<double>(a[a_at(g, r, k)]) * b[b_at(g, k, c)];
        sum += term;
        size += std::abs(term);
      }
      const double limit = std::abs(sum) * 0x1p-8 + size * static_cast<double>(s.inner) * 0x1p-23;
      ASSERT_LE(std::abs(y[i] - sum), limit)
          << "at " << g << ", " << r << ", " << c << ": " << y[i] << " for " << sum;
    }
  }
};

std::ostream &operator<<(std::ostream &out, const Product &p) {
  return out << "batch " << p.s.batch << " sizes " << p.s.rows << " " << p.s.cols << " "
             << p.s.inner << " shifts " << p.s.y_shift << " " << p.s.a_shift << " " << p.s.b_shift
             << " transposed " << p.a_transposed << " " << p.b_transposed;
}

// Around the sizes of slices, squares and blocks; small and large blocks; sums over several runs of
// depth, of more rows and columns than wait at a time; rows that can be moved 16 bytes at a time
// and rows that cannot.
std::vector<Shape> shapes() {
  return {{1, 1, 1, 1},
          {1, 7, 17, 63},
          {2, 17, 7, 1},
          {1, 64, 64, 64},
          {1, 64, 64, 64, 1, 0, 0},
          {1, 64, 64, 64, 0, 1, 0},
          {1, 64, 64, 64, 0, 0, 1},
          {1, 63, 65, 129},
          {1, 65, 63, 17},
          {1, 129, 1, 64},
          {1, 1, 129, 65},
          {3, 24, 40, 200},
          {3, 24, 40, 200, 4, 4, 4},
          {3, 3, 3, 8},
          {1, 257, 129, 33},
          {2, 136, 264, 168},
          {1, 9, 40, 511},
          {1, 9, 40, 513},
          {1, 521, 3, 515},
          {2, 3, 521, 1026, 1, 1, 1},
          {4, 129, 65, 7, 1, 1, 1}};
}

TEST(MatmulBf16, matchesItsFormula) {
  for (const Shape &shape : shapes()) {
    for (int variant = 0; variant < 4; ++variant) {
      const Product product(shape, variant);
      SCOPED_TRACE(testing::Message() << product);
      product.check(product.run());
      if (HasFailure()) return;
    }
  }
}

TEST(MatmulBf16, aNaNStaysInItsRowAndColumn) {
  for (int variant = 0; variant < 4; ++variant) {
    Product product({2, 40, 72, 50}, variant);
    SCOPED_TRACE(testing::Message() << product);
    product.a[product.a_at(0, 39, 49)] = Bf16(NAN);
    product.b[product.b_at(1, 3, 71)] = Bf16(INFINITY);
    const auto y = product.run();
    for (int64_t r = 0; r < 40; ++r) {
      for (int64_t c = 0; c < 72; ++c) {
        ASSERT_EQ(r == 39, std::isnan(y[r * 72 + c])) << r << ", " << c;
        ASSERT_EQ(c != 71, std::isfinite(y[(40 + r) * 72 + c])) << r << ", " << c;
      }
    }
  }
}

TEST(MatmulBf16, roundsHalvesToEven) {
  // 1 + 2^-8 lies between two bf16, as does 1 + 3 2^-8.
  const std::vector<double> want = {1, 1 + 0x1p-6, -1, -1 - 0x1p-6};
  for (int64_t row = 0; row < 4; ++row) {
    Product product({1, 1, 1, 2}, 0);
    const double sign = row < 2 ? 1 : -1, odd = row % 2 == 0 ? 1 : 3;
    product.a = {Bf16(sign), Bf16(sign * odd)};
    product.b = {Bf16(1), Bf16(0x1p-8)};
    EXPECT_EQ(product.run()[0], static_cast<float>(want[row]));
  }
}

TEST(MatmulBf16, aSubnormalNumberCountsAsItselfOrAsZero) {
  for (int64_t inner : {1, 2, 33}) {
    Product product({1, 1, 1, inner}, 0);
    product.a.assign(inner, Bf16(0x1p-130));
    product.b.assign(inner, Bf16(1));
    const float y = product.run()[0];
    EXPECT_TRUE(y == 0 || y == static_cast<float>(inner) * 0x1p-130f) << inner << ": " << y;
  }
}

}  // namespace
