// SPDX-License-Identifier: Apache-2.0
// matmul: a batch of matrix products, any of the two operands transposed.
// y[g,r,c] = sum over k of op(a)[g,r,k] op(b)[g,k,c]
// Shapes   y [batch, rows, cols]; a [batch, rows, inner] or its transpose; b [batch, inner, cols]
//          or its transpose; row-major, contiguous, no aliasing
// Method   register tiles on packed operands (tile.h); parallel over the batch, else over blocks of
//          rows or columns, which never share an output; bf16 packed by pairs or as floats
// Order    one chain of fused multiply-adds per element, k upwards; bf16 as tile_bf16.h says
// Error    <= 2 x the plain loop
// Work     2 rows cols inner flops a product; each operand read once, y written once
// Source   Goto, van de Geijn, ACM TOMS 34(3), 2008
#include "guards/matmul.h"
#include "context.h"
#include "tile_bf16.h"

namespace {

// How one product is cut: into blocks of whole tiles along its rows or its columns.
struct Cut {
  int64_t row_blocks, col_blocks;
};

Cut cut(int64_t batch, int64_t rows, int64_t cols, int64_t inner, int64_t threads, int64_t tile) {
  constexpr double kSerial = 1 << 18;  // below this many products a second thread does not pay
  const double work = static_cast<double>(rows) * static_cast<double>(cols) * inner;
  if (threads == 1 || work * batch < kSerial || batch >= 4 * threads) return {1, 1};
  const int64_t wanted = std::max<int64_t>(1, std::min<int64_t>(2 * threads, work / kSerial));
  // Cut the longer side: the shorter operand is packed once per block.
  if (rows >= cols) return {std::min(wanted, panels_of(rows)), 1};
  return {1, std::min(wanted, (cols + tile - 1) / tile)};
}

// Bytes of scratch per thread.
template <class S>
int64_t room(int64_t inner) {
  using T = UnitOf<S>;
  const bool waits = std::is_same_v<S, Bf16> && inner > kDepth * kPerUnit<T>;
  return Scratch::bytes<T>(kProductScratch<T>) + (waits ? Scratch::bytes<float>(kSums) : 0);
}

template <class S>
void multiply(pnd_context *context, S *y, const S *a, const S *b, int64_t batch, int64_t rows,
              int64_t cols, int64_t inner, bool a_transposed, bool b_transposed) {
  using T = UnitOf<S>;
  const int64_t tile = kTileCols<T>;
  const Cut blocks = cut(batch, rows, cols, inner, context->threads, tile);
  const int64_t per_product = blocks.row_blocks * blocks.col_blocks;
  const int64_t a_stride = a_transposed ? rows : inner, b_stride = b_transposed ? inner : cols;
  // Block boundaries are whole tiles.
  const auto bound = [](int64_t i, int64_t blocks, int64_t n, int64_t unit) {
    return std::min(n, i * ((n + unit - 1) / unit) / blocks * unit);
  };
  parallel(context, batch * per_product, [&](int64_t chunk, int worker) {
    const int64_t g = chunk / per_product, i = chunk % per_product;
    const int64_t ri = i / blocks.col_blocks, ci = i % blocks.col_blocks;
    const int64_t r0 = bound(ri, blocks.row_blocks, rows, kTileRows);
    const int64_t r1 = bound(ri + 1, blocks.row_blocks, rows, kTileRows);
    const int64_t c0 = bound(ci, blocks.col_blocks, cols, tile);
    const int64_t c1 = bound(ci + 1, blocks.col_blocks, cols, tile);
    const Matrix<S> left{a + g * rows * inner + r0 * (a_transposed ? 1 : inner), a_stride,
                         a_transposed};
    const Matrix<S> right{b + g * inner * cols + c0 * (b_transposed ? inner : 1), b_stride,
                          b_transposed};
    S *to = y + g * rows * cols + r0 * cols + c0;
    Scratch scratch(context, worker);
    T *packed = scratch.take<T>(kProductScratch<T>);
    if constexpr (std::is_same_v<S, Bf16>) {
      float *sums = inner > kDepth * kPerUnit<T> ? scratch.take<float>(kSums) : nullptr;
      product(to, cols, left, right, r1 - r0, c1 - c0, inner, packed, sums);
    } else {
      product(to, cols, left, right, r1 - r0, c1 - c0, inner, false, packed);
    }
  });
}

}  // namespace

int32_t pnd_matmul(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                   int64_t batch, int64_t rows, int64_t cols, int64_t inner, int32_t a_transposed,
                   int32_t b_transposed) {
  Call call(context, "matmul");
  guard::matmul(call, dtype, y, a, b, batch, rows, cols, inner, a_transposed, b_transposed);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    if (call.reserve(room<S>(inner)).refused()) return;
    multiply(context, static_cast<S *>(y), static_cast<const S *>(a), static_cast<const S *>(b),
             batch, rows, cols, inner, a_transposed != 0, b_transposed != 0);
  });
  return call.status();
}
