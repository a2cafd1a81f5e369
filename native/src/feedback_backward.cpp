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
#include <array>

#include "feedback.h"

namespace {

// Rows of a group of steps, as deep as a product takes at once.
constexpr int64_t kGroupOfRows = kDepth;
// Rows of a weight's adjoint that one task computes.
constexpr int64_t kWeightRows = 128;

template <class T>
struct Layer {
  Weight<T> query, mix, wide;                              // as they are
  Weight<T> query_back, mix_back, wide_back, narrow_back;  // transposed
};

// Rows of a group of steps, [step][batch], for one layer: the inputs of its products, the adjoints
// of their results, and the terms of the gains' adjoints.
template <class T>
struct Kept {
  T *normed, *dq, *read, *dy, *thought, *dinner, *gated, *dtop, *gain, *mlp_gain;
};
// Likewise of what is remembered; `shares` has a column for each state.
template <class T>
struct KeptMemory {
  T *normed, *dk, *dv, *gain, *shares;
};

// The distances between rows.
template <class T>
struct Strides {
  int64_t narrow, queries, wide, memory, levels;

  explicit Strides(const Feedback<T> &f)
      : narrow(stride_of<T>(f.width)),
        queries(stride_of<T>(f.q_width())),
        wide(stride_of<T>(f.inner)),
        memory(stride_of<T>(f.kv_width())),
        levels(stride_of<T>(f.levels())) {}
};

// Scratch of one task: rows of all its sequences; the weights of what they read.
template <class T>
struct Room {
  T *y, *dx, *dn, *du, *q, *dread, *inner, *dgated, *p, *ds, *z;
  double *scales;  // 1 / root mean square of both norms

