// SPDX-License-Identifier: Apache-2.0
// reduce: sum, sum of squares and largest along one axis.
// y[o,i] = sum over m of x[o,m,i];  y[o,i] = largest of x[o,m,i];  y[0] = sum of x[i]^2
// Shapes   x [outer, mid, inner]; y [outer, inner]; row-major, contiguous, no aliasing
// Method   a row of neighbours (inner = 1) is added in registers. Columns keep their 32 lanes as 32
//          rows of a block in cache: element (m, i) of x meets element (m mod 32, i) of the block,
//          so that whole runs of x are added, vector by vector, four runs at a time
// Order    32 lanes along mid, fixed fold; largest: the first of equal values in the order of m
//          (inner = 1: of lanes)
// Error    <= 2 x the plain loop; largest exact, NaN if any is NaN
// Work     1 flop (square_sum 2) and one read per element
// Source   elementary
#include "guards/reduce.h"
#include "rows.h"

namespace {

constexpr int64_t kBlockBytes = 1 << 17;  // a block of 32 lanes, an eighth of a usual L2
template <class T>
constexpr int64_t kBlockCols = kBlockBytes / kLanes / static_cast<int64_t>(sizeof(T));
constexpr int kTogether = 4;  // terms that a lane takes in before it is stored again

// to[i] += x[i], then x[step + i], and so on, kRuns terms in all.
template <int kRuns, class T>
PND_INLINE void add_runs(T *to, const T *x, int64_t step, int64_t n) {
  each_vector<T>(n, [=](int64_t i, auto get, auto put) {
    Vec<T> sum = get(to + i);
    PND_UNROLL
    for (int r = 0; r < kRuns; ++r) sum += get(x + r * step + i);
    put(to + i, sum);
  });
}

// The sums of `cols` columns of mid rows, `stride` apart.
template <class T>
void sum_columns(T *y, const T *x, int64_t mid, int64_t stride, int64_t cols) {
  T lanes[kBlockBytes / sizeof(T)];
  // Lanes that have no element need no block: they would add zeros.
  int64_t used = 1;
  while (used < kLanes && used < mid) used *= 2;
  const int64_t filled = std::min(used, mid);
  std::fill_n(lanes + filled * cols, (used - filled) * cols, T{0});
  // run(lane, its first term, elements) for the rows [m, m + rows). Where no columns are left out,
  // they are one run.
  const auto each_lane = [&](int64_t m, int64_t rows, auto &&run) {
    const int64_t count = stride == cols ? 1 : rows, n = stride == cols ? rows * cols : cols;
    for (int64_t l = 0; l < count; ++l) run(lanes + l * cols, x + (m + l) * stride, n);
  };
  // The first terms need no zeros below them.
  each_lane(0, filled, [](T *lane, const T *from, int64_t n) {
    each_vector<T>(n,
                   [=](int64_t i, auto get, auto put) { put(lane + i, Vec<T>{} + get(from + i)); });
  });
  const int64_t step = kLanes * stride;
  int64_t m = kLanes;
  for (; m + kTogether * kLanes <= mid; m += kTogether * kLanes) {
    each_lane(m, kLanes,
              [=](T *lane, const T *from, int64_t n) { add_runs<kTogether>(lane, from, step, n); });
  }
  for (; m < mid; m += kLanes) {
    each_lane(m, std::min<int64_t>(kLanes, mid - m),
              [=](T *lane, const T *from, int64_t n) { add_runs<1>(lane, from, step, n); });
  }
  for (int64_t w = used / 2; w > 0; w /= 2) add_runs<1>(lanes, lanes + w * cols, 0, w * cols);
  std::copy_n(lanes, cols, y);
}

// x where it is larger than `so_far` or NaN.
template <class V>
PND_INLINE V later_larger(V so_far, V x) {
  return choose((x > so_far) | (x != x), x, so_far);
}

// A NaN, which `larger` passes over, is kept apart.
template <class T>
T largest_in(const T *x, int64_t n) {
  Lanes<T> most(-__builtin_inf()), odd;
  over_lanes<T>(
      n, -__builtin_inf(),
      [&](int j, Vec<T> v) {
        most.v[j] = larger(v, most.v[j]);
        odd.v[j] = choose(v == v, odd.v[j], v);
      },
      x);
  const T nothing = odd.fold();
  if (nothing != nothing) return nothing;
  PND_UNROLL
  for (int w = Lanes<T>::kVectors / 2; w > 0; w /= 2) {
    PND_UNROLL
    for (int j = 0; j < w; ++j) most.v[j] = later_larger(most.v[j], most.v[j + w]);
  }
  return fold_vector(most.v[0], [](auto a, auto b) { return later_larger(a, b); });
}

template <class T>
T sum_in(const T *x, int64_t n) {
  Lanes<T> sums;
  over_lanes<T>(
      n, 0, [&](int j, Vec<T> v) { sums.v[j] += v; }, x);
  return sums.fold();
}

template <class T>
void largest_columns(T *y, const T *x, int64_t mid, int64_t stride, int64_t cols) {
  if (cols <= kWidth<T>) {
    Vec<T> most = load_some(x, cols);
    for (int64_t m = 1; m < mid; ++m) {
      most = later_larger(most, load_some(x + m * stride, cols));
    }
    store_some(y, most, cols);
    return;
  }
  std::copy_n(x, cols, y);
  for (int64_t m = 1; m < mid; ++m) {
    each_vector<T>(cols, [&](int64_t i, auto get, auto put) {
      put(y + i, later_larger(get(y + i), get(x + m * stride + i)));
    });
  }
}

// Runs row(y, x) for each row of neighbours or columns(y, x, cols) for each block of columns.
template <class T, class Row, class Columns>
void reduce(pnd_context *context, T *y, const T *x, int64_t outer, int64_t mid, int64_t inner,
            Row &&row, Columns &&columns) {
  if (inner == 1) {
    parallel_rows(context, outer, mid, kSerialMove, [&](int64_t first, int64_t last, int) {
      for (int64_t o = first; o < last; ++o) y[o] = row(x + o * mid);
    });
    return;
  }
  // Whole rows where there is work for all threads otherwise: memory likes long runs.
  constexpr int64_t kLine = 64;
  const int64_t least = outer >= context->threads ? 1 : context->threads;
  const int64_t wanted = ((inner + least - 1) / least + kLine - 1) / kLine * kLine;
  const int64_t cols = std::min({inner, wanted, kBlockCols<T>});
  const int64_t blocks = (inner + cols - 1) / cols;
  parallel_rows(context, outer * blocks, mid * cols, kSerialMove,
                [&](int64_t first, int64_t last, int) {
                  for (int64_t b = first; b < last; ++b) {
                    const int64_t o = b / blocks, i = b % blocks * cols;
                    columns(y + o * inner + i, x + o * mid * inner + i, std::min(cols, inner - i));
                  }
                });
}

template <class Run>
int32_t along_axis(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
                   int64_t outer, int64_t mid, int64_t inner, Run &&run) {
  Call call(context, name);
  guard::reduce(call, dtype, y, x, outer, mid, inner);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    run(static_cast<T *>(y), static_cast<const T *>(x));
  });
}

}  // namespace

