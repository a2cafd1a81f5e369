// SPDX-License-Identifier: Apache-2.0
// map.cuh: a function of an element's number, for every element.
#pragma once

#include "context.cuh"

constexpr int kMapThreads = 256;

template <class F>
__global__ void __launch_bounds__(kMapThreads) each_kernel(int64_t n, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kMapThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x; i < n; i += step) {
    f(i);
  }
}

// Calls f(i) for each i in [0, n) on the device.
template <class F>
int32_t each(Call &call, pnd_context *context, int64_t n, F f) {
  constexpr int64_t kPerBlock = 4 * kMapThreads;
  return launch(call, context, each_kernel<F>, dim3(grid_for(context, n, kPerBlock)),
                dim3(kMapThreads), 0, n, f);
}
