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
#include "as_float.h"
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
  static constexpr int64_t kPacked = kKeyBlock * guard::kMostHeadSize;
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
  each_tile<T>(count, [&](int64_t j, auto vectors) {
    Tile<T, kRows, vectors()> tile;
    tile.clear();
    tile.template add_product<kRowStride<T>, 1>(queries, keys + j * sizes.head_size, kCols,
                                                sizes.head_size);
    if (mask != nullptr) {
      add_mask(tile, mask + query * sizes.mask_stride() + key + j, sizes.mask_stride(),
               sizes.k_steps - key - j);
    }
    hide(tile, sight, query, key + j);
    for (int r = 0; r < kRows; ++r) {
      // A row that sees nothing has lse = -infinity and scores of -infinity: p = exp(-infinity).
      const Vec<T> base = splat(lse[r] == kNothing<T> ? -kNothing<T> : lse[r]);
      for (int v = 0; v < vectors(); ++v) {
        store(p + r * kStride + j + v * kWidth<T>, exp_of_negative(tile.sum[r][v] - base));
      }
    }
    tile.clear();
    tile.template add_product<kRowStride<T>, 1>(dout, values + j * sizes.head_size, kCols,
                                                sizes.head_size);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < vectors(); ++v) {
        const int64_t at = r * kStride + j + v * kWidth<T>;
        store(ds + at, load(p + at) * (tile.sum[r][v] - splat(delta[r])));
      }
    }
  });
}

// dq of kRows queries, `cols` columns of it, += ds times the rows of keys they see.
template <class T, int kRows, int kVectors>
__attribute__((noinline)) void query_tile(T *dq, int64_t stride, int64_t cols, const Sight &sight,
                                          int64_t query, int64_t key, int64_t count, const T *ds,
                                          const T *keys) {
  change_tile<T, kRows, kVectors>(dq, stride, true, cols, [&](auto &tile) {
    add_seen_keys<kScoreStride<T>>(tile, sight, query, key, count, ds, keys, kTileCols<T>);
  });
}

// dk (dv) of kRows keys += ds^T (p^T) times the rows of queries (dout) that see them.
template <class T, int kRows, int kVectors>
__attribute__((noinline)) void key_tile(T *sums, const Sight &sight, int64_t query, int64_t key,
                                        int64_t count, const T *slopes, const T *rows) {
  Tile<T, kRows, kVectors> tile;
  tile.load_from(sums, kRowStride<T>);
  add_seeing_queries<kScoreStride<T>>(tile, sight, query, key, count, slopes, rows, kRowStride<T>);
  tile.store_to(sums, kRowStride<T>);
}

// to[:] += from[:]
template <class T>
void add_to(T *to, const T *from, int64_t n) {
  for (int64_t i = 0; i < n; i += kWidth<T>) {
    store_some(to + i, load_some(to + i, n - i) + load_some(from + i, n - i), n - i);
  }
}

// Everything that one head's block of keys takes part in.
template <class T>
class KeyBlock {
 public:
  KeyBlock(const AttentionSizes<T> &sizes, const Arrays<T> &arrays, const Shared<T> &shared,
           const Room<T> &room, int64_t pair, int64_t block)
      : sizes_(sizes),
        arrays_(arrays),
        shared_(shared),
        room_(room),
        sight_(sizes, pair / sizes.heads),
        pair_(pair),
        block_(block),
        key_(block * kKeyBlock),
        stride_(sizes.row_stride()),
        head_size_(sizes.head_size),
        stored_(std::min(kKeyBlock, sizes.k_steps - key_)),
        keys_(std::clamp<int64_t>(sight_.length - key_, 0, stored_)),
        q_start_(sizes.query_start(pair / sizes.heads, pair % sizes.heads)),
        k_start_(sizes.key_start(pair / sizes.heads, pair % sizes.heads) + key_ * stride_),
        matrix_(sizes.mask_matrix(pair / sizes.heads, pair % sizes.heads)) {}

