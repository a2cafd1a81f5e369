// SPDX-License-Identifier: Apache-2.0
// attention_backward: the gradients of attention, the mask's included.
// p[i,j] = exp(s[i,j] - lse[i]);  dp[i,j] = dout[i,:] . v[j,:];  delta[i] = dout[i,:] . out[i,:]
// ds[i,j] = p[i,j] (dp[i,j] - delta[i]), the gradient of the mask before its broadcast axes are
// summed; dq = scale ds k;  dk = scale ds^T q;  dv = p^T dout. A gate g takes part as p = g e and
// ds = g dg, where e = exp(s - lse) and dg = e (dp - delta) is its own gradient
// Shapes   as attention; dout like out; dq like q; dk, dv like k; dmask like mask
// Method   one pass over blocks of 128 keys; for each, blocks of 192 queries: p and ds of a pair of
//          blocks stay in L2, dk and dv of a block of keys too. What a query does not see costs
//          nothing and is never touched. The exponentials of a tile are found beside its product
//          dp. bf16 is widened while it is packed, or packed in pairs: p and ds are then rounded
//          once, ds as pairs of keys for dq, both as pairs of queries for dv and dk
// Order    dq is one chain over the keys, dk and dv one chain over the queries of the group's
//          heads, upwards. dmask: a sum over queries is formed per head; then heads are added in
//          the order of (batch, head)
// Parallel over sequences and heads of keys, where enough is multiplied, or their blocks of keys
//          where there are few. What several tasks add to, they add to in turn: a task waits only
//          for tasks that were started before it
// Error    <= 3 x the plain loop; sum over j of ds[i,j] is 0 within 1e-5 of the sum of |ds[i,j]|
// Work     10 head_size flops per seen pair, about 20 more
// Source   Dao et al., arXiv:2205.14135, algorithm 4
#include "attention_backward.h"

#include "as_float.h"

namespace {

constexpr int64_t kSerial = 1 << 16;

// One head's queries [query, query + rows) beside one tile of keys: where everything of it lies.
template <class S>
struct Slopes {
  using U = UnitOf<S>;
  using T = SumOf<U>;
  int64_t query, key;  // the tile's corner
  const S *mask;       // there, or null
  int64_t mask_left;   // columns of it
  const U *queries, *dout, *keys, *values;
  const T *lse, *delta;
  T *p, *ds, *dgate;
  U *p_by_unit, *ds_by_unit, *ds_rows;
};

// Rounds p and ds of a tile to pairs. What a query does not see becomes 0.
template <int kRows, int kVectors, class S>
PND_INLINE void pair_slopes(const Sequence &sequence, const Slopes<S> &at) {
  using U = UnitOf<S>;
  using T = SumOf<U>;
  Tile<U, kRows, kVectors> tile;
  const auto load_seen = [&](const T *from) PND_INLINED {
    tile.load_from(from, kScoreStride<T>);
    hide(tile, sequence, at.query, at.key, T{0});
  };
  const auto store_by_unit = [&](U *to) PND_INLINED {
    PND_UNROLL
    for (int r = 0; r < kRows; r += 2) {
      PND_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const Vec<T> next = r + 1 < kRows ? tile.sum[r + 1][v] : Vec<T>{};
        store_across(to + r / 2 * kScoreStride<T> + v * kWidth<T>, tile.sum[r][v], next);
      }
    }
  };
  load_seen(at.p);
  store_by_unit(at.p_by_unit);
  load_seen(at.ds);
  store_by_unit(at.ds_by_unit);
  PND_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      store_run(at.ds_rows + r * kSlopeStride<U>, v * kWidth<T>, tile.sum[r][v]);
    }
  }
}

