// SPDX-License-Identifier: Apache-2.0
// cuda_runtime: what the kernels and the context use of CUDA's language and runtime library, on the
// processor. The names and their meaning are CUDA's. A launch runs before it returns; a stream
// keeps only what is captured. Not here on purpose: __shared__ (ptx.cuh hands out a block's shared
// memory), float atomics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

// ---- the language -------------------------------------------------------------------------------

// threadIdx and its like: what the running thread knows, read where it is used.
template <auto kMember>
struct SimulatedPlace {
  template <auto kAxis>
  struct Axis {
    operator unsigned() const { return simulator::self().*kMember.*kAxis; }
  };
  using Sizes = std::remove_cv_t<std::remove_reference_t<decltype(simulator::self().*kMember)>>;
  Axis<&Sizes::x> x;
  Axis<&Sizes::y> y;
  Axis<&Sizes::z> z;
};
inline constexpr SimulatedPlace<&simulator::Self::thread> threadIdx{};
inline constexpr SimulatedPlace<&simulator::Self::block> blockIdx{};
inline constexpr SimulatedPlace<&simulator::Self::block_size> blockDim{};
inline constexpr SimulatedPlace<&simulator::Self::grid_size> gridDim{};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

#define PND_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(PND_HERE) { simulator::barrier({file, line}); }
inline void __syncwarp(uint32_t mask = simulator::kAllLanes, PND_HERE) {
  simulator::collective(mask, nullptr, [](void **, uint32_t) {}, true, {file, line});
}

// As 8 bytes.
template <class T>
uint64_t simulated_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T simulated_shuffle(uint32_t mask, T value, unsigned source, simulator::Place place) {
  const uint64_t bits = simulator::shuffle(mask, simulated_bits(value), source, place);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, PND_HERE) {
  const unsigned first = simulator::self().lane & ~static_cast<unsigned>(width - 1);
  return simulated_shuffle(mask, value, first + (static_cast<unsigned>(source) & (width - 1)),
                           {file, line});
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32, PND_HERE) {
  const unsigned lane = simulator::self().lane, source = lane ^ static_cast<unsigned>(bits);
  const bool inside = source < (lane & ~static_cast<unsigned>(width - 1)) + width;
  return simulated_shuffle(mask, value, inside ? source : lane, {file, line});
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32, PND_HERE) {
  const unsigned lane = simulator::self().lane;
  const bool inside = lane % width + by < static_cast<unsigned>(width);
  return simulated_shuffle(mask, value, inside ? lane + by : lane, {file, line});
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32, PND_HERE) {
  const unsigned lane = simulator::self().lane;
  return simulated_shuffle(mask, value, lane % width >= by ? lane - by : lane, {file, line});
}
inline uint32_t __ballot_sync(uint32_t mask, bool yes, PND_HERE) {
  return simulator::ballot(mask, yes, {file, line});
}
inline bool __any_sync(uint32_t mask, bool yes, PND_HERE) {
  return simulator::ballot(mask, yes, {file, line}) != 0;
}
inline bool __all_sync(uint32_t mask, bool yes, PND_HERE) {
  return simulator::ballot(mask, yes, {file, line}) == mask;
}

inline unsigned long long atomicMin(unsigned long long *at, unsigned long long value) {
  unsigned long long old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (value < old &&
         !__atomic_compare_exchange_n(at, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
inline unsigned atomicAdd(unsigned *at, unsigned value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline unsigned atomicExch(unsigned *at, unsigned value) {
  return __atomic_exchange_n(at, value, __ATOMIC_RELAXED);
}
inline void __threadfence() { simulator::fence(); }
// A pause in a loop that waits for what other threads do.
inline void __nanosleep(unsigned, PND_HERE) { simulator::yield({file, line}); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline unsigned __float_as_uint(float x) { return static_cast<unsigned>(simulated_bits(x)); }
inline long long __double_as_longlong(double x) {
  return static_cast<long long>(simulated_bits(x));
}
inline float __uint_as_float(unsigned x) {
  float y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
inline double __longlong_as_double(long long x) {
  double y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
template <class T>
T __ldg(const T *at) {
  return *at;
}
using std::fma;
using std::max;
using std::min;
using std::sqrt;

// ---- the runtime library ------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719,
  cudaErrorCooperativeLaunchTooLarge = 720,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrCooperativeLaunch
};
constexpr unsigned cudaStreamNonBlocking = 1;
#define CUDART_VERSION 13000

namespace simulator {

// Captured work.
struct Recording;
struct Stream;

// A kernel's own limits, by its address.
void allow_shared(const void *kernel, size_t bytes);
cudaError_t launch(const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, bool together,
                   Stream *stream, std::function<void()> body);

}  // namespace simulator

using cudaStream_t = simulator::Stream *;
using cudaGraph_t = simulator::Recording *;
using cudaGraphExec_t = simulator::Recording *;

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *program, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t program, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t program);
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel,
                                                          int threads, size_t shared_bytes);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);

enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative = 2 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    int cooperative;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute *attrs = nullptr;
  unsigned numAttrs = 0;
};

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > simulator::kMostShared) {
    return cudaErrorInvalidValue;
  }
  simulator::allow_shared(reinterpret_cast<const void *>(kernel), static_cast<size_t>(value));
  return cudaSuccess;
}

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                               A &&...arguments) {
  bool together = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    together = together || config->attrs[i].val.cooperative != 0;
  }
  return simulator::launch(
      reinterpret_cast<const void *>(kernel), config->gridDim, config->blockDim,
      config->dynamicSmemBytes, together, config->stream,
      [kernel, ... copies = P(std::forward<A>(arguments))] { kernel(copies...); });
}
