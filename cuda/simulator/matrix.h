// SPDX-License-Identifier: Apache-2.0
// matrix: what lanes exchange in ldmatrix and mma, as the PTX manual lays out the fragments.
#pragma once

#include <cstdint>

#include "fibers.h"

namespace simulator {

// ldmatrix of `count` 8 x 8 matrices of 16-bit elements. Lane 8 m + r gives row r of matrix m and
// gets of each matrix the elements (lane / 4, 2 (lane % 4) + 0 and 1), or those of the transpose.
void exchange_matrices(uint32_t *to, const uint16_t (&row)[8], int count, bool transposed,
                       Place place);

// mma.m16n8k16: c += a b, bf16 factors and f32 sums. PTX leaves the order and the rounding of the
// sums open; here each is one chain over k.
void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place);

// wgmma.m64nNk16 of a warpgroup, the same chains. The factors are read, by `read`, and the sums are
// in c, when the product's group is waited for; until then c is NaN, which nothing may write.
struct GroupProduct {
  float *c;
  int columns;
  bool adds;
  const uint32_t *rows;     // four registers of a, or null: then
  uint64_t a, b;            // descriptors
  bool turned_a, turned_b;  // not K-major
  uint16_t (*read)(const char *at);
};
void multiply_group(const GroupProduct &product, Place place);
void wait_for_products(unsigned groups_left);

}  // namespace simulator
