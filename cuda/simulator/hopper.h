// SPDX-License-Identifier: Apache-2.0
// hopper: the wrappers of cuda/src/hopper.cuh on the processor. What a device leaves undefined is
// NaN or an error: a stage before its phase ends, sums before their product is done, what the async
// proxy has not seen. As in ptx.h, memory is read and written in the kernel's own compilation.
// Not seen: a missing fence_registers for registers of a, or where products are under way.
#pragma once

#include "async.h"
#include "ptx.h"

// Shared memory begins at 0 here.
inline uint32_t shared_address(const void *at) {
  return static_cast<uint32_t>(static_cast<const char *>(at) - simulator::self().shared);
}

// ---- mbarriers ----------------------------------------------------------------------------------

using Mbarrier = uint64_t;

inline void init_mbarrier(Mbarrier *at, unsigned arrivals, PND_HERE) {
  simulator::init_mbarrier(at, arrivals, {file, line});
  *at = simulator::kMbarrier;
}

inline void end_mbarrier(Mbarrier *at, PND_HERE) {
  simulator::require_mbarrier(at, *at, {file, line});
  simulator::end_mbarrier(at, {file, line});
  *at = ~Mbarrier{};
}

inline void arrive_expecting(Mbarrier *at, unsigned bytes, PND_HERE) {
  simulator::require_mbarrier(at, *at, {file, line});
  simulator::arrive(at, bytes, {file, line});
}

inline void arrive(Mbarrier *at, PND_HERE) { arrive_expecting(at, 0, file, line); }

inline void await_phase(Mbarrier *at, unsigned parity, PND_HERE) {
  simulator::require_mbarrier(at, *at, {file, line});
  simulator::await_phase(at, parity, {file, line});
}

inline void fence_async(PND_HERE) { simulator::fence_async({file, line}); }

// ---- bulk copies --------------------------------------------------------------------------------

struct alignas(64) TensorMap {
  char *data;
  int rank;
  unsigned element_bytes;
  Swizzle swizzle;
  uint32_t box[4];
  uint64_t sizes[4], strides[4];

  unsigned box_bytes() const {
    unsigned bytes = element_bytes;
    for (int i = 0; i < rank; ++i) bytes *= box[i];
    return bytes;
  }
};

// Until the phase of its mbarrier ends, the destination holds NaN.
inline void simulated_load(void *to, unsigned bytes, Mbarrier *barrier,
                           const simulator::Work &copy) {
  simulator::require_mbarrier(barrier, *barrier, copy.place);
  simulator::require_shared(to, bytes, copy.place);
  std::memset(to, 0xFF, bytes);
  simulator::write_async(to, bytes, copy.place);
  simulator::copy_for(barrier, copy, bytes);
}

struct SimulatedBox {
  TensorMap map;
  int at[4];
  char *shared;
  simulator::Place place;

  // Visits the elements: where they lie in global memory, null if outside, and in shared memory.
  template <class Visit>
  void each(Visit &&visit) const {
    const unsigned pieces = 1u << static_cast<unsigned>(map.swizzle);
    const unsigned start = shared_address(shared);
    const unsigned bytes = map.box_bytes();
    for (unsigned i = 0; i < bytes; i += map.element_bytes) {
      char *global = map.data;
      unsigned rest = i / map.element_bytes;
      for (int d = 0; d < map.rank; rest /= map.box[d++]) {
        const int64_t index = static_cast<int64_t>(at[d]) + rest % map.box[d];
        const bool inside = index >= 0 && index < static_cast<int64_t>(map.sizes[d]);
        global = inside && global != nullptr ? global + index * static_cast<int64_t>(map.strides[d])
                                             : nullptr;
      }
      const unsigned to = start + i;
      visit(global, simulator::self().shared + (to ^ (to >> 7 & (pieces - 1)) << 4));
    }
  }
};

template <int kRank>
SimulatedBox simulated_box(const TensorMap &map, const int (&at)[kRank], const void *shared,
                           simulator::Place place) {
  static_assert(kRank >= 2 && kRank <= 4);
  if (map.rank != kRank) simulator::fail("a box of other dimensions than its tensor", place);
  SimulatedBox box{map, {}, static_cast<char *>(const_cast<void *>(shared)), place};
  std::memcpy(box.at, at, sizeof at);
  const unsigned repeats = 128u << static_cast<unsigned>(map.swizzle);
  if (reinterpret_cast<uintptr_t>(shared) % repeats != 0) {
    simulator::fail("a box that is not aligned to 128 bytes and its swizzle's pattern", place);
  }
  return box;
}

