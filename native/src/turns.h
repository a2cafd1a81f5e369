// SPDX-License-Identifier: Apache-2.0
// turns.h: pieces of an output that several chunks of one parallel loop add to, in a fixed order.
// A chunk may wait only for chunks before it; those have been started, so somebody works on them.
#pragma once

#include <atomic>
#include <cstring>
#include <thread>

#include "context.h"

class Turns {
 public:
  // `pieces` counters in scratch memory.
  Turns(int32_t *done, int64_t pieces) : done_(done) {
    std::memset(done, 0, pieces * sizeof *done);
  }

  // Waits until `turn` chunks have passed the piece.
  void await(int64_t piece, int64_t turn) const {
    const std::atomic_ref<int32_t> done(done_[piece]);
    while (done.load(std::memory_order_acquire) != turn) std::this_thread::yield();
  }
  void pass(int64_t piece) const {
    std::atomic_ref<int32_t>(done_[piece]).fetch_add(1, std::memory_order_release);
  }

 private:
  int32_t *done_;
};
