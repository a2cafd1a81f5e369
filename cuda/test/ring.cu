// SPDX-License-Identifier: Apache-2.0
// ring: the ring's products on a device of compute capability 9.0, every layout of hopper.cuh, each
// against plain loops; what a device computes shows whether the simulator has the layouts right.
// Without such a device, or without a driver, it says so and ends well. It is built without a
// warning, a spilled register or a driver to link to.
#include <cstdio>

#include "ring_case.cuh"

namespace {

const char *text(cudaError_t error) {
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

// Whether the device's sums are those of plain loops.
template <class R>
bool holds(const char *name) {
  const RingCase<R> product;
  const size_t a_bytes = product.a.size() * 2, b_bytes = product.b.size() * 2;
  const size_t c_bytes = product.want.size() * sizeof(float), a_end = (a_bytes + 255) / 256 * 256;
  const size_t b_end = a_end + (b_bytes + 255) / 256 * 256;
  char *memory = nullptr;
  std::vector<float> got(product.want.size());
  Caller caller{};
  Call call(&caller, name);
  TensorMap maps[3];
  cudaError_t error = cudaMalloc(&memory, b_end + c_bytes);
  if (error == cudaSuccess &&
      product.describe(call, maps, memory + b_end, memory, memory + a_end) == PND_OK) {
    cudaMemset(memory, 0xFF, b_end + c_bytes);
    cudaMemcpy(memory, product.a.data(), a_bytes, cudaMemcpyHostToDevice);
    cudaMemcpy(memory + a_end, product.b.data(), b_bytes, cudaMemcpyHostToDevice);
    cudaFuncSetAttribute(ring_kernel<R>, cudaFuncAttributeMaxDynamicSharedMemorySize, R::kShared);
    ring_kernel<R><<<product.kBlocks, product.kThreads, R::kShared>>>(maps[0], maps[1], maps[2],
                                                                      product.kSteps);
    error = cudaMemcpy(got.data(), memory + b_end, c_bytes, cudaMemcpyDeviceToHost);
  }
  cudaFree(memory);
  size_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) wrong += got[i] == product.want[i] ? 0 : 1;
  std::printf("%s: %zu of %zu sums differ %s%s\n", name, wrong, got.size(), caller.message,
              text(error));
  return wrong == 0 && error == cudaSuccess;
}

// A driver that is not there is no error of a program, but of the call that needs it.
bool refuses_politely() {
  Caller caller{};
  Call call(&caller, "ring");
  TensorMap maps[3];
  alignas(256) static char nothing[256];
  const int32_t status = RingCase<Ring<64, Swizzle::Bytes128, Major::K, Major::K>>::describe(
      call, maps, nothing, nothing, nothing);
  std::printf("no device of compute capability 9.0; tensor maps: %s\n",
              status == PND_OK ? "can be made" : caller.message);
  return status == PND_OK || status == PND_UNSUPPORTED;
}

}  // namespace

int main() {
  int major = 0, minor = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0) != cudaSuccess ||
      major != 9 || minor != 0) {
    return refuses_politely() ? 0 : 1;
  }
  constexpr Major K = Major::K, M = Major::Other;
  const bool all[] = {holds<Ring<64, Swizzle::Bytes128, K, K>>("128 bytes"),
                      holds<Ring<64, Swizzle::Bytes64, K, K>>("64 bytes"),
                      holds<Ring<64, Swizzle::Bytes32, K, K>>("32 bytes"),
                      holds<Ring<64, Swizzle::None, K, K>>("no swizzle"),
                      holds<Ring<128, Swizzle::Bytes128, M, M>>("128 bytes, turned"),
                      holds<Ring<64, Swizzle::Bytes64, M, M>>("64 bytes, turned"),
                      holds<Ring<64, Swizzle::Bytes32, M, M>>("32 bytes, turned"),
                      holds<Ring<64, Swizzle::None, M, M>>("no swizzle, turned"),
                      holds<Ring<256, Swizzle::Bytes64, K, M, true>>("a in registers")};
  for (const bool one : all) {
    if (!one) return 1;
  }
  return 0;
}
