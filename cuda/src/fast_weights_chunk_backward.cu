// SPDX-License-Identifier: Apache-2.0
// fast_weights_chunk_backward: the adjoints of the plain kind of fast-weight memory on tensor
// cores, 64 steps at a time: q, k and v of bf16, at most one decay per head. In the letters of
// fast_weights_chunk.cu, with S before the chunk, G the adjoint of the state after it, and e_t the
// decay of step t, or 0 where the state is cleared:
//   B(t,i) = M(t,i) (dy_t . v_i), P(t,i) = M(t,i) (q_t . k_i), for i <= t;
//   dq_t = c_t S dy_t + sum over i <= t of B(t,i) k_i;
//   dk_t = M(n,t) G v_t + sum over i >= t of B(i,t) q_i;
//   dv_t = M(n,t) G^T k_t + sum over i >= t of P(i,t) dy_i;
//   ddecay_t = the product, element by element, of the adjoint after step t and the state before
//   it:
//     sum over i >= t of M(i,t) (U(i,t) + c_{t-1} q_i . S dy_i)
//     + M(n,t) (c_{t-1} <G, S> + sum over j < t of M(t-1,j) k_j . G v_j),
//     U(i,t+1) = e_t U(i,t) + (q_i . k_t) (dy_i . v_t)
// Shapes   as in fast_weights_backward.cu; keys <= 128; decay_size 1
// Method   S before each chunk, from the first on, and G after each, from the last on: a block has
//          a head and 64 columns, in f32 in its registers, and leaves them rounded to bf16. Then a
//          block has a chunk: of its 8 warps, 4 make dq, the others dk and dv, 16 steps each.
//          A cleared state is one with a decay of 0, which nothing is divided by. The normalised
//          kind goes step by step: its dq is a difference of numbers that are much larger, too
//          large for factors of bf16
// Order    products take 16 keys, steps or columns at a time, upwards, in f32
// Error    2e-2 of the largest
// Work     per step and head 10 keys values + 64 (4 keys + 3 values) flops
// Source   as of fast_weights_chunk.cu, by reverse-mode differentiation
#include "fast_weights_chunk_carry.cuh"

namespace {

constexpr int kBackThreads = 2 * kBlock;

template <int kKeys>
constexpr size_t kChunkBackBytes = (4 * KeyTiles<kKeys>::kRow + 4 * kTile) * sizeof(Bf16) +
                                   (kMost * kMost + 5 * kMost + kBackThreads / kWarp) *
                                       sizeof(float);

// One chunk of a head.
template <int kKeys>
struct ChunkBack {
  static constexpr int kRow = KeyTiles<kKeys>::kRow, kParts = kMost / 8;
  using Square = float[1][kParts][4];
  using Rows = float[1][kKeys / 8][4];
  const ChunksBack &c;
  const FastWeights<Bf16> &f;
  const int64_t bh, chunk, t0;
  const int n, row0;  // of the warp's 16 steps
  const bool upper;   // the warps that make dq
  const float scale;  // dy / dout
  Bf16 *const q = shared_memory<Bf16>(), *const k = q + kRow, *const s = k + kRow;
  Bf16 *const g = s + kRow, *const v = g + kRow, *const dy = v + kTile;
  Bf16 *const p = dy + kTile, *const b = p + kTile;
  float *const between = reinterpret_cast<float *>(b + kTile);  // M
  float *const leaves = between + kMost * kMost, *const since = leaves + kMost;
  float *const at_end = since + kMost;
  float *const reads = at_end + kMost;  // q_i . S dy_i
  float *const writes = reads + kMost;  // k_j . G v_j
  float *const sums = writes + kMost;   // of warps

  __device__ ChunkBack(const ChunksBack &call, int64_t block)
      : c(call),
        f(call.f),
        bh(block / call.chunks),
        chunk(block % call.chunks),
        t0(chunk * kMost),
        n(call.count(bh, chunk)),
        row0(warp_number() % kOwners * 16),
        upper(warp_number() < kOwners),
        scale(static_cast<float>(call.f.scale)) {}

