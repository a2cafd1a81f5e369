// SPDX-License-Identifier: Apache-2.0
// cooperative_groups: of CUDA's groups of threads the grid of a cooperative launch.
#pragma once

#include <cuda_runtime.h>

namespace cooperative_groups {

struct grid_group {
  void sync(PND_HERE) const { simulator::grid_barrier({file, line}); }
};
inline grid_group this_grid() { return {}; }

}  // namespace cooperative_groups
