// SPDX-License-Identifier: Apache-2.0
// fast_weights_chunk: the fast-weight memory of fast_weights.cu on tensor cores, so many steps at a
// time: q, k and v of bf16, the plain and the delta kind, at most one decay per head.
// With c_t the product of a chunk's decays up to step t, M(t,i) that of the steps i+1 .. t and x_i
// what step i writes with k_i, in a chunk of n steps:
//   x = v; delta: x_t = rate_t (v_t - c_t k_t^T S) - sum over i < t of L(t,i) x_i,
//   L(t,i) = rate_t M(t,i) k_t . k_i;
//   out_t = scale (c_t q_t^T S + sum over i <= t of P(t,i) x_i), P(t,i) = M(t,i) q_t . k_i;
//   S = c_n S + sum over i of M(n,i) k_i x_i^T
// Shapes   as in fast_weights.cu; keys <= 128; decay_size 1; chunk 16, 32, 48 or 64; no features
//          beside rate
// Method   first P and L of all chunks at once (fast_weights_chunk.cuh). Then a block of 4 warps
//          has a head and 64 columns of S, in f32 in its registers, and rounded to bf16 in shared
//          memory where a product reads it; up to 64 keys, a chunk comes in while the one before
//          is used. A warp has 16 steps of it for what reads S, 16 columns of the triangular
//          system, which goes 16 steps at a time, and a fourth of the keys for what writes S. M is
//          multiplied onwards and nothing is divided, so no product of decays has to stay above 0.
//          A chunk ends early before a reset
// Order    products take 16 keys or steps at a time, upwards, in f32; z and q . z in f32
// Error    5e-3 of the largest
// Work     per step and head 4 keys values + 2 chunk (keys + values) flops; delta 2 keys values and
//          2 chunk (keys + values) more
// Source   Yang et al., arXiv:2406.06484, section 3.2; with decays arXiv:2412.06464, section 3.3
#include "fast_weights_chunk.cuh"

namespace {

__device__ __forceinline__ float element(const Bf16 *tile, int row, int col) {
  return widened(tile[place<kCols>(row, col / kWide<Bf16>) + col % kWide<Bf16>]);
}

// What lies in shared memory. The tiles of bf16 come first: places in them are found by exclusive
// or. Two stages where they fit every device.
template <int kKeys>
struct Stages {
  static constexpr int kCount = kKeys <= 64 ? 2 : 1, kRow = KeyTiles<kKeys>::kRow;
  static constexpr int kStage = 2 * kRow + 3 * kTile;
  static constexpr size_t kBytes = (kCount * kStage + kRow + kTile) * sizeof(Bf16) +
                                   ((2 * kCount + 3) * kMost + kKeys) * sizeof(float);
  static_assert(kBytes <= 99 << 10, "fits every device");

  __device__ static Bf16 *stage(int i) { return shared_memory<Bf16>() + i * kStage; }
  __device__ static float *floats() {
    return reinterpret_cast<float *>(stage(kCount) + kRow + kTile);
  }
};

// One stage: a chunk as it comes in.
template <int kKeys>
struct Stage : KeyTiles<kKeys> {
  Bf16 *x, *scores, *system;

  __device__ explicit Stage(int i) {
    using All = Stages<kKeys>;
    this->q = All::stage(i);
    this->k = this->q + All::kRow;
    x = this->k + All::kRow;
    scores = x + kTile;
    system = scores + kTile;
    this->decay = All::floats() + i * 2 * kMost;
    this->rate = this->decay + kMost;
  }
};

// One block's work: a head and some columns.
template <int kKeys, bool kDelta>
struct StatePanel {
  using All = Stages<kKeys>;
  const Chunks &c;
  const FastWeights<Bf16> &f;
  const Reads<Bf16> &reads;
  const int64_t bh;
  // Of the block's columns; of the warp's steps, or columns.
  const int first, cols, row0;
  Bf16 *rounded, *left;  // S; what is left of x at the chunk's end
  float *since, *at_end, *norm, *z;
  StateBands<kKeys> state = {};

  __device__ StatePanel(const Chunks &call, const Reads<Bf16> &to, int64_t block)
      : c(call),
        f(call.f),
        reads(to),
        bh(block / call.panels),
        first(static_cast<int>(block % call.panels) * kCols),
        cols(within(call.f.values - first, kCols)),
        row0(warp_number() * 16),
        rounded(All::stage(All::kCount)),
        left(rounded + All::kRow),
        since(All::floats() + All::kCount * 2 * kMost),
        at_end(since + kMost),
        norm(at_end + kMost),
        z(norm + kMost) {}

