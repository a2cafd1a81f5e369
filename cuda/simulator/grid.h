// SPDX-License-Identifier: Apache-2.0
// grid: the grid that runs, for the files of the simulator alone: its blocks, warps and threads,
// and how a thread waits. In fibers.cpp a thread begins and ends, schedule.cpp says whose turn it
// is, barriers.cpp and collectives.cpp make threads wait for each other.
#pragma once

#include <ucontext.h>

#include <memory>
#include <vector>

#include "fibers.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PND_SIMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
constexpr bool kWatchesRaces = true;
#else
constexpr bool kWatchesRaces = false;
#endif

namespace simulator {

constexpr size_t kStack = 256 << 10;

enum class State { Ready, AtBarrier, AtGridBarrier, InCollective, Rests, GaveWay, Ended };

// A stack, and where its registers rest while another one runs.
struct Stack {
  void *pointer = nullptr;
  ucontext_t registers;
  char *memory = nullptr;
  size_t size = kStack;
  void *tsan = nullptr;
};

struct Fiber : Self {
  Stack *stack = nullptr;
  State state = State::Ended;
  Place place{};
  const void *rests_for = nullptr;
  const char *note = nullptr;
  WorkList work[kUnits];
  bool fenced = false;
  unsigned groups[kUnits] = {};
};

struct Warp {
  uint32_t arrived = 0, ended = 0;
  unsigned turn[kWarp] = {};  // of the collectives whose lowest lane this is
  char order[kWarp][2];       // what __syncwarp publishes to, in turns
  void *slot[kWarp];
  Exchange exchange[kWarp];
  uint32_t mask[kWarp];
  Place place[kWarp];
};

// Threads that meet at a barrier.
struct Barrier {
  unsigned arrived = 0, turn = 0;
  Place place{};
  char order[2];  // what they publish to, in turns
};

// A block that is running.
struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  unsigned threads = 0, ended = 0;
  Barrier barrier;
};

// The grid that is running. Stacks are kept from launch to launch.
struct Grid {
  std::vector<Block> blocks;  // that run together: all of a cooperative launch, else one
  std::vector<std::unique_ptr<Stack>> stacks;
  std::vector<Stack *> free_stacks;
  Stack scheduler;
  Fiber *current = nullptr;
  const std::function<void()> *body = nullptr;
  bool together = false;
  Barrier barrier;
  uint64_t progress = 0;       // threads that came further than giving way
  char fence, start, end;      // what fences, the launch and its end publish to
  std::vector<void *> shared;  // the blocks' memory
  std::string error;
  unsigned seed = 0;
  Work *spare = nullptr;  // memory of work that has been done
};

extern Grid grid;

// The block of the thread that runs.
inline Block &own_block() { return grid.blocks[grid.current->slot]; }

std::string name_of(const Fiber &f);

// For ThreadSanitizer, which is told of the order that barriers make and of no other: what comes
// before `publish` is ordered before what follows `observe`.
inline void publish([[maybe_unused]] void *at) {
#ifdef PND_SIMULATOR_TSAN
  __tsan_release(at);
#endif
}
inline void observe([[maybe_unused]] void *at) {
#ifdef PND_SIMULATOR_TSAN
  __tsan_acquire(at);
#endif
}

// The way from one stack to another. All of it is inlined where a thread waits: a processor
// foresees where a function returns to by who called it, and is wrong about every call that a
// switch leaves.
#if defined(__x86_64__)
extern "C" void pnd_simulator_switch(void **save, void *load);
#endif
inline void switch_stack(Stack *from, Stack *to, [[maybe_unused]] bool ends) {
#ifdef PND_SIMULATOR_TSAN
  __tsan_switch_to_fiber(to->tsan, 1);  // 1: a switch orders nothing
#endif
#ifdef __SANITIZE_ADDRESS__
  void *fake = nullptr;
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake, to->memory, to->size);
#endif
#if defined(__x86_64__)
  pnd_simulator_switch(&from->pointer, to->pointer);
#else
  swapcontext(&from->registers, &to->registers);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

// Lets others run until it is this fiber's turn again.
inline void rest(State state, Place place) {
  Fiber *me = grid.current;
  me->state = state;
  me->place = place;
  if (state != State::GaveWay) ++grid.progress;
  switch_stack(me->stack, &grid.scheduler, false);
}

// Adds a stack to the grid's.
Stack *new_stack();
// Makes a stack one on which a thread begins.
void prepare(Stack *stack);

}  // namespace simulator
