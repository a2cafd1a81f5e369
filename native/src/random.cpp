// SPDX-License-Identifier: Apache-2.0
// random: the Philox stream as words and as uniform numbers.
// y[4 j + w] = word w of block first + j;  y[i] in [0, 1) from those words
// Shapes   y [n]; step [1]
// Method   one block per four words (shared/philox.h), blocks in any order
// Order    each block alone
// Error    exact
// Work     20 products of 32 bits per four words
// Source   Salmon, Moraes, Dror, Shaw, SC 2011
#include <cstring>

#include "map.h"

#include "philox.h"

namespace {

// Words [first, last) of the stream that begins with block `start`; first is a multiple of 4.
void words(uint32_t *y, uint32_t start, const PhiloxStream &stream, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; i += 4) {
    const PhiloxBlock block = philox_block(start + static_cast<uint32_t>(i / 4), stream);
    std::memcpy(y + i - first, block.word, std::min<int64_t>(4, last - i) * sizeof(uint32_t));
  }
}

constexpr int64_t kPiece = 1024;  // words made before they are turned into numbers

}  // namespace

int32_t pnd_philox(pnd_context *context, uint32_t *y, const int64_t *step, int64_t n, int64_t first,
                   int64_t row, int64_t key) {
  Call call(context, "philox");
  call.size("n", n).output("y", y, {n}, sizeof *y).input("step", step, {1}, sizeof *step);
  if (call.refused()) return call.status();
  const PhiloxStream stream = philox_stream(row, *step, key);
  parallel_lines(context, n, kSerialFormula, [&](int64_t i, int64_t end) {
    words(y + i, static_cast<uint32_t>(first), stream, i, end);
  });
  return PND_OK;
}

int32_t pnd_uniform(pnd_context *context, int32_t dtype, void *y, const int64_t *step, int64_t n,
                    int64_t row, int64_t key) {
  Call call(context, "uniform");
  call.dtype(dtype).size("n", n).output("y", y, {n}).input("step", step, {1}, sizeof *step);
  if (call.refused()) return call.status();
  const PhiloxStream stream = philox_stream(row, *step, key);
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int64_t kWords = sizeof(T) / sizeof(uint32_t);
    T *to = static_cast<T *>(y);
    parallel_lines(context, n, kSerialFormula, [&](int64_t first, int64_t last) {
      uint32_t piece[kPiece];
      for (int64_t i = first; i < last; i += kPiece / kWords) {
        const int64_t count = std::min(kPiece / kWords, last - i);
        words(piece, 0, stream, i * kWords, (i + count) * kWords);
        for (int64_t j = 0; j < count; ++j) {
          if constexpr (kWords == 1) {
            to[i + j] = uniform_of(piece[j]);
          } else {
            to[i + j] = uniform_of(piece[2 * j], piece[2 * j + 1]);
          }
        }
      }
    });
  });
}
