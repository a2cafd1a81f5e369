// SPDX-License-Identifier: Apache-2.0
// feedback.cuh: what the steps of both directions of feedback memory do: norms on the way into
// products, turned heads, and how a step reads the memory.
// Order    products and square sums are thin.cuh's; a score by 8 lanes of packs, folded 4, 2, 1; a
//          softmax's sum by the threads of a block, folded 16, 8, 4, 2, 1, then warps so; what is
//          read by parts of the positions, then the parts upwards; sums over levels upwards
#pragma once

#include "activation.cuh"
#include "feedback_rows.cuh"
#include "rows.cuh"
#include "stages.cuh"

template <class T>
constexpr T kLeast = -std::numeric_limits<T>::infinity();

constexpr int kReadThreads = kThinThreads;
constexpr size_t kReadBytes = kReadThreads * sizeof(Pack<double>);
constexpr int kReadLanes = 8;  // of a score

// What a stage multiplies (thin.cuh): rows as they are.
template <class T>
struct PlainRows {
  static constexpr bool kNormed = false;
  Spread<T> x;
  bool whole;
  __device__ __forceinline__ Pack<T> load(int64_t row, int64_t k, int64_t left) const {
    return load_pack(x.row(row) + k, left, whole);
  }
};
// Rows times a gain, over the root of their mean square.
template <class T>
struct NormedRows : PlainRows<T> {
  static constexpr bool kNormed = true;
  const T *gain;
  T cols, eps;
  __device__ __forceinline__ Pack<T> gains(int64_t k, int64_t left) const {
    return load_pack(gain + k, left, this->whole);
  }
  __device__ __forceinline__ T scale(T squares) const { return 1 / sqrt(squares / cols + eps); }
};
// The mixtures of a step's states, normed; x: the lowest.
template <class T>
struct MixedRows : NormedRows<T> {
  const T *share;
  int64_t levels, width;
  __device__ __forceinline__ Pack<T> load(int64_t row, int64_t k, int64_t left) const {
    Pack<T> sum{};
    for (int64_t l = 0; l < levels; ++l) {
      const Pack<T> v = load_pack(this->x.row(row) + l * width + k, left, this->whole);
      PND_UNROLL
      for (int e = 0; e < kWide<T>; ++e) sum.at[e] = fma(share[l], v.at[e], sum.at[e]);
    }
    return sum;
  }
};

template <class T>
__device__ __forceinline__ PlainRows<T> plain_rows(Spread<T> scratch) {
  return {scratch, true};
}
template <class T>
__device__ __forceinline__ NormedRows<T> normed_rows(const Feedback<T> &f, Spread<T> x,
                                                     const void *gains, int64_t layer) {
  return {
      {x, f.whole}, f.at(gains, layer * f.width), static_cast<T>(f.width), static_cast<T>(f.eps)};
}
template <class T>
__device__ __forceinline__ MixedRows<T> mixed_rows(const Feedback<T> &f, int64_t t) {
  return {normed_rows(f, f.state(t, 0), f.memory_gain, 0), f.at(f.share), f.level_count(), f.width};
}

// What turns a pair of a head's elements, i and i + half, to a position, or with sign -1 back.
template <class T>
struct Turn {
  T cosine, sine;

  __device__ Turn(int64_t position, int64_t i, int64_t half, double base, double sign) {
    const double rate = exp_of(-static_cast<double>(i) / half * log_of(base));
    double c, s;
    cosine_and_sine(static_cast<double>(position) * rate, c, s);
    cosine = static_cast<T>(c);
    sine = static_cast<T>(s * sign);
  }
  __device__ void apply(T &a, T &b) const {
    const T x = a;
    a = fma(x, cosine, -(b * sine));
    b = fma(x, sine, b * cosine);
  }
};

// Turns a head where it lies.
template <class T>
__device__ __forceinline__ void turn_head(const Feedback<T> &f, T *head, int64_t t, double sign) {
  const int64_t half = f.head_size / 2;
  for (int64_t i = threadIdx.x; i < half; i += kReadThreads) {
    Turn<T>(f.past + t, i, half, f.base, sign).apply(head[i], head[i + half]);
  }
  __syncthreads();
}

