// SPDX-License-Identifier: Apache-2.0
// feedback: a transformer whose layers all read what every layer found at the steps before.
// y = x_l + attention(rotary(norm(x_l) query_l), keys, values) mix_l
// x_{l+1} = y + gelu(norm(y) wide_l) narrow_l
// z = norm(sum over l of share_l x_l); then keys_t = rotary(z key), values_t = z value
// Shapes   x [batch, steps, width]; states [batch, steps, layers + 1, width]; keys, values [batch,
//          steps, kv_heads, head_size]; past_keys, past_values [batch, room, kv_heads, head_size];
//          first, lengths [batch]; resets [batch, steps]; the weights as ponder.h says
// Method   the weights are packed once per call, or for few steps read where they are. A task's
//          sequences take each step together, so that it reads the weights once; a task never waits
//          for another; it leaves out those that have ended. Each keeps its keys transposed: the
//          scores of many positions are one vector
// Order    ponder.h's
// Error    <= 2 x the plain loop
// Work     per step and layer 4 width (heads head_size + inner) flops and 4 heads head_size per
//          remembered step; 4 width kv_heads head_size per step
// Source   Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv:2002.09402
#include "feedback_read.h"

namespace {

// With fewer steps a copy of the weights does not pay.
constexpr int64_t kFewSteps = 8;

template <class T>
struct Layer {
  Weight<T> query, mix, wide, narrow;
};

// Scratch of one task: rows of all its sequences.
template <class T>
struct Room {
  int64_t narrow, queries, wide, memory;  // distances between rows
  T *x, *normed, *q, *read, *inner, *gated, *k, *v, *keys, *p;
  int64_t *running;

  explicit Room(const Feedback<T> &f)
      : narrow(stride_of<T>(f.width)),
        queries(stride_of<T>(f.q_width())),
        wide(stride_of<T>(f.inner)),
        memory(stride_of<T>(f.kv_width())) {}

  // Calls with each piece and its elements.
  template <class F>
  void pieces(const Feedback<T> &f, int64_t most, F &&piece) {
    piece(x, most * narrow);
    piece(normed, most * narrow);
    piece(q, most * queries);
    piece(read, most * queries);
    piece(inner, most * wide);
    piece(gated, most * wide);
    piece(k, most * memory);
    piece(v, most * memory);
    piece(keys, most * f.kv_width() * f.slots());
    piece(p, f.heads * f.slots());
    piece(running, most);
  }
};

// One call, its arguments checked.
template <class T>
class Scan {
 public:
  Scan(const Feedback<T> &f, const T *x, Layer<T> *layers, Weight<T> key, Weight<T> value,
       const T *cosine, const T *sine)
      : f_(f), x_(x), layers_(layers), key_(key), value_(value), cosine_(cosine), sine_(sine) {}

  // All steps of the sequences [first, end).
  void run(int64_t first, int64_t end, const Room<T> &room) const {
    for (int64_t b = first; b < end; ++b) {
      f_.transpose(keys_of(b - first, room), f_.past_keys, f_.keys, b, f_.past);
      clear_rest(b);
    }
    for (int64_t t = 0; t < f_.steps; ++t) {
      const Running rows(room.running, f_, t, first, end);
      if (rows.count == 0) return;
      for (int64_t r = 0; r < rows.count; ++r) {
        const T *from = x_ + (rows[r] * f_.steps + t) * f_.width;
        copy_run(room.x + r * room.narrow, from, f_.width);
        copy_run(f_.state(rows[r], t, 0), from, f_.width);
      }
      const bool some_read = rows.read(f_, t);
      for (int64_t l = 0; l < f_.layers; ++l) {
        if (some_read) read(l, t, first, rows, room);
        think(l, t, rows, room);
      }
      remember(t, first, rows, room);
    }
  }

 private:
  T *keys_of(int64_t sequence, const Room<T> &room) const {
    return room.keys + sequence * f_.kv_width() * f_.slots();
  }

