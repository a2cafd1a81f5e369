// SPDX-License-Identifier: Apache-2.0
// move: fill, broadcast, swap_axes, slice, pad, put, concat: elements placed, none computed.
// y[i] = value;  y[o,m,i] = x[o,i];  y[o,s,m,f,i] = x[o,f,m,s,i];  y[o,c,i] = x[o,start+c,i];
// y[o,start+c,i] = x[o,c,i], else 0 (pad) or as it was (put, a start for each o);  y = a then b
// along the middle axis
// Shapes   as the header's; row-major, contiguous, no aliasing; elements of 2, 4 or 8 bytes, any
//          type
// Method   runs of equal places in x and y are copied whole; axes that leave no run are transposed
//          in square blocks
// Order    each element alone
// Error    exact; fill rounds the value once (an i32 to the nearest whole number)
// Work     no flops; one read and one write per element
// Source   elementary
#include <cmath>

#include "map.h"
#include "tile.h"

#include "bf16.h"
#include "guards/move.h"

namespace {

template <class T>
PND_INLINE void fill_run(T *to, T value, int64_t n) {
  if (n < kWidth<T>) {
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else {
    const Vec<T> v = Vec<T>{} + value;
    map_run(to, n, [=]() { return v; });
  }
}

// `rows` copies of x, one after the other: what is there is copied again, twice as much each time.
template <class T>
PND_INLINE void repeat_run(T *to, const T *x, int64_t rows, int64_t n) {
  copy_run(to, x, n);
  const int64_t most = std::max<int64_t>(1, 1024 / n);
  for (int64_t have = 1; have < rows;) {
    const int64_t more = std::min({have, rows - have, most});
    copy_run(to + have * n, to, more * n);
    have += more;
  }
}

// y[r * y_stride + i] = x[r * x_stride + i] for i < run.
template <class T>
void copy_runs(pnd_context *context, T *y, int64_t y_stride, const T *x, int64_t x_stride,
               int64_t rows, int64_t run) {
  if (rows == 1 || (y_stride == run && x_stride == run)) {
    parallel_lines(context, rows * run, kSerialMove, [&](int64_t first, int64_t last) {
      copy_run(y + first, x + first, last - first);
    });
    return;
  }
  parallel_rows(context, rows, run, kSerialMove, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) copy_run(y + r * y_stride, x + r * x_stride, run);
  });
}

// y[s * y_stride + f] = x[f * x_stride + s] for f < rows, s < cols.
template <class T>
void transpose(T *y, int64_t y_stride, const T *x, int64_t x_stride, int64_t rows, int64_t cols) {
  using F = std::conditional_t<sizeof(T) == 4, float, double>;
  constexpr int64_t kBlock = 32 / static_cast<int64_t>(sizeof(T));
  const bool blocks = sizeof(T) >= 4;  // there is no block of smaller elements
  const int64_t whole_rows = blocks ? rows / kBlock * kBlock : 0;
  const int64_t whole_cols = blocks ? cols / kBlock * kBlock : 0;
  for (int64_t f = 0; f < whole_rows; f += kBlock) {
    for (int64_t s = 0; s < whole_cols; s += kBlock) {
      transpose_block(reinterpret_cast<const F *>(x + f * x_stride + s), x_stride,
                      reinterpret_cast<F *>(y + s * y_stride + f), y_stride);
    }
  }
  for (int64_t f = 0; f < rows; ++f) {
    for (int64_t s = f < whole_rows ? whole_cols : 0; s < cols; ++s) {
      y[s * y_stride + f] = x[f * x_stride + s];
    }
  }
}

// Transposes go by square blocks of 256 bytes a side. Where the rows of y are a power of two apart
// they meet in few cache sets: then a block is gathered first and written by whole rows.
template <class T>
constexpr int64_t kSide = 256 / static_cast<int64_t>(sizeof(T));
constexpr int64_t kMeeting = 512;  // bytes; rows a multiple of this apart meet

