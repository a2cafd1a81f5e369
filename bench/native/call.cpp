// SPDX-License-Identifier: Apache-2.0
// call: functions that do nothing, reached through FFM by their names and through JNI by their
// twins. JNI's two leading arguments are never used, so that its header is not needed.
#include <cstdint>

#define BENCH_API extern "C" __attribute__((visibility("default"))) int32_t

BENCH_API bench_one(const void *) { return 0; }

BENCH_API bench_six(const void *, const void *, const void *, int64_t, int64_t, double) {
  return 0;
}

BENCH_API Java_ponder_bench_Twin_one(void *, void *, int64_t a) {
  return bench_one(reinterpret_cast<const void *>(a));
}

BENCH_API Java_ponder_bench_Twin_six(void *, void *, int64_t a, int64_t b, int64_t c, int64_t rows,
                                     int64_t cols, double scale) {
  return bench_six(reinterpret_cast<const void *>(a), reinterpret_cast<const void *>(b),
                   reinterpret_cast<const void *>(c), rows, cols, scale);
}
