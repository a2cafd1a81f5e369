// SPDX-License-Identifier: Apache-2.0
// matrix: ldmatrix and mma on the processor.
#include "matrix.h"

#include <cstring>

namespace simulator {
namespace {

struct Rows {
  uint16_t row[8];
  uint32_t got[4];
  int count;
  bool transposed;
};

struct Fragments {
  uint32_t a[4], b[2];
  float c[4];
};

float half_of(uint32_t pair, unsigned upper) {
  const uint32_t bits = upper == 0 ? pair << 16 : pair & 0xffff0000u;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

void hand_out_rows(void **slots, uint32_t) {
  const auto row = [&](unsigned lane) { return static_cast<Rows *>(slots[lane])->row; };
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto *mine = static_cast<Rows *>(slots[lane]);
    for (int m = 0; m < mine->count; ++m) {
      const unsigned first = 8 * static_cast<unsigned>(m), r = lane / 4, c = lane % 4 * 2;
      const uint32_t low = mine->transposed ? row(first + c)[r] : row(first + r)[c];
      const uint32_t high = mine->transposed ? row(first + c + 1)[r] : row(first + r)[c + 1];
      mine->got[m] = low | high << 16;
    }
  }
}

void multiply(void **slots, uint32_t) {
  float a[16][16], b[16][8], c[16][8];
  // Each lane's elements: with g = lane / 4 and t = 2 (lane % 4), a register i of `a` holds row g
  // (odd i: g + 8), columns t and t + 1 (i >= 2: 8 more); of `b` rows t and t + 1 (i = 1: 8 more),
  // column g; and `c` row g (i >= 2: g + 8), column t + i % 2.
  const auto each_lane = [&](auto &&visit) {
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      visit(*static_cast<Fragments *>(slots[lane]), lane / 4, lane % 4 * 2);
    }
  };
  each_lane([&](const Fragments &f, unsigned g, unsigned t) {
    for (unsigned half = 0; half < 2; ++half) {
      for (unsigned i = 0; i < 4; ++i) {
        a[g + i % 2 * 8][t + half + i / 2 * 8] = half_of(f.a[i], half);
      }
      for (unsigned i = 0; i < 2; ++i) b[t + half + i * 8][g] = half_of(f.b[i], half);
    }
    for (unsigned i = 0; i < 4; ++i) c[g + i / 2 * 8][t + i % 2] = f.c[i];
  });
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      // The product of two bf16 is a float.
      for (int col = 0; col < 8; ++col) c[row][col] += a[row][k] * b[k][col];
    }
  }
  each_lane([&](Fragments &f, unsigned g, unsigned t) {
    for (unsigned i = 0; i < 4; ++i) f.c[i] = c[g + i / 2 * 8][t + i % 2];
  });
}

}  // namespace

void exchange_matrices(uint32_t *to, const uint16_t (&row)[8], int count, bool transposed,
                       Place place) {
  Rows slot{{}, {}, count, transposed};
  std::memcpy(slot.row, row, sizeof row);
  collective(kAllLanes, &slot, hand_out_rows, false, place);
  std::memcpy(to, slot.got, static_cast<size_t>(count) * sizeof *to);
}

void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place) {
  Fragments slot;
  std::memcpy(slot.a, a, sizeof a);
  std::memcpy(slot.b, b, sizeof b);
  std::memcpy(slot.c, c, sizeof c);
  collective(kAllLanes, &slot, multiply, false, place);
  std::memcpy(c, slot.c, sizeof c);
}

}  // namespace simulator
