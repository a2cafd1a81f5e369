// SPDX-License-Identifier: Apache-2.0
// feedback_step_back.h: the adjoints of one step of feedback memory for the sequences of a task,
// the step computed anew from its states.
#pragma once

#include "feedback_backward.h"

// Scratch of one task: rows of all its sequences; the weights of what they read.
template <class T>
struct FeedbackRoom {
  T *y, *dx, *dn, *du, *q, *dread, *inner, *dgated, *p, *ds, *z;
  double *scales;  // 1 / root mean square of both norms
  int64_t *running;

  template <class F>
  void pieces(const Feedback<T> &f, const FeedbackStrides<T> &at, int64_t most, F &&piece) {
    for (T **narrow : {&y, &dx, &dn, &du}) piece(*narrow, most * at.narrow);
    piece(q, most * at.queries);
    piece(dread, most * at.queries);
    piece(inner, most * at.wide);
    piece(dgated, most * at.wide);
    piece(p, most * f.heads * f.slots());
    piece(ds, f.slots());
    piece(z, at.narrow);
    piece(scales, 2 * most);
    piece(running, most);
  }
};

// to += the adjoint of x before its norm, from that of its result; terms = what dgain gets.
template <class T>
void norm_back(T *to, T *terms, const T *dn, const T *x, const T *gain, T scale, int64_t cols) {
  const Vec<T> s = splat(scale), slope = splat(mean_of_row(dn, x, gain, scale, cols));
  each_vector<T>(cols, [=](int64_t i, auto get, auto put) {
    const Vec<T> d = get(dn + i), u = get(x + i) * s;
    put(to + i, get(to + i) + fma(-u, slope, d * get(gain + i)) * s);
    put(terms + i, d * u);
  });
}

// One step of the sequences of a task.
template <class T>
class StepBack {
 public:
  StepBack(const FeedbackBack<T> &s, int64_t t, const Running &rows, int64_t start,
           const FeedbackRoom<T> &room)
      : s(s),
        f(s.f),
        at(s.at),
        room(room),
        rows(rows),
        t(t),
        first(s.offsets[t - s.first] + s.running(t, start)) {}

  void run() const {
    const bool some_read = rows.read(f, t);
    forget();
    for (int64_t l = f.layers; l-- > 0;) {
      compute_again(l, some_read);
      unthink(l);
      if (some_read) unread(l);
      for (int64_t r = 0; r < rows.count; ++r) add_states(l, r);
    }
    for (int64_t r = 0; r < rows.count; ++r) {
      copy_run(static_cast<T *>(s.d.dx) + (rows[r] * f.steps + t) * f.width,
               static_cast<const T *>(room.dx + r * at.narrow), f.width);
    }
  }

 private:
  // dx += the state's own adjoint and that of its share in the memory.
  void add_states(int64_t l, int64_t r) const {
    T *dx = room.dx + r * at.narrow;
    const T *own = s.dstates + ((rows[r] * f.steps + t) * f.levels() + l) * f.width;
    const T *du = room.du + r * at.narrow;
    const Vec<T> share = splat(f.of(f.share)[l]);
    each_vector<T>(f.width, [=](int64_t i, auto get, auto put) {
      put(dx + i, get(dx + i) + fma(share, get(du + i), get(own + i)));
    });
  }

  // From the adjoints of a step's key and value to that of the mixed states, du, and dx, that of
  // the uppermost state.
  void forget() const {
    const int64_t size = f.kv_width();
    T *dk = s.memory.dk + first * at.memory, *dv = s.memory.dv + first * at.memory;
    for (int64_t r = 0; r < rows.count; ++r) {
      const int64_t from = (rows[r] * f.steps + t) * size;
      turn(dk + r * at.memory, s.dk + from, f.kv_heads, s.back_sine);
      copy_run(dv + r * at.memory, static_cast<const T *>(s.dv + from), size);
    }
    multiply(room.dn, at.narrow, dk, at.memory, rows.count, s.key_back, false);
    multiply(room.dn, at.narrow, dv, at.memory, rows.count, s.value_back, true);
    const T *gain = f.of(f.memory_gain);
    for (int64_t r = 0; r < rows.count; ++r) {
      const int64_t i = first + r;
      T *du = room.du + r * at.narrow, *dx = room.dx + r * at.narrow;
      mix_states(room.z, f, rows[r], t);
      const T scale = normalise(s.memory.normed + i * at.narrow, room.z, gain, f.width, f.eps);
      std::memset(du, 0, f.width * sizeof(T));
      std::memset(dx, 0, f.width * sizeof(T));
      norm_back(du, s.memory.gain + i * at.narrow, room.dn + r * at.narrow, room.z, gain, scale,
                f.width);
      for (int64_t l = 0; l < f.levels(); ++l) {
        s.memory.shares[i * at.levels + l] = dot_of(
            static_cast<const T *>(du), static_cast<const T *>(f.state(rows[r], t, l)), f.width);
      }
      add_states(f.layers, r);
    }
  }

