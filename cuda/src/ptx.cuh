// SPDX-License-Identifier: Apache-2.0
// ptx.cuh: what CUDA C++ lacks, one wrapper per instruction, and a block's shared memory. Nothing
// else holds inline PTX; the simulator has the same wrappers (simulator/ptx.h), on the processor.
#pragma once

#include <cuda_runtime.h>

#ifdef PND_SIMULATED
#include "ptx.h"
#else

// The block's dynamic shared memory, undefined at first.
template <class T>
__device__ __forceinline__ T *shared_memory() {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  return reinterpret_cast<T *>(shared_bytes);
}

#endif
