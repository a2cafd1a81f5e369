// SPDX-License-Identifier: Apache-2.0
// feedback_backward: the adjoints of feedback memory, from the last step to the first.
// The adjoint of a remembered step is complete when its own step is reached: only later ones read
// it. From it that of every state of the step, and then down the layers.
// Shapes   feedback.cu's; each adjoint that of what it belongs to
// Method   a group of steps is computed anew from its states, all of them at once. Then its steps
// go
//          back, stages like the forward function's; the rows whose products are the adjoints of
//          the weights are kept until the group's end. A block has the heads that share keys, and
//          is the only one that writes to their adjoints
// Order    feedback_way_back.cuh's; adjoints of weights group by group, from the end
// Error    <= 2 x the plain loop
// Work     per step and layer 16 width heads head_size + 16 width inner flops and 12 heads
//          head_size per remembered step; 8 width kv_heads head_size per step
// Source   Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv:2002.09402
#include "feedback_way_back.cuh"

namespace {

constexpr int64_t kGroupOfRows = 256;

// One call, its arguments checked. Its scratch memory is counted first.
template <class T>
struct Back {
  Call &call;
  pnd_context *context;
  const guard::FeedbackSlopes &d;
  int64_t group;  // steps
  WayBack<T> way;

  Back(Call &call, pnd_context *context, const Feedback<T> &f, const guard::FeedbackSlopes &d,
       const void *dstates, ScratchPieces &from)
      : call(call),
        context(context),
        d(d),
        group(std::min(f.steps, std::max<int64_t>(1, kGroupOfRows / f.batch))),
        way(f, f.at(d.dx), f.at(dstates), group * f.batch, most_stage_blocks(context), from) {
    way.memory.past_keys = f.at(d.dpast_keys);
    way.memory.past_values = f.at(d.dpast_values);
  }

