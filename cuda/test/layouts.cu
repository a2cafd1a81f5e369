// SPDX-License-Identifier: Apache-2.0
// layouts: what the wrappers of ptx.cuh leave in each thread, on seeded data.
//   layouts
// Compiled for the device and for the simulator; cuda/check compares what the two print, a line per
// case and seed: NAME SEED LIMIT WORD..., each word 32 bits in hexadecimal. Where LIMIT is 0 the
// words must be equal, elsewhere they are f32 that may lie as far apart.
//
// The tensor cores add in an order and with a rounding that PTX leaves open, so sums are compared
// twice: of small integers, which every order adds exactly, and of random numbers, within a limit
// that no misplaced element keeps. The simulator rounds 16 sums of at most 17 terms below 1, each
// to 2^-24 of itself; a tensor core may cut every term at 2^-23 of the largest one or of a sum so
// far. Both together stay below 17 x 2^-18.
//
// A new wrapper gets a kernel here and its lines in kCases.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <vector>

#include "ptx.cuh"

namespace {

using Word = uint32_t;

// ---- inputs -------------------------------------------------------------------------------------

constexpr size_t kInput = 2048;  // words
constexpr float kSumLimit = 17 * 0x1p-18f;

Word bits_of(float x) {
  Word bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Whatever bits.
std::vector<Word> bits(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Word> words(kInput);
  for (Word &word : words) word = static_cast<Word>(random());
  return words;
}

// Floats of all sizes and, at first, those that round in a way of their own.
std::vector<Word> floats(uint32_t seed) {
  constexpr Word kSpecial[] = {0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                               0xffc00001, 0x7f800001, 0x7f7fffff, 0xff7fffff, 0x00000001,
                               0x807fffff, 0x00007fff, 0x00008000, 0x00018000, 0x3f808000,
                               0x3f818000, 0x3f807fff, 0x3f808001, 0x7f7f7fff, 0x7f7f8000};
  std::vector<Word> words = bits(seed);
  for (size_t i = 0; i < std::size(kSpecial); ++i) words[i] = kSpecial[i];
  return words;
}

// A bf16 that is an integer in [-8, 8), or one in (-1, -1/2] or [1/2, 1).
Word integer_bf16(Word random) {
  return bits_of(static_cast<float>(static_cast<int>(random >> 28) - 8)) >> 16;
}
Word fraction_bf16(Word random) { return (random >> 16 & 0x807f) | 0x3f00; }

// Pairs of bf16.
template <Word (*kElement)(Word)>
std::vector<Word> pairs(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Word> words(kInput);
  for (Word &word : words) {
    const Word low = kElement(static_cast<Word>(random()));
    word = low | kElement(static_cast<Word>(random())) << 16;
  }
  return words;
}

// Ten words for each lane: a and b of pairs, then c of f32.
template <Word (*kElement)(Word)>
std::vector<Word> fragments(uint32_t seed) {
  std::vector<Word> words = pairs<kElement>(seed);
  for (size_t i = 0; i < words.size(); ++i) {
    if (i % 10 >= 6) words[i] <<= 16;
  }
  return words;
}

// ---- kernels ------------------------------------------------------------------------------------

// The rows' pointers are not in the order of the rows.
template <int n, bool kTransposed>
__global__ void load_kernel(Word *out, const Word *in) {
  Word *shared = shared_memory<Word>();
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 32 * n; i += 32) shared[i] = in[i];
  __syncwarp();
  Word to[n];
  load_matrices<n, kTransposed>(to, shared + (5 * lane + 3) % (8 * n) * 4);
  for (int m = 0; m < n; ++m) out[n * lane + m] = to[m];
}

__global__ void multiply_kernel(Word *out, const Word *in) {
  const Word *own = in + 10 * threadIdx.x;
  Word a[4], b[2];
  float c[4];
  for (int i = 0; i < 4; ++i) a[i] = own[i];
  for (int i = 0; i < 2; ++i) b[i] = own[4 + i];
  memcpy(c, own + 6, sizeof c);
  multiply_bf16(c, a, b);
  memcpy(out + 4 * threadIdx.x, c, sizeof c);
}

// a [16, 16] and b [16, 8], row-major in shared memory, as a kernel loads and multiplies them.
__global__ void product_kernel(Word *out, const Word *in) {
  Word *shared = shared_memory<Word>();
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 16 * 8 + 16 * 4; i += 32) shared[i] = in[i];
  __syncwarp();
  Word a[4], b[2];
  load_matrices(a, shared + lane % 16 * 8 + lane / 16 * 4);
  load_matrices<2, true>(b, shared + 16 * 8 + lane % 16 * 4);
  float c[4] = {};
  multiply_bf16(c, a, b);
  memcpy(out + 4 * lane, c, sizeof c);
}

