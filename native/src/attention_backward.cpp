// SPDX-License-Identifier: Apache-2.0
// attention_backward: the gradients of attention, the mask's included.
// p[i,j] = exp(s[i,j] - lse[i]);  dp[i,j] = dout[i,:] . v[j,:];  delta[i] = dout[i,:] . out[i,:]
// ds[i,j] = p[i,j] (dp[i,j] - delta[i]), the gradient of the mask before its broadcast axes are
// summed; dq = scale ds k;  dk = scale ds^T q;  dv = p^T dout
// Shapes   as attention; dout like out; dq like q; dk, dv like k; dmask like mask
// Method   one pass over blocks of 128 keys; for each, blocks of 192 queries: p and ds of a pair of
//          blocks stay in L2, dk and dv of a block of keys too. What a query does not see costs
//          nothing and is never touched
// Order    dq is one chain over the keys, dk and dv one chain over the queries, upwards. dmask: a
//          sum over queries is formed per head; then heads are added in the order of (batch, head)
// Parallel over heads, or blocks of keys where there are few heads. What several tasks add to, they
//          add to in turn: a task waits only for tasks that were started before it
// Error    <= 3 x the plain loop; sum over j of ds[i,j] is 0 within 1e-5 of the sum of |ds[i,j]|
// Work     10 head_size flops per seen pair, about 20 more
// Source   Dao et al., arXiv:2205.14135, algorithm 4
#include "attention.h"
#include "turns.h"

namespace {

constexpr int64_t kKeyBlock = 128;
template <class T>
constexpr int64_t kScoreStride = kKeyBlock + 64 / static_cast<int64_t>(sizeof(T));

template <class T>
struct Arrays {
  T *dq, *dk, *dv, *dmask;
  const T *dout, *q, *k, *v, *mask, *out, *lse;
};

// Row sums of dout * out, and the turns of dq and dmask, shared by all tasks.
template <class T>
struct Shared {
  int64_t query_blocks, key_blocks;
  T *delta;
  Turns dq_turns, mask_turns;

  static int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
  static int64_t dq_pieces(const AttentionSizes<T> &sizes) {
    return sizes.pairs() * blocks(sizes.q_steps, kQueryBlock);
  }
  static int64_t mask_pieces(const AttentionSizes<T> &sizes) {
    return sizes.mask_batch * sizes.mask_heads * blocks(sizes.q_steps, kQueryBlock) *
           blocks(sizes.k_steps, kKeyBlock);
  }
  static int64_t bytes(const AttentionSizes<T> &sizes) {
    return Scratch::bytes<T>(sizes.pairs() * sizes.q_steps) +
           Scratch::bytes<int32_t>(dq_pieces(sizes)) + Scratch::bytes<int32_t>(mask_pieces(sizes));
  }
  Shared(const AttentionSizes<T> &sizes, Scratch scratch)
      : query_blocks(blocks(sizes.q_steps, kQueryBlock)),
        key_blocks(blocks(sizes.k_steps, kKeyBlock)),
        delta(scratch.take<T>(sizes.pairs() * sizes.q_steps)),
        dq_turns(scratch.take<int32_t>(dq_pieces(sizes)), dq_pieces(sizes)),
        mask_turns(scratch.take<int32_t>(mask_pieces(sizes)), mask_pieces(sizes)) {}
};

// What a thread needs: p and ds of a pair of blocks, copies of a block of queries and their dout,
// the packed block of keys and values, and its dk and dv.
template <class T>
struct Room {
  T *p, *ds, *queries, *dout, *keys, *keys_by_row, *values, *dk, *dv, *mask_sum;