  __device__ __forceinline__ void run() const {
    clear_rest();
    if (n == 0) return;
    c.template copy_keys<kKeys, kBackThreads>(q, f.q, bh, t0, n);
    c.template copy_keys<kKeys, kBackThreads>(k, f.k, bh, t0, n);
    commit_copies();
    make_tables();
    await_copies<0>();
    __syncthreads();
    c.template make_features<kKeys, kBackThreads>(q, n);
    c.template make_features<kKeys, kBackThreads>(k, n);
    multiply_leaves();
    __syncthreads();

    Square dots = {}, slopes = {};  // q . k; dout . v
    Rows rows = {};                 // S dout, or G v
    if (upper) OwnRows<kKeys, 1, false>(q, row0).add_dots(dots, k);
    if (upper) {
      float scores[kParts][4];
      each_square([&](int j, int e, int row, int i) {
        scores[j][e] = decayed(dots[0][j][e] * scale, row, i);
      });
      put_sums<kMost>(p, row0, 0, scores);
    }
    float product = 0;  // of this thread's elements of S and G
    for (int64_t panel = 0; panel < c.panels; ++panel) {
      copy_panel(panel);
      if (upper) {
        const OwnRows<kCols, 1, false> own(dy, row0);
        own.add_dots(slopes, v);
        own.add_dots(rows, s);
      } else {
        OwnRows<kCols, 1, false>(v, row0).add_dots(rows, g);
        make_dv(panel * kCols);
      }
      if (f.decay != nullptr) {
        for (int i = static_cast<int>(threadIdx.x); i < kRow; i += kBackThreads) {
          product = fma(widened(s[i]), widened(g[i]), product);
        }
      }
    }
    finish(dots, slopes, rows, product);
  }

