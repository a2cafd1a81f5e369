// SPDX-License-Identifier: Apache-2.0
// attention_backward: the gradients of attention, the mask's included.
// p[i,j] = exp(s[i,j] - lse[i]);  dp[i,j] = dout[i,:] . v[j,:];  delta[i] = dout[i,:] . out[i,:]
// ds[i,j] = p[i,j] (dp[i,j] - delta[i]), the gradient of the mask before its broadcast axes are
// summed; dq = scale ds k;  dk = scale ds^T q;  dv = p^T dout. A gate g takes part as p = g e and
// ds = g dg, where e = exp(s - lse) and dg = e (dp - delta) is its own gradient
// Shapes   as attention; dout like out; dq like q; dk, dv like k; dmask like mask
// Method   one pass over blocks of 128 keys; for each, blocks of 192 queries: p and ds of a pair of
//          blocks stay in L2, dk and dv of a block of keys too. What a query does not see costs
//          nothing and is never touched
// Order    dq is one chain over the keys, dk and dv one chain over the queries of the group's
// heads,
//          upwards. dmask: a sum over queries is formed per head; then heads are added in the order
//          of (batch, head)
// Parallel over sequences and heads of keys, or their blocks of keys where there are few. What
//          several tasks add to, they add to in turn: a task waits only for tasks that were started
//          before it
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
  const T *dout, *out, *lse;
};

// Row sums of dout * out, and the turns of dq and dmask, shared by all tasks. A piece of dq is a
// block of queries of a head, one of dmask a pair of blocks of a matrix; packed sequences have
// pieces of their own, numbered with gaps.
template <class T>
struct Shared {
  int64_t query_blocks, key_blocks;  // of the longest sequence
  int64_t all_queries, all_keys;     // blocks of all sequences; of those that a mask tells apart
  T *delta;
  Turns dq_turns, mask_turns;

  static int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
  static int64_t query_pieces(const AttentionSizes<T> &sizes) {
    const int64_t each = blocks(sizes.q_steps, kQueryBlock);
    return sizes.q_starts == nullptr ? sizes.batch * each : each + sizes.segments;
  }
  static int64_t key_pieces(const AttentionSizes<T> &sizes) {
    return blocks(sizes.k_steps, kKeyBlock) + sizes.segments;
  }
  static int64_t dq_pieces(const AttentionSizes<T> &sizes) {
    return sizes.heads * query_pieces(sizes);
  }
  static int64_t mask_pieces(const AttentionSizes<T> &sizes) {
    return sizes.mask_batch * sizes.mask_heads * key_pieces(sizes) *
           blocks(sizes.q_steps, kQueryBlock);
  }
  static int64_t bytes(const AttentionSizes<T> &sizes) {
    return Scratch::bytes<T>(sizes.batch * sizes.heads * sizes.q_steps) +
           Scratch::bytes<int32_t>(dq_pieces(sizes)) + Scratch::bytes<int32_t>(mask_pieces(sizes));
  }
  Shared(const AttentionSizes<T> &sizes, Scratch &scratch)
      : query_blocks(blocks(sizes.q_steps, kQueryBlock)),
        key_blocks(blocks(sizes.k_steps, kKeyBlock)),
        all_queries(query_pieces(sizes)),
        all_keys(key_pieces(sizes)),
        delta(scratch.take<T>(sizes.batch * sizes.heads * sizes.q_steps)),
        dq_turns(scratch.take<int32_t>(dq_pieces(sizes)), dq_pieces(sizes)),
        mask_turns(scratch.take<int32_t>(mask_pieces(sizes)), mask_pieces(sizes)) {}
};

// The queries of the heads that share their keys, their dout, and where their dq is summed.
template <class T>
struct Copies {
  int64_t each;  // rows of a head
  Copied<T> queries, dout, dq;

