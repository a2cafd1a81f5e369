// SPDX-License-Identifier: Apache-2.0
// scalar.cuh: what shared/formulas.h asks for, for one float or double of a thread.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#define PND_SHARED __host__ __device__ __forceinline__
#define PND_UNROLL _Pragma("unroll")

template <class V>
using Element = V;

PND_SHARED float larger(float a, float b) { return a > b ? a : b; }
PND_SHARED double larger(double a, double b) { return a > b ? a : b; }
PND_SHARED float smaller(float a, float b) { return a < b ? a : b; }
PND_SHARED double smaller(double a, double b) { return a < b ? a : b; }
// a clamped to [0, most], which fits an int.
PND_SHARED int within(int64_t a, int64_t most) {
  return static_cast<int>(a < 0 ? 0 : a < most ? a : most);
}
template <class V>
PND_SHARED V choose(bool test, V a, V b) {
  return test ? a : b;
}
PND_SHARED uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
PND_SHARED uint64_t bits_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
PND_SHARED float of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
PND_SHARED double of_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// After what they build on.
#include "angle.h"
#include "bf16.h"
#include "formulas.h"

// What is computed from a stored type.
template <class T>
using Computed = std::conditional_t<std::is_same_v<T, Bf16>, float, T>;

PND_SHARED float widened(float x) { return x; }
PND_SHARED double widened(double x) { return x; }

// As a T, rounded once.
template <class T>
PND_SHARED T stored(Computed<T> x) {
  return converted<T>(x);
}
