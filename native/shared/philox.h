// SPDX-License-Identifier: Apache-2.0
// philox: Philox4x32-10, the random numbers of every device.
// Ten rounds of (c0, c1, c2, c3) -> (high(M1 c2) ^ c1 ^ k0, low(M1 c2), high(M0 c0) ^ c3 ^ k1,
// low(M0 c0)), the key raised by (W0, W1) between two rounds.
// Source   Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011
#pragma once

#include <cstdint>

#ifndef PND_SHARED
#define PND_SHARED inline __attribute__((always_inline))
#endif

constexpr uint32_t kPhiloxM0 = 0xD2511F53, kPhiloxM1 = 0xCD9E8D57;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9, kPhiloxW1 = 0xBB67AE85;
constexpr int kPhiloxRounds = 10;

// The stream's place: the words 1, 2, 3 of every counter, and the key.
struct PhiloxStream {
  uint32_t row, step_low, step_high;
  uint32_t key_low, key_high;
};

PND_SHARED PhiloxStream philox_stream(int64_t row, int64_t step, int64_t key) {
  const uint64_t s = static_cast<uint64_t>(step), k = static_cast<uint64_t>(key);
  return {static_cast<uint32_t>(row), static_cast<uint32_t>(s), static_cast<uint32_t>(s >> 32),
          static_cast<uint32_t>(k), static_cast<uint32_t>(k >> 32)};
}

struct PhiloxBlock {
  uint32_t word[4];
};

// The four words of block number `block`.
PND_SHARED PhiloxBlock philox_block(uint32_t block, PhiloxStream s) {
  uint32_t c0 = block, c1 = s.row, c2 = s.step_low, c3 = s.step_high;
  uint32_t k0 = s.key_low, k1 = s.key_high;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c0;
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return {{c0, c1, c2, c3}};
}

// A word, or two, as a uniform number in [0, 1): 24 and 53 bits.
PND_SHARED float uniform_of(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}
PND_SHARED double uniform_of(uint32_t high, uint32_t low) {
  return high * 0x1p-32 + (low >> 11) * 0x1p-53;  // each product and the sum are exact
}
