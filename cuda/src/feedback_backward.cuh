// SPDX-License-Identifier: Apache-2.0
// feedback_backward.cuh: what a step of feedback memory launches on the way back: the adjoints of
// norms, mixtures, gates and reads, and the rows that a group of steps keeps for its products.
#pragma once

#include <algorithm>

#include "feedback.cuh"

// to += the adjoint of x before its norm, from dn, that of its result.
template <class T>
struct NormsBack {
  Spread<T> to, dn, x;
  const T *gain, *scales;
  Part part;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    if (!part.has(line.row)) line.cols = 0;
    const Held<T, kTeam> d(dn.row(line.row), line), row(x.row(line.row), line);
    const T s = scales[line.row];
    T dot[] = {0};
    over_row<T>(
        line, [&](T a, T v, T k) { dot[0] = fma(a * k, v * s, dot[0]); }, d, row, Read<T>{gain});
    sum_team<kTeam>(dot);
    const T slope = dot[0] / static_cast<T>(line.cols);
    T *old = to.row(line.row);
    map_row(
        line, old,
        [=](T a, T v, T k, T before) { return before + fma(-(v * s), slope, a * k) * s; }, d, row,
        Read<T>{gain}, Read<T>{old});
  }
};
// What dgain gets from each element.
template <class T>
struct GainTerms {
  Spread<T> terms, dn, x;
  const T *scales;
  __device__ void operator()(int64_t row, int64_t i) const {
    terms.row(row)[i] = dn.row(row)[i] * (x.row(row)[i] * scales[row]);
  }
};

// shares[b, l] = du_b . x_l: a row for each sequence and level.
template <class T>
struct Shares {
  Spread<T> shares, du, x;
  int64_t levels, width;
  Part part;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t b = quotient(line.row, levels), l = line.row - b * levels;
    if (!part.has(b)) line.cols = 0;
    T dot[] = {0};
    over_row<T>(
        line, [&](T d, T v) { dot[0] = fma(d, v, dot[0]); }, Read<T>{du.row(b)},
        Read<T>{x.row(b) + l * width});
    sum_team<kTeam>(dot);
    if (line.leads()) shares.row(b)[l] = dot[0];
  }
};

// dx = (kAdds ? dx : 0) + own + share du.
template <class T, bool kAdds>
struct AddsStates {
  Spread<T> dx, own, du;
  const T *share;
  __device__ void operator()(int64_t row, int64_t i) const {
    const T sum = fma(*share, du.row(row)[i], own.row(row)[i]);
    T *to = dx.row(row) + i;
    *to = kAdds ? *to + sum : sum;
  }
};

// y = gelu(x) and dx = dy gelu'(x).
template <class T>
struct GatesBack {
  Spread<T> y, dx, dy, x;
  __device__ void operator()(int64_t row, int64_t i) const {
    const T v = x.row(row)[i];
    y.row(row)[i] = gated<Gelu>(v);
    dx.row(row)[i] = dy.row(row)[i] * gate_slope<Gelu>(v);
  }
};

template <class T>
struct Copies {
  Spread<T> to, from;  // from.data null: zeros
  __device__ void operator()(int64_t row, int64_t i) const {
    to.row(row)[i] = from.data == nullptr ? T(0) : from.row(row)[i];
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

// What the adjoints of a sequence's memory are kept in: of the past, and of this call's steps.
template <class T>
struct MemorySlopes {
  T *past_keys, *past_values, *keys, *values;
};

// The heads of a sequence that share keys: dq, and what the memory gets from them; ds [batch,
// heads, slots] is room for the adjoints of the scores.
template <class T>
__global__ void __launch_bounds__(kReadThreads, 1)
    read_back_kernel(int64_t first_block, Feedback<T> f, int64_t t, MemorySlopes<T> d, Spread<T> dq,
                     T *ds, const T *p, int64_t slots, Spread<T> queries, Spread<T> dread) {
  const int64_t block = first_block + blockIdx.x, b = quotient(block, f.kv_heads);
  const int64_t g = block - b * f.kv_heads, size = f.head_size, column = g * size;
  const int64_t first = f.oldest(b, t), count = f.past + t - first;
  if (first < 0) return;
  const int64_t group = f.heads / f.kv_heads;
  for (int64_t h = g * group; h < (g + 1) * group; ++h) {
    const T *q = queries.row(b) + h * size, *dout = dread.row(b) + h * size;
    const T *weights = p + (b * f.heads + h) * slots;
    T *slopes = ds + (b * f.heads + h) * slots;
    for (int64_t j = warp_number(); j < count; j += kReadWarps) {
      const T dp = warp_dot(dout, f.row(f.past_values, f.values, b, first + j) + column, size);
      if (lane_number() == 0) slopes[j] = dp;
    }
    __syncthreads();
    T mean[] = {0};
    for (int64_t j = threadIdx.x; j < count; j += kReadThreads) {
      mean[0] = fma(weights[j], slopes[j], mean[0]);
    }
    sum_team<kReadThreads>(mean);
    for (int64_t j = threadIdx.x; j < count; j += kReadThreads) {
      slopes[j] = weights[j] * (slopes[j] - mean[0]) * f.scale();
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += kReadThreads) {
      T sum = 0;
      for (int64_t j = 0; j < count; ++j) {
        sum = fma(slopes[j], f.row(f.past_keys, f.keys, b, first + j)[column + i], sum);
      }
      dq.row(b)[h * size + i] = sum;
    }
    for (int64_t at = threadIdx.x; at < count * size; at += kReadThreads) {
      const int64_t j = quotient(at, size), i = at - j * size, position = first + j;
      const bool old = position < f.past;
      const int64_t row = old ? b * f.room + position : b * f.steps + position - f.past;
      const int64_t to = row * f.kv_width() + column + i;
      T *dk = (old ? d.past_keys : d.keys) + to, *dv = (old ? d.past_values : d.values) + to;
      *dk = fma(slopes[j], q[i], *dk);
      *dv = fma(weights[j], dout[i], *dv);
    }
  }
}

// The rows of a group of steps, [step][batch], that the adjoints of a layer's weights need.
template <class T>
struct Kept {
  Spread<T> normed, dq, read, dy, thought, dinner, gated, dtop, gain, mlp_gain;

  Kept(Pieces &from, const Feedback<T> &f, int64_t rows)
      : normed(from.rows<T>(rows, f.width)),
        dq(from.rows<T>(rows, f.q_width())),
        read(from.rows<T>(rows, f.q_width())),
        dy(from.rows<T>(rows, f.width)),
        thought(from.rows<T>(rows, f.width)),
        dinner(from.rows<T>(rows, f.inner)),
        gated(from.rows<T>(rows, f.inner)),
        dtop(from.rows<T>(rows, f.width)),
        gain(from.rows<T>(rows, f.width)),
        mlp_gain(from.rows<T>(rows, f.width)) {}

  // The same from row n on.
  Kept from(int64_t n) const {
    Kept part = *this;
    for (Spread<T> *s : {&part.normed, &part.dq, &part.read, &part.dy, &part.thought, &part.dinner,
                         &part.gated, &part.dtop, &part.gain, &part.mlp_gain}) {
      s->data += n * s->stride;
    }
    return part;
  }
};
