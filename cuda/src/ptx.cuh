// SPDX-License-Identifier: Apache-2.0
// ptx.cuh: what CUDA C++ lacks, one wrapper per instruction, and a block's shared memory. Nothing
// but this and hopper.cuh holds inline PTX; the simulator has the same wrappers (simulator/ptx.h),
// on the processor.
#pragma once

#include <cuda_runtime.h>

#ifdef PND_SIMULATED
#include "ptx.h"
#else

#include <cstdint>

// The block's dynamic shared memory, undefined at first.
template <class T>
__device__ __forceinline__ T *shared_memory() {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  return reinterpret_cast<T *>(shared_bytes);
}

// Copies 4, 8 or 16 bytes, both ends aligned to as many, from global to shared memory, or zeros if
// not `inside` (then nothing is read). It has happened, for this thread, after await_copies.
template <int kBytes>
__device__ __forceinline__ void copy_async(void *to, const void *from, bool inside = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "what cp.async can copy");
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = inside ? kBytes : 0;
  if constexpr (kBytes == 16) {
    // Past L1: nobody else in this multiprocessor reads it.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(kBytes),
                 "r"(bytes)
                 : "memory");
  }
}

// The copies since the last commit become one group.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until all but the last kLeft groups of this thread have been copied.
template <int kLeft>
__device__ __forceinline__ void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// Has the memory there brought to where a later load finds it sooner: L2.
__device__ __forceinline__ void prefetch(const void *at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

// Loads n = 1, 2 or 4 matrices of 8 x 8 16-bit elements from shared memory. Lane 8 m + r points at
// row r of matrix m (16 aligned bytes; further lanes' pointers are not used); to[m] holds this
// lane's elements (lane / 4, 2 (lane % 4) + 0 and 1) of it, or of its transpose. A whole warp's
// instruction, which orders no memory.
template <int n, bool kTransposed = false>
__device__ __forceinline__ void load_matrices(uint32_t (&to)[n], const void *row) {
  static_assert(n == 1 || n == 2 || n == 4, "what ldmatrix can load");
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (n == 1 && !kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(to[0])
                 : "r"(at)
                 : "memory");
  } else if constexpr (n == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(to[0])
                 : "r"(at)
                 : "memory");
  } else if constexpr (n == 2 && !kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(at)
                 : "memory");
  } else if constexpr (n == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(at)
                 : "memory");
  } else if constexpr (!kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  }
}

// c += a b for a [16, 16] and b [16, 8] of bf16 and c [16, 8] of f32, spread over a warp. With
// g = lane / 4 and t = 2 (lane % 4): a[0] = (g, t), (g, t + 1); a[1] = row g + 8; a[2] = columns
// 8 further; a[3] = both; b[0] = (t, g), (t + 1, g); b[1] = rows 8 further; c = (g, t), (g, t + 1),
// (g + 8, t), (g + 8, t + 1). The first of two 16-bit elements is the lower half.
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Both rounded to bf16, to nearest and halves to even; a NaN becomes 0x7fff.
__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// 2^x within a 2^-22th of it; 0 where that is below the least normal number.
__device__ __forceinline__ float power_near(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// log2 x within 2^-22 of it, or a 2^-22th where that is more; as usual of 0, infinity and others.
__device__ __forceinline__ float logarithm_near(float x) {
  float y;
  asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#endif
