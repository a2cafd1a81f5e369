// SPDX-License-Identifier: Apache-2.0
// move: fill, broadcast, swap_axes, slice, pad, put, concat: elements placed, none computed.
// y[i] = value;  y[o,m,i] = x[o,i];  y[o,s,m,f,i] = x[o,f,m,s,i];  y[o,c,i] = x[o,start+c,i];
// y[o,start+c,i] = x[o,c,i], else 0 (pad) or as it was (put, a start for each o);  y = a then b
// along the middle axis
// Shapes   as the header's; row-major, contiguous, no aliasing; elements of 2, 4 or 8 bytes, any
//          type
// Method   the largest words (2 to 16 bytes) that divide runs and addresses; y is written in order,
//          16 bytes per thread: the place in x by division once per pack, then step by step. Axes
//          of single words are transposed through shared memory in squares of 32. put reads x in
//          order, word by word; a start outside its range is noted and its row left out
// Order    each element alone
// Error    exact; fill rounds the value once (an i32 to the nearest whole number)
// Work     no flops; one read and one write per element
// Source   elementary
#include <algorithm>
#include <cmath>

#include "guards/move.h"
#include "packs.cuh"
#include "ptx.cuh"
#include "scalar.cuh"

namespace {

// The sources of y, word by word (packs.cuh: Written).
template <class E>
struct Constant {
  E bits;
  __device__ void begin(int64_t) {}
  __device__ E value() const { return bits; }
  __device__ void next() {}
};

// Row o of y is x[o], mid times.
template <class E>
struct Repeated {
  const E *x;
  int64_t mid, inner;
  int64_t o, m, i;
  __device__ void begin(int64_t at) {
    const int64_t row = quotient(at, inner);
    i = at - row * inner;
    o = quotient(row, mid);
    m = row - o * mid;
  }
  __device__ E value() const { return x[o * inner + i]; }
  __device__ void next() {
    if (++i < inner) return;
    i = 0;
    if (++m < mid) return;
    m = 0, ++o;
  }
};

// Row o of y, y_run long, is x[o, 0, x_run) from its place `start` on and zero elsewhere; a
// negative start cuts the row's beginning off.
template <class E>
struct Shifted {
  const E *x;
  int64_t y_run, x_run, start;
  int64_t o, c;
  __device__ void begin(int64_t at) {
    o = quotient(at, y_run);
    c = at - o * y_run;
  }
  __device__ E value() const {
    const int64_t i = c - start;
    return i >= 0 && i < x_run ? x[o * x_run + i] : E{};
  }
  __device__ void next() {
    if (++c == y_run) c = 0, ++o;
  }
};

// Row o of y is a[o], then b[o].
template <class E>
struct Joined {
  const E *a, *b;
  int64_t a_run, b_run;
  int64_t o, c;
  __device__ void begin(int64_t at) {
    o = quotient(at, a_run + b_run);
    c = at - o * (a_run + b_run);
  }
  __device__ E value() const { return c < a_run ? a[o * a_run + c] : b[o * b_run + c - a_run]; }
  __device__ void next() {
    if (++c == a_run + b_run) c = 0, ++o;
  }
};

// y[o,s,m,f,i] = x[o,f,m,s,i].
template <class E>
struct Swapped {
  const E *x;
  int64_t first, mid, second, inner;
  int64_t at;
  __device__ void begin(int64_t start) { at = start; }
  __device__ E value() const {
    int64_t q = quotient(at, inner), rest = q;
    const int64_t i = at - q * inner;
    q = quotient(rest, first);
    const int64_t f = rest - q * first;
    rest = q, q = quotient(rest, mid);
    const int64_t m = rest - q * mid, o = quotient(q, second), s = q - o * second;
    return x[(((o * first + f) * mid + m) * second + s) * inner + i];
  }
  __device__ void next() { ++at; }
};

// y[o, start[o] + c, i] = x[o,c,i] of word n of x.
template <class E>
struct Put {
  E *y;
  const E *x;
  const int32_t *start;
  int64_t y_run, x_run, inner;
  Range range;