  // Zeros for the steps that are not computed.
  void clear_rest(int64_t b) const {
    const int64_t start = f_.length(b), count = f_.steps - start;
    if (count == 0) return;
    std::memset(f_.state(b, start, 0), 0, count * f_.levels() * f_.width * sizeof(T));
    for (T *rows : {f_.keys, f_.values}) {
      std::memset(rows + (b * f_.steps + start) * f_.kv_width(), 0,
                  count * f_.kv_width() * sizeof(T));
    }
  }

  void turn(T *x, int64_t t, int64_t heads) const {
    turn_heads(x, x, cosine_ + t * f_.pairs(), sine_ + t * f_.pairs(), heads, f_.head_size / 2);
  }

  void normalise_all(int64_t rows, const T *gain, const Room<T> &room) const {
    for (int64_t r = 0; r < rows; ++r) {
      normalise(room.normed + r * room.narrow, room.x + r * room.narrow, gain, f_.width, f_.eps);
    }
  }

  // x += attention(...) mix, where a row reads something.
  void read(int64_t l, int64_t t, int64_t first, const Running &rows, const Room<T> &room) const {
    normalise_all(rows.count, f_.of(f_.attention_gain, l * f_.width), room);
    multiply(room.q, room.queries, room.normed, room.narrow, rows.count, layers_[l].query, false);
    for (int64_t r = 0; r < rows.count; ++r) {
      T *q = room.q + r * room.queries;
      turn(q, t, f_.heads);
      read_memory(room.read + r * room.queries, room.p, f_.slots(), f_, rows[r], f_.past + t, q,
                  keys_of(rows[r] - first, room));
    }
    multiply(room.x, room.narrow, room.read, room.queries, rows.count, layers_[l].mix, true);
    for (int64_t r = 0; r < rows.count; ++r) {
      if (f_.reads(rows[r], t)) continue;
      const T *before = f_.state(rows[r], t, l);
      copy_run(room.x + r * room.narrow, before, f_.width);
    }
  }

  // x += gelu(norm(x) wide) narrow, the next state.
  void think(int64_t l, int64_t t, const Running &rows, const Room<T> &room) const {
    normalise_all(rows.count, f_.of(f_.mlp_gain, l * f_.width), room);
    multiply(room.inner, room.wide, room.normed, room.narrow, rows.count, layers_[l].wide, false);
    for (int64_t r = 0; r < rows.count; ++r) {
      map_run<kFormulaPack>(
          room.gated + r * room.wide, f_.inner, [](auto v) PND_INLINED { return gated<Gelu>(v); },
          static_cast<const T *>(room.inner + r * room.wide));
    }
    multiply(room.x, room.narrow, room.gated, room.wide, rows.count, layers_[l].narrow, true);
    for (int64_t r = 0; r < rows.count; ++r) {
      copy_run(f_.state(rows[r], t, l + 1), room.x + r * room.narrow, f_.width);
    }
  }

  void remember(int64_t t, int64_t first, const Running &rows, const Room<T> &room) const {
    for (int64_t r = 0; r < rows.count; ++r) {
      mix_states(room.x + r * room.narrow, f_, rows[r], t);
    }
    normalise_all(rows.count, f_.of(f_.memory_gain), room);
    multiply(room.k, room.memory, room.normed, room.narrow, rows.count, key_, false);
    multiply(room.v, room.memory, room.normed, room.narrow, rows.count, value_, false);
    const int64_t size = f_.kv_width(), slots = f_.slots(), at = f_.past + t - f_.origin();
    for (int64_t r = 0; r < rows.count; ++r) {
      T *k = room.k + r * room.memory, *columns = keys_of(rows[r] - first, room) + at;
      turn(k, t, f_.kv_heads);
      const int64_t to = (rows[r] * f_.steps + t) * size;
      copy_run(f_.keys + to, static_cast<const T *>(k), size);
      copy_run(f_.values + to, static_cast<const T *>(room.v + r * room.memory), size);
      for (int64_t i = 0; i < size; ++i) columns[i * slots] = k[i];
    }
  }

