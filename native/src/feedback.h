// SPDX-License-Identifier: Apache-2.0
// feedback.h: what the two directions of feedback memory share: the sizes of a call, and the rows
// of a task and of a step.
#pragma once

#include <algorithm>
#include <numeric>

#include "activation.h"
#include "feedback_weights.h"
#include "guards/feedback.h"
#include "rms_norm.h"
#include "rotary.h"

// Sequences of one task: at least so many, which share what is read of the weights, and at most.
constexpr int64_t kLeastSequences = 4, kMostSequences = 64;

template <class T>
struct Feedback : guard::Feedback {
  T *states, *keys, *values;
  const int64_t *begins = nullptr;  // begin_each's table, where a step may forget

  Feedback(const guard::Feedback &call, void *states, void *keys, void *values)
      : guard::Feedback(call),
        states(static_cast<T *>(states)),
        keys(static_cast<T *>(keys)),
        values(static_cast<T *>(values)) {}

  static const T *of(const void *array, int64_t at = 0) {
    return static_cast<const T *>(array) + at;
  }
  int64_t q_width() const { return heads * head_size; }
  int64_t kv_width() const { return kv_heads * head_size; }
  T *state(int64_t b, int64_t t, int64_t level) const {
    return states + ((b * steps + t) * levels() + level) * width;
  }
  // Whether steps may read less than all that stands before them.
  bool forgets() const { return first != nullptr || resets != nullptr; }
  // Row b's steps that are computed.
  int64_t length(int64_t b) const { return lengths == nullptr ? steps : lengths[b]; }
  // The oldest position that a step at this one reads of those that it remembers.
  int64_t window_start(int64_t place) const {
    return window == 0 ? 0 : std::max<int64_t>(0, place - window);
  }
  int64_t oldest(int64_t b, int64_t place) const {
    return begins == nullptr ? window_start(place)
                             : std::max(window_start(place), begins[b * steps + place - past]);
  }
  bool reads(int64_t b, int64_t t) const { return oldest(b, past + t) < past + t; }
  // Writes to `table` [batch, steps] what each step of a sequence remembers the positions from.
  void begin_each(int64_t *table, int64_t b) const {
    int64_t place = first == nullptr ? 0 : first[b];
    for (int64_t t = 0; t < steps; ++t) {
      if (resets != nullptr && resets[b * steps + t] != 0) place = past + t;
      table[b * steps + t] = place;
    }
  }
  // Positions in scratch memory: from `origin` on, which keeps them in their lanes.
  int64_t origin() const { return window_start(past) / kLanes * kLanes; }
  int64_t slots() const {
    // Rows of an odd number of lines do not share cache sets.
    const int64_t blocks = (past + steps - origin() + kLanes - 1) / kLanes;
    return (blocks | 1) * kLanes;
  }
  int64_t pairs() const { return padded_pairs(head_size / 2); }
  T scale() const { return 1 / root(static_cast<T>(head_size)); }

  // Calls f(the keys' or values' rows, where f's first position stands among the remembered, count)
  // for the past and for this call's steps of the positions [from, to).
  template <class F>
  void runs(const void *before, const T *now, int64_t b, int64_t from, int64_t to, F &&f) const {
    if (from < past) {
      f(of(before, (b * room + from) * kv_width()), from, std::min(to, past) - from);
    }
    const int64_t start = std::max(from, past);
    if (start < to) f(now + (b * steps + start - past) * kv_width(), start, to - start);
  }

  // A sequence's rows up to position `end` as columns: to [kv_width, slots]. Those that no step
  // remembers are left out.
  void transpose(T *to, const void *before, const T *now, int64_t b, int64_t end) const {
    constexpr int64_t kBlock = 32 / static_cast<int64_t>(sizeof(T));
    const int64_t size = kv_width(), stride = slots();
    const int64_t start = std::max(origin(), begins == nullptr ? 0 : begins[b * steps]);
    runs(before, now, b, start, end, [&](const T *rows, int64_t from, int64_t count) {
      T *column = to + from - origin();
      const int64_t whole = count / kBlock * kBlock, whole_size = size / kBlock * kBlock;
      for (int64_t j = 0; j < whole; j += kBlock) {
        for (int64_t i = 0; i < whole_size; i += kBlock) {
          transpose_block(rows + j * size + i, size, column + i * stride + j, stride);
        }
      }
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t i = j < whole ? whole_size : 0; i < size; ++i) {
          column[i * stride + j] = rows[j * size + i];
        }
      }
    });
  }

  // What the weights of a layer are called here.
  Weight<T> query_of(int64_t l, bool back) const {
    return weight(query, l, width, q_width(), back);
  }
  Weight<T> mix_of(int64_t l, bool back) const { return weight(mix, l, q_width(), width, back); }
  Weight<T> wide_of(int64_t l, bool back) const { return weight(wide, l, width, inner, back); }
  Weight<T> narrow_of(int64_t l, bool back) const { return weight(narrow, l, inner, width, back); }
  Weight<T> key_of(bool back) const { return weight(key, 0, width, kv_width(), back); }
  Weight<T> value_of(bool back) const { return weight(value, 0, width, kv_width(), back); }

 private:
  static Weight<T> weight(const void *array, int64_t l, int64_t in, int64_t out, bool back) {
    return {of(array, l * in * out), back ? out : in, back ? in : out, back};
  }
};