template <class T>
void transpose_side(T *y, int64_t y_stride, const T *x, int64_t x_stride, int64_t rows,
                    int64_t cols) {
  constexpr int64_t kStride = kSide<T> + 64 / static_cast<int64_t>(sizeof(T));
  if (rows < kSide<T> || y_stride * static_cast<int64_t>(sizeof(T)) % kMeeting != 0) {
    transpose(y, y_stride, x, x_stride, rows, cols);
    return;
  }
  T block[kSide<T> * kStride];
  transpose(block, kStride, x, x_stride, rows, cols);
  for (int64_t s = 0; s < cols; ++s) {
    for (int64_t f = 0; f < kSide<T>; f += kWidth<T>) {
      store(y + s * y_stride + f, load(block + s * kStride + f));
    }
  }
}

// Swaps axes of single elements: the matrices (o, m) of first x second, block by block.
template <class T>
void swap_elements(pnd_context *context, T *y, const T *x, int64_t outer, int64_t first,
                   int64_t mid, int64_t second) {
  constexpr int64_t side = kSide<T>;
  const int64_t row_blocks = (first + side - 1) / side, col_blocks = (second + side - 1) / side;
  const int64_t blocks = outer * mid * row_blocks * col_blocks;
  const int64_t size = std::min(first, side) * std::min(second, side);
  parallel_rows(context, blocks, size, kSerialMove, [&](int64_t b0, int64_t b1, int) {
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t s = b % col_blocks * side, f = b / col_blocks % row_blocks * side;
      const int64_t m = b / (col_blocks * row_blocks) % mid,
                    o = b / (col_blocks * row_blocks * mid);
      const int64_t base = o * first * mid * second;
      transpose_side(y + base + (s * mid + m) * first + f, mid * first,
                     x + base + (f * mid + m) * second + s, mid * second, std::min(side, first - f),
                     std::min(side, second - s));
    }
  });
}

// Swaps axes whose elements are runs: the rows (o, s, m) of y, first runs each.
template <class T>
void swap_runs(pnd_context *context, T *y, const T *x, int64_t outer, int64_t first, int64_t mid,
               int64_t second, int64_t inner) {
  const int64_t rows = outer * second * mid;
  parallel_rows(context, rows, first * inner, kSerialMove, [&](int64_t r0, int64_t r1, int) {
    for (int64_t r = r0; r < r1; ++r) {
      const int64_t m = r % mid, s = r / mid % second, o = r / (mid * second);
      const T *from = x + ((o * first * mid + m) * second + s) * inner;
      T *to = y + r * first * inner;
      for (int64_t f = 0; f < first; ++f) {
        copy_run(to + f * inner, from + f * mid * second * inner, inner);
      }
    }
  });
}

}  // namespace

int32_t pnd_fill(pnd_context *context, int32_t dtype, void *y, int64_t n, double value) {
  Call call(context, "fill");
  guard::fill(call, dtype, y, n, value);
  if (call.refused()) return call.status();
  const auto run = [&](auto bits) {
    using T = decltype(bits);
    parallel_lines(context, n, kSerialMove, [&](int64_t first, int64_t last) {
      fill_run(static_cast<T *>(y) + first, bits, last - first);
    });
    return PND_OK;
  };
  if (dtype == PND_F64) return run(bits_of(value));
  if (dtype == PND_F32) return run(bits_of(static_cast<float>(value)));
  if (dtype == PND_BF16) return run(narrowed(value).bits);
  return run(static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(value))));
}

int32_t pnd_broadcast(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                      int64_t mid, int64_t inner) {
  Call call(context, "broadcast");
  guard::broadcast(call, dtype, y, x, outer, mid, inner);
  if (call.refused()) return call.status();
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *from = static_cast<const T *>(x);
    if (outer == 1 && inner == 1) {
      parallel_lines(context, mid, kSerialMove, [&](int64_t first, int64_t last) {
        fill_run(to + first, from[0], last - first);
      });
    } else if (inner == 1) {
      parallel_rows(context, outer, mid, kSerialMove, [&](int64_t first, int64_t last, int) {
        for (int64_t o = first; o < last; ++o) fill_run(to + o * mid, from[o], mid);
      });
    } else {
      parallel_rows(context, outer * mid, inner, kSerialMove, [&](int64_t r0, int64_t r1, int) {
        while (r0 < r1) {
          const int64_t o = r0 / mid, end = std::min(r1, (o + 1) * mid);
          repeat_run(to + r0 * inner, from + o * inner, end - r0, inner);
          r0 = end;
        }
      });
    }
  });
}

