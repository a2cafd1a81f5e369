// SPDX-License-Identifier: Apache-2.0
// context: life cycle, memory, recorded calls and failures of a CUDA context.
#include "context.cuh"

#include <algorithm>
#include <cstdio>
#include <map>
#include <new>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blas.cuh"
#include "guards/context.h"

struct Holdings {
  std::unordered_map<void *, int64_t> blocks;  // what pnd_allocate gave out, in bytes
  std::set<void *> graphs;
  std::vector<std::pair<void *, int64_t>> old_scratch;   // what graphs may still read, in bytes
  std::map<std::pair<const void *, size_t>, int> rooms;  // by kernel and shared memory
};

namespace {

// What the arrays of Checked are called, and whose they are.
struct Named {
  const char *call, *array;
  int low;
};
constexpr Named kNames[kCheckedArrays] = {{"gather", "index", 0},
                                          {"scatter_add", "index", 0},
                                          {"one_hot", "index", -1},
                                          {"cross_entropy", "target", -1},
                                          {"cross_entropy_backward", "target", -1},
                                          {"put", "start", 0},
                                          {"attention", "lengths", 0},
                                          {"attention", "q_starts", 0},
                                          {"attention", "k_starts", 0},
                                          {"attention_backward", "lengths", 0},
                                          {"attention_backward", "q_starts", 0},
                                          {"attention_backward", "k_starts", 0},
                                          {"gru", "lengths", 0},
                                          {"gru_backward", "lengths", 0},
                                          {"lstm", "lengths", 0},
                                          {"lstm_backward", "lengths", 0},
                                          {"top_k_read", "lengths", 0},
                                          {"top_k_read_backward", "index", -1},
                                          {"fast_weights", "lengths", 0},
                                          {"fast_weights_backward", "lengths", 0},
                                          {"feedback", "first", 0},
                                          {"feedback_backward", "first", 0},
                                          {"feedback", "lengths", 0},
                                          {"feedback_backward", "lengths", 0},
                                          {"adamw", "step", 1}};

// After a wait: refuses what kernels noted, and clears it.
int32_t report(Call &call, pnd_context *context) {
  const Faults &found = *context->found;
  for (int i = 0; i < kCheckedArrays; ++i) {
    if (found.first[i] == ~0ull) continue;
    char rule[64];
    if (found.rule[i] == kBelow) {
      std::snprintf(rule, sizeof rule, "lie in [%d, %u)", kNames[i].low, found.number[i]);
    } else {
      const char *words = found.rule[i] == kExactly ? "be %u" : "not be below %u";
      std::snprintf(rule, sizeof rule, words, found.number[i]);
    }
    call.require(false, "%s: %s[%llu] = %d must %s", kNames[i].call, kNames[i].array,
                 found.first[i] >> 32, static_cast<int>(found.first[i]), rule);
  }
  if (!call.refused()) return PND_OK;
  const int32_t status =
      check(call, context, cudaMemsetAsync(context->faults, 0xFF, sizeof(Faults), context->stream));
  return status == PND_OK ? call.status() : status;
}

// Waits for all earlier work, and for the faults it noted.
int32_t wait(Call &call, pnd_context *context) {
  int32_t status = check(call, context,
                         cudaMemcpyAsync(context->found, context->faults, sizeof(Faults),
                                         cudaMemcpyDeviceToHost, context->stream));
  if (status == PND_OK) status = check(call, context, cudaStreamSynchronize(context->stream));
  return status == PND_OK ? report(call, context) : status;
}

// Refuses bytes that there is no room for, with all that tells how much there is.
Call &no_room(Call &call, const pnd_context *context, const char *asked, int64_t bytes,
              const char *why) {
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  return call.refuse(PND_OUT_OF_MEMORY,
                     "%lld bytes %s, %lld of %lld in use, %lld free on the device: %s",
                     static_cast<long long>(bytes), asked, static_cast<long long>(context->used),
                     static_cast<long long>(context->limit), static_cast<long long>(free), why);
}

// Refuses what a recording cannot hold.
Call &not_recorded(Call &call, const pnd_context *context) {
  return call.require(!context->records, "not while calls are recorded");
}

}  // namespace

