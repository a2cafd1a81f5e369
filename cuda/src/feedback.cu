// SPDX-License-Identifier: Apache-2.0
// feedback: a transformer whose layers all read what every layer found at the steps before.
// y = x_l + attention(rotary(norm(x_l) query_l), keys, values) mix_l
// x_{l+1} = y + gelu(norm(y) wide_l) narrow_l
// z = norm(sum over l of share_l x_l); then keys_t = rotary(z key), values_t = z value
// Shapes   x [batch, steps, width]; states [batch, steps, layers + 1, width]; keys, values [batch,
//          steps, kv_heads, head_size]; past_keys, past_values [batch, room, kv_heads, head_size];
//          first, lengths [batch]; resets [batch, steps]; the weights as ponder.h says
// Method   a step is a row of stages, in each of which all blocks share the work and wait for
// nothing;
//          one launch runs the stages of all steps where the device runs all blocks together, and
//          they wait for each other between two; elsewhere a launch runs one. Which sequences run,
//          and what they remember, a table on the device tells
// Order    feedback.cuh's
// Error    <= 2 x the plain loop
// Work     per step and layer 4 width (heads head_size + inner) flops and 4 heads head_size per
//          remembered step; 4 width kv_heads head_size per step
// Source   Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv:2002.09402
#include "feedback.cuh"
#include "stages.cuh"

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

// One call: its arrays and what its steps hand on.
template <class T>
struct Window {
  Feedback<T> f;
  Spread<T> y, q, read, inner;
  T *p;  // [blocks, slots]

  Window(const Feedback<T> &call, int64_t blocks, ScratchPieces &from)
      : f(call),
        y(from.rows<T>(f.batch, f.width)),
        q(from.rows<T>(f.batch, f.q_width())),
        read(from.rows<T>(f.batch, f.q_width())),
        inner(from.rows<T>(f.batch, f.inner)),
        p(from.take<T>(blocks * f.slots())) {
    f.begins = f.bounded() ? from.take<int64_t>(f.batch * f.steps) : nullptr;
    f.running = f.lengths != nullptr ? from.take<int64_t>(f.steps) : nullptr;
  }

  // A step's stages: five for each layer, then what it remembers.
  enum Stage { kQuery, kRead, kMix, kWiden, kNarrow, kOfLayer };
  __host__ __device__ int64_t stages() const { return f.layers * kOfLayer + 1; }
  // As many blocks as the largest stage can use.
  int64_t jobs(int64_t rows) const {
    const int64_t cols = std::max({f.q_width(), f.width, f.inner, 2 * f.kv_width()});
    return std::max((f.batch + rows - 1) / rows * thin_tiles<T>(cols), f.batch * f.heads);
  }

  template <int kRows>
  __device__ __forceinline__ void run(int64_t number) const {
    const Thin<T, kRows> thin;
    const int64_t t = quotient(number, stages()), stage = number - t * stages();
    const int64_t l = quotient(stage, kOfLayer), rows = f.rows(t).get();
    const auto product = [&](const void *weight, int64_t depth, int64_t cols, const auto &operand,
                             auto put) {
      thin.template multiply<false>(
          rows, depth, thin_tiles<T>(cols), operand,
          [&](int64_t i) {
            return ThinTile<T>::of(f.at(weight, l * depth * cols), cols, f.whole, i, cols);
          },
          [&](int64_t b, int64_t, const ThinTile<T> &tile, int e, T v, T w) {
            tile.each(e, v, w, [&](int64_t col, T sum) { put(b, col, sum); });
          });
    };
    if (l == f.layers) {
      remember(thin, t, rows);
      return;
    }
    switch (stage - l * kOfLayer) {
      case kQuery:
        product(f.query, f.width, f.q_width(), normed_rows(f, f.state(t, l), f.attention_gain, l),
                [&](int64_t b, int64_t col, T sum) { q.row(b)[col] = sum; });
        break;
      case kRead:
        for (int64_t job = blockIdx.x; job < rows * f.heads; job += gridDim.x) {
          const int64_t b = quotient(job, f.heads), h = job - b * f.heads, at = h * f.head_size;
          read_head(f, b, t, h, q.row(b) + at, p + blockIdx.x * f.slots(), read.row(b) + at);
        }
        break;
      case kMix:
        product(f.mix, f.q_width(), f.width, plain_rows(read), [&](int64_t b, int64_t col, T sum) {
          const T base = f.state(t, l).row(b)[col];
          y.row(b)[col] = f.reads(b, t) ? base + sum : base;
        });
        break;
      case kWiden:
        product(f.wide, f.width, f.inner, normed_rows(f, y, f.mlp_gain, l),
                [&](int64_t b, int64_t col, T sum) { inner.row(b)[col] = gated<Gelu>(sum); });
        break;
      default:
        product(f.narrow, f.inner, f.width, plain_rows(inner), [&](int64_t b, int64_t col, T sum) {
          if (f.runners(t).has(b)) f.state(t, l + 1).row(b)[col] = y.row(b)[col] + sum;
        });
    }
  }