  template <class F>
  void pieces(const Feedback<T> &f, const Strides<T> &at, int64_t most, F &&piece) {
    for (T **narrow : {&y, &dx, &dn, &du}) piece(*narrow, most * at.narrow);
    piece(q, most * at.queries);
    piece(dread, most * at.queries);
    piece(inner, most * at.wide);
    piece(dgated, most * at.wide);
    piece(p, most * f.heads * f.slots());
    piece(ds, f.slots());
    piece(z, at.narrow);
    piece(scales, 2 * most);
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

// One call, its arguments checked, with the scratch that its tasks share.
template <class T>
class Back {
 public:
  Back(const Feedback<T> &f, const guard::FeedbackSlopes &d, const T *dstates, const T *dkeys,
       const T *dvalues)
      : f_(f), d_(d), dstates_(dstates), dkeys_(dkeys), dvalues_(dvalues), at_(f) {}

  int64_t group() const {
    return std::min(f_.steps, std::max<int64_t>(1, kGroupOfRows / f_.batch));
  }

  // Calls piece(pointer, elements) for the shared scratch.
  template <class F>
  void pieces(F &&piece) {
    const int64_t rows = group() * f_.batch, sequence = f_.kv_width() * f_.slots();
    piece(cosine_, f_.steps * f_.pairs());
    piece(sine_, f_.steps * f_.pairs());
    piece(back_sine_, f_.steps * f_.pairs());
    piece(rates_, f_.pairs());
    piece(keys_, f_.batch * sequence);
    piece(values_, f_.batch * sequence);
    piece(dk_, f_.batch * f_.steps * f_.kv_width());
    piece(dv_, f_.batch * f_.steps * f_.kv_width());
    piece(layers_, f_.layers);
    piece(kept_, f_.layers);
    Layer<T> none;  // where the sizes alone are asked for
    Kept<T> nowhere;
    for (int64_t l = 0; l < f_.layers; ++l) {
      Layer<T> &layer = layers_ == nullptr ? none : layers_[l];
      layer = {f_.query_of(l, false), f_.mix_of(l, false), f_.wide_of(l, false),
               f_.query_of(l, true),  f_.mix_of(l, true),  f_.wide_of(l, true),
               f_.narrow_of(l, true)};
      for (Weight<T> *w : weights(layer)) piece(w->panels, w->size());
      Kept<T> &kept = kept_ == nullptr ? nowhere : kept_[l];
      for (T **narrow :
           {&kept.normed, &kept.dy, &kept.thought, &kept.dtop, &kept.gain, &kept.mlp_gain}) {
        piece(*narrow, rows * at_.narrow);
      }
      piece(kept.dq, rows * at_.queries);
      piece(kept.read, rows * at_.queries);
      piece(kept.dinner, rows * at_.wide);
      piece(kept.gated, rows * at_.wide);
    }
    key_back_ = f_.key_of(true);
    value_back_ = f_.value_of(true);
    for (Weight<T> *w : {&key_back_, &value_back_}) piece(w->panels, w->size());
    piece(memory_.normed, rows * at_.narrow);
    piece(memory_.gain, rows * at_.narrow);
    piece(memory_.dk, rows * at_.memory);
    piece(memory_.dv, rows * at_.memory);
    piece(memory_.shares, rows * at_.levels);
  }
  static std::array<Weight<T> *, 7> weights(Layer<T> &l) {
    return {&l.query, &l.mix, &l.wide, &l.query_back, &l.mix_back, &l.wide_back, &l.narrow_back};
  }
  const Strides<T> &strides() const { return at_; }

  void run(pnd_context *context) {
    all_angles(cosine_, sine_, rates_, f_, 1);
    all_angles(cosine_, back_sine_, rates_, f_, -1);
    parallel(context, f_.layers + 1, [&](int64_t l, int) {
      if (l < f_.layers) {
        for (Weight<T> *w : weights(layers_[l])) w->pack(false);
      } else {
        for (Weight<T> *w : {&key_back_, &value_back_}) w->pack(false);
      }
    });
    parallel(context, f_.batch, [&](int64_t b, int) { begin(b); });
    const Tasks tasks(f_.batch, context->threads);
    for (int64_t end = f_.steps; end > 0;) {
      first_ = std::max<int64_t>(0, end - group());
      parallel(context, tasks.count, [&](int64_t task, int worker) {
        Scratch scratch(context, worker);
        Room<T> room;
        room.pieces(f_, at_, tasks.most, [&](auto *&p, int64_t n) {
          p = scratch.take<std::remove_reference_t<decltype(*p)>>(n);
        });
        for (int64_t t = end; t-- > first_;)
          step(t, tasks.start(task), tasks.start(task + 1), room);
      });
      add_weights(context, (end - first_) * f_.batch, end == f_.steps);
      end = first_;
    }
  }

 private:
  int64_t row(int64_t b, int64_t t) const { return (t - first_) * f_.batch + b; }

  // A sequence's memory as a whole, and the adjoints of what it holds.
  void begin(int64_t b) {
    const int64_t size = f_.kv_width(), sequence = size * f_.slots(), all = f_.steps * size;
    f_.transpose(keys_ + b * sequence, f_.past_keys, f_.keys, b, f_.past + f_.steps);
    f_.transpose(values_ + b * sequence, f_.past_values, f_.values, b, f_.past + f_.steps);
    const auto start = [&](void *dpast, T *d, const T *from) {
      if (dpast != nullptr) {
        std::memset(static_cast<T *>(dpast) + b * f_.room * size, 0, f_.room * size * sizeof(T));
      }
      if (from == nullptr) {
        std::memset(d + b * all, 0, all * sizeof(T));
      } else {
        std::memcpy(d + b * all, from + b * all, all * sizeof(T));
      }
    };
    start(d_.dpast_keys, dk_, dkeys_);
    start(d_.dpast_values, dv_, dvalues_);
  }

  void step(int64_t t, int64_t b0, int64_t b1, const Room<T> &room) const {
    forget(t, b0, b1, room);
    for (int64_t l = f_.layers; l-- > 0;) {
      const bool reads = f_.past + t > 0;
      compute_again(l, t, b0, b1, reads, room);
      unthink(l, t, b0, b1, room);
      if (reads) unread(l, t, b0, b1, room);
      for (int64_t b = b0; b < b1; ++b)
        add_states(l, t, b, room.dx + (b - b0) * at_.narrow, room, b - b0);
    }
    for (int64_t b = b0; b < b1; ++b) {
      copy_run(static_cast<T *>(d_.dx) + (b * f_.steps + t) * f_.width,
               static_cast<const T *>(room.dx + (b - b0) * at_.narrow), f_.width);
    }
  }

  // dx += the state's own adjoint and that of its share in the memory.
  void add_states(int64_t l, int64_t t, int64_t b, T *dx, const Room<T> &room, int64_t r) const {
    const T *own = dstates_ + ((b * f_.steps + t) * f_.levels() + l) * f_.width;
    const T *du = room.du + r * at_.narrow;
    const Vec<T> share = splat(f_.of(f_.share)[l]);
    each_vector<T>(f_.width, [=](int64_t i, auto get, auto put) {
      put(dx + i, get(dx + i) + fma(share, get(du + i), get(own + i)));
    });
  }

  // From the adjoints of a step's key and value to that of the mixed states, du, and dx, that of
  // the uppermost state.
  void forget(int64_t t, int64_t b0, int64_t b1, const Room<T> &room) const {
    const int64_t rows = b1 - b0, size = f_.kv_width(), first = row(b0, t);
    T *dk = memory_.dk + first * at_.memory, *dv = memory_.dv + first * at_.memory;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = ((b0 + r) * f_.steps + t) * size;
      turn(dk + r * at_.memory, dk_ + from, t, f_.kv_heads, back_sine_);
      copy_run(dv + r * at_.memory, static_cast<const T *>(dv_ + from), size);
    }
    multiply(room.dn, at_.narrow, dk, at_.memory, rows, key_back_, false);
    multiply(room.dn, at_.narrow, dv, at_.memory, rows, value_back_, true);
    const T *gain = f_.of(f_.memory_gain);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = first + r;
      T *du = room.du + r * at_.narrow, *dx = room.dx + r * at_.narrow;
      mix_states(room.z, f_, b0 + r, t);
      const T scale = normalise(memory_.normed + i * at_.narrow, room.z, gain, f_.width, f_.eps);
      std::memset(du, 0, f_.width * sizeof(T));
      std::memset(dx, 0, f_.width * sizeof(T));
      norm_back(du, memory_.gain + i * at_.narrow, room.dn + r * at_.narrow, room.z, gain, scale,
                f_.width);
      for (int64_t l = 0; l < f_.levels(); ++l) {
        memory_.shares[i * at_.levels + l] = dot_of(
            static_cast<const T *>(du), static_cast<const T *>(f_.state(b0 + r, t, l)), f_.width);
      }
      add_states(f_.layers, t, b0 + r, dx, room, r);
    }
  }

