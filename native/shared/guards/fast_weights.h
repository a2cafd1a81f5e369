// SPDX-License-Identifier: Apache-2.0
// guards/fast_weights: what both directions refuse.
#pragma once

#include <algorithm>

#include "call.h"

namespace guard {

constexpr int64_t kMostKeys = 256;  // and values
constexpr int64_t kMostChunk = 256;

// What both directions have in common.
struct FastWeights {
  int32_t dtype;
  const void *q, *k, *v, *decay, *rate, *erase, *write, *initial;
  const int32_t *resets, *lengths;
  int64_t batch, heads, steps, keys, values, decay_size;
  double scale;
  int32_t features, normalised;

  // The columns of a state, whatever of them was refused.
  int64_t columns() const { return std::clamp<int64_t>(values, 0, kMostKeys) + (normalised == 1); }

  // Of what is not rounded beside PND_BF16: all but q, k, v, out and their adjoints.
  int64_t wide() const { return bytes_of_sum(dtype); }

  // The sizes, which stand before any array.
  void check_sizes(Call &call) const {
    call.float_dtype("dtype", dtype)
        .size("batch", batch)
        .size("heads", heads)
        .size("steps", steps)
        .range("keys", keys, 1, kMostKeys)
        .range("values", values, 1, kMostKeys)
        .require(decay_size == 1 || decay_size == keys, "decay_size = %lld must be 1 or %lld",
                 static_cast<long long>(decay_size), static_cast<long long>(keys))
        .range("features", features, 0, 1)
        .range("normalised", normalised, 0, 1)
        .require((erase == nullptr) == (write == nullptr),
                 "erase and write must both be null or neither")
        .require(rate == nullptr || erase == nullptr, "rate must be null with erase and write")
        .require(normalised == 0 || (rate == nullptr && erase == nullptr),
                 "normalised = 1 excludes rate, erase and write");
  }

  void check_arrays(Call &call) const {
    call.input("q", q, {batch, steps, heads, keys})
        .input("k", k, {batch, steps, heads, keys})
        .input("v", v, {batch, steps, heads, values})
        .nullable_input("decay", decay, {batch, steps, heads, decay_size}, wide())
        .nullable_input("rate", rate, {batch, steps, heads}, wide())
        .nullable_input("erase", erase, {batch, steps, heads, keys}, wide())
        .nullable_input("write", write, {batch, steps, heads, keys}, wide())
        .nullable_input("initial", initial, {batch, heads, keys, columns()}, wide())
        .nullable_input("resets", resets, {batch, steps}, sizeof *resets)
        .nullable_input("lengths", lengths, {batch}, sizeof *lengths);
  }
};

inline void fast_weights(Call &call, const FastWeights &f, void *out, void *last, int64_t chunk) {
  f.check_sizes(call);
  call.range("chunk", chunk, 0, kMostChunk)
      .output("out", out, {f.batch, f.steps, f.heads, f.values})
      .output("last", last, {f.batch, f.heads, f.keys, f.columns()}, f.wide());
  f.check_arrays(call);
}

inline void fast_weights_backward(Call &call, const FastWeights &f, void *dq, void *dk, void *dv,
                                  void *ddecay, void *drate, void *derase, void *dwrite,
                                  void *dinitial, const void *dout, const void *dlast) {
  f.check_sizes(call);
  const auto adjoint = [&](const char *name, void *array, const void *input,
                           std::initializer_list<int64_t> sizes) {
    call.require((array == nullptr) == (input == nullptr), "%s must be null exactly where %s is",
                 name, name + 1)
        .nullable_output(name, array, sizes, f.wide());
  };
  call.output("dq", dq, {f.batch, f.steps, f.heads, f.keys})
      .output("dk", dk, {f.batch, f.steps, f.heads, f.keys})
      .output("dv", dv, {f.batch, f.steps, f.heads, f.values});
  adjoint("ddecay", ddecay, f.decay, {f.batch, f.steps, f.heads, f.decay_size});
  adjoint("drate", drate, f.rate, {f.batch, f.steps, f.heads});
  adjoint("derase", derase, f.erase, {f.batch, f.steps, f.heads, f.keys});
  adjoint("dwrite", dwrite, f.write, {f.batch, f.steps, f.heads, f.keys});
  adjoint("dinitial", dinitial, f.initial, {f.batch, f.heads, f.keys, f.columns()});
  call.input("dout", dout, {f.batch, f.steps, f.heads, f.values})
      .nullable_input("dlast", dlast, {f.batch, f.heads, f.keys, f.columns()}, f.wide());
  f.check_arrays(call);
}

}  // namespace guard
