// SPDX-License-Identifier: Apache-2.0
// packs: loops over elements that do not meet, 16 bytes at a time. An array that is aligned only to
// its element is read and written element by element: the same places, the same bits.
#pragma once

#include "map.cuh"
#include "pack.cuh"

// a / b of numbers that are not negative; 32 bits, where they suffice, are much quicker.
__host__ __device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) {
  if ((a | b) >> 32 == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

// The elements [first, first + min(rest, kWide)) of arrays.
template <class T>
struct Stretch {
  int64_t first, rest;
  bool aligned;

  __device__ __forceinline__ Pack<T> load(const T *x) const {
    return load_pack(x + first, rest, aligned);
  }
  __device__ __forceinline__ void store(T *y, const Pack<T> &x) const {
    store_pack(y + first, x, rest, aligned);
  }
};

template <class T, class F>
__global__ void __launch_bounds__(kMapThreads) each_pack_kernel(int64_t n, bool aligned, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kMapThreads * kWide<T>;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  for (int64_t i = thread * kWide<T>; i < n; i += step) f(Stretch<T>{i, n - i, aligned});
}

// Calls f(stretch) for stretches that cover [0, n).
template <class T, class F>
int32_t each_pack(Call &call, pnd_context *context, int64_t n, bool aligned, F f) {
  return launch(call, context, each_pack_kernel<T, F>,
                dim3(grid_for(context, n, kMapThreads * kWide<T>)), dim3(kMapThreads), 0, n,
                aligned, f);
}

// y[i] = the i-th value of a source: begin(i) goes to a place, value() is what stands there, next()
// goes on by one.
template <class E, class Source>
struct Written {
  E *y;
  Source source;

  __device__ void operator()(Stretch<E> at) const {
    Source from = source;
    from.begin(at.first);
    Pack<E> x{};
#pragma unroll
    for (int j = 0; j < kWide<E>; ++j) {
      if (j >= at.rest) break;
      if (j > 0) from.next();
      x.at[j] = from.value();
    }
    at.store(y, x);
  }
};
template <class E, class Source>
int32_t write_from(Call &call, pnd_context *context, E *y, int64_t n, Source source) {
  return each_pack<E>(call, context, n, aligned_rows(0, y), Written<E, Source>{y, source});
}

// Runs f(uint4{}), f(uint64_t{}), f(uint32_t{}) or f(uint16_t{}): the largest word that divides the
// numbers of bytes and the addresses.
template <class F, class... X>
int32_t by_word(std::initializer_list<int64_t> bytes, F &&f, const X *...x) {
  uint64_t all = (uint64_t{0} | ... | reinterpret_cast<uintptr_t>(x));
  for (int64_t n : bytes) all |= static_cast<uint64_t>(n);
  if (all % 16 == 0) return f(uint4{});
  if (all % 8 == 0) return f(uint64_t{});
  if (all % 4 == 0) return f(uint32_t{});
  return f(uint16_t{});
}
