// SPDX-License-Identifier: Apache-2.0
// simd: the native vector of each element type, fused multiply-add, and sums in 32 virtual lanes.
// Arithmetic on vectors is written with + - * /; only what the language lacks has a name here.
// Every function is a single correctly rounded operation per element, so all builds give the same
// bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define PND_INLINE inline __attribute__((always_inline))
#define PND_INLINED __attribute__((always_inline))  // of a lambda, after its parameters
#define PND_UNROLL _Pragma("GCC unroll 32")

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VectorOf {
  typedef T aligned __attribute__((vector_size(kVectorBytes)));
  typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::aligned;
// Elements per vector.
template <class T>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
PND_INLINE Vec<T> load(const T *p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned *>(p);
}
template <class T>
PND_INLINE void store(T *p, Vec<T> x) {
  *reinterpret_cast<typename VectorOf<T>::unaligned *>(p) = x;
}
// Stores to an address aligned to the vector past the caches; end_past after the last one, before
// another thread looks.
template <class T>
PND_INLINE void store_past(T *p, Vec<T> x) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i *>(p), (__m512i)x);
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i *>(p), (__m256i)x);
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i *>(p), (__m128i)x);
#else
  store(p, x);
#endif
}
PND_INLINE void end_past() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}
template <class T>
PND_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};  // not x + 0: that would turn -0 into +0
}
#if defined(__AVX2__) && !defined(__AVX512F__)
// All bits set in the first n lanes.
template <class T>
PND_INLINE __m256i first_lanes(int64_t n) {
  if constexpr (sizeof(T) == 4) {
    const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), place);
  } else {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
}
#endif
// The first n elements (0 <= n <= kWidth), the rest filled; and their store.
template <class T>
PND_INLINE Vec<T> load_first(const T *p, int64_t n, T fill = 0) {
#if defined(__AVX512F__)
  const unsigned lanes = (1u << n) - 1;
  if constexpr (std::is_same_v<T, float>) {
    return (Vec<T>)_mm512_mask_loadu_ps(splat(fill), static_cast<__mmask16>(lanes), p);
  } else if constexpr (std::is_same_v<T, double>) {
    return (Vec<T>)_mm512_mask_loadu_pd(splat(fill), static_cast<__mmask8>(lanes), p);
  }
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    const __m256i lanes = first_lanes<T>(n);
    return (Vec<T>)_mm256_blendv_ps(splat(fill), _mm256_maskload_ps(p, lanes), (__m256)lanes);
  } else if constexpr (std::is_same_v<T, double>) {
    const __m256i lanes = first_lanes<T>(n);
    return (Vec<T>)_mm256_blendv_pd(splat(fill), _mm256_maskload_pd(p, lanes), (__m256d)lanes);
  }
#endif
  T piece[kWidth<T>];
  for (int i = 0; i < kWidth<T>; ++i) piece[i] = i < n ? p[i] : fill;
  return load(piece);
}
template <class T>
PND_INLINE void store_first(T *p, Vec<T> x, int64_t n) {
#if defined(__AVX512F__)
  const unsigned lanes = (1u << n) - 1;
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_mask_storeu_ps(p, static_cast<__mmask16>(lanes), x);
  } else if constexpr (std::is_same_v<T, double>) {
    return _mm512_mask_storeu_pd(p, static_cast<__mmask8>(lanes), x);
  }
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    return _mm256_maskstore_ps(p, first_lanes<T>(n), x);
  } else if constexpr (std::is_same_v<T, double>) {
    return _mm256_maskstore_pd(p, first_lanes<T>(n), x);
  }
#endif
  T piece[kWidth<T>];
  store(piece, x);
  for (int i = 0; i < n; ++i) p[i] = piece[i];
}

// As many elements as there are of a row of which `left` are left (left >= 1).
template <class T>
PND_INLINE Vec<T> load_some(const T *p, int64_t left) {
  return left >= kWidth<T> ? load(p) : load_first(p, left);
}
template <class T>
PND_INLINE void store_some(T *p, Vec<T> x, int64_t left) {
  if (left >= kWidth<T>) {
    store(p, x);
  } else {
    store_first(p, x, left);
  }
}

