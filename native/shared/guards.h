// SPDX-License-Identifier: Apache-2.0
// guards: what each function of the header refuses, the same in every library. One function per
// function of the header, or per family with equal arguments: the call, then the header's
// parameters in the header's order (a family takes those it checks). No array is read here, it may
// lie on a device: index values, lengths and step are checked by whoever reads them.
#pragma once

#include <algorithm>

#include "call.h"

namespace guard {

// ---- life cycle ---------------------------------------------------------------------------------

// The one function that has no call yet: refuses through refuse_open.
inline int32_t open(pnd_context **context, int32_t threads, int64_t memory_limit) {
  if (context == nullptr) return refuse_open(PND_BAD_ARGUMENT, "context is null");
  *context = nullptr;
  if (threads < 0 || threads > 1024) {
    return refuse_open(PND_BAD_ARGUMENT, "threads = %d must lie in [0, 1024]", threads);
  }
  if (memory_limit < 0) {
    return refuse_open(PND_BAD_ARGUMENT, "memory_limit = %lld must not be negative",
                       static_cast<long long>(memory_limit));
  }
  return PND_OK;
}

inline void threads(Call &call, int32_t *threads) {
  call.output("threads", threads, {1}, sizeof *threads);
}

inline void stream(Call &call, void **stream) {
  call.output("stream", stream, {1}, sizeof *stream);
}

inline void recorded(Call &call, void **graph) { call.output("graph", graph, {1}, sizeof *graph); }

inline void allocate(Call &call, void **memory, int64_t bytes) {
  call.output("memory", memory, {1}, sizeof *memory).size("bytes", bytes);
}

// upload, download, copy
inline void copy(Call &call, void *to, const void *from, int64_t bytes) {
  call.size("bytes", bytes).output("to", to, {bytes}, 1).input("from", from, {bytes}, 1);
}

// ---- element by element -------------------------------------------------------------------------

inline void fill(Call &call, int32_t dtype, void *y, int64_t n, double value) {
  call.any_dtype(dtype).size("n", n).output("y", y, {n});
  // Rounded to the nearest whole number, it must lie in the type's range.
  if (dtype == PND_I32) {
    call.require(value >= -0x1p31 - 0.5 && value < 0x1p31 - 0.5, "value = %g is beyond i32", value);
  }
}

inline void cast(Call &call, int32_t dtype, void *y, const void *x, int64_t n, int32_t from) {
  call.float_dtype("dtype", dtype).size("n", n).output("y", y, {n});
  call.float_dtype("from", from).input("x", x, {n});
}

// affine, power, exp, log, tanh, sigmoid, gelu, silu
inline void apply(Call &call, int32_t dtype, void *y, const void *x, int64_t n) {
  call.dtype(dtype).size("n", n).output("y", y, {n}).input("x", x, {n});
}

// gelu_backward, silu_backward
inline void apply_backward(Call &call, int32_t dtype, void *dx, const void *dy, const void *x,
                           int64_t n) {
  call.dtype(dtype).size("n", n).output("dx", dx, {n}).input("dy", dy, {n}).input("x", x, {n});
}

// add, sub, mul, div, maximum, greater
inline void combine(Call &call, int32_t dtype, void *y, const void *a, const void *b, int64_t outer,
                    int64_t mid, int64_t inner) {
  call.dtype(dtype)
      .size("outer", outer)
      .size("mid", mid)
      .size("inner", inner)
      .output("y", y, {outer, mid, inner})
      .input("a", a, {outer, mid, inner})
      .input("b", b, {outer, inner});
}

// ---- along one axis -----------------------------------------------------------------------------

// sum, largest
inline void reduce(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t mid,
                   int64_t inner) {
  call.dtype(dtype)
      .size("outer", outer)
      .size("mid", mid)
      .size("inner", inner)
      .output("y", y, {outer, inner})
      .input("x", x, {outer, mid, inner});
}

inline void broadcast(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t mid,
                      int64_t inner) {
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("mid", mid)
      .size("inner", inner)
      .output("y", y, {outer, mid, inner})
      .input("x", x, {outer, inner});
}

inline void square_sum(Call &call, int32_t dtype, void *y, const void *x, int64_t n) {
  call.dtype(dtype).size("n", n).output("y", y, {1}).input("x", x, {n});
}

// ---- moving elements ----------------------------------------------------------------------------

inline void swap_axes(Call &call, int32_t dtype, void *y, const void *x, int64_t outer,
                      int64_t first, int64_t mid, int64_t second, int64_t inner) {
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("first", first)
      .size("mid", mid)
      .size("second", second)
      .size("inner", inner)
      .output("y", y, {outer, first, mid, second, inner})
      .input("x", x, {outer, first, mid, second, inner});
}

// What slice, pad and put have in common: a part of `count` elements from `start` on of `size`.
inline void part(Call &call, int32_t dtype, int64_t outer, int64_t size, int64_t inner,
                 int64_t start, int64_t count) {
  // The last start at which count elements fit; both sizes may still be refused ones.
  const int64_t last_start = size >= 1 && count >= 1 ? size - count : 0;
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("size", size)
      .size("inner", inner)
      .range("count", count, 1, size)
      .range("start", start, 0, last_start);
}

inline void slice(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t size,
                  int64_t inner, int64_t start, int64_t count) {
  part(call, dtype, outer, size, inner, start, count);
  call.output("y", y, {outer, count, inner}).input("x", x, {outer, size, inner});
}

inline void pad(Call &call, int32_t dtype, void *y, const void *x, int64_t outer, int64_t size,
                int64_t inner, int64_t start, int64_t count) {
  part(call, dtype, outer, size, inner, start, count);
  call.output("y", y, {outer, size, inner}).input("x", x, {outer, count, inner});
}

inline void put(Call &call, int32_t dtype, void *y, const void *x, const int32_t *start,
                int64_t outer, int64_t size, int64_t inner, int64_t count) {
  part(call, dtype, outer, size, inner, 0, count);
  call.output("y", y, {outer, size, inner})
      .input("x", x, {outer, count, inner})
      .input("start", start, {outer}, sizeof *start);
}

inline void concat(Call &call, int32_t dtype, void *y, const void *a, const void *b, int64_t outer,
                   int64_t a_size, int64_t b_size, int64_t inner) {
  int64_t size = 0;
  call.any_dtype(dtype)
      .size("outer", outer)
      .size("a_size", a_size)
      .size("b_size", b_size)
      .size("inner", inner)
      .require(!__builtin_add_overflow(a_size, b_size, &size), "a_size + b_size overflows")
      .output("y", y, {outer, size, inner})
      .input("a", a, {outer, a_size, inner})
      .input("b", b, {outer, b_size, inner});
}

// ---- by index -----------------------------------------------------------------------------------

inline void gather(Call &call, int32_t dtype, void *y, const void *table, const int32_t *index,
                   int64_t count, int64_t rows, int64_t cols) {
  call.any_dtype(dtype)
      .size("count", count)
      .size("rows", rows)
      .size("cols", cols)
      .output("y", y, {count, cols})
      .input("table", table, {rows, cols})
      .input("index", index, {count}, sizeof *index);
}

inline void scatter_add(Call &call, int32_t dtype, void *table, const void *x, const int32_t *index,
                        int64_t count, int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("count", count)
      .size("rows", rows)
      .size("cols", cols)
      .output("table", table, {rows, cols})
      .input("x", x, {count, cols})
      .input("index", index, {count}, sizeof *index);
}

inline void one_hot(Call &call, int32_t dtype, void *y, const int32_t *index, int64_t count,
                    int64_t classes) {
  call.dtype(dtype)
      .size("count", count)
      .size("classes", classes)
      .output("y", y, {count, classes})
      .input("index", index, {count}, sizeof *index);
}

// ---- random numbers -----------------------------------------------------------------------------

inline void philox(Call &call, uint32_t *y, const int64_t *step, int64_t n, int64_t, int64_t,
                   int64_t) {
  call.size("n", n).output("y", y, {n}, sizeof *y).input("step", step, {1}, sizeof *step);
}

inline void uniform(Call &call, int32_t dtype, void *y, const int64_t *step, int64_t n, int64_t,
                    int64_t) {
  call.dtype(dtype).size("n", n).output("y", y, {n}).input("step", step, {1}, sizeof *step);
}

// ---- products -----------------------------------------------------------------------------------

inline void matmul(Call &call, int32_t dtype, void *y, const void *a, const void *b, int64_t batch,
                   int64_t rows, int64_t cols, int64_t inner, int32_t a_transposed,
                   int32_t b_transposed) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("rows", rows)
      .size("cols", cols)
      .size("inner", inner)
      .range("a_transposed", a_transposed, 0, 1)
      .range("b_transposed", b_transposed, 0, 1)
      .output("y", y, {batch, rows, cols})
      .input("a", a, {batch, rows, inner})
      .input("b", b, {batch, inner, cols});
}

