// SPDX-License-Identifier: Apache-2.0
// vector.cuh: 16 bytes of elements, moved by one instruction.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "scalar.cuh"

template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <class T>
struct alignas(16) Vector {
  T of[kVector<T>];
};

template <class T>
__device__ __forceinline__ Vector<T> load_vector(const T *from) {
  return *reinterpret_cast<const Vector<T> *>(from);
}
template <class T>
__device__ __forceinline__ void store_vector(T *to, Vector<T> x) {
  *reinterpret_cast<Vector<T> *>(to) = x;
}

// The vector at `from`, of which `left` elements exist (any number); zeros past them. `whole`: what
// exists may be read at once.
template <class T>
__device__ __forceinline__ Vector<T> load_part(const T *from, int64_t left, bool whole) {
  if (whole && left >= kVector<T>) return load_vector(from);
  Vector<T> x;
  PND_UNROLL
  for (int i = 0; i < kVector<T>; ++i) x.of[i] = i < left ? from[i] : T(0);
  return x;
}
template <class T>
__device__ __forceinline__ void store_part(T *to, Vector<T> x, int64_t left, bool whole) {
  if (whole && left >= kVector<T>) {
    store_vector(to, x);
    return;
  }
  PND_UNROLL
  for (int i = 0; i < kVector<T>; ++i) {
    if (i < left) to[i] = x.of[i];
  }
}

// Whether rows that far apart from `array` on can be moved 16 bytes at a time.
template <class T>
bool moves_whole(const T *array, int64_t stride) {
  return reinterpret_cast<uintptr_t>(array) % 16 == 0 && stride % kVector<T> == 0;
}
