// SPDX-License-Identifier: Apache-2.0
// fibers: runs a grid of CUDA threads on the processor, one fiber per thread, one block at a time.
// A fiber runs until it waits for others; then the next one does, in an order that the seed sets.
// Shared memory starts as NaN. What a GPU would hang on or leave undefined is an error of the
// launch: a barrier that not all threads reach, or reach in different lines, a collective with
// lanes missing, a wait that nothing ends. The files of this folder other than this header are
// never built with ThreadSanitizer: it watches the kernels, whose order only barriers make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "dim3.h"

namespace simulator {

constexpr unsigned kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// A line of a kernel.
struct Place {
  const char *file;
  int line;
};

// What a thread knows of itself.
struct Self {
  uint3 thread, block;
  dim3 block_size, grid_size;
  unsigned number, lane, warp;
  char *shared;
  size_t shared_bytes;
};
const Self &self();

// Waits until every thread of the block has come to this barrier, in this line.
void barrier(Place place);

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

// Asynchronous copies of this thread: they happen when their group is waited for.
void copy_later(void *to, const void *from, size_t bytes,
                void (*copy)(void *, const void *, size_t), Place place);
void commit_copies();
void wait_for_copies(unsigned groups_left);

// A fence: what this thread wrote before it is seen by threads that pass a fence later.
void fence();

// The largest dynamic shared memory of a block.
constexpr size_t kMostShared = 227 << 10;

// Runs body in every thread of the grid; an empty string, or what went wrong. The seed sets the
// order of blocks, warps and lanes: 0 rising, 1 falling, else shuffled.
std::string run(dim3 grid, dim3 block, size_t shared_bytes, unsigned seed,
                const std::function<void()> &body);

}  // namespace simulator