// ---- normalisation and activation ---------------------------------------------------------------

inline void softmax(Call &call, int32_t dtype, void *y, const void *x, int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("y", y, {rows, cols})
      .input("x", x, {rows, cols});
}

inline void softmax_backward(Call &call, int32_t dtype, void *dx, const void *dy, const void *y,
                             int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("dx", dx, {rows, cols})
      .input("dy", dy, {rows, cols})
      .input("y", y, {rows, cols});
}

inline void layer_norm(Call &call, int32_t dtype, void *y, void *mean, void *rstd, const void *x,
                       const void *gain, const void *bias, int64_t rows, int64_t cols, double eps) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .require(eps >= 0, "eps = %g must not be negative", eps)
      .output("y", y, {rows, cols})
      .output("mean", mean, {rows})
      .output("rstd", rstd, {rows})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols})
      .input("bias", bias, {cols});
}

inline void layer_norm_backward(Call &call, int32_t dtype, void *dx, void *dgain, void *dbias,
                                const void *dy, const void *x, const void *gain, const void *mean,
                                const void *rstd, int64_t rows, int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("dx", dx, {rows, cols})
      .output("dgain", dgain, {cols})
      .output("dbias", dbias, {cols})
      .input("dy", dy, {rows, cols})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols})
      .input("mean", mean, {rows})
      .input("rstd", rstd, {rows});
}