  static constexpr int64_t kRows = kQueryBlock * kScoreStride<T>;
  static constexpr int64_t kCopy = kQueryBlock * kRowStride<T>;
  static constexpr int64_t kPacked = kKeyBlock * kMostHeadSize;
  static constexpr int64_t kSums = kKeyBlock * kRowStride<T>;
  explicit Room(Scratch scratch)
      : p(scratch.take<T>(kRows)),
        ds(scratch.take<T>(kRows)),
        queries(scratch.take<T>(kCopy)),
        dout(scratch.take<T>(kCopy)),
        keys(scratch.take<T>(kPacked)),
        keys_by_row(scratch.take<T>(kPacked)),
        values(scratch.take<T>(kPacked)),
        dk(scratch.take<T>(kSums)),
        dv(scratch.take<T>(kSums)),
        mask_sum(scratch.take<T>(kKeyBlock)) {}
  static constexpr int64_t bytes() {
    return 2 * Scratch::bytes<T>(kRows) + 2 * Scratch::bytes<T>(kCopy) +
           3 * Scratch::bytes<T>(kPacked) + 2 * Scratch::bytes<T>(kSums) +
           Scratch::bytes<T>(kKeyBlock);
  }
};

// p and ds of kRows queries, the first one `query`, and keys [key, key + count).
template <class T, int kRows>
__attribute__((noinline)) void slope_panel(const AttentionSizes<T> &sizes, const Sight &sight,
                                           int64_t query, int64_t key, int64_t count, const T *mask,
                                           const T *queries, const T *dout, const T *keys,
                                           const T *values, const T *lse, const T *delta, T *p,
                                           T *ds) {
  constexpr int64_t kStride = kScoreStride<T>, kCols = kTileCols<T>;
  for (int64_t j = 0; j < count; j += kCols) {
    Scores<T, kRows> tile;
    tile.clear();
    tile.template add_product<kRowStride<T>, 1>(queries, keys + j * sizes.head_size, kCols,
                                                sizes.head_size);
    if (mask != nullptr) {
      add_mask(tile, mask + query * sizes.mask_stride() + key + j, sizes.mask_stride(),
               sizes.k_steps - key - j);
    }
    hide(tile, sight, query, key + j);
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      // A row that sees nothing has lse = -infinity and scores of -infinity: p = exp(-infinity).
      const Vec<T> base = splat(lse[r] == kNothing<T> ? -kNothing<T> : lse[r]);
      PND_UNROLL
      for (int v = 0; v < kTileVectors; ++v) {
        store(p + r * kStride + j + v * kWidth<T>, exp_of_negative(tile.sum[r][v] - base));
      }
    }
    tile.clear();
    tile.template add_product<kRowStride<T>, 1>(dout, values + j * sizes.head_size, kCols,
                                                sizes.head_size);
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PND_UNROLL
      for (int v = 0; v < kTileVectors; ++v) {
        const int64_t at = r * kStride + j + v * kWidth<T>;
        store(ds + at, load(p + at) * (tile.sum[r][v] - splat(delta[r])));
      }
    }
  }
}

// to[:] += from[:]
template <class T>
void add_to(T *to, const T *from, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth<T> <= n; i += kWidth<T>) store(to + i, load(to + i) + load(from + i));
  for (; i < n; ++i) to[i] += from[i];
}

