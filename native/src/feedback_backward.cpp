// SPDX-License-Identifier: Apache-2.0
// feedback_backward: the adjoints of feedback memory, from the last step to the first.
// The adjoint of a remembered step is complete when its own step is reached: only later ones read
// it. From it that of every state of the step, and then down the layers.
// Shapes   feedback.cpp's; each adjoint that of what it belongs to
// Method   a step is computed anew from its states. The rows whose products are the adjoints of the
//          weights are kept for a group of steps, then multiplied. A sequence keeps keys and values
//          transposed: the scores of many positions, and their adjoints, are one vector
// Order    ponder.h's: what a step needs is computed as in feedback.cpp; norms' sums in 32 lanes
// Error    <= 2 x the plain loop
// Work     per step and layer 16 width heads head_size + 16 width inner flops - the steps' 4 width
//          inner of the second product are not needed again - and 12 heads head_size per
//          remembered step; 8 width kv_heads head_size per step
// Source   Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv:2002.09402; truncation: Williams, Peng,
//          Neural Computation 2(4), 1990
#include "feedback_step_back.h"

namespace {

// Rows of a weight's adjoint that one task computes.
constexpr int64_t kWeightRows = 128;

// to = (first ? 0 : to) + the sum of rows, upwards.
template <class T>
void add_up(T *to, const T *from, int64_t stride, int64_t rows, int64_t cols, bool first) {
  if (first) std::memset(to, 0, cols * sizeof(T));
  for (int64_t r = 0; r < rows; ++r) add_scaled(to, T{1}, from + r * stride, cols);
}

// The products and sums over the rows of a group; `first`: on top of nothing.
template <class T>
void add_weights(pnd_context *context, const FeedbackBack<T> &s, int64_t rows, bool first) {
  const Feedback<T> &f = s.f;
  const guard::FeedbackSlopes &d = s.d;
  const FeedbackStrides<T> &at = s.at;
  struct Product {
    void *to;
    const T *in, *d;
    int64_t depth, cols, in_stride, stride;
  };
  const auto product_of = [&](int64_t l, int64_t which) -> Product {
    const int64_t width = f.width, q = f.q_width(), inner = f.inner, kv = f.kv_width();
    const auto of = [&](void *to, int64_t size) { return static_cast<T *>(to) + l * size; };
    if (l == f.layers) {
      return {which == 0 ? d.dkey : d.dvalue,
              s.memory.normed,
              which == 0 ? s.memory.dk : s.memory.dv,
              width,
              kv,
              at.narrow,
              at.memory};
    }
    const FeedbackKept<T> &k = s.kept[l];
    switch (which) {
      case 0:
        return {of(d.dquery, width * q), k.normed, k.dq, width, q, at.narrow, at.queries};
      case 1:
        return {of(d.dmix, q * width), k.read, k.dy, q, width, at.queries, at.narrow};
      case 2:
        return {of(d.dwide, width * inner), k.thought, k.dinner, width, inner, at.narrow, at.wide};
      default:
        return {of(d.dnarrow, inner * width), k.gated, k.dtop, inner, width, at.wide, at.narrow};
    }
  };
  const auto blocks_of = [](int64_t n) { return (n + kWeightRows - 1) / kWeightRows; };
  const int64_t narrow = blocks_of(f.width),
                most = std::max({narrow, blocks_of(f.q_width()), blocks_of(f.inner)});
  parallel(context, (f.layers * 4 + 2) * most, [&](int64_t i, int worker) {
    const Product p = product_of(i / most / 4, i / most % 4);
    const int64_t start = i % most * kWeightRows;
    if (start >= p.depth) return;
    T *to = static_cast<T *>(p.to) + start * p.cols;
    const int64_t count = std::min(kWeightRows, p.depth - start);
    if (rows == 0) {
      std::memset(to, 0, count * p.cols * sizeof(T));
    } else {
      product(to, p.cols, Matrix<T>{p.in + start, p.in_stride, true},
              Matrix<T>{p.d, p.stride, false}, count, p.cols, rows, !first,
              Scratch(context, worker).take<T>(kProductScratch<T>));
    }
  });
  parallel(context, 2 * f.layers + 2, [&](int64_t i, int) {
    if (i < 2 * f.layers) {
      const FeedbackKept<T> &k = s.kept[i / 2];
      void *to = i % 2 == 0 ? d.dattention_gain : d.dmlp_gain;
      add_up(static_cast<T *>(to) + i / 2 * f.width, i % 2 == 0 ? k.gain : k.mlp_gain, at.narrow,
             rows, f.width, first);
    } else if (i == 2 * f.layers) {
      add_up(static_cast<T *>(d.dmemory_gain), s.memory.gain, at.narrow, rows, f.width, first);
    } else {
      add_up(static_cast<T *>(d.dshare), s.memory.shares, at.levels, rows, f.levels(), first);
    }
  });
}

template <class T>
void run(pnd_context *context, FeedbackBack<T> &s) {
  s.begin(context);
  const Feedback<T> &f = s.f;
  bool first = true;
  for (int64_t end = f.steps; end > 0; end = s.first) {
    s.first = std::max<int64_t>(0, end - s.group());
    s.offsets[0] = 0;
    for (int64_t t = s.first; t < end; ++t) {
      s.offsets[t - s.first + 1] = s.offsets[t - s.first] + s.running(t, f.batch);
    }
    const int64_t rows = s.offsets[end - s.first];
    if (rows > 0) {
      parallel(context, s.tasks.count, [&](int64_t task, int worker) {
        Scratch scratch(context, worker);
        FeedbackRoom<T> room;
        room.pieces(f, s.at, s.tasks.most, [&](auto *&p, int64_t n) {
          p = scratch.take<std::remove_reference_t<decltype(*p)>>(n);
        });
        for (int64_t t = end; t-- > s.first;) {
          const int64_t start = s.starts[task];
          const Running running(room.running, f, t, start, s.starts[task + 1]);
          if (running.count > 0) StepBack<T>(s, t, running, start, room).run();
        }
      });
    }
    // Where no step runs, the weights' adjoints are zeros.
    if (rows > 0 || (first && s.first == 0)) add_weights(context, s, rows, first);
    first = first && rows == 0;
  }
}

}  // namespace

