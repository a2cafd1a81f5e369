// SPDX-License-Identifier: Apache-2.0
// stages.cuh: work that is a row of stages. In a stage the blocks of a grid share what there is to
// do and wait for nothing; the next one needs what all of them did.
// Method   one launch for all stages where the device runs all blocks together, which wait for each
//          other between two; elsewhere a launch for each. Both do the same
#pragma once

#include <cooperative_groups.h>

#include <algorithm>

#include "thin.cuh"

// Stages [first, end) of a struct with run<kRows>(n): a block's share of stage n, for at most kRows
// rows at once.
template <class Work, int kRows>
__global__ void __launch_bounds__(kThinThreads, 1)
    stages_kernel(Work work, int64_t first, int64_t end) {
  for (int64_t n = first; n < end; ++n) {
    if (n > first) cooperative_groups::this_grid().sync();
    work.template run<kRows>(n);
  }
}

// More blocks would wait longer for each other than they save.
inline int64_t most_stage_blocks(const pnd_context *context) {
  return int64_t{2} * context->multiprocessors;
}

// Runs all stages of a work that has use for `jobs` blocks.
template <class T, int kRows, class Work>
void run_stages(Call &call, pnd_context *context, const Work &work, int64_t jobs, int64_t stages) {
  constexpr size_t kBytes = Thin<T, kRows>::kBytes;
  const int64_t most = most_stage_blocks(context);
  const auto kernel = stages_kernel<Work, kRows>;
  const int64_t room = blocks_together(call, context, kernel, kThinThreads, kBytes);
  if (call.refused()) return;
  if (room > 0) {
    launch_together(call, context, kernel,
                    dim3(static_cast<unsigned>(std::min({room, most, jobs}))), dim3(kThinThreads),
                    kBytes, work, 0, stages);
    return;
  }
  const dim3 grid(static_cast<unsigned>(std::min(most, jobs)));
  for (int64_t n = 0; n < stages && !call.refused(); ++n) {
    launch(call, context, kernel, grid, dim3(kThinThreads), kBytes, work, n, n + 1);
  }
}

// The same with as many rows at once as there can be of `rows`.
template <class T, class Work, class Jobs>
void run_stages(Call &call, pnd_context *context, const Work &work, int64_t rows, Jobs jobs,
                int64_t stages) {
  if (rows == 1) {
    run_stages<T, 1>(call, context, work, jobs(1), stages);
  } else if (rows <= 4) {
    run_stages<T, 4>(call, context, work, jobs(4), stages);
  } else {
    run_stages<T, 16>(call, context, work, jobs(16), stages);
  }
}
