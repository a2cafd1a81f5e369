// SPDX-License-Identifier: Apache-2.0
// faults: small kernels for the simulator, each right and with one planted fault.
//   faults CASE right|faulty SEED...
// runs one and prints a line per seed: the bits of the first result, and what came of it, "right",
// "wrong", "NaN" or "error: ...". What a sanitizer finds ends the program with its report.
// test_faults runs it, built plainly and with each sanitizer.
#include <cooperative_groups.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "faults.h"

namespace {

// ---- barriers and shared memory -----------------------------------------------------------------

// The block's elements in the opposite order, through shared memory. Fault: no __syncthreads.
template <bool kFaulty>
__global__ void reverse_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x;
  shared[i] = x[i];
  if constexpr (!kFaulty) __syncthreads();
  y[i] = shared[blockDim.x - 1 - i];
}
template <bool kFaulty>
Outcome barrier_removed() {
  const auto x = counting(96);
  const Array<float> in(x), out(96);
  const auto error = Launcher().run(reverse_kernel<kFaulty>, 1, 96, 96, out.data(), in.data());
  return {error, out.values(), {x.rbegin(), x.rend()}};
}

// Each lane takes its neighbour's element. Fault: no __syncwarp.
template <bool kFaulty>
__global__ void rotate_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned lane = threadIdx.x;
  shared[lane] = x[lane];
  if constexpr (!kFaulty) __syncwarp();
  y[lane] = shared[(lane + 1) % 32];
}
template <bool kFaulty>
Outcome warp_barrier_removed() {
  auto x = counting(32);
  const Array<float> in(x), out(32);
  const auto error = Launcher().run(rotate_kernel<kFaulty>, 1, 32, 32, out.data(), in.data());
  std::rotate(x.begin(), x.begin() + 1, x.end());
  return {error, out.values(), x};
}

// What becomes of a kernel that sums rows of n elements in the opposite order.
Outcome reversed_rows(void (*kernel)(float *, const float *, int), size_t n) {
  constexpr int rows = 3;
  const auto x = counting(rows * n);
  const Array<float> in(x), out(n);
  const auto error = Launcher().run(kernel, 1, n, n, out.data(), in.data(), rows);
  std::vector<float> want(n);
  for (size_t i = 0; i < rows * n; ++i) want[n - 1 - i % n] += x[i];
  return {error, out.values(), want};
}

// Sums of reversed rows, one row in shared memory at a time. Fault: the next row is written while
// others still read this one.
template <bool kFaulty>
__global__ void rows_kernel(float *y, const float *x, int rows) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x, n = blockDim.x;
  float sum = 0;
  for (int r = 0; r < rows; ++r) {
    shared[i] = x[r * n + i];
    __syncthreads();
    sum += shared[n - 1 - i];
    if constexpr (!kFaulty) __syncthreads();
  }
  y[i] = sum;
}
template <bool kFaulty>
Outcome reused_too_early() {
  return reversed_rows(rows_kernel<kFaulty>, 96);
}

// Shared memory as a sum's first term. Fault: nobody sets it to zero.
template <bool kFaulty>
__global__ void accumulate_kernel(float *y, const float *x, int rows) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x;
  if constexpr (!kFaulty) shared[i] = 0;
  for (int r = 0; r < rows; ++r) shared[i] += x[r * blockDim.x + i];
  y[i] = shared[i];
}
template <bool kFaulty>
Outcome read_before_written() {
  const auto x = counting(2 * 32);
  const Array<float> in(x), out(32);
  const auto error =
      Launcher().run(accumulate_kernel<kFaulty>, 1, 32, 32, out.data(), in.data(), 2);
  std::vector<float> want(32);
  for (size_t i = 0; i < x.size(); ++i) want[i % 32] += x[i];
  return {error, out.values(), want};
}

// Fault: only the first warp comes to the barrier.
template <bool kFaulty>
__global__ void diverge_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x;
  shared[i] = x[i];
  if (!kFaulty || i < 32) __syncthreads();
  y[i] = shared[i ^ 1];
}
template <bool kFaulty>
Outcome divergent_barrier() {
  auto x = counting(64);
  const Array<float> in(x), out(64);
  const auto error = Launcher().run(diverge_kernel<kFaulty>, 1, 64, 64, out.data(), in.data());
  for (size_t i = 0; i < 64; i += 2) std::swap(x[i], x[i + 1]);
  return {error, out.values(), x};
}

