// SPDX-License-Identifier: Apache-2.0
#include "machines.h"

namespace {

using Words = std::vector<uint32_t>;

Words words_of(int64_t n, int64_t step, int64_t first, int64_t row, int64_t key) {
  return output_of<uint32_t>(n, [&](const Machine &m, uint32_t *to) {
    return PND_ON(m, pnd_philox, to, &step, n, first, row, key);
  });
}

// The vectors that come with the authors' library Random123 (kat_vectors, philox4x32 10).
TEST(Random, matchesThePublishedVectors) {
  EXPECT_EQ((Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}), words_of(4, 0, 0, 0, 0));
  EXPECT_EQ((Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}), words_of(4, -1, -1, -1, -1));
  EXPECT_EQ((Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}),
            words_of(4, 0x0370734413198a2e, 0x243f6a88, 0x85a308d3, 0x299f31d0a4093822));
}

TEST(Random, blocksAreNumberedFromFirst) {
  const int64_t step = 0x123456789abcdef, row = 77, key = -987654321;
  const Words all = words_of(100003, step, 0, row, key);
  for (int64_t n : kSizes) {
    EXPECT_EQ(Words(all.begin(), all.begin() + n), words_of(n, step, 0, row, key));
    const int64_t first = 25000 - n / 2;
    EXPECT_EQ(
        Words(all.begin() + 4 * first, all.begin() + std::min<int64_t>(4 * first + n, 100003)),
        words_of(std::min<int64_t>(n, 100003 - 4 * first), step, first, row, key));
  }
  // The number of a block has 32 bits.
  const Words wrapped = words_of(301, step, 0xfffffff0, row, key);
  EXPECT_EQ(Words(all.begin(), all.begin() + 301 - 64), Words(wrapped.begin() + 64, wrapped.end()));
  EXPECT_NE(all, words_of(100003, step, 0, row + 1, key));
}

TEST(Random, uniformNumbersAreTheWords) {
  const int64_t step = 5, row = 3, key = 42;
  for (int64_t n : {1, 3, 7, 17, 33, 301, 4097, 100003}) {
    const Words words = words_of(2 * n, step, 0, row, key);
    const auto f = output_of<float>(n, [&](const Machine &m, float *to) {
      return PND_ON(m, pnd_uniform, PND_F32, to, &step, n, row, key);
    });
    const auto d = output_of<double>(n, [&](const Machine &m, double *to) {
      return PND_ON(m, pnd_uniform, PND_F64, to, &step, n, row, key);
    });
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(static_cast<float>(words[i] >> 8) * 0x1p-24f, f[i]) << i;
      const uint64_t bits = words[2 * i] * (uint64_t{1} << 21) + (words[2 * i + 1] >> 11);
      ASSERT_EQ(static_cast<double>(bits) * 0x1p-53, d[i]) << i;
    }
  }
}

TEST(Random, refusesBadArguments) {
  const Machine &m = machines()[0];
  int64_t step[8] = {};
  uint32_t y[8];
  expect_refused(pnd_philox(m.context, y, step, 0, 0, 0, 0), m, "philox: n = 0");
  expect_refused(pnd_philox(m.context, y, nullptr, 8, 0, 0, 0), m, "step is null");
  expect_refused(pnd_philox(m.context, nullptr, step, 8, 0, 0, 0), m, "y is null");
  expect_refused(pnd_uniform(m.context, PND_F32, step, step, 8, 0, 0), m, "overlaps");
  expect_refused(pnd_uniform(m.context, PND_I32, y, step, 8, 0, 0), m, "i32", PND_UNSUPPORTED);
  expect_refused(
      pnd_uniform(m.context, PND_F32, y,
                  reinterpret_cast<int64_t *>(reinterpret_cast<char *>(step) + 4), 8, 0, 0),
      m, "step is not aligned");
}

}  // namespace
