// SPDX-License-Identifier: Apache-2.0
// matmul: a batch of matrix products, any of the two operands transposed.
// y[g,r,c] = sum over k of op(a)[g,r,k] op(b)[g,k,c]
// Shapes   y [batch, rows, cols]; a [batch, rows, inner] or its transpose; b [batch, inner, cols]
//          or its transpose; row-major, contiguous, no aliasing
// Method   large products by cuBLASLt where there is one (blas.cuh); others: squares of y in
//          registers, slices of a and b through shared memory (product.cuh); bf16 on tensor cores
//          (product_bf16.cuh)
// Order    one chain of fused multiply-adds per element, k upwards: the CPU's bits. bf16: 16 k at a
//          time
// Error    <= 2 x the plain loop
// Work     2 rows cols inner flops a product; each operand read once per row (column) of squares
// Source   Volkov, Demmel, SC 2008
#include "blas.cuh"
#include "guards/matmul.h"
#include "product.cuh"
#include "product_bf16.cuh"

int32_t pnd_matmul(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                   int64_t batch, int64_t rows, int64_t cols, int64_t inner, int32_t a_transposed,
                   int32_t b_transposed) {
  Call call(context, "matmul");
  guard::matmul(call, dtype, y, a, b, batch, rows, cols, inner, a_transposed, b_transposed);
  if (call.refused()) return call.status();
  const ProductSizes sizes{batch, rows, cols, inner, a_transposed != 0, b_transposed != 0};
  if (blas_computes(call, context, dtype, y, a, b, sizes)) return call.status();
  const int64_t a_stride = a_transposed ? rows : inner, b_stride = b_transposed ? inner : cols;
  // Whether the rows of an array of that type can be moved 16 bytes at a time.
  const auto whole = [&](auto *array, int64_t stride, int64_t size) {
    return moves_whole(array, stride) && (batch == 1 || moves_whole(array, size));
  };
  if (dtype == PND_BF16) {
    const auto operand = [&](const void *array, int64_t stride, int64_t size) {
      const auto *data = static_cast<const Bf16 *>(array);
      return Bf16Operand{data, stride, size, whole(data, stride, size)};
    };
    auto *to = static_cast<Bf16 *>(y);
    return product_bf16(call, context, to, whole(to, cols, rows * cols),
                        operand(a, a_stride, rows * inner), a_transposed == 0,
                        operand(b, b_stride, inner * cols), b_transposed != 0, batch, rows, cols,
                        inner);
  }
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const auto operand = [&](const void *array, int64_t stride, int64_t size, bool along) {
      const auto *data = static_cast<const T *>(array);
      return Operand<T, Strided<T>>{{data, stride, size}, along, whole(data, stride, size)};
    };
    auto *to = static_cast<T *>(y);
    product(call, context, operand(a, a_stride, rows * inner, a_transposed == 0),
            operand(b, b_stride, inner * cols, b_transposed != 0),
            ToRows<T>{to, cols, rows * cols, whole(to, cols, rows * cols), false}, batch,
            Extent{rows}, cols, Extent{inner});
  });
  return call.status();
}