  // What layer l did: what its norms gave and read, and y; the rows that it did not use are zeros.
  void compute_again(int64_t l, int64_t t, int64_t b0, int64_t b1, bool reads,
                     const Room<T> &room) const {
    const int64_t rows = b1 - b0, first = row(b0, t), width = f_.width;
    const Kept<T> &kept = kept_[l];
    const auto rows_of = [&](T *all, int64_t stride) { return all + first * stride; };
    T *normed = rows_of(kept.normed, at_.narrow), *read = rows_of(kept.read, at_.queries);
    for (int64_t r = 0; r < rows; ++r) {
      const T *x = f_.state(b0 + r, t, l);
      copy_run(room.y + r * at_.narrow, x, width);
      if (!reads) continue;
      room.scales[2 * r] =
          normalise(normed + r * at_.narrow, x, f_.of(f_.attention_gain, l * width), width, f_.eps);
    }
    if (reads) {
      multiply(room.q, at_.queries, normed, at_.narrow, rows, layers_[l].query, false);
      for (int64_t r = 0; r < rows; ++r) {
        T *q = room.q + r * at_.queries;
        turn(q, q, t, f_.heads, sine_);
        read_memory(read + r * at_.queries, room.p + r * f_.heads * f_.slots(), f_.slots(), f_,
                    b0 + r, f_.past + t, q, keys_ + (b0 + r) * f_.kv_width() * f_.slots());
      }
      multiply(room.y, at_.narrow, read, at_.queries, rows, layers_[l].mix, true);
    } else {
      for (T *narrow : {kept.normed, kept.dy, kept.gain}) {
        std::memset(rows_of(narrow, at_.narrow), 0, rows * at_.narrow * sizeof(T));
      }
      for (T *queries : {kept.dq, kept.read}) {
        std::memset(rows_of(queries, at_.queries), 0, rows * at_.queries * sizeof(T));
      }
    }
    T *thought = rows_of(kept.thought, at_.narrow);
    for (int64_t r = 0; r < rows; ++r) {
      room.scales[2 * r + 1] = normalise(thought + r * at_.narrow, room.y + r * at_.narrow,
                                         f_.of(f_.mlp_gain, l * width), width, f_.eps);
    }
    multiply(room.inner, at_.wide, thought, at_.narrow, rows, layers_[l].wide, false);
  }