  void clear(void *memory, int64_t bytes) {
    if (call.refused()) return;
    check(call, context, cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), context->stream));
  }
  Spread<T> of(const Spread<T> &rows, int64_t l) const { return way.of(rows, l, 0); }

  // to = x weight l [in, out], for `rows` rows of the group.
  template <class To>
  void times(const To &to, Spread<T> x, const void *weight, int64_t l, int64_t in, int64_t out,
             int64_t rows) {
    if (call.refused()) return;
    const T *w = way.f.at(weight, l * in * out);
    product(call, context, Operand<T, Strided<T>>{{x.data, x.stride, 0}, true, x.whole()},
            Operand<T, Strided<T>>{{w, out, 0}, false, moves_whole(w, out)}, to, 1, Extent{rows},
            out, Extent{in});
  }
  template <class Rows>
  void normalise(Spread<T> y, Spread<T> scales, Rows x, const void *gains, int64_t l,
                 int64_t rows) {
    const Feedback<T> &f = way.f;
    if (call.refused()) return;
    each_row<T>(call, context, rows, f.width, f.whole,
                Norms<T, Rows>{y, scales, x, f.at(gains, l * f.width), static_cast<T>(f.eps), f,
                               way.first});
  }
  // What the steps from `first` on found on the way from their states to the next.
  void compute_anew(int64_t first, int64_t rows) {
    const Feedback<T> &f = way.f;
    const auto to_rows = [](Spread<T> to) { return ToRows<T>{to.data, to.stride, 0, true, false}; };
    const auto states = [&](int64_t l) {
      const Spread<T> of = f.state(first, l);
      return Steps<T>{of.data, f.batch, f.level_count() * f.width, of.stride};
    };
    const auto readers =
        static_cast<unsigned>(std::min(rows * f.heads, most_stage_blocks(context)));
    for (int64_t l = 0; l < f.layers; ++l) {
      const Spread<T> q = of(way.kept.q, l), read = of(way.kept.read, l), y = of(way.kept.y, l);
      const Spread<T> normed = of(way.kept.normed, l), thought = of(way.kept.thought, l);
      const Spread<T> inner = of(way.kept.dinner, l);
      normalise(normed, of(way.kept.scales, l), states(l), f.attention_gain, l, rows);
      times(to_rows(q), normed, f.query, l, f.width, f.q_width(), rows);
      if (call.refused()) return;
      launch(call, context, read_kernel<T>, dim3(readers), dim3(kReadThreads), kReadBytes, f, first,
             rows, q, read, way.p);
      times(ToTops<T>{y, states(l), f, first}, read, f.mix, l, f.q_width(), f.width, rows);
      normalise(thought, of(way.kept.mlp_scales, l), y, f.mlp_gain, l, rows);
      times(to_rows(inner), thought, f.wide, l, f.width, f.inner, rows);
      if (call.refused()) return;
      each_of(call, context, rows, f.inner, Part{}, Gates<T>{of(way.kept.gated, l), inner});
    }
    if (call.refused()) return;
    each_of(call, context, rows, f.width, Part{},
            Mixes<T>{way.z, states(0), f.at(f.share), f.level_count(), f.width});
    normalise(way.normed, way.scales, way.z, f.memory_gain, 0, rows);
  }

  // d (+)= in^T of, over `rows` rows.
  void add_product(void *to, int64_t l, Spread<T> in, int64_t depth, Spread<T> of, int64_t cols,
                   int64_t rows, bool adds) {
    if (call.refused()) return;
    T *weight = way.f.at(to, l * depth * cols);
    product(call, context, Operand<T, Strided<T>>{{in.data, in.stride, 0}, false, in.whole()},
            Operand<T, Strided<T>>{{of.data, of.stride, 0}, false, of.whole()},
            ToRows<T>{weight, cols, 0, moves_whole(weight, cols), adds}, 1, Extent{depth}, cols,
            Extent{rows});
  }
  void add_up(void *to, int64_t at, Spread<T> terms, int64_t cols, int64_t rows, bool adds) {
    if (!call.refused()) each(call, context, cols, AddsUp<T>{way.f.at(to, at), terms, rows, adds});
  }
  void weights(int64_t rows, bool adds) {
    const Feedback<T> &f = way.f;
    const Kept<T> &k = way.kept;
    const int64_t width = f.width, q_width = f.q_width(), wide = f.inner, kv = f.kv_width();
    for (int64_t l = 0; l < f.layers; ++l) {
      add_product(d.dquery, l, of(k.normed, l), width, of(k.dq, l), q_width, rows, adds);
      add_product(d.dmix, l, of(k.read, l), q_width, of(k.dy, l), width, rows, adds);
      add_product(d.dwide, l, of(k.thought, l), width, of(k.dinner, l), wide, rows, adds);
      add_product(d.dnarrow, l, of(k.gated, l), wide, of(k.dtop, l), width, rows, adds);
      add_up(d.dattention_gain, l * width, of(k.gain, l), width, rows, adds);
      add_up(d.dmlp_gain, l * width, of(k.mlp_gain, l), width, rows, adds);
    }
    add_product(d.dkey, 0, way.normed, width, way.dk, kv, rows, adds);
    add_product(d.dvalue, 0, way.normed, width, way.dv, kv, rows, adds);
    add_up(d.dmemory_gain, 0, way.gain, width, rows, adds);
    add_up(d.dshare, 0, way.shares, f.level_count(), rows, adds);
  }

  void run(const void *dkeys, const void *dvalues) {
    const Feedback<T> &f = way.f;
    const int64_t kv = f.kv_width();
    begin(call, context, f, kFeedbackFirstBackward, kFeedbackLengthsBackward);
    clear_rest(call, context, f, way.dx, f.width);
    for (void *past : {d.dpast_keys, d.dpast_values}) {
      if (past != nullptr) clear(past, f.batch * f.room * kv * sizeof(T));
    }
    const auto copy = [&](T *to, const void *of) {
      if (call.refused()) return;
      each_of(call, context, f.batch * f.steps, kv, Part{}, Copies<T>{to, f.at(of), kv});
    };
    copy(way.memory.keys, dkeys);
    copy(way.memory.values, dvalues);
    for (int64_t end = f.steps; end > 0 && !call.refused(); end = way.first) {
      way.first = std::max<int64_t>(0, end - group);
      way.steps = end - way.first;
      const int64_t rows = way.steps * f.batch;
      // The rows of sequences that have ended are not written.
      if (f.lengths != nullptr) clear(way.start, way.bytes);
      compute_anew(way.first, rows);
      if (call.refused()) return;
      run_stages<T>(
          call, context, way, f.batch, [&](int64_t at_once) { return way.jobs(at_once); },
          way.steps * way.stages());
      weights(rows, end != f.steps);
    }
  }
};

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
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const Feedback<T> f(sizes, states, keys, values);
    ScratchPieces counted;
    Back<T>(call, context, f, d, dstates, counted);
    if (call.reserve(0, counted.used()).refused()) return;
    ScratchPieces pieces(context->scratch);
    Back<T>(call, context, f, d, dstates, pieces).run(dkeys, dvalues);
  });
  return call.status();
}
