// SPDX-License-Identifier: Apache-2.0
// reduce: sum, sum of squares and largest along one axis.
// y[o,i] = sum over m of x[o,m,i];  y[o,i] = largest of x[o,m,i];  y[0] = sum of x[i]^2
// Shapes   x [outer, mid, inner]; y [outer, inner]; row-major, contiguous, no aliasing
// Method   a row of neighbours (inner = 1) by a team of threads (rows.cuh), columns by a block, of
//          which each thread has one column and every so many-th row; a long axis in chunks, whose
//          results lie in scratch memory and are reduced likewise
// Order    each thread's elements upwards, then a tree over threads, then chunks likewise; all by
//          shape alone
// Error    <= 2 x the plain loop; largest exact, NaN if any is NaN
// Work     1 flop (square_sum 2) and one read per element
// Source   elementary
#include "guards/reduce.h"
#include "rows.cuh"

namespace {

template <class T>
struct Sum {
  using Again = Sum;  // what folds results
  static __device__ __forceinline__ T start() { return 0; }
  static __device__ __forceinline__ T add(T sum, T x) { return sum + x; }
};

template <class T>
struct SquareSum {
  using Again = Sum<T>;
  static __device__ __forceinline__ T start() { return 0; }
  static __device__ __forceinline__ T add(T sum, T x) { return fma(x, x, sum); }
};

template <class T>
struct Largest {
  using Again = Largest;
  static __device__ __forceinline__ T start() { return -static_cast<T>(__builtin_huge_val()); }
  static __device__ __forceinline__ T add(T so_far, T x) {
    return x > so_far || x != x ? x : so_far;
  }
};

// ---- rows ---------------------------------------------------------------------------------------

// What a block holds in registers.
template <class T>
constexpr int64_t kRowChunk = 256 * kHeld<256> *kWide<T>;

// y[o, chunk] from x[o, m]; a line is a chunk.
template <class Op, class T>
struct RowChunks {
  T *y;
  const T *x;
  int64_t mid, chunks;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t o = quotient(line.row, chunks), first = (line.row - o * chunks) * kRowChunk<T>;
    if (line.cols > mid - first) line.cols = mid - first;
    const Held<T, kTeam> row(x + o * mid + first, line);
    T result[] = {Op::start()};
    over_row<T>(
        line, [&](T v) { result[0] = Op::add(result[0], v); }, row);
    fold_team<kTeam>(result, [](T a, T b) { return Op::Again::add(a, b); });
    if (line.leads()) y[line.row] = result[0];
  }
};

// ---- columns ------------------------------------------------------------------------------------

constexpr int64_t kTile = 64;         // columns per block
constexpr int64_t kTerms = 32;        // rows that a thread adds
constexpr int64_t kFewRows = kTerms;  // so few are left to one thread

// A block has `groups` threads per column.
struct Columns {
  int64_t outer, mid, inner;
  int width, groups;
  int64_t tiles, chunk, chunks;

  Columns(int64_t outer, int64_t mid, int64_t inner)
      : outer(outer),
        mid(mid),
        inner(inner),
        width(static_cast<int>(inner < kTile ? inner : kTile)),
        groups(kMapThreads / width),
        tiles((inner + width - 1) / width),
        chunk(groups * kTerms),
        chunks((mid + chunk - 1) / chunk) {}
};

// y[o, chunk, i] from x[o, m, i].
template <class Op, class T>
__global__ void __launch_bounds__(kMapThreads) columns_kernel(T *y, const T *x, Columns s) {
  T *shared = shared_memory<T>();
  const int across = threadIdx.x % s.width, group = threadIdx.x / s.width;
  int half = 1;
  while (2 * half < s.groups) half *= 2;
  const int64_t blocks = s.outer * s.chunks * s.tiles;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t result = quotient(block, s.tiles);
    const int64_t i = (block - result * s.tiles) * s.width + across;
    const int64_t o = quotient(result, s.chunks), first = (result - o * s.chunks) * s.chunk;
    const int64_t last = first + s.chunk < s.mid ? first + s.chunk : s.mid;
    const bool mine = group < s.groups && i < s.inner;
    T sum = Op::start();
    if (mine) {
      const T *column = x + o * s.mid * s.inner + i;
#pragma unroll 8
      for (int64_t m = first + group; m < last; m += s.groups) {
        sum = Op::add(sum, column[m * s.inner]);
      }
    }
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (int w = half; w > 0; w /= 2) {
      if (mine && group < w && group + w < s.groups) {
        T &to = shared[threadIdx.x];
        to = Op::Again::add(to, shared[threadIdx.x + w * s.width]);
      }
      __syncthreads();
    }
    if (mine && group == 0) y[result * s.inner + i] = shared[threadIdx.x];
  }
}

