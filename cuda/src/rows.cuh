// SPDX-License-Identifier: Apache-2.0
// rows: a team of threads per row, with the row in registers and sums over the team.
// A row is cut into packs of 16 bytes; thread t of a team of n has the packs t, t + n, t + 2 n, ...
// The first of them, kHeld, stay in registers from pass to pass; what a long row has beyond them is
// read anew, from the cache. The size of a team depends on the length of the rows alone, so the
// order of sums does, too.
#pragma once

#include "packs.cuh"
#include "ptx.cuh"
#include "warp.cuh"

// A thread of the largest team has only 64 registers.
template <int kTeam>
constexpr int kHeld = kTeam > 256 ? 2 : 4;

// Small teams share a block.
template <int kTeam>
constexpr int kTeamBlock = kTeam > 256 ? kTeam : 256;

// The row of a team: cols is 0 where there is none left for it, but for its part in sums.
template <int kTeam>
struct Line {
  int64_t row, cols;
  bool aligned;
  __device__ __forceinline__ int thread() const { return threadIdx.x % kTeam; }
  // Whether this thread writes what the team found.
  __device__ __forceinline__ bool leads() const { return cols > 0 && thread() == 0; }
  template <class T>
  __device__ __forceinline__ int64_t place(int64_t pack) const {
    return (pack * kTeam + thread()) * kWide<T>;
  }
};

// A row that is read in each pass, such as a gain.
template <class T>
struct Read {
  const T *x;
  __device__ __forceinline__ Pack<T> held(int, int64_t i, int64_t rest, bool aligned) const {
    return load_pack(x + i, rest, aligned);
  }
  __device__ __forceinline__ Pack<T> beyond(int64_t i, int64_t rest, bool aligned) const {
    return load_pack(x + i, rest, aligned);
  }
};

// A row of which this thread's first packs stay in registers.
template <class T, int kTeam>
struct Held {
  const T *x;
  Pack<T> packs[kHeld<kTeam>];

  __device__ __forceinline__ Held(const T *row, const Line<kTeam> &line) : x(row) {
#pragma unroll
    for (int k = 0; k < kHeld<kTeam>; ++k) {
      const int64_t i = line.template place<T>(k);
      packs[k] = load_pack(x + i, line.cols - i, line.aligned);
    }
  }
  __device__ __forceinline__ const Pack<T> &held(int k, int64_t, int64_t, bool) const {
    return packs[k];
  }
  __device__ __forceinline__ Pack<T> beyond(int64_t i, int64_t rest, bool aligned) const {
    return load_pack(x + i, rest, aligned);
  }
};

// Calls f(i, pack, ...) for the packs of this thread, i the place of the first element.
template <class T, int kTeam, class F, class... X>
__device__ __forceinline__ void each_pack_of(const Line<kTeam> &line, F f, const X &...x) {
#pragma unroll
  for (int k = 0; k < kHeld<kTeam>; ++k) {
    const int64_t i = line.template place<T>(k);
    if (i < line.cols) f(i, x.held(k, i, line.cols - i, line.aligned)...);
  }
  for (int64_t i = line.template place<T>(kHeld<kTeam>); i < line.cols; i += kTeam * kWide<T>) {
    f(i, x.beyond(i, line.cols - i, line.aligned)...);
  }
}

// Calls f(x[c], ...) for the elements of this thread.
template <class T, int kTeam, class F, class... X>
__device__ __forceinline__ void over_row(const Line<kTeam> &line, F f, const X &...x) {
  each_pack_of<T>(
      line,
      [&](int64_t i, const auto &...pack) {
#pragma unroll
        for (int j = 0; j < kWide<T>; ++j) {
          if (i + j < line.cols) f(pack.at[j]...);
        }
      },
      x...);
}

// y[c] = f(x[c], ...).
template <class T, int kTeam, class F, class... X>
__device__ __forceinline__ void map_row(const Line<kTeam> &line, T *y, F f, const X &...x) {
  each_pack_of<T>(
      line,
      [&](int64_t i, const auto &...pack) {
        Pack<T> result;
#pragma unroll
        for (int j = 0; j < kWide<T>; ++j) result.at[j] = f(pack.at[j]...);
        store_pack(y + i, result, line.cols - i, line.aligned);
      },
      x...);
}

// Folds x[k] over the threads of a team, each k alone; all of them get the results. Called by every
// thread of the block. Order: lanes apart by 16, 8, 4, 2, 1, then warps likewise.
template <int kTeam, int n, class T, class Op>
__device__ __forceinline__ void fold_team(T (&x)[n], Op op) {
  constexpr int kLanes = kTeam < kWarp ? kTeam : kWarp, kWarps = kTeam / kLanes;
#pragma unroll
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int w = kLanes / 2; w > 0; w /= 2) x[k] = op(x[k], __shfl_xor_sync(kAllLanes, x[k], w));
  }
  if constexpr (kWarps > 1) {
    T *shared = shared_memory<T>();
    const int lane = lane_number();
    if (lane == 0) {
#pragma unroll
      for (int k = 0; k < n; ++k) shared[k * kWarps + warp_number()] = x[k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < n; ++k) {
      x[k] = shared[k * kWarps + lane % kWarps];
#pragma unroll
      for (int w = kWarps / 2; w > 0; w /= 2) x[k] = op(x[k], __shfl_xor_sync(kAllLanes, x[k], w));
    }
    __syncthreads();
  }
}

template <int kTeam, int n, class T>
__device__ __forceinline__ void sum_team(T (&x)[n]) {
  fold_team<kTeam>(x, [](T a, T b) { return a + b; });
}

template <int kTeam, class F>
__global__ void __launch_bounds__(kTeamBlock<kTeam>)
    rows_kernel(int64_t rows, int64_t cols, bool aligned, F f) {
  constexpr int64_t kPerBlock = kTeamBlock<kTeam> / kTeam;
  const int64_t step = gridDim.x * kPerBlock;
  // All teams of a block take part in each turn: what a fold waits for comes.
  for (int64_t first = blockIdx.x * kPerBlock; first < rows; first += step) {
    const int64_t row = first + threadIdx.x / kTeam;
    f(row < rows ? Line<kTeam>{row, cols, aligned} : Line<kTeam>{0, 0, aligned});
  }
}

template <int kTeam, class F>
int32_t launch_rows(Call &call, pnd_context *context, int64_t rows, int64_t cols, bool aligned,
                    F f) {
  constexpr size_t kMostFolded = 4;  // numbers that are folded at once
  return launch(call, context, rows_kernel<kTeam, F>,
                dim3(grid_for(context, rows, kTeamBlock<kTeam> / kTeam)), dim3(kTeamBlock<kTeam>),
                kTeam > kWarp ? kMostFolded * kWarp * sizeof(double) : 0, rows, cols, aligned, f);
}

// Calls f(line) by a team of fitting size for each of the rows. aligned: see packs.cuh.
template <class T, class F>
int32_t each_row(Call &call, pnd_context *context, int64_t rows, int64_t cols, bool aligned, F f) {
  const int64_t packs = (cols + kWide<T> - 1) / kWide<T>;
  if (packs <= 16) return launch_rows<8>(call, context, rows, cols, aligned, f);
  if (packs <= 32 * kHeld<32>) return launch_rows<32>(call, context, rows, cols, aligned, f);
  if (packs <= 256 * kHeld<256>) return launch_rows<256>(call, context, rows, cols, aligned, f);
  return launch_rows<1024>(call, context, rows, cols, aligned, f);
}
