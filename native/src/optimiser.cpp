// SPDX-License-Identifier: Apache-2.0
// optimiser: one step of AdamW, one of momentum descent, in place.
// adamw: first = beta1 first + (1 - beta1) g;  second = beta2 second + (1 - beta2) g^2;
//   parameter -= rate (first / (1 - beta1^t) / (sqrt(second / (1 - beta2^t)) + eps)
//                      + decay parameter),  g = scale gradient
// sgd: velocity = momentum velocity + scale gradient + decay parameter;
//   parameter -= rate velocity
// Shapes   parameter, first, second, velocity, gradient [n]; rate, scale, step [1]; no aliasing
// Method   one pass. What does not depend on the element is made in double, once per call: with
//          r = sqrt(1 - beta2^t) the change is rate r / (1 - beta1^t) first / (sqrt(second) + r
//          eps); powers of beta by squaring
// Order    each element alone
// Error    adamw 2 ULP of the largest of parameter, change and rate; sgd <= 2 x the plain loop
// Work     adamw 15 flops and 7 moves per element; sgd 7 and 5
// Source   Loshchilov, Hutter, arXiv:1711.05101, algorithm 2
#include "guards/optimiser.h"
#include "map.h"

namespace {

// 1 - beta^t: with q = 1 - beta^s, 1 - beta^2s = 2 q - q^2. No difference of nearly equal numbers.
double one_minus_power(double beta, int32_t t) {
  double result = 0, q = 1 - beta;
  for (; t > 0; t /= 2, q = fma(-q, q, q + q)) {
    if (t % 2 == 1) result = fma(-result, q, result + q);
  }
  return result;
}

}  // namespace

int32_t pnd_adamw(pnd_context *context, int32_t dtype, void *parameter, void *first, void *second,
                  const void *gradient, const void *rate, const int32_t *step, const void *scale,
                  int64_t n, double beta1, double beta2, double eps, double decay) {
  Call call(context, "adamw");
  guard::adamw(call, dtype, parameter, first, second, gradient, rate, step, scale, n, beta1, beta2,
               eps, decay);
  if (call.refused()) return call.status();
  call.size("step[0]", *step);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const auto value = [](double x) { return splat<T>(static_cast<T>(x)); };
    const double speed = *static_cast<const T *>(rate);
    const double lift1 = 1 / one_minus_power(beta1, *step);
    const double root2 = root(one_minus_power(beta2, *step));
    const Vec<T> keep1 = value(beta1), take1 = value(1 - beta1);
    const Vec<T> keep2 = value(beta2), take2 = value(1 - beta2);
    const Vec<T> back = value(-speed * lift1 * root2), floor = value(eps * root2);
    const Vec<T> shrink = value(-speed * decay);
    const Vec<T> factor = splat<T>(*static_cast<const T *>(scale));
    T *p = static_cast<T *>(parameter), *m = static_cast<T *>(first), *v = static_cast<T *>(second);
    parallel_lines(context, n, kSerialMove, [&](int64_t from, int64_t to) {
      // The constants are copied: no store can change the copies, so they stay in registers.
      each_vector<T>(to - from, [=](int64_t i, auto get, auto put) {
        i += from;
        const Vec<T> g = get(static_cast<const T *>(gradient) + i) * factor, old = get(p + i);
        const Vec<T> mean = fma(keep1, get(m + i), take1 * g);
        const Vec<T> square = fma(keep2, get(v + i), take2 * g * g);
        put(m + i, mean);
        put(v + i, square);
        put(p + i, fma(back, mean / (root(square) + floor), fma(shrink, old, old)));
      });
    });
  });
}

int32_t pnd_sgd(pnd_context *context, int32_t dtype, void *parameter, void *velocity,
                const void *gradient, const void *rate, const void *scale, int64_t n,
                double momentum, double decay) {
  Call call(context, "sgd");
  guard::sgd(call, dtype, parameter, velocity, gradient, rate, scale, n, momentum, decay);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const Vec<T> keep = splat<T>(static_cast<T>(momentum));
    const Vec<T> shrink = splat<T>(static_cast<T>(decay));
    const Vec<T> back = splat<T>(-*static_cast<const T *>(rate));
    const Vec<T> factor = splat<T>(*static_cast<const T *>(scale));
    T *p = static_cast<T *>(parameter), *v = static_cast<T *>(velocity);
    parallel_lines(context, n, kSerialMove, [&](int64_t from, int64_t to) {
      each_vector<T>(to - from, [=](int64_t i, auto get, auto put) {
        i += from;
        const Vec<T> g = get(static_cast<const T *>(gradient) + i) * factor, old = get(p + i);
        const Vec<T> speed = fma(shrink, old, fma(keep, get(v + i), g));
        put(v + i, speed);
        put(p + i, fma(back, speed, old));
      });
    });
  });
}
