// SPDX-License-Identifier: Apache-2.0
// random: the Philox stream as words and as uniform numbers.
// y[4 j + w] = word w of block first + j;  y[i] in [0, 1) from those words
// Shapes   y [n]; step [1]
// Method   one block of the stream per thread: four words, or the numbers they make, are a pack
// Order    each block alone: the CPU's bits
// Error    exact
// Work     20 products of 32 bits per four words
// Source   Salmon, Moraes, Dror, Shaw, SC 2011
#include "guards/random.h"
#include "packs.cuh"
#include "scalar.cuh"
// After scalar.cuh, which says how what both libraries share is compiled.
#include "philox.h"

namespace {

// What a block's words become.
__device__ __forceinline__ Pack<uint32_t> pack_of(PhiloxBlock words, uint32_t) {
  Pack<uint32_t> y;
#pragma unroll
  for (int w = 0; w < 4; ++w) y.at[w] = words.word[w];
  return y;
}
__device__ __forceinline__ Pack<float> pack_of(PhiloxBlock words, float) {
  Pack<float> y;
#pragma unroll
  for (int w = 0; w < 4; ++w) y.at[w] = uniform_of(words.word[w]);
  return y;
}
__device__ __forceinline__ Pack<double> pack_of(PhiloxBlock words, double) {
  return {{uniform_of(words.word[0], words.word[1]), uniform_of(words.word[2], words.word[3])}};
}

template <class T>
struct Stream {
  T *y;
  const int64_t *step;
  int64_t first, row, key;

  __device__ void operator()(Stretch<T> at) const {
    const auto block = static_cast<uint32_t>(first + at.first / kWide<T>);
    at.store(y, pack_of(philox_block(block, philox_stream(row, *step, key)), T{}));
  }
};

}  // namespace

int32_t pnd_philox(pnd_context *context, uint32_t *y, const int64_t *step, int64_t n, int64_t first,
                   int64_t row, int64_t key) {
  Call call(context, "philox");
  guard::philox(call, y, step, n, first, row, key);
  if (call.refused()) return call.status();
  return each_pack<uint32_t>(call, context, n, aligned_rows(0, y),
                             Stream<uint32_t>{y, step, first, row, key});
}

int32_t pnd_uniform(pnd_context *context, int32_t dtype, void *y, const int64_t *step, int64_t n,
                    int64_t row, int64_t key) {
  Call call(context, "uniform");
  guard::uniform(call, dtype, y, step, n, row, key);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each_pack<T>(call, context, n, aligned_rows(0, y),
                        Stream<T>{static_cast<T *>(y), step, 0, row, key});
  });
}
