// SPDX-License-Identifier: Apache-2.0
// ptx: the wrappers of cuda/src/ptx.cuh on the processor, each with the meaning that the PTX manual
// gives its instruction. Memory is read and written here, in the kernel's own compilation, where a
// sanitizer sees it; what lanes exchange is exchanged in the simulator's files.
#pragma once

#include <cuda_runtime.h>

#include "matrix.h"

template <class T>
T *shared_memory() {
  return reinterpret_cast<T *>(simulator::self().shared);
}

// Until it is waited for, the destination holds neither the old nor the new: NaN.
template <int kBytes>
void copy_async(void *to, const void *from, bool inside = true, PND_HERE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  const auto misaligned = [](const void *at) {
    return reinterpret_cast<uintptr_t>(at) % kBytes != 0;
  };
  if (misaligned(to) || (inside && misaligned(from))) {
    simulator::fail("an asynchronous copy that is not aligned to its size", {file, line});
  }
  std::memset(to, 0xFF, kBytes);
  struct Copy {
    void *to;
    const void *from;
  };
  simulator::hand_over(simulator::Unit::Copies,
                       simulator::work(
                           [](void *input) {
                             const auto *copy = static_cast<const Copy *>(input);
                             if (copy->from == nullptr) {
                               std::memset(copy->to, 0, kBytes);
                             } else {
                               std::memcpy(copy->to, copy->from, kBytes);
                             }
                           },
                           Copy{to, inside ? from : nullptr}, {file, line}));
}

inline void commit_copies() { simulator::commit(simulator::Unit::Copies); }

template <int kLeft>
void await_copies() {
  simulator::wait_for(simulator::Unit::Copies, kLeft);
}

inline void prefetch(const void *) {}

template <int n, bool kTransposed = false>
void load_matrices(uint32_t (&to)[n], const void *row, PND_HERE) {
  static_assert(n == 1 || n == 2 || n == 4);
  uint16_t own[8] = {};
  if (simulator::self().lane < 8 * n) {
    if (reinterpret_cast<uintptr_t>(row) % sizeof own != 0) {
      simulator::fail("a matrix row that is not aligned to 16 bytes", {file, line});
    }
    std::memcpy(own, row, sizeof own);
  }
  simulator::exchange_matrices(to, own, n, kTransposed, {file, line});
}

inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], PND_HERE) {
  simulator::multiply_bf16(c, a, b, {file, line});
}

inline uint32_t bf16_pair(float low, float high) {
  const auto rounded = [](float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return uint32_t{0x7fff};
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest, halves to even
  };
  return rounded(low) | rounded(high) << 16;
}

inline float power_near(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

inline float logarithm_near(float x) { return std::log2(x); }
