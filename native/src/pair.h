// SPDX-License-Identifier: Apache-2.0
// pair: the numbers that products multiply and the type of their sums. A processor with AVX512_BF16
// takes bf16 in pairs, two neighbours along the sum in 32 bits: sum + x[0] y[0] + x[1] y[1] in one
// instruction, in floats. It reads subnormal numbers as zeros and writes zeros for them. Other
// processors multiply bf16 as floats.
#pragma once

#include "simd.h"

#include "bf16.h"

#if defined(__AVX512BF16__)
struct Pair {
  Bf16 low, high;  // of the lower and the higher place in the sum
};
template <>
struct VectorOf<Pair> {
  typedef uint32_t aligned __attribute__((vector_size(kVectorBytes)));
  typedef uint32_t unaligned __attribute__((vector_size(kVectorBytes), aligned(2), may_alias));
};
template <>
PND_INLINE Vec<Pair> splat(Pair x) {
  return splat(__builtin_bit_cast(uint32_t, x));
}
PND_INLINE Vec<float> plus_product(Vec<float> sum, Vec<Pair> x, Vec<Pair> y) {
  return (Vec<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
}
#else
struct Pair;
#endif
// sum + x y, rounded once.
template <class V>
PND_INLINE V plus_product(V sum, V x, V y) {
  return fma(x, y, sum);
}

// What an element of a stored type is packed as, what it is summed in, and how many of them lie in
// one packed unit.
#if defined(__AVX512BF16__)
using Bf16Unit = Pair;
#else
using Bf16Unit = float;
#endif
template <class S>
using UnitOf = std::conditional_t<std::is_same_v<S, Bf16>, Bf16Unit, S>;
template <class T>
using SumOf = std::conditional_t<std::is_same_v<T, Pair>, float, T>;
template <class T>
constexpr int64_t kPerUnit = std::is_same_v<T, Pair> ? 2 : 1;
template <class T>
PND_INLINE int64_t units_of(int64_t count) {
  return (count + kPerUnit<T> - 1) / kPerUnit<T>;
}
