// SPDX-License-Identifier: Apache-2.0
// feedback_backward.cuh: what a group of steps of feedback memory computes anew from its states,
// all steps at once, and keeps for the way back.
// Order    products are chains (product.cuh); norms' sums rows.cuh's
#pragma once

#include <algorithm>

#include "feedback.cuh"

// Rows of the steps from one on, [step][batch], in an array [batch, steps, ...].
template <class T>
struct Steps {
  T *data;  // of the first step
  int64_t batch, step, sequence;

  __device__ int64_t step_of(int64_t row) const { return quotient(row, batch); }
  __device__ T *row(int64_t row) const {
    const int64_t t = step_of(row);
    return data + t * step + (row - t * batch) * sequence;
  }
};

// The rows that a group of steps keeps of a layer, [step][batch]: what it computes anew, and the
// adjoints whose products are those of the weights.
template <class T>
struct Kept {
  Spread<T> normed, q, dq, read, y, dy, thought, dinner, gated, dtop, gain, mlp_gain;
  Spread<T> scales, mlp_scales;  // of the norms; dinner holds what is gated until its adjoint does

  Kept(ScratchPieces &from, const Feedback<T> &f, int64_t rows)
      : normed(from.rows<T>(rows, f.width)),
        q(from.rows<T>(rows, f.q_width())),
        dq(from.rows<T>(rows, f.q_width())),
        read(from.rows<T>(rows, f.q_width())),
        y(from.rows<T>(rows, f.width)),
        dy(from.rows<T>(rows, f.width)),
        thought(from.rows<T>(rows, f.width)),
        dinner(from.rows<T>(rows, f.inner)),
        gated(from.rows<T>(rows, f.inner)),
        dtop(from.rows<T>(rows, f.width)),
        gain(from.rows<T>(rows, f.width)),
        mlp_gain(from.rows<T>(rows, f.width)),
        scales{from.take<T>(rows), 1},
        mlp_scales{from.take<T>(rows), 1} {}
};

// y = x scale gain and scale = 1 / sqrt(mean x^2 + eps), row by row of a group's steps; zeros where
// a sequence has ended, so that its rows add nothing to the weights.
template <class T, class Rows>
struct Norms {
  Spread<T> y, scales;
  Rows x;
  const T *gain;
  T eps;
  Feedback<T> f;
  int64_t first;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const Held<T, kTeam> row(x.row(line.row), line);
    T squares[] = {0};
    over_row<T>(
        line, [&](T v) { squares[0] = fma(v, v, squares[0]); }, row);
    sum_team<kTeam>(squares);
    const int64_t t = quotient(line.row, f.batch), b = line.row - t * f.batch;
    const bool runs = f.oldest(b, first + t) >= 0;
    const T s = runs ? 1 / sqrt(squares[0] / static_cast<T>(line.cols) + eps) : T(0);
    if (line.leads()) *scales.row(line.row) = s;
    map_row(
        line, y.row(line.row), [=](T v, T k) { return v * s * k; }, row, Read<T>{gain});
  }
};

// What heads read, a block for each of so many rows.
template <class T>
__global__ void __launch_bounds__(kReadThreads, 1)
    read_kernel(Feedback<T> f, int64_t first, int64_t rows, Spread<T> q, Spread<T> read, T *p) {
  for (int64_t job = blockIdx.x; job < rows * f.heads; job += gridDim.x) {
    const int64_t n = quotient(job, f.heads), h = job - n * f.heads, at = h * f.head_size;
    const int64_t t = quotient(n, f.batch), b = n - t * f.batch;
    read_head(f, b, first + t, h, q.row(n) + at, p + blockIdx.x * f.slots(), read.row(n) + at);
  }
}

// y = x + what was read, mixed, where anything was.
template <class T>
struct ToTops {
  Spread<T> y;
  Steps<T> x;
  Feedback<T> f;
  int64_t first;
  __device__ void put(int64_t, int64_t row, int64_t col, Pack<T> values, int64_t left) const {
    const Pack<T> base = load_pack(x.row(row) + col, left, f.whole);
    const int64_t t = x.step_of(row);
    if (f.reads(row - t * f.batch, first + t)) {
      PND_UNROLL
      for (int i = 0; i < kWide<T>; ++i) values.at[i] += base.at[i];
    } else {
      values = base;
    }
    store_pack(y.row(row) + col, values, left, true);
  }
};

// y = gelu(x).
template <class T>
struct Gates {
  Spread<T> y, x;
  __device__ void operator()(int64_t row, int64_t i) const {
    y.row(row)[i] = gated<Gelu>(x.row(row)[i]);
  }
};

// z = sum over l of share[l] x_l; x: the lowest.
template <class T>
struct Mixes {
  Spread<T> z;
  Steps<T> x;
  const T *share;
  int64_t levels, width;
  __device__ void operator()(int64_t row, int64_t i) const {
    T sum = 0;
    for (int64_t l = 0; l < levels; ++l) sum = fma(share[l], x.row(row)[l * width + i], sum);
    z.row(row)[i] = sum;
  }
};

// to = from, or zeros where there is none: rows of an array [rows, cols].
template <class T>
struct Copies {
  T *to;
  const T *from;
  int64_t cols;
  __device__ void operator()(int64_t row, int64_t i) const {
    to[row * cols + i] = from == nullptr ? T(0) : from[row * cols + i];
  }
};

// to[i] = (adds ? to[i] : 0) + the sum of a column, upwards.
template <class T>
struct AddsUp {
  T *to;
  Spread<T> from;
  int64_t rows;
  bool adds;
  __device__ void operator()(int64_t i) const {
    T sum = adds ? to[i] : T(0);
    for (int64_t r = 0; r < rows; ++r) sum += from.row(r)[i];
    to[i] = sum;
  }
};
