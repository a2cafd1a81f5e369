// SPDX-License-Identifier: Apache-2.0
// guards/context: what the functions of the life cycle refuse.
#pragma once

#include "call.h"

namespace guard {

// The one function that has no call yet: refuses through refuse_open.
inline int32_t open(pnd_context **context, int32_t threads, int64_t memory_limit) {
  if (context == nullptr) return refuse_open(PND_BAD_ARGUMENT, "context is null");
  *context = nullptr;
  if (threads < 0 || threads > 1024) {
    return refuse_open(PND_BAD_ARGUMENT, "threads = %d must lie in [0, 1024]", threads);
  }
  if (memory_limit < 0) {
    return refuse_open(PND_BAD_ARGUMENT, "memory_limit = %lld must not be negative",
                       static_cast<long long>(memory_limit));
  }
  return PND_OK;
}

inline void threads(Call &call, int32_t *threads) {
  call.output("threads", threads, {1}, sizeof *threads);
}

inline void stream(Call &call, void **stream) {
  call.output("stream", stream, {1}, sizeof *stream);
}

inline void recorded(Call &call, void **graph) { call.output("graph", graph, {1}, sizeof *graph); }

inline void allocate(Call &call, void **memory, int64_t bytes) {
  call.output("memory", memory, {1}, sizeof *memory).size("bytes", bytes);
}

// upload, download, copy
inline void copy(Call &call, void *to, const void *from, int64_t bytes) {
  call.size("bytes", bytes).output("to", to, {bytes}, 1).input("from", from, {bytes}, 1);
}

}  // namespace guard
