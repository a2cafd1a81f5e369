// SPDX-License-Identifier: Apache-2.0
// activation.cuh: the formulas of gelu and silu for one element. (activation.cu)
#pragma once

#include <limits>

#include "scalar.cuh"

struct Gelu {
  // From here on the gate is 0 or 1; the slope is computed within, where no product overflows.
  static constexpr double kBound = 32;
  static constexpr double kLinear = 0x1.9884533d43651p+0;  // 2 sqrt(2/pi)
  static constexpr double kCubic = 0.044715 * kLinear;
  template <class T>
  static __device__ __forceinline__ T argument(T x) {
    return x * fma(x * x, static_cast<T>(kCubic), static_cast<T>(kLinear));
  }
  template <class T>
  static __device__ __forceinline__ T slope(T x) {
    return fma(x * x, static_cast<T>(3 * kCubic), static_cast<T>(kLinear));
  }
};

struct Silu {
  static constexpr double kBound = 1000;
  template <class T>
  static __device__ __forceinline__ T argument(T x) {
    return x;
  }
  template <class T>
  static __device__ __forceinline__ T slope(T) {
    return 1;
  }
};

template <class T>
constexpr T kLowest = std::numeric_limits<T>::lowest();

// x times its gate.
template <class Gate, class T>
__device__ __forceinline__ T gated(T x) {
  const T t = Gate::argument(x);
  const T e = exp_of_negative(t < 0 ? t : -t);
  // -infinity times the gate 0 would be NaN.
  const T finite = kLowest<T> > x ? kLowest<T> : x;
  return finite * (t < 0 ? e : T(1)) / (1 + e);
}

// The derivative of that.
template <class Gate, class T>
__device__ __forceinline__ T gate_slope(T x) {
  constexpr T kBound = static_cast<T>(Gate::kBound);
  x = x < -kBound ? -kBound : x > kBound ? kBound : x;
  const T t = Gate::argument(x);
  const T e = exp_of_negative(t < 0 ? t : -t), r = 1 / (1 + e);
  return fma(x * Gate::slope(x), e * r * r, (t < 0 ? e : T(1)) * r);
}