  // Calls body(place in an array of states, element) for the state's elements that exist.
  template <class F>
  __device__ __forceinline__ void each_cell(F &&body) {
    state.each([&](int key, int col, float &x) {
      if (key < f.keys && col < cols) body((bh * f.keys + key) * f.width() + first + col, x);
    });
  }
  // Calls body(place in an array of states, z's element of this thread, whether it exists).
  template <class F>
  __device__ __forceinline__ void each_norm(F &&body) const {
    const int key = static_cast<int>(threadIdx.x);
    if (f.normalised == 0 || key >= kKeys) return;
    body((bh * f.keys + key) * f.width() + f.values, z[key], key < f.keys);
  }

  __device__ __forceinline__ void begin() {
    const float *from = static_cast<const float *>(f.initial);
    if (from != nullptr) each_cell([&](int64_t at, float &x) { x = from[at]; });
    each_norm([&](int64_t at, float &x, bool exists) {
      x = from != nullptr && exists ? from[at] : 0.0f;
    });
  }
  __device__ __forceinline__ void clear() {
    state.each([](int, int, float &x) { x = 0; });
    each_norm([](int64_t, float &x, bool) { x = 0; });
  }

  // Begins to copy the chunk of n steps from t on.
  __device__ __forceinline__ void copy(int64_t t, int n, int stage) const {
    const Stage<kKeys> to(stage);
    const int64_t at = f.place(bh, t);
    to.copy(c, at, n);
    copy_rows<kMost, kCols, kBlock>(to.x, static_cast<const Bf16 *>(f.v) + at * f.values + first,
                                    f.heads * f.values, n, cols, c.whole_v);
    const auto copy_prepared = [&](Bf16 *tile, const Bf16 *from) {
      copy_rows<kMost, kMost, kBlock>(tile, from + at * kMost, f.heads * kMost, n, kMost, true);
    };
    copy_prepared(to.scores, c.scores);
    if constexpr (kDelta) copy_prepared(to.system, c.system);
  }

  // The n steps from t on, whose chunk is there.
  __device__ __forceinline__ void run(int64_t t, int n, int number) {
    const Stage<kKeys> stage(number);
    state.put(rounded);
    multiply_decays(stage, n);
    __syncthreads();
    if (f.features != 0) stage.make_features(c, n);
    float norms[2] = {};
    if (f.normalised != 0) read_norms(stage, t, n, norms);
    float y[kCols / 8][4] = {};
    if (row0 < n) {
      add_reads<kKeys>(y, stage.q, row0, rounded);
      PND_UNROLL
      for (int j = 0; j < kCols / 8; ++j) {
        PND_UNROLL
        for (int e = 0; e < 4; ++e) y[j][e] *= since[row0 + sum_row(e)];
      }
    }
    if constexpr (kDelta) {
      solve(stage, n);
      __syncthreads();
    }
    if (row0 < n) {
      add_reads<kMost>(y, stage.scores, row0, stage.x, row0 + 16);  // of later ones, P is 0
      finish(y, norms);
      __syncwarp();  // all lanes have read the warp's rows of q
      put_sums<kKeys>(stage.q, row0, 0, y);
    }
    write(stage, n);
    __syncthreads();  // the results in q's tile
    const int64_t at = f.place(bh, t);
    store_rows_at<kMost, kKeys, kBlock>(stage.q, cols, c.whole_out, [&](int row) {
      return row < n ? reads.to + (at + row * f.heads) * f.values + first : nullptr;
    });
    __syncthreads();  // all have read what the next chunk replaces
  }

 private:
  // c_t and M(n, t), zeros behind the n steps.
  __device__ __forceinline__ void multiply_decays(const Stage<kKeys> &stage, int n) const {
    const int thread = static_cast<int>(threadIdx.x), step = thread % kMost;
    const bool forward = thread < kMost;
    float product = step < n ? 1.0f : 0.0f;
    if (f.decay != nullptr) {
      const int end = forward ? (step < n ? step + 1 : n) : n;
      for (int i = forward ? 0 : step + 1; i < end; ++i) product *= stage.decay[i];
    }
    (forward ? since : at_end)[step] = product;
  }