// Fault: the warps meet at barriers in different lines.
template <bool kFaulty>
__global__ void two_lines_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x;
  shared[i] = x[i];
  if (!kFaulty || i < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[i] = shared[i ^ 32];
}
template <bool kFaulty>
Outcome barriers_in_two_lines() {
  auto x = counting(64);
  const Array<float> in(x), out(64);
  const auto error = Launcher().run(two_lines_kernel<kFaulty>, 1, 64, 64, out.data(), in.data());
  std::rotate(x.begin(), x.begin() + 32, x.end());
  return {error, out.values(), x};
}

// A warp's sum, by lanes. Fault: only half of the lanes take part, but all are named.
template <bool kFaulty>
__global__ void sum_kernel(float *y, const float *x) {
  const unsigned lane = threadIdx.x;
  float sum = x[lane];
  if (!kFaulty || lane < 16) {
    for (int w = 16; w > 0; w /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, w);
  }
  if (lane == 0) y[0] = sum;
}
template <bool kFaulty>
Outcome shuffle_lacks_lanes() {
  const Array<float> in(counting(32)), out(1);
  const auto error = Launcher().run(sum_kernel<kFaulty>, 1, 32, 0, out.data(), in.data());
  return {error, out.values(), {32 * 33 / 2}};
}

// One warp waits for the other's word. Fault: it is never given.
template <bool kFaulty>
__global__ void wait_kernel(float *y, unsigned *word) {
  if (threadIdx.x == 32 && !kFaulty) atomicExch(word, 7);
  if (threadIdx.x == 0) {
    unsigned got;
    while ((got = atomicAdd(word, 0)) == 0) __nanosleep(32);
    y[0] = static_cast<float>(got);
  }
}
template <bool kFaulty>
Outcome wait_without_end() {
  const Array<float> out(1);
  const Array<unsigned> word(std::vector<unsigned>{0});
  const auto error = Launcher().run(wait_kernel<kFaulty>, 1, 64, 0, out.data(), word.data());
  return {error, out.values(), {7}};
}

// ---- arrays and their ends ----------------------------------------------------------------------

// Fault: one element more.
template <bool kFaulty>
__global__ void double_kernel(float *y, const float *x, unsigned n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n + (kFaulty ? 1 : 0)) y[i] = 2 * x[i < n ? i : 0];
}
template <bool kFaulty>
Outcome store_past_the_end() {
  constexpr unsigned n = 100;
  const auto x = counting(n);
  const Array<float> in(x), out(n);
  const auto error = Launcher().run(double_kernel<kFaulty>, 4, 32, 0, out.data(), in.data(), n);
  std::vector<float> want;
  for (float v : x) want.push_back(2 * v);
  return {error, out.values(), want};
}

// Fault: the last element belongs to nobody.
template <bool kFaulty>
__global__ void strided_kernel(float *y, const float *x, unsigned n) {
  const unsigned threads = gridDim.x * blockDim.x, first = blockIdx.x * blockDim.x + threadIdx.x;
  for (unsigned i = first; i < n - (kFaulty ? 1 : 0); i += threads) y[i] = x[i] + 1;
}
template <bool kFaulty>
Outcome output_not_written() {
  constexpr unsigned n = 301;
  const Array<float> in(counting(n)), out(n);
  const auto error = Launcher().run(strided_kernel<kFaulty>, 2, 64, 0, out.data(), in.data(), n);
  return {error, out.values(), counting(n, 2)};
}

// Fault: the launch asks for one element of shared memory less than is used.
__global__ void shift_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x;
  if (i == 0) shared[0] = 0;
  shared[i + 1] = x[i];
  __syncthreads();
  y[i] = shared[i];
}
template <bool kFaulty>
Outcome past_shared_memory() {
  const Array<float> in(counting(64)), out(64);
  const auto error = Launcher().run(shift_kernel, 1, 64, kFaulty ? 64 : 65, out.data(), in.data());
  return {error, out.values(), counting(64, 0)};
}

// ---- asynchronous copies ------------------------------------------------------------------------

