// SPDX-License-Identifier: Apache-2.0
// cross_entropy: the loss of a softmax over the product of x and the output weights, fused.
// logits[r,c] = x[r,:] . weight[c,:];  lse[r] = log sum over c of exp logits[r,c]
// loss[r] = lse[r] - logits[r,target[r]]
// p[r,c] = dloss[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]);  dx = p weight;  dweight = p^T x
// Shapes   x, dx [rows, width]; weight, dweight [classes, width]; loss, lse, dloss, target [rows]
// Method   rows with a target are listed first; the others cost nothing. Logits are never stored
//          whole: a piece of as many rows and classes as a bounded scratch holds is multiplied at a
//          time (product.cuh). Forward, a warp per row carries the largest logit and the sum along;
//          backward, each piece of logits becomes p as it is stored, and is multiplied twice
// Order    logits are one chain over the width; sums run in 32 lanes within a piece, then piece by
//          piece (4,096 classes where there are more); dx is one chain over the classes of a piece,
//          dweight one over its listed rows, upwards; then piece by piece, upwards
// Error    loss, lse <= 2 x the plain loop; gradients <= 3 x
// Work     2 width flops per logit forward, 6 backward, and about 15 for the softmax
// Source   Bishop 2006, eq. 4.108; blocks: Hsu et al., arXiv:2410.10989
#include <algorithm>
#include <type_traits>

#include "guards/cross_entropy.h"
#include "map.cuh"
#include "product.cuh"
#include "tile.cuh"