 private:
  // body(j, e, step, step before) for this lane's elements of the warp's rows of a square.
  template <class F>
  __device__ __forceinline__ void each_square(F body) const {
    PND_UNROLL
    for (int j = 0; j < kParts; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) body(j, e, row0 + sum_row(e), sum_col(j, e));
    }
  }
  // body(element of the sums, e, step, key) likewise.
  template <class F>
  __device__ __forceinline__ void each_key(Rows &rows, F body) const {
    PND_UNROLL
    for (int j = 0; j < kKeys / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) body(rows[0][j][e], e, row0 + sum_row(e), sum_col(j, e));
    }
  }
  __device__ __forceinline__ float decayed(float x, int row, int i) const {
    return i <= row && row < n ? times(x, between[row * kMost + i]) : 0.0f;
  }
  __device__ __forceinline__ static float key_of(const Bf16 *tile, int row, int key) {
    return widened(tile[KeyTiles<kKeys>::at(row, key)]);
  }
  // A sum over the lanes of a row, to `to`.
  __device__ __forceinline__ void put_rows(float *to, const float (&sum)[2]) const {
    PND_UNROLL
    for (int half = 0; half < 2; ++half) {
      const float all = fold_lanes(sum[half], [](float x, float y) { return x + y; });
      if (lane_number() % 4 == 0) to[row0 + sum_row(2 * half)] = all;
    }
  }

  __device__ __forceinline__ void make_tables() const {
    const int i = static_cast<int>(threadIdx.x);
    if (i >= kMost) return;
    leaves[i] = i < n ? c.leaves(bh, t0 + i) : 0.0f;
  }
  // M, c and M(n, .), zeros behind the n steps.
  __device__ __forceinline__ void multiply_leaves() const {
    const int i = static_cast<int>(threadIdx.x);
    if (i < kMost) {
      float product = 1;
      for (int t = i; t < n; ++t) {
        if (t > i) product *= leaves[t];
        between[t * kMost + i] = product;
      }
      at_end[i] = i < n ? product : 0.0f;
    } else if (i < 2 * kMost) {
      float product = 1;
      for (int t = 0; t <= i - kMost; ++t) product *= leaves[t];
      since[i - kMost] = product;
    }
  }
  __device__ __forceinline__ void copy_panel(int64_t panel) const {
    __syncthreads();  // all have read the one before
    c.template copy_columns<kBackThreads>(v, f.v, bh, t0, n, panel * kCols);
    c.template copy_columns<kBackThreads>(dy, c.d.dout, bh, t0, n, panel * kCols);
    const int64_t at = c.panel_at(bh, chunk, panel) * kKeys * kCols;
    copy_rows<kKeys, kCols, kBackThreads>(s, c.states + at, kCols, kKeys, kCols, true);
    copy_rows<kKeys, kCols, kBackThreads>(g, c.slopes + at, kCols, kKeys, kCols, true);
    commit_copies();
    await_copies<0>();
    __syncthreads();
  }

  __device__ __forceinline__ void make_dv(int64_t first) const {
    float sum[kCols / 8][4] = {};
    add_reads<kKeys>(sum, k, row0, g);
    PND_UNROLL
    for (int j = 0; j < kCols / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        sum[j][e] = times(sum[j][e], at_end[row0 + sum_row(e)]);
      }
    }
    add_later<kCols>(sum, p, dy);
    PND_UNROLL
    for (int j = 0; j < kCols / 8; ++j) {
      PND_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + sum_row(e);
        const int64_t col = first + sum_col(j, e);
        if (row < n && col < f.values) {
          c.d.dv[f.place(bh, t0 + row) * f.values + col] = narrowed(sum[j][e]);
        }
      }
    }
  }
  // sum += what later steps leave: the transpose of a square times a tile.
  template <int kWidth>
  __device__ __forceinline__ void add_later(float (&sum)[kWidth / 8][4], const Bf16 *square,
                                            const Bf16 *tile) const {
#pragma unroll 1
    for (int t = row0; t < kMost; t += 16) {
      uint32_t left[4];
      load_square<kMost, false, true>(left, square, t, row0);
      PND_UNROLL
      for (int col = 0; col < kWidth / 8; col += 2) {
        uint32_t right[4];
        load_square<kWidth, true, true>(right, tile, t, col * 8);
        multiply_square(sum[col], sum[col + 1], left, right);
      }
    }
  }

  __device__ __forceinline__ void finish(const Square &dots, Square &slopes, Rows &rows,
                                         float product) const {
    __syncthreads();  // all have read the last panel, whose place the next tables take
    float *const pairs = reinterpret_cast<float *>(v);  // (q_i . k_j) (dy_i . v_j), j < i
    float sum[2] = {};
    if (upper) {
      each_square([&](int j, int e, int row, int i) {
        float &x = slopes[0][j][e];
        x *= scale;
        pairs[row * kMost + (i ^ row)] = i < row ? dots[0][j][e] * x : 0.0f;
        x = decayed(x, row, i);
      });
      put_sums<kMost>(b, row0, 0, slopes[0]);
      each_key(rows, [&](float &x, int e, int row, int key) {
        x *= scale;
        sum[e / 2] = fma(key_of(q, row, key), x, sum[e / 2]);
        x = times(x, since[row]);
      });
      put_rows(reads, sum);
    } else {
      each_key(rows, [&](float &x, int e, int row, int key) {
        sum[e / 2] = fma(key_of(k, row, key), x, sum[e / 2]);
        x = times(x, at_end[row]);
      });
      put_rows(writes, sum);
    }
    if (f.decay != nullptr) add_product(product);
    __syncthreads();
    if (upper) {
      add_products<kKeys, 1, kParts>(rows, slopes, k);
      store(rows, c.d.dq, q);
    } else {
      add_later<kKeys>(rows[0], b, q);
      store(rows, c.d.dk, k);
    }
    if (f.decay != nullptr) make_ddecay(pairs);
  }
  // What is stored of a key that was a feature has that one's slope.
  __device__ __forceinline__ void store(Rows &rows, Bf16 *to, const Bf16 *tile) const {
    each_key(rows, [&](float x, int, int row, int key) {
      if (row >= n || key >= f.keys) return;
      const float slope = f.features == 0 ? 1.0f : fminf(key_of(tile, row, key), 1.0f);
      to[f.place(bh, t0 + row) * f.keys + key] = narrowed(x * slope);
    });
  }

  // <G, S>, in parts, one for each warp.
  __device__ __forceinline__ void add_product(float product) const {
    PND_UNROLL
    for (int w = kWarp / 2; w > 0; w /= 2) product += __shfl_xor_sync(kAllLanes, product, w);
    if (lane_number() == 0) sums[warp_number()] = product;
  }
  __device__ __forceinline__ void make_ddecay(const float *pairs) const {
    float *const terms = reinterpret_cast<float *>(s);  // [t][i]
    const int i = static_cast<int>(threadIdx.x);
    if (i < n) {
      float before = 0;  // U
      for (int t = 0; t <= i; ++t) {
        const float since_start = t == 0 ? 1.0f : since[t - 1];
        terms[t * kMost + (i ^ t)] =
            times(before + times(reads[i], since_start), between[i * kMost + t]);
        before = times(before, leaves[t]) + pairs[i * kMost + (t ^ i)];
      }
    }
    __syncthreads();
    if (i >= n) return;
    float all = 0, inside = 0, sum = 0;
    for (int w = 0; w < kBackThreads / kWarp; ++w) all += sums[w];
    for (int j = 0; j < i; ++j) inside = fma(between[(i - 1) * kMost + j], writes[j], inside);
    for (int j = i; j < n; ++j) sum += terms[i * kMost + (j ^ i)];
    sum += times(inside + times(all, i == 0 ? 1.0f : since[i - 1]), at_end[i]);
    c.d.ddecay[f.place(bh, t0 + i)] = f.resets_at(bh, t0 + i) ? 0.0f : sum;
  }

  // Zeros for the steps behind a sequence's end.
  __device__ __forceinline__ void clear_rest() const {
    const int64_t end = f.steps - t0 < kMost ? f.steps - t0 : kMost;
    for (int64_t row = n + warp_number(); row < end; row += kBackThreads / kWarp) {
      const int64_t place = f.place(bh, t0 + row);
      for (int64_t i = lane_number(); i < f.keys; i += kWarp) {
        c.d.dq[place * f.keys + i] = c.d.dk[place * f.keys + i] = Bf16{0};
      }
      for (int64_t i = lane_number(); i < f.values; i += kWarp) {
        c.d.dv[place * f.values + i] = Bf16{0};
      }
      if (c.d.ddecay != nullptr && lane_number() == 0) c.d.ddecay[place] = 0;
    }
  }
};

