// SPDX-License-Identifier: Apache-2.0
// optimiser: one step of AdamW, one of momentum descent, in place.
// adamw: first = beta1 first + (1 - beta1) g;  second = beta2 second + (1 - beta2) g^2;
//   parameter -= rate (first / (1 - beta1^t) / (sqrt(second / (1 - beta2^t)) + eps)
//                      + decay parameter),  g = scale gradient
// sgd: velocity = momentum velocity + scale gradient + decay parameter;
//   parameter -= rate velocity
// Shapes   parameter, first, second, velocity, gradient [n]; rate, scale, step [1]; no aliasing
// Method   one pass, packs of 16 bytes. What does not depend on the element is made in double by
//          one thread of each block, from the rate, scale and step found on the device: with
//          r = sqrt(1 - beta2^t) the change is rate r / (1 - beta1^t) first / (sqrt(second) + r
//          eps); powers of beta by squaring. A step below 1 is noted and changes nothing
// Order    each element alone: the CPU's bits
// Error    adamw 2 ULP of the largest of parameter, change and rate; sgd <= 2 x the plain loop
// Work     adamw 15 flops and 7 moves per element; sgd 7 and 5
// Source   Loshchilov, Hutter, arXiv:1711.05101, algorithm 2
#include "guards/optimiser.h"
#include "packs.cuh"
#include "ptx.cuh"

namespace {

// 1 - beta^t: with q = 1 - beta^s, 1 - beta^2s = 2 q - q^2. No difference of nearly equal numbers.
__device__ double one_minus_power(double beta, int32_t t) {
  double result = 0, q = 1 - beta;
  for (; t > 0; t /= 2, q = fma(-q, q, q + q)) {
    if (t % 2 == 1) result = fma(-result, q, result + q);
  }
  return result;
}

template <class T>
struct Adam {
  T *parameter, *first, *second;
  const T *gradient, *rate;
  const int32_t *step;
  const T *scale;
  double beta1, beta2, eps, decay;
  Range steps;

  struct Constants {
    T keep1, take1, keep2, take2, back, floor, shrink, factor;
    bool valid;
  };
  __device__ void prepare(Constants &c) const {
    c.valid = steps.holds(0, *step);
    if (!c.valid) return;
    const double speed = *rate;
    const double lift1 = 1 / one_minus_power(beta1, *step);
    const double root2 = sqrt(one_minus_power(beta2, *step));
    c.keep1 = static_cast<T>(beta1), c.take1 = static_cast<T>(1 - beta1);
    c.keep2 = static_cast<T>(beta2), c.take2 = static_cast<T>(1 - beta2);
    c.back = static_cast<T>(-speed * lift1 * root2), c.floor = static_cast<T>(eps * root2);
    c.shrink = static_cast<T>(-speed * decay);
    c.factor = *scale;
  }
  __device__ void update(const Constants &c, Stretch<T> at) const {
    const Pack<T> g = at.load(gradient);
    Pack<T> p = at.load(parameter), m = at.load(first), v = at.load(second);
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) {
      const T slope = g.at[j] * c.factor, old = p.at[j];
      m.at[j] = fma(c.keep1, m.at[j], c.take1 * slope);
      v.at[j] = fma(c.keep2, v.at[j], c.take2 * slope * slope);
      p.at[j] = fma(c.back, m.at[j] / (sqrt(v.at[j]) + c.floor), fma(c.shrink, old, old));
    }
    at.store(first, m);
    at.store(second, v);
    at.store(parameter, p);
  }
};

template <class T>
struct Descent {
  T *parameter, *velocity;
  const T *gradient, *rate, *scale;
  T keep, shrink;

  struct Constants {
    T back, factor;
    bool valid;
  };
  __device__ void prepare(Constants &c) const {
    c.back = -*rate, c.factor = *scale;
    c.valid = true;
  }
  __device__ void update(const Constants &c, Stretch<T> at) const {
    const Pack<T> g = at.load(gradient);
    Pack<T> p = at.load(parameter), v = at.load(velocity);
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) {
      const T old = p.at[j];
      v.at[j] = fma(shrink, old, fma(keep, v.at[j], g.at[j] * c.factor));
      p.at[j] = fma(c.back, v.at[j], old);
    }
    at.store(velocity, v);
    at.store(parameter, p);
  }
};

template <class T, class Step>
__global__ void __launch_bounds__(kMapThreads) step_kernel(int64_t n, bool aligned, Step step) {
  using Constants = typename Step::Constants;
  Constants *made = shared_memory<Constants>();
  if (threadIdx.x == 0) step.prepare(*made);
  __syncthreads();
  const Constants constants = *made;
  if (!constants.valid) return;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kMapThreads * kWide<T>;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  for (int64_t i = thread * kWide<T>; i < n; i += stride) {
    step.update(constants, Stretch<T>{i, n - i, aligned});
  }
}

template <class T, class Step>
int32_t take(Call &call, pnd_context *context, int64_t n, bool aligned, Step step) {
  return launch(call, context, step_kernel<T, Step>,
                dim3(grid_for(context, n, kMapThreads * kWide<T>)), dim3(kMapThreads),
                sizeof(typename Step::Constants), n, aligned, step);
}

}  // namespace

int32_t pnd_adamw(pnd_context *context, int32_t dtype, void *parameter, void *first, void *second,
                  const void *gradient, const void *rate, const int32_t *step, const void *scale,
                  int64_t n, double beta1, double beta2, double eps, double decay) {
  Call call(context, "adamw");
  guard::adamw(call, dtype, parameter, first, second, gradient, rate, step, scale, n, beta1, beta2,
               eps, decay);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    return take<T>(call, context, n, aligned_rows(0, parameter, first, second, gradient),
                   Adam<T>{static_cast<T *>(parameter), static_cast<T *>(first),
                           static_cast<T *>(second), static_cast<const T *>(gradient),
                           static_cast<const T *>(rate), step, static_cast<const T *>(scale), beta1,
                           beta2, eps, decay, Range{context->faults, kStep, 1, int64_t{1} << 31}});
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
    return take<T>(
        call, context, n, aligned_rows(0, parameter, velocity, gradient),
        Descent<T>{static_cast<T *>(parameter), static_cast<T *>(velocity),
                   static_cast<const T *>(gradient), static_cast<const T *>(rate),
                   static_cast<const T *>(scale), static_cast<T>(momentum), static_cast<T>(decay)});
  });
}
