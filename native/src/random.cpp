// SPDX-License-Identifier: Apache-2.0
// random: the Philox stream as words and as uniform numbers.
// y[4 j + w] = word w of block first + j;  y[i] in [0, 1) from those words
// Shapes   y [n]; step [1]
// Method   one block per four words, a block per vector lane (random.h), blocks in any order
// Order    each block alone
// Error    exact
// Work     20 products of 32 bits per four words
// Source   Salmon, Moraes, Dror, Shaw, SC 2011
#include "random.h"

#include "guards/random.h"
#include "map.h"

namespace {

constexpr int64_t kPiece = 1024;  // words made before they are turned into numbers

// y[i] from word i, or from the words 2 i and 2 i + 1.
void numbers(float *y, const uint32_t *words, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = uniform_of(words[i]);
}
void numbers(double *y, const uint32_t *words, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = uniform_of(words[2 * i], words[2 * i + 1]);
}

}  // namespace

int32_t pnd_philox(pnd_context *context, uint32_t *y, const int64_t *step, int64_t n, int64_t first,
                   int64_t row, int64_t key) {
  Call call(context, "philox");
  guard::philox(call, y, step, n, first, row, key);
  if (call.refused()) return call.status();
  const PhiloxStream stream = philox_stream(row, *step, key);
  parallel_lines(context, n, kSerialFormula, [&](int64_t i, int64_t end) {
    philox_words(y + i, static_cast<uint32_t>(first), stream, i, end);
  });
  return PND_OK;
}

int32_t pnd_uniform(pnd_context *context, int32_t dtype, void *y, const int64_t *step, int64_t n,
                    int64_t row, int64_t key) {
  Call call(context, "uniform");
  guard::uniform(call, dtype, y, step, n, row, key);
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
        philox_words(piece, 0, stream, i * kWords, (i + count) * kWords);
        numbers(to + i, piece, count);
      }
    });
  });
}