  // From dx, the adjoint of the layer's result, to that of y, in its place.
  void unthink(int64_t l, int64_t t, int64_t b0, int64_t b1, const Room<T> &room) const {
    const int64_t rows = b1 - b0, first = row(b0, t);
    const Kept<T> &kept = kept_[l];
    T *dtop = kept.dtop + first * at_.narrow, *dinner = kept.dinner + first * at_.wide;
    for (int64_t r = 0; r < rows; ++r) {
      copy_run(dtop + r * at_.narrow, static_cast<const T *>(room.dx + r * at_.narrow), f_.width);
    }
    multiply(room.dgated, at_.wide, dtop, at_.narrow, rows, layers_[l].narrow_back, false);
    for (int64_t r = 0; r < rows; ++r) {
      const T *inner = room.inner + r * at_.wide, *dgated = room.dgated + r * at_.wide;
      map_run<kFormulaPack>(
          kept.gated + (first + r) * at_.wide, f_.inner,
          [](auto v) PND_INLINED { return gated<Gelu>(v); }, inner);
      map_run<kFormulaPack>(
          dinner + r * at_.wide, f_.inner,
          [](auto d, auto v) PND_INLINED { return gated_back<Gelu>(d, v); }, dgated, inner);
    }
    multiply(room.dn, at_.narrow, dinner, at_.wide, rows, layers_[l].wide_back, false);
    for (int64_t r = 0; r < rows; ++r) {
      norm_back(room.dx + r * at_.narrow, kept.mlp_gain + (first + r) * at_.narrow,
                room.dn + r * at_.narrow, room.y + r * at_.narrow, f_.of(f_.mlp_gain, l * f_.width),
                static_cast<T>(room.scales[2 * r + 1]), f_.width);
    }
  }

  // From dx, the adjoint of y, to that of the state below, in its place; what was read of the
  // memory gets its part.
  void unread(int64_t l, int64_t t, int64_t b0, int64_t b1, const Room<T> &room) const {
    const int64_t rows = b1 - b0, first = row(b0, t);
    const Kept<T> &kept = kept_[l];
    T *dy = kept.dy + first * at_.narrow, *dq = kept.dq + first * at_.queries;
    for (int64_t r = 0; r < rows; ++r) {
      copy_run(dy + r * at_.narrow, static_cast<const T *>(room.dx + r * at_.narrow), f_.width);
    }
    multiply(room.dread, at_.queries, dy, at_.narrow, rows, layers_[l].mix_back, false);
    std::memset(dq, 0, rows * at_.queries * sizeof(T));
    for (int64_t r = 0; r < rows; ++r) {
      T *own = dq + r * at_.queries;
      for (int64_t h = 0; h < f_.heads; ++h) {
        unread_head(own + h * f_.head_size, b0 + r, f_.past + t, h,
                    room.q + r * at_.queries + h * f_.head_size,
                    room.dread + r * at_.queries + h * f_.head_size,
                    room.p + (r * f_.heads + h) * f_.slots(), room.ds);
      }
      turn(own, own, t, f_.heads, back_sine_);
    }
    multiply(room.dn, at_.narrow, dq, at_.queries, rows, layers_[l].query_back, false);
    for (int64_t r = 0; r < rows; ++r) {
      norm_back(room.dx + r * at_.narrow, kept.gain + (first + r) * at_.narrow,
                room.dn + r * at_.narrow, static_cast<const T *>(f_.state(b0 + r, t, l)),
                f_.of(f_.attention_gain, l * f_.width), static_cast<T>(room.scales[2 * r]),
                f_.width);
    }
  }

