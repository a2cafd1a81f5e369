// SPDX-License-Identifier: Apache-2.0
// attention.cuh: what attention.cu and attention_backward.cu share: the sizes of a call, which keys
// a query sees, and a block's tiles.
#pragma once

#include "context.cuh"
#include "tile.cuh"

constexpr int kTileSteps = 64;  // keys (queries) that a block's rows meet at a time
constexpr int kPerThread = kTileSteps / kTileSide;  // of them per thread: x, x + 16, ...

// Blocks that a multiprocessor must be able to hold at once: what bounds a thread's registers.
template <class T>
constexpr int kBlocks = sizeof(T) == 4 ? 2 : 1;

// T: what the arrays hold.
template <class T>
struct AttentionSizes {
  int64_t batch, heads, q_steps, k_steps, head_size, mask_batch, mask_heads, mask_steps;
  const int32_t *lengths;
  Range length_range;
  Computed<T> scale;
  bool causal, whole;  // whole: rows can be moved 16 bytes at a time

  PND_SHARED int64_t pairs() const { return batch * heads; }
  PND_SHARED int64_t row_stride() const { return heads * head_size; }
  PND_SHARED int64_t query_start(int64_t pair) const {
    return (pair / heads * q_steps * heads + pair % heads) * head_size;
  }
  PND_SHARED int64_t key_start(int64_t pair) const {
    return (pair / heads * k_steps * heads + pair % heads) * head_size;
  }
  // The matrix of masks that a pair (batch, head) adds, and the distance between its rows.
  PND_SHARED int64_t mask_matrix(int64_t pair) const {
    return (mask_batch == 1 ? 0 : pair / heads) * mask_heads + (mask_heads == 1 ? 0 : pair % heads);
  }
  PND_SHARED int64_t mask_stride() const { return mask_steps == 1 ? 0 : k_steps; }
  __device__ const T *mask_of(const T *mask, int64_t pair) const {
    return mask == nullptr ? nullptr : mask + mask_matrix(pair) * mask_steps * k_steps;
  }

  // How many keys of that sequence exist. A length outside its range is noted and counts as 0.
  __device__ int64_t length(int64_t b) const {
    if (lengths == nullptr) return k_steps;
    const int value = lengths[b];
    return length_range.holds(b, value) ? value : 0;
  }
};

// Which keys a query sees: the first count(query) ones.
template <class T>
struct Sight {
  int64_t length, offset;
  bool causal;

  __device__ Sight(const AttentionSizes<T> &sizes, int64_t b)
      : length(sizes.length(b)), offset(sizes.k_steps - sizes.q_steps + 1), causal(sizes.causal) {}

  __device__ int64_t count(int64_t query) const {
    const int64_t most = causal ? query + offset : length;
    return most < 0 ? 0 : most < length ? most : length;
  }
  // The first query that sees the key, if any does.
  __device__ int64_t first_query(int64_t key) const {
    const int64_t first = causal ? key - offset + 1 : 0;
    return first < 0 ? 0 : first;
  }
  // The first of the queries from `query` on that sees the key, as far as it matters to kTileSteps
  // keys and queries: below 0 where it came before them. One more for the next key.
  __device__ int first_of(int64_t key, int64_t query) const {
    const int64_t first = causal ? key - offset + 1 - query : -kTileSteps;
    return static_cast<int>(first < -kTileSteps  ? -kTileSteps
                            : first < kTileSteps ? first
                                                 : kTileSteps);
  }
};

// A block's tiles for heads of up to kHead: kFixed matrices (q, dout or k, v) of kRows rows that
// stay, a chunk of the rows that pass by, and the tile of scores.
template <class T, int kHead_, int kFixed>
struct AttentionTiles {
  static constexpr int kHead = kHead_;
  static constexpr int kBytes = static_cast<int>(sizeof(T));
  static constexpr int kRoom = kFixed == 1 && kBytes == 4 ? 32 << 10 : 16 << 10;
  static constexpr int kFit = kRoom / (kHead * kBytes);  // rows that stay in 16 or 32 KiB each
  static constexpr int kRows = kFit > 64 ? 64 : kFit < 16 ? 16 : kFit;
  static constexpr int kOwn = kRows / kTileSide;   // rows per thread
  static constexpr int kCols = kHead / kTileSide;  // columns of a row of out per thread
  static constexpr int kFixedStride = kHead + kWide<T>;
  static constexpr int kScoreStride = kTileSteps + kWide<T>;
  // A chunk is kTileSteps rows of kDeep columns, or kFew rows of kHead.
  static constexpr int kMostDeep = 256 / kBytes;
  static constexpr int kDeep = kHead < kMostDeep ? kHead : kMostDeep;
  static constexpr int kDeepStride = kDeep + kWide<T>;
  static constexpr int kMostFew = (16 << 10) / (kHead * kBytes);
  static constexpr int kFew = kMostFew < kTileSteps ? kMostFew : kTileSteps;
  static constexpr int kChunk =
      kTileSteps * kDeepStride > kFew *kHead ? kTileSteps *kDeepStride : kFew *kHead;
  static constexpr int kFixedSize = kRows * kFixedStride;
  static constexpr int kElements = kFixed * kFixedSize + kChunk + kRows * kScoreStride;
  static constexpr size_t kShared = kElements * sizeof(T);
  static_assert(kShared <= 99 << 10, "fits every device");

