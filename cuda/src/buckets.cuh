// SPDX-License-Identifier: Apache-2.0
// buckets: the places of an index, sorted by ranges of rows and rising within each: one turn of a
// radix sort. A tile of the index belongs to a block, a part of it to a warp: tiles count their
// values per bucket; one block adds the counts up; then every value knows its place.
// Source   Merrill, Grimshaw, Parallel Processing Letters 21(2), 2011
#pragma once

#include "packs.cuh"
#include "ptx.cuh"
#include "warp.cuh"

constexpr int kBucketBits = 10, kBuckets = 1 << kBucketBits;
constexpr int kTileWarps = 8;
constexpr int kTilePart = 1024, kTilePlaces = kTileWarps * kTilePart;

struct Buckets {
  int64_t count;
  Range range;  // of rows, from 0; one that begins with -1 lets places without a row pass
  int64_t rows_each = 1;
  const int64_t *list = nullptr;    // [count]; null: all is one bucket
  const int64_t *starts = nullptr;  // [kBuckets + 1], places in the list

  // Where the places of a row are in the list, or may be.
  __device__ int64_t begin_of(int64_t row) const {
    return list == nullptr ? 0 : starts[quotient(row, rows_each)];
  }
  __device__ int64_t end_of(int64_t row) const {
    return list == nullptr ? count : starts[quotient(row, rows_each) + 1];
  }
  __device__ int64_t place(int64_t at) const { return list == nullptr ? at : list[at]; }
};

// Calls f(n, bucket, rank) for the places n of this warp's part whose value is in its range, where
// counts[bucket] was raised `rank` times before.
template <class F>
__device__ void rank_part(const Buckets &buckets, const int32_t *index, int64_t first, bool notes,
                          unsigned *counts, F f) {
  const unsigned lane = threadIdx.x % kWarp;
  for (int i = 0; i < kTilePart; i += kWarp) {
    const int64_t n = first + i + lane;
    int bucket = kBuckets;  // none
    if (n < buckets.count) {
      const int32_t r = index[n];
      const bool inside = !notes || buckets.range.holds(n, r);
      if (inside && r >= 0 && r < buckets.range.end)
        bucket = static_cast<int>(quotient(r, buckets.rows_each));
    }
    unsigned peers = kAllLanes;  // the lanes of the same bucket
#pragma unroll
    for (int bit = 0; bit <= kBucketBits; ++bit) {
      const bool set = (bucket >> bit & 1) != 0;
      const unsigned lanes = __ballot_sync(kAllLanes, set);
      peers &= set ? lanes : ~lanes;
    }
    const int before = __popc(peers & ((1u << lane) - 1));
    const unsigned rank = bucket < kBuckets ? counts[bucket] + before : 0;
    __syncwarp();
    if (bucket < kBuckets) {
      if (before == 0) counts[bucket] += __popc(peers);
      f(n, bucket, rank);
    }
    __syncwarp();
  }
}

// Counts a tile: counts[warp, bucket] in shared memory.
inline __device__ unsigned *count_tile(const Buckets &buckets, const int32_t *index, bool notes) {
  unsigned *counts = shared_memory<unsigned>();
  for (int i = threadIdx.x; i < kTileWarps * kBuckets; i += kMapThreads) counts[i] = 0;
  __syncthreads();
  const int warp = warp_number();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTilePlaces + warp * kTilePart;
  rank_part(buckets, index, first, notes, counts + warp * kBuckets, [](int64_t, int, unsigned) {});
  __syncthreads();
  return counts;
}

// offsets[tile, bucket] = how many values of the tile fall into the bucket.
static __global__ void __launch_bounds__(kMapThreads)
    count_kernel(Buckets buckets, const int32_t *index, int64_t *offsets) {
  const unsigned *counts = count_tile(buckets, index, true);
  for (int b = threadIdx.x; b < kBuckets; b += kMapThreads) {
    unsigned sum = 0;
    for (int w = 0; w < kTileWarps; ++w) sum += counts[w * kBuckets + b];
    offsets[static_cast<int64_t>(blockIdx.x) * kBuckets + b] = sum;
  }
}