  void run() const {
    if (keys_ > 0) {
      pack_keys();
      const int64_t turn = arrays_.dmask == nullptr ? 0 : mask_turn();
      const int64_t first = std::max<int64_t>(0, sight_.first_query(key_));
      for (int64_t i = first / kQueryBlock; i < shared_.query_blocks; ++i) {
        const int64_t query = std::max(first, i * kQueryBlock);
        const int64_t count = std::min(sizes_.q_steps, (i + 1) * kQueryBlock) - query;
        find_slopes(query, count);
        shared_.dq_turns.await(pair_ * shared_.query_blocks + i, block_);
        add_dq(query, count);
        shared_.dq_turns.pass(pair_ * shared_.query_blocks + i);
        add_dk_dv(query, count);
        if (arrays_.dmask != nullptr) add_dmask(i, query, count, turn);
      }
      if (arrays_.dmask != nullptr && sizes_.mask_steps == 1) {
        const int64_t piece = mask_piece(0);
        shared_.mask_turns.await(piece, turn);
        add_to(dmask_row(0), room_.mask_sum, keys_);
        shared_.mask_turns.pass(piece);
      }
    }
    write(arrays_.dk + k_start_, room_.dk);
    write(arrays_.dv + k_start_, room_.dv);
  }

 private:
  // Calls body(rows of the panel as a constant, first row) for the panels of n rows.
  template <class F>
  static void each_panel(int64_t n, F &&body) {
    const int64_t panels = panels_of(n);
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t r0 = panel_start(p, panels, n), r1 = panel_start(p + 1, panels, n);
      with_rows(r1 - r0, [&](auto rows) { body(rows, r0); });
    }
  }

  // How many keys of the block the query sees.
  int64_t seen(int64_t query) const { return std::min(keys_, sight_.count(query) - key_); }

  T *dmask_row(int64_t query) const {
    return arrays_.dmask + (matrix_ * sizes_.mask_steps + query) * sizes_.k_steps + key_;
  }
  int64_t mask_piece(int64_t query_block) const {
    return (matrix_ * shared_.key_blocks + block_) * shared_.query_blocks + query_block;
  }

  // How many heads before this one add to the same piece of dmask.
  int64_t mask_turn() const {
    const int64_t b = pair_ / sizes_.heads, h = pair_ % sizes_.heads;
    const bool over_heads = sizes_.mask_heads == 1;
    int64_t batches = 0;
    if (sizes_.mask_batch == 1) {
      for (int64_t other = 0; other < b; ++other) {
        batches += Sight(sizes_, other).length > key_;
      }
    }
    return batches * (over_heads ? sizes_.heads : 1) + (over_heads ? h : 0);
  }

  void pack_keys() const {
    const T *k = arrays_.k + k_start_, *v = arrays_.v + k_start_;
    pack_columns(room_.keys, k, stride_, head_size_, keys_, true);
    pack_columns(room_.values, v, stride_, head_size_, keys_, true);
    pack_columns(room_.keys_by_row, k, stride_, keys_, head_size_, false);
    const int64_t n = (head_size_ + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T> * keys_;
    for (int64_t i = 0; i < n; ++i) room_.keys_by_row[i] *= sizes_.scale;
    std::memset(room_.dk, 0, keys_ * kRowStride<T> * sizeof(T));
    std::memset(room_.dv, 0, keys_ * kRowStride<T> * sizeof(T));
    std::memset(room_.mask_sum, 0, kKeyBlock * sizeof(T));
  }

  // p and ds of queries [query, query + count).
  void find_slopes(int64_t query, int64_t count) const {
    const int64_t start = q_start_ + query * stride_;
    copy_rows(room_.queries, arrays_.q + start, stride_, count, head_size_, sizes_.scale);
    copy_rows(room_.dout, arrays_.dout + start, stride_, count, head_size_, T{1});
    const T *mask = arrays_.mask;
    if (mask != nullptr) mask += matrix_ * sizes_.mask_steps * sizes_.k_steps;
    const int64_t stats = pair_ * sizes_.q_steps + query;
    each_panel(count, [&](auto rows, int64_t r) {
      slope_panel<T, rows()>(sizes_, sight_, query + r, key_, seen(query + r + rows() - 1), mask,
                             room_.queries + r * kRowStride<T>, room_.dout + r * kRowStride<T>,
                             room_.keys, room_.values, arrays_.lse + stats + r,
                             shared_.delta + stats + r, room_.p + r * kScoreStride<T>,
                             room_.ds + r * kScoreStride<T>);
    });
  }

  void add_dq(int64_t query, int64_t count) const {
    each_tile<T>(head_size_, [&](int64_t d, auto vectors) {
      each_panel(count, [&](auto rows, int64_t r) {
        query_tile<T, rows(), vectors()>(
            arrays_.dq + q_start_ + (query + r) * stride_ + d, stride_, head_size_ - d, sight_,
            query + r, key_, seen(query + r + rows() - 1), room_.ds + r * kScoreStride<T>,
            room_.keys_by_row + d * keys_);
      });
    });
  }

  void add_dk_dv(int64_t query, int64_t count) const {
    each_tile<T>(head_size_, [&](int64_t d, auto vectors) {
      each_panel(keys_, [&](auto rows, int64_t r) {
        key_tile<T, rows(), vectors()>(room_.dv + r * kRowStride<T> + d, sight_, query, key_ + r,
                                       count, room_.p + r, room_.dout + d);
      });
      each_panel(keys_, [&](auto rows, int64_t r) {
        key_tile<T, rows(), vectors()>(room_.dk + r * kRowStride<T> + d, sight_, query, key_ + r,
                                       count, room_.ds + r, room_.queries + d);
      });
    });
  }

  void add_dmask(int64_t query_block, int64_t query, int64_t count, int64_t turn) const {
    if (sizes_.mask_steps == 1) {
      for (int64_t r = 0; r < count; ++r) {
        add_to(room_.mask_sum, room_.ds + r * kScoreStride<T>, seen(query + r));
      }
      return;
    }
    const int64_t piece = mask_piece(query_block);
    shared_.mask_turns.await(piece, turn);
    for (int64_t r = 0; r < count; ++r) {
      add_to(dmask_row(query + r), room_.ds + r * kScoreStride<T>, seen(query + r));
    }
    shared_.mask_turns.pass(piece);
  }

  // dk or dv of the block; keys past the length get zeros.
  void write(T *to, const T *sums) const {
    for (int64_t r = 0; r < keys_; ++r) {
      std::memcpy(to + r * stride_, sums + r * kRowStride<T>, head_size_ * sizeof(T));
    }
    for (int64_t r = keys_; r < stored_; ++r)
      std::memset(to + r * stride_, 0, head_size_ * sizeof(T));
  }

  const AttentionSizes<T> &sizes_;
  const Arrays<T> &arrays_;
  const Shared<T> &shared_;
  const Room<T> &room_;
  const Sight sight_;
  const int64_t pair_, block_, key_, stride_, head_size_;
  const int64_t stored_, keys_;  // keys of the block that exist, and that lie within the length
  const int64_t q_start_, k_start_, matrix_;
};