// Fault: the copies are not waited for, or all but the last group are.
template <bool kFaulty, int kLeft>
__global__ void staged_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x, n = blockDim.x;
  copy_async<4>(shared + i, x + i);
  commit_copies();
  copy_async<4>(shared + n + i, x + n + i);
  commit_copies();
  if constexpr (!kFaulty) await_copies<0>();
  if constexpr (kFaulty && kLeft > 0) await_copies<kLeft>();
  __syncthreads();
  y[i] = shared[2 * n - 1 - i];
}
template <bool kFaulty, int kLeft>
Outcome staged() {
  const auto x = counting(128);
  const Array<float> in(x), out(64);
  const auto error =
      Launcher().run(staged_kernel<kFaulty, kLeft>, 1, 64, 128, out.data(), in.data());
  return {error, out.values(), {x.rbegin(), x.rbegin() + 64}};
}

// Fault: the copy of the next row begins while others still read this one.
template <bool kFaulty>
__global__ void pipeline_kernel(float *y, const float *x, int rows) {
  float *shared = shared_memory<float>();
  const unsigned i = threadIdx.x, n = blockDim.x;
  float sum = 0;
  copy_async<4>(shared + i, x + i);
  commit_copies();
  for (int r = 0; r < rows; ++r) {
    await_copies<0>();
    __syncthreads();
    sum += shared[n - 1 - i];
    if constexpr (!kFaulty) __syncthreads();
    copy_async<4>(shared + i, x + (r + 1) * n + i, r + 1 < rows);
    commit_copies();
  }
  await_copies<0>();
  y[i] = sum;
}
template <bool kFaulty>
Outcome copied_over_readers() {
  return reversed_rows(pipeline_kernel<kFaulty>, 64);
}

// ---- matrix fragments ---------------------------------------------------------------------------

// y [16, 8] = a [16, 16] b [16, 8], whole numbers below 16: exact in bf16. Fragments by hand.
// Fault: the registers of `a` that lie below and beside the first one are exchanged.
template <bool kFaulty>
__global__ void product_kernel(float *y, const float *a, const float *b) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4 * 2;
  const auto row_pair = [&](unsigned row, unsigned col) {
    return bf16_pair(a[row * 16 + col], a[row * 16 + col + 1]);
  };
  const auto col_pair = [&](unsigned row) { return bf16_pair(b[row * 8 + g], b[row * 8 + 8 + g]); };
  const uint32_t below = row_pair(g + 8, t), beside = row_pair(g, t + 8);
  const uint32_t rows[4] = {row_pair(g, t), kFaulty ? beside : below, kFaulty ? below : beside,
                            row_pair(g + 8, t + 8)};
  const uint32_t cols[2] = {col_pair(t), col_pair(t + 8)};
  float c[4] = {};
  multiply_bf16(c, rows, cols);
  y[g * 8 + t] = c[0];
  y[g * 8 + t + 1] = c[1];
  y[(g + 8) * 8 + t] = c[2];
  y[(g + 8) * 8 + t + 1] = c[3];
}

// The same with the fragments by load_matrices, from bf16 in shared memory: a as it is, b
// transposed.
enum class Rows { Right, NoBarrier, NotTransposed };
template <Rows kRows>
__global__ void loaded_product_kernel(float *y, const float *a, const float *b) {
  uint32_t *a_pairs = shared_memory<uint32_t>(), *b_pairs = a_pairs + 16 * 8;
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4 * 2;
  for (unsigned i = lane; i < 16 * 8; i += 32) a_pairs[i] = bf16_pair(a[2 * i], a[2 * i + 1]);
  for (unsigned i = lane; i < 16 * 4; i += 32) b_pairs[i] = bf16_pair(b[2 * i], b[2 * i + 1]);
  if constexpr (kRows != Rows::NoBarrier) __syncwarp();
  uint32_t rows[4], cols[2];
  // Matrices of a: rows 0 and 8 of columns 0, then of columns 8.
  load_matrices<4>(rows, a_pairs + lane % 16 * 8 + lane / 16 * 4);
  load_matrices<2, kRows != Rows::NotTransposed>(cols, b_pairs + lane % 16 * 4);
  float c[4] = {};
  multiply_bf16(c, rows, cols);
  y[g * 8 + t] = c[0];
  y[g * 8 + t + 1] = c[1];
  y[(g + 8) * 8 + t] = c[2];
  y[(g + 8) * 8 + t + 1] = c[3];
}