// All gradients that the block of keys from `key` on takes part in, for one head.
template <class T>
void key_block(const AttentionSizes<T> &sizes, const Arrays<T> &arrays, const Shared<T> &shared,
               const Room<T> &room, int64_t pair, int64_t block) {
  constexpr int64_t kCols = kTileCols<T>, kStride = kScoreStride<T>;
  const int64_t b = pair / sizes.heads, h = pair % sizes.heads, key = block * kKeyBlock;
  const int64_t stride = sizes.row_stride(), head_size = sizes.head_size;
  const int64_t q_start = sizes.query_start(b, h), matrix = sizes.mask_matrix(b, h);
  const int64_t k_start = sizes.key_start(b, h) + key * stride;
  const int64_t stored = std::min(kKeyBlock, sizes.k_steps - key);
  const Sight sight(sizes, b);
  const int64_t n = std::clamp<int64_t>(sight.length - key, 0, stored);
  const T *mask = arrays.mask, *lse = arrays.lse + pair * sizes.q_steps;
  if (mask != nullptr) mask += matrix * sizes.mask_steps * sizes.k_steps;
  T *dmask = arrays.dmask, *dq = arrays.dq + q_start;
  if (dmask != nullptr) dmask += matrix * sizes.mask_steps * sizes.k_steps;
  const T *delta = shared.delta + pair * sizes.q_steps;

  pack_columns(room.keys, arrays.k + k_start, stride, head_size, n, true);
  pack_columns(room.values, arrays.v + k_start, stride, head_size, n, true);
  pack_columns(room.keys_by_row, arrays.k + k_start, stride, n, head_size, false);
  const int64_t packed = (head_size + kCols - 1) / kCols * kCols * n;
  for (int64_t i = 0; i < packed; ++i) room.keys_by_row[i] *= sizes.scale;
  std::memset(room.dk, 0, n * kRowStride<T> * sizeof(T));
  std::memset(room.dv, 0, n * kRowStride<T> * sizeof(T));
  std::memset(room.mask_sum, 0, kKeyBlock * sizeof(T));

  // Where the mask is summed over heads: whose turn it is.
  int64_t turn = 0;
  if (sizes.mask_batch == 1) {
    for (int64_t other = 0; other < b; ++other) turn += Sight(sizes, other).length > key;
    turn *= sizes.mask_heads == 1 ? sizes.heads : 1;
  }
  if (sizes.mask_heads == 1) turn += h;
  const int64_t mask_piece = (matrix * shared.key_blocks + block) * shared.query_blocks;

  const int64_t first = std::max<int64_t>(0, sight.first_query(key));
  for (int64_t i = first / kQueryBlock; n > 0 && i < shared.query_blocks; ++i) {
    const int64_t q0 = std::max(first, i * kQueryBlock);
    const int64_t count = std::min(sizes.q_steps, (i + 1) * kQueryBlock) - q0;
    if (count <= 0) continue;
    const int64_t panels = panels_of(count);
    copy_rows(room.queries, arrays.q + q_start + q0 * stride, stride, count, head_size,
              sizes.scale);
    copy_rows(room.dout, arrays.dout + q_start + q0 * stride, stride, count, head_size, T{1});
    const auto each_panel = [&](auto &&body) {
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t r0 = panel_start(panel, panels, count);
        const int64_t r1 = panel_start(panel + 1, panels, count);
        const int64_t seen = std::min(n, sight.count(q0 + r1 - 1) - key);
        with_rows(r1 - r0, [&](auto rows) { body(rows, r0, seen); });
      }
    };
    each_panel([&](auto rows, int64_t r0, int64_t seen) {
      slope_panel<T, rows()>(sizes, sight, q0 + r0, key, seen, mask,
                             room.queries + r0 * kRowStride<T>, room.dout + r0 * kRowStride<T>,
                             room.keys, room.values, lse + q0 + r0, delta + q0 + r0,
                             room.p + r0 * kStride, room.ds + r0 * kStride);
    });

    shared.dq_turns.await(pair * shared.query_blocks + i, block);
    each_panel([&](auto rows, int64_t r0, int64_t seen) {
      each_tile<T>(head_size, [&](int64_t d, auto vectors) {
        change_tile<T, rows(), vectors()>(
            dq + (q0 + r0) * stride + d, stride, true, head_size - d, [&](auto &tile) {
              add_seen_keys<kStride>(tile, sight, q0 + r0, key, seen, room.ds + r0 * kStride,
                                     room.keys_by_row + d * n, kCols);
            });
      });
    });
    shared.dq_turns.pass(pair * shared.query_blocks + i);

    const int64_t key_panels = panels_of(n);
    for (int64_t panel = 0; panel < key_panels; ++panel) {
      const int64_t r0 = panel_start(panel, key_panels, n);
      const int64_t r1 = panel_start(panel + 1, key_panels, n);
      with_rows(r1 - r0, [&](auto rows) {
        const auto add = [&](T *to, const T *a, const T *from) {
          each_tile<T>(head_size, [&](int64_t d, auto vectors) {
            Tile<T, rows(), vectors()> tile;
            tile.load_from(to + r0 * kRowStride<T> + d, kRowStride<T>);
            add_seeing_queries<kStride>(tile, sight, q0, key + r0, count, a + r0, from + d,
                                        kRowStride<T>);
            tile.store_to(to + r0 * kRowStride<T> + d, kRowStride<T>);
          });
        };
        add(room.dv, room.p, room.dout);
        add(room.dk, room.ds, room.queries);
      });
    }

    if (dmask == nullptr) continue;
    const auto seen_by = [&](int64_t r) { return std::min(n, sight.count(q0 + r) - key); };
    if (sizes.mask_steps == 1) {
      for (int64_t r = 0; r < count; ++r) add_to(room.mask_sum, room.ds + r * kStride, seen_by(r));
    } else {
      shared.mask_turns.await(mask_piece + i, turn);
      for (int64_t r = 0; r < count; ++r) {
        add_to(dmask + (q0 + r) * sizes.k_steps + key, room.ds + r * kStride, seen_by(r));
      }
      shared.mask_turns.pass(mask_piece + i);
    }
  }
  if (dmask != nullptr && sizes.mask_steps == 1 && n > 0) {
    shared.mask_turns.await(mask_piece, turn);
    add_to(dmask + key, room.mask_sum, n);
    shared.mask_turns.pass(mask_piece);
  }
  for (int64_t r = 0; r < stored; ++r) {
    T *dk = arrays.dk + k_start + r * stride, *dv = arrays.dv + k_start + r * stride;
    if (r < n) {
      std::memcpy(dk, room.dk + r * kRowStride<T>, head_size * sizeof(T));
      std::memcpy(dv, room.dv + r * kRowStride<T>, head_size * sizeof(T));
    } else {
      std::memset(dk, 0, head_size * sizeof(T));
      std::memset(dv, 0, head_size * sizeof(T));
    }
  }
}

