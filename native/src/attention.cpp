// SPDX-License-Identifier: Apache-2.0
// attention: softmax attention with a mask of any broadcast shape, forward.
// s[i,j] = scale q[i,:] . k[j,:] + mask[i,j];  out[i,:] = sum over j of softmax(s[i,:])[j] v[j,:]
// lse[i] = log sum over j of exp s[i,j], over the keys j that query i sees
// Shapes   q, out [batch, q_steps, heads, head_size]; k, v [batch, k_steps, kv_heads, head_size];
//          lse [batch, heads, q_steps]; mask [batch|1, heads|1, q_steps|1, k_steps]
// Method   K^T and V are packed, once where many queries meet them, else block by block. A panel of
//          queries meets 256 keys at a time: scores in L1, largest score and sum carried along, the
//          output rescaled when they grow. Keys that no query of a panel sees cost nothing, and
//          their values are never touched. Few queries: attention_few.cpp. bf16 is widened while it
//          is packed, or packed in pairs; the weights are then rounded for their product
// Order    each score is one chain of fused multiply-adds over the head size; row sums run in 32
//          lanes within 256 keys, then block by block; each output is one chain over the keys. So
//          a query's result does not depend on which other queries there are. Pairs: as
//          tile_bf16.h says, two keys at a time, what a query does not see as zeros
// Parallel over sequences and heads of keys, where enough is multiplied, or over ranges of queries
//          where there are few
// Error    out <= 2 x the plain loop; lse 2 ULP and the error of the scores; a mask is arithmetic:
//          -infinity hides a key unless its score is NaN or +infinity
// Work     4 head_size flops per seen pair and product, about 15 more for the softmax
// Source   Dao et al., arXiv:2205.14135; online sum: Milakov, Gimelshein, arXiv:1805.02867
#include "attention.h"

namespace {

constexpr int64_t kSerial = 1 << 17;

// Packed keys [first, first + rows) of a sequence and their values, the latter in panels of all
// rows. `first` is even.
template <class S>
struct Packed {
  using U = UnitOf<S>;
  int64_t first, rows, head_units;
  U *keys, *values;

  static int64_t rounded(int64_t n) { return (n + kTileCols<U> - 1) / kTileCols<U> * kTileCols<U>; }
  static int64_t size(int64_t rows, const AttentionSizes<S> &sizes) {
    return rounded(rows) * sizes.head_units() + rounded(sizes.head_size) * units_of<U>(rows);
  }
  Packed(U *to, int64_t first, int64_t rows, const AttentionSizes<S> &sizes)
      : first(first),
        rows(rows),
        head_units(sizes.head_units()),
        keys(to),
        values(to + rounded(rows) * head_units) {}