  // What layer l did: what its norms gave and read, and y; what a row did not use is 0.
  void compute_again(int64_t l, bool some_read) const {
    const int64_t width = f.width;
    const FeedbackKept<T> &kept = s.kept[l];
    const auto rows_of = [&](T *all, int64_t stride) { return all + first * stride; };
    T *normed = rows_of(kept.normed, at.narrow), *read = rows_of(kept.read, at.queries);
    for (int64_t r = 0; r < rows.count; ++r) {
      const T *x = f.state(rows[r], t, l);
      copy_run(room.y + r * at.narrow, x, width);
      if (!some_read) continue;
      room.scales[2 * r] =
          normalise(normed + r * at.narrow, x, f.of(f.attention_gain, l * width), width, f.eps);
    }
    if (some_read) {
      multiply(room.q, at.queries, normed, at.narrow, rows.count, s.layers[l].query, false);
      for (int64_t r = 0; r < rows.count; ++r) {
        T *q = room.q + r * at.queries;
        turn(q, q, f.heads, s.sine);
        read_memory(read + r * at.queries, room.p + r * f.heads * f.slots(), f.slots(), f, rows[r],
                    f.past + t, q, s.keys + rows[r] * f.kv_width() * f.slots());
      }
      multiply(room.y, at.narrow, read, at.queries, rows.count, s.layers[l].mix, true);
      for (int64_t r = 0; r < rows.count; ++r) {
        if (f.reads(rows[r], t)) continue;
        const T *x = f.state(rows[r], t, l);
        copy_run(room.y + r * at.narrow, x, width);
        std::memset(normed + r * at.narrow, 0, at.narrow * sizeof(T));
      }
    } else {
      for (T *narrow : {kept.normed, kept.dy, kept.gain}) {
        std::memset(rows_of(narrow, at.narrow), 0, rows.count * at.narrow * sizeof(T));
      }
      for (T *queries : {kept.dq, kept.read}) {
        std::memset(rows_of(queries, at.queries), 0, rows.count * at.queries * sizeof(T));
      }
    }
    T *thought = rows_of(kept.thought, at.narrow);
    for (int64_t r = 0; r < rows.count; ++r) {
      room.scales[2 * r + 1] = normalise(thought + r * at.narrow, room.y + r * at.narrow,
                                         f.of(f.mlp_gain, l * width), width, f.eps);
    }
    multiply(room.inner, at.wide, thought, at.narrow, rows.count, s.layers[l].wide, false);
  }

  // From dx, the adjoint of the layer's result, to that of y, in its place.
  void unthink(int64_t l) const {
    const FeedbackKept<T> &kept = s.kept[l];
    T *dtop = kept.dtop + first * at.narrow, *dinner = kept.dinner + first * at.wide;
    for (int64_t r = 0; r < rows.count; ++r) {
      copy_run(dtop + r * at.narrow, static_cast<const T *>(room.dx + r * at.narrow), f.width);
    }
    multiply(room.dgated, at.wide, dtop, at.narrow, rows.count, s.layers[l].narrow_back, false);
    for (int64_t r = 0; r < rows.count; ++r) {
      const T *inner = room.inner + r * at.wide, *dgated = room.dgated + r * at.wide;
      map_run<kFormulaPack>(
          kept.gated + (first + r) * at.wide, f.inner,
          [](auto v) PND_INLINED { return gated<Gelu>(v); }, inner);
      map_run<kFormulaPack>(
          dinner + r * at.wide, f.inner,
          [](auto d, auto v) PND_INLINED { return gated_back<Gelu>(d, v); }, dgated, inner);
    }
    multiply(room.dn, at.narrow, dinner, at.wide, rows.count, s.layers[l].wide_back, false);
    for (int64_t r = 0; r < rows.count; ++r) {
      norm_back(room.dx + r * at.narrow, kept.mlp_gain + (first + r) * at.narrow,
                room.dn + r * at.narrow, room.y + r * at.narrow, f.of(f.mlp_gain, l * f.width),
                static_cast<T>(room.scales[2 * r + 1]), f.width);
    }
  }