template <class Kernel>
Outcome product(Kernel *kernel) {
  std::vector<float> a(16 * 16), b(16 * 8), want(16 * 8);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>((i * 7 + i / 16) % 13);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>((i * 5 + i / 8) % 11);
  for (size_t r = 0; r < 16; ++r) {
    for (size_t c = 0; c < 8; ++c) {
      for (size_t k = 0; k < 16; ++k) want[r * 8 + c] += a[r * 16 + k] * b[k * 8 + c];
    }
  }
  const Array<float> left(a), right(b), out(16 * 8);
  const auto error =
      Launcher().run(kernel, 1, 32, 16 * 8 + 16 * 4, out.data(), left.data(), right.data());
  return {error, out.values(), want};
}

// ---- blocks -------------------------------------------------------------------------------------

// Fault: every block writes the same elements.
template <bool kFaulty>
__global__ void blocks_kernel(float *y) {
  const unsigned at = kFaulty ? 0 : blockIdx.x * blockDim.x;
  y[at + threadIdx.x] = static_cast<float>(blockIdx.x);
}
template <bool kFaulty>
Outcome two_writers() {
  constexpr unsigned blocks = 4, threads = 32;
  const Array<float> out(kFaulty ? threads : blocks * threads);
  const auto error = Launcher().run(blocks_kernel<kFaulty>, blocks, threads, 0, out.data());
  auto got = out.values();
  std::vector<float> want(got.size());
  for (size_t i = 0; i < want.size(); ++i) want[i] = kFaulty ? blocks - 1 : i / threads;
  return {error, got, want};
}

// The last block to come adds the blocks' terms. Fault: in the order in which they came.
template <bool kFaulty>
__global__ void total_kernel(float *y, float *parts, unsigned *count, const float *x) {
  const unsigned place = kFaulty ? atomicAdd(count + 1, 1) : unsigned(blockIdx.x);
  parts[place] = x[blockIdx.x];
  __threadfence();
  if (atomicAdd(count, 1) + 1 < gridDim.x) return;
  __threadfence();
  float sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += parts[b];
  y[0] = sum;
}
template <bool kFaulty>
Outcome order_of_arrival() {
  constexpr unsigned blocks = 33;
  std::vector<float> x(blocks);
  float sum = 0;
  for (unsigned b = 0; b < blocks; ++b) sum += x[b] = 1 / (1.0f + static_cast<float>(b * b));
  const Array<float> in(x), parts(blocks), out(1);
  const Array<unsigned> count(std::vector<unsigned>{0, 0});
  const auto error = Launcher().run(total_kernel<kFaulty>, blocks, 1, 0, out.data(), parts.data(),
                                    count.data(), in.data());
  return {error, out.values(), {sum}};
}

// ---- blocks that run together -------------------------------------------------------------------

// Each block turns the elements of the next one by a step, in rounds: each round reads what other
// blocks wrote in the one before, and a word of the block's own shared memory. Faults: no barrier;
// one block that does not come to the last; one that meets the others in another line; a launch
// that is not cooperative; a second barrier that is left out, so that a round is overwritten while
// others read it.
enum class Rounds { Right, NoBarrier, OneEndsEarly, TwoLines, Apart, OneBarrier };
template <Rounds kRounds>
__global__ void rounds_kernel(float *y, float *x, int rounds) {
  const auto grid = cooperative_groups::this_grid();
  float *shared = shared_memory<float>();
  const unsigned n = blockDim.x, all = gridDim.x * n, own = blockIdx.x * n + threadIdx.x;
  shared[threadIdx.x] = static_cast<float>(blockIdx.x);
  x[own] = static_cast<float>(own);
  for (int r = 0; r < rounds; ++r) {
    if (kRounds == Rounds::OneEndsEarly && r + 1 == rounds && blockIdx.x == 1) return;
    if (kRounds == Rounds::TwoLines && blockIdx.x == 1) {
      grid.sync();
    } else if (kRounds != Rounds::NoBarrier) {
      grid.sync();
    }
    const float next = x[(own + n) % all];
    if constexpr (kRounds != Rounds::OneBarrier) grid.sync();
    x[own] = next + shared[n - 1 - threadIdx.x];
  }
  y[own] = x[own];
}
template <Rounds kRounds>
Outcome rounds() {
  constexpr unsigned blocks = 3, threads = 40;
  constexpr int kTimes = 2;
  const Array<float> out(blocks * threads), x(blocks * threads);
  const auto error = kRounds == Rounds::Apart
                         ? Launcher().run(rounds_kernel<Rounds::Right>, blocks, threads, threads,
                                          out.data(), x.data(), kTimes)
                         : Launcher().run_together(rounds_kernel<kRounds>, blocks, threads, threads,
                                                   out.data(), x.data(), kTimes);
  std::vector<float> want = counting(blocks * threads, 0);
  for (int r = 0; r < kTimes; ++r) {
    std::rotate(want.begin(), want.begin() + threads, want.end());
    for (size_t i = 0; i < want.size(); ++i) want[i] += static_cast<float>(i / threads);
  }
  return {error, out.values(), want};
}
template <Rounds kFault>
constexpr Case kRoundsCase{rounds<Rounds::Right>, rounds<kFault>};