// p and ds of a tile, and the gradient of its gates.
template <class S, int kRows, int kVectors, class U = UnitOf<S>, class T = SumOf<U>>
__attribute__((noinline)) void slope_tile(const AttentionSizes<S> &sizes, const Sequence &sequence,
                                          const Slopes<S> &at) {
  constexpr int64_t kStride = kScoreStride<T>, kCols = kTileCols<U>;
  const int64_t mask_stride = sizes.mask_stride();
  const int64_t depth = sizes.head_units(), stride = Copied<U>::stride_of(depth);
  if (at.mask != nullptr) fetch_mask_below<S, kRows, kVectors>(at.mask, mask_stride);
  Tile<U, kRows, kVectors> tile;
  tile.clear();
  tile.add_product(at.queries, stride, at.keys, kCols, depth);
  scale_scores(tile, sizes);
  if (at.mask != nullptr && sizes.gated == 0) {
    add_mask(tile, at.mask, mask_stride, at.mask_left);
  }
  hide(tile, sequence, at.query, at.key);
  tile.store_to(at.p, kStride);
  tile.clear();
  const auto exponentials = [&](int64_t r) PND_INLINED {
    // Only a hidden gate's score is above lse by more than its rounding.
    const Vec<T> base = splat(at.lse[r]);
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      T *p = at.p + r * kStride + v * kWidth<T>;
      store(p, exp_of_negative(smaller(splat(kMostExponent<T>), load(p) - base)));
    }
  };
  tile.add_product(at.dout, stride, at.values, kCols, depth, kRows, exponentials);
  PND_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const int64_t i = r * kStride + v * kWidth<T>;
      store(at.ds + i, load(at.p + i) * (tile.sum[r][v] - splat(at.delta[r])));
    }
  }
  if (at.mask != nullptr && sizes.gated != 0) {
    each_mask<S, kRows, kVectors>(at.mask, mask_stride, at.mask_left,
                                  [&](int r, int v, Vec<T> gate) {
                                    const int64_t i = r * kStride + v * kWidth<T>;
                                    const auto seen = gate > Vec<T>{};
                                    const Vec<T> slope = load(at.ds + i);
                                    store(at.dgate + i, slope);
                                    store(at.p + i, choose(seen, gate * load(at.p + i), Vec<T>{}));
                                    store(at.ds + i, choose(seen, gate * slope, Vec<T>{}));
                                  });
  }
  if constexpr (kPerUnit<U> == 2) pair_slopes<kRows, kVectors>(sequence, at);
}

// dq of kRows queries += ds times the rows of keys they see; without its scale.
template <class U, int kRows, int kVectors>
__attribute__((noinline)) void query_tile(SumOf<U> *dq, int64_t stride, const Sequence &sequence,
                                          int64_t query, int64_t key, int64_t count, const U *ds,
                                          const U *keys) {
  Tile<U, kRows, kVectors> tile;
  tile.load_from(dq, stride);
  add_seen_keys<kSlopeStride<U>>(tile, sequence, query, key, count, ds, keys, kTileCols<U>);
  tile.store_to(dq, stride);
}

// dk (dv) of kRows keys += ds^T (p^T) times the rows of queries (dout) that see them.
template <class U, int kRows, int kVectors>
__attribute__((noinline)) void key_tile(SumOf<U> *sums, bool begins, const Sequence &sequence,
                                        int64_t query, int64_t key, int64_t count, const U *slopes,
                                        const U *rows, int64_t stride) {
  Tile<U, kRows, kVectors> tile;
  if (begins) {
    tile.clear();
  } else {
    tile.load_from(sums, kRowStride<SumOf<U>>);
  }
  add_seeing_queries<kScoreStride<U>>(tile, sequence, query, key, count, slopes, rows, stride);
  tile.store_to(sums, kRowStride<SumOf<U>>);
}

// to[:] += from[:]
template <class T>
void add_to(T *to, const T *from, int64_t n) {
  for (int64_t i = 0; i < n; i += kWidth<T>) {
    store_some(to + i, load_some(to + i, n - i) + load_some(from + i, n - i), n - i);
  }
}

// Everything that one block of keys takes part in, for all heads that share it.
template <class S>
class KeyBlock {
  using U = UnitOf<S>;
  using T = SumOf<U>;

