// SPDX-License-Identifier: Apache-2.0
// index: gather, scatter_add, one_hot.
// y[n,:] = table[index[n],:];  table[r,:] = sum of x[n,:] over the n with index[n] = r;
// y[n,c] = 1 if c = index[n], else 0
// Shapes   y, x [count, cols]; table [rows, cols]; index [count]; one_hot y [count, classes];
//          gather of elements of 2, 4 or 8 bytes, any type
// Method   gather and one_hot by rows of y. scatter_add: table is cut into column blocks, or, where
//          rows are short, into row ranges; each piece sees every index, so no two threads meet
// Order    scatter_add: n upwards, one chain per element
// Error    gather, one_hot exact; scatter_add as the plain loop, bit for bit
// Work     scatter_add 1 flop and 3 element moves per element of x
// Source   elementary
#include <cstring>

#include "guards/index.h"
#include "map.h"

namespace {

// Rows [first, last) and columns [start, start + width) of table.
template <class T>
void scatter_piece(T *table, const T *x, const int32_t *index, int64_t count, int64_t first,
                   int64_t last, int64_t cols, int64_t start, int64_t width) {
  if (width == cols) {
    std::memset(table + first * cols, 0, (last - first) * cols * sizeof(T));
  } else {
    for (int64_t r = first; r < last; ++r) std::fill_n(table + r * cols + start, width, T{0});
  }
  for (int64_t n = 0; n < count; ++n) {
    const int64_t r = index[n];
    if (r < first || r >= last) continue;
    T *to = table + r * cols + start;
    const T *from = x + n * cols + start;
    int64_t c = 0;
    for (; c + kWidth<T> <= width; c += kWidth<T>) store(to + c, load(to + c) + load(from + c));
    for (; c < width; ++c) to[c] += from[c];
  }
}

}  // namespace

int32_t pnd_gather(pnd_context *context, int32_t dtype, void *y, const void *table,
                   const int32_t *index, int64_t count, int64_t rows, int64_t cols) {
  Call call(context, "gather");
  guard::gather(call, dtype, y, table, index, count, rows, cols);
  call.indices("index", index, count, 0, rows);
  if (call.refused()) return call.status();
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *from = static_cast<const T *>(table);
    parallel_rows(context, count, cols, kSerialMove, [&](int64_t first, int64_t last, int) {
      for (int64_t n = first; n < last; ++n) {
        copy_run(to + n * cols, from + index[n] * cols, cols);
      }
    });
  });
}

int32_t pnd_scatter_add(pnd_context *context, int32_t dtype, void *table, const void *x,
                        const int32_t *index, int64_t count, int64_t rows, int64_t cols) {
  Call call(context, "scatter_add");
  guard::scatter_add(call, dtype, table, x, index, count, rows, cols);
  call.indices("index", index, count, 0, rows);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(table);
    const T *from = static_cast<const T *>(x);
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    const int64_t threads = context->threads;
    if ((count + rows) * cols < kSerialMove || threads == 1) {
      scatter_piece(to, from, index, count, 0, rows, cols, 0, cols);
    } else if (cols >= 2 * threads * kLine) {
      const int64_t lines = (cols + kLine - 1) / kLine;
      parallel(context, threads, [&](int64_t chunk, int) {
        const int64_t start = chunk * lines / threads * kLine;
        const int64_t end = std::min(cols, (chunk + 1) * lines / threads * kLine);
        scatter_piece(to, from, index, count, 0, rows, cols, start, end - start);
      });
    } else {
      const int64_t pieces = std::min(rows, threads);
      parallel(context, pieces, [&](int64_t chunk, int) {
        scatter_piece(to, from, index, count, chunk * rows / pieces, (chunk + 1) * rows / pieces,
                      cols, 0, cols);
      });
    }
  });
}

int32_t pnd_one_hot(pnd_context *context, int32_t dtype, void *y, const int32_t *index,
                    int64_t count, int64_t classes) {
  Call call(context, "one_hot");
  guard::one_hot(call, dtype, y, index, count, classes);
  call.indices("index", index, count, -1, classes);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    parallel_rows(context, count, classes, kSerialMove, [&](int64_t first, int64_t last, int) {
      std::fill(to + first * classes, to + last * classes, T{0});
      for (int64_t n = first; n < last; ++n) {
        if (index[n] >= 0) to[n * classes + index[n]] = 1;
      }
    });
  });
}
