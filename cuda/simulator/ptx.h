// SPDX-License-Identifier: Apache-2.0
// ptx: the wrappers of cuda/src/ptx.cuh on the processor, each with the meaning that the PTX manual
// gives its instruction.
#pragma once

#include <cuda_runtime.h>

template <class T>
T *shared_memory() {
  return reinterpret_cast<T *>(simulator::self().shared);
}
