// SPDX-License-Identifier: Apache-2.0
// recurrence: the arrays of a scan of recurrent cells as the header's functions give them. R is a
// library's own structure of them: R::Stored and R::T are what most are stored as and what adds up
// is computed in; without a cell, its arrays are null.
#pragma once

#include <cstdint>

template <class R>
R recurrence_of(const void *hidden, const void *cells, const void *gates, const void *weight,
                const void *initial, const void *initial_cell, const int32_t *resets,
                const int32_t *lengths, int64_t batch, int64_t steps, int64_t width) {
  using S = typename R::Stored;
  using T = typename R::T;
  R all{};
  all.batch = batch;
  all.steps = steps;
  all.width = width;
  all.hidden = static_cast<S *>(const_cast<void *>(hidden));
  all.cells = static_cast<T *>(const_cast<void *>(cells));
  all.gates = static_cast<S *>(const_cast<void *>(gates));
  all.weight = static_cast<const S *>(weight);
  all.initial = static_cast<const S *>(initial);
  all.initial_cell = static_cast<const T *>(initial_cell);
  all.resets = resets;
  all.lengths = lengths;
  return all;
}

// What the forward function reads beside.
template <class R>
void give_inputs(R &all, const void *x, const void *bias) {
  all.x = static_cast<const typename R::Stored *>(x);
  all.bias = static_cast<const typename R::T *>(bias);
}

// The adjoints of the backward function.
template <class R>
void give_slopes(R &all, void *dx, void *dweight, void *dbias, void *dinitial, void *dinitial_cell,
                 const void *dhidden, const void *dlast_cell) {
  using S = typename R::Stored;
  using T = typename R::T;
  all.dx = static_cast<S *>(dx);
  all.dweight = static_cast<S *>(dweight);
  all.dbias = static_cast<T *>(dbias);
  all.dinitial = static_cast<S *>(dinitial);
  all.dinitial_cell = static_cast<T *>(dinitial_cell);
  all.dhidden = static_cast<const S *>(dhidden);
  all.dlast_cell = static_cast<const T *>(dlast_cell);
}
