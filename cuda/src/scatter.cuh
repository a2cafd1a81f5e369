// SPDX-License-Identifier: Apache-2.0
// scatter: table[r,:] = sum of the terms of the places n with index[n] = r, n upwards.
// A warp per row of table and 512 bytes of it looks through the places of the index that may be its
// own: all of them, or those of its bucket (buckets.cuh).
#pragma once

#include "buckets.cuh"

constexpr int kFlight = 8;  // rows of x whose loads are under way at once
// Up to here each warp looks through the whole index: places per warp, and in all.
constexpr int64_t kMostLooked = 2048, kMostLookedInAll = int64_t{1} << 24;

// table[r, part] for each row r and each of its parts of a pack per lane.
template <class T, class Terms>
__global__ void __launch_bounds__(kMapThreads)
    scatter_kernel(T *table, const int32_t *index, int64_t cols, int64_t parts, Terms terms,
                   bool aligned, Buckets buckets) {
  const int lane = lane_number();
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kMapThreads / kWarp);
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) / kWarp;
  for (int64_t unit = warp; unit < buckets.range.end * parts; unit += step) {
    const int64_t row = quotient(unit, parts);
    const int64_t c = ((unit - row * parts) * kWarp + lane) * kWide<T>;
    const int64_t end = buckets.end_of(row);
    Pack<T> sum{};
    for (int64_t base = buckets.begin_of(row); base < end; base += kWarp) {
      const int64_t n = base + lane < end ? buckets.place(base + lane) : -1;
      const int32_t r = n < 0 ? -1 : index[n];
      // Buckets without a list have not been through a sort, which checks.
      if (unit == 0 && n >= 0 && buckets.list == nullptr) buckets.range.holds(n, r);
      unsigned found = __ballot_sync(kAllLanes, r == row);
      while (found != 0) {
        decltype(terms.term(0, 0, true)) term[kFlight] = {};
        const int count = __popc(found);
#pragma unroll
        for (int k = 0; k < kFlight; ++k) {
          if (k >= count) break;
          const int64_t from = __shfl_sync(kAllLanes, n, __ffs(static_cast<int>(found)) - 1);
          found &= found - 1;
          if (c < cols) term[k] = terms.term(from, c, aligned);
        }
#pragma unroll
        for (int k = 0; k < kFlight; ++k) {
          if (k >= count) break;
          Terms::add(sum, term[k]);
        }
      }
    }
    if (c < cols) store_pack(table + row * cols + c, sum, cols - c, aligned);
  }
}

// Parts of a row, a pack per lane each.
template <class T>
int64_t parts_of(int64_t cols) {
  return (cols + kWarp * kWide<T> - 1) / (kWarp * kWide<T>);
}

// Terms: term(n, c, aligned) gives what place n adds to the pack at column c, add(sum, term) adds
// it. buckets.range.end is the number of rows.
template <class T, class Terms>
int32_t scatter(Call &call, pnd_context *context, T *table, const int32_t *index, int64_t cols,
                Terms terms, bool aligned, Buckets buckets) {
  const int64_t parts = parts_of<T>(cols);
  return launch(call, context, scatter_kernel<T, Terms>,
                dim3(grid_for(context, buckets.range.end * parts, kMapThreads / kWarp)),
                dim3(kMapThreads), 0, table, index, cols, parts, terms, aligned, buckets);
}
