// SPDX-License-Identifier: Apache-2.0
// matmul: a batch of matrix products, any of the two operands transposed.
// y[g,r,c] = sum over k of op(a)[g,r,k] op(b)[g,k,c]
// Shapes   y [batch, rows, cols]; a [batch, rows, inner] or its transpose; b [batch, inner, cols]
//          or its transpose; row-major, contiguous, no aliasing
// Method   large products by cuBLASLt where there is one (blas.cuh); others: squares of y in
//          registers, slices of a and b through shared memory (product.cuh)
// Order    one chain of fused multiply-adds per element, k upwards: the CPU's bits
// Error    <= 2 x the plain loop
// Work     2 rows cols inner flops a product; each operand read once per row (column) of squares
// Source   Volkov, Demmel, SC 2008
#include "blas.cuh"
#include "product.cuh"

int32_t pnd_matmul(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                   int64_t batch, int64_t rows, int64_t cols, int64_t inner, int32_t a_transposed,
                   int32_t b_transposed) {
  Call call(context, "matmul");
  guard::matmul(call, dtype, y, a, b, batch, rows, cols, inner, a_transposed, b_transposed);
  if (call.refused()) return call.status();
  const ProductSizes sizes{batch, rows, cols, inner, a_transposed != 0, b_transposed != 0};
  if (blas_computes(call, context, dtype, y, a, b, sizes)) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const auto operand = [&](const void *array, int64_t stride, int64_t size, bool along) {
      const auto *data = static_cast<const T *>(array);
      const bool whole = moves_whole(data, stride) && (batch == 1 || size % kWide<T> == 0);
      return Operand<T, Strided<T>>{{data, stride, size}, along, whole};
    };
    auto *to = static_cast<T *>(y);
    const bool whole = moves_whole(to, cols) && (batch == 1 || rows * cols % kWide<T> == 0);
    product(call, context, operand(a, a_transposed ? rows : inner, rows * inner, a_transposed == 0),
            operand(b, b_transposed ? inner : cols, inner * cols, b_transposed != 0),
            ToRows<T>{to, cols, rows * cols, whole, false}, batch, Extent{rows}, cols,
            Extent{inner});
  });
  return call.status();
}