__global__ void pair_kernel(Word *out, const Word *in) {
  for (unsigned i = 0; i < 8; ++i) {
    float low, high;
    memcpy(&low, in + 16 * threadIdx.x + 2 * i, sizeof low);
    memcpy(&high, in + 16 * threadIdx.x + 2 * i + 1, sizeof high);
    out[8 * threadIdx.x + i] = bf16_pair(low, high);
  }
}

// Two groups of copies, every third lane's of zeros; each lane reads what its neighbour copied, of
// the first group while the second may be under way.
template <int kBytes>
__global__ void copy_kernel(Word *out, const Word *in) {
  constexpr unsigned n = kBytes / 4;
  Word *shared = shared_memory<Word>();
  const unsigned lane = threadIdx.x, other = (lane + 1) % 32;
  for (unsigned group = 0; group < 2; ++group) {
    const unsigned from = (7 * lane + group) % 64;
    copy_async<kBytes>(shared + (32 * group + lane) * n, in + from * n, (lane + group) % 3 != 0);
    commit_copies();
  }
  await_copies<1>();
  __syncwarp();
  for (unsigned i = 0; i < n; ++i) out[2 * n * lane + i] = shared[other * n + i];
  await_copies<0>();
  __syncwarp();
  for (unsigned i = 0; i < n; ++i) out[2 * n * lane + n + i] = shared[(32 + other) * n + i];
}

// ---- cases --------------------------------------------------------------------------------------

// A block of threads that leave as many words each.
struct Case {
  const char *name;
  void (*kernel)(Word *out, const Word *in);
  std::vector<Word> (*input)(uint32_t seed);
  unsigned threads, words;
  float limit = 0;
};

const Case kCases[] = {
    {"ldmatrix_x1", load_kernel<1, false>, bits, 32, 1},
    {"ldmatrix_x2", load_kernel<2, false>, bits, 32, 2},
    {"ldmatrix_x4", load_kernel<4, false>, bits, 32, 4},
    {"ldmatrix_x1_trans", load_kernel<1, true>, bits, 32, 1},
    {"ldmatrix_x2_trans", load_kernel<2, true>, bits, 32, 2},
    {"ldmatrix_x4_trans", load_kernel<4, true>, bits, 32, 4},
    {"mma_m16n8k16_integers", multiply_kernel, fragments<integer_bf16>, 32, 4},
    {"mma_m16n8k16_fractions", multiply_kernel, fragments<fraction_bf16>, 32, 4, kSumLimit},
    {"product_integers", product_kernel, pairs<integer_bf16>, 32, 4},
    {"product_fractions", product_kernel, pairs<fraction_bf16>, 32, 4, kSumLimit},
    {"bf16_pair", pair_kernel, floats, 32, 8},
    {"cp_async_4", copy_kernel<4>, bits, 32, 2},
    {"cp_async_8", copy_kernel<8>, bits, 32, 4},
    {"cp_async_16", copy_kernel<16>, bits, 32, 8},
};

void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "error: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

std::vector<Word> run(const Case &which, uint32_t seed) {
  constexpr size_t kShared = 32 << 10;
  const std::vector<Word> input = which.input(seed);
  std::vector<Word> output(size_t{which.threads} * which.words);
  const size_t in_bytes = input.size() * sizeof(Word), out_bytes = output.size() * sizeof(Word);
  cudaStream_t stream;
  void *in, *out;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  require(cudaMalloc(&in, in_bytes));
  require(cudaMalloc(&out, out_bytes));
  require(cudaMemcpyAsync(in, input.data(), in_bytes, cudaMemcpyHostToDevice, stream));
  require(cudaMemsetAsync(out, 0xFF, out_bytes, stream));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(which.threads);
  config.dynamicSmemBytes = kShared;
  config.stream = stream;
  require(cudaLaunchKernelEx(&config, which.kernel, static_cast<Word *>(out),
                             static_cast<const Word *>(in)));
  require(cudaMemcpyAsync(output.data(), out, out_bytes, cudaMemcpyDeviceToHost, stream));
  require(cudaStreamSynchronize(stream));
  require(cudaFree(in));
  require(cudaFree(out));
  require(cudaStreamDestroy(stream));
  return output;
}

}  // namespace

int main() {
  for (const Case &which : kCases) {
    for (uint32_t seed = 1; seed <= 4; ++seed) {
      const std::vector<Word> output = run(which, seed);
      std::printf("%s %u %g", which.name, seed, static_cast<double>(which.limit));
      for (const Word word : output) std::printf(" %08x", word);
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return 0;
}
