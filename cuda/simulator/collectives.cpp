// SPDX-License-Identifier: Apache-2.0
// collectives: where lanes of a warp meet and exchange values.
#include "grid.h"

namespace simulator {

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

}  // namespace simulator