int32_t check(Call &call, pnd_context *context, cudaError_t error) {
  if (error == cudaSuccess) return PND_OK;
  cudaGetLastError();
  context->failed = true;
  return call.refuse(PND_DEVICE_FAILED, "the device failed: %s", cudaGetErrorString(error))
      .status();
}

int64_t room_for_blocks(Call &call, pnd_context *context, const void *kernel, int threads,
                        size_t shared_bytes) {
  auto &rooms = context->holdings->rooms;
  const auto known = rooms.find({kernel, shared_bytes});
  if (known != rooms.end()) return int64_t{known->second} * context->multiprocessors;
  int blocks = 0;
  const cudaError_t error =
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes);
  if (check(call, context, error) != PND_OK) return 0;
  try {
    rooms.emplace(std::make_pair(kernel, shared_bytes), blocks);
  } catch (...) {
    call.refuse(PND_OUT_OF_MEMORY, "the host has no memory for what a kernel needs");
  }
  return int64_t{blocks} * context->multiprocessors;
}

Call &Call::reserve(int64_t, int64_t shared_bytes) {
  if (refused()) return *this;
  auto *context = static_cast<pnd_context *>(context_);
  if (shared_bytes <= context->scratch_size) return *this;
  require(!context->records,
          "needs more scratch memory than any call before it: run the step once "
          "before it is recorded");
  if (refused()) return *this;
  const int64_t others = context->used - context->scratch_size;
  cudaSetDevice(context->device);
  const auto refuse_for = [&](const char *why) -> Call & {
    return no_room(*this, context, "of scratch memory asked", shared_bytes, why);
  };
  if (shared_bytes > context->limit - others) return refuse_for("beyond the limit");
  void *scratch = nullptr;
  if (cudaMalloc(&scratch, static_cast<size_t>(shared_bytes)) != cudaSuccess) {
    cudaGetLastError();
    return refuse_for("the device has no more");
  }
  if (context->holdings->graphs.empty()) {
    cudaFree(context->scratch);  // waits for the work that uses it
    context->used = others;
  } else if (context->scratch != nullptr) {
    try {
      context->holdings->old_scratch.emplace_back(context->scratch, context->scratch_size);
    } catch (...) {
      cudaFree(scratch);
      return refuse_for("the host has no more");
    }
  }
  context->scratch = scratch;
  context->scratch_size = shared_bytes;
  context->used += shared_bytes;
  context->peak = std::max(context->peak, context->used);
  return *this;
}

int32_t pnd_open(pnd_context **context, int32_t device, int32_t threads, int64_t memory_limit) {
  const int32_t status = guard::open(context, threads, memory_limit);
  if (status != PND_OK) return status;
  int driver = 0, count = 0;  // the newest CUDA that the driver serves, as 1000 major + 10 minor
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    cudaGetLastError();
    return refuse_open(PND_UNSUPPORTED, "this machine has no CUDA driver");
  }
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    return refuse_open(PND_UNSUPPORTED,
                       "the CUDA driver serves CUDA %d.%d, this library needs %d.%d", driver / 1000,
                       driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  if (counted != cudaSuccess) {
    cudaGetLastError();
    return refuse_open(PND_UNSUPPORTED, "this machine has no CUDA device: %s",
                       cudaGetErrorString(counted));
  }
  if (device < 0 || device >= count) {
    return refuse_open(PND_UNSUPPORTED, "there is no CUDA device %d; this machine has %d", device,
                       count);
  }
  auto *made = new (std::nothrow) pnd_context{};
  auto *holdings = new (std::nothrow) Holdings;
  if (made == nullptr || holdings == nullptr) {
    delete made;
    delete holdings;
    return refuse_open(PND_OUT_OF_MEMORY, "no memory for a context");
  }
  made->holdings = holdings;
  made->device = device;
  size_t free = 0, total = 0;
  int together = 0;
  cudaError_t error = cudaSetDevice(device);
  const auto ask = [&](int32_t *value, cudaDeviceAttr attribute) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, device);
  };
  ask(&made->multiprocessors, cudaDevAttrMultiProcessorCount);
  ask(&made->most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  ask(&together, cudaDevAttrCooperativeLaunch);
  made->together = together != 0;
  if (error == cudaSuccess) {
    error = cudaStreamCreateWithFlags(&made->stream, cudaStreamNonBlocking);
  }
  if (error == cudaSuccess) {
    error = cudaMalloc(reinterpret_cast<void **>(&made->faults), sizeof(Faults));
  }
  if (error == cudaSuccess) {
    error = cudaMallocHost(reinterpret_cast<void **>(&made->found), sizeof(Faults));
  }
  if (error == cudaSuccess) {
    error = cudaMemsetAsync(made->faults, 0xFF, sizeof(Faults), made->stream);
  }
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error != cudaSuccess) {
    cudaGetLastError();
    pnd_close(made);
    return refuse_open(PND_DEVICE_FAILED, "the device failed: %s", cudaGetErrorString(error));
  }
  made->limit = memory_limit == 0 ? static_cast<int64_t>(free / 5 * 4) : memory_limit;
  *context = made;
  return PND_OK;
}

