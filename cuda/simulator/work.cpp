// SPDX-License-Identifier: Apache-2.0
// work: what threads hand to units of the machine that work on their own.
#include "grid.h"

namespace simulator {

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

}  // namespace simulator