int32_t pnd_swap_axes(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                      int64_t first, int64_t mid, int64_t second, int64_t inner) {
  Call call(context, "swap_axes");
  guard::swap_axes(call, dtype, y, x, outer, first, mid, second, inner);
  if (call.refused()) return call.status();
  // An axis of one element makes the others neighbours.
  if (first == 1) {
    first = mid, mid = 1;
  } else if (second == 1) {
    second = mid, mid = 1;
  }
  if (first == 1 || second == 1) {
    mid = 1, inner *= first * second, first = second = 1;
  }
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *from = static_cast<const T *>(x);
    if (first == 1) {
      copy_runs(context, to, outer * inner, from, outer * inner, 1, outer * inner);
    } else if (inner == 1) {
      swap_elements(context, to, from, outer, first, mid, second);
    } else {
      swap_runs(context, to, from, outer, first, mid, second, inner);
    }
  });
}

int32_t pnd_slice(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                  int64_t size, int64_t inner, int64_t start, int64_t count) {
  Call call(context, "slice");
  guard::slice(call, dtype, y, x, outer, size, inner, start, count);
  if (call.refused()) return call.status();
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    copy_runs(context, static_cast<T *>(y), count * inner,
              static_cast<const T *>(x) + start * inner, size * inner, outer, count * inner);
  });
}

int32_t pnd_pad(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                int64_t size, int64_t inner, int64_t start, int64_t count) {
  Call call(context, "pad");
  guard::pad(call, dtype, y, x, outer, size, inner, start, count);
  if (call.refused()) return call.status();
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *from = static_cast<const T *>(x);
    const int64_t row = size * inner, before = start * inner, run = count * inner;
    parallel_rows(context, outer, row, kSerialMove, [&](int64_t first, int64_t last, int) {
      for (int64_t o = first; o < last; ++o) {
        fill_run(to + o * row, T{0}, before);
        copy_run(to + o * row + before, from + o * run, run);
        fill_run(to + o * row + before + run, T{0}, row - before - run);
      }
    });
  });
}

int32_t pnd_put(pnd_context *context, int32_t dtype, void *y, const void *x, const int32_t *start,
                int64_t outer, int64_t size, int64_t inner, int64_t count) {
  Call call(context, "put");
  guard::put(call, dtype, y, x, start, outer, size, inner, count);
  if (!call.refused()) call.indices("start", start, outer, 0, size - count + 1);
  if (call.refused()) return call.status();
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *from = static_cast<const T *>(x);
    const int64_t row = size * inner, run = count * inner;
    parallel_rows(context, outer, run, kSerialMove, [&](int64_t first, int64_t last, int) {
      for (int64_t o = first; o < last; ++o) {
        copy_run(to + o * row + start[o] * inner, from + o * run, run);
      }
    });
  });
}

int32_t pnd_concat(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                   int64_t outer, int64_t a_size, int64_t b_size, int64_t inner) {
  Call call(context, "concat");
  guard::concat(call, dtype, y, a, b, outer, a_size, b_size, inner);
  if (call.refused()) return call.status();
  return by_size(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *left = static_cast<const T *>(a), *right = static_cast<const T *>(b);
    const int64_t a_run = a_size * inner, b_run = b_size * inner, row = a_run + b_run;
    parallel_rows(context, outer, row, kSerialMove, [&](int64_t first, int64_t last, int) {
      for (int64_t o = first; o < last; ++o) {
        copy_run(to + o * row, left + o * a_run, a_run);
        copy_run(to + o * row + a_run, right + o * b_run, b_run);
      }
    });
  });
}