int32_t pnd_close(pnd_context *context) {
  {
    Call call(context, "close");
    if (call.refused()) return call.status();
  }
  // A failed device refuses these, too; there is nothing more to be done about it.
  cudaSetDevice(context->device);
  if (context->stream != nullptr) {
    if (context->records) {
      cudaGraph_t graph = nullptr;
      cudaStreamEndCapture(context->stream, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
    }
    cudaStreamSynchronize(context->stream);
  }
  for (void *graph : context->holdings->graphs) {
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
  }
  close_blas(context->blas);
  for (const auto &block : context->holdings->blocks) cudaFree(block.first);
  for (const auto &scratch : context->holdings->old_scratch) cudaFree(scratch.first);
  cudaFree(context->scratch);
  cudaFree(context->faults);
  cudaFreeHost(context->found);
  if (context->stream != nullptr) cudaStreamDestroy(context->stream);
  cudaGetLastError();
  delete context->holdings;
  delete context;
  return PND_OK;
}

int32_t pnd_message(pnd_context *context, char *text, int64_t capacity) {
  return read_message(context, text, capacity);
}

int32_t pnd_abi_version(pnd_context *, int32_t *version) { return read_abi_version(version); }

int32_t pnd_build(pnd_context *, char *text, int64_t capacity) {
  return read_build(text, capacity);
}

int32_t pnd_memory(pnd_context *context, int64_t *used, int64_t *peak, int64_t *limit) {
  return read_memory(context, used, peak, limit);
}

int32_t pnd_threads(pnd_context *context, int32_t *threads) {
  Call call(context, "threads");
  guard::threads(call, threads);
  if (call.refused()) return call.status();
  *threads = 1;
  return PND_OK;
}

int32_t pnd_stream(pnd_context *context, void **stream) {
  Call call(context, "stream");
  guard::stream(call, stream);
  if (call.refused()) return call.status();
  *stream = context->stream;
  return PND_OK;
}

int32_t pnd_allocate(pnd_context *context, void **memory, int64_t bytes) {
  Call call(context, "allocate");
  guard::allocate(call, memory, bytes);
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  *memory = nullptr;
  cudaSetDevice(context->device);
  const auto refuse = [&](const char *why) {
    return no_room(call, context, "asked", bytes, why).status();
  };
  if (bytes > context->limit - context->used) return refuse("beyond the limit");
  void *block = nullptr;
  if (cudaMalloc(&block, static_cast<size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();
    return refuse("the device has no more");
  }
  try {
    context->holdings->blocks.emplace(block, bytes);
  } catch (...) {
    cudaFree(block);
    return refuse("the host has no more");
  }
  context->used += bytes;
  context->peak = std::max(context->peak, context->used);
  *memory = block;
  return PND_OK;
}

int32_t pnd_release(pnd_context *context, void *memory) {
  Call call(context, "release");
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  auto &blocks = context->holdings->blocks;
  const auto block = blocks.find(memory);
  call.require(block != blocks.end(), "memory %p did not come from allocate", memory);
  if (call.refused()) return call.status();
  context->used -= block->second;
  blocks.erase(block);
  return check(call, context, cudaFree(memory));
}

int32_t pnd_upload(pnd_context *context, void *to, const void *from, int64_t bytes) {
  Call call(context, "upload");
  guard::copy(call, to, from, bytes);
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  // The caller's memory may change as soon as this returns: CUDA has read pageable memory by then,
  // and pinned memory is waited for.
  const int32_t status = check(call, context,
                               cudaMemcpyAsync(to, from, static_cast<size_t>(bytes),
                                               cudaMemcpyHostToDevice, context->stream));
  return status == PND_OK ? check(call, context, cudaStreamSynchronize(context->stream)) : status;
}

int32_t pnd_download(pnd_context *context, void *to, const void *from, int64_t bytes) {
  Call call(context, "download");
  guard::copy(call, to, from, bytes);
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  const int32_t status = check(call, context,
                               cudaMemcpyAsync(to, from, static_cast<size_t>(bytes),
                                               cudaMemcpyDeviceToHost, context->stream));
  return status == PND_OK ? wait(call, context) : status;
}

int32_t pnd_copy(pnd_context *context, void *to, const void *from, int64_t bytes) {
  Call call(context, "copy");
  guard::copy(call, to, from, bytes);
  if (call.refused()) return call.status();
  return check(call, context,
               cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                               context->stream));
}

int32_t pnd_synchronize(pnd_context *context) {
  Call call(context, "synchronize");
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  return wait(call, context);
}

int32_t pnd_record(pnd_context *context) {
  Call call(context, "record");
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  cudaSetDevice(context->device);
  const int32_t status =
      check(call, context, cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeRelaxed));
  context->records = status == PND_OK;
  return status;
}

