// SPDX-License-Identifier: Apache-2.0
// feedback_backward: the adjoints of feedback memory, from the last step to the first.
// The adjoint of a remembered step is complete when its own step is reached: only later ones read
// it. From it that of every state of the step, and then down the layers.
// Shapes   feedback.cu's; each adjoint that of what it belongs to
// Method   a step is computed anew from its states; the rows whose products are the adjoints of the
//          weights are kept for a group of steps, then multiplied. A block has the heads that share
//          keys, and is the only one that writes to their adjoints
// Order    feedback.cuh's; adjoints of weights group by group, from the end
// Error    <= 2 x the plain loop
// Work     per step and layer 16 width heads head_size + 16 width inner flops and 12 heads
//          head_size per remembered step; 8 width kv_heads head_size per step
// Source   Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv:2002.09402
#include "feedback_backward.cuh"

namespace {

constexpr int64_t kGroupOfRows = 512;

// One call, its arguments checked. Its scratch memory is counted first.
template <class T>
struct Back {
  Call &call;
  pnd_context *context;
  Feedback<T> f;
  const guard::FeedbackSlopes &d;
  T *dstates;
  int64_t group;  // steps
  // What the layers keep is laid out alike: that of layer l begins l kept_bytes after the first.
  Pieces start;
  int64_t kept_bytes;
  Spread<T> y, dx, dn, du, z, q, dread, inner, dgated;
  T *scales, *p, *ds;
  Spread<T> normed, dk, dv, gain, shares;  // of what is remembered, kept for a group
  MemorySlopes<T> memory;
  int64_t *begins, *running;

  Back(Call &call, pnd_context *context, const Feedback<T> &f, const guard::FeedbackSlopes &d,
       const void *dstates)
      : call(call), context(context), f(f), d(d), dstates(f.at(dstates)) {
    group = std::min(f.steps, std::max<int64_t>(1, kGroupOfRows / f.batch));
    Pieces one;
    Kept<T>(one, f, group * f.batch);
    kept_bytes = one.used();
  }

  void take(Pieces &from) {
    const int64_t rows = group * f.batch, remembered = f.batch * f.steps * f.kv_width();
    start = Pieces(from.take<char>(f.layers * kept_bytes));
    for (Spread<T> *narrow : {&y, &dx, &dn, &du, &z}) *narrow = from.rows<T>(f.batch, f.width);
    q = from.rows<T>(f.batch, f.q_width());
    dread = from.rows<T>(f.batch, f.q_width());
    inner = from.rows<T>(f.batch, f.inner);
    dgated = from.rows<T>(f.batch, f.inner);
    scales = from.take<T>(3 * f.batch);
    p = from.take<T>(f.batch * f.heads * f.slots());
    ds = from.take<T>(f.batch * f.heads * f.slots());
    normed = from.rows<T>(rows, f.width);
    gain = from.rows<T>(rows, f.width);
    dk = from.rows<T>(rows, f.kv_width());
    dv = from.rows<T>(rows, f.kv_width());
    shares = from.rows<T>(rows, f.level_count());
    memory = {f.at(d.dpast_keys), f.at(d.dpast_values), from.take<T>(remembered),
              from.take<T>(remembered)};
    begins = f.bounded() ? from.take<int64_t>(f.batch * f.steps) : nullptr;
    running = f.lengths != nullptr ? from.take<int64_t>(f.steps) : nullptr;
  }
  // What layer l keeps, from row n on.
  Kept<T> kept(int64_t l, int64_t n) const {
    Pieces from = start;
    from.take<char>(l * kept_bytes);
    return Kept<T>(from, f, group * f.batch).from(n);
  }

