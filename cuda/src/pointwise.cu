// SPDX-License-Identifier: Apache-2.0
// pointwise: affine, power, exp, log, tanh, sigmoid; add, sub, mul, div, maximum, greater.
// y[i] = f(x[i]);  y[o,m,i] = f(a[o,m,i], b[o,i])
// Shapes   x, y [n]; y, a [outer, mid, inner]; b [outer, inner]
// Method   a loop over all threads (map.cuh); the place in b by two divisions where mid > 1
// Order    each element alone: the CPU's bits
// Error    formulas.h; the rest rounded once
// Work     1 flop and 2 or 3 element moves per element
// Source   elementary
#include "map.cuh"

#include "scalar.cuh"

namespace {

template <class T, class F>
struct ByOne {
  T *y;
  const T *x;
  F f;
  __device__ void operator()(int64_t i) const { y[i] = f(x[i]); }
};

template <class T, class F>
struct ByTwo {
  T *y;
  const T *a, *b;
  int64_t mid, inner;
  F f;
  __device__ void operator()(int64_t i) const {
    const int64_t j = mid == 1 ? i : i / (mid * inner) * inner + i % inner;
    y[i] = f(a[i], b[j]);
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
    return each(call, context, n,
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
    return each(call, context, outer * mid * inner,
                ByTwo<T, F<T>>{static_cast<T *>(y), static_cast<const T *>(a),
                               static_cast<const T *>(b), mid, inner, F<T>{}});
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