  // From dx, the adjoint of y, to that of the state below, in its place; what was read of the
  // memory gets its part.
  void unread(int64_t l) const {
    const FeedbackKept<T> &kept = s.kept[l];
    T *dy = kept.dy + first * at.narrow, *dq = kept.dq + first * at.queries;
    for (int64_t r = 0; r < rows.count; ++r) {
      copy_run(dy + r * at.narrow, static_cast<const T *>(room.dx + r * at.narrow), f.width);
    }
    multiply(room.dread, at.queries, dy, at.narrow, rows.count, s.layers[l].mix_back, false);
    std::memset(dq, 0, rows.count * at.queries * sizeof(T));
    for (int64_t r = 0; r < rows.count; ++r) {
      if (!f.reads(rows[r], t)) continue;
      T *own = dq + r * at.queries;
      for (int64_t h = 0; h < f.heads; ++h) {
        unread_head(own + h * f.head_size, rows[r], h, room.q + r * at.queries + h * f.head_size,
                    room.dread + r * at.queries + h * f.head_size,
                    room.p + (r * f.heads + h) * f.slots(), room.ds);
      }
      turn(own, own, f.heads, s.back_sine);
    }
    multiply(room.dn, at.narrow, dq, at.queries, rows.count, s.layers[l].query_back, false);
    for (int64_t r = 0; r < rows.count; ++r) {
      T *terms = kept.gain + (first + r) * at.narrow;
      if (!f.reads(rows[r], t)) {
        std::memset(dy + r * at.narrow, 0, at.narrow * sizeof(T));
        std::memset(terms, 0, at.narrow * sizeof(T));
        continue;
      }
      norm_back(room.dx + r * at.narrow, terms, room.dn + r * at.narrow,
                static_cast<const T *>(f.state(rows[r], t, l)), f.of(f.attention_gain, l * f.width),
                static_cast<T>(room.scales[2 * r]), f.width);
    }
  }

  // dq += the adjoint of one head's queries; ds: room for the scores' adjoints.
  void unread_head(T *dq, int64_t b, int64_t h, const T *q, const T *dread, const T *p,
                   T *ds) const {
    const int64_t place = f.past + t, size = f.head_size, slots = f.slots(), stride = f.kv_width();
    const int64_t column = h / (f.heads / f.kv_heads) * size, origin = f.origin();
    const Visible seen(f, b, place);
    Lanes<T> sums;
    each_block(seen, dread, s.values + (b * stride + column) * slots, slots, size, T{0},
               [&](int64_t j, auto &tile) {
                 tile.store_to(ds + j, 0);
                 PND_UNROLL
                 for (int v = 0; v < Lanes<T>::kVectors; ++v) {
                   sums.v[v] = fma(load(p + j + v * kWidth<T>), tile.sum[0][v], sums.v[v]);
                 }
               });
    const Vec<T> mean = splat(sums.fold()), scale = splat(f.scale());
    for (int64_t j = seen.begin; j < seen.end; j += kWidth<T>) {
      store(ds + j, load(p + j) * (load(ds + j) - mean) * scale);
    }
    const auto each_key = [&](const T *keys, T *dk, T *dv, int64_t from, int64_t count) {
      add_rows(dq, ds + from - origin, keys + column, stride, count, size);
      for (int64_t j = 0; j < count; ++j) {
        add_scaled(dk + j * stride + column, ds[from - origin + j], q, size);
        add_scaled(dv + j * stride + column, p[from - origin + j], dread, size);
      }
    };
    f.runs(f.past_keys, f.keys, b, f.oldest(b, place), place,
           [&](const T *keys, int64_t from, int64_t count) {
             if (from < f.past) {
               const int64_t at = (b * f.room + from) * stride;
               each_key(keys, static_cast<T *>(s.d.dpast_keys) + at,
                        static_cast<T *>(s.d.dpast_values) + at, from, count);
             } else {
               const int64_t at = (b * f.steps + from - f.past) * stride;
               each_key(keys, s.dk + at, s.dv + at, from, count);
             }
           });
  }

  void turn(T *to, const T *from, int64_t heads, const T *sine) const {
    turn_heads(to, from, s.cosine + t * f.pairs(), sine + t * f.pairs(), heads, f.head_size / 2);
  }

  const FeedbackBack<T> &s;
  const Feedback<T> &f;
  const FeedbackStrides<T> &at;
  const FeedbackRoom<T> &room;
  const Running &rows;
  int64_t t, first;  // and the first row that the group keeps of them
};
