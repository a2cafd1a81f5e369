// SPDX-License-Identifier: Apache-2.0
// fibers: runs a grid of CUDA threads on the processor, one fiber per thread, one block at a time,
// or all blocks of a cooperative launch together. A fiber runs until it waits for others; then the
// next one does, in an order that the seed sets. Shared memory starts as NaN. What a GPU would hang
// on or leave undefined is an error of the launch: a barrier that not all threads reach, or reach
// in different lines, a collective with lanes missing, a wait that nothing ends. The files of this
// folder other than this header are never built with ThreadSanitizer: it watches the kernels, whose
// order only barriers make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#include "dim3.h"

namespace simulator {

constexpr unsigned kWarp = 32;
constexpr unsigned kWarpgroup = 4 * kWarp;
constexpr uint32_t kAllLanes = 0xffffffffu;

// A line of a kernel.
struct Place {
  const char *file;
  int line;
};

std::string text_of(Place place);

// What a thread knows of itself.
struct Self {
  uint3 thread, block;
  dim3 block_size, grid_size;
  unsigned number, lane, warp;
  size_t slot;  // of the blocks that run together, which one this is
  char *shared;
  size_t shared_bytes;
};
const Self &self();

// Waits until every thread of the block has come to this barrier, in this line.
void barrier(Place place);

// Waits until every thread of the grid has come to this barrier, in this line.
void grid_barrier(Place place);

// Waits until every lane of the mask has come to this collective in this line; the last one runs
// `exchange` on the lanes' slots. Only where `orders` are memory accesses ordered, too.
using Exchange = void (*)(void **slots, uint32_t mask);
void collective(uint32_t mask, void *slot, Exchange exchange, bool orders, Place place);

// A collective by which every lane of the mask gives 8 bytes and gets those of a lane.
uint64_t shuffle(uint32_t mask, uint64_t value, unsigned source, Place place);
// A collective that tells which lanes of the mask said yes.
uint32_t ballot(uint32_t mask, bool yes, Place place);

// Gives the other threads a turn, in a loop that waits for what they do.
void yield(Place place);

// Ends the launch with an error of this thread.
[[noreturn]] void fail(std::string sentence, Place place);

// Rests until another thread wakes those that rest for `what`; the note tells what for.
void rest_for(const void *what, const char *note, Place place);
void wake(const void *what);

// Work for a unit of the machine that does it on its own: a function and what it works on. It is
// done as late as possible, when it is waited for.
constexpr size_t kMostInput = 768;
struct Work {
  void (*run)(void *input) = nullptr;
  alignas(64) char input[kMostInput];
  size_t bytes = 0;
  Place place{};
  unsigned group = 0;
  Work *next = nullptr;
};
template <class Input>
Work work(void (*run)(void *), const Input &input, Place place) {
  static_assert(sizeof input <= kMostInput && std::is_trivially_copyable_v<Input>);
  Work made;
  made.run = run;
  made.bytes = sizeof input;
  made.place = place;
  std::memcpy(made.input, &input, sizeof input);
  return made;
}

// Copies where ThreadSanitizer does not look, which watches every memcpy.
void copy_words(void *to, const void *from, size_t bytes);

// Work in its order.
class WorkList {
 public:
  bool empty() const { return first_ == nullptr; }
  Work *first() const { return first_; }
  Work *add(const Work &work);
  // Does the first of it, with a copy of its input on the caller's stack.
  void run_first();
  void clear() {
    while (!empty()) drop_first();
  }

 private:
  void drop_first();

  Work *first_ = nullptr, *last_ = nullptr;
};

// What a thread has handed to each unit, in groups: cp.async, bulk stores, products.
enum class Unit { Copies, Stores, Products };
constexpr size_t kUnits = 3;
Work *hand_over(Unit unit, const Work &work);
WorkList &handed_over(Unit unit);
void commit(Unit unit);
void wait_for(Unit unit, unsigned groups_left);

// Whether this thread's registers are fenced for products; false at first.
bool &registers_fenced();

// A fence: what this thread wrote before it is seen by threads that pass a fence later.
void fence();

// The largest dynamic shared memory of a block.
constexpr size_t kMostShared = 227 << 10;

// Runs body in every thread of the grid, of all blocks together or of one after another; an empty
// string, or what went wrong. The seed sets the order of blocks, warps and lanes: 0 rising, 1
// falling, else shuffled.
std::string run(dim3 grid, dim3 block, size_t shared_bytes, unsigned seed, bool together,
                const std::function<void()> &body);

}  // namespace simulator
