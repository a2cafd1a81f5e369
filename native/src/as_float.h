// SPDX-License-Identifier: Apache-2.0
// as_float: a call on bf16 arrays as the same call on floats. Arrays of other types stay what they
// are and cost nothing.
#pragma once

#include "map.h"

#include "bf16.h"

inline void widen(pnd_context *context, float *y, const Bf16 *x, int64_t n) {
  parallel_lines(context, n, kSerialMove, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) y[i] = widened(x[i]);
  });
}
inline void narrow(pnd_context *context, Bf16 *y, const float *x, int64_t n) {
  parallel_lines(context, n, kSerialMove, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) y[i] = narrowed(x[i]);
  });
}

// What the arrays of a call are replaced by: note them all, reserve bytes(), widen the inputs, run,
// narrow the outputs.
class AsFloat {
 public:
  explicit AsFloat(int32_t dtype) : on_(dtype == PND_BF16) {}

  // An array of n elements; null ones are left alone.
  void input(const void *&array, int64_t n) {
    if (on_ && array != nullptr) inputs_[input_count_++] = {&array, array, n};
  }
  void output(void *&array, int64_t n) {
    if (on_ && array != nullptr) outputs_[output_count_++] = {&array, array, n};
  }

  int64_t bytes() const {
    int64_t sum = 0;
    for (int i = 0; i < input_count_; ++i) sum += Scratch::bytes<float>(inputs_[i].n);
    for (int i = 0; i < output_count_; ++i) sum += Scratch::bytes<float>(outputs_[i].n);
    return sum;
  }

  void widen_inputs(pnd_context *context, Scratch &scratch) {
    for (int i = 0; i < input_count_; ++i) {
      float *floats = scratch.take<float>(inputs_[i].n);
      widen(context, floats, static_cast<const Bf16 *>(inputs_[i].stored), inputs_[i].n);
      *inputs_[i].array = floats;
    }
    for (int i = 0; i < output_count_; ++i) {
      *outputs_[i].array = scratch.take<float>(outputs_[i].n);
    }
  }

  void narrow_outputs(pnd_context *context) const {
    for (int i = 0; i < output_count_; ++i) {
      narrow(context, static_cast<Bf16 *>(outputs_[i].stored),
             static_cast<const float *>(*outputs_[i].array), outputs_[i].n);
    }
  }

 private:
  template <class Pointer>
  struct Stored {
    Pointer *array;  // the call's variable
    Pointer stored;
    int64_t n;
  };
  bool on_;
  Stored<const void *> inputs_[8];
  Stored<void *> outputs_[4];
  int input_count_ = 0, output_count_ = 0;
};