  // The norms of this lane's rows: c q . z and the sum of the scores. Two threads a step.
  __device__ __forceinline__ void read_norms(const Stage<kKeys> &stage, int64_t t, int n,
                                             float (&norms)[2]) const {
    const int row = static_cast<int>(threadIdx.x) / 2, half = static_cast<int>(threadIdx.x) % 2;
    float sum = 0;
    for (int key = half * (kKeys / 2); key < (half + 1) * (kKeys / 2); ++key) {
      sum = fma(widened(stage.q[KeyTiles<kKeys>::at(row, key)]), z[key], sum);
    }
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    if (half == 0) {
      norm[row] = row < n ? fma(sum, since[row], c.sums[f.place(bh, t + row)]) : 0.0f;
    }
    __syncthreads();
    PND_UNROLL
    for (int i = 0; i < 2; ++i) norms[i] = norm[row0 + sum_row(2 * i)];
  }

  __device__ __forceinline__ void finish(float (&y)[kCols / 8][4], const float (&norms)[2]) const {
    PND_UNROLL
    for (int j = 0; j < kCols / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (f.normalised != 0) y[j][e] = norms[e / 2] == 0 ? 0.0f : y[j][e] / norms[e / 2];
        y[j][e] *= reads.scale;
      }
    }
  }

  // x, of the warp's columns, from the right sides of the system; and what is left of it at the
  // end.
  __device__ __forceinline__ void solve(const Stage<kKeys> &stage, int n) const {
    float x[kBands][2][4] = {};
#pragma unroll 1
    for (int j = 0; j < kKeys; j += 16) {
      uint32_t b[4];
      load_square<kCols, true, true>(b, rounded, j, row0);
      PND_UNROLL
      for (int band = 0; band < kBands; ++band) {
        uint32_t a[4];
        load_square<kKeys, false, false>(a, stage.k, band * 16, j);
        multiply_square(x[band][0], x[band][1], a, b);
      }
    }
    PND_UNROLL
    for (int band = 0; band < kBands; ++band) {
      if (band * 16 >= n) break;
      each_of(band, [&](int row, int col, int j, int e) {
        const float lacks = element(stage.x, row, row0 + col) - since[row] * x[band][j][e];
        x[band][j][e] = row < n ? stage.rate[row] * lacks : 0.0f;
      });
      PND_UNROLL
      for (int i = 0; i <= band; ++i) {
        if (i == band) put_part(stage.x, band * 16, x[band]);
        uint32_t a[4], b[4];
        load_square<kMost, false, false>(a, stage.system, band * 16, i * 16);
        load_square<kCols, true, true>(b, stage.x, i * 16, row0);
        multiply_square(x[band][0], x[band][1], a, b);
      }
      put_part(stage.x, band * 16, x[band]);
      if (f.decay == nullptr) continue;
      each_of(band, [&](int row, int, int j, int e) { x[band][j][e] *= at_end[row]; });
      put_part(left, band * 16, x[band]);
    }
  }
  // Calls body(row, col, j, e) for this lane's elements of 16 rows and 16 columns.
  template <class F>
  __device__ __forceinline__ static void each_of(int band, F &&body) {
    PND_UNROLL
    for (int j = 0; j < 2; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) body(band * 16 + sum_row(e), sum_col(j, e), j, e);
    }
  }
  // To the warp's columns of a tile, which it reads itself.
  __device__ __forceinline__ void put_part(Bf16 *tile, int row, const float (&x)[2][4]) const {
    __syncwarp();
    put_sums<kCols>(tile, row, row0, x);
    __syncwarp();
  }

  // The state after n steps.
  __device__ __forceinline__ void write(const Stage<kKeys> &stage, int n) {
    const float kept = since[n - 1];
    // What a decay leaves of a write is rounded once: of x where that is not yet, else of k.
    const Bf16 *written = kDelta && f.decay != nullptr ? left : stage.x;
    state.each([=](int, int, float &x) { x *= kept; });
    state.add(stage.k, written, !kDelta && f.decay != nullptr ? at_end : nullptr, n);
    each_norm([&](int64_t, float &x, bool) {
      x *= kept;
      for (int i = 0; i < n; ++i) {
        const int key = static_cast<int>(threadIdx.x);
        x = fma(widened(stage.k[KeyTiles<kKeys>::at(i, key)]), at_end[i], x);
      }
    });
  }
};