inline void rms_norm(Call &call, int32_t dtype, void *y, void *scale, const void *x,
                     const void *gain, int64_t rows, int64_t cols, double eps) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .require(eps >= 0, "eps = %g must not be negative", eps)
      .output("y", y, {rows, cols})
      .output("scale", scale, {rows})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols});
}

inline void rms_norm_backward(Call &call, int32_t dtype, void *dx, void *dgain, const void *dy,
                              const void *x, const void *gain, const void *scale, int64_t rows,
                              int64_t cols) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("cols", cols)
      .output("dx", dx, {rows, cols})
      .output("dgain", dgain, {cols})
      .input("dy", dy, {rows, cols})
      .input("x", x, {rows, cols})
      .input("gain", gain, {cols})
      .input("scale", scale, {rows});
}

// rotary (y, x) and rotary_backward (dx, dy)
inline void turn(Call &call, int32_t dtype, const char *to_name, void *to, const char *from_name,
                 const void *from, int64_t batch, int64_t steps, int64_t heads, int64_t head_size,
                 int64_t start, double base) {
  constexpr int64_t kMost = int64_t{1} << 40;
  call.dtype(dtype)
      .size("batch", batch)
      .range("steps", steps, 1, kMost)
      .size("heads", heads)
      .size("head_size", head_size)
      .require(head_size % 2 == 0, "head_size = %lld must be even",
               static_cast<long long>(head_size))
      .range("start", start, -kMost, kMost - std::max<int64_t>(steps, 0))
      .require(base > 0 && base <= 0x1p1000, "base = %g must be positive and finite", base)
      .output(to_name, to, {batch, steps, heads, head_size})
      .input(from_name, from, {batch, steps, heads, head_size});
}

inline void rotary(Call &call, int32_t dtype, void *y, const void *x, int64_t batch, int64_t steps,
                   int64_t heads, int64_t head_size, int64_t start, double base) {
  turn(call, dtype, "y", y, "x", x, batch, steps, heads, head_size, start, base);
}

inline void rotary_backward(Call &call, int32_t dtype, void *dx, const void *dy, int64_t batch,
                            int64_t steps, int64_t heads, int64_t head_size, int64_t start,
                            double base) {
  turn(call, dtype, "dx", dx, "dy", dy, batch, steps, heads, head_size, start, base);
}

// ---- cross-entropy with the output product ------------------------------------------------------

inline void cross_entropy(Call &call, int32_t dtype, void *loss, void *lse, const void *x,
                          const void *weight, const int32_t *target, int64_t rows, int64_t classes,
                          int64_t width) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("classes", classes)
      .size("width", width)
      .output("loss", loss, {rows})
      .output("lse", lse, {rows})
      .input("x", x, {rows, width})
      .input("weight", weight, {classes, width})
      .input("target", target, {rows}, sizeof *target);
}

inline void cross_entropy_backward(Call &call, int32_t dtype, void *dx, void *dweight,
                                   const void *dloss, const void *x, const void *weight,
                                   const int32_t *target, const void *lse, int64_t rows,
                                   int64_t classes, int64_t width) {
  call.dtype(dtype)
      .size("rows", rows)
      .size("classes", classes)
      .size("width", width)
      .output("dx", dx, {rows, width})
      .output("dweight", dweight, {classes, width})
      .input("dloss", dloss, {rows})
      .input("x", x, {rows, width})
      .input("weight", weight, {classes, width})
      .input("target", target, {rows}, sizeof *target)
      .input("lse", lse, {rows});
}

// ---- attention ----------------------------------------------------------------------------------

constexpr int64_t kMostHeadSize = 256, kMostSegments = int64_t{1} << 30;

// Of what is computed from a type and not rounded to it.
inline int64_t bytes_of_sum(int32_t dtype) { return dtype == PND_F64 ? 8 : 4; }

// What both directions have in common.
struct Attention {
  int32_t dtype;
  const void *q, *k, *v, *mask;
  const int32_t *lengths, *q_starts, *k_starts;
  int64_t batch, heads, kv_heads, q_steps, k_steps, head_size, mask_batch, mask_heads, mask_steps,
      segments, window;
  double scale;
  int32_t causal, gated;