  static int64_t rows(const AttentionSizes<T> &sizes) { return sizes.group() * sizes.q_steps; }
  static int64_t size(const AttentionSizes<T> &sizes) {
    return 3 * rows(sizes) * Copied<T>::stride_of(sizes.head_size);
  }
  Copies(T *to, const AttentionSizes<T> &sizes)
      : each(sizes.q_steps),
        queries(to, sizes.head_size),
        dout(queries.at(rows(sizes)), sizes.head_size),
        dq(dout.at(rows(sizes)), sizes.head_size) {}

  // Calls f(first row here, the row's first element in [batch, q_steps, heads, head_size]) for
  // each head.
  template <class F>
  void each_head(const AttentionSizes<T> &sizes, const Sequence &sequence, int64_t kv_head,
                 F &&f) const {
    const int64_t row = sequence.batch * sizes.q_steps + sequence.first_q;
    for (int64_t i = 0; i < sizes.group(); ++i) {
      const int64_t head = kv_head * sizes.group() + i;
      f(i * each, row * sizes.q_stride() + head * sizes.head_size);
    }
  }
  // Also delta, of [batch, heads, q_steps].
  void fill(const AttentionSizes<T> &sizes, const Arrays<T> &arrays, T *delta,
            const Sequence &sequence, int64_t kv_head) const {
    const int64_t stride = sizes.q_stride(), n = sequence.queries;
    each_head(sizes, sequence, kv_head, [&](int64_t row, int64_t at) {
      queries.fill(row, static_cast<const T *>(sizes.q) + at, stride, n, sizes.head_size);
      dout.fill(row, arrays.dout + at, stride, n, sizes.head_size);
      std::memset(dq.at(row), 0, n * dq.stride * sizeof(T));
      const int64_t head = kv_head * sizes.group() + row / each;
      T *to = delta + (sequence.batch * sizes.heads + head) * sizes.q_steps + sequence.first_q;
      for (int64_t i = 0; i < n; ++i) {
        to[i] =
            dot_of(arrays.dout + at + i * stride, arrays.out + at + i * stride, sizes.head_size);
      }
    });
  }
  void write(T *to, const AttentionSizes<T> &sizes, const Sequence &sequence,
             int64_t kv_head) const {
    each_head(sizes, sequence, kv_head, [&](int64_t row, int64_t at) {
      for (int64_t i = 0; i < sequence.queries; ++i) {
        each_vector<T>(sizes.head_size, [&](int64_t d, auto get, auto put) {
          put(to + at + i * sizes.q_stride() + d,
              get(dq.at(row + i) + d) * splat(sizes.scaled_by()));
        });
      }
    });
  }
};

// What a thread needs: p, ds and the gates' gradient of a pair of blocks, the packed block of keys
// and values, and its dk and dv.
template <class T>
struct Room {
  T *p, *ds, *dgate, *keys, *keys_by_row, *values, *dk, *dv, *mask_sum;

  static constexpr int64_t kRows = kQueryBlock * kScoreStride<T>;
  static constexpr int64_t kPacked = kKeyBlock * guard::kMostHeadSize;
  static constexpr int64_t kSums = kKeyBlock * kRowStride<T>;
  explicit Room(Scratch &scratch)
      : p(scratch.take<T>(kRows)),
        ds(scratch.take<T>(kRows)),
        dgate(scratch.take<T>(kRows)),
        keys(scratch.take<T>(kPacked)),
        keys_by_row(scratch.take<T>(kPacked)),
        values(scratch.take<T>(kPacked)),
        dk(scratch.take<T>(kSums)),
        dv(scratch.take<T>(kSums)),
        mask_sum(scratch.take<T>(kKeyBlock)) {}
  static constexpr int64_t bytes() {
    return 3 * Scratch::bytes<T>(kRows) + 3 * Scratch::bytes<T>(kPacked) +
           2 * Scratch::bytes<T>(kSums) + Scratch::bytes<T>(kKeyBlock);
  }
};

