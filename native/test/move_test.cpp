// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

template <class T>
class Move : public testing::Test {};
using AnyType = testing::Types<float, double, int32_t>;
TYPED_TEST_SUITE(Move, AnyType);

// Elements that differ, with awkward bit patterns among them.
template <class T>
std::vector<T> elements(int64_t n) {
  std::vector<T> x(n);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(i - 5);
  if constexpr (std::is_floating_point_v<T>) {
    for (int64_t i = 3; i < n; i += 7) x[i] = extreme_data<T>(20)[i % 20];
  }
  return x;
}

TYPED_TEST(Move, fillRoundsTheValueOnce) {
  using T = TypeParam;
  for (int64_t n : {1, 3, 7, 17, 33, 301, 100003}) {
    for (double value : {0.1, -0.0, -2.5, 3.5, 2147483647.0, -2147483648.4}) {
      const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
        return PND_ON(m, pnd_fill, type_of<T>(), to, n, value);
      });
      const T want = static_cast<T>(std::is_same_v<T, int32_t> ? std::nearbyint(value) : value);
      expect_equal(y, std::vector<T>(n, want));
    }
  }
}

TEST(Move, fillRefusesWhatIsNoWholeNumberOfTheType) {
  const Machine &m = machines()[0];
  int32_t y = 7;
  for (double value : {2147483647.5, -2147483648.6, 1e300, std::nan(""), HUGE_VAL}) {
    expect_refused(pnd_fill(m.context, PND_I32, &y, 1, value), m, "beyond i32");
  }
  EXPECT_EQ(7, y);
}

TYPED_TEST(Move, broadcastRepeatsRows) {
  using T = TypeParam;
  const int64_t shapes[][3] = {{1, 1, 1},  {1, 301, 1}, {7, 33, 1},  {301, 3, 1},  {3, 17, 7},
                               {2, 7, 33}, {1, 3, 301}, {33, 1, 17}, {2, 3, 5001}, {1, 70001, 1}};
  for (const auto &[outer, mid, inner] : shapes) {
    const auto x = elements<T>(outer * inner);
    const int64_t n = outer * mid * inner;
    const auto y = output_of<T>(n, [&, o = outer, k = mid, i = inner](const Machine &m, T *to) {
      return PND_ON(m, pnd_broadcast, type_of<T>(), to, x.data(), o, k, i);
    });
    std::vector<T> want(n);
    for (int64_t i = 0; i < n; ++i) want[i] = x[i / (mid * inner) * inner + i % inner];
    expect_equal(y, want);
  }
}

TYPED_TEST(Move, swapAxesPermutesAndTwiceIsNothing) {
  using T = TypeParam;
  const int64_t shapes[][5] = {
      {1, 1, 1, 1, 1},    {1, 33, 1, 17, 1}, {1, 301, 1, 301, 1}, {3, 65, 1, 129, 1},
      {2, 7, 1, 33, 17},  {1, 8, 1, 8, 1},   {2, 1, 17, 33, 1},   {2, 33, 17, 1, 1},
      {2, 7, 3, 17, 1},   {1, 17, 5, 70, 1}, {2, 3, 7, 5, 3},     {4, 33, 1, 4, 64},
      {3, 1, 7, 1, 33},   {1, 1, 1, 301, 7}, {1, 301, 1, 1, 7},   {1, 3, 1, 2, 1300},
      {2, 1, 17, 33, 5},  {1, 64, 1, 64, 2}, {1, 33, 1, 301, 4},  {5, 7, 1, 3, 1},
      {1, 256, 1, 70, 1}, {2, 128, 3, 65, 1}};
  for (const auto &s : shapes) {
    const int64_t n = s[0] * s[1] * s[2] * s[3] * s[4];
    const auto x = elements<T>(n);
    const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_swap_axes, type_of<T>(), to, x.data(), s[0], s[1], s[2], s[3], s[4]);
    });
    std::vector<T> want(n);
    int64_t from = 0;
    for (int64_t o = 0; o < s[0]; ++o) {
      for (int64_t f = 0; f < s[1]; ++f) {
        for (int64_t k = 0; k < s[2]; ++k) {
          for (int64_t c = 0; c < s[3]; ++c) {
            for (int64_t i = 0; i < s[4]; ++i) {
              want[(((o * s[3] + c) * s[2] + k) * s[1] + f) * s[4] + i] = x[from++];
            }
          }
        }
      }
    }
    SCOPED_TRACE(testing::Message()
                 << s[0] << " " << s[1] << " " << s[2] << " " << s[3] << " " << s[4]);
    expect_equal(y, want);
    const auto back = output_of<T>(n, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_swap_axes, type_of<T>(), to, y.data(), s[0], s[3], s[2], s[1], s[4]);
    });
    expect_equal(back, x);
  }
}

TYPED_TEST(Move, sliceAndPadAreEachOthersAdjoint) {
  using T = TypeParam;
  // outer, size, inner, start, count
  const int64_t shapes[][5] = {{1, 1, 1, 0, 1},     {3, 7, 17, 2, 3},   {7, 301, 1, 100, 33},
                               {1, 301, 1, 0, 301}, {33, 3, 7, 2, 1},   {2, 17, 301, 0, 7},
                               {1, 9, 5001, 4, 5},  {301, 33, 1, 30, 3}};
  for (const auto &s : shapes) {
    const int64_t wide = s[0] * s[1] * s[2], narrow = s[0] * s[4] * s[2];
    const auto x = elements<T>(wide), small = elements<T>(narrow);
    const auto sliced = output_of<T>(narrow, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_slice, type_of<T>(), to, x.data(), s[0], s[1], s[2], s[3], s[4]);
    });
    const auto padded = output_of<T>(wide, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_pad, type_of<T>(), to, small.data(), s[0], s[1], s[2], s[3], s[4]);
    });
    std::vector<T> part(narrow), whole(wide, T{0});
    for (int64_t o = 0; o < s[0]; ++o) {
      for (int64_t c = 0; c < s[4]; ++c) {
        for (int64_t i = 0; i < s[2]; ++i) {
          const int64_t at = (o * s[4] + c) * s[2] + i, in = (o * s[1] + s[3] + c) * s[2] + i;
          part[at] = x[in];
          whole[in] = small[at];
        }
      }
    }
    expect_equal(sliced, part);
    expect_equal(padded, whole);
  }
}

