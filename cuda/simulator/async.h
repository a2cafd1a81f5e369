// SPDX-License-Identifier: Apache-2.0
// async: what orders the units of a Hopper multiprocessor that work on their own: mbarriers, the
// async proxy's view of shared memory, barriers of parts of a block. Copies to shared memory happen
// when a thread awaits the phase of their mbarrier, as late as they can.
#pragma once

#include <cstdint>

#include "fibers.h"

namespace simulator {

// What an mbarrier's 8 bytes hold from its first to its last use; the counts are kept elsewhere.
constexpr uint64_t kMbarrier = 0x6d62617272696572;

// An error unless that is what an mbarrier holds.
void require_mbarrier(const uint64_t *at, uint64_t content, Place place);
void init_mbarrier(uint64_t *at, unsigned arrivals, Place place);
void end_mbarrier(uint64_t *at, Place place);
void arrive(uint64_t *at, unsigned bytes, Place place);
void copy_for(uint64_t *at, const Work &copy, unsigned bytes);
void await_phase(uint64_t *at, unsigned parity, Place place);

// The async proxy sees what a thread wrote to shared memory after a fence of that thread or of one
// that a barrier orders after it; here, after anyone's. What it has not seen is an error where it
// is read, unless the same value stood there.
void require_shared(const void *at, size_t bytes, Place place);
void fence_async(Place place);
void write_async(const void *at, size_t bytes, Place place);
void read_async(const void *at, size_t bytes, Place place);

// A barrier of that many threads, who bring the same value, in one line if not `named`: number 1 to
// 15. One who does not wait only arrives.
void meet(unsigned number, unsigned threads, uint64_t value, bool waits, bool named, Place place);
// All threads of this warpgroup meet.
void meet_warpgroup(uint64_t value, Place place);

// What the block in a slot leaves behind is forgotten; an error if it left copies on their way.
std::string end_block_async(size_t slot);

}  // namespace simulator
