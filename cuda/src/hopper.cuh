// SPDX-License-Identifier: Apache-2.0
// hopper.cuh: what sm_90a has beyond ptx.cuh, one wrapper per instruction: mbarriers, bulk copies
// (TMA), products of warpgroups (wgmma), register limits; and barriers of parts of a block. These
// two files hold all inline PTX; the simulator has the same wrappers (simulator/hopper.h), on the
// processor. Code for other devices compiles, and traps where it comes to one of them.
// State    compiled for sm_90a, run on the simulator; on no device yet: ring (test/ring.cu) shows
//          there whether the simulator has the layouts right
// Source   PTX ISA 9.0, chapters on mbarrier, cp.async.bulk and wgmma; the layouts' formulas also
//          in CUTLASS, cute/atom/mma_traits_sm90_gmma.hpp
#pragma once

#include "ptx.cuh"

// How 16-byte pieces lie in shared memory: with 32, 64 or 128 bytes, bits 4 and further of an
// address are exchanged for their exclusive or with bits 7 and further, 1, 2 or 3 of them. The
// pattern repeats after 256, 512 or 1024 bytes: tiles start at multiples of that.
enum class Swizzle { None, Bytes32, Bytes64, Bytes128 };

// Along which dimension of a factor neighbours in memory lie: k, or rows of a and columns of b.
enum class Major { K, Other };

#ifdef PND_SIMULATED
#include "hopper.h"
#else

#include <cuda.h>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PND_HOPPER(...) asm volatile(__VA_ARGS__)
#else
#define PND_HOPPER(...) __trap()
#endif

__device__ __forceinline__ uint32_t shared_address(const void *at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// ---- mbarriers ----------------------------------------------------------------------------------

// Counts arrivals and bytes in phases, in shared memory. A phase ends when all arrivals have come
// and as many bytes as they expect; the next one begins at once.
using Mbarrier = uint64_t;

// One thread's; the others see it after fence_async and a barrier.
__device__ __forceinline__ void init_mbarrier(Mbarrier *at, unsigned arrivals) {
  PND_HOPPER("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(at)), "r"(arrivals)
             : "memory");
}

// Its memory may serve otherwise.
__device__ __forceinline__ void end_mbarrier(Mbarrier *at) {
  PND_HOPPER("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(at)) : "memory");
}

// What this thread did before is seen by those who await the phase.
__device__ __forceinline__ void arrive(Mbarrier *at) {
  PND_HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(at)) : "memory");
}

// The same, and the phase lasts until that many bytes more have been copied.
__device__ __forceinline__ void arrive_expecting(Mbarrier *at, unsigned bytes) {
  PND_HOPPER("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(at)),
             "r"(bytes)
             : "memory");
}

// Waits for the end of the phase of that parity, the current one or the one before: the first phase
// has parity 0, and of a new mbarrier the phase of parity 1 has ended.
__device__ __forceinline__ void await_phase(Mbarrier *at, unsigned parity) {
  PND_HOPPER(
      "{\n"
      ".reg .pred ended;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again;\n"
      "}" ::"r"(shared_address(at)),
      "r"(parity)
      : "memory");
}