// Refuses rows that begin or end where they cannot.
inline void check_rows(Call &call, const guard::Feedback &f) {
  if (call.refused()) return;
  if (f.first != nullptr) call.indices("first", f.first, f.batch, 0, f.past + 1);
  if (f.lengths != nullptr) call.indices("lengths", f.lengths, f.batch, 0, f.steps + 1);
}

// Cosines and sines of all steps, one row of `pairs` for each.
template <class T>
void all_angles(T *cosine, T *sine, double *rates, const Feedback<T> &f, double sign) {
  rotary_rates(rates, f.head_size / 2, f.base);
  for (int64_t t = 0; t < f.steps; ++t) {
    rotary_angles(cosine + t * f.pairs(), sine + t * f.pairs(), rates, f.head_size / 2, f.past + t,
                  sign);
  }
}

// The sequences of a task that run at a step, upwards.
struct Running {
  const int64_t *rows;
  int64_t count;

  template <class T>
  Running(int64_t *room, const Feedback<T> &f, int64_t t, int64_t first, int64_t end)
      : rows(room), count(0) {
    for (int64_t b = first; b < end; ++b) {
      if (t < f.length(b)) room[count++] = b;
    }
  }
  int64_t operator[](int64_t r) const { return rows[r]; }
  // Whether one of them reads the memory at step t.
  template <class T>
  bool read(const Feedback<T> &f, int64_t t) const {
    return std::any_of(rows, rows + count, [&](int64_t b) { return f.reads(b, t); });
  }
};

// Sequences cut into tasks of about as many steps.
struct Tasks {
  int64_t batch, most, count;

  Tasks(const guard::Feedback &f, int64_t threads) : batch(f.batch) {
    const int64_t even = (batch + threads - 1) / threads;
    most = std::clamp(even, kLeastSequences, kMostSequences);
    count = (batch + most - 1) / most;
    if (f.lengths != nullptr) most = std::min(batch, kMostSequences);
  }
  // The first sequence of each task, and behind the last: starts [count + 1].
  void cut(int64_t *starts, const int32_t *lengths) const {
    const int64_t total =
        lengths == nullptr ? batch : std::accumulate(lengths, lengths + batch, int64_t{0});
    int64_t b = 0, seen = 0;
    starts[0] = 0;
    for (int64_t task = 1; task <= count; ++task) {
      const int64_t least = batch - (count - task) * most, end = starts[task - 1] + most;
      while (b < std::min(end, batch) && (b < least || seen * count < total * task)) {
        seen += lengths == nullptr ? 1 : lengths[b];
        ++b;
      }
      starts[task] = b;
    }
  }
};

// y = x scale gain, with scale = 1 / sqrt(mean x^2 + eps), which is returned.
template <class T>
T normalise(T *y, const T *x, const T *gain, int64_t cols, double eps) {
  const T scale = scale_of_row(x, cols, static_cast<T>(eps));
  const Vec<T> s = splat(scale);
  each_vector<T>(
      cols, [=](int64_t i, auto get, auto put) { put(y + i, get(x + i) * s * get(gain + i)); });
  return scale;
}

// z = sum over l of share[l] x_l for a sequence's step.
template <class T>
void mix_states(T *z, const Feedback<T> &f, int64_t b, int64_t t) {
  const T *x = f.state(b, t, 0), *share = f.of(f.share);
  each_vector<T>(f.width, [&](int64_t i, auto get, auto put) {
    Vec<T> sum{};
    for (int64_t l = 0; l < f.levels(); ++l) {
      sum = fma(splat(share[l]), get(x + l * f.width + i), sum);
    }
    put(z + i, sum);
  });
}