  int64_t queries() const { return batch * q_steps * heads * head_size; }
  int64_t keys() const { return batch * k_steps * kv_heads * head_size; }
  int64_t masks() const { return mask_batch * mask_heads * mask_steps * k_steps; }

  // The sizes, which stand before any array.
  void check_sizes(Call &call) const {
    const auto broadcast = [&](const char *name, int64_t size, int64_t full) {
      call.require(size == 1 || size == full, "%s = %lld must be 1 or %lld", name,
                   static_cast<long long>(size), static_cast<long long>(full));
    };
    call.float_dtype("dtype", dtype)
        .size("batch", batch)
        .size("heads", heads)
        .size("kv_heads", kv_heads)
        .size("q_steps", q_steps)
        .size("k_steps", k_steps)
        .range("head_size", head_size, 1, kMostHeadSize)
        .range("window", window, 0, int64_t{1} << 40)
        .range("causal", causal, 0, 2)
        .range("gated", gated, 0, 1);
    if (!call.refused()) {
      call.require(heads % kv_heads == 0, "heads = %lld must be a multiple of kv_heads = %lld",
                   static_cast<long long>(heads), static_cast<long long>(kv_heads));
    }
    broadcast("mask_batch", mask_batch, batch);
    broadcast("mask_heads", mask_heads, heads);
    broadcast("mask_steps", mask_steps, q_steps);
    call.require(causal != 2 || lengths != nullptr, "causal = 2 needs lengths");
    call.require((q_starts == nullptr) == (k_starts == nullptr),
                 "q_starts and k_starts must both be null or neither");
    if (q_starts == nullptr) {
      call.require(segments == 0, "segments = %lld must be 0 without q_starts",
                   static_cast<long long>(segments));
    } else {
      call.range("segments", segments, 1, kMostSegments)
          .require(batch == 1, "batch = %lld must be 1 with q_starts",
                   static_cast<long long>(batch))
          .require(lengths == nullptr, "lengths must be null with q_starts");
    }
  }

  void check_arrays(Call &call) const {
    // Whatever was refused above.
    const int64_t starts = std::clamp<int64_t>(segments, 0, kMostSegments) + 1;
    call.input("q", q, {batch, q_steps, heads, head_size})
        .input("k", k, {batch, k_steps, kv_heads, head_size})
        .input("v", v, {batch, k_steps, kv_heads, head_size})
        .nullable_input("mask", mask, {mask_batch, mask_heads, mask_steps, k_steps})
        .nullable_input("lengths", lengths, {batch}, sizeof *lengths)
        .nullable_input("q_starts", q_starts, {starts}, sizeof *q_starts)
        .nullable_input("k_starts", k_starts, {starts}, sizeof *k_starts);
  }
};

inline void attention(Call &call, const Attention &a, void *out, void *lse) {
  a.check_sizes(call);
  call.output("out", out, {a.batch, a.q_steps, a.heads, a.head_size})
      .output("lse", lse, {a.batch, a.heads, a.q_steps}, bytes_of_sum(a.dtype));
  a.check_arrays(call);
}

inline void attention_backward(Call &call, const Attention &a, void *dq, void *dk, void *dv,
                               void *dmask, const void *dout, const void *out, const void *lse) {
  a.check_sizes(call);
  a.check_arrays(call);
  call.output("dq", dq, {a.batch, a.q_steps, a.heads, a.head_size})
      .output("dk", dk, {a.batch, a.k_steps, a.kv_heads, a.head_size})
      .output("dv", dv, {a.batch, a.k_steps, a.kv_heads, a.head_size})
      .nullable_output("dmask", dmask, {a.mask_batch, a.mask_heads, a.mask_steps, a.k_steps})
      .input("dout", dout, {a.batch, a.q_steps, a.heads, a.head_size})
      .input("out", out, {a.batch, a.q_steps, a.heads, a.head_size})
      .input("lse", lse, {a.batch, a.heads, a.q_steps}, bytes_of_sum(a.dtype));
}

// ---- recurrent memory ---------------------------------------------------------------------------