 public:
  KeyBlock(const AttentionSizes<S> &sizes, const Arrays<S> &arrays, const Shared<S> &shared,
           const Copies<S> &copies, const Room<S> &room, int64_t number, int64_t kv_head,
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
  // The part of a block of queries that sees something of this block of keys, from a whole unit on.
  struct Queries {
    int64_t block, first, count;
  };
  Queries seeing(const Sequence &sequence, int64_t block) const {
    const int64_t last_key = std::min(sequence.keys, key_ + kKeyBlock) - 1;
    const int64_t first = std::max(block * kQueryBlock, sequence.first_query(key_));
    const int64_t end = std::min((block + 1) * kQueryBlock, sequence.end_query(last_key));
    if (last_key < key_ || end <= first) return {block, first, 0};
    const int64_t start = first / kPerUnit<U> * kPerUnit<U>;
    return {block, start, end - start};
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
    const S *k = static_cast<const S *>(sizes_.k) + k_start_;
    const S *v = static_cast<const S *>(sizes_.v) + k_start_;
    pack_keys_of(room_.keys, k, sizes_, keys_);
    pack_columns(room_.values, v, sizes_.k_stride(), head_size_, keys_, true);
    pack_rows_of(room_.keys_by_row, k, sizes_, sequence_, key_, keys_);
  }

  // p and ds, tile by tile of keys, which then are in L1.
  void find_slopes(int64_t head, const Queries &q) const {
    const S *mask = sizes_.mask_or_null();
    const int64_t end = q.first + q.count, units = sizes_.head_units();
    each_tile<T>(seen(end - 1), [&](int64_t j, auto vectors) {
      each_panel<kPerUnit<U>>(sizes_, q.first, end, [&](int64_t query, auto rows) {
        if (j >= seen(query + rows() - 1) || j + kTileCols<T> <= from(query)) return;
        const int64_t r = query - q.first, at = r * kScoreStride<T> + j;
        const int64_t by_unit = r / kPerUnit<U> * kScoreStride<T> + j, row = copy_of(head, query);
        const bool rounds = kPerUnit<U> == 2, keeps = !rounds || arrays_.dmask != nullptr;
        const Slopes<S> slopes{query,
                               key_ + j,
                               mask == nullptr ? nullptr : mask + mask_at(head, query) + j,
                               stored_ - j,
                               copies_.queries.at(row),
                               copies_.dout.at(row),
                               room_.keys + j * units,
                               room_.values + j * units,
                               copies_.lse + row,
                               copies_.delta + row,
                               room_.p + (rounds ? j : at),
                               room_.ds + (keeps ? at : j),
                               room_.dgate + at,
                               room_.p_by_unit + by_unit,
                               room_.ds_by_unit + by_unit,
                               room_.ds_rows + r * kSlopeStride<U> + j / kPerUnit<U>};
        // On a diagonal, the second vector may hold keys that none of the panel sees.
        if (seen(query + rows() - 1) - j <= kWidth<T>) {
          slope_tile<S, rows(), 1>(sizes_, sequence_, slopes);
        } else {
          slope_tile<S, rows(), vectors()>(sizes_, sequence_, slopes);
        }
      });
    });
  }

  void add_dq(int64_t head, const Queries &q) const {
    each_tile<T>(head_size_, [&](int64_t d, auto vectors) {
      each_panel<kPerUnit<U>>(sizes_, q.first, q.first + q.count, [&](int64_t query, auto rows) {
        query_tile<U, rows(), vectors()>(copies_.dq.at(copy_of(head, query)) + d, copies_.dq.stride,
                                         sequence_, query, key_, seen(query + rows() - 1),
                                         room_.ds_rows + (query - q.first) * kSlopeStride<U>,
                                         room_.keys_by_row + d * units_of<U>(keys_));
      });
    });
  }

  // The keys of the block as panels. In pairs none has keys of two tiles, of which one may have
  // been passed over.
  template <class F>
  void each_key_panel(F &&f) const {
    if constexpr (kPerUnit<U> == 1) {
      each_panel(sizes_, 0, keys_, f);
    } else {
      for (int64_t r = 0; r < keys_; r += kTileRows) {
        with_rows(std::min<int64_t>(kTileRows, keys_ - r), [&](auto rows) { f(r, rows); });
      }
    }
  }

  // dk without its scale.
  void add_dk_dv(int64_t head, const Queries &q) {
    const auto add = [&](T *sums, const U *slopes, const Copied<U> &copied) {
      const U *rows_of = copied.at(copy_of(head, q.first) / kPerUnit<U>);
      each_tile<T>(head_size_, [&](int64_t d, auto vectors) {
        each_key_panel([&](int64_t r, auto rows) {
          key_tile<U, rows(), vectors()>(sums + r * kRowStride<T> + d, begins_, sequence_, q.first,
                                         key_ + r, q.count, slopes + r, rows_of + d, copied.stride);
        });
      });
    };
    add(room_.dv, room_.p_by_unit, copies_.dout_by_unit);
    add(room_.dk, room_.ds_by_unit, copies_.queries_by_unit);
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
  void write(S *to, const T *sums, T scale) const {
    const int64_t summed = begins_ ? 0 : keys_;
    for (int64_t r = 0; r < summed; ++r) {
      store_scaled(to + r * sizes_.k_stride(), sums + r * kRowStride<T>, scale, head_size_);
    }
    for (int64_t r = summed; r < stored_; ++r) {
      std::memset(static_cast<void *>(to + r * sizes_.k_stride()), 0, head_size_ * sizeof(S));
    }
  }

  const AttentionSizes<S> &sizes_;
  const Arrays<S> &arrays_;
  const Shared<S> &shared_;
  const Copies<S> &copies_;
  const Room<S> &room_;
  const int64_t number_;
  const Sequence sequence_;
  const int64_t kv_head_, block_, key_, head_size_;
  const int64_t stored_, keys_;  // keys of the block that exist, and that lie within the length
  const int64_t k_start_;
  bool begins_ = true;  // dk and dv hold nothing yet
};

template <class S>
void backward(pnd_context *context, const AttentionSizes<S> &sizes, const Arrays<S> &arrays,
              Scratch for_all, bool by_head) {
  using T = SumOf<UnitOf<S>>;
  const Shared<S> shared(sizes, for_all);
  if (arrays.dmask != nullptr) {
    parallel_ranges(context, sizes.masks(), 1 << 16, [&](int64_t i0, int64_t i1, int) {
      std::memset(arrays.dmask + i0, 0, (i1 - i0) * sizeof(T));
    });
  }
  const int64_t units = sizes.sequences() * sizes.kv_heads;
  const int64_t copies = Copies<S>::size(sizes);
  // Tasks of the same heads share their copies.
  T *all = by_head ? nullptr : for_all.take<T>(units * copies);
  const auto begin = [&](T *own, int64_t unit) {
    const Sequence sequence(sizes, unit / sizes.kv_heads);
    Copies<S>(own, sizes).fill(sizes, arrays, sequence, unit % sizes.kv_heads);
  };
  const auto block = [&](T *own, const Room<S> &room, int64_t unit, int64_t i) {
    const int64_t number = unit / sizes.kv_heads;
    KeyBlock<S>(sizes, arrays, shared, Copies<S>(own, sizes), room, number, unit % sizes.kv_heads,
                i)
        .run();
  };
  const auto end = [&](T *own, int64_t unit) {
    const Sequence sequence(sizes, unit / sizes.kv_heads);
    Copies<S>(own, sizes).write(arrays.dq, sizes, sequence, unit % sizes.kv_heads);
  };
  const auto blocks_of = [&](int64_t unit) {
    return Shared<S>::blocks(Sequence(sizes, unit / sizes.kv_heads).stored, kKeyBlock);
  };
  if (by_head) {
    parallel(context, units, sizes.is_below(kSerial), [&](int64_t unit, int worker) {
      Scratch scratch(context, worker);
      const Room<S> room(scratch);
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
    if (i < blocks_of(unit)) block(all + unit * copies, Room<S>(scratch), unit, i);
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
  AsFloat sums(dtype);
  sums.output(dmask, a.masks());
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    using T = typename AttentionSizes<S>::Sum;
    const AttentionSizes<S> sizes(a);
    const int64_t units = sizes.sequences() * sizes.kv_heads, copies = Copies<S>::size(sizes);
    const bool by_head =
        context->threads == 1 || sizes.is_below(kSerial) || units >= 2 * context->threads;
    call.reserve(
        Room<S>::bytes() + (by_head ? Scratch::bytes<T>(copies) : 0),
        sums.bytes() + Shared<S>::bytes(sizes) + (by_head ? 0 : Scratch::bytes<T>(units * copies)));
    if (call.refused()) return;
    Scratch for_all(context, kShared);
    sums.widen_inputs(context, for_all);
    backward<S>(
        context, sizes,
        {static_cast<S *>(dq), static_cast<S *>(dk), static_cast<S *>(dv), static_cast<T *>(dmask),
         static_cast<const S *>(dout), static_cast<const S *>(out), static_cast<const T *>(lse)},
        for_all, by_head);
    sums.narrow_outputs(context);
  });
  return call.status();
}