// One head's queries [query, query + rows) beside one tile of keys: where everything of it lies.
template <class T>
struct Slopes {
  int64_t query, key;  // the tile's corner
  const T *mask;       // there, or null
  int64_t mask_left;   // columns of it
  const T *queries, *dout, *keys, *values, *lse, *delta;
  T *p, *ds, *dgate;
};

// p and ds of a tile, and the gradient of its gates.
template <class T, int kRows, int kVectors>
__attribute__((noinline)) void slope_tile(const AttentionSizes<T> &sizes, const Sequence &sequence,
                                          const Slopes<T> &at) {
  constexpr int64_t kStride = kScoreStride<T>, kCols = kTileCols<T>;
  const int64_t mask_stride = sizes.mask_stride();
  const int64_t stride = Copied<T>::stride_of(sizes.head_size);
  Tile<T, kRows, kVectors> tile;
  tile.clear();
  tile.add_product(at.queries, stride, at.keys, kCols, sizes.head_size);
  if (at.mask != nullptr && sizes.gated == 0) {
    add_mask(tile, at.mask, mask_stride, at.mask_left);
  }
  hide(tile, sequence, at.query, at.key);
  PND_UNROLL
  for (int r = 0; r < kRows; ++r) {
    // A row that sees nothing has lse = -infinity: p = exp(-infinity). Only a hidden gate's score
    // is above lse by more than its rounding.
    const Vec<T> base = splat(at.lse[r] == kNothing<T> ? -kNothing<T> : at.lse[r]);
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> x = smaller(splat(kMostExponent<T>), tile.sum[r][v] - base);
      store(at.p + r * kStride + v * kWidth<T>, exp_of_negative(x));
    }
  }
  tile.clear();
  tile.add_product(at.dout, stride, at.values, kCols, sizes.head_size);
  PND_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const int64_t i = r * kStride + v * kWidth<T>;
      store(at.ds + i, load(at.p + i) * (tile.sum[r][v] - splat(at.delta[r])));
    }
  }
  if (at.mask == nullptr || sizes.gated == 0) return;
  each_mask<T, kRows, kVectors>(at.mask, mask_stride, at.mask_left, [&](int r, int v, Vec<T> gate) {
    const int64_t i = r * kStride + v * kWidth<T>;
    const auto seen = gate > Vec<T>{};
    const Vec<T> slope = load(at.ds + i);
    store(at.dgate + i, slope);
    store(at.p + i, choose(seen, gate * load(at.p + i), Vec<T>{}));
    store(at.ds + i, choose(seen, gate * slope, Vec<T>{}));
  });
}

// dq of kRows queries += ds times the rows of keys they see; without its scale.
template <class T, int kRows, int kVectors>
__attribute__((noinline)) void query_tile(T *dq, int64_t stride, const Sequence &sequence,
                                          int64_t query, int64_t key, int64_t count, const T *ds,
                                          const T *keys) {
  Tile<T, kRows, kVectors> tile;
  tile.load_from(dq, stride);
  add_seen_keys<kScoreStride<T>>(tile, sequence, query, key, count, ds, keys, kTileCols<T>);
  tile.store_to(dq, stride);
}

// dk (dv) of kRows keys += ds^T (p^T) times the rows of queries (dout) that see them.
template <class T, int kRows, int kVectors>
__attribute__((noinline)) void key_tile(T *sums, bool begins, const Sequence &sequence,
                                        int64_t query, int64_t key, int64_t count, const T *slopes,
                                        const T *rows, int64_t stride) {
  Tile<T, kRows, kVectors> tile;
  if (begins) {
    tile.clear();
  } else {
    tile.load_from(sums, kRowStride<T>);
  }
  add_seeing_queries<kScoreStride<T>>(tile, sequence, query, key, count, slopes, rows, stride);
  tile.store_to(sums, kRowStride<T>);
}

// to[:] += from[:]
template <class T>
void add_to(T *to, const T *from, int64_t n) {
  for (int64_t i = 0; i < n; i += kWidth<T>) {
    store_some(to + i, load_some(to + i, n - i) + load_some(from + i, n - i), n - i);
  }
}