inline void gru(Call &call, int32_t dtype, void *hidden, void *gates, const void *x,
                const void *weight, const void *bias, const void *initial, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("hidden", hidden, {batch, steps, width})
      .output("gates", gates, {batch, steps, 4, width})
      .input("x", x, {batch, steps, 3, width})
      .input("weight", weight, {3, width, width})
      .input("bias", bias, {3, width}, bytes_of_sum(dtype))
      .input("initial", initial, {batch, width})
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

inline void gru_backward(Call &call, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("dx", dx, {batch, steps, 3, width})
      .output("dweight", dweight, {3, width, width})
      .output("dbias", dbias, {3, width}, bytes_of_sum(dtype))
      .output("dinitial", dinitial, {batch, width})
      .input("dhidden", dhidden, {batch, steps, width})
      .input("weight", weight, {3, width, width})
      .input("initial", initial, {batch, width})
      .input("hidden", hidden, {batch, steps, width})
      .input("gates", gates, {batch, steps, 4, width})
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

inline void lstm(Call &call, int32_t dtype, void *hidden, void *cells, void *gates, const void *x,
                 const void *weight, const void *bias, const void *initial_hidden,
                 const void *initial_cell, const int32_t *resets, const int32_t *lengths,
                 int64_t batch, int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("hidden", hidden, {batch, steps, width})
      .output("cells", cells, {batch, steps, width}, bytes_of_sum(dtype))
      .output("gates", gates, {batch, steps, 4, width})
      .input("x", x, {batch, steps, 4, width})
      .input("weight", weight, {4, width, width})
      .input("bias", bias, {4, width}, bytes_of_sum(dtype))
      .input("initial_hidden", initial_hidden, {batch, width})
      .input("initial_cell", initial_cell, {batch, width}, bytes_of_sum(dtype))
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

inline void lstm_backward(Call &call, int32_t dtype, void *dx, void *dweight, void *dbias,
                          void *dinitial_hidden, void *dinitial_cell, const void *dhidden,
                          const void *dlast_cell, const void *weight, const void *initial_hidden,
                          const void *initial_cell, const void *hidden, const void *cells,
                          const void *gates, const int32_t *resets, const int32_t *lengths,
                          int64_t batch, int64_t steps, int64_t width) {
  call.float_dtype("dtype", dtype)
      .size("batch", batch)
      .size("steps", steps)
      .size("width", width)
      .output("dx", dx, {batch, steps, 4, width})
      .output("dweight", dweight, {4, width, width})
      .output("dbias", dbias, {4, width}, bytes_of_sum(dtype))
      .output("dinitial_hidden", dinitial_hidden, {batch, width})
      .output("dinitial_cell", dinitial_cell, {batch, width}, bytes_of_sum(dtype))
      .input("dhidden", dhidden, {batch, steps, width})
      .nullable_input("dlast_cell", dlast_cell, {batch, width}, bytes_of_sum(dtype))
      .input("weight", weight, {4, width, width})
      .input("initial_hidden", initial_hidden, {batch, width})
      .input("initial_cell", initial_cell, {batch, width}, bytes_of_sum(dtype))
      .input("hidden", hidden, {batch, steps, width})
      .input("cells", cells, {batch, steps, width}, bytes_of_sum(dtype))
      .input("gates", gates, {batch, steps, 4, width})
      .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
      .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
}

// What both directions have in common.
struct Feedback {
  int32_t dtype;
  const void *past_keys, *past_values, *attention_gain, *query, *mix, *mlp_gain, *wide, *narrow,
      *share, *memory_gain, *key, *value;
  const int32_t *first, *resets, *lengths;
  int64_t batch, steps, layers, width, inner, heads, kv_heads, head_size, past, room, window;
  double eps, base;

  // The sizes, which stand before any array.
  void check_sizes(Call &call) const {
    constexpr int64_t kMost = int64_t{1} << 40;
    call.dtype(dtype)
        .size("batch", batch)
        .range("steps", steps, 1, kMost)
        .range("layers", layers, 1, kMost)
        .size("width", width)
        .size("inner", inner)
        .size("heads", heads)
        .size("kv_heads", kv_heads)
        .range("head_size", head_size, 1, kMostHeadSize)
        .require(head_size % 2 == 0, "head_size = %lld must be even",
                 static_cast<long long>(head_size))
        .size("room", room)
        .range("past", past, 0, std::clamp<int64_t>(room, 1, kMost))
        .range("window", window, 0, kMost)
        .require(eps >= 0, "eps = %g must not be negative", eps)
        .require(base > 0 && base <= 0x1p1000, "base = %g must be positive and finite", base)
        .require((past_keys == nullptr) == (past_values == nullptr),
                 "past_keys and past_values must both be null or neither")
        .require(past == 0 || past_keys != nullptr, "past = %lld must be 0 without past_keys",
                 static_cast<long long>(past));
    if (!call.refused()) {
      call.require(heads % kv_heads == 0, "heads = %lld must be a multiple of kv_heads = %lld",
                   static_cast<long long>(heads), static_cast<long long>(kv_heads));
    }
  }

  // The states of a step, whatever of them was refused.
  int64_t levels() const { return std::clamp<int64_t>(layers, 0, int64_t{1} << 40) + 1; }

  void check_arrays(Call &call) const {
    call.nullable_input("past_keys", past_keys, {batch, room, kv_heads, head_size})
        .nullable_input("past_values", past_values, {batch, room, kv_heads, head_size})
        .input("attention_gain", attention_gain, {layers, width})
        .input("query", query, {layers, width, heads, head_size})
        .input("mix", mix, {layers, heads, head_size, width})
        .input("mlp_gain", mlp_gain, {layers, width})
        .input("wide", wide, {layers, width, inner})
        .input("narrow", narrow, {layers, inner, width})
        .input("share", share, {levels()})
        .input("memory_gain", memory_gain, {width})
        .input("key", key, {width, kv_heads, head_size})
        .input("value", value, {width, kv_heads, head_size})
        .nullable_input("first", first, {batch}, sizeof *first)
        .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
        .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
  }
};

inline void feedback(Call &call, const Feedback &f, void *states, void *keys, void *values,
                     const void *x) {
  f.check_sizes(call);
  call.output("states", states, {f.batch, f.steps, f.levels(), f.width})
      .output("keys", keys, {f.batch, f.steps, f.kv_heads, f.head_size})
      .output("values", values, {f.batch, f.steps, f.kv_heads, f.head_size})
      .input("x", x, {f.batch, f.steps, f.width});
  f.check_arrays(call);
}

// The outputs of the backward function, in the header's order.
struct FeedbackSlopes {
  void *dx, *dpast_keys, *dpast_values, *dattention_gain, *dquery, *dmix, *dmlp_gain, *dwide,
      *dnarrow, *dshare, *dmemory_gain, *dkey, *dvalue;
};

inline void feedback_backward(Call &call, const Feedback &f, const FeedbackSlopes &d,
                              const void *dstates, const void *dkeys, const void *dvalues,
                              const void *states, const void *keys, const void *values) {
  f.check_sizes(call);
  call.require((d.dpast_keys == nullptr) == (f.past_keys == nullptr),
               "dpast_keys must be null exactly where past_keys is")
      .require((d.dpast_values == nullptr) == (f.past_values == nullptr),
               "dpast_values must be null exactly where past_values is")
      .output("dx", d.dx, {f.batch, f.steps, f.width})
      .nullable_output("dpast_keys", d.dpast_keys, {f.batch, f.room, f.kv_heads, f.head_size})
      .nullable_output("dpast_values", d.dpast_values, {f.batch, f.room, f.kv_heads, f.head_size})
      .output("dattention_gain", d.dattention_gain, {f.layers, f.width})
      .output("dquery", d.dquery, {f.layers, f.width, f.heads, f.head_size})
      .output("dmix", d.dmix, {f.layers, f.heads, f.head_size, f.width})
      .output("dmlp_gain", d.dmlp_gain, {f.layers, f.width})
      .output("dwide", d.dwide, {f.layers, f.width, f.inner})
      .output("dnarrow", d.dnarrow, {f.layers, f.inner, f.width})
      .output("dshare", d.dshare, {f.levels()})
      .output("dmemory_gain", d.dmemory_gain, {f.width})
      .output("dkey", d.dkey, {f.width, f.kv_heads, f.head_size})
      .output("dvalue", d.dvalue, {f.width, f.kv_heads, f.head_size})
      .input("dstates", dstates, {f.batch, f.steps, f.levels(), f.width})
      .nullable_input("dkeys", dkeys, {f.batch, f.steps, f.kv_heads, f.head_size})
      .nullable_input("dvalues", dvalues, {f.batch, f.steps, f.kv_heads, f.head_size})
      .input("states", states, {f.batch, f.steps, f.levels(), f.width})
      .input("keys", keys, {f.batch, f.steps, f.kv_heads, f.head_size})
      .input("values", values, {f.batch, f.steps, f.kv_heads, f.head_size});
  f.check_arrays(call);
}

// ---- reading a memory ---------------------------------------------------------------------------

// The most slots that a query reads, and that its memories may have in all.
constexpr int64_t kMostReads = 256, kMostSlots = (int64_t{1} << 31) - 1;

// What both directions have in common.
struct TopKRead {
  int32_t dtype;
  const void *q, *keys, *values;
  int64_t batch, queries, slots, key_size, value_size, count;
  double scale;

  void check_sizes(Call &call) const {
    call.dtype(dtype)
        .size("batch", batch)
        .size("queries", queries)
        .range("slots", slots, 1, kMostSlots)
        .size("key_size", key_size)
        .size("value_size", value_size)
        .range("count", count, 1, kMostReads);
  }

  void check_arrays(Call &call) const {
    call.input("q", q, {batch, queries, key_size})
        .input("keys", keys, {batch, slots, key_size})
        .input("values", values, {batch, slots, value_size});
  }
};

inline void top_k_read(Call &call, const TopKRead &r, void *out, void *p, int32_t *index,
                       const int32_t *lengths, int64_t start) {
  r.check_sizes(call);
  call.range("start", start, -1, int64_t{1} << 40);
  call.output("out", out, {r.batch, r.queries, r.value_size})
      .output("p", p, {r.batch, r.queries, r.count})
      .output("index", index, {r.batch, r.queries, r.count}, sizeof *index);
  r.check_arrays(call);
  call.nullable_input("lengths", lengths, {r.batch, r.queries}, sizeof *lengths);
}

inline void top_k_read_backward(Call &call, const TopKRead &r, void *dq, void *dkeys, void *dvalues,
                                const void *dout, const void *p, const int32_t *index) {
  r.check_sizes(call);
  call.output("dq", dq, {r.batch, r.queries, r.key_size})
      .output("dkeys", dkeys, {r.batch, r.slots, r.key_size})
      .output("dvalues", dvalues, {r.batch, r.slots, r.value_size})
      .input("dout", dout, {r.batch, r.queries, r.value_size});
  r.check_arrays(call);
  call.input("p", p, {r.batch, r.queries, r.count})
      .input("index", index, {r.batch, r.queries, r.count}, sizeof *index);
  if (!call.refused()) {
    call.require(r.batch <= kMostSlots / r.slots, "batch = %lld times slots = %lld is too large",
                 static_cast<long long>(r.batch), static_cast<long long>(r.slots));
  }
}

constexpr int64_t kMostKeys = 256;  // and values
constexpr int64_t kMostChunk = 256;

// What both directions have in common.
struct FastWeights {
  int32_t dtype;
  const void *q, *k, *v, *decay, *rate, *erase, *write, *initial;
  const int32_t *resets, *lengths;
  int64_t batch, heads, steps, keys, values, decay_size;
  double scale;
  int32_t features, normalised;

  // The columns of a state, whatever of them was refused.
  int64_t columns() const { return std::clamp<int64_t>(values, 0, kMostKeys) + (normalised == 1); }

  // Of what is not rounded beside PND_BF16: all but q, k, v, out and their adjoints.
  int64_t wide() const { return bytes_of_sum(dtype); }

  // The sizes, which stand before any array.
  void check_sizes(Call &call) const {
    call.float_dtype("dtype", dtype)
        .size("batch", batch)
        .size("heads", heads)
        .size("steps", steps)
        .range("keys", keys, 1, kMostKeys)
        .range("values", values, 1, kMostKeys)
        .require(decay_size == 1 || decay_size == keys, "decay_size = %lld must be 1 or %lld",
                 static_cast<long long>(decay_size), static_cast<long long>(keys))
        .range("features", features, 0, 1)
        .range("normalised", normalised, 0, 1)
        .require((erase == nullptr) == (write == nullptr),
                 "erase and write must both be null or neither")
        .require(rate == nullptr || erase == nullptr, "rate must be null with erase and write")
        .require(normalised == 0 || (rate == nullptr && erase == nullptr),
                 "normalised = 1 excludes rate, erase and write");
  }

  void check_arrays(Call &call) const {
    call.input("q", q, {batch, steps, heads, keys})
        .input("k", k, {batch, steps, heads, keys})
        .input("v", v, {batch, steps, heads, values})
        .nullable_input("decay", decay, {batch, steps, heads, decay_size}, wide())
        .nullable_input("rate", rate, {batch, steps, heads}, wide())
        .nullable_input("erase", erase, {batch, steps, heads, keys}, wide())
        .nullable_input("write", write, {batch, steps, heads, keys}, wide())
        .nullable_input("initial", initial, {batch, heads, keys, columns()}, wide())
        .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
        .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
  }
};

inline void fast_weights(Call &call, const FastWeights &f, void *out, void *last, int64_t chunk) {
  f.check_sizes(call);
  call.range("chunk", chunk, 0, kMostChunk)
      .output("out", out, {f.batch, f.steps, f.heads, f.values})
      .output("last", last, {f.batch, f.heads, f.keys, f.columns()}, f.wide());
  f.check_arrays(call);
}

inline void fast_weights_backward(Call &call, const FastWeights &f, void *dq, void *dk, void *dv,
                                  void *ddecay, void *drate, void *derase, void *dwrite,
                                  void *dinitial, const void *dout, const void *dlast) {
  f.check_sizes(call);
  const auto adjoint = [&](const char *name, void *array, const void *input,
                           std::initializer_list<int64_t> sizes) {
    call.require((array == nullptr) == (input == nullptr), "%s must be null exactly where %s is",
                 name, name + 1)
        .nullable_output(name, array, sizes, f.wide());
  };
  call.output("dq", dq, {f.batch, f.steps, f.heads, f.keys})
      .output("dk", dk, {f.batch, f.steps, f.heads, f.keys})
      .output("dv", dv, {f.batch, f.steps, f.heads, f.values});
  adjoint("ddecay", ddecay, f.decay, {f.batch, f.steps, f.heads, f.decay_size});
  adjoint("drate", drate, f.rate, {f.batch, f.steps, f.heads});
  adjoint("derase", derase, f.erase, {f.batch, f.steps, f.heads, f.keys});
  adjoint("dwrite", dwrite, f.write, {f.batch, f.steps, f.heads, f.keys});
  adjoint("dinitial", dinitial, f.initial, {f.batch, f.heads, f.keys, f.columns()});
  call.input("dout", dout, {f.batch, f.steps, f.heads, f.values})
      .nullable_input("dlast", dlast, {f.batch, f.heads, f.keys, f.columns()}, f.wide());
  f.check_arrays(call);
}

// ---- mask sampling ------------------------------------------------------------------------------

// What mask and mask_backward have in common.
inline void mask_sizes(Call &call, int32_t dtype, int64_t rows, int64_t length, int64_t k,
                       int64_t candidates, double rate, double floor, int32_t scheme) {
  constexpr int64_t kMostWords = int64_t{1} << 31;
  call.dtype(dtype)
      .range("rows", rows, 1, int64_t{1} << 32)
      .range("length", length, 1, kMostWords)
      .range("candidates", candidates, 1, int64_t{1} << 20)
      .require(candidates < 1 || length <= kMostWords / candidates,
               "candidates * length = %lld * %lld must not pass 2^31",
               static_cast<long long>(candidates), static_cast<long long>(length))
      .require(k >= 0, "k = %lld must not be negative", static_cast<long long>(k))
      .require(rate >= 0 && rate <= 1, "rate = %g must lie in [0, 1]", rate)
      .require(floor >= 0 && floor <= 1, "floor = %g must lie in [0, 1]", floor)
      .range("scheme", scheme, PND_BERNOULLI, PND_CANDIDATES);
}

inline void mask(Call &call, int32_t dtype, void *log_probability, void *inclusion, void *weight,
                 int32_t *corrupted, int32_t *label, const void *logits, const int32_t *tokens,
                 const int32_t *eligible, const int64_t *step, int64_t rows, int64_t length,
                 int64_t vocabulary, int64_t k, int64_t candidates, int64_t mask_token, int64_t,
                 double rate, double floor, double mask_share, double random_share,
                 int32_t scheme) {
  mask_sizes(call, dtype, rows, length, k, candidates, rate, floor, scheme);
  call.range("vocabulary", vocabulary, 1, int64_t{1} << 31)
      .range("mask_token", mask_token, 0, (int64_t{1} << 31) - 1)
      .require(mask_share >= 0 && random_share >= 0 && mask_share + random_share <= 1,
               "mask_share = %g and random_share = %g must be shares of 1", mask_share,
               random_share)
      .nullable_output("log_probability", log_probability, {rows})
      .nullable_output("inclusion", inclusion, {rows, length})
      .nullable_output("weight", weight, {rows, length})
      .nullable_output("corrupted", corrupted, {rows, length}, sizeof *corrupted)
      .nullable_output("label", label, {rows, length}, sizeof *label)
      .nullable_input("logits", logits, {rows, length})
      .input("tokens", tokens, {rows, length}, sizeof *tokens)
      .nullable_input("eligible", eligible, {rows, length}, sizeof *eligible)
      .input("step", step, {1}, sizeof *step);
}

inline void mask_backward(Call &call, int32_t dtype, void *dlogits, const void *dlog_probability,
                          const void *logits, const void *inclusion, const int32_t *label,
                          const int64_t *step, int64_t rows, int64_t length, int64_t k,
                          int64_t candidates, int64_t, double rate, double floor, int32_t scheme) {
  mask_sizes(call, dtype, rows, length, k, candidates, rate, floor, scheme);
  call.output("dlogits", dlogits, {rows, length})
      .input("dlog_probability", dlog_probability, {rows})
      .input("logits", logits, {rows, length})
      .input("inclusion", inclusion, {rows, length})
      .input("label", label, {rows, length}, sizeof *label)
      .input("step", step, {1}, sizeof *step);
}

// ---- optimisers ---------------------------------------------------------------------------------

inline void adamw(Call &call, int32_t dtype, void *parameter, void *first, void *second,
                  const void *gradient, const void *rate, const int32_t *step, const void *scale,
                  int64_t n, double beta1, double beta2, double eps, double) {
  call.dtype(dtype)
      .size("n", n)
      .require(beta1 >= 0 && beta1 < 1, "beta1 = %g must lie in [0, 1)", beta1)
      .require(beta2 >= 0 && beta2 < 1, "beta2 = %g must lie in [0, 1)", beta2)
      .require(eps >= 0, "eps = %g must not be negative", eps)
      .output("parameter", parameter, {n})
      .output("first", first, {n})
      .output("second", second, {n})
      .input("gradient", gradient, {n})
      .input("rate", rate, {1})
      .input("step", step, {1}, sizeof *step)
      .input("scale", scale, {1});
}

inline void sgd(Call &call, int32_t dtype, void *parameter, void *velocity, const void *gradient,
                const void *rate, const void *scale, int64_t n, double, double) {
  call.dtype(dtype)
      .size("n", n)
      .output("parameter", parameter, {n})
      .output("velocity", velocity, {n})
      .input("gradient", gradient, {n})
      .input("rate", rate, {1})
      .input("scale", scale, {1});
}

}  // namespace guard