// offsets[tile, bucket] becomes the number of values in the bucket's earlier tiles; starts[bucket]
// the number in earlier buckets. One block, a thread per bucket.
static __global__ void __launch_bounds__(kBuckets)
    offsets_kernel(int64_t *offsets, int64_t tiles, int64_t *starts) {
  int64_t *totals = shared_memory<int64_t>();
  const int b = threadIdx.x;
  int64_t total = 0;
#pragma unroll 4
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t own = offsets[tile * kBuckets + b];
    offsets[tile * kBuckets + b] = total;
    total += own;
  }
  totals[b] = total;
  __syncthreads();
  for (int apart = 1; apart < kBuckets; apart *= 2) {
    const int64_t earlier = b >= apart ? totals[b - apart] : 0;
    __syncthreads();
    totals[b] += earlier;
    __syncthreads();
  }
  starts[b + 1] = totals[b];
  if (b == 0) starts[0] = 0;
}

// list[starts[bucket] + offsets[tile, bucket] + ...] = n, n rising.
static __global__ void __launch_bounds__(kMapThreads)
    place_kernel(Buckets buckets, const int32_t *index, const int64_t *offsets, int64_t *list) {
  unsigned *counts = count_tile(buckets, index, false);
  for (int b = threadIdx.x; b < kBuckets; b += kMapThreads) {
    unsigned sum = 0;
    for (int w = 0; w < kTileWarps; ++w) {
      const unsigned own = counts[w * kBuckets + b];
      counts[w * kBuckets + b] = sum;
      sum += own;
    }
  }
  __syncthreads();
  const int warp = warp_number();
  const int64_t tile = blockIdx.x, first = tile * kTilePlaces + warp * kTilePart;
  rank_part(buckets, index, first, false, counts + warp * kBuckets,
            [&](int64_t n, int bucket, unsigned rank) {
              list[buckets.starts[bucket] + offsets[tile * kBuckets + bucket] + rank] = n;
            });
}

// Tiles of an index, and what their sort needs in bytes.
inline int64_t tiles_of(int64_t count) { return (count + kTilePlaces - 1) / kTilePlaces; }
inline int64_t sort_bytes(int64_t count) {
  const int64_t numbers = count + tiles_of(count) * kBuckets + kBuckets + 1;
  return numbers * static_cast<int64_t>(sizeof(int64_t));
}

// Sorts the places of the index, in memory of sort_bytes(count). Values outside the range are noted
// and left out.
inline int32_t sort(Call &call, pnd_context *context, Buckets &buckets, const int32_t *index,
                    void *memory) {
  const int64_t tiles = tiles_of(buckets.count), offset_count = tiles * kBuckets;
  call.require(tiles <= INT32_MAX, "count = %lld is too large",
               static_cast<long long>(buckets.count));
  if (call.refused()) return call.status();
  int64_t *list = static_cast<int64_t *>(memory), *offsets = list + buckets.count;
  int64_t *starts = offsets + offset_count;
  buckets.rows_each = (buckets.range.end + kBuckets - 1) / kBuckets;
  buckets.list = list;
  buckets.starts = starts;
  constexpr size_t kCounts = kTileWarps * kBuckets * sizeof(unsigned);
  const dim3 grid(static_cast<unsigned>(tiles)), block(kMapThreads);
  int32_t status =
      launch(call, context, count_kernel, grid, block, kCounts, buckets, index, offsets);
  if (status != PND_OK) return status;
  status = launch(call, context, offsets_kernel, dim3(1), dim3(kBuckets),
                  kBuckets * sizeof(int64_t), offsets, tiles, starts);
  if (status != PND_OK) return status;
  return launch(call, context, place_kernel, grid, block, kCounts, buckets, index, offsets, list);
}