TYPED_TEST(Move, putWritesItsRowsAndNothingElse) {
  using T = TypeParam;
  // outer, size, inner, count
  const int64_t shapes[][4] = {{1, 1, 1, 1},    {3, 7, 17, 3},   {7, 301, 1, 33}, {33, 3, 8, 1},
                               {2, 17, 301, 7}, {1, 9, 5001, 5}, {301, 33, 4, 3}};
  for (const auto &s : shapes) {
    const int64_t row = s[1] * s[2], run = s[3] * s[2];
    const auto y = elements<T>(s[0] * row), x = elements<T>(s[0] * run + 1);
    std::vector<int32_t> start(s[0]);
    std::vector<T> want = y;
    for (int64_t o = 0; o < s[0]; ++o) {
      start[o] = static_cast<int32_t>((o * 7 + 1) % (s[1] - s[3] + 1));
      std::copy_n(&x[o * run], run, &want[o * row + start[o] * s[2]]);
    }
    const auto got = output_of<T>(s[0] * row, [&](const Machine &m, T *to) {
      const int64_t n = s[0] * row;
      EXPECT_EQ(PND_OK, PND_ON(m, pnd_slice, type_of<T>(), to, y.data(), 1, n, 1, 0, n));
      return PND_ON(m, pnd_put, type_of<T>(), to, x.data(), start.data(), s[0], s[1], s[2], s[3]);
    });
    SCOPED_TRACE(testing::Message() << s[0] << " " << s[1] << " " << s[2] << " " << s[3]);
    expect_equal(got, want);
  }
}

TYPED_TEST(Move, concatPutsOneAfterTheOther) {
  using T = TypeParam;
  const int64_t shapes[][4] = {{1, 1, 1, 1},   {3, 7, 17, 1},   {33, 3, 1, 7},
                               {7, 1, 301, 3}, {2, 4001, 5, 3}, {301, 17, 33, 1}};
  for (const auto &s : shapes) {
    const int64_t a_run = s[1] * s[3], b_run = s[2] * s[3], n = s[0] * (a_run + b_run);
    const auto a = elements<T>(s[0] * a_run), b = elements<T>(s[0] * b_run + 1);
    const auto y = output_of<T>(n, [&](const Machine &m, T *to) {
      return PND_ON(m, pnd_concat, type_of<T>(), to, a.data(), b.data() + 1, s[0], s[1], s[2],
                    s[3]);
    });
    std::vector<T> want;
    for (int64_t o = 0; o < s[0]; ++o) {
      want.insert(want.end(), a.begin() + o * a_run, a.begin() + (o + 1) * a_run);
      want.insert(want.end(), b.begin() + 1 + o * b_run, b.begin() + 1 + (o + 1) * b_run);
    }
    expect_equal(y, want);
  }
}

TEST(Move, refusesBadArguments) {
  const Machine &m = machines()[0];
  std::vector<float> x(64), y(64);
  float *to = y.data();
  const float *from = x.data();
  const int64_t huge = int64_t{1} << 62;
  pnd_context *c = m.context;
  expect_refused(pnd_slice(c, 0, to, from, 1, 8, 1, 6, 3), m, "start = 6 must lie in [0, 5]");
  expect_refused(pnd_slice(c, 0, to, from, 1, 8, 1, -1, 3), m, "start = -1");
  expect_refused(pnd_slice(c, 0, to, from, 1, 8, 1, 0, 9), m, "count = 9");
  expect_refused(pnd_slice(c, 0, to, from, 1, 8, 1, 0, 0), m, "count = 0");
  EXPECT_EQ(PND_OK, pnd_slice(c, 0, to, to + 3, 1, 8, 1, 0, 3));
  expect_refused(pnd_slice(c, 0, to + 5, to, 1, 8, 1, 0, 3), m, "overlaps");  // the part not read
  expect_refused(pnd_pad(c, 0, to, from, 1, 8, 1, huge, 3), m, "start");
  expect_refused(pnd_pad(c, 0, to, to, 1, 8, 1, 0, 3), m, "overlaps");
  expect_refused(pnd_concat(c, 0, to, from, from, 1, 2 * (huge - 1), 2 * (huge - 1), 1), m,
                 "overflows");
  expect_refused(pnd_concat(c, 0, to, from, to, 1, 8, 8, 1), m, "overlaps");
  expect_refused(pnd_swap_axes(c, 0, to, from, 1, huge, 1, 4, 1), m, "overflows");
  expect_refused(pnd_swap_axes(c, 0, to, from, 1, 2, 0, 4, 1), m, "mid = 0");
  expect_refused(pnd_broadcast(c, 4, to, from, 1, 2, 4), m, "dtype = 4");
  expect_refused(pnd_broadcast(c, 0, nullptr, from, 1, 2, 4), m, "y is null");
  expect_refused(pnd_fill(c, 0, to, 0, 1), m, "n = 0");
  expect_refused(pnd_fill(c, 0, nullptr, 1, 1), m, "y is null");
}

}  // namespace
