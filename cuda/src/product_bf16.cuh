// SPDX-License-Identifier: Apache-2.0
// product_bf16.cuh: the product of two matrices of bf16 on tensor cores.
// y[g,r,c] = sum over k of a(g,r,k) b(g,k,c), rounded once
// Method   a block computes a square of y; slices of 32 k of both operands pass through four stages
//          of shared memory, three of them on their way; of 2 x 2 warps each holds a square of sums
//          in registers. Rows that cannot be moved 16 bytes at a time are moved element by element
//          into the same places
// Order    16 k at a time, upwards, in f32; within them as the tensor core has it
// Source   NVIDIA, CUTLASS documentation: Efficient GEMM in CUDA
#pragma once

#include "context.cuh"
#include "fragment.cuh"

// The sizes of a block's work; small blocks where large ones would leave multiprocessors idle.
template <bool kLarge>
struct Bf16Blocking {
  static constexpr int kThreads = 128;
  static constexpr int kOwn = kLarge ? 64 : 32;  // rows and columns of a warp
  static constexpr int kSpan = 2 * kOwn;         // and of a block
  static constexpr int kDepth = 32;
  static constexpr unsigned kStages = 4;
  static constexpr int kSlice = kSpan * kDepth;
  static constexpr size_t kShared = kStages * 2 * kSlice * sizeof(Bf16);
  static_assert(kSpan * kSpan * sizeof(Bf16) <= kShared, "a block's results pass through, too");
};

// One operand: its rows lie `stride` apart, its matrices `step`.
struct Bf16Operand {
  const Bf16 *data;
  int64_t stride, step;
  bool whole;  // rows can be moved 16 bytes at a time
};

// A block's part of an operand. kAlong: its rows run along k, one per row (column) of y; else
// across, one per k.
template <class B, bool kAlong>
struct Bf16Panel {
  static constexpr int kRows = kAlong ? B::kSpan : B::kDepth;
  static constexpr int kCols = kAlong ? B::kDepth : B::kSpan;
  const Bf16 *from;
  int64_t stride;
  int spans;
  bool whole;

  __device__ __forceinline__ Bf16Panel(const Bf16Operand &operand, int64_t batch, int64_t span,
                                       int64_t all)
      : from(operand.data + batch * operand.step + span * (kAlong ? operand.stride : 1)),
        stride(operand.stride),
        spans(within(all - span, B::kSpan)),
        whole(operand.whole) {}

  // Begins to copy the slice of the next kDepth k, of which `left` exist.
  __device__ __forceinline__ void copy(Bf16 *slice, int64_t k, int64_t left) const {
    const int depths = within(left, B::kDepth);
    copy_rows<kRows, kCols, B::kThreads>(slice, from + k * (kAlong ? 1 : stride), stride,
                                         kAlong ? spans : depths, kAlong ? depths : spans, whole);
  }

  // 16 rows (columns) of y by 16 k of a slice.
  template <bool kSecond>
  __device__ __forceinline__ static void load(uint32_t (&to)[4], const Bf16 *slice, int span,
                                              int k) {
    load_square<kCols, kSecond, !kAlong>(to, slice, kAlong ? span : k, kAlong ? k : span);
  }
};

