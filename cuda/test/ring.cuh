// SPDX-License-Identifier: Apache-2.0
// ring.cuh: a product by one producer warp, which copies boxes into a ring of two stages, and one
// warpgroup, which multiplies them: every instruction of hopper.cuh in one kernel. It runs on the
// simulator, with planted faults, and on devices of sm_90a (ring.cu).
//   c [rows, kColumns] = a [rows, depth] b [depth, kColumns], bf16 factors, f32 sums
// A block has 64 rows; what lies outside of the tensors is zero.
#pragma once

#include "hopper.cuh"

enum class Fault {
  None,
  NoBytesExpected,
  TooFewBytes,
  TooManyBytes,
  NoArrival,
  WrongParity,
  StageNotAwaited,
  ReusedTooEarly,
  ReleasedTooEarly,
  SumsReadEarly,
  SumsWrittenEarly,
  NoRegisterFence,
  OtherSwizzle,
  StridesExchanged,
  NoFenceAfterInit,
  NoFenceBeforeProduct,
  NoFenceBeforeStore,
  StoreNotAwaited,
  MissingWarp,
  OneWarpTakesRegisters,
  NoMbarrier,
  Misaligned
};

// A stage of a factor: kRows of its rows or columns, 64 of k, in boxes whose rows have as many
// bytes as the swizzle.
template <int kRows, Swizzle kSwizzle, Major kMajor>
struct Factor {
  static constexpr int kDepth = 64, kBytes = kRows * kDepth * 2;
  static constexpr int kRow = 16 << static_cast<int>(kSwizzle);
  static constexpr int kBoxRows = kMajor == Major::K ? kRows : kDepth, kBox = kBoxRows * kRow;

  __device__ static void load(char *to, const TensorMap &map, int row, int k, Mbarrier *barrier) {
    for (int box = 0; box < kBytes / kBox; ++box) {
      const int further = box * kRow / 2;
      const int at[2] = {(kMajor == Major::K ? k : row) + further, kMajor == Major::K ? row : k};
      load_box(to + box * kBox, map, at, barrier);
    }
  }

  // Of 16 of k, from k on.
  template <Fault kFault = Fault::None>
  __device__ static uint64_t descriptor(const char *at, int k) {
    constexpr unsigned kCores = 8 * kRow;  // bytes of cores beside each other
    constexpr Swizzle kSaid = kFault != Fault::OtherSwizzle   ? kSwizzle
                              : kSwizzle == Swizzle::Bytes128 ? Swizzle::Bytes64
                                                              : Swizzle::Bytes128;
    constexpr bool kTurned = kMajor == Major::Other && kSwizzle == Swizzle::None;
    constexpr bool kCoresLead = kTurned != (kFault == Fault::StridesExchanged);
    const int along = kMajor == Major::K ? 2 * k / kRow * kBox + 2 * k % kRow : k * kRow;
    return matrix_descriptor(at + along, kCoresLead ? kCores : kBox, kCoresLead ? kBox : kCores,
                             kSaid);
  }

  // Elements (row, k) and (row, k + 1) of a K-major stage.
  __device__ static uint32_t pair(const char *stage, int row, int k) {
    static_assert(kMajor == Major::K);
    const int at = 2 * k / kRow * kBox + row * kRow + 2 * k % kRow;
    return *reinterpret_cast<const uint32_t *>(stage + (at ^ (at >> 7 & (kRow / 16 - 1)) << 4));
  }
};

// What a ring is made of: how its factors lie, and whether a comes from registers.
template <int kOfColumns, Swizzle kOfSwizzle, Major kA, Major kB, bool kInRegisters = false>
struct Ring {
  static constexpr int kRows = 64, kColumns = kOfColumns, kStages = 2;
  static constexpr Swizzle kSwizzle = kOfSwizzle;
  static constexpr Major kMajorA = kA, kMajorB = kB;
  static constexpr bool kRegisters = kInRegisters;
  using A = Factor<kRows, kSwizzle, kA>;
  using B = Factor<kColumns, kSwizzle, kB>;
  static constexpr int kStage = A::kBytes + B::kBytes, kSums = kRows * kColumns * 4;
  // Stages, then sums, then the mbarriers.
  static constexpr int kShared = kStages * kStage + kSums + 2 * kStages * 8;
};