// Everything that one block of keys takes part in, for all heads that share it.
template <class T>
class KeyBlock {
 public:
  KeyBlock(const AttentionSizes<T> &sizes, const Arrays<T> &arrays, const Shared<T> &shared,
           const Copies<T> &copies, const Room<T> &room, int64_t number, int64_t kv_head,
           int64_t block)
      : sizes_(sizes),
        arrays_(arrays),
        shared_(shared),
        copies_(copies),
        room_(room),
        number_(number),
        sequence_(sizes, number),
        kv_head_(kv_head),
        block_(block),
        key_(block * kKeyBlock),
        head_size_(sizes.head_size),
        stored_(std::min(kKeyBlock, sequence_.stored - key_)),
        keys_(std::clamp<int64_t>(sequence_.keys - key_, 0, std::max<int64_t>(stored_, 0))),
        k_start_((sequence_.batch * sizes.k_steps + sequence_.first_k + key_) * sizes.k_stride() +
                 kv_head * sizes.head_size) {}

  void run() {
    if (keys_ > 0) {
      pack_keys();
      for (int64_t i = 0; i < sizes_.group(); ++i) add_head(kv_head_ * sizes_.group() + i);
    }
    write(arrays_.dk + k_start_, room_.dk, sizes_.scaled_by());
    write(arrays_.dv + k_start_, room_.dv, T{1});
  }

 private:
  // The part of a block of queries that sees something of this block of keys.
  struct Queries {
    int64_t block, first, count;
  };
  Queries seeing(const Sequence &sequence, int64_t block) const {
    const int64_t last_key = std::min(sequence.keys, key_ + kKeyBlock) - 1;
    const int64_t first = std::max(block * kQueryBlock, sequence.first_query(key_));
    const int64_t end = std::min((block + 1) * kQueryBlock, sequence.end_query(last_key));
    return {block, first, last_key < key_ ? 0 : std::max<int64_t>(0, end - first)};
  }

  // Of a query, the keys of this block that it sees: from, and up to.
  int64_t from(int64_t query) const { return std::max<int64_t>(0, sequence_.first(query) - key_); }
  int64_t seen(int64_t query) const { return std::min(keys_, sequence_.count(query) - key_); }

  void add_head(int64_t head) {
    if (arrays_.dmask != nullptr) std::memset(room_.mask_sum, 0, kKeyBlock * sizeof(T));
    for (int64_t i = 0; i < shared_.query_blocks; ++i) {
      const Queries q = seeing(sequence_, i);
      if (q.count == 0) continue;
      find_slopes(head, q);
      const int64_t piece = dq_piece(head, i);
      shared_.dq_turns.await(piece, block_ - sequence_.first(i * kQueryBlock) / kKeyBlock);
      add_dq(head, q);
      shared_.dq_turns.pass(piece);
      add_dk_dv(head, q);
      if (arrays_.dmask != nullptr) add_dmask(head, q);
    }
    if (arrays_.dmask != nullptr && sizes_.mask_steps == 1) {
      const int64_t piece = mask_piece(head, 0);
      shared_.mask_turns.await(
          piece, mask_turn(head, [&](const Sequence &other) { return other.keys > key_; }));
      add_to(dmask_row(head, 0), room_.mask_sum, keys_);
      shared_.mask_turns.pass(piece);
    }
  }