int32_t pnd_feedback_backward(
    pnd_context *context, int32_t dtype, void *dx, void *dpast_keys, void *dpast_values,
    void *dattention_gain, void *dquery, void *dmix, void *dmlp_gain, void *dwide, void *dnarrow,
    void *dshare, void *dmemory_gain, void *dkey, void *dvalue, const void *dstates,
    const void *dkeys, const void *dvalues, const void *states, const void *keys,
    const void *values, const void *past_keys, const void *past_values, const void *attention_gain,
    const void *query, const void *mix, const void *mlp_gain, const void *wide, const void *narrow,
    const void *share, const void *memory_gain, const void *key, const void *value,
    const int32_t *first, const int32_t *resets, const int32_t *lengths, int64_t batch,
    int64_t steps, int64_t layers, int64_t width, int64_t inner, int64_t heads, int64_t kv_heads,
    int64_t head_size, int64_t past, int64_t room, int64_t window, double eps, double base) {
  Call call(context, "feedback_backward");
  const guard::Feedback sizes{
      dtype,  past_keys, past_values, attention_gain, query,  mix,    mlp_gain,
      wide,   narrow,    share,       memory_gain,    key,    value,  first,
      resets, lengths,   batch,       steps,          layers, width,  inner,
      heads,  kv_heads,  head_size,   past,           room,   window, eps,
      base};
  const guard::FeedbackSlopes d{dx,           dpast_keys, dpast_values, dattention_gain, dquery,
                                dmix,         dmlp_gain,  dwide,        dnarrow,         dshare,
                                dmemory_gain, dkey,       dvalue};
  guard::feedback_backward(call, sizes, d, dstates, dkeys, dvalues, states, keys, values);
  check_rows(call, sizes);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const Feedback<T> f(sizes, const_cast<void *>(states), const_cast<void *>(keys),
                        const_cast<void *>(values));
    FeedbackBack<T> s(f, d, static_cast<const T *>(dstates), static_cast<const T *>(dkeys),
                      static_cast<const T *>(dvalues), context->threads);
    int64_t own = 0, shared = 0;
    const auto count = [](int64_t &to) {
      return [&to](auto *&p, int64_t n) {
        to += Scratch::bytes<std::remove_reference_t<decltype(*p)>>(n);
      };
    };
    FeedbackRoom<T>().pieces(f, s.at, s.tasks.most, count(own));
    s.pieces(count(shared));
    call.reserve(std::max(own, Scratch::bytes<T>(kProductScratch<T>)), shared);
    if (call.refused()) return;
    Scratch scratch(context, kShared);
    s.pieces(
        [&](auto *&p, int64_t n) { p = scratch.take<std::remove_reference_t<decltype(*p)>>(n); });
    run(context, s);
  });
  return call.status();
}
