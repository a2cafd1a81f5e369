// SPDX-License-Identifier: Apache-2.0
// feedback_backward.h: what the steps of a call share on the way back: panels of the weights, the
// memory of every sequence and its adjoints, and the rows that a group of steps keeps, whose
// products are the adjoints of the weights.
#pragma once

#include <array>

#include "feedback_read.h"

// Rows of a group of steps, as deep as a product takes at once.
constexpr int64_t kGroupOfRows = kDepth;

template <class T>
struct FeedbackPanels {
  Weight<T> query, mix, wide;                              // as they are
  Weight<T> query_back, mix_back, wide_back, narrow_back;  // transposed
};

// Rows of a group of steps, [step][batch], for one layer: the inputs of its products, the adjoints
// of their results, and the terms of the gains' adjoints.
template <class T>
struct FeedbackKept {
  T *normed, *dq, *read, *dy, *thought, *dinner, *gated, *dtop, *gain, *mlp_gain;
};
// Likewise of what is remembered; `shares` has a column for each state.
template <class T>
struct FeedbackKeptMemory {
  T *normed, *dk, *dv, *gain, *shares;
};

// The distances between rows.
template <class T>
struct FeedbackStrides {
  int64_t narrow, queries, wide, memory, levels;

  explicit FeedbackStrides(const Feedback<T> &f)
      : narrow(stride_of<T>(f.width)),
        queries(stride_of<T>(f.q_width())),
        wide(stride_of<T>(f.inner)),
        memory(stride_of<T>(f.kv_width())),
        levels(stride_of<T>(f.levels())) {}
};

// The scratch of a call, its arguments checked.
template <class T>
struct FeedbackBack {
  Feedback<T> f;
  const guard::FeedbackSlopes &d;
  const T *dstates, *dkeys, *dvalues;
  FeedbackStrides<T> at;
  Tasks tasks;
  T *cosine, *sine, *back_sine;
  double *rates;
  int64_t *begins, *starts;
  int64_t *offsets;  // where the rows of each step of a group begin, and behind the last
  T *keys, *values;  // [batch, kv_width, slots]
  T *dk, *dv;        // [batch, steps, kv_width]
  FeedbackPanels<T> *layers = nullptr;
  FeedbackKept<T> *kept = nullptr;
  FeedbackKeptMemory<T> memory;
  Weight<T> key_back{}, value_back{};
  int64_t first = 0;  // step of the group

  FeedbackBack(const Feedback<T> &f, const guard::FeedbackSlopes &d, const T *dstates,
               const T *dkeys, const T *dvalues, int64_t threads)
      : f(f), d(d), dstates(dstates), dkeys(dkeys), dvalues(dvalues), at(f), tasks(f, threads) {}

  int64_t group() const { return std::min(f.steps, std::max<int64_t>(1, kGroupOfRows / f.batch)); }

  // Calls piece(pointer, elements).
  template <class F>
  void pieces(F &&piece) {
    const int64_t rows = group() * f.batch, sequence = f.kv_width() * f.slots();
    piece(cosine, f.steps * f.pairs());
    piece(sine, f.steps * f.pairs());
    piece(back_sine, f.steps * f.pairs());
    piece(rates, f.pairs());
    piece(begins, f.forgets() ? f.batch * f.steps : 0);
    piece(starts, tasks.count + 1);
    piece(offsets, group() + 1);
    piece(keys, f.batch * sequence);
    piece(values, f.batch * sequence);
    piece(dk, f.batch * f.steps * f.kv_width());
    piece(dv, f.batch * f.steps * f.kv_width());
    piece(layers, f.layers);
    piece(kept, f.layers);
    FeedbackPanels<T> none;  // where the sizes alone are asked for
    FeedbackKept<T> nowhere;
    for (int64_t l = 0; l < f.layers; ++l) {
      FeedbackPanels<T> &layer = layers == nullptr ? none : layers[l];
      layer = {f.query_of(l, false), f.mix_of(l, false), f.wide_of(l, false), f.query_of(l, true),
               f.mix_of(l, true),    f.wide_of(l, true), f.narrow_of(l, true)};
      for (Weight<T> *w : weights(layer)) piece(w->panels, w->size());
      FeedbackKept<T> &k = kept == nullptr ? nowhere : kept[l];
      for (T **narrow : {&k.normed, &k.dy, &k.thought, &k.dtop, &k.gain, &k.mlp_gain}) {
        piece(*narrow, rows * at.narrow);
      }
      piece(k.dq, rows * at.queries);
      piece(k.read, rows * at.queries);
      piece(k.dinner, rows * at.wide);
      piece(k.gated, rows * at.wide);
    }
    key_back = f.key_of(true);
    value_back = f.value_of(true);
    for (Weight<T> *w : {&key_back, &value_back}) piece(w->panels, w->size());
    piece(memory.normed, rows * at.narrow);
    piece(memory.gain, rows * at.narrow);
    piece(memory.dk, rows * at.memory);
    piece(memory.dv, rows * at.memory);
    piece(memory.shares, rows * at.levels);
  }
  static std::array<Weight<T> *, 7> weights(FeedbackPanels<T> &l) {
    return {&l.query, &l.mix, &l.wide, &l.query_back, &l.mix_back, &l.wide_back, &l.narrow_back};
  }

  // How many of the sequences before this one run at step t.
  int64_t running(int64_t t, int64_t end) const {
    if (f.lengths == nullptr) return end;
    return std::count_if(f.lengths, f.lengths + end, [=](int32_t length) { return t < length; });
  }

  // What comes before the steps: angles, panels, where tasks and memories begin.
  void begin(pnd_context *context) {
    all_angles(cosine, sine, rates, f, 1);
    all_angles(cosine, back_sine, rates, f, -1);
    tasks.cut(starts, f.lengths);
    if (f.forgets()) f.begins = begins;
    parallel(context, f.layers + 1, [&](int64_t l, int) {
      if (l < f.layers) {
        for (Weight<T> *w : weights(layers[l])) w->pack(false);
      } else {
        for (Weight<T> *w : {&key_back, &value_back}) w->pack(false);
      }
    });
    parallel(context, f.batch, [&](int64_t b, int) { begin_sequence(b); });
  }
  // A sequence's memory as a whole, and the adjoints of what it holds.
  void begin_sequence(int64_t b) {
    const int64_t size = f.kv_width(), sequence = size * f.slots(), all = f.steps * size;
    if (f.forgets()) f.begin_each(begins, b);
    f.transpose(keys + b * sequence, f.past_keys, f.keys, b, f.past + f.length(b));
    f.transpose(values + b * sequence, f.past_values, f.values, b, f.past + f.length(b));
    const auto start = [&](void *dpast, T *d, const T *from) {
      if (dpast != nullptr) {
        std::memset(static_cast<T *>(dpast) + b * f.room * size, 0, f.room * size * sizeof(T));
      }
      if (from == nullptr) {
        std::memset(d + b * all, 0, all * sizeof(T));
      } else {
        std::memcpy(d + b * all, from + b * all, all * sizeof(T));
      }
    };
    start(d.dpast_keys, dk, dkeys);
    start(d.dpast_values, dv, dvalues);
    const int64_t end = f.length(b);
    std::memset(static_cast<T *>(d.dx) + (b * f.steps + end) * f.width, 0,
                (f.steps - end) * f.width * sizeof(T));
  }
};
