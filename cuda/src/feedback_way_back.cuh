// SPDX-License-Identifier: Apache-2.0
// feedback_way_back.cuh: the stages of the steps of feedback memory, from the last of a group to
// the first: the adjoints that wait for each other.
// Order    feedback.cuh's; a norm's sum by the threads of a block, rows.cuh's way; what adjoints of
//          a position get, layer by layer from the top, of the heads that share keys upwards
#pragma once

#include "feedback_backward.cuh"

// What the adjoints of a sequence's memory are kept in: of the past, and of this call's steps.
template <class T>
struct MemorySlopes {
  T *past_keys, *past_values, *keys, *values;
};

template <class T>
struct WayBack {
  Feedback<T> f;
  T *dx, *dstates;
  int64_t first = 0, steps = 0;  // the group's
  char *start;                   // of what is kept
  int64_t layer_bytes, bytes;    // of what one layer keeps, laid out alike; of all that is kept
  Kept<T> kept;                  // of layer 0
  Spread<T> z, normed, dk, dv, gain, shares, scales;  // kept of what is remembered
  Spread<T> dn, du, dread;                            // [batch] rows of a step
  MemorySlopes<T> memory;
  T *p, *ds;  // [blocks, slots]

  // For groups of so many rows and so many blocks.
  WayBack(const Feedback<T> &call, T *dx, T *dstates, int64_t rows, int64_t blocks,
          ScratchPieces &from)
      : f(call),
        dx(dx),
        dstates(dstates),
        start(from.take<char>(0)),
        layer_bytes(kept_bytes(f, rows)),
        kept(first_kept(from.take<char>(f.layers * layer_bytes), f, rows)),
        z(from.rows<T>(rows, f.width)),
        normed(from.rows<T>(rows, f.width)),
        dk(from.rows<T>(rows, f.kv_width())),
        dv(from.rows<T>(rows, f.kv_width())),
        gain(from.rows<T>(rows, f.width)),
        shares(from.rows<T>(rows, f.level_count())),
        scales{from.take<T>(rows), 1} {
    bytes = from.take<char>(0) - start;
    for (Spread<T> *row : {&dn, &du}) *row = from.rows<T>(f.batch, f.width);
    dread = from.rows<T>(f.batch, f.q_width());
    const int64_t remembered = f.batch * f.steps * f.kv_width();
    memory = {nullptr, nullptr, from.take<T>(remembered), from.take<T>(remembered)};
    p = from.take<T>(blocks * f.slots());
    ds = from.take<T>(blocks * f.slots());
    f.begins = f.bounded() ? from.take<int64_t>(f.batch * f.steps) : nullptr;
    f.running = f.lengths != nullptr ? from.take<int64_t>(f.steps) : nullptr;
    f.whole = f.whole && moves_whole(dx, f.width) && moves_whole(dstates, f.width);
  }
  static int64_t kept_bytes(const Feedback<T> &f, int64_t rows) {
    ScratchPieces counted;
    Kept<T>(counted, f, rows);
    return counted.used();
  }
  static Kept<T> first_kept(char *at, const Feedback<T> &f, int64_t rows) {
    ScratchPieces from(at);
    return Kept<T>(from, f, rows);
  }

  // A step's stages: what its own memory was made of, then seven for each layer, downwards.
  enum Stage { kTurn, kKey, kValue, kStates, kOfMemory };
  enum LayerStage { kNarrow, kWiden, kMlpNorm, kMix, kRead, kQuery, kNorm, kOfLayer };
  __host__ __device__ int64_t stages() const { return kOfMemory + f.layers * kOfLayer; }
  // As many blocks as the largest stage can use.
  int64_t jobs(int64_t rows) const {
    const int64_t cols = std::max({f.q_width(), f.width, f.inner});
    return std::max((f.batch + rows - 1) / rows * thin_tiles<T>(cols), f.batch * f.kv_heads);
  }

  // A row that layer l keeps, for the rows of a step.
  __host__ __device__ __forceinline__ Spread<T> of(const Spread<T> &rows, int64_t l,
                                                   int64_t n) const {
    char *data = reinterpret_cast<char *>(rows.data) + l * layer_bytes;
    return {reinterpret_cast<T *>(data) + n * rows.stride, rows.stride};
  }
  __device__ __forceinline__ static Spread<T> from(const Spread<T> &rows, int64_t n) {
    return {rows.row(n), rows.stride};
  }

  template <int kRows>
  __device__ __forceinline__ void run(int64_t number) const {
    const int64_t back = quotient(number, stages()), stage = number - back * stages();
    const int64_t t = first + steps - 1 - back, n = (t - first) * f.batch;
    if (stage < kOfMemory) {
      forget<kRows>(t, n, static_cast<int>(stage));
    } else {
      const int64_t i = stage - kOfMemory, down = quotient(i, kOfLayer);
      layer<kRows>(t, f.layers - 1 - down, n, static_cast<int>(i - down * kOfLayer));
    }
  }

