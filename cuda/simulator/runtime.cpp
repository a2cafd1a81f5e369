// SPDX-License-Identifier: Apache-2.0
// runtime: CUDA's runtime library for one simulated device. Memory is the host's and starts as NaN;
// streams run their work at once; a capture keeps it for replays. A stream's threads run in the
// order of the seed in PONDER_SIMULATOR_SEED when it is made; its launch of the number in
// PONDER_SIMULATOR_FAILS fails, as those of a broken device. Of memory it gives as
// many bytes more as PONDER_SIMULATOR_MEMORY says when it is set, else what the machine can give.
// It has no cooperative launches while PONDER_SIMULATOR_APART is set.
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"

namespace simulator {

struct Recording {
  std::vector<std::function<cudaError_t()>> steps;
};

struct Stream {
  unsigned seed = 0;
  unsigned long fails_in = 0;  // 0: never
  bool captures = false;
  Recording recording;

  // Now, or at every replay.
  cudaError_t take(std::function<cudaError_t()> step) {
    if (!captures) return step();
    recording.steps.push_back(std::move(step));
    return cudaSuccess;
  }
};

namespace {

constexpr int kMultiprocessors = 4;
constexpr unsigned kMostThreads = 1024;
// What blocks of a multiprocessor share: few threads, as each costs a stack.
constexpr uint64_t kThreadsAtOnce = 512;
constexpr size_t kSharedAtOnce = 228 << 10, kReserved = 1 << 10;
constexpr size_t kUsualShared = 48 << 10;
constexpr size_t kMemoryAlignment = 256;  // as cudaMalloc's

std::mutex guard;
std::unordered_map<const void *, size_t> allowed_shared;
std::unordered_map<const void *, size_t> allocated;
size_t allocated_bytes = 0;
thread_local std::string failure;

// The bytes that the device has left; all there can be where nobody says how many.
size_t left() {
  static std::string said;
  static size_t most = SIZE_MAX;
  const char *memory = std::getenv("PONDER_SIMULATOR_MEMORY");
  if (memory == nullptr) {
    said.clear();
    return SIZE_MAX;
  }
  if (said != memory) {
    said = memory;
    most = allocated_bytes + std::strtoul(memory, nullptr, 10);
  }
  return most - std::min(most, allocated_bytes);
}

// How many blocks a multiprocessor runs at the same time.
uint64_t blocks_at_once(uint64_t threads, size_t shared_bytes) {
  return std::min(std::max<uint64_t>(1, kThreadsAtOnce / threads),
                  kSharedAtOnce / (shared_bytes + kReserved));
}

}  // namespace

void allow_shared(const void *kernel, size_t bytes) {
  const std::lock_guard<std::mutex> held(guard);
  allowed_shared[kernel] = bytes;
}

cudaError_t launch(const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, bool together,
                   Stream *stream, std::function<void()> body) {
  constexpr unsigned kMostX = 0x7fffffff, kMostYZ = 0xffff;
  const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.x > kMostX || grid.y > kMostYZ ||
      grid.z > kMostYZ || threads < 1 || threads > kMostThreads || block.z > 64) {
    return cudaErrorInvalidConfiguration;
  }
  {
    const std::lock_guard<std::mutex> held(guard);
    const auto allowed = allowed_shared.find(kernel);
    const size_t most = allowed == allowed_shared.end() ? kUsualShared : allowed->second;
    if (shared_bytes > most || shared_bytes > kMostShared) return cudaErrorInvalidValue;
  }
  const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
  if (together && blocks > kMultiprocessors * blocks_at_once(threads, shared_bytes)) {
    return cudaErrorCooperativeLaunchTooLarge;
  }
  return stream->take([=, seed = stream->seed, body = std::move(body)] {
    if (stream->fails_in > 0 && --stream->fails_in == 0) {
      failure = "a failure that was asked for";
      return cudaErrorLaunchFailure;
    }
    const std::string error = run(grid, block, shared_bytes, seed, together, body);
    if (error.empty()) return cudaSuccess;
    failure = error;
    return cudaErrorLaunchFailure;
  });
}

}  // namespace simulator

using simulator::Recording;

cudaError_t cudaDriverGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = simulator::kMultiprocessors;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(simulator::kMostShared);
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = std::getenv("PONDER_SIMULATOR_APART") == nullptr;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  const std::lock_guard<std::mutex> held(simulator::guard);
  struct sysinfo info;
  sysinfo(&info);
  *total = info.totalram * static_cast<size_t>(info.mem_unit);
  *free = std::min(info.freeram * static_cast<size_t>(info.mem_unit), simulator::left());
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
  const std::lock_guard<std::mutex> held(simulator::guard);
  if (bytes > simulator::left() ||
      posix_memalign(memory, simulator::kMemoryAlignment, bytes) != 0) {
    return cudaErrorMemoryAllocation;
  }
  std::memset(*memory, 0xFF, bytes);
  simulator::allocated[*memory] = bytes;
  simulator::allocated_bytes += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
  const std::lock_guard<std::mutex> held(simulator::guard);
  const auto found = simulator::allocated.find(memory);
  if (found != simulator::allocated.end()) {
    simulator::allocated_bytes -= found->second;
    simulator::allocated.erase(found);
  }
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) { return cudaMalloc(memory, bytes); }

cudaError_t cudaFreeHost(void *memory) { return cudaFree(memory); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new simulator::Stream;
  if (const char *seed = std::getenv("PONDER_SIMULATOR_SEED")) {
    (*stream)->seed = static_cast<unsigned>(std::strtoul(seed, nullptr, 10));
  }
  if (const char *launch = std::getenv("PONDER_SIMULATOR_FAILS")) {
    (*stream)->fails_in = std::strtoul(launch, nullptr, 10);
  }
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream->captures ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return stream->take([=] {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  return stream->take([=] {
    std::memset(to, value, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->captures = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  stream->captures = false;
  *graph = new Recording(std::move(stream->recording));
  stream->recording = {};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *program, cudaGraph_t graph, unsigned long long) {
  *program = new Recording(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t program, cudaStream_t) {
  for (const auto &step : program->steps) {
    if (const cudaError_t error = step(); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t program) {
  delete program;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads,
                                                          size_t shared_bytes) {
  *blocks =
      static_cast<int>(simulator::blocks_at_once(static_cast<uint64_t>(threads), shared_bytes));
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorCooperativeLaunchTooLarge:
      return "too many blocks in cooperative launch";
    case cudaErrorLaunchFailure:
      return simulator::failure.c_str();
    default:
      return "error of the simulated device";
  }
}