// The most blocks that run at the same time. Fault: one more.
__global__ void meet_kernel(float *y) {
  cooperative_groups::this_grid().sync();
  if (threadIdx.x == 0) y[blockIdx.x] = static_cast<float>(blockIdx.x + 1);
}
template <bool kFaulty>
Outcome too_many_together() {
  constexpr int threads = 256;
  int blocks = 0, multiprocessors = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &blocks, reinterpret_cast<const void *>(&meet_kernel), threads, 0);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
  const auto all = static_cast<unsigned>(blocks * multiprocessors + (kFaulty ? 1 : 0));
  const Array<float> out(all);
  const auto error = Launcher().run_together(meet_kernel, all, threads, 0, out.data());
  return {error, out.values(), counting(all)};
}

std::string verdict(const Outcome &outcome) {
  if (!outcome.error.empty()) return "error: " + outcome.error;
  for (size_t i = 0; i < outcome.want.size(); ++i) {
    if (outcome.got[i] == outcome.want[i]) continue;
    return outcome.got[i] != outcome.got[i] ? "NaN" : "wrong";
  }
  return "right";
}

#define CASE(name)                     \
  {                                    \
#name, { name<false>, name<true> } \
  }
const std::map<std::string, Case> kCases = {
    CASE(barrier_removed),
    CASE(warp_barrier_removed),
    CASE(reused_too_early),
    CASE(read_before_written),
    CASE(divergent_barrier),
    CASE(barriers_in_two_lines),
    CASE(shuffle_lacks_lanes),
    CASE(wait_without_end),
    CASE(store_past_the_end),
    CASE(output_not_written),
    CASE(past_shared_memory),
    {"copies_not_awaited", {staged<false, 0>, staged<true, 0>}},
    {"one_group_too_many_left", {staged<false, 1>, staged<true, 1>}},
    CASE(copied_over_readers),
    {"wrong_fragment",
     {[] { return product(product_kernel<false>); }, [] { return product(product_kernel<true>); }}},
    {"fragments_without_barrier",
     {[] { return product(loaded_product_kernel<Rows::Right>); },
      [] { return product(loaded_product_kernel<Rows::NoBarrier>); }}},
    {"fragments_not_transposed",
     {[] { return product(loaded_product_kernel<Rows::Right>); },
      [] { return product(loaded_product_kernel<Rows::NotTransposed>); }}},
    CASE(two_writers),
    CASE(order_of_arrival),
    {"no_grid_barrier", kRoundsCase<Rounds::NoBarrier>},
    {"round_overwritten", kRoundsCase<Rounds::OneBarrier>},
    {"block_misses_grid_barrier", kRoundsCase<Rounds::OneEndsEarly>},
    {"grid_barriers_in_two_lines", kRoundsCase<Rounds::TwoLines>},
    {"grid_barrier_apart", kRoundsCase<Rounds::Apart>},
    CASE(too_many_together),
};

}  // namespace

int main(int count, char **words) {
  std::map<std::string, Case> cases = kCases;
  cases.insert(kHopperCases.begin(), kHopperCases.end());
  const auto found = count >= 4 ? cases.find(words[1]) : cases.end();
  if (found == cases.end()) {
    std::fprintf(stderr, "usage: faults CASE right|faulty SEED...\n");
    return 2;
  }
  const bool faulty = std::strcmp(words[2], "faulty") == 0;
  for (int i = 3; i < count; ++i) {
    setenv("PONDER_SIMULATOR_SEED", words[i], 1);
    const Outcome outcome = faulty ? found->second.faulty() : found->second.right();
    uint32_t bits = 0;
    std::memcpy(&bits, outcome.got.data(), sizeof bits);
    std::printf("%08x %s\n", bits, verdict(outcome).c_str());
    std::fflush(stdout);
  }
  return 0;
}