#if !defined(__FMA__) && defined(__x86_64__)
// a b + c rounded once, on a processor without the instruction: the product is exact in double; the
// sum is rounded to odd there, which makes the last rounding right (Boldo, Melquiond 2008).
PND_INLINE float fma_once(float a, float b, float c) {
  const double p = static_cast<double>(a) * b, d = c, s = p + d;
  const double t = s - p, error = (p - (s - t)) + (d - t);
  int64_t bits;
  std::memcpy(&bits, &s, sizeof bits);
  const bool inexact = error < 0 || error > 0;
  if (inexact && (bits & 1) == 0) bits += (error > 0) == (s > 0) ? 1 : -1;
  double odd;
  std::memcpy(&odd, &bits, sizeof odd);
  return static_cast<float>(odd);
}
PND_INLINE double fma_once(double a, double b, double c) { return __builtin_fma(a, b, c); }
// Called, not repeated: a kernel unrolls hundreds of them.
template <class V>
__attribute__((noinline)) V fma_each(V a, V b, V c) {
  V r;
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) r[i] = fma_once(a[i], b[i], c[i]);
  return r;
}
#else
PND_INLINE float fma_once(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
PND_INLINE double fma_once(double a, double b, double c) { return __builtin_fma(a, b, c); }
#endif

// a b + c, rounded once.
template <class V>
PND_INLINE V fma(V a, V b, V c) {
  if constexpr (std::is_floating_point_v<V>) {
    return fma_once(a, b, c);
  } else {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm512_fmadd_ps(a, b, c);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm256_fmadd_ps(a, b, c);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)vfmaq_f32(c, a, b);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)vfmaq_f64(c, a, b);
#else
    return fma_each(a, b, c);
#endif
  }
}

// The larger and the smaller of each pair; b where either is NaN.
template <class V>
PND_INLINE V larger(V a, V b) {
  if constexpr (std::is_floating_point_v<V>) {
    return a > b ? a : b;
  } else {
#if defined(__AVX512F__)
    // The plain form makes GCC 12 warn of an undefined operand in its own header.
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm512_maskz_max_ps(0xffff, a, b);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm512_maskz_max_pd(0xff, a, b);
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm256_max_ps(a, b);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm256_max_pd(a, b);
#else
    return a > b ? a : b;
#endif
  }
}
template <class V>
PND_INLINE V smaller(V a, V b) {
  if constexpr (std::is_floating_point_v<V>) {
    return a < b ? a : b;
  } else {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm512_maskz_min_ps(0xffff, a, b);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm512_maskz_min_pd(0xff, a, b);
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm256_min_ps(a, b);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm256_min_pd(a, b);
#else
    return a < b ? a : b;
#endif
  }
}

// The square root of each element. (GCC 12 warns about the 512-bit form without a mask.)
template <class V>
PND_INLINE V root(V x) {
  if constexpr (std::is_same_v<V, float>) {
    return __builtin_sqrtf(x);
  } else if constexpr (std::is_same_v<V, double>) {
    return __builtin_sqrt(x);
  } else {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm512_maskz_sqrt_ps(-1, x);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm512_maskz_sqrt_pd(-1, x);
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm256_sqrt_ps(x);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm256_sqrt_pd(x);
#elif defined(__SSE2__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)_mm_sqrt_ps(x);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)_mm_sqrt_pd(x);
#elif defined(__aarch64__)
    if constexpr (std::is_same_v<V, Vec<float>>) return (V)vsqrtq_f32(x);
    if constexpr (std::is_same_v<V, Vec<double>>) return (V)vsqrtq_f64(x);
#endif
  }
}

// f over the elements of a vector: the upper half onto the lower one, until one element is left.
template <class V, class F>
PND_INLINE auto fold_vector(V x, F &&f) {
  constexpr int n = sizeof(V) / sizeof(x[0]);
  if constexpr (n == 16) {
    const auto low = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
    const auto high = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    return fold_vector(f(low, high), f);
  } else if constexpr (n == 8) {
    const auto low = __builtin_shufflevector(x, x, 0, 1, 2, 3);
    const auto high = __builtin_shufflevector(x, x, 4, 5, 6, 7);
    return fold_vector(f(low, high), f);
  } else if constexpr (n == 4) {
    const V y = f(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
    return f(y[0], y[1]);
  } else {
    return f(x[0], x[1]);
  }
}

// The largest element; any NaN may be lost.
template <class T>
PND_INLINE T largest_of(Vec<T> x) {
  return fold_vector(x, [](auto a, auto b) { return a > b ? a : b; });
}

// One bit per element, the first the lowest: whether a > b.
template <class T>
PND_INLINE unsigned above(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
  } else {
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
  }
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<unsigned>(_mm256_movemask_ps((__m256)(a > b)));
  } else {
    return static_cast<unsigned>(_mm256_movemask_pd((__m256d)(a > b)));
  }
