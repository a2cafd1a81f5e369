// SPDX-License-Identifier: Apache-2.0
// blas.cuh: large matrix products by NVIDIA's cuBLASLt, where this machine has it.
#pragma once

#include "context.cuh"

// The sizes of pnd_matmul.
struct ProductSizes {
  int64_t batch, rows, cols, inner;
  bool a_transposed, b_transposed;
};

// Whether cuBLASLt computes the product: then the call's status is this function's. It does not
// where it is not installed, does not take the product, or the product is not large.
bool blas_computes(Call &call, pnd_context *context, int32_t dtype, void *y, const void *a,
                   const void *b, const ProductSizes &sizes);

// What a context has open of it; null before the first large product.
void close_blas(struct Blas *blas);
