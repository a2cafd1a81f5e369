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
#include <algorithm>

#include "feedback.cuh"

namespace {

constexpr int64_t kGroupOfRows = 512;

// to += the adjoint of x before its norm, from dn, that of its result.
template <class T>
struct NormsBack {
  Spread<T> to, dn, x;
  const T *gain, *scales;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const Held<T, kTeam> d(dn.row(line.row), line), row(x.row(line.row), line);
    const T s = scales[line.row];
    T dot[] = {0};
    over_row<T>(
        line, [&](T a, T v, T k) { dot[0] = fma(a * k, v * s, dot[0]); }, d, row, Read<T>{gain});
    sum_team<kTeam>(dot);
    const T slope = dot[0] / static_cast<T>(line.cols);
    T *old = to.row(line.row);
    map_row(
        line, old,
        [=](T a, T v, T k, T before) { return before + fma(-(v * s), slope, a * k) * s; }, d, row,
        Read<T>{gain}, Read<T>{old});
  }
};
// What dgain gets from each element.
template <class T>
struct GainTerms {
  Spread<T> terms, dn, x;
  const T *scales;
  __device__ void operator()(int64_t row, int64_t i) const {
    terms.row(row)[i] = dn.row(row)[i] * (x.row(row)[i] * scales[row]);
  }
};

// shares[b, l] = du_b . x_l: a row for each sequence and level.
template <class T>
struct Shares {
  Spread<T> shares, du, x;
  int64_t levels, width;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    const int64_t b = quotient(line.row, levels), l = line.row - b * levels;
    T dot[] = {0};
    over_row<T>(
        line, [&](T d, T v) { dot[0] = fma(d, v, dot[0]); }, Read<T>{du.row(b)},
        Read<T>{x.row(b) + l * width});
    sum_team<kTeam>(dot);
    if (line.leads()) shares.row(b)[l] = dot[0];
  }
};

// dx = (adds ? dx : 0) + own + share du.
template <class T>
struct AddsStates {
  Spread<T> dx, own, du;
  const T *share;
  bool adds;
  __device__ void operator()(int64_t row, int64_t i) const {
    const T sum = fma(*share, du.row(row)[i], own.row(row)[i]);
    T *to = dx.row(row) + i;
    *to = adds ? *to + sum : sum;
  }
};

// y = gelu(x) and dx = dy gelu'(x).
template <class T>
struct GatesBack {
  Spread<T> y, dx, dy, x;
  __device__ void operator()(int64_t row, int64_t i) const {
    const T v = x.row(row)[i];
    y.row(row)[i] = gated<Gelu>(v);
    dx.row(row)[i] = dy.row(row)[i] * gate_slope<Gelu>(v);
  }
};

template <class T>
struct Copies {
  Spread<T> to, from;  // from.data null: zeros
  __device__ void operator()(int64_t row, int64_t i) const {
    to.row(row)[i] = from.data == nullptr ? T(0) : from.row(row)[i];
  }
};

// to[i] = (adds ? to[i] : 0) + the sum of a column, upwards.
template <class T>
struct AddsUp {
  T *to;
  Spread<T> from;
  int64_t rows;
  bool adds;
  __device__ void operator()(int64_t i) const {
    T sum = adds ? to[i] : T(0);
    for (int64_t r = 0; r < rows; ++r) sum += from.row(r)[i];
    to[i] = sum;
  }
};

// What the adjoints of a sequence's memory are kept in: of the past, and of this call's steps.
template <class T>
struct MemorySlopes {
  T *past_keys, *past_values, *keys, *values;
};

