// SPDX-License-Identifier: Apache-2.0
// fibers: the schedule, barriers and collectives of a simulated grid.
#include "fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "async.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#ifdef PND_SIMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
constexpr bool kWatchesRaces = true;
#else
constexpr bool kWatchesRaces = false;
#endif

namespace simulator {

// ThreadSanitizer is told of the order that barriers make, and of no other.
void publish([[maybe_unused]] void *at) {
#ifdef PND_SIMULATOR_TSAN
  __tsan_release(at);
#endif
}
void observe([[maybe_unused]] void *at) {
#ifdef PND_SIMULATOR_TSAN
  __tsan_acquire(at);
#endif
}

static std::string say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static std::string say(const char *format, ...) {
  char text[400];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  return text;
}

std::string text_of(Place place) {
  const char *slash = place.file == nullptr ? nullptr : std::strrchr(place.file, '/');
  return say("%s:%d", slash != nullptr ? slash + 1 : place.file, place.line);
}

namespace {

constexpr size_t kStack = 256 << 10;
constexpr size_t kPage = 4096;
constexpr size_t kSharedAlignment = 1024;
constexpr int kMostIdleTurns = 100000;  // passes in which threads only gave way to others
constexpr unsigned kBlockShift = 37;    // how far a thread's stack moves from block to block

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

Grid grid;
std::mutex one_launch;

// The block of the thread that runs.
Block &own_block() { return grid.blocks[grid.current->slot]; }

std::string name_of(const Fiber &f) {
  return say("block (%u, %u, %u), thread (%u, %u, %u)", f.block.x, f.block.y, f.block.z, f.thread.x,
             f.thread.y, f.thread.z);
}

// ---- from one stack to another ------------------------------------------------------------------

#if defined(__x86_64__)
extern "C" void pnd_simulator_switch(void **save, void *load);
asm(R"(
.text
.globl pnd_simulator_switch
.hidden pnd_simulator_switch
.type pnd_simulator_switch, @function
pnd_simulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pnd_simulator_switch, .-pnd_simulator_switch
)");
#endif

void switch_stack(Stack *from, Stack *to, [[maybe_unused]] bool ends) {
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
void rest(State state, Place place) {
  Fiber *me = grid.current;
  me->state = state;
  me->place = place;
  if (state != State::GaveWay) ++grid.progress;
  switch_stack(me->stack, &grid.scheduler, false);
}

[[noreturn]] void end_fiber() {
  publish(&grid.end);
  Fiber *me = grid.current;
  me->state = State::Ended;
  ++grid.progress;
  switch_stack(me->stack, &grid.scheduler, true);
  std::abort();
}

[[noreturn]] void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
  const void *bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  grid.scheduler.memory = static_cast<char *>(const_cast<void *>(bottom));
  grid.scheduler.size = size;
#endif
  observe(&grid.start);
  (*grid.body)();
  Fiber *me = grid.current;
  for (Unit unit : {Unit::Stores, Unit::Products}) {
    const Work *left = handed_over(unit).first();
    if (left != nullptr) fail("a thread ends before this is done", left->place);
  }
  Block &block = own_block();
  ++block.ended;
  block.warps[me->warp].ended |= 1u << me->lane;
  for (const Barrier *barrier : {&block.barrier, &grid.barrier}) {
    if (barrier->arrived == 0) continue;
    grid.error =
        name_of(*me) + " ended while others wait at the barrier in " + text_of(barrier->place);
  }
  end_fiber();
}

Stack *new_stack() {
  grid.stacks.push_back(std::make_unique<Stack>());
  Stack *stack = grid.stacks.back().get();
  stack->memory = static_cast<char *>(mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (stack->memory == MAP_FAILED) std::abort();
  mprotect(stack->memory, kPage, PROT_NONE);
#ifdef PND_SIMULATOR_TSAN
  stack->tsan = __tsan_create_fiber(0);
#endif
  return stack;
}

// Makes a stack one on which fiber_main begins.
void prepare(Stack *stack) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(stack->memory + kPage, kStack - kPage);
#endif
#if defined(__x86_64__)
  // As if fiber_main had been called: the stack is 8 beyond a multiple of 16, and six registers
  // wait to be taken off.
  void **top = reinterpret_cast<void **>(stack->memory + kStack) - 3;
  *--top = reinterpret_cast<void *>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  stack->pointer = top;
#else
  getcontext(&stack->registers);
  stack->registers.uc_stack.ss_sp = stack->memory + kPage;
  stack->registers.uc_stack.ss_size = kStack - kPage;
  stack->registers.uc_link = nullptr;
  makecontext(&stack->registers, reinterpret_cast<void (*)()>(&fiber_main), 0);
#endif
}

// ---- the schedule -------------------------------------------------------------------------------

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

void free_shared() {
  for (void *shared : grid.shared) std::free(shared);
  grid.shared.clear();
}

// Which block comes k-th.
uint64_t block_in_turn(uint64_t k, uint64_t count, unsigned seed) {
  if (seed == 0) return k;
  if (seed == 1) return count - 1 - k;
  uint64_t step = 2654435761u % count;
  while (std::gcd(step, count) != 1) ++step;
  return (k % count * (step % count) + seed) % count;
}

}  // namespace

const Self &self() { return *grid.current; }

void fail(std::string sentence, Place place) {
  grid.error = name_of(*grid.current) + " in " + text_of(place) + ": " + sentence;
  sentence = std::string();  // nothing is destroyed on a stack that is left
  end_fiber();
}

void yield(Place place) { rest(State::GaveWay, place); }

void rest_for(const void *what, const char *note, Place place) {
  grid.current->rests_for = what;
  grid.current->note = note;
  rest(State::Rests, place);
}

void wake(const void *what) {
  for (Fiber &f : own_block().fibers) {
    if (f.state == State::Rests && f.rests_for == what) f.state = State::Ready;
  }
}

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

void collective(uint32_t mask, void *slot, Exchange exchange, bool orders, Place place) {
  Fiber *me = grid.current;
  Block &block = own_block();
  Warp &warp = block.warps[me->warp];
  if ((mask >> me->lane & 1) == 0) fail("a collective whose mask leaves out its caller", place);
  if ((mask & warp.ended) != 0) fail("a collective with lanes that have ended", place);
  warp.slot[me->lane] = slot;
  warp.exchange[me->lane] = exchange;
  warp.mask[me->lane] = mask;
  warp.place[me->lane] = place;
  warp.arrived |= 1u << me->lane;
  const auto lowest = static_cast<unsigned>(__builtin_ctz(mask));
  char *order = &warp.order[lowest][warp.turn[lowest] % 2];
  if (orders) publish(order);
  if ((warp.arrived & mask) != mask) {
    rest(State::InCollective, place);
  } else {
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      if (warp.exchange[lane] != exchange || warp.mask[lane] != mask ||
          warp.place[lane].line != place.line) {
        fail("a collective, while other lanes are in that in " + text_of(warp.place[lane]), place);
      }
    }
    exchange(warp.slot, mask);
    warp.arrived &= ~mask;
    ++warp.turn[lowest];
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if ((mask >> lane & 1) != 0 && lane != me->lane) {
        block.fibers[me->warp * kWarp + lane].state = State::Ready;
      }
    }
  }
  if (orders) observe(order);
}