template <class T>
void backward(pnd_context *context, const AttentionSizes<T> &sizes, const Arrays<T> &arrays) {
  const Shared<T> shared(sizes, Scratch(context, kShared));
  // What is added to starts from zero.
  constexpr int64_t kSerial = 1 << 16;
  const int64_t rows = sizes.batch * sizes.q_steps;
  parallel_ranges(context, rows, kSerial / sizes.row_stride(), [&](int64_t r0, int64_t r1, int) {
    for (int64_t r = r0; r < r1; ++r) {
      const int64_t b = r / sizes.q_steps, i = r % sizes.q_steps;
      std::memset(arrays.dq + r * sizes.row_stride(), 0, sizes.row_stride() * sizeof(T));
      for (int64_t h = 0; h < sizes.heads; ++h) {
        const int64_t at = r * sizes.row_stride() + h * sizes.head_size;
        shared.delta[(b * sizes.heads + h) * sizes.q_steps + i] =
            dot_of(arrays.dout + at, arrays.out + at, sizes.head_size);
      }
    }
  });
  if (arrays.dmask != nullptr) {
    const int64_t n = sizes.mask_batch * sizes.mask_heads * sizes.mask_steps * sizes.k_steps;
    parallel_ranges(context, n, kSerial, [&](int64_t i0, int64_t i1, int) {
      std::memset(arrays.dmask + i0, 0, (i1 - i0) * sizeof(T));
    });
  }
  const bool by_head = context->threads == 1 || sizes.pairs() >= 2 * context->threads;
  const int64_t tasks = by_head ? 1 : shared.key_blocks, blocks = shared.key_blocks / tasks;
  parallel(context, sizes.pairs() * tasks, [&](int64_t chunk, int worker) {
    const Room<T> room(Scratch(context, worker));
    for (int64_t block = chunk % tasks * blocks; block < (chunk % tasks + 1) * blocks; ++block) {
      key_block(sizes, arrays, shared, room, chunk / tasks, block);
    }
  });
}

}  // namespace

int32_t pnd_attention_backward(pnd_context *context, int32_t dtype, void *dq, void *dk, void *dv,
                               void *dmask, const void *dout, const void *q, const void *k,
                               const void *v, const void *mask, const int32_t *lengths,
                               const void *out, const void *lse, int64_t batch, int64_t heads,
                               int64_t q_steps, int64_t k_steps, int64_t head_size,
                               int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                               double scale, int32_t causal) {
  Call call(context, "attention_backward");
  call.dtype(dtype);
  check_sizes(call, q, k, v, mask, lengths, batch, heads, q_steps, k_steps, head_size, mask_batch,
              mask_heads, mask_steps, causal);
  call.output("dq", dq, {batch, q_steps, heads, head_size})
      .output("dk", dk, {batch, k_steps, heads, head_size})
      .output("dv", dv, {batch, k_steps, heads, head_size})
      .nullable_output("dmask", dmask, {mask_batch, mask_heads, mask_steps, k_steps})
      .input("dout", dout, {batch, q_steps, heads, head_size})
      .input("out", out, {batch, q_steps, heads, head_size})
      .input("lse", lse, {batch, heads, q_steps});
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionSizes<T> sizes{
        batch,      heads,      q_steps,    k_steps, head_size,
        mask_batch, mask_heads, mask_steps, lengths, static_cast<T>(scale),
        causal != 0};
    if (call.reserve(Room<T>::bytes(), Shared<T>::bytes(sizes)).refused()) return;
    backward<T>(context, sizes,
                {static_cast<T *>(dq), static_cast<T *>(dk), static_cast<T *>(dv),
                 static_cast<T *>(dmask), static_cast<const T *>(dout), static_cast<const T *>(q),
                 static_cast<const T *>(k), static_cast<const T *>(v), static_cast<const T *>(mask),
                 static_cast<const T *>(out), static_cast<const T *>(lse)});
  });
  return call.status();
}
