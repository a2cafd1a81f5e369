// SPDX-License-Identifier: Apache-2.0
// schedule: a launch: its blocks and their memory, and whose turn it is.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>

#include "async.h"
#include "grid.h"

namespace simulator {

namespace {

constexpr size_t kSharedAlignment = 1024;
constexpr int kMostIdleTurns = 100000;  // passes in which threads only gave way to others
constexpr unsigned kBlockShift = 37;    // how far a thread's stack moves from block to block

std::mutex one_launch;

void turn_to(Fiber &f) {
  if (f.stack == nullptr) {
    if (grid.free_stacks.empty()) grid.free_stacks.push_back(new_stack());
    f.stack = grid.free_stacks.back();
    grid.free_stacks.pop_back();
    prepare(f.stack);
  }
  grid.current = &f;
  switch_stack(&grid.scheduler, f.stack, false);
  // A stack serves the next thread, but not where races are watched: two threads that share one
  // would seem to be one.
  if (f.state == State::Ended && !kWatchesRaces) {
    grid.free_stacks.push_back(f.stack);
    f.stack = nullptr;
  }
}

// A permutation of 0 .. n - 1 by the seed.
std::vector<unsigned> order_of(unsigned n, unsigned seed) {
  std::vector<unsigned> order(n);
  std::iota(order.begin(), order.end(), 0u);
  if (seed == 1) std::reverse(order.begin(), order.end());
  uint32_t state = seed * 2654435761u;
  for (unsigned i = n; seed > 1 && i > 1; --i) {
    state = state * 1664525u + 1013904223u;
    std::swap(order[i - 1], order[(state >> 8) % i]);
  }
  return order;
}

void describe_deadlock() {
  const Fiber *first = nullptr, *other = nullptr;
  for (const Block &block : grid.blocks) {
    for (const Fiber &f : block.fibers) {
      if (f.state == State::Ended) continue;
      if (first == nullptr) first = &f;
      if (f.state != first->state || f.place.line != first->place.line) other = &f;
    }
  }
  const auto note = [](const Fiber &f) {
    return f.state == State::Rests ? std::string(" for ") + f.note : std::string();
  };
  grid.error = "deadlock: " + name_of(*first) + " waits in " + text_of(first->place) + note(*first);
  if (other != nullptr) {
    grid.error += ", " + name_of(*other) + " in " + text_of(other->place) + note(*other);
  } else if (first->state != State::Rests) {
    grid.error +=
        first->state == State::Ready ? " for what no thread does" : " for lanes that do not come";
  }
}

// One warp runs until it is stuck, then the next: what a missing barrier leaves to chance goes
// wrong in one order of warps and lanes or another.
void run_warps(Block &block) {
  const auto warp_order = order_of(static_cast<unsigned>(block.warps.size()), grid.seed);
  const auto lane_order = order_of(kWarp, grid.seed);
  for (unsigned w : warp_order) {
    for (bool again = true; again;) {
      again = false;
      for (unsigned lane : lane_order) {
        const unsigned i = w * kWarp + lane;
        if (i >= block.threads || block.fibers[i].state != State::Ready) continue;
        turn_to(block.fibers[i]);
        if (!grid.error.empty()) return;
        again = true;
      }
    }
  }
}

// Likewise of the blocks, which stand in the order of the seed.
void run_blocks() {
  int idle_turns = 0;
  const auto runs = [](const Block &block) { return block.ended < block.threads; };
  while (std::any_of(grid.blocks.begin(), grid.blocks.end(), runs)) {
    const uint64_t before = grid.progress;
    for (Block &block : grid.blocks) {
      for (bool again = true; again;) {
        const uint64_t before_warps = grid.progress;
        run_warps(block);
        if (!grid.error.empty()) return;
        again = grid.progress != before_warps;
      }
    }
    bool gave_way = false;
    for (Block &block : grid.blocks) {
      for (Fiber &f : block.fibers) {
        if (f.state != State::GaveWay) continue;
        f.state = State::Ready;
        gave_way = true;
      }
    }
    const bool idle = grid.progress == before;
    idle_turns = idle ? idle_turns + 1 : 0;
    if ((idle && !gave_way) || idle_turns > kMostIdleTurns) return describe_deadlock();
  }
}

// The block of that number, to run in a slot.
void start_block(dim3 size, dim3 threads, uint64_t number, size_t slot, size_t shared_bytes,
                 char *shared) {
  Block &block = grid.blocks[slot];
  block.threads = threads.x * threads.y * threads.z;
  block.ended = block.barrier.arrived = 0;
  block.fibers.resize(block.threads);
  block.warps.assign((block.threads + kWarp - 1) / kWarp, Warp{});
  if (kWatchesRaces) {
    // Every thread has a stack and an identity of its own, another one in the next block.
    const size_t all = block.threads * grid.blocks.size() + kBlockShift;
    while (grid.stacks.size() < all) new_stack();
  }
  const uint3 place{static_cast<unsigned>(number % size.x),
                    static_cast<unsigned>(number / size.x % size.y),
                    static_cast<unsigned>(number / size.x / size.y)};
  for (unsigned i = 0; i < block.threads; ++i) {
    Fiber &f = block.fibers[i];
    f.thread = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
    f.block = place;
    f.block_size = threads;
    f.grid_size = size;
    f.number = i;
    f.lane = i % kWarp;
    f.warp = i / kWarp;
    f.slot = slot;
    f.shared = shared;
    f.shared_bytes = shared_bytes;
    f.state = State::Ready;
    for (WorkList &work : f.work) work.clear();
    f.fenced = false;
    for (unsigned &groups : f.groups) groups = 0;
    f.stack = nullptr;
    if (kWatchesRaces) {
      const size_t of_block = grid.together ? block.threads * slot : kBlockShift * number;
      f.stack = grid.stacks[(i + of_block) % grid.stacks.size()].get();
      prepare(f.stack);
    }
  }
  // Lanes that a last, partial warp lacks count as ended.
  if (const unsigned last = block.threads % kWarp; last != 0) {
    block.warps.back().ended = kAllLanes << last;
  }
}

// Which block comes k-th.
uint64_t block_in_turn(uint64_t k, uint64_t count, unsigned seed) {
  if (seed == 0) return k;
  if (seed == 1) return count - 1 - k;
  uint64_t step = 2654435761u % count;
  while (std::gcd(step, count) != 1) ++step;
  return (k % count * (step % count) + seed) % count;
}

// Shared memory of its own for every block: a sanitizer sees its bounds, and no block the other's
// content. Where races are watched it is kept to the end, or a block that got it from another would
// seem to race with it.
char *new_shared(size_t bytes) {
  void *shared = nullptr;
  if (posix_memalign(&shared, kSharedAlignment, std::max<size_t>(1, bytes)) != 0) return nullptr;
  grid.shared.push_back(shared);
  std::memset(shared, 0xFF, bytes);
  return static_cast<char *>(shared);
}

void free_shared() {
  for (void *shared : grid.shared) std::free(shared);
  grid.shared.clear();
}

}  // namespace

std::string run(dim3 size, dim3 block, size_t shared_bytes, unsigned seed, bool together,
                const std::function<void()> &body) {
  const std::lock_guard<std::mutex> one(one_launch);
  grid.seed = seed;
  grid.error.clear();
  grid.body = &body;
  grid.together = together;
  grid.barrier.arrived = 0;
#ifdef PND_SIMULATOR_TSAN
  grid.scheduler.tsan = __tsan_get_current_fiber();
#endif
  grid.free_stacks.clear();
  for (const auto &stack : grid.stacks) grid.free_stacks.push_back(stack.get());
  const uint64_t count = static_cast<uint64_t>(size.x) * size.y * size.z;
  const uint64_t at_once = together ? count : 1;
  grid.blocks.resize(at_once);
  for (uint64_t k = 0; k < count && grid.error.empty(); k += at_once) {
    for (uint64_t slot = 0; slot < at_once && grid.error.empty(); ++slot) {
      char *shared = new_shared(shared_bytes);
      if (shared == nullptr) {
        grid.error = "no memory for a block's shared memory";
        break;
      }
      start_block(size, block, block_in_turn(k + slot, count, grid.seed), slot, shared_bytes,
                  shared);
    }
    if (!grid.error.empty()) break;
    publish(&grid.start);
    run_blocks();
    for (uint64_t slot = 0; slot < at_once; ++slot) {
      const std::string left = end_block_async(slot);
      if (grid.error.empty()) grid.error = left;
      // What nobody waited for: the next launch may have fewer threads and blocks.
      for (Fiber &f : grid.blocks[slot].fibers) {
        for (WorkList &work : f.work) work.clear();
      }
    }
    if (!kWatchesRaces) free_shared();
  }
  observe(&grid.end);
  free_shared();
  grid.current = nullptr;
  return grid.error;
}

}  // namespace simulator
