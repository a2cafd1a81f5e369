// SPDX-License-Identifier: Apache-2.0
// index: gather, scatter_add, one_hot.
// y[n,:] = table[index[n],:];  table[r,:] = sum of x[n,:] over the n with index[n] = r;
// y[n,c] = 1 if c = index[n], else 0
// Shapes   y, x [count, cols]; table [rows, cols]; index [count]; one_hot y [count, classes];
//          gather of any type
// Method   gather and one_hot write y in order (packs.cuh). scatter_add: a warp per row of table
//          and 512 bytes of it looks through the places of the index that may be its own. Where
//          these are many, they are sorted by ranges of rows first (buckets.cuh)
// Order    scatter_add: n upwards, one chain per element: the CPU's bits
// Error    gather, one_hot exact; scatter_add as the plain loop. An index outside its range is
//          noted and left out: zeros
// Work     scatter_add 1 flop and 3 element moves per element of x
// Source   elementary
#include "buckets.cuh"
#include "packs.cuh"

namespace {

// The sources of y (packs.cuh: Written).
template <class E>
struct Gathered {
  const E *table;
  const int32_t *index;
  int64_t run;
  Range range;
  int64_t n, c;
  const E *row;
  __device__ void find() {
    const int32_t r = index[n];
    row = range.holds(n, r) ? table + r * run : nullptr;
  }
  __device__ void begin(int64_t at) {
    n = quotient(at, run);
    c = at - n * run;
    find();
  }
  __device__ E value() const { return row == nullptr ? E{} : row[c]; }
  __device__ void next() {
    if (++c < run) return;
    c = 0, ++n;
    find();
  }
};

// Rows of an odd number of 2-byte elements, one by one: eight at once, each perhaps of another row,
// do not fit into registers.
struct GatheredSingly {
  uint16_t *y;
  Gathered<uint16_t> source;
  __device__ void operator()(int64_t i) const {
    Gathered<uint16_t> from = source;
    from.begin(i);
    y[i] = from.value();
  }
};

template <class T>
struct Marked {
  const int32_t *index;
  int64_t classes;
  Range range;
  int64_t n, c, mark;
  __device__ void find() {
    const int32_t r = index[n];
    mark = range.holds(n, r) ? r : -1;
  }
  __device__ void begin(int64_t at) {
    n = quotient(at, classes);
    c = at - n * classes;
    find();
  }
  __device__ T value() const { return c == mark ? T(1) : T(0); }
  __device__ void next() {
    if (++c < classes) return;
    c = 0, ++n;
    find();
  }
};

constexpr int kFlight = 8;  // rows of x whose loads are under way at once
// Up to here each warp looks through the whole index: places per warp, and in all.
constexpr int64_t kMostLooked = 2048, kMostLookedInAll = int64_t{1} << 24;

// table[r, part] for each row r and each of its parts of a pack per lane.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    scatter_kernel(T *table, const T *x, const int32_t *index, int64_t cols, int64_t parts,
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
        Pack<T> term[kFlight] = {};
        const int count = __popc(found);
#pragma unroll
        for (int k = 0; k < kFlight; ++k) {
          if (k >= count) break;
          const int64_t from = __shfl_sync(kAllLanes, n, __ffs(static_cast<int>(found)) - 1);
          found &= found - 1;
          if (c < cols) term[k] = load_pack(x + from * cols + c, cols - c, aligned);
        }
#pragma unroll
        for (int k = 0; k < kFlight; ++k) {
          if (k >= count) break;
#pragma unroll
          for (int j = 0; j < kWide<T>; ++j) sum.at[j] += term[k].at[j];
        }
      }
    }
    if (c < cols) store_pack(table + row * cols + c, sum, cols - c, aligned);
  }
}

}  // namespace

int32_t pnd_gather(pnd_context *context, int32_t dtype, void *y, const void *table,
                   const int32_t *index, int64_t count, int64_t rows, int64_t cols) {
  Call call(context, "gather");
  guard::gather(call, dtype, y, table, index, count, rows, cols);
  if (call.refused()) return call.status();
  const int64_t bytes = cols * bytes_of(dtype);
  return by_word(
      {bytes},
      [&](auto word) {
        using E = decltype(word);
        const int64_t run = bytes / static_cast<int64_t>(sizeof(E)), n = count * run;
        E *to = static_cast<E *>(y);
        const Gathered<E> source{static_cast<const E *>(table),
                                 index,
                                 run,
                                 Range{context->faults, kGather, 0, rows},
                                 0,
                                 0,
                                 nullptr};
        if constexpr (sizeof(E) == 2) {
          return each(call, context, n, GatheredSingly{to, source});
        } else {
          return write_from(call, context, to, n, source);
        }
      },
      y, table);
}

int32_t pnd_scatter_add(pnd_context *context, int32_t dtype, void *table, const void *x,
                        const int32_t *index, int64_t count, int64_t rows, int64_t cols) {
  Call call(context, "scatter_add");
  guard::scatter_add(call, dtype, table, x, index, count, rows, cols);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t parts = (cols + kWarp * kWide<T> - 1) / (kWarp * kWide<T>);
    Buckets buckets{count, Range{context->faults, kScatterAdd, 0, rows}};
    if (count > kMostLooked || rows * parts > kMostLookedInAll / count) {
      const int32_t status = sort(call, context, buckets, index);
      if (status != PND_OK) return status;
    }
    return launch(call, context, scatter_kernel<T>,
                  dim3(grid_for(context, rows * parts, kMapThreads / kWarp)), dim3(kMapThreads), 0,
                  static_cast<T *>(table), static_cast<const T *>(x), index, cols, parts,
                  aligned_rows(cols * sizeof(T), table, x), buckets);
  });
}

int32_t pnd_one_hot(pnd_context *context, int32_t dtype, void *y, const int32_t *index,
                    int64_t count, int64_t classes) {
  Call call(context, "one_hot");
  guard::one_hot(call, dtype, y, index, count, classes);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return write_from(
        call, context, static_cast<T *>(y), count * classes,
        Marked<T>{index, classes, Range{context->faults, kOneHot, -1, classes}, 0, 0, 0});
  });
}
