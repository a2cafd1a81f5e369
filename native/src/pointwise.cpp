// SPDX-License-Identifier: Apache-2.0
// pointwise: functions of one element, and of two with the second broadcast.
// y[i] = f(x[i]);  y[o,m,i] = f(a[o,m,i], b[o,i])
// Shapes   x, y [n]; y, a [outer, mid, inner]; b [outer, inner]; row-major, contiguous, no aliasing
// Method   whole vectors, the last one overlapping its neighbour. Short rows of b are repeated to
//          whole vectors once per block of a; a single b per row is a constant of its loop
// Order    each element alone
// Error    affine, add, sub, mul, div, maximum, greater: correctly rounded; exp, log, tanh,
//          sigmoid: formulas.h; power: one rounding per product, quotient and root, other
//          exponents e: exp(e log x), relative error about |e log x| x 2^-24 (2^-53)
// Work     1 flop (affine 2), one read per operand and one write per element
// Source   native/shared/formulas.h for exp, log, tanh and sigmoid
#include "map.h"

#include "formulas.h"
#include "guards/pointwise.h"

namespace {

// map(y, x) fills y.
template <class Map>
int32_t unary(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
              int64_t n, Map &&map) {
  Call call(context, name);
  guard::apply(call, dtype, y, x, n);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    map(static_cast<T *>(y), static_cast<const T *>(x));
  });
}
// By a single operation, and by a formula.
template <class F>
int32_t apply(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
              int64_t n, F f) {
  return unary(context, name, dtype, y, x, n,
               [&](auto *to, auto *from) { map_all(context, kSerialMove, to, n, f, from); });
}
template <class F>
int32_t apply_formula(pnd_context *context, const char *name, int32_t dtype, void *y, const void *x,
                      int64_t n, F f) {
  return unary(context, name, dtype, y, x, n,
               [&](auto *to, auto *from) { map_formula(context, to, n, f, from); });
}

// x^exponent as the header lists it; kind names the exponent where it is listed.
enum class Power { kMinusTwo, kMinusOne, kMinusHalf, kZero, kHalf, kOne, kTwo, kThree, kOther };

Power kind_of(double exponent) {
  constexpr double kListed[] = {-2, -1, -0.5, 0, 0.5, 1, 2, 3};
  int kind = 0;
  while (kind < 8 && exponent != kListed[kind]) ++kind;
  return static_cast<Power>(kind);
}

// Rows [first, last) of all outer x mid, one value of b each block.
template <class T, class F>
void column_rows(T *y, const T *a, const T *b, int64_t first, int64_t last, int64_t mid, F f) {
  while (first < last) {
    const int64_t o = first / mid, end = std::min(last, (o + 1) * mid);
    const Vec<T> value = splat<T>(b[o]);
    map_run(
        y + first, end - first, [&](Vec<T> x) { return f(x, value); }, a + first);
    first = end;
  }
}

constexpr int64_t kShortRow = 64;   // the longest row of b that is repeated to whole vectors
constexpr int64_t kManyRows = 32;   // the fewest rows that pay for it
constexpr int64_t kFewVectors = 8;  // the fewest vectors of a pattern

// The same with 1 < inner <= kShortRow and mid >= kManyRows.
template <class T, class F>
void short_rows(T *y, const T *a, const T *b, int64_t first, int64_t last, int64_t mid,
                int64_t inner, F f) {
  T pattern[kShortRow * kWidth<T>];
  const int64_t vectors = inner < kFewVectors ? kFewVectors / inner * inner : inner;
  const int64_t period = vectors * kWidth<T>;
  while (first < last) {
    const int64_t o = first / mid, end = std::min(last, (o + 1) * mid);
    const int64_t n = (end - first) * inner;
    for (int64_t i = 0; i < period && i < n; i += inner) {
      for (int64_t j = 0; j < inner; ++j) pattern[i + j] = b[o * inner + j];
    }
    for (int64_t i = 0; i < n; i += period) {
      map_run(y + first * inner + i, std::min(period, n - i), f, a + first * inner + i, pattern);
    }
    first = end;
  }
}

// Any rows.
template <class T, class F>
void plain_rows(T *y, const T *a, const T *b, int64_t first, int64_t last, int64_t mid,
                int64_t inner, F f) {
  for (int64_t r = first; r < last; ++r) {
    map_run(y + r * inner, inner, f, a + r * inner, b + r / mid * inner);
  }
}