template <int kKeys, bool kDelta>
__global__ void __launch_bounds__(kBlock, 2)
    state_kernel(int64_t first_block, Chunks c, Reads<Bf16> reads, float *last) {
  constexpr int kStages = Stages<kKeys>::kCount;
  const FastWeights<Bf16> &f = c.f;
  StatePanel<kKeys, kDelta> panel(c, reads, first_block + blockIdx.x);
  const int64_t bh = panel.bh, length = f.length(bh / f.heads);
  panel.begin();
  int64_t t = 0, end = length > 0 ? c.end_of(bh, 0, length) : 0;
  if (length > 0) panel.copy(0, static_cast<int>(end), 0);
  for (int stage = 0; t < length; stage = (stage + 1) % kStages) {
    const int64_t next_end = end < length ? c.end_of(bh, end, length) : end;
    const int next = static_cast<int>(next_end - end), n = static_cast<int>(end - t);
    commit_copies();
    if (kStages > 1 && next > 0) panel.copy(end, next, (stage + 1) % kStages);
    if (kStages > 1) commit_copies();
    await_copies<kStages - 1>();
    __syncthreads();
    if (f.resets_at(bh, t)) panel.clear();
    panel.run(t, n, stage);
    if (kStages == 1 && next > 0) panel.copy(end, next, 0);
    t = end;
    end = next_end;
  }
  for (int64_t i = length + warp_number(); i < f.steps; i += kOwners) {
    for (int col = lane_number(); col < panel.cols; col += kWarp) {
      reads.to[f.place(bh, i) * f.values + panel.first + col] = Bf16{0};
    }
  }
  panel.each_cell([&](int64_t at, float x) { last[at] = x; });
  if (panel.first > 0) return;
  panel.each_norm([&](int64_t at, float x, bool exists) {
    if (exists) last[at] = x;
  });
}

}  // namespace

// Features are keys much longer than 1, of which a correction would add up the rounding errors.
bool takes_chunks(const guard::FastWeights &f, int64_t chunk) {
  return chunk > 0 && chunk % 16 == 0 && chunk <= kMost && f.keys <= 128 && f.erase == nullptr &&
         (f.decay == nullptr || f.decay_size == 1) && (f.rate == nullptr || f.features == 0);
}

int32_t scan_chunks(Call &call, pnd_context *context, const FastWeights<Bf16> &f, int64_t chunk,
                    Reads<Bf16> reads, float *last) {
  const auto whole = [](const void *array, int64_t size) {
    return moves_whole(static_cast<const Bf16 *>(array), size);
  };
  const int64_t rows = f.tokens() * kMost, chunks = (f.steps + chunk - 1) / chunk;
  const int64_t squares = (f.rate == nullptr ? 1 : 2) * rows * static_cast<int64_t>(sizeof(Bf16));
  const int64_t sums = f.normalised * f.tokens() * static_cast<int64_t>(sizeof(float));
  if (call.reserve(0, squares + sums).refused()) return call.status();
  Bf16 *scratch = static_cast<Bf16 *>(context->scratch);
  const Chunks c{f,
                 chunk,
                 (f.values + kCols - 1) / kCols,
                 whole(f.q, f.keys) && whole(f.k, f.keys),
                 whole(f.v, f.values),
                 whole(reads.to, f.values),
                 scratch,
                 scratch + rows,
                 reinterpret_cast<float *>(static_cast<char *>(context->scratch) + squares)};
  const auto run = [&](auto keys, auto delta) {
    launch_blocks(call, context, prepare_kernel<keys(), delta()>, f.heads_of_all() * chunks,
                  dim3(kBlock), kPrepareBytes<keys()>, c, chunks);
    if (call.refused()) return call.status();
    return launch_blocks(call, context, state_kernel<keys(), delta()>, f.heads_of_all() * c.panels,
                         dim3(kBlock), Stages<keys()>::kBytes, c, reads, last);
  };
  const auto by_keys = [&](auto delta) {
    return f.keys <= 64 ? run(std::integral_constant<int, 64>{}, delta)
                        : run(std::integral_constant<int, 128>{}, delta);
  };
  return f.rate == nullptr ? by_keys(std::false_type{}) : by_keys(std::true_type{});
}
