// SPDX-License-Identifier: Apache-2.0
// recurrent_tile.cuh: what a block of a recurrent scan multiplies at a step: rows of 16 sequences
// with the weights of 8 units, which lie in shared memory as rows, too.
// Method   the threads divide the depth into parts, so that few have to wait for a long chain; what
//          the parts add up to meets in shared memory. f32 and f64: a thread has a square of sums
//          in registers. bf16: a warp is a part, and multiplies on tensor cores
// Order    a part takes every kParts-th run of the depth, upwards: of f32 and f64 one chain over
//          runs of 16 bytes; of bf16 runs of 16, in f32, within them as the tensor core has it
#pragma once

#include "pack.cuh"
#include "ptx.cuh"
#include "scalar.cuh"
#include "warp.cuh"

constexpr int kScanThreads = 256, kScanSequences = 16, kScanUnits = 8;

// Sums for kGates products of each unit. kOwn: units of a thread.
template <class S, int kGates, int kOwn>
struct PartSums {
  using T = Computed<S>;
  static constexpr int kSequences = 4, kStep = kScanUnits / kOwn;  // of a thread; between its units
  static constexpr int kLanes = kScanSequences / kSequences * kStep;
  static constexpr int kParts = kScanThreads / kLanes, kRun = kWide<S>;
  T sum[kSequences][kGates * kOwn];

  __device__ __forceinline__ static int part() { return static_cast<int>(threadIdx.x) / kLanes; }
  __device__ __forceinline__ static int sequence(int i) {
    return static_cast<int>(threadIdx.x) % 4 + i * (kScanSequences / kSequences);
  }
  __device__ __forceinline__ static int row(int j) {  // of the weights
    return j / kOwn * kScanUnits + static_cast<int>(threadIdx.x) % kLanes / 4 + j % kOwn * kStep;
  }
  __device__ __forceinline__ void clear() {
    PND_UNROLL
    for (int i = 0; i < kSequences; ++i) {
      PND_UNROLL
      for (int j = 0; j < kGates * kOwn; ++j) sum[i][j] = 0;
    }
  }
  // Of `depth` columns, which lie there up to a multiple of 16, zeros behind them.
  __device__ __forceinline__ void add(const S *rows, int stride, const S *weights,
                                      int weight_stride, int depth) {
#pragma unroll 1
    for (int k = part() * kRun; k < depth; k += kParts * kRun) {
      Pack<S> left[kSequences];
      PND_UNROLL
      for (int i = 0; i < kSequences; ++i) left[i] = load_pack(rows + sequence(i) * stride + k);
      PND_UNROLL
      for (int j = 0; j < kGates * kOwn; ++j) {
        const Pack<S> right = load_pack(weights + row(j) * weight_stride + k);
        PND_UNROLL
        for (int e = 0; e < kRun; ++e) {
          PND_UNROLL
          for (int i = 0; i < kSequences; ++i) {
            sum[i][j] = fma(left[i].at[e], right.at[e], sum[i][j]);
          }
        }
      }
    }
  }
  // each(sequence, row of the weights, sum).
  template <class Each>
  __device__ __forceinline__ void visit(Each each) const {
    PND_UNROLL
    for (int i = 0; i < kSequences; ++i) {
      PND_UNROLL
      for (int j = 0; j < kGates * kOwn; ++j) each(sequence(i), row(j), sum[i][j]);
    }
  }
};

template <int kGates, int kOwn>
struct PartSums<Bf16, kGates, kOwn> {
  using T = float;
  static constexpr int kParts = kScanThreads / 32, kRun = 16;
  float sum[kGates][4];

  __device__ __forceinline__ static int part() { return warp_number(); }
  __device__ __forceinline__ void clear() {
    PND_UNROLL
    for (int g = 0; g < kGates; ++g) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) sum[g][e] = 0;
    }
  }
  __device__ __forceinline__ void add(const Bf16 *rows, int stride, const Bf16 *weights,
                                      int weight_stride, int depth) {
    const int lane = lane_number();
    const Bf16 *row = rows + lane % 16 * stride + lane / 16 * 8;
    const Bf16 *unit = weights + lane % 8 * weight_stride + lane / 8 % 2 * 8;
#pragma unroll 1
    for (int k = part() * kRun; k < depth; k += kParts * kRun) {
      uint32_t left[4];
      load_matrices<4>(left, row + k);
      PND_UNROLL
      for (int g = 0; g < kGates; ++g) {
        uint32_t right[2];
        load_matrices<2>(right, unit + g * kScanUnits * weight_stride + k);
        multiply_bf16(sum[g], left, right);
      }
    }
  }
  template <class Each>
  __device__ __forceinline__ void visit(Each each) const {
    const int lane = lane_number();
    PND_UNROLL
    for (int g = 0; g < kGates; ++g) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        each(lane / 4 + e / 2 * 8, g * kScanUnits + lane % 4 * 2 + e % 2, sum[g][e]);
      }
    }
  }
};