int32_t pnd_sum(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                int64_t mid, int64_t inner) {
  return along_axis(context, "sum", dtype, y, x, outer, mid, inner, [&](auto *to, auto *from) {
    using T = std::remove_pointer_t<decltype(to)>;
    reduce(
        context, to, from, outer, mid, inner, [&](const T *row) { return sum_in(row, mid); },
        [&](T *sums, const T *block, int64_t cols) { sum_columns(sums, block, mid, inner, cols); });
  });
}

int32_t pnd_largest(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                    int64_t mid, int64_t inner) {
  return along_axis(context, "largest", dtype, y, x, outer, mid, inner, [&](auto *to, auto *from) {
    using T = std::remove_pointer_t<decltype(to)>;
    reduce(
        context, to, from, outer, mid, inner, [&](const T *row) { return largest_in(row, mid); },
        [&](T *found, const T *block, int64_t cols) {
          largest_columns(found, block, mid, inner, cols);
        });
  });
}

int32_t pnd_square_sum(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  Call call(context, "square_sum");
  guard::square_sum(call, dtype, y, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Lanes<T> sums;
    over_lanes<T>(
        n, 0, [&](int j, Vec<T> v) { sums.v[j] = fma(v, v, sums.v[j]); },
        static_cast<const T *>(x));
    *static_cast<T *>(y) = sums.fold();
  });
}
