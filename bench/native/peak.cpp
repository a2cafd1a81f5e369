// SPDX-License-Identifier: Apache-2.0
// peak: loops that do one thing at the processor's full speed; every share is divided by one.
//
//   int64_t bench_<loop>(int64_t bytes, int64_t rounds)
//
// does it `rounds` times and returns how much was done: operations, numbers or bytes. The caller
// takes the time. `bytes` is the size of the working set, for the loops that have one. A loop
// returns 0 where this processor has no instruction for it. One thread.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#define BENCH_API extern "C" __attribute__((visibility("default"))) int64_t

namespace {

constexpr int kBytes = 64;  // of a vector, or of two or four where they are shorter
constexpr int kChains = 16;

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
using Wide = typename Vector<T>::type;

// Keeps a value and everything before it.
template <class T>
void keep(const T &value) {
  asm volatile("" : : "m"(value) : "memory");
}

// Blocks of memory that grow as asked, first touched here, one for each use.
template <int use>
char *block(int64_t bytes) {
  static char *memory = nullptr;
  static int64_t size = 0;
  if (bytes > size) {
    std::free(memory);
    memory = static_cast<char *>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
    if (memory == nullptr) std::abort();
    std::memset(memory, use, bytes);
    size = bytes;
  }
  return memory;
}

template <class T>
int64_t multiply_add(int64_t rounds) {
  Wide<T> sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = Wide<T>{} + T(i);
  volatile T seed = T(1) / 1024;
  const Wide<T> x = Wide<T>{} + (T(1) - seed), y = Wide<T>{} + seed;
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = sum[i] * x + y;  // contracted: see CMakeLists.txt
    asm volatile("");
  }
  for (const Wide<T> &s : sum) keep(s);
  return rounds * kChains * (kBytes / sizeof(T)) * 2;
}

// exp(x) = 2^n p(r), x log2(e) = n + r: a polynomial of degree 5 for |r| <= 1/2, n by an addition.
Wide<float> exponential(Wide<float> x) {
  const float shift = 12582912;  // 3 * 2^22: the sum's low bits are n
  const Wide<float> sum = x * 1.44269504f + shift;
  const Wide<float> r = x * 1.44269504f - (sum - shift);
  Wide<float> p = r * 1.33335581e-3f + 9.61812911e-3f;
  p = p * r + 5.55041087e-2f;
  p = p * r + 2.40226507e-1f;
  p = p * r + 6.93147181e-1f;
  p = p * r + 1;
  return reinterpret_cast<Wide<float>>(reinterpret_cast<Wide<int32_t>>(p) +
                                       (reinterpret_cast<Wide<int32_t>>(sum) << 23));
}

}  // namespace

BENCH_API bench_fma_f32(int64_t, int64_t rounds) { return multiply_add<float>(rounds); }

BENCH_API bench_fma_f64(int64_t, int64_t rounds) { return multiply_add<double>(rounds); }

BENCH_API bench_dot_bf16(int64_t, int64_t rounds) {
#if defined(__AVX512BF16__)
  __m512 sum[kChains];
  for (__m512 &s : sum) s = _mm512_setzero_ps();
  const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], x, x);
    asm volatile("");
  }
  for (const __m512 &s : sum) keep(s);
  return rounds * kChains * 32 * 2;
#else
  (void)rounds;
  return 0;
#endif
}

// In and out of L1: numbers, not operations.
BENCH_API bench_exp(int64_t, int64_t rounds) {
  constexpr int kCount = 128;
  alignas(kBytes) static Wide<float> in[kCount], out[kCount];
  for (int i = 0; i < kCount; ++i) in[i] = Wide<float>{} - 0.1f * static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kCount; ++i) out[i] = exponential(in[i]);
    keep(out);
  }
  return rounds * kCount * (kBytes / 4);
}

BENCH_API bench_read(int64_t bytes, int64_t rounds) {
  const auto *from = reinterpret_cast<const Wide<int64_t> *>(block<1>(bytes));
  const int64_t count = bytes / kBytes / 8 * 8;
  Wide<int64_t> sum[8] = {};
  for (int64_t r = 0; r < rounds; ++r) {
    for (int64_t i = 0; i < count; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) sum[j] |= from[i + j];
    }
    asm volatile("" : : : "memory");
  }
  for (const Wide<int64_t> &s : sum) keep(s);
  return rounds * count * kBytes;
}

// One multiply-add for each float that is read: a matrix times a vector.
BENCH_API bench_fma_read(int64_t bytes, int64_t rounds) {
  const auto *from = reinterpret_cast<const Wide<float> *>(block<3>(bytes));
  const int64_t count = bytes / kBytes / kChains * kChains;
  volatile float seed = 0.5f;
  const Wide<float> x = Wide<float>{} + seed;
  Wide<float> sum[kChains] = {};
  for (int64_t r = 0; r < rounds; ++r) {
    for (int64_t i = 0; i < count; i += kChains) {
#pragma GCC unroll 16
      for (int j = 0; j < kChains; ++j) sum[j] += from[i + j] * x;
    }
    asm volatile("" : : : "memory");
  }
  for (const Wide<float> &s : sum) keep(s);
  return rounds * count * (kBytes / 4) * 2;
}

// By the C library's memcpy, which writes past the caches where that pays; read and written count.
// Half of `bytes` is copied to the other half.
BENCH_API bench_copy(int64_t bytes, int64_t rounds) {
  char *memory = block<2>(bytes);
  for (int64_t r = 0; r < rounds; ++r) {
    std::memcpy(memory, memory + bytes / 2, bytes / 2);
    asm volatile("" : : : "memory");
  }
  return rounds * bytes;
}