  // dq += the adjoint of one head's queries; ds: room for the scores' adjoints.
  void unread_head(T *dq, int64_t b, int64_t place, int64_t h, const T *q, const T *dread,
                   const T *p, T *ds) const {
    const int64_t size = f_.head_size, slots = f_.slots(), stride = f_.kv_width();
    const int64_t column = h / (f_.heads / f_.kv_heads) * size, origin = f_.origin();
    const Visible seen(f_, place);
    Lanes<T> sums;
    each_block(seen, dread, values_ + (b * stride + column) * slots, slots, size, T{0},
               [&](int64_t j, auto &tile) {
                 tile.store_to(ds + j, 0);
                 PND_UNROLL
                 for (int v = 0; v < Lanes<T>::kVectors; ++v) {
                   sums.v[v] = fma(load(p + j + v * kWidth<T>), tile.sum[0][v], sums.v[v]);
                 }
               });
    const Vec<T> mean = splat(sums.fold()), scale = splat(f_.scale());
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
    f_.runs(f_.past_keys, f_.keys, b, f_.first(place), place,
            [&](const T *keys, int64_t from, int64_t count) {
              if (from < f_.past) {
                const int64_t at = (b * f_.room + from) * stride;
                each_key(keys, static_cast<T *>(d_.dpast_keys) + at,
                         static_cast<T *>(d_.dpast_values) + at, from, count);
              } else {
                const int64_t at = (b * f_.steps + from - f_.past) * stride;
                each_key(keys, dk_ + at, dv_ + at, from, count);
              }
            });
  }

  void turn(T *to, const T *from, int64_t t, int64_t heads, const T *sine) const {
    turn_heads(to, from, cosine_ + t * f_.pairs(), sine + t * f_.pairs(), heads, f_.head_size / 2);
  }

  // The products and sums over the rows of a group.
  void add_weights(pnd_context *context, int64_t rows, bool first) const {
    struct Product {
      void *to;
      const T *in, *d;
      int64_t depth, cols, in_stride, stride;
    };
    const auto product_of = [&](int64_t l, int64_t which) -> Product {
      const int64_t width = f_.width, q = f_.q_width(), inner = f_.inner, kv = f_.kv_width();
      const auto of = [&](void *to, int64_t size) { return static_cast<T *>(to) + l * size; };
      if (l == f_.layers) {
        return {which == 0 ? d_.dkey : d_.dvalue,
                memory_.normed,
                which == 0 ? memory_.dk : memory_.dv,
                width,
                kv,
                at_.narrow,
                at_.memory};
      }
      const Kept<T> &k = kept_[l];
      switch (which) {
        case 0:
          return {of(d_.dquery, width * q), k.normed, k.dq, width, q, at_.narrow, at_.queries};
        case 1:
          return {of(d_.dmix, q * width), k.read, k.dy, q, width, at_.queries, at_.narrow};
        case 2:
          return {
              of(d_.dwide, width * inner), k.thought, k.dinner, width, inner, at_.narrow, at_.wide};
        default:
          return {
              of(d_.dnarrow, inner * width), k.gated, k.dtop, inner, width, at_.wide, at_.narrow};
      }
    };
    const auto blocks_of = [](int64_t n) { return (n + kWeightRows - 1) / kWeightRows; };
    const int64_t narrow = blocks_of(f_.width),
                  most = std::max({narrow, blocks_of(f_.q_width()), blocks_of(f_.inner)});
    parallel(context, (f_.layers * 4 + 2) * most, [&](int64_t i, int worker) {
      const Product p = product_of(i / most / 4, i / most % 4);
      const int64_t start = i % most * kWeightRows;
      if (start >= p.depth) return;
      product(static_cast<T *>(p.to) + start * p.cols, p.cols,
              Matrix<T>{p.in + start, p.in_stride, true}, Matrix<T>{p.d, p.stride, false},
              std::min(kWeightRows, p.depth - start), p.cols, rows, !first,
              Scratch(context, worker).take<T>(kProductScratch<T>));
    });
    parallel(context, 2 * f_.layers + 2, [&](int64_t i, int) {
      if (i < 2 * f_.layers) {
        const Kept<T> &k = kept_[i / 2];
        void *to = i % 2 == 0 ? d_.dattention_gain : d_.dmlp_gain;
        add_up(static_cast<T *>(to) + i / 2 * f_.width, i % 2 == 0 ? k.gain : k.mlp_gain,
               at_.narrow, rows, f_.width, first);
      } else if (i == 2 * f_.layers) {
        add_up(static_cast<T *>(d_.dmemory_gain), memory_.gain, at_.narrow, rows, f_.width, first);
      } else {
        add_up(static_cast<T *>(d_.dshare), memory_.shares, at_.levels, rows, f_.levels(), first);
      }
    });
  }

