// SPDX-License-Identifier: Apache-2.0
// sums: sums over rows for each column, in chunks of 64 rows: each chunk upwards from 0 into
// scratch memory, then chunk by chunk.
#pragma once

#include "packs.cuh"

constexpr int64_t kChunkRows = 64;

// partial[chunk, k, c] = the k-th sum over the rows of a chunk, column c.
template <class T, class Terms>
struct ChunkSums {
  T *partial;
  int64_t rows, cols;
  Terms terms;

  __device__ void operator()(int64_t i) const {
    const int64_t chunk = quotient(i, cols), c = i - chunk * cols;
    const int64_t first = chunk * kChunkRows, left = rows - first;
    const int count = static_cast<int>(left < kChunkRows ? left : kChunkRows);
    T sum[Terms::kSums] = {};
#pragma unroll 8
    for (int r = 0; r < count; ++r) terms.add(sum, first + r, (first + r) * cols + c);
#pragma unroll
    for (int k = 0; k < Terms::kSums; ++k) {
      partial[(chunk * Terms::kSums + k) * cols + c] = sum[k];
    }
  }
};

template <class T, int kSums>
struct AddedChunks {
  T *sums[kSums];
  const T *partial;
  int64_t chunks, cols;

  __device__ void operator()(int64_t c) const {
    T sum[kSums] = {};
#pragma unroll 8
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
      for (int k = 0; k < kSums; ++k) sum[k] += partial[(chunk * kSums + k) * cols + c];
    }
#pragma unroll
    for (int k = 0; k < kSums; ++k) sums[k][c] = sum[k];
  }
};

// sums[k][c] = the sum over rows of what terms.add(sum, row, place) adds to sum[k] at the places
// row * cols + c.
template <class T, class Terms, int kSums>
int32_t sum_chunks(Call &call, pnd_context *context, T *const (&sums)[kSums], int64_t rows,
                   int64_t cols, Terms terms) {
  static_assert(kSums == Terms::kSums);
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  call.reserve(0, chunks * kSums * cols * static_cast<int64_t>(sizeof(T)));
  if (call.refused()) return call.status();
  T *partial = static_cast<T *>(context->scratch);
  const int32_t status =
      each(call, context, chunks * cols, ChunkSums<T, Terms>{partial, rows, cols, terms});
  if (status != PND_OK) return status;
  AddedChunks<T, kSums> added{{}, partial, chunks, cols};
  for (int k = 0; k < kSums; ++k) added.sums[k] = sums[k];
  return each(call, context, cols, added);
}
