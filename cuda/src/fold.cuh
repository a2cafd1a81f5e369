// SPDX-License-Identifier: Apache-2.0
// fold.cuh: many values of each lane of a warp, added up over the lanes at once: with each exchange
// a lane gives away half of them.
#pragma once

#include "scalar.cuh"
#include "warp.cuh"

// Adds up the first kCount of v over lanes apart by kBit, kBit / 2, ..., kLast. A lane ends with
// some of them at the front, those from `place` on; of lanes with the same ones, one leads.
struct Folded {
  int place = 0;
  bool leads = true;
};
template <int kCount, int kBit, int kLast, class T>
__device__ __forceinline__ void fold_values(T *v, Folded &to) {
  if constexpr (kBit >= kLast) {
    constexpr int kHalf = kCount / 2;
    const bool upper = (lane_number() & kBit) != 0;
    if constexpr (kHalf > 0) {
      PND_UNROLL
      for (int i = 0; i < kHalf; ++i) {
        const T give = upper ? v[i] : v[i + kHalf], keep = upper ? v[i + kHalf] : v[i];
        v[i] = keep + __shfl_xor_sync(kAllLanes, give, kBit);
      }
      to.place += upper ? kHalf : 0;
    } else {
      v[0] += __shfl_xor_sync(kAllLanes, v[0], kBit);
      to.leads = to.leads && !upper;
    }
    fold_values<(kHalf > 0 ? kHalf : 1), kBit / 2, kLast>(v, to);
  }
}
