// SPDX-License-Identifier: Apache-2.0
// matrix: ldmatrix and mma on the processor.
#include "matrix.h"

#include <cstring>

#include "async.h"

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

// ---- products of warpgroups ---------------------------------------------------------------------

struct Handed {
  uint32_t given[4], quad[4][4];
};

void hand_out_quads(void **slots, uint32_t) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const auto *from = static_cast<Handed *>(slots[lane / 4 * 4 + i]);
      std::memcpy(static_cast<Handed *>(slots[lane])->quad[i], from->given, sizeof from->given);
    }
  }
}

// A product under way. Its sums go to the registers or to the next product of the same ones.
struct Pending {
  GroupProduct product;
  Place place;
  Pending *next;
  uint32_t quad[4][4];  // registers of a of the four lanes that share its rows
  float sums[128];
};
static_assert(sizeof(Pending) <= kMostInput);

// Element (row of a or column of b, k), by the layouts of hopper.cuh.
float element(const Pending &p, uint64_t descriptor, bool turned, unsigned row, unsigned k) {
  const auto field = [&](int bit) {
    return static_cast<unsigned>(descriptor >> bit & 0x3fff) << 4;
  };
  const unsigned leading = field(16), stride = field(32);
  const auto code = static_cast<unsigned>(descriptor >> 62);
  const unsigned pieces = code == 0 ? 1 : 16 >> code;  // of 16 bytes, in a row of cores
  unsigned at = field(0);
  if (!turned) {
    at += row % 8 * pieces * 16 + row / 8 * stride;
    at += code == 0 ? k / 8 * leading + k % 8 * 2 : k * 2;
  } else if (code == 0) {
    at += row % 8 * 2 + row / 8 * stride + k % 8 * 16 + k / 8 * leading;
  } else {
    const unsigned rows = 8 * pieces;
    at += row % rows * 2 + row / rows * leading + k % 8 * pieces * 16 + k / 8 * stride;
  }
  at ^= (at >> 7 & (pieces - 1)) << 4;
  const char *from = self().shared + at;
  read_async(from, sizeof(uint16_t), p.place);
  return half_of(p.product.read(from), 0);
}

void run_product(void *input) {
  auto &p = *static_cast<Pending *>(input);
  const GroupProduct &product = p.product;
  const unsigned lane = self().lane, first = self().number % kWarpgroup / kWarp * 16 + lane / 4;
  constexpr unsigned kDepth = 16;
  float a[2][kDepth];
  for (unsigned half = 0; half < 2; ++half) {
    for (unsigned k = 0; k < kDepth; ++k) {
      a[half][k] = product.rows != nullptr
                       ? half_of(p.quad[k % 8 / 2][half + k / 8 * 2], k % 2)
                       : element(p, product.a, product.turned_a, first + half * 8, k);
    }
  }
  for (int i = 0; i < product.columns / 2; i += 4) {
    for (int right = 0; right < 2; ++right) {
      const unsigned column = static_cast<unsigned>(i * 2 + right) + lane % 4 * 2;
      float *above = &p.sums[i + right], *below = above + 2;
      if (!product.adds) *above = *below = 0;
      for (unsigned k = 0; k < kDepth; ++k) {
        const float b = element(p, product.b, product.turned_b, column, k);
        *above += a[0][k] * b;
        *below += a[1][k] * b;
      }
    }
  }
  const size_t bytes = static_cast<size_t>(product.columns) / 2 * sizeof(float);
  if (p.next != nullptr) {
    copy_words(p.next->sums, p.sums, bytes);
    return;
  }
  for (size_t i = 0; i < bytes; ++i) {
    if (reinterpret_cast<const unsigned char *>(product.c)[i] != 0xFF) {
      fail("sums that are written while their product is under way", p.place);
    }
  }
  std::memcpy(product.c, p.sums, bytes);
}

}  // namespace

void multiply_group(const GroupProduct &product, Place place) {
  Pending p{product, place, nullptr, {}, {}};
  meet_warpgroup(product.a * 3 + product.b, place);
  if (!registers_fenced()) fail("a product without fence_registers before it", place);
  if (((product.a | product.b) >> 49 & 7) != 0) fail("a base offset, which is not 0", place);
  if (product.rows != nullptr) {
    Handed slot;
    std::memcpy(slot.given, product.rows, sizeof slot.given);
    collective(kAllLanes, &slot, hand_out_quads, false, place);
    std::memcpy(p.quad, slot.quad, sizeof p.quad);
  }
  Pending *before = nullptr;
  for (Work *work = handed_over(Unit::Products).first(); work != nullptr; work = work->next) {
    auto *other = reinterpret_cast<Pending *>(work->input);
    if (other->product.c == product.c) before = other;
  }
  if (before == nullptr) {
    const size_t bytes = static_cast<size_t>(product.columns) / 2 * sizeof(float);
    std::memcpy(p.sums, product.c, bytes);
    std::memset(product.c, 0xFF, bytes);
  }
  Work *given = hand_over(Unit::Products, work(run_product, p, place));
  if (before != nullptr) before->next = reinterpret_cast<Pending *>(given->input);
}

void wait_for_products(unsigned groups_left) {
  wait_for(Unit::Products, groups_left);
  if (handed_over(Unit::Products).empty()) registers_fenced() = false;
}

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
