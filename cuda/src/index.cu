// SPDX-License-Identifier: Apache-2.0
// index: gather, scatter_add, one_hot.
// y[n,:] = table[index[n],:];  table[r,:] = sum of x[n,:] over the n with index[n] = r;
// y[n,c] = 1 if c = index[n], else 0
// Shapes   y, x [count, cols]; table [rows, cols]; index [count]; one_hot y [count, classes];
//          gather of any type
// Method   gather and one_hot write y in order (packs.cuh); scatter_add: scatter.cuh, with a sort
//          of the places where they are many
// Order    scatter_add: n upwards, one chain per element: the CPU's bits
// Error    gather, one_hot exact; scatter_add as the plain loop. An index outside its range is
//          noted and left out: zeros
// Work     scatter_add 1 flop and 3 element moves per element of x
// Source   elementary
#include "guards/index.h"
#include "packs.cuh"
#include "scatter.cuh"

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

// Rows of x as they are.
template <class T>
struct Plain {
  const T *x;
  int64_t cols;

  __device__ Pack<T> term(int64_t n, int64_t c, bool aligned) const {
    return load_pack(x + n * cols + c, cols - c, aligned);
  }
  __device__ static void add(Pack<T> &sum, const Pack<T> &term) {
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) sum.at[j] += term.at[j];
  }
};

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
    Buckets buckets{count, Range{context->faults, kScatterAdd, 0, rows}};
    if (count > kMostLooked || rows * parts_of<T>(cols) > kMostLookedInAll / count) {
      call.reserve(0, sort_bytes(count));
      if (call.refused()) return call.status();
      const int32_t status = sort(call, context, buckets, index, context->scratch);
      if (status != PND_OK) return status;
    }
    return scatter(call, context, static_cast<T *>(table), index, cols,
                   Plain<T>{static_cast<const T *>(x), cols},
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
