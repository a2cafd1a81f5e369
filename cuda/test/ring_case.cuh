// SPDX-License-Identifier: Apache-2.0
// ring_case.cuh: what a ring (ring.cuh) multiplies, on the host. The factors are small whole
// numbers, so that the sums are exact; the last rows, columns and k lie outside of the tensors.
#pragma once

#include <cstring>
#include <vector>

#include "ring.cuh"
#include "tensor_map.cuh"

template <class R>
struct RingCase {
  static constexpr unsigned kRows = 72, kColumns = R::kColumns - 8, kDepth = 168;
  static constexpr unsigned kBlocks = 2, kThreads = 256;
  static constexpr int kSteps = 3;
  std::vector<uint16_t> a, b;
  std::vector<float> want;

  RingCase() : a(kRows * kDepth), b(kColumns * kDepth), want(kRows * kColumns) {
    for (size_t k = 0; k < kDepth; ++k) {
      for (size_t r = 0; r < kRows; ++r) a[place(R::kMajorA, kRows, r, k)] = bf16(left(r, k));
      for (size_t c = 0; c < kColumns; ++c) {
        b[place(R::kMajorB, kColumns, c, k)] = bf16(right(c, k));
      }
      for (size_t i = 0; i < want.size(); ++i) {
        want[i] += static_cast<float>(left(i / kColumns, k) * right(i % kColumns, k));
      }
    }
  }

  // The maps of c, a and b.
  static int32_t describe(Call &call, TensorMap (&maps)[3], const void *c, const void *a,
                          const void *b) {
    make_tensor_map(
        call, &maps[0],
        {c, 4, 2, {kColumns, kRows}, {0, kColumns * 4}, {R::kColumns, R::kRows}, Swizzle::None});
    factor<typename R::A>(call, &maps[1], a, R::kMajorA, kRows);
    factor<typename R::B>(call, &maps[2], b, R::kMajorB, kColumns);
    return call.status();
  }

 private:
  static int left(size_t row, size_t k) { return static_cast<int>((row * 31 + k * 5) * 7 % 9) - 3; }
  static int right(size_t column, size_t k) {
    return static_cast<int>((column * 17 + k * 3) * 7 % 11) - 5;
  }
  static uint16_t bf16(int whole) {
    const auto x = static_cast<float>(whole);
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<uint16_t>(bits >> 16);
  }
  static size_t place(Major major, size_t rows, size_t row, size_t k) {
    return major == Major::K ? row * kDepth + k : k * rows + row;
  }

  template <class F>
  static void factor(Call &call, TensorMap *map, const void *data, Major major, unsigned rows) {
    const unsigned along = major == Major::K ? kDepth : rows;
    make_tensor_map(call, map,
                    {data,
                     2,
                     2,
                     {along, major == Major::K ? rows : kDepth},
                     {0, 2 * along},
                     {F::kRow / 2, F::kBoxRows},
                     R::kSwizzle});
  }
};