  const Feedback<T> &f_;
  const T *x_;
  const Layer<T> *layers_;
  Weight<T> key_, value_;
  const T *cosine_, *sine_;
};

template <class T>
void run(Call &call, pnd_context *context, Feedback<T> &f, const T *x) {
  const Tasks tasks(f, context->threads);
  const int64_t count = f.layers, begins = f.forgets() ? f.batch * f.steps : 0;
  int64_t own = 0;
  Room<T>(f).pieces(f, tasks.most, [&](auto *&p, int64_t n) {
    own += Scratch::bytes<std::remove_reference_t<decltype(*p)>>(n);
  });
  int64_t shared = Scratch::bytes<Layer<T>>(count) + Scratch::bytes<double>(f.pairs()) +
                   2 * Scratch::bytes<T>(f.steps * f.pairs()) + Scratch::bytes<int64_t>(begins) +
                   Scratch::bytes<int64_t>(tasks.count + 1);
  const Weight<T> ofs[] = {f.query_of(0, false), f.mix_of(0, false), f.wide_of(0, false),
                           f.narrow_of(0, false)};
  for (const Weight<T> &w : ofs) shared += count * Scratch::bytes<T>(w.size());
  shared += 2 * Scratch::bytes<T>(f.key_of(false).size());
  call.reserve(own, shared);
  if (call.refused()) return;

  Scratch scratch(context, kShared);
  T *cosine = scratch.take<T>(f.steps * f.pairs()), *sine = scratch.take<T>(f.steps * f.pairs());
  all_angles(cosine, sine, scratch.take<double>(f.pairs()), f, 1);
  Layer<T> *layers = scratch.take<Layer<T>>(count);
  Weight<T> key = f.key_of(false), value = f.value_of(false);
  for (Weight<T> *w : {&key, &value}) w->panels = scratch.take<T>(w->size());
  for (int64_t l = 0; l < count; ++l) {
    layers[l] = {f.query_of(l, false), f.mix_of(l, false), f.wide_of(l, false),
                 f.narrow_of(l, false)};
    for (Weight<T> *w : {&layers[l].query, &layers[l].mix, &layers[l].wide, &layers[l].narrow}) {
      w->panels = scratch.take<T>(w->size());
    }
  }
  int64_t *starts = scratch.take<int64_t>(tasks.count + 1);
  tasks.cut(starts, f.lengths);
  if (f.forgets()) {
    int64_t *table = scratch.take<int64_t>(begins);
    for (int64_t b = 0; b < f.batch; ++b) f.begin_each(table, b);
    f.begins = table;
  }
  const bool few = f.steps < kFewSteps;
  parallel(context, 4 * count + 2, [&](int64_t i, int) {
    Weight<T> *of[] = {&layers[i / 4 % count].query, &layers[i / 4 % count].mix,
                       &layers[i / 4 % count].wide, &layers[i / 4 % count].narrow};
    (i < 4 * count ? of[i % 4] : i == 4 * count ? &key : &value)->pack(few);
  });
  const Scan<T> scan(f, x, layers, key, value, cosine, sine);
  parallel(context, tasks.count, [&](int64_t task, int worker) {
    Scratch own_scratch(context, worker);
    Room<T> room(f);
    room.pieces(f, tasks.most, [&](auto *&p, int64_t n) {
      p = own_scratch.take<std::remove_reference_t<decltype(*p)>>(n);
    });
    scan.run(starts[task], starts[task + 1], room);
  });
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
  check_rows(call, sizes);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Feedback<T> f(sizes, states, keys, values);
    run(call, context, f, static_cast<const T *>(x));
  });
  return call.status();
}