template <int kKeys>
__global__ void __launch_bounds__(kBackThreads, 1)
    chunk_back_kernel(int64_t first_block, ChunksBack c) {
  ChunkBack<kKeys>(c, first_block + blockIdx.x).run();
}

}  // namespace

bool takes_chunks_back(const pnd_context *context, const guard::FastWeights &f) {
  const size_t bytes = f.keys <= 64 ? kChunkBackBytes<64> : kChunkBackBytes<128>;
  return f.keys <= 128 && f.normalised == 0 && f.rate == nullptr && f.erase == nullptr &&
         (f.decay == nullptr || f.decay_size == 1) &&
         bytes <= static_cast<size_t>(context->most_shared);
}

int32_t scan_chunks_back(Call &call, pnd_context *context, const FastWeights<Bf16> &f,
                         const Slopes<Bf16> &d) {
  const auto whole = [](const void *array, int64_t size) {
    return moves_whole(static_cast<const Bf16 *>(array), size);
  };
  const int64_t keys = f.keys <= 64 ? 64 : 128, heads = f.heads_of_all();
  ChunksBack c{f,
               d,
               (f.steps + kMost - 1) / kMost,
               (f.values + kCols - 1) / kCols,
               whole(f.q, f.keys) && whole(f.k, f.keys),
               whole(f.v, f.values) && whole(d.dout, f.values)};
  const int64_t states = heads * c.chunks * c.panels * keys * kCols;
  const int64_t bytes = 2 * states * static_cast<int64_t>(sizeof(Bf16));
  if (call.reserve(0, bytes).refused()) return call.status();
  c.states = static_cast<Bf16 *>(context->scratch);
  c.slopes = c.states + states;
  const auto run = [&](auto of) {
    constexpr int kKeys = of();
    const auto carry = [&](auto kernel) {
      if (call.refused()) return;
      launch_blocks(call, context, kernel, heads * c.panels, dim3(kBlock), kCarryBytes<kKeys>, c);
    };
    const auto each_chunk = [&](auto kernel) {
      if (call.refused()) return;
      launch_blocks(call, context, kernel, heads * c.chunks, dim3(kBackThreads),
                    kChunkBackBytes<kKeys>, c);
    };
    carry(carry_kernel<kKeys, false>);
    carry(carry_kernel<kKeys, true>);
    each_chunk(chunk_back_kernel<kKeys>);
  };
  keys == 64 ? run(std::integral_constant<int, 64>{}) : run(std::integral_constant<int, 128>{});
  return call.status();
}
