// SPDX-License-Identifier: Apache-2.0
// random.h: the Philox stream (shared/philox.h) by whole vectors. A word sits in the lower half of
// a 64-bit lane, one block per lane, where the 32-bit product reads it and leaves its successor;
// what gathers in the upper halves is never read. Pairs of words are joined after the last round.
// Source   the layout of Random123's SSE form, Salmon et al., SC 2011
#pragma once

#include <algorithm>

#include "simd.h"
// After simd.h, which it builds on.
#include "philox.h"

using Wide = Vec<uint64_t>;

// The products of the lower halves.
PND_INLINE Wide product_low(Wide a, Wide b) {
#if defined(__AVX512F__)
  return (Wide)_mm512_maskz_mul_epu32(-1, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// y = first[0], second[0], first[1], second[1], ...
template <class W>
PND_INLINE void store_pairs(uint32_t *y, W first, W second) {
  const auto put = [](uint32_t *to, W x) { store(to, (Vec<uint32_t>)x); };
  constexpr int n = sizeof(W) / sizeof(uint64_t);
  if constexpr (n == 8) {
    put(y, __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11));
    put(y + 2 * n, __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15));
  } else if constexpr (n == 4) {
    put(y, __builtin_shufflevector(first, second, 0, 4, 1, 5));
    put(y + 2 * n, __builtin_shufflevector(first, second, 2, 6, 3, 7));
  } else {
    put(y, __builtin_shufflevector(first, second, 0, 2));
    put(y + 2 * n, __builtin_shufflevector(first, second, 1, 3));
  }
}

// Blocks of kPhiloxGroup neighbours are computed at once, to hide the products' latency.
constexpr int kPhiloxVectors = kVectorBytes == 64 ? 4 : 2;
constexpr int64_t kPhiloxGroup = kPhiloxVectors * kWidth<uint64_t>;

// The counters of as many blocks, one per lane.
struct PhiloxCounters {
  Wide c0[kPhiloxVectors], c1[kPhiloxVectors], c2[kPhiloxVectors], c3[kPhiloxVectors];

  // From c0 and c1 to the blocks' words in the lower halves.
  PND_INLINE void encrypt(PhiloxStream s) {
    PND_UNROLL
    for (int i = 0; i < kPhiloxVectors; ++i) {
      c2[i] = splat<uint64_t>(s.step_low);
      c3[i] = splat<uint64_t>(s.step_high);
    }
    const Wide m0 = splat<uint64_t>(kPhiloxM0), m1 = splat<uint64_t>(kPhiloxM1);
    PND_UNROLL
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const Wide k0 = splat<uint64_t>(s.key_low), k1 = splat<uint64_t>(s.key_high);
      PND_UNROLL
      for (int i = 0; i < kPhiloxVectors; ++i) {
        const Wide p0 = product_low(c0[i], m0), p1 = product_low(c2[i], m1);
        c0[i] = (p1 >> 32) ^ c1[i] ^ k0;
        c1[i] = p1;
        c2[i] = (p0 >> 32) ^ c3[i] ^ k1;
        c3[i] = p0;
      }
      s.key_low += kPhiloxW0;
      s.key_high += kPhiloxW1;
    }
  }
};

// y[0, 4 kPhiloxGroup) = the words of the blocks from `block` on.
PND_INLINE void philox_group(uint32_t *y, uint32_t block, PhiloxStream s) {
  PhiloxCounters x;
  Wide place{};
  for (int j = 0; j < kWidth<uint64_t>; ++j) place[j] = static_cast<uint64_t>(j);
  PND_UNROLL
  for (int i = 0; i < kPhiloxVectors; ++i) {
    x.c0[i] = place + splat<uint64_t>(block + static_cast<uint32_t>(i * kWidth<uint64_t>));
    x.c1[i] = splat<uint64_t>(s.row);
  }
  x.encrypt(s);
  const Wide low = splat<uint64_t>(0xffffffffu);
  PND_UNROLL
  for (int i = 0; i < kPhiloxVectors; ++i) {
    store_pairs(y + i * kVectorBytes / 2, (x.c0[i] & low) | (x.c1[i] << 32),
                (x.c2[i] & low) | (x.c3[i] << 32));
  }
}

// y = words [first, last) of the stream that begins with block `start`; first is a multiple of 4.
inline void philox_words(uint32_t *y, uint32_t start, const PhiloxStream &stream, int64_t first,
                         int64_t last) {
  int64_t i = first;
  for (; i + 4 * kPhiloxGroup <= last; i += 4 * kPhiloxGroup) {
    philox_group(y + i - first, start + static_cast<uint32_t>(i / 4), stream);
  }
  for (; i < last; i += 4) {
    const PhiloxBlock block = philox_block(start + static_cast<uint32_t>(i / 4), stream);
    std::memcpy(y + i - first, block.word, std::min<int64_t>(4, last - i) * sizeof(uint32_t));
  }
}