// each(j, a . row(j)) for the rows of a memory, by one lane; every thread of the block takes part.
template <class T, class Row, class Each>
__device__ __forceinline__ void multiply_rows(const T *a, int64_t count, int64_t size, bool whole,
                                              Row row, Each each) {
  const int64_t lane = threadIdx.x % kReadLanes;
  for (int64_t j0 = 0; j0 < count; j0 += kReadThreads / kReadLanes) {
    const int64_t j = j0 + threadIdx.x / kReadLanes;
    T sum = 0;
    if (j < count) {
      const T *b = row(j);
      for (int64_t i = lane * kWide<T>; i < size; i += kReadLanes * kWide<T>) {
        const Pack<T> x = load_pack(a + i, size - i, whole), y = load_pack(b + i, size - i, whole);
        PND_UNROLL
        for (int e = 0; e < kWide<T>; ++e) sum = fma(x.at[e], y.at[e], sum);
      }
    }
    PND_UNROLL
    for (int w = kReadLanes / 2; w > 0; w /= 2) sum += __shfl_xor_sync(kAllLanes, sum, w);
    if (j < count && lane == 0) each(j, sum);
  }
}

// The weights that a turned query gives to `count` positions, to p; key(j) is a position's key.
template <class T, class Key>
__device__ __forceinline__ void weigh_positions(const Feedback<T> &f, const T *q, int64_t count,
                                                Key key, T *p) {
  T most[] = {kLeast<T>};
  multiply_rows(q, count, f.head_size, f.whole, key, [&](int64_t j, T dot) {
    p[j] = dot * f.scale();
    most[0] = larger(p[j], most[0]);
  });
  fold_team<kReadThreads>(most, [](T x, T y) { return larger(x, y); });
  __syncthreads();
  // Where all is -infinity, any finite base gives exponentials of 0.
  const T base = most[0] == kLeast<T> ? T(0) : most[0];
  T sum[] = {0};
  for (int64_t j = threadIdx.x; j < count; j += kReadThreads) {
    p[j] = exp_of_negative(p[j] - base);
    sum[0] += p[j];
  }
  sum_team<kReadThreads>(sum);
  const T share = sum[0] == 0 ? sum[0] : 1 / sum[0];
  for (int64_t j = threadIdx.x; j < count; j += kReadThreads) p[j] *= share;
  __syncthreads();
}

// to[i] = the sum over positions of weights[j] row(j)[i], by the threads of a block: parts of the
// positions, which meet in shared memory.
template <class T, class Row>
__device__ __forceinline__ void mix_rows(T *to, const T *weights, int64_t count, int64_t size,
                                         bool whole, Row row) {
  T *shared = shared_memory<T>();
  const int packs = static_cast<int>((size + kWide<T> - 1) / kWide<T>);
  const int parts = kReadThreads / packs, part = static_cast<int>(threadIdx.x) / packs;
  const int64_t i = static_cast<int64_t>(threadIdx.x) % packs * kWide<T>;
  if (part < parts) {
    Pack<T> sum{};
    for (int64_t j = part; j < count; j += parts) {
      const Pack<T> x = load_pack(row(j) + i, size - i, whole);
      PND_UNROLL
      for (int e = 0; e < kWide<T>; ++e) sum.at[e] = fma(weights[j], x.at[e], sum.at[e]);
    }
    store_pack(shared + threadIdx.x * kWide<T>, sum);
  }
  __syncthreads();
  for (int64_t c = threadIdx.x; c < size; c += kReadThreads) {
    T sum = 0;
    for (int n = 0; n < parts; ++n) sum += shared[n * packs * kWide<T> + c];
    to[c] = sum;
  }
  __syncthreads();
}
// All packs of a head have a thread.
static_assert(guard::kMostHeadSize <= kReadThreads * kWide<double>);

// What head h of sequence b reads at step t, to `to`; its weights go to p. q is turned where it
// lies. Nothing to read gives zeros.
template <class T>
__device__ __forceinline__ void read_head(const Feedback<T> &f, int64_t b, int64_t t, int64_t h,
                                          T *q, T *p, T *to) {
  const int64_t size = f.head_size, column = quotient(h, quotient(f.heads, f.kv_heads)) * size;
  const int64_t first = f.oldest(b, t), count = first < 0 ? 0 : f.past + t - first;
  turn_head(f, q, t, 1);
  weigh_positions(
      f, q, count, [&](int64_t j) { return f.key_at(b, first + j) + column; }, p);
  mix_rows(to, p, count, size, f.whole,
           [&](int64_t j) { return f.value_at(b, first + j) + column; });
}

// Pieces of the scratch memory, each aligned; counted where there is none yet.
class ScratchPieces {
 public:
  explicit ScratchPieces(void *memory = nullptr) : memory_(static_cast<char *>(memory)) {}
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