 private:
  // put(b, col, sum): rows of a step times weight l^T, weight [cols, depth].
  template <int kRows, class Put>
  __device__ __forceinline__ void multiply(int64_t t, Spread<T> x, const void *weight, int64_t l,
                                           int64_t cols, int64_t depth, Put put) const {
    Thin<T, kRows>().template multiply<true>(
        f.rows(t).get(), depth, thin_tiles<T>(cols), plain_rows(x),
        [&](int64_t i) {
          return ThinTile<T>::of(f.at(weight, l * depth * cols), depth, f.whole, i, cols);
        },
        [&](int64_t b, int64_t, const ThinTile<T> &tile, int e, T v, T w) {
          tile.each(e, v, w, [&](int64_t col, T sum) { put(b, col, sum); });
        });
  }
  // each(b, line) for the rows that run, by whole blocks.
  template <class Each>
  __device__ __forceinline__ void each_running(int64_t t, int64_t cols, Each each) const {
    const Part runs = f.runners(t);
    for (int64_t b = blockIdx.x; b < f.batch; b += gridDim.x) {
      if (runs.has(b)) each(b, Line<kThinThreads>{b, cols, f.whole});
    }
  }
  // to(before, ...) gets the adjoint of x before its norm, from dn's row, that of its result; what
  // the gain's adjoint sums goes to `terms`.
  template <class To, class... Rows>
  __device__ __forceinline__ void norm_back(const Line<kThinThreads> &line, const T *x,
                                            const T *gain, T s, T *terms, T *to, To add,
                                            const Rows &...rows) const {
    const Read<T> d{dn.row(line.row)}, v{x}, k{gain};
    T dot[] = {0};
    over_row<T>(
        line, [&](T a, T b, T c) { dot[0] = fma(a * c, b * s, dot[0]); }, d, v, k);
    sum_team<kThinThreads>(dot);
    const T slope = dot[0] / static_cast<T>(line.cols);
    map_row(
        line, terms, [=](T a, T b) { return a * (b * s); }, d, v);
    map_row(
        line, to,
        [=](T a, T b, T c, auto... others) {
          return add(fma(-(b * s), slope, a * c) * s, others...);
        },
        d, v, k, rows...);
  }

  // From the adjoints of a step's key and value to that of its last states.
  template <int kRows>
  __device__ __forceinline__ void forget(int64_t t, int64_t n, int stage) const {
    const int64_t kv = f.kv_width(), half = f.head_size / 2;
    const auto to_dn = [&](int64_t b, int64_t col, T sum) { dn.row(b)[col] = sum; };
    switch (stage) {
      case kTurn:
        each_running(t, kv, [&](int64_t b, const auto &) {
          const T *keys = f.remembered(memory.keys, t).row(b);
          const T *values = f.remembered(memory.values, t).row(b);
          for (int64_t pair = threadIdx.x; pair < kv / 2; pair += kThinThreads) {
            const int64_t head = quotient(pair, half), i = pair - head * half;
            const int64_t at = head * f.head_size + i;
            T x = keys[at], y = keys[at + half];
            Turn<T>(f.past + t, i, half, f.base, -1).apply(x, y);
            dk.row(n + b)[at] = x;
            dk.row(n + b)[at + half] = y;
          }
          for (int64_t i = threadIdx.x; i < kv; i += kThinThreads) dv.row(n + b)[i] = values[i];
        });
        break;
      case kKey:
        multiply<kRows>(t, from(dk, n), f.key, 0, f.width, kv, to_dn);
        break;
      case kValue:
        multiply<kRows>(t, from(dv, n), f.value, 0, f.width, kv,
                        [&](int64_t b, int64_t col, T sum) { dn.row(b)[col] += sum; });
        break;
      default:
        each_running(t, f.width, [&](int64_t b, const auto &line) { mixed_back(t, n, b, line); });
    }
  }
  // du, the adjoint of the mixed states, and what each of them gets from it.
  __device__ __forceinline__ void mixed_back(int64_t t, int64_t n, int64_t b,
                                             const Line<kThinThreads> &line) const {
    norm_back(line, z.row(n + b), f.at(f.memory_gain), *scales.row(n + b), gain.row(n + b),
              du.row(b), [](T d) { return d; });
    const Read<T> d{du.row(b)};
    for (int64_t l = 0; l < f.level_count(); ++l) {
      T dot[] = {0};
      over_row<T>(
          line, [&](T x, T y) { dot[0] = fma(x, y, dot[0]); }, d, Read<T>{f.state(t, l).row(b)});
      sum_team<kThinThreads>(dot);
      if (line.leads()) shares.row(n + b)[l] = dot[0];
    }
    const int64_t top = f.layers;
    const T share = f.at(f.share)[top];
    map_row(
        line, of(kept.dtop, top - 1, n).row(b), [=](T own, T x) { return fma(share, x, own); },
        Read<T>{f.state(dstates, t, top).row(b)}, d);
  }