// The same by one thread per column.
template <class Op, class T>
struct ShortColumns {
  T *y;
  const T *x;
  int64_t mid, inner;
  __device__ void operator()(int64_t at) const {
    const int64_t o = quotient(at, inner), i = at - o * inner;
    T sum = Op::start();
#pragma unroll 8
    for (int64_t m = 0; m < mid; ++m) sum = Op::add(sum, x[(o * mid + m) * inner + i]);
    y[at] = sum;
  }
};

// ---- both ---------------------------------------------------------------------------------------

// Reduces mid to the number of chunks, or to one if y is where that number would be one.
template <class Op, class T>
int32_t reduce_once(Call &call, pnd_context *context, T *y, const T *x, int64_t outer, int64_t mid,
                    int64_t inner, int64_t chunks) {
  if (inner == 1) {
    return each_row<T>(call, context, outer * chunks, mid < kRowChunk<T> ? mid : kRowChunk<T>,
                       aligned_rows(mid * sizeof(T), x), RowChunks<Op, T>{y, x, mid, chunks});
  }
  if (mid <= kFewRows) {
    return each(call, context, outer * inner, ShortColumns<Op, T>{y, x, mid, inner});
  }
  const Columns s(outer, mid, inner);
  return launch(call, context, columns_kernel<Op, T>,
                dim3(grid_for(context, outer * s.chunks * s.tiles, 1)), dim3(kMapThreads),
                kMapThreads * sizeof(T), y, x, s);
}

template <class T>
int64_t chunks_of(int64_t mid, int64_t inner) {
  if (inner == 1) return (mid + kRowChunk<T> - 1) / kRowChunk<T>;
  return mid <= kFewRows ? 1 : Columns(1, mid, inner).chunks;
}

template <class Op, class T>
int32_t reduce(Call &call, pnd_context *context, T *y, const T *x, int64_t outer, int64_t mid,
               int64_t inner) {
  const int64_t chunks = chunks_of<T>(mid, inner);
  int64_t partials = 0;
  for (int64_t n = chunks; n > 1; n = chunks_of<T>(n, inner)) partials += outer * n * inner;
  call.reserve(0, partials * static_cast<int64_t>(sizeof(T)));
  if (call.refused()) return call.status();
  T *partial = static_cast<T *>(context->scratch);
  int32_t status =
      reduce_once<Op>(call, context, chunks == 1 ? y : partial, x, outer, mid, inner, chunks);
  for (int64_t n = chunks; n > 1 && status == PND_OK;) {
    const int64_t fewer = chunks_of<T>(n, inner);
    T *next = partial + outer * n * inner;
    status = reduce_once<typename Op::Again>(call, context, fewer == 1 ? y : next, partial, outer,
                                             n, inner, fewer);
    partial = next, n = fewer;
  }
  return status;
}

template <template <class> class Op>
int32_t along_axis(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
                   int64_t outer, int64_t mid, int64_t inner) {
  Call call(context, name);
  guard::reduce(call, dtype, y, x, outer, mid, inner);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return reduce<Op<T>>(call, context, static_cast<T *>(y), static_cast<const T *>(x), outer, mid,
                         inner);
  });
}

}  // namespace

int32_t pnd_sum(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                int64_t mid, int64_t inner) {
  return along_axis<Sum>(context, "sum", dtype, y, x, outer, mid, inner);
}

int32_t pnd_largest(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                    int64_t mid, int64_t inner) {
  return along_axis<Largest>(context, "largest", dtype, y, x, outer, mid, inner);
}

int32_t pnd_square_sum(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  Call call(context, "square_sum");
  guard::square_sum(call, dtype, y, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return reduce<SquareSum<T>>(call, context, static_cast<T *>(y), static_cast<const T *>(x), 1, n,
                                1);
  });
}