  // Among the copies.
  int64_t copy_of(int64_t head, int64_t query) const {
    return head % sizes_.group() * copies_.each + query;
  }
  // Of [batch, heads, q_steps].
  int64_t statistic(int64_t head, int64_t query) const {
    return (sequence_.batch * sizes_.heads + head) * sizes_.q_steps + sequence_.first_q + query;
  }
  bool packed() const { return sizes_.q_starts != nullptr; }
  int64_t dq_piece(int64_t head, int64_t query_block) const {
    const int64_t first =
        packed() ? sequence_.first_q / kQueryBlock + number_ : number_ * shared_.query_blocks;
    return head * shared_.all_queries + first + query_block;
  }
  int64_t mask_piece(int64_t head, int64_t query_block) const {
    const int64_t first = packed() ? sequence_.first_k / kKeyBlock + number_ : 0;
    const int64_t matrix = sizes_.mask_matrix(sequence_.batch, head);
    return (matrix * shared_.all_keys + first + block_) * shared_.query_blocks + query_block;
  }
  // Element (query, key_) of the head's matrix.
  int64_t mask_at(int64_t head, int64_t query) const {
    const int64_t row = sizes_.mask_steps == 1 ? 0 : sequence_.first_q + query;
    const int64_t matrix = sizes_.mask_matrix(sequence_.batch, head);
    return (matrix * sizes_.mask_steps + row) * sizes_.k_steps + sequence_.first_k + key_;
  }
  T *dmask_row(int64_t head, int64_t query) const { return arrays_.dmask + mask_at(head, query); }

  // How many heads before this one add to the same piece of dmask: those of this sequence, and of
  // the sequences that add to it.
  template <class Adds>
  int64_t mask_turn(int64_t head, Adds &&adds) const {
    const bool over_heads = sizes_.mask_heads == 1;
    int64_t before = over_heads ? head : 0;
    if (sizes_.mask_batch == 1 && !packed()) {
      for (int64_t other = 0; other < number_; ++other) {
        if (adds(Sequence(sizes_, other))) before += over_heads ? sizes_.heads : 1;
      }
    }
    return before;
  }

  void pack_keys() const {
    const T *k = static_cast<const T *>(sizes_.k) + k_start_;
    const T *v = static_cast<const T *>(sizes_.v) + k_start_;
    const int64_t stride = sizes_.k_stride();
    pack_keys_of(room_.keys, k, sizes_, keys_);
    pack_columns(room_.values, v, stride, head_size_, keys_, true);
    pack_columns(room_.keys_by_row, k, stride, keys_, head_size_, false);
  }

  // p and ds, tile by tile of keys, which then are in L1.
  void find_slopes(int64_t head, const Queries &q) const {
    const T *mask = sizes_.mask_or_null();
    const int64_t end = q.first + q.count;
    each_tile<T>(seen(end - 1), [&](int64_t j, auto vectors) {
      each_panel(sizes_, q.first, end, [&](int64_t query, auto rows) {
        if (j >= seen(query + rows() - 1) || j + kTileCols<T> <= from(query)) return;
        const int64_t r = query - q.first, at = r * kScoreStride<T> + j;
        const int64_t s = statistic(head, query);
        slope_tile<T, rows(), vectors()>(
            sizes_, sequence_,
            {query, key_ + j, mask == nullptr ? nullptr : mask + mask_at(head, query) + j,
             stored_ - j, copies_.queries.at(copy_of(head, query)),
             copies_.dout.at(copy_of(head, query)), room_.keys + j * head_size_,
             room_.values + j * head_size_, arrays_.lse + s, shared_.delta + s, room_.p + at,
             room_.ds + at, room_.dgate + at});
      });
    });
  }

  void add_dq(int64_t head, const Queries &q) const {
    each_tile<T>(head_size_, [&](int64_t d, auto vectors) {
      each_panel(sizes_, q.first, q.first + q.count, [&](int64_t query, auto rows) {
        query_tile<T, rows(), vectors()>(copies_.dq.at(copy_of(head, query)) + d, copies_.dq.stride,
                                         sequence_, query, key_, seen(query + rows() - 1),
                                         room_.ds + (query - q.first) * kScoreStride<T>,
                                         room_.keys_by_row + d * keys_);
      });
    });
  }

