// SPDX-License-Identifier: Apache-2.0
// feedback_rows.cuh: the sizes of a call of feedback memory, rows that lie at a distance, and which
// sequences a step computes and how far back each reads.
// Ended    a sequence that a step leaves out is not written; a step's product leaves out those
// behind
//          the last that runs, and makes of the others what nobody reads
#pragma once

#include "guards/feedback.h"
#include "map.cuh"
#include "packs.cuh"
#include "product.cuh"

// Rows of an array `stride` apart: [row][column].
template <class T>
struct Spread {
  T *data;
  int64_t stride;

  __host__ __device__ T *row(int64_t r) const { return data + r * stride; }
  bool whole() const { return moves_whole(data, stride); }
};

// The rows that run, by the oldest position that each remembers, or -1.
struct Part {
  const int64_t *begins = nullptr;  // null: all rows
  int64_t stride = 1;

  __device__ bool has(int64_t row) const { return begins == nullptr || begins[row * stride] >= 0; }
};

template <class T>
struct Feedback : guard::Feedback {
  T *states, *keys, *values;
  int64_t *begins = nullptr;   // [batch, steps], see Part; null: 0
  int64_t *running = nullptr;  // [steps], the last sequence that runs at each, + 1; null: batch
  bool whole = true;           // whether every row of every array can be read by packs

  Feedback(const guard::Feedback &call, const void *states, const void *keys, const void *values)
      : guard::Feedback(call), states(at(states)), keys(at(keys)), values(at(values)) {
    for (const void *rows : {states, attention_gain, mix, mlp_gain, narrow, memory_gain}) {
      whole = whole && moves_whole(at(rows), width);
    }
    const void *const heads[] = {past_keys, past_values, query, key, value, keys, values};
    for (const void *rows : heads) {
      whole = whole && moves_whole(at(rows), head_size);
    }
    whole = whole && moves_whole(at(wide), inner);
  }

  __host__ __device__ static T *at(const void *array, int64_t place = 0) {
    return static_cast<T *>(const_cast<void *>(array)) + place;
  }
  __host__ __device__ int64_t q_width() const { return heads * head_size; }
  __host__ __device__ int64_t kv_width() const { return kv_heads * head_size; }
  __host__ __device__ int64_t level_count() const { return layers + 1; }
  // One level of a step's states, or of their adjoints: a row for each sequence.
  __host__ __device__ Spread<T> state(int64_t t, int64_t level) const {
    return state(states, t, level);
  }
  __host__ __device__ Spread<T> state(T *of, int64_t t, int64_t level) const {
    return {of + (t * level_count() + level) * width, steps * level_count() * width};
  }
  // What a step remembered, or its adjoint.
  __host__ __device__ Spread<T> remembered(T *of, int64_t t) const {
    return {of + t * kv_width(), steps * kv_width()};
  }
  bool bounded() const { return first != nullptr || resets != nullptr || lengths != nullptr; }
  // The sequences that step t computes, and those of them that read what they remember.
  __host__ __device__ Part runners(int64_t t) const {
    return {begins == nullptr ? begins : begins + t, steps};
  }
  __host__ __device__ Extent rows(int64_t t) const {
    return {batch, running == nullptr ? running : running + t};
  }
  // The oldest position that sequence b reads at step t; -1 where it does not run.
  __device__ int64_t oldest(int64_t b, int64_t t) const {
    const int64_t place = past + t, begin = begins == nullptr ? 0 : begins[b * steps + t];
    const int64_t seen = window == 0 || place < window ? 0 : place - window;
    return begin < 0 || begin > seen ? begin : seen;
  }
  // The most positions that a step reads.
  __host__ __device__ int64_t slots() const {
    const int64_t all = past + steps;
    return window == 0 || all < window ? all : window;
  }
  // Whether it reads anything.
  __device__ bool reads(int64_t b, int64_t t) const {
    const int64_t from = oldest(b, t);
    return from >= 0 && from < past + t;
  }
  // What a position remembers: of this call's steps, or before them.
  __device__ const T *key_at(int64_t b, int64_t position) const {
    return remembered(past_keys, keys, b, position);
  }
  __device__ const T *value_at(int64_t b, int64_t position) const {
    return remembered(past_values, values, b, position);
  }
  __device__ T *remembered(const void *before, T *now, int64_t b, int64_t position) const {
    return position < past ? at(before) + (b * room + position) * kv_width()
                           : now + (b * steps + position - past) * kv_width();
  }
  __device__ T scale() const { return 1 / sqrt(static_cast<T>(head_size)); }
};

// Each element of the rows that run, a function of (row, column): a row of blocks for each row.
template <class F>
__global__ void __launch_bounds__(kMapThreads)
    each_of_kernel(int64_t rows, int64_t cols, Part part, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    if (!part.has(row)) continue;
    for (int64_t i = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; i < cols;
         i += step) {
      f(row, i);
    }
  }
}
template <class F>
int32_t each_of(Call &call, pnd_context *context, int64_t rows, int64_t cols, Part part, F f) {
  const dim3 grid(grid_for(context, rows, 1), grid_for(context, cols, kMapThreads));
  return launch(call, context, each_of_kernel<F>, grid, dim3(kMapThreads), 0, rows, cols, part, f);
}

// Of each sequence what its steps remember the positions from.
struct Begins {
  int64_t *begins;
  const int32_t *first, *resets, *lengths;
  Faults *faults;
  Checked firsts, ends;
  int64_t steps, past;

  // A value outside its range is noted and counts as 0.
  __device__ static int64_t checked(Range range, int64_t b, int value) {
    return range.holds(b, value) ? value : 0;
  }
  __device__ void operator()(int64_t b) const {
    int64_t place = first == nullptr ? 0 : checked({faults, firsts, 0, past + 1}, b, first[b]);
    const int64_t end =
        lengths == nullptr ? steps : checked({faults, ends, 0, steps + 1}, b, lengths[b]);
    for (int64_t t = 0; t < steps; ++t) {
      if (resets != nullptr && resets[b * steps + t] != 0) place = past + t;
      begins[b * steps + t] = t < end ? place : -1;
    }
  }
};
// Of each step the last sequence that runs, + 1.
struct Runs {
  int64_t *running;
  const int64_t *begins;
  int64_t batch, steps;
  __device__ void operator()(int64_t t) const {
    int64_t b = batch;
    while (b > 0 && begins[(b - 1) * steps + t] < 0) --b;
    running[t] = b;
  }
};
template <class T>
void begin(Call &call, pnd_context *context, const Feedback<T> &f, Checked firsts, Checked ends) {
  if (f.begins == nullptr) return;
  each(call, context, f.batch,
       Begins{f.begins, f.first, f.resets, f.lengths, context->faults, firsts, ends, f.steps,
              f.past});
  if (f.running == nullptr || call.refused()) return;
  each(call, context, f.steps, Runs{f.running, f.begins, f.batch, f.steps});
}

// Zeros for the steps of sequences that do not run.
template <class T>
struct ClearsRest {
  T *to;
  const int64_t *begins;
  int64_t cols;
  __device__ void operator()(int64_t row, int64_t i) const {
    if (begins[row] < 0) to[row * cols + i] = 0;
  }
};
template <class T>
void clear_rest(Call &call, pnd_context *context, const Feedback<T> &f, T *to, int64_t cols) {
  if (f.lengths == nullptr || call.refused()) return;
  each_of(call, context, f.batch * f.steps, cols, Part{}, ClearsRest<T>{to, f.begins, cols});
}