  __device__ void operator()(int64_t n) const {
    const int64_t o = quotient(n, x_run);
    const int32_t from = start[o];
    if (range.holds(o, from)) y[o * y_run + from * inner + n - o * x_run] = x[n];
  }
};

constexpr int kSide = 32;  // of a square
constexpr int kSteps = 8;  // rows of a square that a block moves at once

// y[o,s,m,f] = x[o,f,m,s], square by square. A row of the square in shared memory is one word
// longer than it holds, so that a column, too, lies in different banks.
template <class E>
__global__ void __launch_bounds__(kSide *kSteps)
    transpose_kernel(E *y, const E *x, int64_t outer, int64_t first, int64_t mid, int64_t second) {
  E *square = shared_memory<E>();
  const int64_t row_squares = (first + kSide - 1) / kSide;
  const int64_t col_squares = (second + kSide - 1) / kSide;
  const int64_t squares = outer * mid * row_squares * col_squares;
  const int across = threadIdx.x % kSide, down = threadIdx.x / kSide;
  for (int64_t number = blockIdx.x; number < squares; number += gridDim.x) {
    int64_t rest = quotient(number, col_squares);
    const int64_t s0 = (number - rest * col_squares) * kSide;
    const int64_t matrix = quotient(rest, row_squares);
    const int64_t f0 = (rest - matrix * row_squares) * kSide;
    const int64_t o = quotient(matrix, mid), m = matrix - o * mid;
    const int64_t base = o * first * mid * second;
#pragma unroll
    for (int i = 0; i < kSide; i += kSteps) {
      const int64_t f = f0 + down + i, s = s0 + across;
      if (f < first && s < second) {
        square[(down + i) * (kSide + 1) + across] = x[base + (f * mid + m) * second + s];
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kSide; i += kSteps) {
      const int64_t s = s0 + down + i, f = f0 + across;
      if (f < first && s < second) {
        y[base + (s * mid + m) * first + f] = square[across * (kSide + 1) + down + i];
      }
    }
    __syncthreads();
  }
}

template <class E>
int32_t transpose(Call &call, pnd_context *context, E *y, const E *x, int64_t outer, int64_t first,
                  int64_t mid, int64_t second) {
  const int64_t squares =
      outer * mid * ((first + kSide - 1) / kSide) * ((second + kSide - 1) / kSide);
  return launch(call, context, transpose_kernel<E>, dim3(grid_for(context, squares, 1)),
                dim3(kSide * kSteps), kSide * (kSide + 1) * sizeof(E), y, x, outer, first, mid,
                second);
}

// slice and pad: along their axis the rows of y have y_size elements and those of x, which stand in
// them from `start` on, x_size.
int32_t shift(Call &call, pnd_context *context, int32_t dtype, void *y, const void *x,
              int64_t outer, int64_t inner, int64_t y_size, int64_t x_size, int64_t start) {
  const int64_t bytes = bytes_of(dtype) * inner;
  return by_word(
      {bytes * y_size, bytes * x_size, bytes * start},
      [&](auto word) {
        using E = decltype(word);
        const auto words = [&](int64_t n) { return n * bytes / static_cast<int64_t>(sizeof(E)); };
        return write_from(call, context, static_cast<E *>(y), outer * words(y_size),
                          Shifted<E>{static_cast<const E *>(x), words(y_size), words(x_size),
                                     words(start), 0, 0});
      },
      y, x);
}

}  // namespace

int32_t pnd_fill(pnd_context *context, int32_t dtype, void *y, int64_t n, double value) {
  Call call(context, "fill");
  guard::fill(call, dtype, y, n, value);
  if (call.refused()) return call.status();
  const auto run = [&](auto bits) {
    using E = decltype(bits);
    return write_from(call, context, static_cast<E *>(y), n, Constant<E>{bits});
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
  const int64_t bytes = bytes_of(dtype) * inner;
  return by_word(
      {bytes},
      [&](auto word) {
        using E = decltype(word);
        const int64_t run = bytes / static_cast<int64_t>(sizeof(E));
        return write_from(call, context, static_cast<E *>(y), outer * mid * run,
                          Repeated<E>{static_cast<const E *>(x), mid, run, 0, 0, 0});
      },
      y, x);
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
    inner *= first * mid * second;
    first = mid = second = 1;
  }
  const int64_t bytes = bytes_of(dtype) * inner;
  return by_word(
      {bytes},
      [&](auto word) {
        using E = decltype(word);
        E *to = static_cast<E *>(y);
        const E *from = static_cast<const E *>(x);
        const int64_t run = bytes / static_cast<int64_t>(sizeof(E));
        // Squares of which few rows or columns are used would move little at a time.
        if (run == 1 && std::min(first, second) >= kSteps) {
          return transpose(call, context, to, from, outer, first, mid, second);
        }
        return write_from(call, context, to, outer * first * mid * second * run,
                          Swapped<E>{from, first, mid, second, run, 0});
      },
      y, x);
}

int32_t pnd_slice(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                  int64_t size, int64_t inner, int64_t start, int64_t count) {
  Call call(context, "slice");
  guard::slice(call, dtype, y, x, outer, size, inner, start, count);
  if (call.refused()) return call.status();
  return shift(call, context, dtype, y, x, outer, inner, count, size, -start);
}

int32_t pnd_pad(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                int64_t size, int64_t inner, int64_t start, int64_t count) {
  Call call(context, "pad");
  guard::pad(call, dtype, y, x, outer, size, inner, start, count);
  if (call.refused()) return call.status();
  return shift(call, context, dtype, y, x, outer, inner, size, count, start);
}

int32_t pnd_put(pnd_context *context, int32_t dtype, void *y, const void *x, const int32_t *start,
                int64_t outer, int64_t size, int64_t inner, int64_t count) {
  Call call(context, "put");
  guard::put(call, dtype, y, x, start, outer, size, inner, count);
  if (call.refused()) return call.status();
  const int64_t bytes = bytes_of(dtype) * inner;
  return by_word(
      {bytes},
      [&](auto word) {
        using E = decltype(word);
        const int64_t words = bytes / static_cast<int64_t>(sizeof(E));
        return each(
            call, context, outer * count * words,
            Put<E>{static_cast<E *>(y), static_cast<const E *>(x), start, size * words,
                   count * words, words, Range{context->faults, kPut, 0, size - count + 1}});
      },
      y, x);
}

int32_t pnd_concat(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                   int64_t outer, int64_t a_size, int64_t b_size, int64_t inner) {
  Call call(context, "concat");
  guard::concat(call, dtype, y, a, b, outer, a_size, b_size, inner);
  if (call.refused()) return call.status();
  const int64_t bytes = bytes_of(dtype) * inner;
  return by_word(
      {bytes * a_size, bytes * b_size},
      [&](auto word) {
        using E = decltype(word);
        const auto words = [&](int64_t n) { return n * bytes / static_cast<int64_t>(sizeof(E)); };
        return write_from(call, context, static_cast<E *>(y),
                          outer * (words(a_size) + words(b_size)),
                          Joined<E>{static_cast<const E *>(a), static_cast<const E *>(b),
                                    words(a_size), words(b_size), 0, 0});
      },
      y, a, b);
}