  // dk without its scale.
  void add_dk_dv(int64_t head, const Queries &q) {
    const auto add = [&](T *sums, const T *slopes, const Copied<T> &copied) {
      const T *rows_of = copied.at(copy_of(head, q.first));
      each_tile<T>(head_size_, [&](int64_t d, auto vectors) {
        each_panel(sizes_, 0, keys_, [&](int64_t r, auto rows) {
          key_tile<T, rows(), vectors()>(sums + r * kRowStride<T> + d, begins_, sequence_, q.first,
                                         key_ + r, q.count, slopes + r, rows_of + d, copied.stride);
        });
      });
    };
    add(room_.dv, room_.p, copies_.dout);
    add(room_.dk, room_.ds, copies_.queries);
    begins_ = false;
  }

  void add_dmask(int64_t head, const Queries &q) const {
    const bool whole = sizes_.mask_steps == 1;
    const T *slopes = sizes_.gated != 0 && sizes_.mask != nullptr ? room_.dgate : room_.ds;
    const auto add = [&](T *to, int64_t query) {
      const int64_t j = from(query);
      add_to(to + j, slopes + (query - q.first) * kScoreStride<T> + j, seen(query) - j);
    };
    if (whole) {
      for (int64_t i = q.first; i < q.first + q.count; ++i) add(room_.mask_sum, i);
      return;
    }
    const int64_t piece = mask_piece(head, q.block);
    shared_.mask_turns.await(piece, mask_turn(head, [&](const Sequence &other) {
                               return seeing(other, q.block).count > 0;
                             }));
    for (int64_t i = q.first; i < q.first + q.count; ++i) add(dmask_row(head, i), i);
    shared_.mask_turns.pass(piece);
  }

  // dk or dv of the block; keys past the length or seen by no query get zeros.
  void write(T *to, const T *sums, T scale) const {
    const int64_t summed = begins_ ? 0 : keys_;
    for (int64_t r = 0; r < summed; ++r) {
      each_vector<T>(head_size_, [&](int64_t d, auto get, auto put) {
        put(to + r * sizes_.k_stride() + d, get(sums + r * kRowStride<T> + d) * splat(scale));
      });
    }
    for (int64_t r = summed; r < stored_; ++r) {
      std::memset(to + r * sizes_.k_stride(), 0, head_size_ * sizeof(T));
    }
  }

  const AttentionSizes<T> &sizes_;
  const Arrays<T> &arrays_;
  const Shared<T> &shared_;
  const Copies<T> &copies_;
  const Room<T> &room_;
  const int64_t number_;
  const Sequence sequence_;
  const int64_t kv_head_, block_, key_, head_size_;
  const int64_t stored_, keys_;  // keys of the block that exist, and that lie within the length
  const int64_t k_start_;
  bool begins_ = true;  // dk and dv hold nothing yet
};

