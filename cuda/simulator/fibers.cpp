// SPDX-License-Identifier: Apache-2.0
// fibers: the threads of a grid and their stacks: how one begins, rests, wakes others and ends.
#include "fibers.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "grid.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace simulator {

Grid grid;

std::string text_of(Place place) {
  const std::string file = place.file == nullptr ? "(null)" : place.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(place.line);
}

std::string name_of(const Fiber &f) {
  const uint3 b = f.block, t = f.thread;
  char name[100];
  std::snprintf(name, sizeof name, "block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, t.x,
                t.y, t.z);
  return name;
}

namespace {

constexpr size_t kPage = 4096;

#if defined(__x86_64__)
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
    const Work *left = me->work[static_cast<size_t>(unit)].first();
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

}  // namespace

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

}  // namespace simulator