uint64_t shuffle(uint32_t mask, uint64_t value, unsigned source, Place place) {
  struct Slot {
    uint64_t given, taken;
    unsigned source;
    bool found;
  } slot{value, 0, source, true};
  collective(
      mask, &slot,
      [](void **slots, uint32_t lanes) {
        for (unsigned lane = 0; lane < kWarp; ++lane) {
          if ((lanes >> lane & 1) == 0) continue;
          auto *to = static_cast<Slot *>(slots[lane]);
          to->found = (lanes >> to->source & 1) != 0;
          if (to->found) to->taken = static_cast<Slot *>(slots[to->source])->given;
        }
      },
      false, place);
  if (!slot.found) fail("a shuffle that reads a lane outside of its mask", place);
  return slot.taken;
}

uint32_t ballot(uint32_t mask, bool yes, Place place) {
  struct Slot {
    bool yes;
    uint32_t all;
  } slot{yes, 0};
  collective(
      mask, &slot,
      [](void **slots, uint32_t lanes) {
        uint32_t all = 0;
        for (unsigned lane = 0; lane < kWarp; ++lane) {
          if ((lanes >> lane & 1) != 0 && static_cast<Slot *>(slots[lane])->yes) all |= 1u << lane;
        }
        for (unsigned lane = 0; lane < kWarp; ++lane) {
          if ((lanes >> lane & 1) != 0) static_cast<Slot *>(slots[lane])->all = all;
        }
      },
      false, place);
  return slot.all;
}

void copy_words(void *to, const void *from, size_t bytes) {
  size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    uint64_t word;
    __builtin_memcpy(&word, static_cast<const char *>(from) + i, 8);
    *reinterpret_cast<volatile uint64_t *>(static_cast<char *>(to) + i) = word;
  }
  for (; i < bytes; ++i) static_cast<volatile char *>(to)[i] = static_cast<const char *>(from)[i];
}

bool &registers_fenced() { return grid.current->fenced; }

Work *WorkList::add(const Work &work) {
  Work *made = grid.spare;
  if (made == nullptr) {
    made = new Work;
  } else {
    grid.spare = made->next;
  }
  made->run = work.run;
  made->bytes = work.bytes;
  made->place = work.place;
  made->group = work.group;
  made->next = nullptr;
  copy_words(made->input, work.input, work.bytes);
  (first_ == nullptr ? first_ : last_->next) = made;
  return last_ = made;
}

void WorkList::drop_first() {
  Work *dropped = first_;
  first_ = dropped->next;
  dropped->next = grid.spare;
  grid.spare = dropped;
}

void WorkList::run_first() {
  alignas(64) char input[kMostInput];
  copy_words(input, first_->input, first_->bytes);
  first_->run(input);
  drop_first();
}

void WorkList::clear() {
  while (!empty()) drop_first();
}

WorkList &handed_over(Unit unit) { return grid.current->work[static_cast<size_t>(unit)]; }

Work *hand_over(Unit unit, const Work &work) {
  Work *given = handed_over(unit).add(work);
  given->group = grid.current->groups[static_cast<size_t>(unit)];
  return given;
}

void commit(Unit unit) { ++grid.current->groups[static_cast<size_t>(unit)]; }

void wait_for(Unit unit, unsigned groups_left) {
  WorkList &work = handed_over(unit);
  const unsigned groups = grid.current->groups[static_cast<size_t>(unit)];
  while (!work.empty() && work.first()->group + groups_left < groups) work.run_first();
}

// Shared memory of its own for every block: a sanitizer sees its bounds, and no block the other's
// content. Where races are watched it is kept to the end, or a block that got it from another would
// seem to race with it.
static char *new_shared(size_t bytes) {
  void *shared = nullptr;
  if (posix_memalign(&shared, kSharedAlignment, std::max<size_t>(1, bytes)) != 0) return nullptr;
  grid.shared.push_back(shared);
  std::memset(shared, 0xFF, bytes);
  return static_cast<char *>(shared);
}

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