// What threads wrote to shared memory before it is seen by bulk stores and products after it.
__device__ __forceinline__ void fence_async() {
  PND_HOPPER("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- bulk copies --------------------------------------------------------------------------------

// A tensor in global memory and its boxes (tensor_map.cuh), a kernel's __grid_constant__ parameter.
using TensorMap = CUtensorMap;

// Copies the box at these coordinates, the innermost first, to shared memory, aligned to 128 bytes
// and its swizzle's pattern; zeros where it lies outside of the tensor. All of its bytes count at
// the mbarrier. One thread's.
template <int kRank>
__device__ __forceinline__ void load_box(void *to, const TensorMap &map, const int (&at)[kRank],
                                         Mbarrier *barrier) {
  static_assert(kRank >= 2 && kRank <= 4, "2 to 4 dimensions");
  if constexpr (kRank == 2) {
    PND_HOPPER(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(barrier)), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    PND_HOPPER(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(barrier)), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else {
    PND_HOPPER(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(barrier)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  }
}

// Copies a box from shared memory, but for what lies outside of the tensor. One thread's, after
// fence_async; the memory serves again after await_store_reads.
template <int kRank>
__device__ __forceinline__ void store_box(const TensorMap &map, const int (&at)[kRank],
                                          const void *from) {
  static_assert(kRank >= 2 && kRank <= 4, "2 to 4 dimensions");
  if constexpr (kRank == 2) {
    PND_HOPPER(
        "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
            &map),
        "r"(shared_address(from)), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    PND_HOPPER(
        "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], "
        "[%1];" ::"l"(&map),
        "r"(shared_address(from)), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else {
    PND_HOPPER(
        "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], "
        "[%1];" ::"l"(&map),
        "r"(shared_address(from)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  }
}

// The same for a row of bytes: a multiple of 16, both ends aligned to 16.
__device__ __forceinline__ void load_bulk(void *to, const void *from, unsigned bytes,
                                          Mbarrier *barrier) {
  PND_HOPPER(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
__device__ __forceinline__ void store_bulk(void *to, const void *from, unsigned bytes) {
  PND_HOPPER("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
             "r"(shared_address(from)), "r"(bytes)
             : "memory");
}

// This thread's bulk stores since the last commit become one group.
__device__ __forceinline__ void commit_stores() {
  PND_HOPPER("cp.async.bulk.commit_group;" ::: "memory");
}

// Waits until all but the last kLeft groups have been stored, or only read from shared memory.
template <int kLeft>
__device__ __forceinline__ void await_stores() {
  PND_HOPPER("cp.async.bulk.wait_group %0;" ::"n"(kLeft) : "memory");
}
template <int kLeft>
__device__ __forceinline__ void await_store_reads() {
  PND_HOPPER("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
}

// ---- products of warpgroups ---------------------------------------------------------------------

// No instruction that uses them moves past here.
template <int n>
__device__ __forceinline__ void hold_registers(float (&c)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

// Before a thread's first product, and after other instructions have used the accumulators or
// registers of `a`.
template <int... n>
__device__ __forceinline__ void fence_registers(float (&...c)[n]) {
  (hold_registers(c), ...);
  PND_HOPPER("wgmma.fence.sync.aligned;" ::: "memory");
}

// This warpgroup's products since the last commit become one group.
__device__ __forceinline__ void commit_products() {
  PND_HOPPER("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until all but the last kLeft groups are done; c are accumulators that then may be used.
template <int kLeft, int... n>
__device__ __forceinline__ void await_products(float (&...c)[n]) {
  PND_HOPPER("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
  (hold_registers(c), ...);
}

#define PND_TEN(t) \
  "%" t "0,%" t "1,%" t "2,%" t "3,%" t "4,%" t "5,%" t "6,%" t "7,%" t "8,%" t "9,"
#define PND_30 PND_TEN("") PND_TEN("1") PND_TEN("2")
#define PND_60 PND_30 PND_TEN("3") PND_TEN("4") PND_TEN("5")
#define PND_90 PND_60 PND_TEN("6") PND_TEN("7") PND_TEN("8")
#define PND_120 PND_90 PND_TEN("9") PND_TEN("10") PND_TEN("11")
#define PND_NAMES_64 "{" PND_30 "%30,%31}"
#define PND_NAMES_128 "{" PND_60 "%60,%61,%62,%63}"
#define PND_NAMES_256 "{" PND_120 "%120,%121,%122,%123,%124,%125,%126,%127}"
#define PND_4(c, i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define PND_16(c, i) PND_4(c, i), PND_4(c, i + 4), PND_4(c, i + 8), PND_4(c, i + 12)
#define PND_SUMS_64(c) PND_16(c, 0), PND_16(c, 16)
#define PND_SUMS_128(c) PND_SUMS_64(c), PND_16(c, 32), PND_16(c, 48)
#define PND_SUMS_256(c) PND_SUMS_128(c), PND_16(c, 64), PND_16(c, 80), PND_16(c, 96), PND_16(c, 112)

// wgmma for n columns; `factors` names what follows the sums, `add` the condition to add to them.
#define PND_WGMMA(n, factors, add, ...)                                                      \
  PND_HOPPER("{\n.reg .pred add;\nsetp.ne.b32 add, " add                                     \
             ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 " PND_NAMES_##n \
             ", " factors ";\n}"                                                             \
             : PND_SUMS_##n(c)                                                               \
             : __VA_ARGS__)

// c = a b or c += a b, for a [64, 16] and b [16, kColumns] of bf16 in shared memory, as their
// descriptors tell, and c [64, kColumns] of f32 over the four warps of a warpgroup: with w its
// warp, g = lane / 4 and t = 2 (lane % 4), c[4 j] = (16 w + g, 8 j + t), c[4 j + 1] = its right
// neighbour, c[4 j + 2] and c[4 j + 3] = those 8 rows below.
template <int kColumns, Major kA = Major::K, Major kB = Major::K>
__device__ __forceinline__ void multiply_group(float (&c)[kColumns / 2], uint64_t a, uint64_t b,
                                               bool adds = true) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  if constexpr (kColumns == 64) {
    PND_WGMMA(64, "%32, %33, add, 1, 1, %35, %36", "%34", "l"(a), "l"(b), "r"(int{adds}),
              "n"(int{kA == Major::Other}), "n"(int{kB == Major::Other}));
  } else if constexpr (kColumns == 128) {
    PND_WGMMA(128, "%64, %65, add, 1, 1, %67, %68", "%66", "l"(a), "l"(b), "r"(int{adds}),
              "n"(int{kA == Major::Other}), "n"(int{kB == Major::Other}));
  } else {
    PND_WGMMA(256, "%128, %129, add, 1, 1, %131, %132", "%130", "l"(a), "l"(b), "r"(int{adds}),
              "n"(int{kA == Major::Other}), "n"(int{kB == Major::Other}));
  }
}

// The same with the warp's 16 rows of a in its registers, as those of multiply_bf16 (ptx.cuh).
template <int kColumns, Major kB = Major::K>
__device__ __forceinline__ void multiply_group(float (&c)[kColumns / 2], const uint32_t (&a)[4],
                                               uint64_t b, bool adds = true) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  if constexpr (kColumns == 64) {
    PND_WGMMA(64, "{%32, %33, %34, %35}, %36, add, 1, 1, %38", "%37", "r"(a[0]), "r"(a[1]),
              "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{adds}), "n"(int{kB == Major::Other}));
  } else if constexpr (kColumns == 128) {
    PND_WGMMA(128, "{%64, %65, %66, %67}, %68, add, 1, 1, %70", "%69", "r"(a[0]), "r"(a[1]),
              "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{adds}), "n"(int{kB == Major::Other}));
  } else {
    PND_WGMMA(256, "{%128, %129, %130, %131}, %132, add, 1, 1, %134", "%133", "r"(a[0]), "r"(a[1]),
              "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{adds}), "n"(int{kB == Major::Other}));
  }
}

// ---- parts of a block ---------------------------------------------------------------------------

// A barrier of some of the block's warps, of number 1 to 15: that many threads wait or arrive.
__device__ __forceinline__ void sync_named(unsigned number, unsigned threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
__device__ __forceinline__ void arrive_named(unsigned number, unsigned threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// A warpgroup's registers per thread from here on: more, taken from those that others gave back.
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  PND_HOPPER("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  PND_HOPPER("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

#endif

// How a factor lies in shared memory. It consists of cores of 8 x 16 bytes; in a swizzled factor
// those beside each other in memory form rows of 32, 64 or 128 bytes. `leading` and `stride` are
// bytes between cores, multiples of 16 below 2^18:
//   K-major      stride: to the next 8 rows (of b: columns); leading: to the next 8 of k if not
//                swizzled, unused else
//   other, none  leading: to the next 8 of k; stride: to the next 8 rows
//   other        stride: to the next 8 of k; leading: to the next 16, 32 or 64 rows
__device__ __forceinline__ uint64_t matrix_descriptor(const void *start, unsigned leading,
                                                      unsigned stride, Swizzle swizzle) {
  constexpr uint64_t kMask = 0x3fff;
  const uint64_t code = swizzle == Swizzle::None ? 0 : 4 - static_cast<uint64_t>(swizzle);
  return (shared_address(start) >> 4 & kMask) | (leading >> 4 & kMask) << 16 |
         (stride >> 4 & kMask) << 32 | code << 62;
}