// Begins to copy `cols` elements to `depth` places, zeros behind them or where `from` is null;
// whole: 16 bytes at a time, which cols and the row's place must allow. 16 threads, a half warp,
// take part.
template <class S>
__device__ __forceinline__ void copy_scan_row(S *to, const S *from, int cols, int depth,
                                              bool whole) {
  const int lane = static_cast<int>(threadIdx.x) % 16;
  if (whole) {
#pragma unroll 4
    for (int c = lane * kWide<S>; c < depth; c += 16 * kWide<S>) {
      const bool inside = from != nullptr && c < cols;
      copy_async<16>(to + c, inside ? from + c : nullptr, inside);
    }
    return;
  }
#pragma unroll 1
  for (int c = lane; c < depth; c += 16) {
    const bool inside = from != nullptr && c < cols;
    if constexpr (sizeof(S) < 4) {
      to[c] = inside ? from[c] : S{};  // too small for copy_async
    } else {
      copy_async<static_cast<int>(sizeof(S))>(to + c, inside ? from + c : nullptr, inside);
    }
  }
}

// The block's shared memory: slabs of the sequences' rows, several of them on their way, and in
// their place in the end what the parts add up to; the weights, kRows rows, all the columns if
// resident, else slabs of them.
template <class S, int kGates, int kOwn>
struct ScanTiles {
  using T = Computed<S>;
  using Sums = PartSums<S, kGates, kOwn>;
  static constexpr int kRows = kGates * kScanUnits;
  static constexpr int kPeriod = Sums::kParts * Sums::kRun;
  static constexpr int kUsual = 512 / static_cast<int>(sizeof(S));
  static constexpr int kDeep = kUsual < kPeriod ? kPeriod : kUsual, kStride = kDeep + kWide<S>;
  static constexpr unsigned kStages = 4;
  static constexpr int kSlab = kScanSequences * kStride, kWeightSlab = kRows * kStride;
  static constexpr int kPartRow = kRows | 8;  // so that four rows lie in different banks
  static constexpr size_t kPartBytes = sizeof(T) * Sums::kParts * kScanSequences * kPartRow;
  static constexpr size_t kSlabBytes = sizeof(S) * kStages * kSlab;
  static constexpr size_t kMoved = kSlabBytes + sizeof(S) * kStages * kWeightSlab;
  static constexpr size_t kBefore = kPartBytes < kSlabBytes ? kSlabBytes : kPartBytes;
  static_assert(kDeep % kPeriod == 0, "the parts begin anew with each slab");
  static_assert(kMoved <= 99 << 10 && kPartBytes <= 99 << 10, "what every device has");

  T *parts;
  S *slabs, *weights;
  int weight_stride;
  bool resident;

  // Of so many columns of weights.
  __device__ __forceinline__ ScanTiles(bool all, int64_t columns)
      : parts(shared_memory<T>()),
        slabs(shared_memory<S>()),
        weights(slabs + (all ? kBefore : kSlabBytes) / sizeof(S)),
        weight_stride(all ? static_cast<int>(columns) + kWide<S> : kStride),
        resident(all) {}
  static size_t bytes(bool resident, int64_t columns) {
    if (!resident) return kPartBytes < kMoved ? kMoved : kPartBytes;
    return kBefore + sizeof(S) * static_cast<size_t>(kRows * (columns + kWide<S>));
  }

  // Multiplies slab after slab and leaves the parts' sums to get(). copy(slab, rows, weights)
  // begins to copy a slab, and its weights unless they are null; place(slab) tells where its
  // weights begin if all are resident; depth(slab) is a multiple of 16. All threads take part.
  template <class Copy, class At, class Depth>
  __device__ __forceinline__ void multiply(int64_t count, Copy copy, At place, Depth depth) {
    const auto begin = [&](int64_t slab) {
      const auto stage = static_cast<int>(slab % kStages);
      if (slab < count) {
        copy(slab, slabs + stage * kSlab, resident ? nullptr : weights + stage * kWeightSlab);
      }
      commit_copies();
    };
    __syncthreads();  // the parts' sums have been read
    for (unsigned slab = 0; slab < kStages - 1; ++slab) begin(slab);
    Sums sums;
    sums.clear();
    for (int64_t slab = 0; slab < count; ++slab) {
      await_copies<kStages - 2>();
      // One barrier a slab: who is past it has read the stage that is filled again.
      __syncthreads();
      begin(slab + kStages - 1);
      const auto stage = static_cast<int>(slab % kStages);
      sums.add(slabs + stage * kSlab, kStride,
               weights + (resident ? place(slab) : stage * kWeightSlab), weight_stride,
               depth(slab));
    }
    __syncthreads();  // the slabs have been read
    sums.visit([&](int sequence, int row, T sum) {
      parts[(Sums::part() * kScanSequences + sequence) * kPartRow + row] = sum;
    });
    __syncthreads();
  }

  // The parts' sums of a sequence and a row of weights, added to `sum` in order.
  __device__ __forceinline__ T get(T sum, int sequence, int row) const {
#pragma unroll 8
    for (int p = 0; p < Sums::kParts; ++p) {
      sum += parts[(p * kScanSequences + sequence) * kPartRow + row];
    }
    return sum;
  }
};