// The heads of a sequence that share keys: dq, and what the memory gets from them; ds [batch,
// heads, slots] is room for the adjoints of the scores.
template <class T>
__global__ void __launch_bounds__(kReadThreads, 1)
    read_back_kernel(int64_t first_block, Feedback<T> f, int64_t t, MemorySlopes<T> d, Spread<T> dq,
                     T *ds, const T *p, int64_t slots, Spread<T> queries, Spread<T> dread) {
  const int64_t block = first_block + blockIdx.x, b = quotient(block, f.kv_heads);
  const int64_t g = block - b * f.kv_heads, size = f.head_size, column = g * size;
  const int64_t place = f.past + t, first = f.first(place), count = place - first;
  const int64_t group = f.heads / f.kv_heads;
  for (int64_t h = g * group; h < (g + 1) * group; ++h) {
    const T *q = queries.row(b) + h * size, *dout = dread.row(b) + h * size;
    const T *weights = p + (b * f.heads + h) * slots;
    T *slopes = ds + (b * f.heads + h) * slots;
    for (int64_t j = warp_number(); j < count; j += kReadWarps) {
      const T dp = warp_dot(dout, f.row(f.past_values, f.values, b, first + j) + column, size);
      if (lane_number() == 0) slopes[j] = dp;
    }
    __syncthreads();
    T mean[] = {0};
    for (int64_t j = threadIdx.x; j < count; j += kReadThreads) {
      mean[0] = fma(weights[j], slopes[j], mean[0]);
    }
    sum_team<kReadThreads>(mean);
    for (int64_t j = threadIdx.x; j < count; j += kReadThreads) {
      slopes[j] = weights[j] * (slopes[j] - mean[0]) * f.scale();
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += kReadThreads) {
      T sum = 0;
      for (int64_t j = 0; j < count; ++j) {
        sum = fma(slopes[j], f.row(f.past_keys, f.keys, b, first + j)[column + i], sum);
      }
      dq.row(b)[h * size + i] = sum;
    }
    for (int64_t at = threadIdx.x; at < count * size; at += kReadThreads) {
      const int64_t j = quotient(at, size), i = at - j * size, position = first + j;
      const bool old = position < f.past;
      const int64_t row = old ? b * f.room + position : b * f.steps + position - f.past;
      const int64_t to = row * f.kv_width() + column + i;
      T *dk = (old ? d.past_keys : d.keys) + to, *dv = (old ? d.past_values : d.values) + to;
      *dk = fma(slopes[j], q[i], *dk);
      *dv = fma(weights[j], dout[i], *dv);
    }
  }
}

// The rows of a group of steps, [step][batch], that the adjoints of a layer's weights need.
template <class T>
struct Kept {
  Spread<T> normed, dq, read, dy, thought, dinner, gated, dtop, gain, mlp_gain;

  Kept(Pieces &from, const Feedback<T> &f, int64_t rows)
      : normed(from.rows<T>(rows, f.width)),
        dq(from.rows<T>(rows, f.q_width())),
        read(from.rows<T>(rows, f.q_width())),
        dy(from.rows<T>(rows, f.width)),
        thought(from.rows<T>(rows, f.width)),
        dinner(from.rows<T>(rows, f.inner)),
        gated(from.rows<T>(rows, f.inner)),
        dtop(from.rows<T>(rows, f.width)),
        gain(from.rows<T>(rows, f.width)),
        mlp_gain(from.rows<T>(rows, f.width)) {}

  // The same from row n on.
  Kept from(int64_t n) const {
    Kept part = *this;
    for (Spread<T> *s : {&part.normed, &part.dq, &part.read, &part.dy, &part.thought, &part.dinner,
                         &part.gated, &part.dtop, &part.gain, &part.mlp_gain}) {
      s->data += n * s->stride;
    }
    return part;
  }
};