template <bool kLarge, bool kAlongA, bool kAlongB>
__global__ void __launch_bounds__(Bf16Blocking<kLarge>::kThreads, 2)
    product_bf16_kernel(int64_t first, Bf16 *y, bool whole, Bf16Operand a, Bf16Operand b,
                        int64_t rows, int64_t cols, int64_t depth, int64_t row_blocks,
                        int64_t col_blocks) {
  using B = Bf16Blocking<kLarge>;
  constexpr int kSquares = B::kOwn / 16;
  const int64_t block = first + blockIdx.x, g = block / row_blocks / col_blocks;
  const int64_t row0 = block % row_blocks * B::kSpan;
  const int64_t col0 = block / row_blocks % col_blocks * B::kSpan;
  const Bf16Panel<B, kAlongA> of_a(a, g, row0, rows);
  const Bf16Panel<B, kAlongB> of_b(b, g, col0, cols);
  Bf16 *const shared = shared_memory<Bf16>();
  const auto copy = [&](int64_t k, unsigned stage) {
    Bf16 *slices = shared + stage * 2 * B::kSlice;
    if (k < depth) {
      of_a.copy(slices, k, depth - k);
      of_b.copy(slices + B::kSlice, k, depth - k);
    }
    commit_copies();
  };
  PND_UNROLL
  for (unsigned stage = 0; stage < B::kStages - 1; ++stage) copy(stage * B::kDepth, stage);

  const int row = warp_number() / 2 * B::kOwn, col = warp_number() % 2 * B::kOwn;  // the warp's own
  float sum[kSquares][2 * kSquares][4] = {};
  unsigned stage = 0;
  for (int64_t k = 0; k < depth; k += B::kDepth) {
    await_copies<B::kStages - 2>();
    // One barrier a slice: who is past it has read the stage that is filled again.
    __syncthreads();
    copy(k + (B::kStages - 1) * B::kDepth, (stage + B::kStages - 1) % B::kStages);
    const Bf16 *slice_a = shared + stage * 2 * B::kSlice, *slice_b = slice_a + B::kSlice;
    stage = (stage + 1) % B::kStages;
    PND_UNROLL
    for (int d = 0; d < B::kDepth; d += 16) {
      uint32_t left[kSquares][4], right[kSquares][4];
      PND_UNROLL
      for (int i = 0; i < kSquares; ++i) {
        of_a.template load<false>(left[i], slice_a, row + i * 16, d);
        of_b.template load<true>(right[i], slice_b, col + i * 16, d);
      }
      PND_UNROLL
      for (int i = 0; i < kSquares; ++i) {
        PND_UNROLL
        for (int j = 0; j < kSquares; ++j) {
          multiply_square(sum[i][2 * j], sum[i][2 * j + 1], left[i], right[j]);
        }
      }
    }
  }
  __syncthreads();  // the stages are free
  PND_UNROLL
  for (int i = 0; i < kSquares; ++i) put_sums<B::kSpan>(shared, row + i * 16, col, sum[i]);
  __syncthreads();
  store_rows<B::kSpan, B::kSpan, B::kThreads>(y + (g * rows + row0) * cols + col0, cols, shared,
                                              within(rows - row0, B::kSpan),
                                              within(cols - col0, B::kSpan), whole);
}

template <bool kLarge>
int32_t product_bf16_in_blocks(Call &call, pnd_context *context, Bf16 *y, bool whole,
                               const Bf16Operand &a, bool along_a, const Bf16Operand &b,
                               bool along_b, int64_t batch, int64_t rows, int64_t cols,
                               int64_t depth) {
  using B = Bf16Blocking<kLarge>;
  const int64_t row_blocks = (rows + B::kSpan - 1) / B::kSpan;
  const int64_t col_blocks = (cols + B::kSpan - 1) / B::kSpan;
  const auto run = [&](auto kernel) {
    return launch_blocks(call, context, kernel, batch * row_blocks * col_blocks, dim3(B::kThreads),
                         B::kShared, y, whole, a, b, rows, cols, depth, row_blocks, col_blocks);
  };
  if (along_a) {
    return along_b ? run(product_bf16_kernel<kLarge, true, true>)
                   : run(product_bf16_kernel<kLarge, true, false>);
  }
  return along_b ? run(product_bf16_kernel<kLarge, false, true>)
                 : run(product_bf16_kernel<kLarge, false, false>);
}

// y [batch, rows, cols]; `along` as in Bf16Panel.
inline int32_t product_bf16(Call &call, pnd_context *context, Bf16 *y, bool whole,
                            const Bf16Operand &a, bool along_a, const Bf16Operand &b, bool along_b,
                            int64_t batch, int64_t rows, int64_t cols, int64_t depth) {
  constexpr int64_t kSpan = Bf16Blocking<true>::kSpan;
  const int64_t large = batch * ((rows + kSpan - 1) / kSpan) * ((cols + kSpan - 1) / kSpan);
  const auto run = large >= context->multiprocessors ? product_bf16_in_blocks<true>
                                                     : product_bf16_in_blocks<false>;
  return run(call, context, y, whole, a, along_a, b, along_b, batch, rows, cols, depth);
}
