// SPDX-License-Identifier: Apache-2.0
// bf16: the upper half of a float as a type of storage. Before this file stand bits_of and of_bits,
// as before formulas.h.
// Error    widening is exact; narrowing rounds once, to nearest and halves to even, what is too
//          large to infinity; every NaN becomes 0x7fff
// Source   round to odd: Boldo, Melquiond, IEEE Transactions on Computers 57(4), 2008
#pragma once

#include <cstdint>
#include <type_traits>

#include "ponder.h"

#ifndef PND_SHARED
#define PND_SHARED inline __attribute__((always_inline))
#endif

struct Bf16 {
  uint16_t bits;
};

PND_SHARED float widened(Bf16 x) { return of_bits(uint32_t{x.bits} << 16); }

PND_SHARED Bf16 narrowed(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return {static_cast<uint16_t>(x == x ? rounded : 0x7fffu)};
}

// Through the float rounded to odd: it keeps on which side of a half the double lies.
PND_SHARED Bf16 narrowed(double x) {
  const float near = static_cast<float>(x);
  if (near == x || x != x) return narrowed(near);
  const bool beyond = x < 0 ? near < x : near > x;
  return narrowed(of_bits((bits_of(near) - (beyond ? 1u : 0u)) | 1u));
}

// As a To, rounded once.
template <class To, class From>
PND_SHARED To converted(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<To, Bf16>) {
    return narrowed(x);
  } else if constexpr (std::is_same_v<From, Bf16>) {
    return static_cast<To>(widened(x));
  } else {
    return static_cast<To>(x);
  }
}

// Runs f(Bf16{}), f(double{}) or f(float{}), whichever the arrays hold.
template <class F>
inline void by_stored_type(int32_t dtype, F &&f) {
  if (dtype == PND_BF16) return f(Bf16{});
  dtype == PND_F64 ? f(double{}) : f(float{});
}
