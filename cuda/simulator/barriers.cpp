// SPDX-License-Identifier: Apache-2.0
// barriers: where all threads of a block or of the grid meet.
#include "grid.h"

namespace simulator {

void fence() {
  publish(&grid.fence);
  observe(&grid.fence);
}

// The thread comes to a barrier of `threads` in all; the last one makes those that wait ready.
template <class Ready>
static void meet_at(Barrier &barrier, unsigned threads, State waits, Ready ready, Place place) {
  if (barrier.arrived == 0) {
    barrier.place = place;
  } else if (place.line != barrier.place.line) {
    fail("a barrier, while others wait at that in " + text_of(barrier.place), place);
  }
  char *order = &barrier.order[barrier.turn % 2];
  publish(order);
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.turn;
    ready();
  } else {
    rest(waits, place);
  }
  observe(order);
}

static void make_ready(Block &block, State waited) {
  for (Fiber &f : block.fibers) {
    if (f.state == waited) f.state = State::Ready;
  }
}

void barrier(Place place) {
  Block &block = own_block();
  if (block.ended > 0) fail("a barrier after another thread of the block has ended", place);
  meet_at(
      block.barrier, block.threads, State::AtBarrier, [&] { make_ready(block, State::AtBarrier); },
      place);
}

void grid_barrier(Place place) {
  if (!grid.together) fail("a barrier of the grid in a launch that is not cooperative", place);
  unsigned threads = 0;
  for (const Block &block : grid.blocks) {
    if (block.ended > 0) fail("a barrier after another thread of the grid has ended", place);
    threads += block.threads;
  }
  meet_at(
      grid.barrier, threads, State::AtGridBarrier,
      [] {
        for (Block &block : grid.blocks) make_ready(block, State::AtGridBarrier);
      },
      place);
}

}  // namespace simulator