namespace {

constexpr int64_t kMostClasses = 4096, kMostElements = 1 << 23;  // of a piece

// The numbers of the rows with a target, upwards, and how many there are; in scratch memory.
struct Targets {
  const int32_t *target;
  Range range;
  int64_t *list, *count;
  int64_t rows;
};

constexpr int kListThreads = 1024, kListOwn = 8;  // rows per thread at a time

// One block lists all rows. A target outside its range is noted and counts as -1.
__global__ void __launch_bounds__(kListThreads) list_kernel(Targets targets) {
  int *sums = shared_memory<int>();
  const int lane = lane_number(), warp = warp_number();
  int64_t before = 0;
  for (int64_t row0 = 0; row0 < targets.rows; row0 += kListThreads * kListOwn) {
    const int64_t first = row0 + threadIdx.x * kListOwn;
    unsigned has = 0;
    PND_UNROLL
    for (int i = 0; i < kListOwn; ++i) {
      const int64_t row = first + i;
      if (row >= targets.rows) break;
      const int target = targets.target[row];
      if (targets.range.holds(row, target) && target >= 0) has |= 1u << i;
    }
    // The place of the thread's first row: a sum over the lanes and warps before it.
    int sum = __popc(has);
    PND_UNROLL
    for (int w = 1; w < 32; w *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, sum, w);
      if (lane >= w) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    int64_t place = before + sum - __popc(has);
    int all = 0;
    for (int w = 0; w < kListThreads / kWarp; ++w) {
      if (w < warp) place += sums[w];
      all += sums[w];
    }
    before += all;
    PND_UNROLL
    for (int i = 0; i < kListOwn; ++i) {
      if ((has >> i & 1) != 0) targets.list[place++] = first + i;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *targets.count = before;
}

// A piece of the logits, and where it lies among the listed rows and the classes.
template <class T>
struct Piece {
  T *logits;
  int64_t row0, rows, class0, classes;

  Extent listed(const Targets &targets) const { return {rows, targets.count, row0}; }
};

// What is known of a listed row after some pieces: [rows of a piece].
template <class T>
struct Found {
  T *largest, *sum;
};

constexpr int kRowsPerBlock = 8;  // one per warp

// Takes in a piece. A row's target's logit waits in loss; the last piece completes lse and loss.
template <class T>
__global__ void __launch_bounds__(32 * kRowsPerBlock)
    find_kernel(int64_t first, Targets targets, Piece<T> piece, Found<T> found, T *loss, T *lse,
                bool begins, bool ends) {
  const int64_t r = (first + blockIdx.x) * kRowsPerBlock + warp_number();
  if (r >= piece.rows || piece.row0 + r >= *targets.count) return;
  const int64_t row = targets.list[piece.row0 + r], lane = lane_number();
  const T *logits = piece.logits + r * piece.classes;
  T most = kNothing<T>, sum = 0;
#pragma unroll 4
  for (int64_t c = lane; c < piece.classes; c += 32) most = larger(logits[c], most);
  PND_UNROLL
  for (int w = kWarp / 2; w > 0; w /= 2) most = larger(most, __shfl_xor_sync(kAllLanes, most, w));
  const T old = begins ? kNothing<T> : found.largest[r];
  most = larger(most, old);
  const T base = most == kNothing<T> ? T(0) : most;
#pragma unroll 4
  for (int64_t c = lane; c < piece.classes; c += 32) sum += exp_of_negative(logits[c] - base);
  PND_UNROLL
  for (int w = kWarp / 2; w > 0; w /= 2) sum += __shfl_xor_sync(kAllLanes, sum, w);
  if (lane != 0) return;
  if (!begins) sum = fma(found.sum[r], exp_of_negative(old - base), sum);
  const int64_t target = targets.target[row] - piece.class0;
  if (target >= 0 && target < piece.classes) loss[row] = logits[target];
  found.largest[r] = most;
  found.sum[r] = sum;
  if (!ends) return;
  const T log_sum = most + log_of(sum);
  lse[row] = log_sum;
  loss[row] = log_sum - loss[row];
}

// loss and lse of rows without a target.
template <class T>
struct Unlisted {
  Targets targets;
  T *loss, *lse;
  __device__ void operator()(int64_t row) const {
    const int target = targets.target[row];
    if (target >= 0 && target < targets.range.end) return;
    loss[row] = 0;
    lse[row] = 0;
  }
};

// Where backward's logits go: they become p.
template <class T>
struct ToSlopes {
  Targets targets;
  Piece<T> piece;
  const T *dloss, *lse;
  bool whole;
  __device__ void put(int64_t, int64_t r, int64_t c, Pack<T> values, int64_t left) const {
    const int64_t row = targets.list[piece.row0 + r];
    const int64_t target = targets.target[row] - piece.class0 - c;
    PND_UNROLL
    for (int i = 0; i < kWide<T>; ++i) {
      const T p = exp_of_negative(values.at[i] - lse[row]);
      values.at[i] = (target == i ? p - T(1) : p) * dloss[row];
    }
    store_pack(piece.logits + r * piece.classes + c, values, left, whole);
  }
};

// Where a product's rows go that belong to listed rows.
template <class T>
struct ToListed {
  ToRows<T> rows;
  const int64_t *list;
  __device__ void put(int64_t, int64_t r, int64_t c, Pack<T> values, int64_t left) const {
    rows.put(0, list[r], c, values, left);
  }
};

template <class T>
class CrossEntropy {
 public:
  CrossEntropy(Call &call, pnd_context *context, Checked array, const void *x, const void *weight,
               const int32_t *target, int64_t rows, int64_t classes, int64_t width)
      : call_(call),
        context_(context),
        targets_{target, Range{context->faults, array, -1, classes}, nullptr, nullptr, rows},
        x_(static_cast<const T *>(x)),
        weight_(static_cast<const T *>(weight)),
        classes_(classes),
        width_(width),
        piece_classes_(std::min(classes, kMostClasses)),
        piece_rows_(std::min(rows, std::max<int64_t>(1, kMostElements / piece_classes_))),
        whole_(moves_whole(x_, width) && moves_whole(weight_, width)) {
    const int64_t list = (rows + 1) * static_cast<int64_t>(sizeof(int64_t));
    const int64_t list_bytes = (list + 255) / 256 * 256;
    const int64_t logits = (piece_rows_ * piece_classes_ + kWide<T>) / kWide<T> * kWide<T>;
    if (call.reserve(0, list_bytes + (logits + 2 * piece_rows_) * sizeof(T)).refused()) return;
    targets_.count = static_cast<int64_t *>(context->scratch);
    targets_.list = targets_.count + 1;
    logits_ = reinterpret_cast<T *>(static_cast<char *>(context->scratch) + list_bytes);
    found_ = {logits_ + logits, logits_ + logits + piece_rows_};
  }

  void forward(T *loss, T *lse) {
    begin();
    if (!call_.refused()) each(call_, context_, targets_.rows, Unlisted<T>{targets_, loss, lse});
    each_piece([&](const Piece<T> &piece) {
      multiply(piece, ToRows<T>{piece.logits, piece.classes, 0, aligned(piece), false});
      if (call_.refused()) return;
      launch_blocks(call_, context_, find_kernel<T>,
                    (piece.rows + kRowsPerBlock - 1) / kRowsPerBlock, dim3(32 * kRowsPerBlock), 0,
                    targets_, piece, found_, loss, lse, piece.class0 == 0,
                    piece.class0 + piece.classes == classes_);
    });
  }

  void backward(T *dx, T *dweight, const T *dloss, const T *lse) {
    begin();
    if (call_.refused()) return;
    // Rows without a target have no slope.
    check(call_, context_,
          cudaMemsetAsync(dx, 0, targets_.rows * width_ * sizeof(T), context_->stream));
    each_piece([&](const Piece<T> &piece) {
      multiply(piece, ToSlopes<T>{targets_, piece, dloss, lse, aligned(piece)});
      if (call_.refused()) return;
      const Strided<T> p{piece.logits, piece.classes, 0};
      const Strided<T> weight{weight_ + piece.class0 * width_, width_, 0};
      product(call_, context_, Operand<T, Strided<T>>{p, true, aligned(piece)},
              Operand<T, Strided<T>>{weight, false, whole_},
              ToListed<T>{{dx, width_, 0, moves_whole(dx, width_), piece.class0 > 0},
                          targets_.list + piece.row0},
              1, piece.listed(targets_), width_, Extent{piece.classes});
      if (call_.refused()) return;
      T *to = dweight + piece.class0 * width_;
      product(call_, context_, Operand<T, Strided<T>>{p, false, aligned(piece)},
              Operand<T, Listed<T>>{listed(piece), false, whole_},
              ToRows<T>{to, width_, 0, moves_whole(to, width_), piece.row0 > 0}, 1,
              Extent{piece.classes}, width_, piece.listed(targets_));
    });
  }

 private:
  void begin() {
    launch(call_, context_, list_kernel, dim3(1), dim3(kListThreads),
           kListThreads / kWarp * sizeof(int), targets_);
  }
  template <class F>
  void each_piece(F &&body) {
    for (int64_t row = 0; row < targets_.rows; row += piece_rows_) {
      for (int64_t c = 0; c < classes_ && !call_.refused(); c += piece_classes_) {
        body(Piece<T>{logits_, row, std::min(piece_rows_, targets_.rows - row), c,
                      std::min(piece_classes_, classes_ - c)});
      }
    }
  }
  static bool aligned(const Piece<T> &piece) { return moves_whole(piece.logits, piece.classes); }
  Listed<T> listed(const Piece<T> &piece) const { return {x_, width_, targets_.list + piece.row0}; }
  template <class Out>
  void multiply(const Piece<T> &piece, Out out) {
    const Strided<T> weight{weight_ + piece.class0 * width_, width_, 0};
    product(call_, context_, Operand<T, Listed<T>>{listed(piece), true, whole_},
            Operand<T, Strided<T>>{weight, true, whole_}, out, 1, piece.listed(targets_),
            piece.classes, Extent{width_});
  }

  Call &call_;
  pnd_context *context_;
  Targets targets_;
  const T *x_, *weight_;
  int64_t classes_, width_, piece_classes_, piece_rows_;
  bool whole_;
  T *logits_ = nullptr;
  Found<T> found_{};
};

}  // namespace

int32_t pnd_cross_entropy(pnd_context *context, int32_t dtype, void *loss, void *lse, const void *x,
                          const void *weight, const int32_t *target, int64_t rows, int64_t classes,
                          int64_t width) {
  Call call(context, "cross_entropy");
  guard::cross_entropy(call, dtype, loss, lse, x, weight, target, rows, classes, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    CrossEntropy<T> op(call, context, kTarget, x, weight, target, rows, classes, width);
    if (!call.refused()) op.forward(static_cast<T *>(loss), static_cast<T *>(lse));
  });
  return call.status();
}

int32_t pnd_cross_entropy_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight,
                                   const void *dloss, const void *x, const void *weight,
                                   const int32_t *target, const void *lse, int64_t rows,
                                   int64_t classes, int64_t width) {
  Call call(context, "cross_entropy_backward");
  guard::cross_entropy_backward(call, dtype, dx, dweight, dloss, x, weight, target, lse, rows,
                                classes, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    CrossEntropy<T> op(call, context, kTargetBackward, x, weight, target, rows, classes, width);
    if (call.refused()) return;
    op.backward(static_cast<T *>(dx), static_cast<T *>(dweight), static_cast<const T *>(dloss),
                static_cast<const T *>(lse));
  });
  return call.status();
}