template <class F>
int32_t combine(pnd_context *context, const char *name, int32_t dtype, void *y, const void *a,
                const void *b, int64_t outer, int64_t mid, int64_t inner, F f) {
  Call call(context, name);
  guard::combine(call, dtype, y, a, b, outer, mid, inner);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    T *to = static_cast<T *>(y);
    const T *left = static_cast<const T *>(a), *right = static_cast<const T *>(b);
    if (mid == 1) {
      map_all(context, kSerialMove, to, outer * inner, f, left, right);
      return;
    }
    parallel_rows(context, outer * mid, inner, kSerialMove, [&](int64_t r0, int64_t r1, int) {
      if (inner == 1) {
        column_rows(to, left, right, r0, r1, mid, f);
      } else if (inner <= kShortRow && mid >= kManyRows) {
        short_rows(to, left, right, r0, r1, mid, inner, f);
      } else {
        plain_rows(to, left, right, r0, r1, mid, inner, f);
      }
    });
  });
}

}  // namespace

int32_t pnd_affine(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                   double scale, double shift) {
  return apply(context, "affine", dtype, y, x, n, [=](auto v) {
    using V = decltype(v);
    using T = Element<V>;
    return fma(constant<V>(static_cast<T>(scale)), v, constant<V>(static_cast<T>(shift)));
  });
}

int32_t pnd_power(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                  double exponent) {
  const auto run = [&](auto f) { return apply(context, "power", dtype, y, x, n, f); };
  const auto one = [](auto v) { return constant<decltype(v)>(1); };
  switch (kind_of(exponent)) {
    case Power::kMinusTwo:
      return run([=](auto v) { return one(v) / (v * v); });
    case Power::kMinusOne:
      return run([=](auto v) { return one(v) / v; });
    case Power::kMinusHalf:
      return run([=](auto v) { return one(v) / root(v); });
    case Power::kZero:
      return run([=](auto v) { return one(v); });
    case Power::kHalf:
      return run([](auto v) { return root(v); });
    case Power::kOne:
      return run([](auto v) { return v; });
    case Power::kTwo:
      return run([](auto v) { return v * v; });
    case Power::kThree:
      return run([](auto v) { return v * (v * v); });
    case Power::kOther:
      break;
  }
  return apply_formula(context, "power", dtype, y, x, n, [=](auto v) PND_INLINED {
    using V = decltype(v);
    return exp_of(constant<V>(static_cast<Element<V>>(exponent)) * log_of(v));
  });
}

int32_t pnd_exp(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply_formula(context, "exp", dtype, y, x, n,
                       [](auto v) PND_INLINED { return exp_of(v); });
}

int32_t pnd_log(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply_formula(context, "log", dtype, y, x, n,
                       [](auto v) PND_INLINED { return log_of(v); });
}

int32_t pnd_tanh(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply_formula(context, "tanh", dtype, y, x, n,
                       [](auto v) PND_INLINED { return tanh_of(v); });
}

int32_t pnd_sigmoid(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n) {
  return apply_formula(context, "sigmoid", dtype, y, x, n,
                       [](auto v) PND_INLINED { return sigmoid_of(v); });
}

int32_t pnd_add(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine(context, "add", dtype, y, a, b, outer, mid, inner,
                 [](auto s, auto t) { return s + t; });
}

int32_t pnd_sub(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine(context, "sub", dtype, y, a, b, outer, mid, inner,
                 [](auto s, auto t) { return s - t; });
}

int32_t pnd_mul(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine(context, "mul", dtype, y, a, b, outer, mid, inner,
                 [](auto s, auto t) { return s * t; });
}

int32_t pnd_div(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                int64_t outer, int64_t mid, int64_t inner) {
  return combine(context, "div", dtype, y, a, b, outer, mid, inner,
                 [](auto s, auto t) { return s / t; });
}

int32_t pnd_maximum(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                    int64_t outer, int64_t mid, int64_t inner) {
  return combine(context, "maximum", dtype, y, a, b, outer, mid, inner,
                 [](auto s, auto t) { return choose((s < t) | (t != t), t, s); });
}

int32_t pnd_greater(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                    int64_t outer, int64_t mid, int64_t inner) {
  return combine(context, "greater", dtype, y, a, b, outer, mid, inner, [](auto s, auto t) {
    using V = decltype(s);
    return choose(s > t, constant<V>(1), constant<V>(0));
  });
}