template <class T>
void backward(pnd_context *context, const AttentionSizes<T> &sizes, const Arrays<T> &arrays,
              Scratch for_all) {
  const Shared<T> shared(sizes, for_all);
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
      KeyBlock<T>(sizes, arrays, shared, room, chunk / tasks, block).run();
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
  guard::attention_backward(call, dtype, dq, dk, dv, dmask, dout, q, k, v, mask, lengths, out, lse,
                            batch, heads, q_steps, k_steps, head_size, mask_batch, mask_heads,
                            mask_steps, scale, causal);
  check_lengths(call, lengths, batch, k_steps);
  if (call.refused()) return call.status();
  const int64_t queries = batch * q_steps * heads * head_size;
  const int64_t keys = batch * k_steps * heads * head_size;
  const int64_t masks = mask_batch * mask_heads * mask_steps * k_steps;
  AsFloat floats(dtype);
  floats.output(dq, queries);
  floats.output(dk, keys);
  floats.output(dv, keys);
  floats.output(dmask, masks);
  floats.input(dout, queries);
  floats.input(q, queries);
  floats.input(k, keys);
  floats.input(v, keys);
  floats.input(mask, masks);
  floats.input(out, queries);
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionSizes<T> sizes{
        batch,      heads,      q_steps,    k_steps, head_size,
        mask_batch, mask_heads, mask_steps, lengths, static_cast<T>(scale),
        causal != 0};
    if (call.reserve(Room<T>::bytes(), floats.bytes() + Shared<T>::bytes(sizes)).refused()) return;
    Scratch for_all(context, kShared);
    floats.widen_inputs(context, for_all);
    backward<T>(context, sizes,
                {static_cast<T *>(dq), static_cast<T *>(dk), static_cast<T *>(dv),
                 static_cast<T *>(dmask), static_cast<const T *>(dout), static_cast<const T *>(q),
                 static_cast<const T *>(k), static_cast<const T *>(v), static_cast<const T *>(mask),
                 static_cast<const T *>(out), static_cast<const T *>(lse)},
                for_all);
    floats.narrow_outputs(context);
  });
  return call.status();
}