int32_t pnd_recorded(pnd_context *context, void **graph) {
  Call call(context, "recorded");
  guard::recorded(call, graph);
  if (call.refused()) return call.status();
  *graph = nullptr;
  call.require(context->records, "no recording has begun");
  if (call.refused()) return call.status();
  cudaSetDevice(context->device);
  context->records = false;
  cudaGraph_t recorded = nullptr;
  int32_t status = check(call, context, cudaStreamEndCapture(context->stream, &recorded));
  if (status != PND_OK) return status;
  cudaGraphExec_t program = nullptr;
  status = check(call, context, cudaGraphInstantiate(&program, recorded, 0));
  cudaGraphDestroy(recorded);
  if (status != PND_OK) return status;
  try {
    context->holdings->graphs.insert(program);
  } catch (...) {
    cudaGraphExecDestroy(program);
    return call.refuse(PND_OUT_OF_MEMORY, "the host has no memory for a graph").status();
  }
  *graph = program;
  return PND_OK;
}

int32_t pnd_launch(pnd_context *context, void *graph) {
  Call call(context, "launch");
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  call.require(context->holdings->graphs.count(graph) > 0, "graph %p is none of this context",
               graph);
  if (call.refused()) return call.status();
  cudaSetDevice(context->device);
  return check(call, context,
               cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), context->stream));
}

int32_t pnd_release_graph(pnd_context *context, void *graph) {
  Call call(context, "release_graph");
  if (call.refused() || not_recorded(call, context).refused()) return call.status();
  call.require(context->holdings->graphs.erase(graph) > 0, "graph %p is none of this context",
               graph);
  if (call.refused()) return call.status();
  cudaSetDevice(context->device);
  const int32_t status =
      check(call, context, cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
  auto &holdings = *context->holdings;
  if (status != PND_OK || !holdings.graphs.empty()) return status;
  for (const auto &scratch : holdings.old_scratch) {
    context->used -= scratch.second;
    check(call, context, cudaFree(scratch.first));
  }
  holdings.old_scratch.clear();
  return call.status();
}
