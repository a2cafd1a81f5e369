// SPDX-License-Identifier: Apache-2.0
// context.cuh: what a kernel file needs from its context: argument checks (shared/call.h),
// scratch memory, launches, and the place where a kernel reports an index that is out of its range.
#pragma once

#include <cuda_runtime.h>

#include "call.h"

// The index arrays that kernels check.
enum Checked {
  kGather,
  kScatterAdd,
  kOneHot,
  kTarget,
  kTargetBackward,
  kPut,
  kLengths,
  kQStarts,
  kKStarts,
  kLengthsBackward,
  kQStartsBackward,
  kKStartsBackward,
  kGruLengths,
  kGruLengthsBackward,
  kLstmLengths,
  kLstmLengthsBackward,
  kTopKLengths,
  kTopKIndex,
  kMemoryLengths,
  kMemoryLengthsBackward,
  kFeedbackFirst,
  kFeedbackFirstBackward,
  kFeedbackLengths,
  kFeedbackLengthsBackward,
  kStep,
  kCheckedArrays
};

// What a value breaks: that it lies below the end of its range, is a certain one, is not below one.
enum Rule : unsigned { kBelow, kExactly, kAtLeast };

// What kernels found: of each array the first place that breaks a rule and what stood there, in the
// upper and lower half of `first` (all bits set: nothing), the rule and its number.
struct Faults {
  unsigned long long first[kCheckedArrays];
  unsigned rule[kCheckedArrays], number[kCheckedArrays];
};

struct pnd_context : Caller {
  int32_t device;
  int32_t multiprocessors;
  int32_t most_shared;  // dynamic shared memory of a block, in bytes
  bool together;        // whether blocks of a launch can wait for each other
  cudaStream_t stream;
  Faults *faults;  // on the device
  Faults *found;   // on the host, pinned: where faults are copied to
  void *scratch;   // on the device
  int64_t scratch_size;
  bool records;
  struct Blas *blas;          // blas.cuh
  struct Holdings *holdings;  // what the context must release
};

// Index values in [low, end), checked where they are read.
struct Range {
  Faults *faults;
  Checked array;
  int low;
  int64_t end;

  // Whether the value, which stands at that place, lies in the range; if not, it is noted.
  __device__ __forceinline__ bool holds(int64_t place, int value) const {
    if (value >= low && value < end) return true;
    const auto where = static_cast<unsigned long long>(place < 0xffffffff ? place : 0xffffffff);
    atomicMin(&faults->first[array], where << 32 | static_cast<unsigned>(value));
    atomicExch(&faults->rule[array], kBelow);
    atomicExch(&faults->number[array], static_cast<unsigned>(end));
    return false;
  }
};

// The largest grid that a loop over all threads needs: more blocks than run at once gain nothing.
inline unsigned grid_for(const pnd_context *context, int64_t items, int64_t items_per_block) {
  const int64_t wanted = (items + items_per_block - 1) / items_per_block;
  const int64_t most = static_cast<int64_t>(context->multiprocessors) * 16;
  return static_cast<unsigned>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

// Notes what CUDA says; an error ends the device's work and is the call's status.
int32_t check(Call &call, pnd_context *context, cudaError_t error);

// Lets a kernel have that much shared memory: all that there is, as the limit is the process's, and
// another thread may be between setting and launching.
template <class... P>
cudaError_t allow_shared(const pnd_context *context, void (*kernel)(P...), size_t shared_bytes) {
  constexpr size_t kUsualShared = 48 << 10;
  if (shared_bytes <= kUsualShared) return cudaSuccess;
  if (shared_bytes > static_cast<size_t>(context->most_shared)) return cudaErrorInvalidValue;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              context->most_shared);
}

// launch below, with an attribute or null.
template <class... P, class... A>
int32_t launch_with(Call &call, pnd_context *context, cudaLaunchAttribute *attribute,
                    void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                    A... arguments) {
  cudaSetDevice(context->device);  // the calling thread's own, which another context may have set
  const cudaError_t allowed = allow_shared(context, kernel, shared_bytes);
  if (allowed != cudaSuccess) return check(call, context, allowed);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context->stream;
  config.attrs = attribute;
  config.numAttrs = attribute == nullptr ? 0 : 1;
  return check(call, context, cudaLaunchKernelEx(&config, kernel, P(arguments)...));
}

// Launches kernel<<<grid, block, shared_bytes>>>(arguments...) on the context's stream.
template <class... P, class... A>
int32_t launch(Call &call, pnd_context *context, void (*kernel)(P...), dim3 grid, dim3 block,
               size_t shared_bytes, A... arguments) {
  return launch_with(call, context, nullptr, kernel, grid, block, shared_bytes, arguments...);
}

// Launches that many blocks, of which a kernel's first argument tells the number of the first one:
// more than one launch where there are more than a grid can have.
template <class... P, class... A>
int32_t launch_blocks(Call &call, pnd_context *context, void (*kernel)(P...), int64_t blocks,
                      dim3 block, size_t shared_bytes, A... arguments) {
  constexpr int64_t kMost = 0x7fffffff;
  int32_t status = PND_OK;
  for (int64_t first = 0; first < blocks && status == PND_OK; first += kMost) {
    const int64_t now = blocks - first < kMost ? blocks - first : kMost;
    status = launch(call, context, kernel, dim3(static_cast<unsigned>(now)), block, shared_bytes,
                    first, arguments...);
  }
  return status;
}

// How many blocks of a kernel the device runs at the same time; asked once for each size.
int64_t room_for_blocks(Call &call, pnd_context *context, const void *kernel, int threads,
                        size_t shared_bytes);

// How many blocks a launch_together may have; 0: no such launch can be.
template <class... P>
int64_t blocks_together(Call &call, pnd_context *context, void (*kernel)(P...), int threads,
                        size_t shared_bytes) {
  if (!context->together || shared_bytes > static_cast<size_t>(context->most_shared)) return 0;
  cudaSetDevice(context->device);
  if (check(call, context, allow_shared(context, kernel, shared_bytes)) != PND_OK) return 0;
  return room_for_blocks(call, context, reinterpret_cast<const void *>(kernel), threads,
                         shared_bytes);
}

// Launches blocks that all run at the same time, so that they can wait for each other:
// cooperative_groups::this_grid().sync().
template <class... P, class... A>
int32_t launch_together(Call &call, pnd_context *context, void (*kernel)(P...), dim3 grid,
                        dim3 block, size_t shared_bytes, A... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  return launch_with(call, context, &attribute, kernel, grid, block, shared_bytes, arguments...);
}