  void times(int64_t t, Spread<T> to, Spread<T> of, Spread<T> x, const void *weight, int64_t l,
             int64_t in, int64_t out, bool back, Part part = {}) {
    if (call.refused()) return;
    multiply(call, context, to, of, x, f.rows(t), part,
             static_cast<const T *>(f.at(weight, l * in * out)), in, out, back);
  }
  template <class F>
  void per_element(int64_t t, int64_t cols, F each) {
    if (!call.refused()) each_of(call, context, f.batch, cols, f.runners(t), each);
  }
  void norms_back(int64_t t, Spread<T> to, Spread<T> terms, Spread<T> x, const void *gains,
                  int64_t l, const T *scale) {
    if (call.refused()) return;
    const T *by = f.at(gains, l * f.width);
    const bool whole = to.whole() && x.whole() && moves_whole(by, f.width);
    each_row<T>(call, context, f.batch, f.width, whole,
                NormsBack<T>{to, dn, x, by, scale, f.runners(t)});
    per_element(t, f.width, GainTerms<T>{terms, dn, x, scale});
  }
  void clear(Spread<T> rows, int64_t count) { clear(rows.data, count * rows.stride * sizeof(T)); }
  void clear(void *memory, int64_t bytes) {
    if (call.refused()) return;
    check(call, context, cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), context->stream));
  }
  // Zeros for the rows that a group keeps, where some of them are not written.
  void clear_kept() {
    Pieces from = start;
    clear(from.take<char>(f.layers * kept_bytes), f.layers * kept_bytes);
    for (const Spread<T> &rows : {normed, gain, dk, dv, shares}) clear(rows, group * f.batch);
  }
  static Spread<T> from(Spread<T> rows, int64_t n) { return {rows.row(n), rows.stride}; }

  // dx (+)= the adjoints of a state.
  template <bool kAdds>
  void add_states(int64_t t, int64_t l) {
    per_element(t, f.width, AddsStates<T, kAdds>{dx, f.state(dstates, t, l), du, f.at(f.share, l)});
  }

  // From the adjoints of a step's key and value to that of the mixed states, du; n: its first row.
  void forget(int64_t t, int64_t n) {
    const int64_t kv = f.kv_width();
    if (call.refused()) return;
    turn(call, context, f, from(dk, n), f.remembered(memory.keys, t), t, f.kv_heads, -1);
    per_element(t, kv, Copies<T>{from(dv, n), f.remembered(memory.values, t)});
    const Spread<T> none{nullptr, 0};
    times(t, dn, none, from(dk, n), f.key, 0, f.width, kv, true);
    times(t, dn, dn, from(dv, n), f.value, 0, f.width, kv, true);
    if (call.refused()) return;
    mix_states(call, context, f, z, t);
    if (call.refused()) return;
    normalise(call, context, f, from(normed, n), scales, z, f.memory_gain, 0, t);
    clear(du, f.batch);
    norms_back(t, du, from(gain, n), z, f.memory_gain, 0, scales);
    if (call.refused()) return;
    const Spread<T> x = f.state(t, 0);
    each_row<T>(call, context, f.batch * f.level_count(), f.width,
                du.whole() && x.whole() && moves_whole(x.data, f.width),
                Shares<T>{from(shares, n), du, x, f.level_count(), f.width, f.runners(t)});
    add_states<false>(t, f.layers);
  }

  void layer(int64_t t, int64_t l, int64_t n) {
    const Kept<T> k = kept(l, n);
    const Spread<T> none{nullptr, 0}, x = f.state(t, l);
    const int64_t width = f.width, q_width = f.q_width(), wide = f.inner;
    const bool reads = f.past + t > 0;
    Spread<T> top = x;
    if (call.refused()) return;
    if (reads) {
      normalise(call, context, f, k.normed, scales + f.batch, x, f.attention_gain, l, t);
      times(t, q, none, k.normed, f.query, l, width, q_width, false);
      if (call.refused()) return;
      turn(call, context, f, q, q, t, f.heads, 1);
      if (call.refused()) return;
      read_memory(call, context, f, t, k.read, p, q);
      times(t, y, x, k.read, f.mix, l, q_width, width, false, f.readers(t));
      top = y;
    } else {
      const Spread<T> unused[] = {k.normed, k.dq, k.read, k.dy, k.gain};
      for (const Spread<T> &rows : unused) clear(rows, f.batch);
    }
    if (call.refused()) return;
    normalise(call, context, f, k.thought, scales + 2 * f.batch, top, f.mlp_gain, l, t);
    times(t, inner, none, k.thought, f.wide, l, width, wide, false);
    per_element(t, width, Copies<T>{k.dtop, dx});
    times(t, dgated, none, k.dtop, f.narrow, l, wide, width, true);
    per_element(t, wide, GatesBack<T>{k.gated, k.dinner, dgated, inner});
    times(t, dn, none, k.dinner, f.wide, l, width, wide, true);
    norms_back(t, dx, k.mlp_gain, top, f.mlp_gain, l, scales + 2 * f.batch);
    if (reads) {
      per_element(t, width, Copies<T>{k.dy, dx});
      times(t, dread, none, k.dy, f.mix, l, q_width, width, true);
      if (call.refused()) return;
      launch_blocks(call, context, read_back_kernel<T>, f.batch * f.kv_heads, dim3(kReadThreads),
                    2 * kReadWarps * sizeof(double), f, t, memory, k.dq, ds, p, f.slots(), q,
                    dread);
      if (call.refused()) return;
      turn(call, context, f, k.dq, k.dq, t, f.heads, -1);
      times(t, dn, none, k.dq, f.query, l, width, q_width, true);
      norms_back(t, dx, k.gain, x, f.attention_gain, l, scales + f.batch);
    }
    add_states<true>(t, l);
  }

  // d (+)= in^T of, over `rows` rows.
  void add_product(void *to, int64_t l, Spread<T> in, int64_t depth, Spread<T> of, int64_t cols,
                   int64_t rows, bool adds) {
    if (call.refused()) return;
    T *weight = f.at(to, l * depth * cols);
    product(call, context, Operand<T, Strided<T>>{{in.data, in.stride, 0}, false, in.whole()},
            Operand<T, Strided<T>>{{of.data, of.stride, 0}, false, of.whole()},
            ToRows<T>{weight, cols, 0, moves_whole(weight, cols), adds}, 1, Extent{depth}, cols,
            Extent{rows});
  }
  void add_up(void *to, int64_t at, Spread<T> terms, int64_t cols, int64_t rows, bool adds) {
    if (!call.refused()) each(call, context, cols, AddsUp<T>{f.at(to, at), terms, rows, adds});
  }
  void weights(int64_t rows, bool adds) {
    const int64_t width = f.width, q_width = f.q_width(), wide = f.inner, kv = f.kv_width();
    for (int64_t l = 0; l < f.layers; ++l) {
      const Kept<T> k = kept(l, 0);
      add_product(d.dquery, l, k.normed, width, k.dq, q_width, rows, adds);
      add_product(d.dmix, l, k.read, q_width, k.dy, width, rows, adds);
      add_product(d.dwide, l, k.thought, width, k.dinner, wide, rows, adds);
      add_product(d.dnarrow, l, k.gated, wide, k.dtop, width, rows, adds);
      add_up(d.dattention_gain, l * width, k.gain, width, rows, adds);
      add_up(d.dmlp_gain, l * width, k.mlp_gain, width, rows, adds);
    }
    add_product(d.dkey, 0, normed, width, dk, kv, rows, adds);
    add_product(d.dvalue, 0, normed, width, dv, kv, rows, adds);
    add_up(d.dmemory_gain, 0, gain, width, rows, adds);
    add_up(d.dshare, 0, shares, f.level_count(), rows, adds);
  }

  void run(const void *dkeys, const void *dvalues) {
    const int64_t kv = f.kv_width();
    f.begins = begins;
    f.running = running;
    begin(call, context, f, kFeedbackFirstBackward, kFeedbackLengthsBackward);
    clear_rest(call, context, f, f.at(d.dx), f.width);
    for (void *past : {d.dpast_keys, d.dpast_values}) {
      if (past != nullptr) clear(past, f.batch * f.room * kv * sizeof(T));
    }
    const auto copy = [&](T *to, const void *of) {
      if (call.refused()) return;
      each_of(call, context, f.batch * f.steps, kv, Part{},
              Copies<T>{{to, kv}, {of == nullptr ? nullptr : f.at(of), kv}});
    };
    copy(memory.keys, dkeys);
    copy(memory.values, dvalues);
    for (int64_t end = f.steps; end > 0 && !call.refused();) {
      const int64_t first = std::max<int64_t>(0, end - group);
      if (f.lengths != nullptr) clear_kept();
      for (int64_t t = end; t-- > first;) {
        const int64_t n = (t - first) * f.batch;
        forget(t, n);
        for (int64_t l = f.layers; l-- > 0;) layer(t, l, n);
        per_element(t, f.width, Copies<T>{{f.at(d.dx, t * f.width), f.steps * f.width}, dx});
      }
      weights((end - first) * f.batch, end != f.steps);
      end = first;
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
    Back<T> back(call, context, f, d, dstates);
    Pieces counted;
    back.take(counted);
    if (call.reserve(0, counted.used()).refused()) return;
    Pieces pieces(context->scratch);
    back.take(pieces);
    back.run(dkeys, dvalues);
  });
  return call.status();
}
