// SPDX-License-Identifier: Apache-2.0
// context.h: what a kernel file needs from its context: argument checks, scratch memory, parallel
// loops. A kernel file reads: Call (names the function, refuses bad arguments, marks the context
// busy), reserve (scratch), parallel (work), PND_OK.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "ponder.h"

constexpr int64_t kAlignment = 64;

// A pool that runs numbered chunks on the caller and its workers. Workers spin briefly, then sleep.
class Workers;

struct pnd_context {
  Workers *workers;
  int32_t threads;
  int64_t limit;
  int64_t used;
  int64_t peak;
  struct Blocks *blocks;  // what pnd_allocate gave out
  char *scratch;          // (threads + 1) areas of scratch_size bytes, the last one shared
  int64_t scratch_size;
  std::atomic<bool> busy;
  char message[512];
};

// The checks of one call. Each check keeps the first refusal; the context is free again when the
// call's object goes.
class Call {
 public:
  Call(pnd_context *context, const char *name);
  ~Call();
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  // The element type: float types only, or any type.
  Call &dtype(int32_t dtype);
  Call &any_dtype(int32_t dtype);
  // A size is at least 1; a value lies in [low, high].
  Call &size(const char *name, int64_t value);
  Call &range(const char *name, int64_t value, int64_t low, int64_t high);
  // Arrays of the call's dtype, or of element_bytes each, with the product of sizes elements.
  Call &output(const char *name, const void *array, std::initializer_list<int64_t> sizes,
               int64_t element_bytes = 0);
  Call &input(const char *name, const void *array, std::initializer_list<int64_t> sizes,
              int64_t element_bytes = 0);
  Call &nullable_output(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                        int64_t element_bytes = 0);
  Call &nullable_input(const char *name, const void *array, std::initializer_list<int64_t> sizes,
                       int64_t element_bytes = 0);
  // Index values, read: each in [low, high).
  Call &indices(const char *name, const int32_t *index, int64_t count, int64_t low, int64_t high);
  // Any other rule, printf-style.
  Call &require(bool holds, const char *format, ...) __attribute__((format(printf, 3, 4)));

  // Scratch of at least that many bytes per thread and that many shared ones.
  Call &reserve(int64_t bytes_per_thread, int64_t shared_bytes = 0);

  bool refused() const { return status_ != PND_OK; }
  int32_t status() const { return status_; }

 private:
  Call &array(const char *name, const void *array, std::initializer_list<int64_t> sizes,
              int64_t element_bytes, bool writes);
  Call &refuse(int32_t status, const char *format, ...) __attribute__((format(printf, 3, 4)));

  struct Range {
    const char *name;
    uintptr_t first, last;
    bool writes;
  };
  pnd_context *context_;
  const char *name_;
  int32_t status_ = PND_OK;
  int64_t element_bytes_ = 0;
  bool holds_ = false;
  int ranges_ = 0;
  Range range_[20];
};

// Runs f(float{}) or f(double{}).
template <class F>
inline int32_t by_type(int32_t dtype, F &&f) {
  if (dtype == PND_F32) {
    f(float{});
  } else {
    f(double{});
  }
  return PND_OK;
}

// Hands out pieces of a thread's scratch memory (worker from parallel, or kShared), each aligned.
constexpr int kShared = -1;
class Scratch {
 public:
  Scratch(const pnd_context *context, int worker)
      : next_(context->scratch +
              (worker == kShared ? context->threads : worker) * context->scratch_size) {}
  template <class T>
  T *take(int64_t count) {
    T *piece = reinterpret_cast<T *>(next_);
    next_ += bytes<T>(count);
    return piece;
  }
  // What take(count) uses, for reserve. Pieces are staggered: page-aligned ones share cache sets.
  template <class T>
  static constexpr int64_t bytes(int64_t count) {
    const int64_t plain = (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment;
    return (plain + 9) * kAlignment;
  }

 private:
  char *next_;
};

using ChunkFunction = void (*)(void *body, int64_t chunk, int worker);
void run_chunks(pnd_context *context, int64_t chunks, ChunkFunction run, void *body);

// Calls body(chunk, worker) for each chunk in [0, chunks) on all threads. Chunks are started in
// rising order.
template <class Body>
inline void parallel(pnd_context *context, int64_t chunks, Body &&body) {
  using B = std::remove_reference_t<Body>;
  if (chunks == 1 || context->threads == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
    return;
  }
  run_chunks(
      context, chunks,
      [](void *b, int64_t chunk, int worker) { (*static_cast<B *>(b))(chunk, worker); }, &body);
}

// Calls body(first, last, worker) on ranges that cover [0, n). The ranges depend on the number of
// threads: for work whose elements do not meet. Below `serial` elements one range is used.
template <class Body>
inline void parallel_ranges(pnd_context *context, int64_t n, int64_t serial, Body &&body) {
  const int64_t most = static_cast<int64_t>(context->threads) * 4;
  const int64_t wanted = n / (serial / 2 + 1);
  const int64_t chunks = wanted < 2 ? 1 : wanted < most ? wanted : most;
  parallel(context, chunks, [&](int64_t chunk, int worker) {
    // (n / chunks) first, so that no product overflows.
    const int64_t size = n / chunks, rest = n % chunks;
    const int64_t first = chunk * size + (chunk < rest ? chunk : rest);
    body(first, first + size + (chunk < rest ? 1 : 0), worker);
  });
}
