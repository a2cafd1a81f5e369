// SPDX-License-Identifier: Apache-2.0
// feedback.cuh: what the steps of both directions of feedback memory do: products with weights,
// norms, turned heads, and how a step reads the memory.
// Order    products are chains (product.cuh); norms' sums rows.cuh's; a score by the lanes of
//          a warp, folded 16, 8, 4, 2, 1; the softmax's sum by the threads of a block, folded so
//          too; sums over positions and levels upwards
#pragma once

#include "activation.cuh"
#include "feedback_rows.cuh"
#include "rows.cuh"

template <class T>
constexpr T kLeast = -std::numeric_limits<T>::infinity();

constexpr int kReadThreads = 256, kReadWarps = kReadThreads / kWarp;

// Where a product goes: to rows, on top of others if there are any. Rows that take no part get the
// others alone.
template <class T>
struct OnTop {
  Spread<T> to;
  Spread<T> of;  // data null: none
  Part part;
  bool whole;
  __device__ void put(int64_t, int64_t row, int64_t col, Pack<T> values, int64_t left) const {
    const bool takes = part.has(row);
    if (of.data != nullptr) {
      const Pack<T> base = load_pack(static_cast<const T *>(of.row(row)) + col, left, whole);
      PND_UNROLL
      for (int i = 0; i < kWide<T>; ++i)
        values.at[i] = takes ? values.at[i] + base.at[i] : base.at[i];
    } else if (!takes) {
      return;
    }
    store_pack(to.row(row) + col, values, left, whole);
  }
};

// to = of + x W, or with `back` x W^T; W [in, out].
template <class T>
int32_t multiply(Call &call, pnd_context *context, Spread<T> to, Spread<T> of, Spread<T> x,
                 Extent rows, Part part, const T *weight, int64_t in, int64_t out, bool back) {
  const bool whole = to.whole() && (of.data == nullptr || of.whole());
  return product(call, context, Operand<T, Strided<T>>{{x.data, x.stride, 0}, true, x.whole()},
                 Operand<T, Strided<T>>{{weight, out, 0}, back, moves_whole(weight, out)},
                 OnTop<T>{to, of, part, whole}, 1, rows, back ? in : out, Extent{back ? out : in});
}

// y = x scale gain and scale = 1 / sqrt(mean x^2 + eps), row by row; scales [rows] is nullable.
template <class T>
struct Norms {
  Spread<T> y;
  T *scales;
  Spread<T> x;
  const T *gain;
  T eps;
  Part part;

  template <int kTeam>
  __device__ void operator()(Line<kTeam> line) const {
    if (!part.has(line.row)) line.cols = 0;
    const Held<T, kTeam> row(x.row(line.row), line);
    T squares[] = {0};
    over_row<T>(
        line, [&](T v) { squares[0] = fma(v, v, squares[0]); }, row);
    sum_team<kTeam>(squares);
    const T s = 1 / sqrt(squares[0] / static_cast<T>(line.cols) + eps);
    if (scales != nullptr && line.leads()) scales[line.row] = s;
    map_row(
        line, y.row(line.row), [=](T v, T k) { return v * s * k; }, row, Read<T>{gain});
  }
};
template <class T>
int32_t normalise(Call &call, pnd_context *context, const Feedback<T> &f, Spread<T> y, T *scales,
                  Spread<T> x, const void *gains, int64_t layer, int64_t t) {
  const T *gain = f.at(gains, layer * f.width);
  return each_row<T>(call, context, f.batch, f.width,
                     x.whole() && y.whole() && moves_whole(gain, f.width),
                     Norms<T>{y, scales, x, gain, static_cast<T>(f.eps), f.runners(t)});
}

// to = from with each head turned to its position, or with sign -1 back; they may be the same.
template <class T>
struct Turns {
  Spread<T> to, from;
  int64_t half, position;
  double base, sign;

  __device__ void operator()(int64_t row, int64_t pair) const {
    const int64_t head = quotient(pair, half), i = pair - head * half;
    const double rate = exp_of(-static_cast<double>(i) / half * log_of(base));
    double cosine, sine;
    cosine_and_sine(static_cast<double>(position) * rate, cosine, sine);
    const T c = static_cast<T>(cosine), s = static_cast<T>(sine * sign);
    const int64_t at = head * 2 * half + i;
    const T a = from.row(row)[at], b = from.row(row)[at + half];
    to.row(row)[at] = fma(a, c, -(b * s));
    to.row(row)[at + half] = fma(a, s, b * c);
  }
};
template <class T>
int32_t turn(Call &call, pnd_context *context, const Feedback<T> &f, Spread<T> to, Spread<T> from,
             int64_t t, int64_t heads, double sign) {
  const int64_t half = f.head_size / 2;
  return each_of(call, context, f.batch, heads * half, f.runners(t),
                 Turns<T>{to, from, half, f.past + t, f.base, sign});
}

