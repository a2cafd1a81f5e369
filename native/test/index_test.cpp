// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class Index : public testing::Test {};
TYPED_TEST_SUITE(Index, FloatTypes);

// count, rows, cols
constexpr int64_t kShapes[][3] = {{1, 1, 1},     {7, 3, 17},     {33, 301, 1},    {301, 7, 33},
                                  {17, 33, 301}, {3001, 33, 17}, {1001, 17, 130}, {40001, 301, 1},
                                  {3, 7001, 7},  {301, 301, 129}};

TYPED_TEST(Index, gatherTakesRows) {
  using T = TypeParam;
  for (const auto &[count, rows, cols] : kShapes) {
    const auto table = extreme_data<T>(rows * cols);
    const auto index = random_index(count, rows);
    const auto y =
        output_of<T>(count * cols, [&, n = count, r = rows, k = cols](const Machine &m, T *to) {
          return PND_ON(m, pnd_gather, type_of<T>(), to, table.data(), index.data(), n, r, k);
        });
    std::vector<T> want(count * cols);
    for (int64_t i = 0; i < count * cols; ++i) want[i] = table[index[i / cols] * cols + i % cols];
    expect_equal(y, want);
  }
}

TEST(Index, gatherTakesRowsOfAnyType) {
  for (const auto &[count, rows, cols] : kShapes) {
    const auto numbers = random_index(rows * cols, 1u << 31);
    const auto *halves = reinterpret_cast<const uint16_t *>(numbers.data());
    const auto index = random_index(count, rows);
    const auto whole =
        output_of<int32_t>(count * cols, [&, n = count, r = rows, k = cols](auto &m, int32_t *to) {
          return PND_ON(m, pnd_gather, PND_I32, to, numbers.data(), index.data(), n, r, k);
        });
    const auto half =
        output_of<uint16_t>(count * cols, [&, n = count, r = rows, k = cols](auto &m, auto *to) {
          return PND_ON(m, pnd_gather, PND_BF16, to, halves, index.data(), n, r, k);
        });
    for (int64_t i = 0; i < count * cols; ++i) {
      const int64_t from = index[i / cols] * cols + i % cols;
      ASSERT_EQ(whole[i], numbers[from]);
      ASSERT_EQ(half[i], halves[from]);
    }
  }
}

TYPED_TEST(Index, scatterAddAddsInTheOrderOfTheIndex) {
  using T = TypeParam;
  for (const auto &[count, rows, cols] : kShapes) {
    for (uint32_t used : {static_cast<uint32_t>(rows), 1u}) {
      auto x = random_data<T>(count * cols);
      x[0] = -T{0};
      const auto index = random_index(count, used);
      const auto table =
          output_of<T>(rows * cols, [&, n = count, r = rows, k = cols](const Machine &m, T *to) {
            return PND_ON(m, pnd_scatter_add, type_of<T>(), to, x.data(), index.data(), n, r, k);
          });
      std::vector<T> want(rows * cols);
      for (int64_t i = 0; i < count * cols; ++i) want[index[i / cols] * cols + i % cols] += x[i];
      SCOPED_TRACE(testing::Message() << count << " " << rows << " " << cols);
      expect_equal(table, want);
    }
  }
}

TYPED_TEST(Index, oneHotMarksOneClassOrNone) {
  using T = TypeParam;
  for (const auto &[count, ignored, classes] : kShapes) {
    auto index = random_index(count, classes);
    for (size_t i = 0; i < index.size(); i += 5) index[i] = -1;
    const auto y =
        output_of<T>(count * classes, [&, n = count, k = classes](const Machine &m, T *to) {
          return PND_ON(m, pnd_one_hot, type_of<T>(), to, index.data(), n, k);
        });
    std::vector<T> want(count * classes);
    for (int64_t n = 0; n < count; ++n) {
      if (index[n] >= 0) want[n * classes + index[n]] = 1;
    }
    expect_equal(y, want);
  }
}

TEST(Index, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> x(64), y(64);
  std::vector<int32_t> index = {0, 3, 1, 7};
  pnd_context *c = m.context;
  const auto gather = [&](const int32_t *at, int64_t count, int64_t rows) {
    return pnd_gather(c, 0, y.data(), x.data(), at, count, rows, 8);
  };
  EXPECT_EQ(PND_OK, gather(index.data(), 4, 8));
  expect_refused(found(gather(index.data(), 4, 7), c), m,
                 "gather: index[3] = 7 must lie in [0, 7)");
  index[1] = -1;
  expect_refused(found(gather(index.data(), 4, 8), c), m, "index[1] = -1");
  expect_refused(gather(nullptr, 4, 8), m, "index is null");
  expect_refused(gather(index.data(), 0, 8), m, "count = 0");
  expect_refused(gather(reinterpret_cast<int32_t *>(y.data()), 4, 8), m, "overlaps");
  expect_refused(found(pnd_scatter_add(c, 0, y.data(), x.data(), index.data(), 4, 8, 8), c), m,
                 "index[1] = -1 must lie in [0, 8)");
  expect_refused(pnd_scatter_add(c, 0, x.data(), x.data(), index.data(), 4, 8, 8), m, "overlaps");
  EXPECT_EQ(PND_OK, pnd_one_hot(c, 0, y.data(), index.data(), 4, 8));
  expect_refused(found(pnd_one_hot(c, 0, y.data(), index.data(), 4, 7), c), m, "index[3] = 7");
  index[1] = -2;
  expect_refused(found(pnd_one_hot(c, 0, y.data(), index.data(), 4, 8), c), m,
                 "must lie in [-1, 8)");
}

}  // namespace