template <int kRank>
void load_box(void *to, const TensorMap &map, const int (&at)[kRank], Mbarrier *barrier, PND_HERE) {
  const simulator::Place place{file, line};
  const auto run = [](void *input) {
    const auto *load = static_cast<const SimulatedBox *>(input);
    const unsigned size = load->map.element_bytes;
    load->each([&](const char *global, char *shared) {
      if (global == nullptr) {
        std::memset(shared, 0, size);
      } else {
        std::memcpy(shared, global, size);
      }
    });
    simulator::write_async(load->shared, load->map.box_bytes(), load->place);
  };
  simulated_load(to, map.box_bytes(), barrier,
                 simulator::work(run, simulated_box(map, at, to, place), place));
}

template <int kRank>
void store_box(const TensorMap &map, const int (&at)[kRank], const void *from, PND_HERE) {
  const simulator::Place place{file, line};
  const auto run = [](void *input) {
    const auto *store = static_cast<const SimulatedBox *>(input);
    simulator::read_async(store->shared, store->map.box_bytes(), store->place);
    const unsigned size = store->map.element_bytes;
    store->each([&](char *global, const char *shared) {
      if (global != nullptr) std::memcpy(global, shared, size);
    });
  };
  simulator::hand_over(simulator::Unit::Stores,
                       simulator::work(run, simulated_box(map, at, from, place), place));
}

struct SimulatedRow {
  void *to;
  const void *from;
  unsigned bytes;
  simulator::Place place;
};

inline SimulatedRow simulated_row(void *to, const void *from, unsigned bytes,
                                  simulator::Place place) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from) | bytes) % 16 != 0) {
    simulator::fail("a bulk copy that is not a multiple of 16 bytes, or not aligned", place);
  }
  return {to, from, bytes, place};
}

inline void load_bulk(void *to, const void *from, unsigned bytes, Mbarrier *barrier, PND_HERE) {
  const simulator::Place place{file, line};
  const auto run = [](void *input) {
    const auto *load = static_cast<const SimulatedRow *>(input);
    std::memcpy(load->to, load->from, load->bytes);
    simulator::write_async(load->to, load->bytes, load->place);
  };
  simulated_load(to, bytes, barrier,
                 simulator::work(run, simulated_row(to, from, bytes, place), place));
}

inline void store_bulk(void *to, const void *from, unsigned bytes, PND_HERE) {
  const simulator::Place place{file, line};
  const auto run = [](void *input) {
    const auto *store = static_cast<const SimulatedRow *>(input);
    simulator::read_async(store->from, store->bytes, store->place);
    std::memcpy(store->to, store->from, store->bytes);
  };
  simulator::hand_over(simulator::Unit::Stores,
                       simulator::work(run, simulated_row(to, from, bytes, place), place));
}

inline void commit_stores() { simulator::commit(simulator::Unit::Stores); }

template <int kLeft>
void await_stores() {
  simulator::wait_for(simulator::Unit::Stores, kLeft);
}
template <int kLeft>
void await_store_reads() {
  simulator::wait_for(simulator::Unit::Stores, kLeft);
}

// ---- products of warpgroups ---------------------------------------------------------------------

template <int... n>
void fence_registers([[maybe_unused]] float (&...c)[n]) {
  simulator::registers_fenced() = true;
}

inline void commit_products() { simulator::commit(simulator::Unit::Products); }

template <int kLeft, int... n>
void await_products([[maybe_unused]] float (&...c)[n]) {
  simulator::wait_for_products(kLeft);
}

inline uint16_t simulated_read(const char *at) {
  uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <int kColumns, Major kA = Major::K, Major kB = Major::K>
void multiply_group(float (&c)[kColumns / 2], uint64_t a, uint64_t b, bool adds = true, PND_HERE) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  simulator::multiply_group(
      {c, kColumns, adds, nullptr, a, b, kA == Major::Other, kB == Major::Other, simulated_read},
      {file, line});
}

template <int kColumns, Major kB = Major::K>
void multiply_group(float (&c)[kColumns / 2], const uint32_t (&a)[4], uint64_t b, bool adds = true,
                    PND_HERE) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  simulator::multiply_group({c, kColumns, adds, a, 0, b, false, kB == Major::Other, simulated_read},
                            {file, line});
}

// ---- parts of a block ---------------------------------------------------------------------------

inline void sync_named(unsigned number, unsigned threads, PND_HERE) {
  simulator::meet(number, threads, 0, true, true, {file, line});
}
inline void arrive_named(unsigned number, unsigned threads, PND_HERE) {
  simulator::meet(number, threads, 0, false, true, {file, line});
}

template <int kRegisters>
void take_registers(PND_HERE) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  simulator::meet_warpgroup(kRegisters, {file, line});
}
template <int kRegisters>
void give_registers(PND_HERE) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  simulator::meet_warpgroup(kRegisters, {file, line});
}
