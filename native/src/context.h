// SPDX-License-Identifier: Apache-2.0
// context.h: what a kernel file needs from its context: argument checks (shared/call.h),
// scratch memory, parallel loops.
#pragma once

#include <cstdint>
#include <type_traits>

#include "call.h"

// A pool that runs numbered chunks on the caller and its workers. Workers spin briefly, then sleep.
class Workers;

struct pnd_context : Caller {
  Workers *workers;
  int32_t threads;
  struct Blocks *blocks;  // what pnd_allocate gave out
  char *scratch;          // an area of scratch_size bytes per thread, then shared_size bytes
  int64_t scratch_size, shared_size;
};

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

// The same, on the calling thread where the work is too small for several.
template <class Body>
inline void parallel(pnd_context *context, int64_t chunks, bool small, Body &&body) {
  if (!small) return parallel(context, chunks, body);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
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