template <class R, Fault kFault>
__device__ void produce(char *stages, Mbarrier *full, Mbarrier *empty, const TensorMap &a_map,
                        const TensorMap &b_map, int row, int steps) {
  for (int step = 0; step < steps; ++step) {
    const int stage = step % R::kStages, round = step / R::kStages;
    char *to = stages + stage * R::kStage;
    if (kFault != Fault::ReusedTooEarly) await_phase(empty + stage, round % 2 ^ 1);
    if constexpr (kFault == Fault::NoBytesExpected) {
      arrive(full + stage);
    } else if constexpr (kFault != Fault::NoArrival) {
      arrive_expecting(full + stage, R::kStage + (kFault == Fault::TooManyBytes  ? 16
                                                  : kFault == Fault::TooFewBytes ? -16
                                                                                 : 0));
    }
    R::A::load(to + (kFault == Fault::Misaligned ? 64 : 0), a_map, row, step * R::A::kDepth,
               full + stage);
    R::B::load(to + R::A::kBytes, b_map, 0, step * R::A::kDepth, full + stage);
  }
}

template <class R, Fault kFault>
__device__ void consume(float (&c)[R::kColumns / 2], char *stages, Mbarrier *full, Mbarrier *empty,
                        int steps) {
  [[maybe_unused]] const int g = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4,
                             t = threadIdx.x % 4 * 2;
  for (int step = 0; step < steps; ++step) {
    const int stage = step % R::kStages, round = step / R::kStages;
    char *a = stages + stage * R::kStage, *b = a + R::A::kBytes;
    if (kFault != Fault::StageNotAwaited) {
      await_phase(full + stage, round % 2 ^ (kFault == Fault::WrongParity));
    }
    if (kFault == Fault::NoFenceBeforeProduct) *reinterpret_cast<uint16_t *>(b) = 0x7fff;
    [[maybe_unused]] uint32_t rows[R::A::kDepth / 16][4];
    if constexpr (R::kRegisters) {
#pragma unroll
      for (int i = 0; i < R::A::kDepth / 4; ++i) {
        rows[i / 4][i % 4] = R::A::pair(a, g + i % 2 * 8, i / 4 * 16 + t + i / 2 % 2 * 8);
      }
    }
    if (kFault != Fault::NoRegisterFence) fence_registers(c);
#pragma unroll
    for (int k = 0; k < R::A::kDepth; k += 16) {
      const uint64_t columns = R::B::template descriptor<kFault>(b, k);
      if constexpr (R::kRegisters) {
        multiply_group<R::kColumns, R::kMajorB>(c, rows[k / 16], columns, step + k > 0);
      } else {
        multiply_group<R::kColumns, R::kMajorA, R::kMajorB>(c, R::A::descriptor(a, k), columns,
                                                            step + k > 0);
      }
    }
    commit_products();
    if (kFault == Fault::SumsWrittenEarly) c[0] = 0;
    // While the tensor cores work on this stage, the one before is free.
    await_products<1>();
    if (kFault == Fault::ReleasedTooEarly) {
      arrive(empty + stage);
    } else if (step > 0) {
      arrive(empty + (step - 1) % R::kStages);
    }
  }
  if (kFault != Fault::SumsReadEarly) await_products<0>(c);
}

template <class R, Fault kFault = Fault::None>
__global__ void __launch_bounds__(256, 1)
    ring_kernel(const __grid_constant__ TensorMap c_map, const __grid_constant__ TensorMap a_map,
                const __grid_constant__ TensorMap b_map, int steps) {
  char *stages = shared_memory<char>();
  auto *sums = reinterpret_cast<float *>(stages + R::kStages * R::kStage);
  auto *full = reinterpret_cast<Mbarrier *>(stages + R::kStages * R::kStage + R::kSums);
  auto *empty = full + R::kStages;
  const int row = static_cast<int>(blockIdx.x) * R::kRows;
  if (threadIdx.x == 0 && kFault != Fault::NoMbarrier) {
    for (int stage = 0; stage < R::kStages; ++stage) {
      init_mbarrier(full + stage, 1);
      init_mbarrier(empty + stage, 128);
    }
    if (kFault != Fault::NoFenceAfterInit) fence_async();
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    if (kFault != Fault::OneWarpTakesRegisters || threadIdx.x < 160) give_registers<24>();
    if (threadIdx.x == 128) {
      produce<R, kFault>(stages, full, empty, a_map, b_map, row, steps);
    }
    return;
  }
  if (kFault == Fault::MissingWarp && threadIdx.x >= 96) return;
  take_registers<232>();
  float c[R::kColumns / 2];
  consume<R, kFault>(c, stages, full, empty, steps);
  const int g = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < R::kColumns / 2; ++i) {
    sums[(g + i / 2 % 2 * 8) * R::kColumns + i / 4 * 8 + t + i % 2] = c[i];
  }
  if (kFault == Fault::SumsReadEarly) await_products<0>();
  if (kFault != Fault::NoFenceBeforeStore) fence_async();
  sync_named(1, 128);
  if (threadIdx.x == 0) {
    const int at[2] = {0, row};
    store_box(c_map, at, sums);
    commit_stores();
    if (kFault != Fault::StoreNotAwaited) await_stores<0>();
  }
}