  // to = (first ? 0 : to) + the sum of rows, upwards.
  static void add_up(T *to, const T *from, int64_t stride, int64_t rows, int64_t cols, bool first) {
    if (first) std::memset(to, 0, cols * sizeof(T));
    for (int64_t r = 0; r < rows; ++r) add_scaled(to, T{1}, from + r * stride, cols);
  }

  const Feedback<T> &f_;
  const guard::FeedbackSlopes &d_;
  const T *dstates_, *dkeys_, *dvalues_;
  Strides<T> at_;
  T *cosine_, *sine_, *back_sine_;
  double *rates_;
  T *keys_, *values_;  // [batch, kv_width, slots]
  T *dk_, *dv_;        // [batch, steps, kv_width]
  Layer<T> *layers_ = nullptr;
  Kept<T> *kept_ = nullptr;
  KeptMemory<T> memory_;
  Weight<T> key_back_{}, value_back_{};
  int64_t first_ = 0;  // step of the group
};

}  // namespace

int32_t pnd_feedback_backward(
    pnd_context *context, int32_t dtype, void *dx, void *dpast_keys, void *dpast_values,
    void *dattention_gain, void *dquery, void *dmix, void *dmlp_gain, void *dwide, void *dnarrow,
    void *dshare, void *dmemory_gain, void *dkey, void *dvalue, const void *dstates,
    const void *dkeys, const void *dvalues, const void *states, const void *keys,
    const void *values, const void *past_keys, const void *past_values, const void *attention_gain,
    const void *query, const void *mix, const void *mlp_gain, const void *wide, const void *narrow,
    const void *share, const void *memory_gain, const void *key, const void *value, int64_t batch,
    int64_t steps, int64_t layers, int64_t width, int64_t inner, int64_t heads, int64_t kv_heads,
    int64_t head_size, int64_t past, int64_t room, int64_t window, double eps, double base) {
  Call call(context, "feedback_backward");
  const guard::Feedback sizes{
      dtype, past_keys,   past_values, attention_gain, query, mix,    mlp_gain, wide,  narrow,
      share, memory_gain, key,         value,          batch, steps,  layers,   width, inner,
      heads, kv_heads,    head_size,   past,           room,  window, eps,      base};
  const guard::FeedbackSlopes d{dx,           dpast_keys, dpast_values, dattention_gain, dquery,
                                dmix,         dmlp_gain,  dwide,        dnarrow,         dshare,
                                dmemory_gain, dkey,       dvalue};
  guard::feedback_backward(call, sizes, d, dstates, dkeys, dvalues, states, keys, values);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const Feedback<T> f(sizes, const_cast<void *>(states), const_cast<void *>(keys),
                        const_cast<void *>(values));
    Back<T> back(f, d, static_cast<const T *>(dstates), static_cast<const T *>(dkeys),
                 static_cast<const T *>(dvalues));
    int64_t own = 0, shared = 0;
    const auto count = [](int64_t &to) {
      return [&to](auto *&p, int64_t n) {
        to += Scratch::bytes<std::remove_reference_t<decltype(*p)>>(n);
      };
    };
    Room<T>().pieces(f, back.strides(), Tasks(batch, context->threads).most, count(own));
    back.pieces(count(shared));
    call.reserve(std::max(own, Scratch::bytes<T>(kProductScratch<T>)), shared);
    if (call.refused()) return;
    Scratch scratch(context, kShared);
    back.pieces(
        [&](auto *&p, int64_t n) { p = scratch.take<std::remove_reference_t<decltype(*p)>>(n); });
    back.run(context);
  });
  return call.status();
}
