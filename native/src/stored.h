// SPDX-License-Identifier: Apache-2.0
// stored: rows of any type of storage, as vectors of what is computed from them. bf16 is computed
// in floats and rounded when it is stored.
#pragma once

#include "pair.h"

// What is computed from a stored type.
template <class S>
using Computed = SumOf<std::conditional_t<std::is_same_v<S, Bf16>, float, S>>;

PND_INLINE float widened(float x) { return x; }
PND_INLINE double widened(double x) { return x; }

// As many numbers of bf16 as a vector has floats.
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

PND_INLINE Vec<float> widened(Halves x) {
  return (Vec<float>)(__builtin_convertvector(x, Vec<uint32_t>) << 16);
}
PND_INLINE Vec<float> load_widened(const Bf16 *p) {
  typedef uint16_t Half __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
  return widened(static_cast<Halves>(*reinterpret_cast<const Half *>(p)));
}

// Each rounded; every NaN becomes 0x7fff.
PND_INLINE Halves narrowed(Vec<float> x) {
#if defined(__AVX512BF16__)
  const auto near = (__m256i)_mm512_cvtneps_pbh((__m512)x);  // which keeps a NaN's bits
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_UNORD_Q);
  return (Halves)_mm256_mask_set1_epi16(near, nan, 0x7fff);
#else
  const Vec<uint32_t> bits = bits_of(x), nan = Vec<uint32_t>{} + 0x7fffu;
  const Vec<uint32_t> rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return __builtin_convertvector(x == x ? rounded : nan, Halves);
#endif
}

// x as it is found again where an S is stored.
template <class S>
PND_INLINE Vec<Computed<S>> rounded(Vec<Computed<S>> x) {
  if constexpr (std::is_same_v<S, Bf16>) {
    return widened(narrowed(x));
  } else {
    return x;
  }
}

// As many elements as there are of a row of which `left` are left (left >= 1); the rest zeros.
template <class S>
PND_INLINE Vec<Computed<S>> read_some(const S *p, int64_t left) {
  if constexpr (!std::is_same_v<S, Bf16>) {
    return load_some(p, left);
  } else {
    if (left >= kWidth<float>) return load_widened(p);
#if defined(__AVX512F__)
    const auto lanes = static_cast<__mmask16>((1u << left) - 1);
    return widened((Halves)_mm256_maskz_loadu_epi16(lanes, p));
#else
    Bf16 piece[kWidth<float>] = {};
    for (int i = 0; i < left; ++i) piece[i] = p[i];
    return load_widened(piece);
#endif
  }
}
template <class S>
PND_INLINE void write_some(S *p, Vec<Computed<S>> x, int64_t left) {
  if constexpr (!std::is_same_v<S, Bf16>) {
    store_some(p, x, left);
  } else {
    const Halves halves = narrowed(x);
#if defined(__AVX512F__)
    const auto lanes = static_cast<__mmask16>(left >= kWidth<float> ? 0xffff : (1u << left) - 1);
    _mm256_mask_storeu_epi16(p, lanes, (__m256i)halves);
#else
    if (left >= kWidth<float>) {
      std::memcpy(static_cast<void *>(p), &halves, sizeof halves);
    } else {
      std::memcpy(static_cast<void *>(p), &halves, left * sizeof(Bf16));
    }
#endif
  }
}

// n elements of a row.
template <class S>
void read_row(Computed<S> *to, const S *from, int64_t n) {
  constexpr int64_t kStep = kWidth<Computed<S>>;
  for (int64_t i = 0; i < n; i += kStep) store_some(to + i, read_some(from + i, n - i), n - i);
}
template <class S>
void write_row(S *to, const Computed<S> *from, int64_t n) {
  constexpr int64_t kStep = kWidth<Computed<S>>;
  for (int64_t i = 0; i < n; i += kStep) write_some(to + i, load_some(from + i, n - i), n - i);
}