// One call, its arguments checked. Its scratch memory is counted first.
template <class T>
struct Back {
  Call &call;
  pnd_context *context;
  const Feedback<T> &f;
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
  }
  // What layer l keeps, from row n on.
  Kept<T> kept(int64_t l, int64_t n) const {
    Pieces from = start;
    from.take<char>(l * kept_bytes);
    return Kept<T>(from, f, group * f.batch).from(n);
  }

  void times(Spread<T> to, Spread<T> of, Spread<T> x, const void *weight, int64_t l, int64_t in,
             int64_t out, bool back) {
    if (call.refused()) return;
    multiply(call, context, to, of, x, f.batch, static_cast<const T *>(f.at(weight, l * in * out)),
             in, out, back);
  }
  template <class F>
  void per_element(int64_t cols, F each) {
    if (!call.refused()) each_of(call, context, f.batch, cols, each);
  }
  void norms_back(Spread<T> to, Spread<T> terms, Spread<T> x, const void *gains, int64_t l,
                  const T *scale) {
    if (call.refused()) return;
    const T *by = f.at(gains, l * f.width);
    const bool whole = to.whole() && x.whole() && moves_whole(by, f.width);
    each_row<T>(call, context, f.batch, f.width, whole, NormsBack<T>{to, dn, x, by, scale});
    per_element(f.width, GainTerms<T>{terms, dn, x, scale});
  }
  void clear(Spread<T> rows) {
    if (call.refused()) return;
    check(call, context,
          cudaMemsetAsync(rows.data, 0, static_cast<size_t>(f.batch * rows.stride) * sizeof(T),
                          context->stream));
  }
  static Spread<T> from(Spread<T> rows, int64_t n) { return {rows.row(n), rows.stride}; }

  // dx (+)= the adjoints of a state.
  void add_states(int64_t t, int64_t l, bool adds) {
    per_element(f.width, AddsStates<T>{dx, f.state(dstates, t, l), du, f.at(f.share, l), adds});
  }

  // From the adjoints of a step's key and value to that of the mixed states, du; n: its first row.
  void forget(int64_t t, int64_t n) {
    const int64_t kv = f.kv_width();
    if (call.refused()) return;
    turn(call, context, f, from(dk, n), f.remembered(memory.keys, t), t, f.kv_heads, -1);
    per_element(kv, Copies<T>{from(dv, n), f.remembered(memory.values, t)});
    const Spread<T> none{nullptr, 0};
    times(dn, none, from(dk, n), f.key, 0, f.width, kv, true);
    times(dn, dn, from(dv, n), f.value, 0, f.width, kv, true);
    if (call.refused()) return;
    mix_states(call, context, f, z, t);
    if (call.refused()) return;
    normalise(call, context, f, from(normed, n), scales, z, f.memory_gain, 0);
    clear(du);
    norms_back(du, from(gain, n), z, f.memory_gain, 0, scales);
    if (call.refused()) return;
    const Spread<T> x = f.state(t, 0);
    each_row<T>(call, context, f.batch * f.level_count(), f.width,
                du.whole() && x.whole() && moves_whole(x.data, f.width),
                Shares<T>{from(shares, n), du, x, f.level_count(), f.width});
    add_states(t, f.layers, false);
  }

  void layer(int64_t t, int64_t l, int64_t n) {
    const Kept<T> k = kept(l, n);
    const Spread<T> none{nullptr, 0}, x = f.state(t, l);
    const int64_t width = f.width, q_width = f.q_width(), wide = f.inner;
    const bool reads = f.past + t > 0;
    Spread<T> top = x;
    if (call.refused()) return;
    if (reads) {
      normalise(call, context, f, k.normed, scales + f.batch, x, f.attention_gain, l);
      times(q, none, k.normed, f.query, l, width, q_width, false);
      if (call.refused()) return;
      turn(call, context, f, q, q, t, f.heads, 1);
      if (call.refused()) return;
      read_memory(call, context, f, t, k.read, p, q);
      times(y, x, k.read, f.mix, l, q_width, width, false);
      top = y;
    } else {
      const Spread<T> unused[] = {k.normed, k.dq, k.read, k.dy, k.gain};
      for (const Spread<T> &rows : unused) clear(rows);
    }
    if (call.refused()) return;
    normalise(call, context, f, k.thought, scales + 2 * f.batch, top, f.mlp_gain, l);
    times(inner, none, k.thought, f.wide, l, width, wide, false);
    per_element(width, Copies<T>{k.dtop, dx});
    times(dgated, none, k.dtop, f.narrow, l, wide, width, true);
    per_element(wide, GatesBack<T>{k.gated, k.dinner, dgated, inner});
    times(dn, none, k.dinner, f.wide, l, width, wide, true);
    norms_back(dx, k.mlp_gain, top, f.mlp_gain, l, scales + 2 * f.batch);
    if (reads) {
      per_element(width, Copies<T>{k.dy, dx});
      times(dread, none, k.dy, f.mix, l, q_width, width, true);
      if (call.refused()) return;
      launch_blocks(call, context, read_back_kernel<T>, f.batch * f.kv_heads, dim3(kReadThreads),
                    2 * kReadWarps * sizeof(double), f, t, memory, k.dq, ds, p, f.slots(), q,
                    dread);
      if (call.refused()) return;
      turn(call, context, f, k.dq, k.dq, t, f.heads, -1);
      times(dn, none, k.dq, f.query, l, width, q_width, true);
      norms_back(dx, k.gain, x, f.attention_gain, l, scales + f.batch);
    }
    add_states(t, l, true);
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
    for (void *past : {d.dpast_keys, d.dpast_values}) {
      if (past == nullptr || call.refused()) continue;
      check(call, context,
            cudaMemsetAsync(past, 0, static_cast<size_t>(f.batch * f.room * kv) * sizeof(T),
                            context->stream));
    }
    const auto begin = [&](T *to, const void *of) {
      if (call.refused()) return;
      each_of(call, context, f.batch * f.steps, kv,
              Copies<T>{{to, kv}, {of == nullptr ? nullptr : f.at(of), kv}});
    };
    begin(memory.keys, dkeys);
    begin(memory.values, dvalues);
    for (int64_t end = f.steps; end > 0 && !call.refused();) {
      const int64_t first = std::max<int64_t>(0, end - group);
      for (int64_t t = end; t-- > first;) {
        const int64_t n = (t - first) * f.batch;
        forget(t, n);
        for (int64_t l = f.layers; l-- > 0;) layer(t, l, n);
        per_element(f.width, Copies<T>{{f.at(d.dx, t * f.width), f.steps * f.width}, dx});
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
