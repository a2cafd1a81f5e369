// SPDX-License-Identifier: Apache-2.0
// feedback: a transformer whose layers all read what every layer found at the steps before.
// y = x_l + attention(rotary(norm(x_l) query_l), keys, values) mix_l
// x_{l+1} = y + gelu(norm(y) wide_l) narrow_l
// z = norm(sum over l of share_l x_l); then keys_t = rotary(z key), values_t = z value
// Shapes   x [batch, steps, width]; states [batch, steps, layers + 1, width]; keys, values [batch,
//          steps, kv_heads, head_size]; past_keys, past_values [batch, room, kv_heads, head_size];
//          first, lengths [batch]; resets [batch, steps]; the weights as ponder.h says
// Method   the steps one after another, each a fixed run of launches over all of batch, so that a
//          captured graph replays them; a block per head reads the memory. Which sequences run, and
//          what they remember, a table on the device tells
// Order    feedback.cuh's
// Error    <= 2 x the plain loop
// Work     per step and layer 4 width (heads head_size + inner) flops and 4 heads head_size per
//          remembered step; 4 width kv_heads head_size per step
// Source   Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv:2002.09402
#include "feedback.cuh"

namespace {

// The lowest states are the inputs.
template <class T>
struct Enters {
  T *states;
  const T *x;
  int64_t levels, width;
  __device__ void operator()(int64_t row, int64_t i) const {
    states[row * levels * width + i] = x[row * width + i];
  }
};

template <class T>
struct Rooms {
  Spread<T> normed, y, q, read, inner;
  T *p;
  int64_t *begins, *running;

  Rooms(Pieces &from, const Feedback<T> &f)
      : normed(from.rows<T>(f.batch, f.width)),
        y(from.rows<T>(f.batch, f.width)),
        q(from.rows<T>(f.batch, f.q_width())),
        read(from.rows<T>(f.batch, f.q_width())),
        inner(from.rows<T>(f.batch, f.inner)),
        p(from.take<T>(f.batch * f.heads * f.slots())),
        begins(f.bounded() ? from.take<int64_t>(f.batch * f.steps) : nullptr),
        running(f.lengths != nullptr ? from.take<int64_t>(f.steps) : nullptr) {}
};

template <class T>
void step(Call &call, pnd_context *context, const Feedback<T> &f, const Rooms<T> &room, int64_t t) {
  const int64_t width = f.width, q_width = f.q_width(), inner = f.inner, kv = f.kv_width();
  const Spread<T> none{nullptr, 0};
  const auto times = [&](Spread<T> to, Spread<T> of, Part part, Spread<T> x, const void *weight,
                         int64_t l, int64_t in, int64_t out) {
    if (call.refused()) return;
    multiply(call, context, to, of, x, f.rows(t), part,
             static_cast<const T *>(f.at(weight, l * in * out)), in, out, false);
  };
  const Part all{}, runs = f.runners(t);
  for (int64_t l = 0; l < f.layers && !call.refused(); ++l) {
    Spread<T> y = f.state(t, l);
    if (f.past + t > 0) {
      normalise<T>(call, context, f, room.normed, nullptr, y, f.attention_gain, l, t);
      times(room.q, none, all, room.normed, f.query, l, width, q_width);
      if (call.refused()) return;
      turn(call, context, f, room.q, room.q, t, f.heads, 1);
      if (call.refused()) return;
      read_memory(call, context, f, t, room.read, room.p, room.q);
      times(room.y, y, f.readers(t), room.read, f.mix, l, q_width, width);
      y = room.y;
    }
    if (call.refused()) return;
    normalise<T>(call, context, f, room.normed, nullptr, y, f.mlp_gain, l, t);
    times(room.inner, none, all, room.normed, f.wide, l, width, inner);
    if (call.refused()) return;
    each_of(call, context, f.batch, inner, runs, Gates<T>{room.inner, room.inner});
    times(f.state(t, l + 1), y, runs, room.inner, f.narrow, l, inner, width);
  }
  if (call.refused()) return;
  mix_states(call, context, f, room.y, t);
  if (call.refused()) return;
  normalise<T>(call, context, f, room.normed, nullptr, room.y, f.memory_gain, 0, t);
  const Spread<T> key = f.remembered(f.keys, t);
  times(key, none, runs, room.normed, f.key, 0, width, kv);
  times(f.remembered(f.values, t), none, runs, room.normed, f.value, 0, width, kv);
  if (!call.refused()) turn(call, context, f, key, key, t, f.kv_heads, 1);
}

}  // namespace

int32_t pnd_feedback(pnd_context *context, int32_t dtype, void *states, void *keys, void *values,
                     const void *x, const void *past_keys, const void *past_values,
                     const void *attention_gain, const void *query, const void *mix,
                     const void *mlp_gain, const void *wide, const void *narrow, const void *share,
                     const void *memory_gain, const void *key, const void *value,
                     const int32_t *first, const int32_t *resets, const int32_t *lengths,
                     int64_t batch, int64_t steps, int64_t layers, int64_t width, int64_t inner,
                     int64_t heads, int64_t kv_heads, int64_t head_size, int64_t past, int64_t room,
                     int64_t window, double eps, double base) {
  Call call(context, "feedback");
  const guard::Feedback sizes{
      dtype,  past_keys, past_values, attention_gain, query,  mix,    mlp_gain,
      wide,   narrow,    share,       memory_gain,    key,    value,  first,
      resets, lengths,   batch,       steps,          layers, width,  inner,
      heads,  kv_heads,  head_size,   past,           room,   window, eps,
      base};
  guard::feedback(call, sizes, states, keys, values, x);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Feedback<T> f(sizes, states, keys, values);
    Pieces counted;
    Rooms<T>(counted, f);
    if (call.reserve(0, counted.used()).refused()) return;
    Pieces pieces(context->scratch);
    const Rooms<T> rooms(pieces, f);
    f.begins = rooms.begins;
    f.running = rooms.running;
    begin(call, context, f, kFeedbackFirst, kFeedbackLengths);
    clear_rest(call, context, f, f.states, f.level_count() * width);
    clear_rest(call, context, f, f.keys, f.kv_width());
    clear_rest(call, context, f, f.values, f.kv_width());
    if (call.refused()) return;
    each_of(call, context, batch * steps, width, Part{f.begins},
            Enters<T>{f.states, static_cast<const T *>(x), f.level_count(), width});
    for (int64_t t = 0; t < steps && !call.refused(); ++t) step(call, context, f, rooms, t);
  });
  return call.status();
}