  T *fixed, *chunk, *scores;

  __device__ AttentionTiles()
      : fixed(shared_memory<T>()), chunk(fixed + kFixed * kFixedSize), scores(chunk + kChunk) {}

  // sum += rows of the m-th fixed matrix . rows of `from`: kTileSteps of them, of which `count`
  // exist. Between barriers of its own.
  template <int kRowsOwn>
  __device__ __forceinline__ void dots(T (&sum)[kRowsOwn][kPerThread], int m, const T *from,
                                       int64_t stride, int count, int64_t head_size,
                                       bool whole) const {
    const T *rows = fixed + m * kFixedSize + tile_y() * kRowsOwn * kFixedStride;
#pragma unroll 1
    for (int d = 0; d < head_size; d += kDeep) {
      __syncthreads();
      copy_tile<kTileSteps, kDeep>(chunk, kDeepStride, from + d, stride, count, head_size - d,
                                   whole);
      await_copies<0>();
      __syncthreads();
      add_dots<kDeep>(sum, rows + d, kFixedStride, chunk + tile_x() * kDeepStride, kDeepStride);
    }
  }

  // sum += scores . rows of `from`, `count` of which exist. Row i of the thread takes columns
  // low[i] to high[i] of the scores; `all`: every row takes all kTileSteps. Between barriers of its
  // own.
  template <int kRowsOwn>
  __device__ __forceinline__ void products(T (&sum)[kRowsOwn][kCols], const T *from, int64_t stride,
                                           int count, int64_t head_size, bool whole, bool all,
                                           const int (&low)[kRowsOwn],
                                           const int (&high)[kRowsOwn]) const {
    const T *rows = scores + tile_y() * kRowsOwn * kScoreStride;
#pragma unroll 1
    for (int k = 0; k < count; k += kFew) {
      __syncthreads();
      copy_tile<kFew, kHead>(chunk, kHead, from + k * stride, stride, count - k, head_size, whole);
      await_copies<0>();
      __syncthreads();
      if (all) {
        add_products<kFew>(sum, rows + k, kScoreStride, chunk, kHead);
      } else {
        add_some_products<kFew>(sum, rows + k, kScoreStride, chunk, kHead, k, low, high);
      }
    }
  }
};

// to[row i] = factor[i] sum[i] for the thread's rows below `rows`; zeros where the factor is 0.
template <class T, int kRows, int kCols>
__device__ __forceinline__ void store_rows(T *to, int64_t stride, T (&sum)[kRows][kCols], int rows,
                                           int64_t head_size, const T (&factor)[kRows]) {
  PND_UNROLL
  for (int i = 0; i < kRows; ++i) {
    const int row = tile_y() * kRows + i;
    PND_UNROLL
    for (int j = 0; j < kCols; ++j) {
      const int col = Columns<T, kCols>::at(j);
      if (row >= rows || col >= head_size) continue;
      to[row * stride + col] = factor[i] == 0 ? T(0) : factor[i] * sum[i][j];
    }
  }
}

// Calls body(the head size to compile for as a constant).
template <class F>
void by_head_size(int64_t head_size, F &&body) {
  if (head_size <= 32) return body(std::integral_constant<int, 32>{});
  if (head_size <= 64) return body(std::integral_constant<int, 64>{});
  if (head_size <= 128) return body(std::integral_constant<int, 128>{});
  body(std::integral_constant<int, 256>{});
}

template <class T>
AttentionSizes<T> attention_sizes(pnd_context *context, Checked array, const int32_t *lengths,
                                  int64_t batch, int64_t heads, int64_t q_steps, int64_t k_steps,
                                  int64_t head_size, int64_t mask_batch, int64_t mask_heads,
                                  int64_t mask_steps, double scale, int32_t causal) {
  return {batch,
          heads,
          q_steps,
          k_steps,
          head_size,
          mask_batch,
          mask_heads,
          mask_steps,
          lengths,
          Range{context->faults, array, 0, k_steps + 1},
          static_cast<Computed<T>>(scale),
          causal != 0,
          head_size % kWide<T> == 0};
}
