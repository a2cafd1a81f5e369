// SPDX-License-Identifier: Apache-2.0
// warp.cuh: a thread's place among the warps of a one-dimensional block.
#pragma once

#include <cuda_runtime.h>

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

__device__ __forceinline__ int lane_number() { return static_cast<int>(threadIdx.x % kWarp); }
__device__ __forceinline__ int warp_number() { return static_cast<int>(threadIdx.x / kWarp); }
