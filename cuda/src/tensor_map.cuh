// SPDX-License-Identifier: Apache-2.0
// tensor_map.cuh: describes a tensor and its boxes for bulk copies (hopper.cuh), on the host. The
// encoding is the driver's, which is asked for it at run time: nothing is linked to a driver.
// Source   CUDA driver API, cuTensorMapEncodeTiled; narrower boxes than the swizzle's bytes are
//          refused, for it is not written where their rows would lie
#pragma once

#include "call.h"
#include "hopper.cuh"

// A tensor of bf16 or f32 in global memory, its innermost dimension first and contiguous, from
// which boxes are copied.
struct TensorBoxes {
  const void *data;
  int element_bytes;    // 2: bf16, 4: f32
  int rank;             // 2 to 4
  uint64_t sizes[4];    // elements
  uint64_t strides[4];  // bytes; that of dimension 0 is not looked at
  uint32_t box[4];      // elements
  Swizzle swizzle;
};

// The rule that the boxes break; none: null.
inline const char *broken_rule(const TensorBoxes &t) {
  constexpr uint64_t kMostSize = uint64_t{1} << 32, kMostStride = uint64_t{1} << 40;
  if (t.element_bytes != 2 && t.element_bytes != 4) return "elements have 2 or 4 bytes";
  if (t.rank < 2 || t.rank > 4) return "a tensor has 2 to 4 dimensions";
  if (t.data == nullptr || reinterpret_cast<uintptr_t>(t.data) % 16 != 0) {
    return "a tensor is aligned to 16 bytes";
  }
  for (int i = 0; i < t.rank; ++i) {
    if (t.sizes[i] < 1 || t.sizes[i] > kMostSize) return "a size is between 1 and 2^32";
    if (t.box[i] < 1 || t.box[i] > 256) return "a box has 1 to 256 elements in each dimension";
    if (i > 0 && (t.strides[i] % 16 != 0 || t.strides[i] < 16 || t.strides[i] >= kMostStride)) {
      return "a stride is a multiple of 16 bytes below 2^40";
    }
  }
  const uint32_t row = t.box[0] * static_cast<uint32_t>(t.element_bytes);
  if (row % 16 != 0) return "a row of a box is a multiple of 16 bytes";
  if (t.swizzle != Swizzle::None && row != 16u << static_cast<int>(t.swizzle)) {
    return "a row of a swizzled box has the swizzle's bytes";
  }
  return nullptr;
}

// The map of such a tensor, for a kernel. PND_UNSUPPORTED where the driver cannot encode one.
inline int32_t make_tensor_map(Call &call, TensorMap *map, const TensorBoxes &t) {
  if (const char *rule = broken_rule(t)) {
    return call.refuse(PND_BAD_ARGUMENT, "a tensor map: %s", rule).status();
  }
#ifdef PND_SIMULATED
  *map = {};
  map->data = static_cast<char *>(const_cast<void *>(t.data));
  map->element_bytes = static_cast<unsigned>(t.element_bytes);
  map->rank = t.rank;
  map->swizzle = t.swizzle;
  for (int i = 0; i < t.rank; ++i) {
    map->sizes[i] = t.sizes[i];
    map->strides[i] = i == 0 ? map->element_bytes : t.strides[i];
    map->box[i] = t.box[i];
  }
#else
  constexpr unsigned kSince = 12000;
  void *found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, kSince, cudaEnableDefault,
                                       &result) != cudaSuccess ||
      result != cudaDriverEntryPointSuccess || found == nullptr) {
    cudaGetLastError();  // told here
    return call.refuse(PND_UNSUPPORTED, "tensor maps need a driver of CUDA 12.0 or newer").status();
  }
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  const CUtensorMapSwizzle kinds[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                      CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult encoded = encode(
      map,
      t.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
      static_cast<cuuint32_t>(t.rank), const_cast<void *>(t.data), t.sizes, t.strides + 1, t.box,
      steps, CU_TENSOR_MAP_INTERLEAVE_NONE, kinds[static_cast<int>(t.swizzle)],
      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (encoded != CUDA_SUCCESS) {
    return call
        .refuse(PND_UNSUPPORTED, "this device has no tensor maps (driver error %d)",
                static_cast<int>(encoded))
        .status();
  }
#endif
  return PND_OK;
}
