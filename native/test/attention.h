// SPDX-License-Identifier: Apache-2.0
// attention.h: the sizes of a call of attention, for its tests of every type.
#pragma once

#include <cmath>
#include <cstdint>
#include <ostream>

struct AttentionShape {
  int64_t batch, heads, q_steps, k_steps, head_size;
  int mask = -1;  // 1: full batch axis, 2: full head axis, 4: full query axis; -1: none
  bool lengths = false, causal = false;
  int64_t shift = 0;  // of every array, in elements

  int64_t mask_batch() const { return mask >= 0 && (mask & 1) ? batch : 1; }
  int64_t mask_heads() const { return mask >= 0 && (mask & 2) ? heads : 1; }
  int64_t mask_steps() const { return mask >= 0 && (mask & 4) ? q_steps : 1; }
  int64_t query_size() const { return batch * q_steps * heads * head_size; }
  int64_t key_size() const { return batch * k_steps * heads * head_size; }
  int64_t rows() const { return batch * heads * q_steps; }
  int64_t mask_size() const { return mask_batch() * mask_heads() * mask_steps() * k_steps; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(head_size)); }
  int64_t query(int64_t b, int64_t i, int64_t h) const {
    return ((b * q_steps + i) * heads + h) * head_size;
  }
  int64_t key(int64_t b, int64_t j, int64_t h) const {
    return ((b * k_steps + j) * heads + h) * head_size;
  }
  int64_t row(int64_t b, int64_t h, int64_t i) const { return (b * heads + h) * q_steps + i; }
  int64_t mask_at(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const int64_t matrix = (mask_batch() == 1 ? 0 : b) * mask_heads() + (mask_heads() == 1 ? 0 : h);
    return (matrix * mask_steps() + (mask_steps() == 1 ? 0 : i)) * k_steps + j;
  }
};

inline std::ostream &operator<<(std::ostream &out, const AttentionShape &s) {
  return out << "batch " << s.batch << " heads " << s.heads << " steps " << s.q_steps << " "
             << s.k_steps << " head_size " << s.head_size << " mask " << s.mask << " lengths "
             << s.lengths << " causal " << s.causal << " shift " << s.shift;
}