template <class T>
void backward(pnd_context *context, const AttentionSizes<T> &sizes, const Arrays<T> &arrays,
              Scratch for_all, bool by_head) {
  const Shared<T> shared(sizes, for_all);
  if (arrays.dmask != nullptr) {
    parallel_ranges(context, sizes.masks(), 1 << 16, [&](int64_t i0, int64_t i1, int) {
      std::memset(arrays.dmask + i0, 0, (i1 - i0) * sizeof(T));
    });
  }
  const int64_t units = sizes.sequences() * sizes.kv_heads;
  const int64_t copies = Copies<T>::size(sizes);
  // Tasks of the same heads share their copies.
  T *all = by_head ? nullptr : for_all.take<T>(units * copies);
  const auto begin = [&](T *own, int64_t unit) {
    const Sequence sequence(sizes, unit / sizes.kv_heads);
    Copies<T>(own, sizes).fill(sizes, arrays, shared.delta, sequence, unit % sizes.kv_heads);
  };
  const auto block = [&](T *own, const Room<T> &room, int64_t unit, int64_t i) {
    const int64_t number = unit / sizes.kv_heads;
    KeyBlock<T>(sizes, arrays, shared, Copies<T>(own, sizes), room, number, unit % sizes.kv_heads,
                i)
        .run();
  };
  const auto end = [&](T *own, int64_t unit) {
    const Sequence sequence(sizes, unit / sizes.kv_heads);
    Copies<T>(own, sizes).write(arrays.dq, sizes, sequence, unit % sizes.kv_heads);
  };
  const auto blocks_of = [&](int64_t unit) {
    return Shared<T>::blocks(Sequence(sizes, unit / sizes.kv_heads).stored, kKeyBlock);
  };
  if (by_head) {
    parallel(context, units, [&](int64_t unit, int worker) {
      Scratch scratch(context, worker);
      const Room<T> room(scratch);
      T *own = scratch.take<T>(copies);
      begin(own, unit);
      for (int64_t i = 0; i < blocks_of(unit); ++i) block(own, room, unit, i);
      end(own, unit);
    });
    return;
  }
  const int64_t tasks = shared.key_blocks;
  parallel(context, units, [&](int64_t unit, int) { begin(all + unit * copies, unit); });
  parallel(context, units * tasks, [&](int64_t chunk, int worker) {
    Scratch scratch(context, worker);
    const int64_t unit = chunk / tasks, i = chunk % tasks;
    if (i < blocks_of(unit)) block(all + unit * copies, Room<T>(scratch), unit, i);
  });
  parallel(context, units, [&](int64_t unit, int) { end(all + unit * copies, unit); });
}

}  // namespace

int32_t pnd_attention_backward(pnd_context *context, int32_t dtype, void *dq, void *dk, void *dv,
                               void *dmask, const void *dout, const void *q, const void *k,
                               const void *v, const void *mask, const int32_t *lengths,
                               const int32_t *q_starts, const int32_t *k_starts, const void *out,
                               const void *lse, int64_t batch, int64_t heads, int64_t kv_heads,
                               int64_t q_steps, int64_t k_steps, int64_t head_size,
                               int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                               int64_t segments, int64_t window, double scale, int32_t causal,
                               int32_t gated) {
  Call call(context, "attention_backward");
  guard::Attention a{dtype,    q,         k,          v,          mask,       lengths,
                     q_starts, k_starts,  batch,      heads,      kv_heads,   q_steps,
                     k_steps,  head_size, mask_batch, mask_heads, mask_steps, segments,
                     window,   scale,     causal,     gated};
  guard::attention_backward(call, a, dq, dk, dv, dmask, dout, out, lse);
  check_sequences(call, a);
  if (call.refused()) return call.status();
  AsFloat floats(dtype);
  floats.output(dq, a.queries());
  floats.output(dk, a.keys());
  floats.output(dv, a.keys());
  floats.output(dmask, a.masks());
  floats.input(dout, a.queries());
  floats.input(out, a.queries());
  floats.input(a.q, a.queries());
  floats.input(a.k, a.keys());
  floats.input(a.v, a.keys());
  floats.input(a.mask, a.masks());
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionSizes<T> sizes(a);
    const int64_t units = sizes.sequences() * sizes.kv_heads, copies = Copies<T>::size(sizes);
    const bool by_head = context->threads == 1 || units >= 2 * context->threads;
    call.reserve(Room<T>::bytes() + (by_head ? Scratch::bytes<T>(copies) : 0),
                 floats.bytes() + Shared<T>::bytes(sizes) +
                     (by_head ? 0 : Scratch::bytes<T>(units * copies)));
    if (call.refused()) return;
    Scratch for_all(context, kShared);
    floats.widen_inputs(context, for_all);
    backward<T>(
        context, AttentionSizes<T>(a),
        {static_cast<T *>(dq), static_cast<T *>(dk), static_cast<T *>(dv), static_cast<T *>(dmask),
         static_cast<const T *>(dout), static_cast<const T *>(out), static_cast<const T *>(lse)},
        for_all, by_head);
    floats.narrow_outputs(context);
  });
  return call.status();
}