#else
  unsigned bits = 0;
  for (int i = 0; i < kWidth<T>; ++i) bits |= static_cast<unsigned>(a[i] > b[i]) << i;
  return bits;
#endif
}

// float or double, of a vector or of itself.
template <class V>
struct ElementOf {
  using type = std::remove_cv_t<std::remove_reference_t<decltype(std::declval<V>()[0])>>;
};
template <>
struct ElementOf<float> {
  using type = float;
};
template <>
struct ElementOf<double> {
  using type = double;
};
template <class V>
using Element = typename ElementOf<V>::type;

// The bit pattern as unsigned integers of the same size, and back.
template <class T>
using Unsigned = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
template <class V>
PND_INLINE auto bits_of(V x) {
  if constexpr (std::is_floating_point_v<V>) {
    return __builtin_bit_cast(Unsigned<V>, x);
  } else {
    return (Vec<Unsigned<Element<V>>>)x;
  }
}
PND_INLINE float of_bits(uint32_t x) { return __builtin_bit_cast(float, x); }
PND_INLINE double of_bits(uint64_t x) { return __builtin_bit_cast(double, x); }
PND_INLINE Vec<float> of_bits(Vec<uint32_t> x) { return (Vec<float>)x; }
PND_INLINE Vec<double> of_bits(Vec<uint64_t> x) { return (Vec<double>)x; }

// a where test, else b.
template <class Test, class V>
PND_INLINE V choose(Test test, V a, V b) {
  return test ? a : b;
}

// A sum in 32 virtual lanes: element i is added to lane i mod 32, and the lanes are folded 16, 8,
// 4, 2, 1. The same bits for every vector width.
constexpr int kLanes = 32;
template <class T>
struct Lanes {
  static constexpr int kVectors = kLanes / kWidth<T>;
  Vec<T> v[kVectors];

  PND_INLINE explicit Lanes(T x = 0) {
    PND_UNROLL
    for (Vec<T> &lane : v) lane = splat<T>(x);
  }

  // The sum of the lanes.
  PND_INLINE T fold() const {
    Vec<T> sum[kVectors];
    PND_UNROLL
    for (int i = 0; i < kVectors; ++i) sum[i] = v[i];
    PND_UNROLL
    for (int w = kVectors / 2; w > 0; w /= 2) {
      PND_UNROLL
      for (int i = 0; i < w; ++i) sum[i] += sum[i + w];
    }
    return fold_vector(sum[0], [](auto a, auto b) { return a + b; });
  }
};

// Adds term(i, vector of elements i..) over [0, n), n a multiple of nothing in particular:
// each(i, lane) must return lane plus the terms of the elements i .. i + kWidth - 1; tail(i) must
// return the single term of element i, to be added.
template <class T, class Each, class Tail>
PND_INLINE T lane_sum(int64_t n, Each &&each, Tail &&tail) {
  Lanes<T> lanes;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    PND_UNROLL
    for (int j = 0; j < Lanes<T>::kVectors; ++j) {
      lanes.v[j] = each(i + j * kWidth<T>, lanes.v[j]);
    }
  }
  if (i < n) {
    T lane[kLanes];
    PND_UNROLL
    for (int j = 0; j < Lanes<T>::kVectors; ++j) {
      store(lane + j * kWidth<T>, lanes.v[j]);
    }
    for (int l = 0; i + l < n; ++l) lane[l] = tail(i + l, lane[l]);
    PND_UNROLL
    for (int j = 0; j < Lanes<T>::kVectors; ++j) {
      lanes.v[j] = load(lane + j * kWidth<T>);
    }
  }
  return lanes.fold();
}

// The usual sums of rows.
template <class T>
PND_INLINE T sum_of(const T *x, int64_t n) {
  return lane_sum<T>(
      n, [&](int64_t i, Vec<T> lane) { return lane + load(x + i); },
      [&](int64_t i, T lane) { return lane + x[i]; });
}
template <class T>
PND_INLINE T dot_of(const T *x, const T *y, int64_t n) {
  return lane_sum<T>(
      n, [&](int64_t i, Vec<T> lane) { return fma(load(x + i), load(y + i), lane); },
      [&](int64_t i, T lane) { return fma(x[i], y[i], lane); });
}
