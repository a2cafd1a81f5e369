// SPDX-License-Identifier: Apache-2.0
// pointwise: affine, power, exp, log, tanh, sigmoid; add, sub, mul, div, maximum, greater.
// y[i] = f(x[i]);  y[o,m,i] = f(a[o,m,i], b[o,i])
// Shapes   x, y [n]; y, a [outer, mid, inner]; b [outer, inner]
// Method   packs of 16 bytes (packs.cuh); the place in b by two divisions per pack where mid > 1
// Order    each element alone: the CPU's bits
// Error    formulas.h; the rest rounded once
// Work     1 flop and 2 or 3 element moves per element
// Source   elementary
#include "packs.cuh"

#include "guards/pointwise.h"
#include "scalar.cuh"

namespace {

template <class T, class F>
struct ByOne {
  T *y;
  const T *x;
  F f;
  __device__ void operator()(Stretch<T> at) const {
    Pack<T> v = at.load(x);
#pragma unroll
    for (T &element : v.at) element = f(element);
    at.store(y, v);
  }
};

// Equal shapes.
template <class T, class F>
struct ByTwo {
  T *y;
  const T *a, *b;
  F f;
  __device__ void operator()(Stretch<T> at) const {
    Pack<T> v = at.load(a);
    const Pack<T> w = at.load(b);
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) v.at[j] = f(v.at[j], w.at[j]);
    at.store(y, v);
  }
};

// b repeated along the middle axis.
template <class T, class F>
struct ByRepeated {
  T *y;
  const T *a, *b;
  int64_t mid, inner;
  F f;
  __device__ void operator()(Stretch<T> at) const {
    Pack<T> v = at.load(a);
    const int64_t row = quotient(at.first, inner);
    int64_t o = quotient(row, mid), m = row - o * mid, i = at.first - row * inner;
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) {
      if (j >= at.rest) break;
      v.at[j] = f(v.at[j], b[o * inner + i]);
      if (++i < inner) continue;
      i = 0;
      if (++m < mid) continue;
      m = 0;
      ++o;
    }
    at.store(y, v);
  }
};

template <template <class> class F, class... A>
int32_t apply(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
              int64_t n, A... constants) {
  Call call(context, name);
  guard::apply(call, dtype, y, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return each_pack<T>(call, context, n, aligned_rows(0, y, x),
                        ByOne<T, F<T>>{static_cast<T *>(y), static_cast<const T *>(x),
                                       F<T>{static_cast<T>(constants)...}});
  });
}

template <template <class> class F>
int32_t combine(pnd_context *context, const char *name, int32_t dtype, void *y, const void *a,
                const void *b, int64_t outer, int64_t mid, int64_t inner) {
  Call call(context, name);
  guard::combine(call, dtype, y, a, b, outer, mid, inner);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *left = static_cast<const T *>(a), *right = static_cast<const T *>(b);
    const int64_t n = outer * mid * inner;
    if (mid == 1) {
      return each_pack<T>(call, context, n, aligned_rows(0, y, a, b),
                          ByTwo<T, F<T>>{to, left, right, F<T>{}});
    }
    return each_pack<T>(call, context, n, aligned_rows(0, y, a),
                        ByRepeated<T, F<T>>{to, left, right, mid, inner, F<T>{}});
  });
}

template <class T>
struct Affine {
  T scale, shift;
  __device__ T operator()(T x) const { return fma(scale, x, shift); }
};

// x^exponent as the header lists it.
template <class T>
struct Power {
  T exponent;
  __device__ T operator()(T x) const {
    if (exponent == T(-2)) return T(1) / (x * x);
    if (exponent == T(-1)) return T(1) / x;
    if (exponent == T(-0.5)) return T(1) / sqrt(x);
    if (exponent == T(0)) return T(1);
    if (exponent == T(0.5)) return sqrt(x);
    if (exponent == T(1)) return x;
    if (exponent == T(2)) return x * x;
    if (exponent == T(3)) return x * (x * x);
    return exp_of(exponent * log_of(x));
  }
};

template <class T>
struct Exp {
  __device__ T operator()(T x) const { return exp_of(x); }
};
template <class T>
struct Log {
  __device__ T operator()(T x) const { return log_of(x); }
};
template <class T>
struct Tanh {
  __device__ T operator()(T x) const { return tanh_of(x); }
};
template <class T>
struct Sigmoid {
  __device__ T operator()(T x) const { return sigmoid_of(x); }
};

template <class T>
struct Add {
  __device__ T operator()(T a, T b) const { return a + b; }
};
template <class T>
struct Sub {
  __device__ T operator()(T a, T b) const { return a - b; }
};
template <class T>
struct Mul {
  __device__ T operator()(T a, T b) const { return a * b; }
};
template <class T>
struct Div {
  __device__ T operator()(T a, T b) const { return a / b; }
};
template <class T>
struct Maximum {
  __device__ T operator()(T a, T b) const { return a < b || b != b ? b : a; }
};
template <class T>
struct Greater {
  __device__ T operator()(T a, T b) const { return a > b ? T(1) : T(0); }
};

}  // namespace

int32_t pnd_affine(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                   double scale, double shift) {
  return apply<Affine>(context, "affine", dtype, y, x, n, scale, shift);
}

int32_t pnd_power(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                  double exponent) {
  return apply<Power>(context, "power", dtype, y, x, n, exponent);
}

int32_t pnd_exp(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply<Exp>(context, "exp", dtype, y, x, n);
}

int32_t pnd_log(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply<Log>(context, "log", dtype, y, x, n);
}

int32_t pnd_tanh(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply<Tanh>(context, "tanh", dtype, y, x, n);
}

int32_t pnd_sigmoid(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply<Sigmoid>(context, "sigmoid", dtype, y, x, n);
}

int32_t pnd_add(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine<Add>(context, "add", dtype, y, a, b, outer, mid, inner);
}

int32_t pnd_sub(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine<Sub>(context, "sub", dtype, y, a, b, outer, mid, inner);
}

int32_t pnd_mul(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine<Mul>(context, "mul", dtype, y, a, b, outer, mid, inner);
}

int32_t pnd_div(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine<Div>(context, "div", dtype, y, a, b, outer, mid, inner);
}

int32_t pnd_maximum(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                    int64_t outer, int64_t mid, int64_t inner) {
  return combine<Maximum>(context, "maximum", dtype, y, a, b, outer, mid, inner);
}

int32_t pnd_greater(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                    int64_t outer, int64_t mid, int64_t inner) {
  return combine<Greater>(context, "greater", dtype, y, a, b, outer, mid, inner);
}
