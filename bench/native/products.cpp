// SPDX-License-Identifier: Apache-2.0
// products: matrix products of a Ponder library beside OpenBLAS and the measured peak.
//
//   products LIBRARY [LIBRARY ...]        OPENBLAS=path of libopenblas.so.0, if it is elsewhere
//
// One thread. For each shape all libraries run in turn, fifteen rounds over, and the median of each
// is taken, in thread processor time: the ratio holds when the machine's speed drifts. OpenBLAS
// chooses its kernels at start (OPENBLAS_CORETYPE=HASWELL, ZEN, SKYLAKEX, COOPERLAKE ...); run this
// once for each and keep its fastest. The peak is eight vectors of independent multiply-adds.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "ponder.h"

namespace {

using Gemm32 = void (*)(int, int, int, int, int, int, float, const float *, int, const float *, int,
                        float, float *, int);
using Gemm64 = void (*)(int, int, int, int, int, int, double, const double *, int, const double *,
                        int, double, double *, int);

template <class F>
F symbol(void *library, const char *name) {
  return reinterpret_cast<F>(dlsym(library, name));
}

double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Ours {
  std::string build;
  pnd_context *context;
  decltype(&pnd_matmul) matmul;
};

Ours open_library(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(2);
  }
  Ours ours;
  char build[64];
  symbol<decltype(&pnd_build)>(library, "pnd_build")(nullptr, build, sizeof build);
  ours.build = build;
  if (symbol<decltype(&pnd_open)>(library, "pnd_open")(&ours.context, 1, 0) != PND_OK) std::exit(2);
  ours.matmul = symbol<decltype(&pnd_matmul)>(library, "pnd_matmul");
  return ours;
}

struct Shape {
  bool a_transposed, b_transposed;
  int rows, cols, inner;
};

// Multiply-adds with nothing else: flops per second of the widest vectors of this build.
template <class T>
__attribute__((noinline)) double peak(T seed) {
  typedef T Wide __attribute__((vector_size(64)));
  Wide sum[16];
  for (int i = 0; i < 16; ++i) sum[i] = Wide{} + seed + T(i);
  const Wide x = Wide{} + T(1) - seed, y = Wide{} + seed;
  const long rounds = 4'000'000;
  double best = 1e9;
  for (int repeat = 0; repeat < 9; ++repeat) {
    const double start = thread_seconds();
    for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) sum[i] = sum[i] * x + y;
    }
    best = std::min(best, thread_seconds() - start);
  }
  T use = 0;
  for (const Wide &s : sum) use += s[0];
  volatile T sink = use;
  (void)sink;
  return 2.0 * 16 * (64 / sizeof(T)) * static_cast<double>(rounds) / best;
}

