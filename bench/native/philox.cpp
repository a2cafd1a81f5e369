// SPDX-License-Identifier: Apache-2.0
// philox: the kernels' own random words, in L1: the ceiling of what consumes them.
#include "random.h"

// Returns how many words; peak.cpp says what a loop is.
extern "C" __attribute__((visibility("default"))) int64_t bench_philox(int64_t, int64_t rounds) {
  constexpr int kWords = 1024;
  alignas(64) static uint32_t out[kWords];
  for (int64_t r = 0; r < rounds; ++r) {
    philox_words(out, static_cast<uint32_t>(r), philox_stream(1, 2, 3), 0, kWords);
    asm volatile("" : : "m"(out) : "memory");
  }
  return rounds * kWords;
}