  template <int kRows>
  __device__ __forceinline__ void layer(int64_t t, int64_t l, int64_t n, int stage) const {
    const auto row = [&](const Spread<T> &rows) { return of(rows, l, n); };
    const int64_t width = f.width, q_width = f.q_width();
    const auto to_dn = [&](int64_t b, int64_t col, T sum) { dn.row(b)[col] = sum; };
    switch (stage) {
      case kNarrow:
        multiply<kRows>(t, row(kept.dtop), f.narrow, l, f.inner, width,
                        [&](int64_t b, int64_t col, T sum) {
                          T *inner = row(kept.dinner).row(b) + col;
                          *inner = sum * gate_slope<Gelu>(*inner);
                        });
        break;
      case kWiden:
        multiply<kRows>(t, row(kept.dinner), f.wide, l, width, f.inner, to_dn);
        break;
      case kMlpNorm:
        each_running(t, width, [&](int64_t b, const auto &line) {
          norm_back(
              line, row(kept.y).row(b), f.at(f.mlp_gain, l * width), *row(kept.mlp_scales).row(b),
              row(kept.mlp_gain).row(b), row(kept.dy).row(b), [](T d, T top) { return top + d; },
              Read<T>{row(kept.dtop).row(b)});
        });
        break;
      case kMix:
        multiply<kRows>(t, row(kept.dy), f.mix, l, q_width, width,
                        [&](int64_t b, int64_t col, T sum) { dread.row(b)[col] = sum; });
        break;
      case kRead:
        for (int64_t job = blockIdx.x; job < f.rows(t).get() * f.kv_heads; job += gridDim.x) {
          const int64_t b = quotient(job, f.kv_heads), g = job - b * f.kv_heads;
          read_back(t, b, g, row(kept.q).row(b), row(kept.dq).row(b));
        }
        break;
      case kQuery:
        multiply<kRows>(t, row(kept.dq), f.query, l, width, q_width, to_dn);
        break;
      default: {
        const T share = f.at(f.share)[l];
        const Spread<T> below =
            l > 0 ? of(kept.dtop, l - 1, n) : Spread<T>{dx + t * width, f.steps * width};
        each_running(t, width, [&](int64_t b, const auto &line) {
          norm_back(
              line, f.state(t, l).row(b), f.at(f.attention_gain, l * width),
              *row(kept.scales).row(b), row(kept.gain).row(b), below.row(b),
              [=](T d, T top, T own, T mixed) { return top + d + fma(share, mixed, own); },
              Read<T>{row(kept.dy).row(b)}, Read<T>{f.state(dstates, t, l).row(b)},
              Read<T>{du.row(b)});
        });
      }
    }
  }

  // The heads of a sequence that share keys: dq, and what the memory gets from them.
  __device__ __forceinline__ void read_back(int64_t t, int64_t b, int64_t g, const T *queries,
                                            T *dqueries) const {
    const int64_t size = f.head_size, column = g * size, group = quotient(f.heads, f.kv_heads);
    const int64_t start = f.oldest(b, t), count = start < 0 ? 0 : f.past + t - start;
    const auto key = [&](int64_t j) { return f.key_at(b, start + j) + column; };
    const auto value = [&](int64_t j) { return f.value_at(b, start + j) + column; };
    for (int64_t h = g * group; h < (g + 1) * group; ++h) {
      const T *q = queries + h * size, *dout = dread.row(b) + h * size;
      T *weights = p + blockIdx.x * f.slots(), *slopes = ds + blockIdx.x * f.slots();
      weigh_positions(f, q, count, key, weights);
      multiply_rows(dout, count, size, f.whole, value, [&](int64_t j, T dot) { slopes[j] = dot; });
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
      mix_rows(dqueries + h * size, slopes, count, size, f.whole, key);
      turn_head(f, dqueries + h * size, t, -1);
      for (int64_t at = threadIdx.x; at < count * size; at += kReadThreads) {
        const int64_t j = quotient(at, size), i = at - j * size, position = start + j;
        T *dk = f.remembered(memory.past_keys, memory.keys, b, position) + column + i;
        T *dv = f.remembered(memory.past_values, memory.values, b, position) + column + i;
        *dk = fma(slopes[j], q[i], *dk);
        *dv = fma(weights[j], dout[i], *dv);
      }
      __syncthreads();
    }
  }
};
