// SPDX-License-Identifier: Apache-2.0
// faults.h: what a case of the planted faults consists of: device memory, a launch, an outcome.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ptx.cuh"

// Memory of the device, NaN at first. Each array has its own block, whose end a sanitizer knows.
template <class T>
class Array {
 public:
  explicit Array(size_t n) : n_(n) {
    if (cudaMalloc(reinterpret_cast<void **>(&data_), n * sizeof(T)) != cudaSuccess) std::abort();
  }
  explicit Array(const std::vector<T> &values) : Array(values.size()) {
    std::memcpy(data_, values.data(), n_ * sizeof(T));
  }
  ~Array() { cudaFree(data_); }
  Array(const Array &) = delete;
  T *data() const { return data_; }
  std::vector<T> values() const { return {data_, data_ + n_}; }

 private:
  size_t n_;
  T *data_ = nullptr;
};

struct Outcome {
  std::string error;  // of the launch; none: empty
  std::vector<float> got, want;
};

// A stream of the seed in the environment.
class Launcher {
 public:
  Launcher() { cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); }
  ~Launcher() { cudaStreamDestroy(stream_); }
  Launcher(const Launcher &) = delete;

  template <class... P, class... A>
  std::string run(void (*kernel)(P...), unsigned blocks, unsigned threads, size_t shared_floats,
                  A... arguments) {
    return run_with(0, kernel, blocks, threads, shared_floats, arguments...);
  }
  // Blocks that run at the same time.
  template <class... P, class... A>
  std::string run_together(void (*kernel)(P...), unsigned blocks, unsigned threads,
                           size_t shared_floats, A... arguments) {
    return run_with(1, kernel, blocks, threads, shared_floats, arguments...);
  }

 private:
  template <class... P, class... A>
  std::string run_with(int together, void (*kernel)(P...), unsigned blocks, unsigned threads,
                       size_t shared_floats, A... arguments) {
    const size_t bytes = shared_floats * sizeof(float);
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)) != cudaSuccess) {
      return "too much shared memory";
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = bytes;
    config.stream = stream_;
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = together;
    config.attrs = &attribute;
    config.numAttrs = 1;
    const cudaError_t error = cudaLaunchKernelEx(&config, kernel, P(arguments)...);
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
  }

  cudaStream_t stream_ = nullptr;
};

inline std::vector<float> counting(size_t n, float first = 1) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = first + static_cast<float>(i);
  return x;
}

// A kernel as it should be, and with its fault.
struct Case {
  Outcome (*right)();
  Outcome (*faulty)();
};
extern const std::map<std::string, Case> kHopperCases;