  void fill(const AttentionSizes<S> &sizes, const Sequence &sequence, int64_t kv_head) const {
    const int64_t row = sequence.batch * sizes.k_steps + sequence.first_k + first;
    const int64_t start = row * sizes.k_stride() + kv_head * sizes.head_size;
    pack_keys_of(keys, static_cast<const S *>(sizes.k) + start, sizes, rows);
    pack_rows_of(values, static_cast<const S *>(sizes.v) + start, sizes, sequence, first, rows);
  }
  const U *key(int64_t j) const { return keys + (j - first) * head_units; }
  const U *value(int64_t j, int64_t d) const {
    return values + d * units_of<U>(rows) + (j - first) / kPerUnit<U> * kTileCols<U>;
  }
};

// Up to kTileRows queries of one head, the first one `query`.
template <class S>
struct Panel {
  using T = SumOf<UnitOf<S>>;
  int64_t head, query, rows;
  bool begins;               // no key was met yet
  const S *mask;             // of the first query and the sequence's first key, or null
  const UnitOf<S> *queries;  // rows as Copied has them
  T *sums;                   // likewise
  Statistics<T> *statistics;
};

// A panel against the keys [block, block + kSumBlock).
template <class S, int kRows, class U = UnitOf<S>, class T = SumOf<U>>
__attribute__((noinline)) void attend_panel(const AttentionSizes<S> &sizes,
                                            const Sequence &sequence, const Panel<S> &panel,
                                            int64_t block, const Packed<S> &packed, T *scores,
                                            U *weights) {
  constexpr int64_t kStride = kBlockStride<T>, kCols = kTileCols<U>;
  const int64_t depth = sizes.head_units();
  const int64_t head_size = sizes.head_size, stride = Copied<T>::stride_of(head_size);
  // Of the block, the keys that the panel sees: from whole lanes, and up to.
  const int64_t first = std::max<int64_t>(sequence.first(panel.query) - block, 0) / kLanes * kLanes;
  const int64_t last = std::min(sequence.count(panel.query + kRows - 1) - block, kSumBlock);
  const S *mask = panel.mask == nullptr ? nullptr : panel.mask + block;
  const int64_t mask_stride = sizes.mask_stride(), mask_end = sequence.stored - block;
  const bool gated = mask != nullptr && sizes.gated != 0;

  Vec<T> most[kRows];
  for (Vec<T> &m : most) m = splat(kNothing<T>);
  each_tile<T>(last - first, [&](int64_t at, auto vectors) {
    const int64_t j = first + at;
    if (mask != nullptr) fetch_mask_below<S, kRows, vectors()>(mask + j, mask_stride);
    Tile<U, kRows, vectors()> tile;
    tile.clear();
    tile.add_product(panel.queries, Copied<U>::stride_of(depth), packed.key(block + j), kCols,
                     depth);
    scale_scores(tile, sizes);
    if (gated) {
      hide_gated(tile, mask + j, mask_stride, mask_end - j);
    } else if (mask != nullptr) {
      add_mask(tile, mask + j, mask_stride, mask_end - j);
    }
    hide(tile, sequence, panel.query, block + j);
    tile.raise_to(most);
    tile.store_to(scores + j, kStride);
  });

  T kept[Statistics<T>::kSize];
  const int64_t count = (last - first + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
  // The weights stand where the scores stood, or, rounded, in pairs.
  const auto find_weights = [&](auto &&weigh) {
    constexpr bool kInPlace = std::is_same_v<T, U>;
    panel.statistics->template add<kRows, kStride, kInPlace>(
        scores + first, count, most, kept, [&](int r, int64_t j, Vec<T> e) PND_INLINED {
          e = weigh(r, j, e);
          if constexpr (!kInPlace) {
            store_run(weights + r * kBlockStride<U>, first + j, e);
          }
          return e;
        });
  };
  if (gated) {
    find_weights([&](int r, int64_t j, Vec<T> e) PND_INLINED {
      // A hidden gate may be NaN, another infinite beside a weight of 0: both give 0.
      const int64_t left = std::clamp<int64_t>(mask_end - first - j, 0, kWidth<T>);
      const S *at = mask + r * mask_stride + first + j;
      const Vec<T> gate = left == kWidth<T> ? load_sums(at) : load_first_sums(at, left);
      return choose((gate > Vec<T>{}) & (e != Vec<T>{}), e * gate, Vec<T>{});
    });
  } else {
    find_weights([](int, int64_t, Vec<T> e) PND_INLINED { return e; });
  }

  each_tile<T>(head_size, [&](int64_t d, auto vectors) {
    Tile<U, kRows, vectors()> tile;
    if (panel.begins) {
      tile.clear();
    } else {
      tile.load_from(panel.sums + d, stride);
      tile.scale_rows(kept);
    }
    add_seen_keys<kBlockStride<U>>(tile, sequence, panel.query, block, last,
                                   static_cast<const U *>(weights), packed.value(block, d), kCols);
    tile.store_to(panel.sums + d, stride);
  });
}

// out = sums / sum, lse = largest + log sum of the queries of one panel.
template <class S, class T>
void finish_panel(const Panel<S> &panel, int64_t head_size, S *out, int64_t stride, T *lse) {
  constexpr int kSize = Statistics<T>::kSize;
  T log_sums[kSize], shares[kSize];
  panel.statistics->log_sums(log_sums);
  panel.statistics->shares(shares);
  std::memcpy(lse, log_sums, panel.rows * sizeof(T));
  for (int64_t r = 0; r < panel.rows; ++r, out += stride) {
    store_share(out, panel.sums + r * Copied<T>::stride_of(head_size), shares[r], head_size);
  }
}

// What a thread needs for kQueryBlock queries.
template <class S>
struct Room {
  using U = UnitOf<S>;
  using T = SumOf<U>;
  Panel<S> *panels;
  Statistics<T> *statistics;
  U *queries;
  T *sums;
  BlockScores<U> block;

  static constexpr int64_t kRows = kQueryBlock * kRowStride<T>;
  static constexpr int64_t kQueries =
      kQueryBlock * Copied<U>::stride_of(guard::kMostHeadSize / kPerUnit<U>);
  explicit Room(Scratch &scratch)
      : panels(scratch.take<Panel<S>>(kQueryBlock)),
        statistics(scratch.take<Statistics<T>>(kQueryBlock)),
        queries(scratch.take<U>(kQueries)),
        sums(scratch.take<T>(kRows)),
        block(scratch) {}
  static constexpr int64_t bytes() {
    return Scratch::bytes<Panel<S>>(kQueryBlock) + Scratch::bytes<Statistics<T>>(kQueryBlock) +
           Scratch::bytes<U>(kQueries) + Scratch::bytes<T>(kRows) + BlockScores<U>::bytes();
  }
};

// The queries [first, last) of every head that shares the keys of kv_head.
template <class S>
class Group {
  using U = UnitOf<S>;
  using T = SumOf<U>;

 public:
  Group(const AttentionSizes<S> &sizes, S *out, T *lse, const Sequence &sequence, int64_t kv_head,
        const Room<S> &room)
      : sizes_(sizes), out_(out), lse_(lse), sequence_(sequence), kv_head_(kv_head), room_(room) {}

  // Queries that meet their keys together: many of one head, or few of several heads.
  static int64_t heads_at_once(const AttentionSizes<S> &sizes, int64_t queries) {
    return std::clamp<int64_t>(kQueryBlock / std::max<int64_t>(1, queries), 1, sizes.group());
  }
  static bool meets_once(const AttentionSizes<S> &sizes, int64_t queries) {
    return queries <= kQueryBlock && heads_at_once(sizes, queries) == sizes.group();
  }

  // packed: null, or all keys; space: for those of one block, if null.
  void run(int64_t first, int64_t last, const Packed<S> *packed, U *space) {
    const int64_t heads = heads_at_once(sizes_, last - first);
    for (int64_t h = 0; h < sizes_.group(); h += heads) {
      for (int64_t q = first; q < last; q += kQueryBlock) {
        const int64_t end = std::min(last, q + kQueryBlock);
        begin(h, std::min(h + heads, sizes_.group()), q, end);
        attend(sequence_.first(q), sequence_.count(end - 1), packed, space);
        finish();
      }
    }
  }

 private:
  int64_t q_row(int64_t query) const {
    return sequence_.batch * sizes_.q_steps + sequence_.first_q + query;
  }

  void begin(int64_t first_head, int64_t last_head, int64_t first, int64_t last) {
    const S *mask = sizes_.mask_or_null();
    int64_t row = 0;
    panels_ = 0;
    for (int64_t i = first_head; i < last_head; ++i) {
      const int64_t head = kv_head_ * sizes_.group() + i;
      const Copied<U> copied(room_.queries, sizes_.head_units());
      copied.fill(row,
                  static_cast<const S *>(sizes_.q) + q_row(first) * sizes_.q_stride() +
                      head * sizes_.head_size,
                  sizes_.q_stride(), last - first, sizes_.head_size);
      const S *matrix = mask == nullptr ? nullptr
                                        : mask +
                                              sizes_.mask_matrix(sequence_.batch, head) *
                                                  sizes_.mask_steps * sizes_.k_steps +
                                              sequence_.first_k;
      each_panel(sizes_, first, last, [&](int64_t query, auto rows) {
        Panel<S> &p = room_.panels[panels_];
        p.head = head;
        p.query = query;
        p.rows = rows();
        p.begins = true;
        p.mask = matrix == nullptr ? nullptr
                                   : matrix + (sequence_.first_q + query) * sizes_.mask_stride();
        p.queries = copied.at(row);
        p.sums = room_.sums + row * Copied<T>::stride_of(sizes_.head_size);
        p.statistics = room_.statistics + panels_;
        p.statistics->clear();
        ++panels_;
        row += rows();
      });
    }
  }

  // Every panel against the keys [first, last), those it sees of them.
  void attend(int64_t first, int64_t last, const Packed<S> *packed, U *space) {
    for (int64_t block = first / kSumBlock * kSumBlock; block < last; block += kSumBlock) {
      const Packed<S> here(space, block, std::min(kSumBlock, sequence_.keys - block), sizes_);
      if (packed == nullptr) here.fill(sizes_, sequence_, kv_head_);
      for (int64_t i = 0; i < panels_; ++i) {
        Panel<S> &panel = room_.panels[i];
        if (sequence_.count(panel.query + panel.rows - 1) <= block ||
            sequence_.first(panel.query) >= block + kSumBlock) {
          continue;
        }
        with_rows(panel.rows, [&](auto rows) {
          attend_panel<S, rows()>(sizes_, sequence_, panel, block,
                                  packed == nullptr ? here : *packed, room_.block.scores,
                                  room_.block.weights);
        });
        panel.begins = false;
      }
    }
  }

  void finish() const {
    for (int64_t i = 0; i < panels_; ++i) {
      const Panel<S> &p = room_.panels[i];
      const int64_t row = sequence_.batch * sizes_.heads + p.head;
      finish_panel(p, sizes_.head_size,
                   out_ + q_row(p.query) * sizes_.q_stride() + p.head * sizes_.head_size,
                   sizes_.q_stride(), lse_ + row * sizes_.q_steps + sequence_.first_q + p.query);
    }
  }

  const AttentionSizes<S> &sizes_;
  S *out_;
  T *lse_;
  const Sequence &sequence_;
  const int64_t kv_head_;
  const Room<S> &room_;
  int64_t panels_ = 0;
};

// How a call is cut: by sequence and head of keys, and by ranges of queries where those are few.
template <class S>
struct Plan {
  int64_t units, ranges = 1;
  bool small;
  bool shares;   // all ranges of a unit use the same packed keys
  int64_t size;  // of the packed keys and values of a unit, or of a block of them

  Plan(const AttentionSizes<S> &sizes, int64_t threads)
      : units(sizes.sequences() * sizes.kv_heads), small(sizes.is_below(kSerial)) {
    if (threads > 1 && !small && units < 2 * threads) {
      const int64_t wanted = (4 * threads + units - 1) / units;
      ranges = std::min(wanted, (sizes.q_steps + 4 * kTileRows - 1) / (4 * kTileRows));
    }
    shares = ranges > 1;
    const bool once = !shares && Group<S>::meets_once(sizes, sizes.q_steps);
    size = Packed<S>::size(once ? std::min(kSumBlock, sizes.k_steps) : sizes.k_steps, sizes);
  }
  int64_t bytes() const {
    return Room<S>::bytes() + (shares ? 0 : Scratch::bytes<UnitOf<S>>(size));
  }
  int64_t shared_bytes() const { return shares ? Scratch::bytes<UnitOf<S>>(units * size) : 0; }
};

template <class S, class T>
void forward(pnd_context *context, const AttentionSizes<S> &sizes, S *out, T *lse,
             const Plan<S> &plan, Scratch for_all) {
  using U = UnitOf<S>;
  const auto all_keys = [&](U *to, int64_t unit) {
    const Sequence sequence(sizes, unit / sizes.kv_heads);
    return Packed<S>(to, 0, sequence.keys, sizes);
  };
  U *all = plan.shares ? for_all.take<U>(plan.units * plan.size) : nullptr;
  if (plan.shares) {
    parallel(context, plan.units, [&](int64_t unit, int) {
      const Sequence sequence(sizes, unit / sizes.kv_heads);
      all_keys(all + unit * plan.size, unit).fill(sizes, sequence, unit % sizes.kv_heads);
    });
  }
  parallel(context, plan.units * plan.ranges, plan.small, [&](int64_t chunk, int worker) {
    const int64_t unit = chunk / plan.ranges, range = chunk % plan.ranges;
    const Sequence sequence(sizes, unit / sizes.kv_heads);
    Scratch scratch(context, worker);
    const Room<S> room(scratch);
    U *space = plan.shares ? all + unit * plan.size : scratch.take<U>(plan.size);
    const Packed<S> packed = all_keys(space, unit);
    const bool once = !plan.shares && Group<S>::meets_once(sizes, sequence.queries);
    if (!plan.shares && !once) packed.fill(sizes, sequence, unit % sizes.kv_heads);
    Group<S>(sizes, out, lse, sequence, unit % sizes.kv_heads, room)
        .run(range * sequence.queries / plan.ranges, (range + 1) * sequence.queries / plan.ranges,
             once ? nullptr : &packed, space);
  });
}

}  // namespace

int32_t pnd_attention(pnd_context *context, int32_t dtype, void *out, void *lse, const void *q,
                      const void *k, const void *v, const void *mask, const int32_t *lengths,
                      const int32_t *q_starts, const int32_t *k_starts, int64_t batch,
                      int64_t heads, int64_t kv_heads, int64_t q_steps, int64_t k_steps,
                      int64_t head_size, int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                      int64_t segments, int64_t window, double scale, int32_t causal,
                      int32_t gated) {
  Call call(context, "attention");
  guard::Attention a{dtype,    q,         k,          v,          mask,       lengths,
                     q_starts, k_starts,  batch,      heads,      kv_heads,   q_steps,
                     k_steps,  head_size, mask_batch, mask_heads, mask_steps, segments,
                     window,   scale,     causal,     gated};
  guard::attention(call, a, out, lse);
  check_sequences(call, a);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    using T = typename AttentionSizes<S>::Sum;
    const AttentionSizes<S> sizes(a);
    if (has_few_queries(sizes)) {
      return attend_few(call, context, sizes, static_cast<S *>(out), static_cast<T *>(lse));
    }
    const Plan<S> plan(sizes, context->threads);
    call.reserve(plan.bytes(), plan.shared_bytes());
    if (call.refused()) return;
    forward(context, sizes, static_cast<S *>(out), static_cast<T *>(lse), plan,
            Scratch(context, kShared));
  });
  return call.status();
}
