// SPDX-License-Identifier: Apache-2.0
// async: mbarriers, views of shared memory, parts of a block.
#include "async.h"

#include <memory>
#include <vector>

#include "grid.h"

namespace simulator {
namespace {

constexpr unsigned kMostMbarriers = 64;
constexpr unsigned kMostArrivals = (1u << 20) - 1;
constexpr int64_t kMostBytes = (1 << 20) - 1;
constexpr unsigned kNamed = 16, kWarpgroups = 1024 / kWarpgroup;

struct Mbarrier {
  uint64_t *at = nullptr;
  unsigned arrivals = 0, pending = 0, phase = 0;
  int64_t bytes = 0;  // expected and not yet copied
  WorkList copies;    // whose groups are their bytes

  // What ThreadSanitizer knows a phase by: an address that no other block has.
  void *order(unsigned of_phase) const { return reinterpret_cast<char *>(at) + of_phase % 2 * 4; }
};

struct Meeting {
  unsigned arrived = 0, threads = 0, turn = 0;
  uint64_t value = 0;
  Place place{};
  char order[2];
};

// What a block has.
struct Units {
  Mbarrier mbarriers[kMostMbarriers];
  unsigned used = 0;
  Meeting meetings[kNamed + kWarpgroups];
  char view[kMostShared];  // shared memory as the async proxy sees it
  bool viewed = false;
};
std::vector<std::unique_ptr<Units>> all_units;  // by the blocks' slots

Units &of_block(size_t slot) {
  while (all_units.size() <= slot) all_units.push_back(std::make_unique<Units>());
  return *all_units[slot];
}
// Of the block of the thread that runs.
Units &own() { return of_block(self().slot); }

Mbarrier *find(const uint64_t *at) {
  Units &units = own();
  for (unsigned i = 0; i < units.used; ++i) {
    if (units.mbarriers[i].at == at) return &units.mbarriers[i];
  }
  return nullptr;
}

Mbarrier &the(const uint64_t *at, Place place) {
  Mbarrier *found = find(at);
  if (found == nullptr) fail("an mbarrier that nobody has initialised", place);
  return *found;
}

// Its place in the view, which starts as shared memory does: NaN.
char *seen(const void *at, size_t bytes, Place place) {
  require_shared(at, bytes, place);
  const Self &me = self();
  Units &units = own();
  for (size_t i = 0; !units.viewed && i < me.shared_bytes; ++i) {
    static_cast<volatile char *>(units.view)[i] = '\xFF';
  }
  units.viewed = true;
  return units.view + (static_cast<const char *>(at) - me.shared);
}

void end_phase(Mbarrier &b, Place place) {
  if (b.pending > 0 || b.bytes != 0) return;
  if (!b.copies.empty()) fail("a phase ends that does not expect the bytes of its copies", place);
  b.pending = b.arrivals;
  ++b.phase;
}

// Copies happen at the latest here. They write what the mbarrier's waiters read, in the name of the
// thread that runs them.
void copy_now(Mbarrier &b) {
  while (b.pending == 0 && !b.copies.empty()) {
    const Place place = b.copies.first()->place;
    const unsigned bytes = b.copies.first()->group;
    observe(b.order(b.phase));
    b.copies.run_first();
    publish(b.order(b.phase));
    b.bytes -= bytes;
    if (b.bytes < 0) fail("a copy of more bytes than its phase expects", place);
    end_phase(b, place);
    wake(b.at);
  }
}

}  // namespace

void require_mbarrier(const uint64_t *at, uint64_t content, Place place) {
  if (content != kMbarrier) fail("an mbarrier that is not initialised or written over", place);
  the(at, place);
}

void init_mbarrier(uint64_t *at, unsigned arrivals, Place place) {
  if (reinterpret_cast<uintptr_t>(at) % sizeof *at != 0) fail("a misaligned mbarrier", place);
  require_shared(at, sizeof *at, place);
  if (arrivals < 1 || arrivals > kMostArrivals) fail("an mbarrier of too many arrivals", place);
  if (find(at) != nullptr) fail("an mbarrier that is initialised again", place);
  Units &units = own();
  if (units.used == kMostMbarriers) fail("more mbarriers than the simulator has", place);
  Mbarrier &b = units.mbarriers[units.used++];
  b = {};
  b.at = at;
  b.arrivals = b.pending = arrivals;
}

void end_mbarrier(uint64_t *at, Place place) {
  Mbarrier &b = the(at, place);
  if (!b.copies.empty()) fail("an mbarrier that ends before its copies", place);
  Units &units = own();
  b = units.mbarriers[--units.used];
}

void arrive(uint64_t *at, unsigned bytes, Place place) {
  Mbarrier &b = the(at, place);
  copy_now(b);
  if (b.pending == 0) fail("an arrival more than the phase of this mbarrier has", place);
  publish(b.order(b.phase));
  b.bytes += bytes;
  if (b.bytes > kMostBytes) fail("more bytes than an mbarrier can expect", place);
  --b.pending;
  end_phase(b, place);
  wake(at);
}

void copy_for(uint64_t *at, const Work &copy, unsigned bytes) {
  Mbarrier &b = the(at, copy.place);
  read_async(at, sizeof *at, copy.place);
  publish(b.order(b.phase));
  b.copies.add(copy)->group = bytes;
  wake(at);
}

void await_phase(uint64_t *at, unsigned parity, Place place) {
  Mbarrier &b = the(at, place);
  for (;;) {
    if (b.phase % 2 == parity) copy_now(b);
    if (b.phase % 2 != parity) return observe(b.order(parity));
    rest_for(at, b.pending > 0 ? "arrivals at an mbarrier" : "bytes that no copy brings", place);
  }
}

void require_shared(const void *at, size_t bytes, Place place) {
  const Self &me = self();
  const auto offset = static_cast<size_t>(static_cast<const char *>(at) - me.shared);
  if (offset > me.shared_bytes || bytes > me.shared_bytes - offset) {
    fail("an asynchronous access outside of shared memory", place);
  }
}

void fence_async(Place place) {
  const Self &me = self();
  write_async(me.shared, me.shared_bytes, place);
}

void write_async(const void *at, size_t bytes, Place place) {
  copy_words(seen(at, bytes, place), at, bytes);
}

void read_async(const void *at, size_t bytes, Place place) {
  const char *by_async = seen(at, bytes, place), *by_threads = static_cast<const char *>(at);
  for (size_t i = 0; i < bytes; ++i) {
    if (by_async[i] != by_threads[i]) {
      fail("shared memory that was written after the last fence_async", place);
    }
  }
}

void meet(unsigned number, unsigned threads, uint64_t value, bool waits, bool named, Place place) {
  if (named && (number < 1 || number >= kNamed || threads % kWarp != 0 || threads == 0)) {
    fail("a barrier of a number or of threads that none can have", place);
  }
  Meeting &m = own().meetings[named ? number : kNamed + number];
  if (m.arrived > 0) {
    if (m.threads != threads) fail("a barrier, while others wait for other threads there", place);
    if (!named && place.line != m.place.line) {
      fail("an instruction of a warpgroup, while other warps are at another", place);
    }
    if (m.value != value) fail("other operands than those of other lanes", place);
  }
  m.threads = threads;
  m.value = value;
  m.place = place;
  char *order = &m.order[m.turn % 2];
  if (named) publish(order);
  const unsigned turn = m.turn;
  if (++m.arrived == threads) {
    m.arrived = 0;
    ++m.turn;
    wake(&m);
  }
  while (waits && m.turn == turn) {
    rest_for(&m, named ? "others at a barrier" : "the other warps of its warpgroup", place);
  }
  if (named && waits) observe(order);
}

void meet_warpgroup(uint64_t value, Place place) {
  meet(self().number / kWarpgroup, kWarpgroup, value, true, false, place);
}

std::string end_block_async(size_t slot) {
  Units &units = of_block(slot);
  std::string error;
  for (unsigned i = 0; i < units.used; ++i) {
    WorkList &copies = units.mbarriers[i].copies;
    if (!copies.empty()) {
      error = "a block ends before this is done: " + text_of(copies.first()->place);
    }
    copies.clear();
  }
  units.used = 0;
  units.viewed = false;
  for (Meeting &m : units.meetings) m.arrived = 0;
  return error;
}

}  // namespace simulator