template <class T>
void compare(const std::vector<Ours> &ours, void *openblas, const Shape &s, double peak_flops) {
  std::mt19937 generator(1);
  std::normal_distribution<double> normal;
  std::vector<T> a(static_cast<size_t>(s.rows) * s.inner), b(static_cast<size_t>(s.inner) * s.cols);
  std::vector<T> c(static_cast<size_t>(s.rows) * s.cols);
  for (T &x : a) x = static_cast<T>(normal(generator));
  for (T &x : b) x = static_cast<T>(normal(generator));
  std::vector<std::function<void()>> runs;
  for (const Ours &o : ours) {
    runs.push_back([&, o] {
      o.matmul(o.context, sizeof(T) == 4 ? PND_F32 : PND_F64, c.data(), a.data(), b.data(), 1,
               s.rows, s.cols, s.inner, s.a_transposed, s.b_transposed);
    });
  }
  if (openblas != nullptr) {
    const int lda = s.a_transposed ? s.rows : s.inner, ldb = s.b_transposed ? s.inner : s.cols;
    runs.push_back([&, lda, ldb] {
      const int row_major = 101, ta = 111 + s.a_transposed, tb = 111 + s.b_transposed;
      if constexpr (sizeof(T) == 4) {
        symbol<Gemm32>(openblas, "cblas_sgemm")(row_major, ta, tb, s.rows, s.cols, s.inner, 1,
                                                a.data(), lda, b.data(), ldb, 0, c.data(), s.cols);
      } else {
        symbol<Gemm64>(openblas, "cblas_dgemm")(row_major, ta, tb, s.rows, s.cols, s.inner, 1,
                                                a.data(), lda, b.data(), ldb, 0, c.data(), s.cols);
      }
    });
  }
  const double flops = 2.0 * s.rows * s.cols * s.inner;
  const long repeats = std::max(1L, static_cast<long>(4e8 / flops));
  std::vector<std::vector<double>> seconds(runs.size());
  for (int round = 0; round < 16; ++round) {
    for (size_t i = 0; i < runs.size(); ++i) {
      const double start = thread_seconds();
      for (long r = 0; r < repeats; ++r) runs[i]();
      const double taken = (thread_seconds() - start) / static_cast<double>(repeats);
      if (round > 0) seconds[i].push_back(taken);
    }
  }
  std::printf("| %s %c%c %dx%dx%d |", sizeof(T) == 4 ? "f32" : "f64", s.a_transposed ? 'T' : 'N',
              s.b_transposed ? 'T' : 'N', s.rows, s.cols, s.inner);
  std::vector<double> rate;
  for (std::vector<double> &t : seconds) {
    std::sort(t.begin(), t.end());
    rate.push_back(flops / t[t.size() / 2] * 1e-9);
    std::printf(" %.1f (%.1f-%.1f) |", rate.back(), flops / t.back() * 1e-9,
                flops / t.front() * 1e-9);
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    std::printf(" %.3f of peak |", rate[i] * 1e9 / peak_flops);
    if (openblas != nullptr) std::printf(" %.3f |", rate[i] / rate.back());
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int count, char **arguments) {
  std::vector<Ours> ours;
  for (int i = 1; i < count; ++i) ours.push_back(open_library(arguments[i]));
  if (ours.empty()) {
    std::fprintf(stderr, "usage: products LIBRARY [LIBRARY ...]\n");
    return 2;
  }
  const char *path = std::getenv("OPENBLAS");
  void *openblas = dlopen(path != nullptr ? path : "libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  std::string rival = "none found";
  if (openblas != nullptr) {
    symbol<void (*)(int)>(openblas, "openblas_set_num_threads")(1);
    rival = symbol<char *(*)()>(openblas, "openblas_get_corename")();
  }
  const double peak32 = peak<float>(1e-3f), peak64 = peak<double>(1e-3);
  std::printf("Peak f32 %.1f GFLOP/s, f64 %.1f; OpenBLAS kernels: %s\n\n", peak32 * 1e-9,
              peak64 * 1e-9, rival.c_str());
  std::printf("| GFLOP/s, median (range) |");
  for (const Ours &o : ours) std::printf(" %s |", o.build.c_str());
  if (openblas != nullptr) std::printf(" OpenBLAS |");
  for (const Ours &o : ours) {
    std::printf(" %s share |", o.build.c_str());
    if (openblas != nullptr) std::printf(" %s / OpenBLAS |", o.build.c_str());
  }
  std::printf("\n|---|");
  const size_t columns =
      ours.size() * (openblas != nullptr ? 3 : 2) + (openblas != nullptr ? 1 : 0);
  for (size_t i = 0; i < columns; ++i) std::printf("---|");
  std::printf("\n");
  const Shape shapes[] = {{false, false, 256, 256, 256},  {false, false, 1024, 1024, 1024},
                          {false, true, 2048, 256, 1024}, {true, false, 1024, 256, 2048},
                          {false, true, 64, 64, 64},      {false, false, 64, 64, 64},
                          {false, true, 64, 768, 256},    {true, true, 512, 512, 512}};
  for (const Shape &s : shapes) compare<float>(ours, openblas, s, peak32);
  for (const Shape &s : shapes) compare<double>(ours, openblas, s, peak64);
  return 0;
}
