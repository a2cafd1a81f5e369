// SPDX-License-Identifier: Apache-2.0
// pack.cuh: 16 bytes of neighbours, moved by one instruction where they are aligned.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

// kWide neighbours.
template <class T>
struct alignas(16) Pack {
  T at[kWide<T>];
};

// Whether each of the arrays, and each row of so many bytes in it, is aligned to a pack.
template <class... X>
bool aligned_rows(int64_t row_bytes, const X *...x) {
  return ((row_bytes % 16 == 0) && ... && (reinterpret_cast<uintptr_t>(x) % 16 == 0));
}

// A pack that is aligned and whole.
template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T *from) {
  return *reinterpret_cast<const Pack<T> *>(from);
}
template <class T>
__device__ __forceinline__ void store_pack(T *to, const Pack<T> &x) {
  *reinterpret_cast<Pack<T> *>(to) = x;
}

// The first `rest` of a pack's elements, zeros behind them.
template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T *from, int64_t rest, bool aligned) {
  if (aligned && rest >= kWide<T>) return load_pack(from);
  Pack<T> x;
#pragma unroll
  for (int j = 0; j < kWide<T>; ++j) x.at[j] = j < rest ? from[j] : T{};
  return x;
}

template <class T>
__device__ __forceinline__ void store_pack(T *to, const Pack<T> &x, int64_t rest, bool aligned) {
  if (aligned && rest >= kWide<T>) {
    store_pack(to, x);
    return;
  }
#pragma unroll
  for (int j = 0; j < kWide<T>; ++j) {
    if (j < rest) to[j] = x.at[j];
  }
}

// Whether rows that far apart from `array` on can be moved 16 bytes at a time.
template <class T>
bool moves_whole(const T *array, int64_t stride) {
  return aligned_rows(stride * static_cast<int64_t>(sizeof(T)), array);
}