  // The key and the value of a step. A tile of the key has columns that are turned together.
  template <int kRows>
  __device__ __forceinline__ void remember(const Thin<T, kRows> &thin, int64_t t,
                                           int64_t rows) const {
    const int64_t kv = f.kv_width(), half = f.head_size / 2;
    const int64_t of_head = (half + kWide<T> - 1) / kWide<T>, of_keys = f.kv_heads * of_head;
    const Spread<T> keys = f.remembered(f.keys, t), values = f.remembered(f.values, t);
    const Part runs = f.runners(t);
    const auto tile_of = [&](int64_t i) {
      if (i >= of_keys) return ThinTile<T>::of(f.at(f.value), kv, f.whole, i - of_keys, kv);
      const int64_t head = quotient(i, of_head), at = (i - head * of_head) * kWide<T>;
      const int64_t first = head * f.head_size + at, left = half - at;
      return ThinTile<T>{
          f.at(f.key), kv, f.whole && half % kWide<T> == 0, {first, first + half}, {left, left}};
    };
    thin.template multiply<false>(
        rows, f.width, of_keys + thin_tiles<T>(kv), mixed_rows(f, t), tile_of,
        [&](int64_t b, int64_t i, const ThinTile<T> &tile, int e, T v, T w) {
          if (!runs.has(b)) return;
          if (i < of_keys) {
            if (e < tile.left[0]) {
              const int64_t col = tile.at[0] + e;
              const int64_t pair = col - quotient(col, f.head_size) * f.head_size;
              Turn<T>(f.past + t, pair, half, f.base, 1).apply(v, w);
              keys.row(b)[col] = v;
              keys.row(b)[col + half] = w;
            }
          } else {
            tile.each(e, v, w, [&](int64_t col, T sum) { values.row(b)[col] = sum; });
          }
        });
  }
};

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
    const Feedback<T> f(sizes, states, keys, values);
    const int64_t blocks = most_stage_blocks(context);
    ScratchPieces counted;
    Window<T>(f, blocks, counted);
    if (call.reserve(0, counted.used()).refused()) return;
    ScratchPieces pieces(context->scratch);
    const Window<T> work(f, blocks, pieces);
    begin(call, context, work.f, kFeedbackFirst, kFeedbackLengths);
    clear_rest(call, context, work.f, f.states, f.level_count() * width);
    clear_rest(call, context, work.f, f.keys, f.kv_width());
    clear_rest(call, context, work.f, f.values, f.kv_width());
    if (call.refused()) return;
    each_of(call, context, batch * steps, width, Part{work.f.begins},
            Enters<T>{f.states, static_cast<const T *>(x), f.level_count(), width});
    if (call.refused()) return;
    run_stages<T>(
        call, context, work, batch, [&](int64_t at_once) { return work.jobs(at_once); },
        steps * work.stages());
  });
  return call.status();
}