// y = gelu(x).
template <class T>
struct Gates {
  Spread<T> y, x;
  __device__ void operator()(int64_t row, int64_t i) const {
    y.row(row)[i] = gated<Gelu>(x.row(row)[i]);
  }
};

// z = sum over l of share[l] x_l.
template <class T>
struct Mixes {
  Spread<T> z, x;  // x: the lowest states
  const T *share;
  int64_t levels, width;
  __device__ void operator()(int64_t row, int64_t i) const {
    T sum = 0;
    for (int64_t l = 0; l < levels; ++l) sum = fma(share[l], x.row(row)[l * width + i], sum);
    z.row(row)[i] = sum;
  }
};
template <class T>
int32_t mix_states(Call &call, pnd_context *context, const Feedback<T> &f, Spread<T> z, int64_t t) {
  return each_of(call, context, f.batch, f.width, f.runners(t),
                 Mixes<T>{z, f.state(t, 0), f.at(f.share), f.level_count(), f.width});
}

// The sum of a warp's products of two rows; all lanes get it.
template <class T>
__device__ __forceinline__ T warp_dot(const T *a, const T *b, int64_t n) {
  T sum = 0;
  for (int64_t i = lane_number(); i < n; i += kWarp) sum = fma(a[i], b[i], sum);
  PND_UNROLL
  for (int w = kWarp / 2; w > 0; w /= 2) sum += __shfl_xor_sync(kAllLanes, sum, w);
  return sum;
}

// What a block's head of a sequence reads at step t; its weights go to p [batch, heads, slots].
template <class T>
__global__ void __launch_bounds__(kReadThreads, 1)
    read_kernel(int64_t first_block, Feedback<T> f, int64_t t, Spread<T> read, T *p, int64_t slots,
                Spread<T> queries, int64_t group) {
  const int64_t block = first_block + blockIdx.x, b = quotient(block, f.heads);
  const int64_t h = block - b * f.heads, size = f.head_size;
  const int64_t column = quotient(h, group) * size;
  const int64_t first = f.oldest(b, t), count = f.past + t - first;
  if (first < 0) return;
  const T *q = queries.row(b) + h * size;
  T *weights = p + block * slots;
  T most[] = {kLeast<T>};
  for (int64_t j = warp_number(); j < count; j += kReadWarps) {
    const T *key = f.row(f.past_keys, f.keys, b, first + j) + column;
    const T score = f.scale() * warp_dot(q, key, size);
    if (lane_number() == 0) weights[j] = score;
    most[0] = larger(score, most[0]);
  }
  fold_team<kReadThreads>(most, [](T x, T y) { return larger(x, y); });
  __syncthreads();
  // Where all is -infinity, any finite base gives exponentials of 0.
  const T base = most[0] == kLeast<T> ? T(0) : most[0];
  T sum[] = {0};
  for (int64_t j = threadIdx.x; j < count; j += kReadThreads) {
    weights[j] = exp_of_negative(weights[j] - base);
    sum[0] += weights[j];
  }
  sum_team<kReadThreads>(sum);
  const T share = sum[0] == 0 ? sum[0] : 1 / sum[0];
  for (int64_t j = threadIdx.x; j < count; j += kReadThreads) weights[j] *= share;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < size; i += kReadThreads) {
    T out = 0;
    for (int64_t j = 0; j < count; ++j) {
      out = fma(weights[j], f.row(f.past_values, f.values, b, first + j)[column + i], out);
    }
    read.row(b)[h * size + i] = out;
  }
}
template <class T>
int32_t read_memory(Call &call, pnd_context *context, const Feedback<T> &f, int64_t t,
                    Spread<T> read, T *p, Spread<T> q) {
  constexpr size_t kShared = 2 * kReadWarps * sizeof(double);
  return launch_blocks(call, context, read_kernel<T>, f.batch * f.heads, dim3(kReadThreads),
                       kShared, f, t, read, p, f.slots(), q, f.heads / f.kv_heads);
}

// Pieces of the scratch memory, each aligned; counted where there is none yet.
class Pieces {
 public:
  explicit Pieces(void *memory = nullptr) : memory_(static_cast<char *>(memory)) {}
  template <class T>
  T *take(int64_t count) {
    T *piece = memory_ == nullptr ? nullptr : reinterpret_cast<T *>(memory_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return piece;
  }
  // Rows of so many columns, each aligned to a pack.
  template <class T>
  Spread<T> rows(int64_t rows, int64_t cols) {
    const int64_t stride = (cols + kWide<T> - 1) / kWide<T> * kWide<T>;
    return {take<T>(rows * stride), stride};
  }
  int64_t used() const { return used_; }

 private:
  char *memory_;
  int64_t used_ = 0;
};
