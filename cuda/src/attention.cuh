// SPDX-License-Identifier: Apache-2.0
// attention.cuh: what attention.cu and attention_backward.cu share: the sizes of a call, its
// sequences, which keys a query sees, and a block's tiles.
#pragma once

#include <algorithm>

#include "context.cuh"
#include "guards/attention.h"
#include "tile.cuh"

constexpr int kTileSteps = 64;       // keys (queries) that a block's rows meet at a time
constexpr int kFewRows = kTileSide;  // the fewest that a block keeps
constexpr int kPerThread = kTileSteps / kTileSide;  // of them per thread: x, x + 16, ...

// The largest score - lse that the gradient of a gate takes part with.
template <class T>
constexpr T kMostExponent = 64;

// Blocks that a multiprocessor must be able to hold at once: what bounds a thread's registers.
template <class T>
constexpr int kBlocks = sizeof(T) == 4 ? 2 : 1;

// Which index arrays a call checks.
struct CheckedSight {
  Checked lengths, q_starts, k_starts;
};

// T: what the arrays hold.
template <class T>
struct AttentionSizes : guard::Attention {
  Faults *faults;
  CheckedSight checked;
  Computed<T> scaled_by;
  int64_t group;   // heads that share their keys
  bool has_gates;  // the mask is a factor
  bool whole;      // rows of q, k, v and dout can be moved 16 bytes at a time

  AttentionSizes(const pnd_context *context, const guard::Attention &call, CheckedSight checked)
      : guard::Attention(call),
        faults(context->faults),
        checked(checked),
        scaled_by(static_cast<Computed<T>>(scale)),
        group(heads / kv_heads),
        has_gates(gated != 0 && mask != nullptr),
        whole(head_size % kWide<T> == 0) {
    for (const void *array : {q, k, v}) also_moves(array);
  }
  void also_moves(const void *array) {
    whole = whole && moves_whole(static_cast<const T *>(array), 0);
  }

  // Whether a block does not need more than kFewRows queries, of all heads that share their keys.
  bool few_queries() const {
    return segments == 0 ? q_steps <= kFewRows / group : q_steps <= kFewRows * segments;
  }
  // Slots of kRows queries (keys) each: enough for any cut into sequences.
  static int64_t slots(int64_t steps, int rows, int64_t segments) {
    return segments == 0 ? (steps + rows - 1) / rows : steps / rows + segments;
  }
  int64_t q_slots(int rows) const { return slots(q_steps, rows, segments); }
  int64_t k_slots(int rows) const { return slots(k_steps, rows, segments); }

  PND_SHARED int64_t pairs() const { return batch * heads; }
  PND_SHARED int64_t q_stride() const { return heads * head_size; }
  PND_SHARED int64_t k_stride() const { return kv_heads * head_size; }
  PND_SHARED const T *queries() const { return static_cast<const T *>(q); }
  PND_SHARED const T *keys() const { return static_cast<const T *>(k); }
  PND_SHARED const T *values() const { return static_cast<const T *>(v); }

  // The matrix of masks of a head, and the distances between its rows and to the next head's.
  PND_SHARED int64_t mask_matrix(int64_t b, int64_t head) const {
    return (mask_batch == 1 ? 0 : b) * mask_heads + (mask_heads == 1 ? 0 : head);
  }
  PND_SHARED int64_t mask_stride() const { return mask_steps == 1 ? 0 : k_steps; }
  PND_SHARED int64_t mask_head() const { return mask_heads == 1 ? 0 : mask_steps * k_steps; }

  // How many keys of that sequence exist. A length outside its range is noted and counts as 0.
  __device__ int64_t length(int64_t b) const {
    const int value = lengths[b];
    return Range{faults, checked.lengths, 0, k_steps + 1}.holds(b, value) ? value : 0;
  }
  // Whether starts break their rules, as check_starts noted: then no sequence has any rows.
  __device__ bool broken() const {
    return faults->first[checked.q_starts] != ~0ull || faults->first[checked.k_starts] != ~0ull;
  }
};

// Which columns of a tile its rows see: row r those from r + low on that lie before r + high, none
// at or after `left`.
struct Edges {
  int low, high, left;

  __device__ __forceinline__ Interval of(int row) const {
    return {within(row + low, left), within(row + high, left)};
  }
  // Whether rows [first, last] see the first `width` columns.
  __device__ __forceinline__ bool all(int first, int last, int width) const {
    return last + low <= 0 && first + high >= width && left >= width;
  }
};

// A sequence of the batch or a packed one: its place in the arrays, and which of its keys each of
// its queries sees. Queries and keys count from the sequence's first.
struct Sequence {
  int64_t batch, first_q, first_k;  // place in [batch, steps]
  int64_t queries, keys, stored;    // stored: the keys that exist, beyond its length too
  // Query i sees the keys from i + behind on that lie before i + ahead.
  int64_t behind, ahead;

  template <class T>
  __device__ __forceinline__ Sequence(const AttentionSizes<T> &sizes, int64_t s) {
    if (sizes.q_starts == nullptr) {
      batch = s;
      first_q = first_k = 0;
      queries = sizes.q_steps;
      stored = sizes.k_steps;
    } else {
      const bool none = sizes.broken();
      batch = 0;
      first_q = none ? 0 : sizes.q_starts[s];
      first_k = none ? 0 : sizes.k_starts[s];
      queries = none ? 0 : sizes.q_starts[s + 1] - first_q;
      stored = none ? 0 : sizes.k_starts[s + 1] - first_k;
    }
    keys = sizes.lengths == nullptr ? stored : sizes.length(s);
    const int64_t stands = (sizes.causal == 2 ? keys : stored) - queries;  // the first query
    const bool cut = sizes.window != 0;
    behind = cut ? stands - sizes.window + 1 : -queries;
    ahead = sizes.causal != 0 ? stands + 1 : cut ? stands + sizes.window : keys;
  }

  __device__ static int64_t clamped(int64_t x, int64_t most) {
    return x < 0 ? 0 : x < most ? x : most;
  }
  __device__ int64_t first(int64_t query) const { return clamped(query + behind, keys); }
  __device__ int64_t count(int64_t query) const { return clamped(query + ahead, keys); }
  // The queries that see a key, from and up to; a key after it is seen by none before and by all
  // that follow up to its own end.
  __device__ int64_t first_query(int64_t key) const { return clamped(key - ahead + 1, queries); }
  __device__ int64_t end_query(int64_t key) const { return clamped(key - behind + 1, queries); }

  // What counts of a distance in a tile.
  __device__ static int near(int64_t x) {
    constexpr int kMost = 1024;
    return static_cast<int>(x < -kMost ? -kMost : x < kMost ? x : kMost);
  }
  // Of a tile whose rows are queries from `query` on, its columns `left` keys from `key` on.
  __device__ __forceinline__ Edges key_edges(int64_t query, int64_t key, int left) const {
    return {near(query - key + behind), near(query - key + ahead), left};
  }
  // Of a tile whose rows are keys, its columns queries.
  __device__ __forceinline__ Edges query_edges(int64_t key, int64_t query, int left) const {
    return {near(key - query - ahead + 1), near(key - query - behind + 1), left};
  }

  // The places of row 0 of head h: in q and its like, in k and its like, in lse and its like; of
  // (query 0, key 0) in the mask.
  template <class T>
  __device__ int64_t q_at(const AttentionSizes<T> &sizes, int64_t head) const {
    return ((batch * sizes.q_steps + first_q) * sizes.heads + head) * sizes.head_size;
  }
  template <class T>
  __device__ int64_t k_at(const AttentionSizes<T> &sizes, int64_t kv_head) const {
    return ((batch * sizes.k_steps + first_k) * sizes.kv_heads + kv_head) * sizes.head_size;
  }
  template <class T>
  __device__ int64_t row_at(const AttentionSizes<T> &sizes, int64_t head) const {
    return (batch * sizes.heads + head) * sizes.q_steps + first_q;
  }
  template <class T>
  __device__ const T *mask_at(const AttentionSizes<T> &sizes, int64_t head) const {
    if (sizes.mask == nullptr) return nullptr;
    return static_cast<const T *>(sizes.mask) +
           sizes.mask_matrix(batch, head) * sizes.mask_steps * sizes.k_steps +
           first_q * sizes.mask_stride() + first_k;
  }
};

// The sequence of a slot of kRows queries (keys), and the first of them: entry `b` of the batch or,
// of packed sequences, the last one that begins no later. Sequence s begins at slot starts[s] /
// kRows + s: it has a slot for every kRows rows, or one more, in which row0 lies beyond its end.
template <int kRows, class T>
__device__ __forceinline__ Sequence sequence_of(const AttentionSizes<T> &sizes,
                                                const int32_t *starts, int64_t b, int64_t slot,
                                                int64_t &row0) {
  int64_t s = b;
  if (starts != nullptr && !sizes.broken()) {
    s = 0;
    for (int64_t end = sizes.segments; end - s > 1;) {
      const int64_t mid = (s + end) / 2;
      (starts[mid] / kRows + mid <= slot ? s : end) = mid;
    }
    slot -= starts[s] / kRows + s;
  }
  row0 = slot * kRows;
  return Sequence(sizes, s);
}

// How a tile's rows of queries lie: row r is query r % 2^shift of head r >> shift. Few queries of
// heads that share their keys so meet these together; else a tile has one head.
struct Together {
  int shift, heads;  // heads: of a tile, a divisor of a group's
  int64_t parts;     // tiles that a group's heads are cut into

  // rows: a tile's, `least` rows of one head next to each other; powers of two.
  template <class T>
  Together(const AttentionSizes<T> &sizes, int rows, int least) : shift(0) {
    const bool few = sizes.group > 1 && sizes.q_starts == nullptr;
    const int64_t wanted = few ? std::max<int64_t>(least, sizes.q_steps) : rows;
    while (1 << shift < std::min<int64_t>(rows, wanted)) ++shift;
    for (heads = rows >> shift; sizes.group % heads != 0;) --heads;
    parts = sizes.group / heads;
  }
  template <class T>
  int64_t units(const AttentionSizes<T> &sizes) const {
    return sizes.batch * sizes.kv_heads * parts;
  }
};

// A block's tile of queries among those of a call.
template <int kRows, class T>
struct QueryTile {
  int64_t kv_head, head0, query0;  // the first ones
  int64_t begin, end;              // the keys that any of them sees
  int queries;                     // that exist of a head
  int shift, heads;
  Sequence sequence;

  __device__ __forceinline__ QueryTile(const AttentionSizes<T> &sizes, const Together &together,
                                       int64_t slots, int64_t block)
      : shift(together.shift),
        heads(together.heads),
        sequence(find(sizes, together, slots, block)) {}

  __device__ int query_of(int row) const { return row & ((1 << shift) - 1); }
  __device__ int head_of(int row) const { return row >> shift; }
  __device__ bool has(int row) const { return query_of(row) < queries && head_of(row) < heads; }

 private:
  __device__ __forceinline__ Sequence find(const AttentionSizes<T> &sizes, const Together &together,
                                           int64_t slots, int64_t block) {
    const int64_t units = sizes.batch * sizes.kv_heads * together.parts, unit = block % units;
    const int64_t of_keys = unit / together.parts, part = unit % together.parts;
    kv_head = of_keys % sizes.kv_heads;
    head0 = kv_head * sizes.group + part * together.heads;
    // The last queries come first: where they see the most keys, they would end last.
    const Sequence found = sequence_of<kRows>(sizes, sizes.q_starts, of_keys / sizes.kv_heads,
                                              slots - 1 - block / units, query0);
    queries = within(found.queries - query0, 1 << shift);
    begin = found.first(query0);
    end = found.count(query0 + queries - 1);
    return found;
  }
};

// Notes starts that do not rise from 0 to the steps. The kernels behind it then do nothing.
int32_t check_starts(Call &call, pnd_context *context, const guard::Attention &a,
                     CheckedSight checked);

// A block's tiles for heads of up to kHead: kFixed matrices (q, dout or k, v) of kRows rows that
// stay, a chunk of the rows that pass by, and the tile of scores. kMostRows bounds kRows.
template <class T, int kHead_, int kFixed, int kMostRows = 64>
struct AttentionTiles {
  static constexpr int kHead = kHead_;
  static constexpr int kBytes = static_cast<int>(sizeof(T));
  static constexpr int kRoom = kFixed == 1 && kBytes == 4 ? 32 << 10 : 16 << 10;
  static constexpr int kFit = kRoom / (kHead * kBytes);  // rows that stay in 16 or 32 KiB each
  static constexpr int kRows = kFit > kMostRows ? kMostRows : kFit < kFewRows ? kFewRows : kFit;
  static constexpr int kOwn = kRows / kTileSide;   // rows per thread
  static constexpr int kCols = kHead / kTileSide;  // columns of a row of out per thread
  static constexpr int kFixedStride = kHead + kWide<T>;
  static constexpr int kScoreStride = kTileSteps + kWide<T>;
  // A chunk is kTileSteps rows of kDeep columns, or kFew rows of kHead.
  static constexpr int kMostDeep = 256 / kBytes;
  static constexpr int kDeep = kHead < kMostDeep ? kHead : kMostDeep;
  static constexpr int kDeepStride = kDeep + kWide<T>;
  static constexpr int kMostFew = (16 << 10) / (kHead * kBytes);
  static constexpr int kFew = kMostFew < kTileSteps ? kMostFew : kTileSteps;
  static constexpr int kChunk =
      kTileSteps * kDeepStride > kFew *kHead ? kTileSteps *kDeepStride : kFew *kHead;
  static constexpr int kFixedSize = kRows * kFixedStride;
  static constexpr int kScores = kRows * kScoreStride;
  static constexpr int kElements = kFixed * kFixedSize + kChunk + kScores;
  static constexpr size_t kShared = kElements * sizeof(T);
  static_assert(kShared <= 99 << 10, "fits every device");

  T *fixed, *chunk, *scores;

  // What a thread has put behind the tiles for all others, whose registers are full.
  template <class Common>
  __device__ Common &common() const {
    static_assert(sizeof(Common) % 8 == 0);
    return *reinterpret_cast<Common *>(scores + kScores);
  }

  __device__ AttentionTiles()
      : fixed(shared_memory<T>()), chunk(fixed + kFixed * kFixedSize), scores(chunk + kChunk) {}

  // sum += rows of the m-th fixed matrix . rows of `from`: kTileSteps of them, of which `count`
  // exist. Between barriers of its own.
  template <int kRowsOwn>
  __device__ __forceinline__ void dots(T (&sum)[kRowsOwn][kPerThread], int m, const T *from,
                                       int64_t stride, int count, int64_t head_size,
                                       bool whole) const {
    const T *rows = fixed + m * kFixedSize + tile_y() * kRowsOwn * kFixedStride;
#pragma unroll 1
    for (int d = 0; d < head_size; d += kDeep) {
      __syncthreads();
      copy_tile<kTileSteps, kDeep>(chunk, kDeepStride, from + d, stride, count, head_size - d,
                                   whole);
      await_copies<0>();
      __syncthreads();
      add_dots<kDeep>(sum, rows + d, kFixedStride, chunk + tile_x() * kDeepStride, kDeepStride);
    }
  }

  // sum += scores . rows of `from`, `count` of which exist. Row i of the thread takes the columns
  // sees[i] of the scores; `all`: every row takes all kTileSteps. Between barriers of its own.
  template <int kRowsOwn>
  __device__ __forceinline__ void products(T (&sum)[kRowsOwn][kCols], const T *from, int64_t stride,
                                           int count, int64_t head_size, bool whole, bool all,
                                           const Interval (&sees)[kRowsOwn]) const {
    const T *rows = scores + tile_y() * kRowsOwn * kScoreStride;
#pragma unroll 1
    for (int k = 0; k < count; k += kFew) {
      __syncthreads();
      copy_tile<kFew, kHead>(chunk, kHead, from + k * stride, stride, count - k, head_size, whole);
      await_copies<0>();
      __syncthreads();
      if (all) {
        add_products<kFew>(sum, rows + k, kScoreStride, chunk, kHead);
      } else {
        add_some_products<kFew>(sum, rows + k, kScoreStride, chunk, kHead, k, sees);
      }
    }
  }
};

// to[i][:] = factor[i] sum[i] for the first `rows` of the thread's rows; zeros where the factor is
// 0.
template <class T, int kRows, int kCols>
__device__ __forceinline__ void store_rows(T *to, int64_t stride, T (&sum)[kRows][kCols], int rows,
                                           int64_t head_size, const T (&factor)[kRows]) {
  PND_UNROLL
  for (int i = 0; i < kRows; ++i) {
    PND_UNROLL
    for (int j = 0; j < kCols; ++j) {
      const int col = Columns<T, kCols>::at(j);
      if (i >= rows || col >= head_size) continue;
      to[i * stride + col] = factor[i] == 0 ? T(0) : factor[i] * sum[i][j];
    }
  }
}

// Calls body(the head size to compile for as a constant).
template <class F>
void by_head_size(int64_t head_size, F &&body) {
  if (head_size <= 32) return body(std::integral_constant<int, 32>{});
  if (head_size <= 64) return body(std::integral_constant<int, 64>{});
  if (head_size <= 128) return body(std::integral_constant<int, 128>{});
  body(std::integral_constant<int, 256>{});
}
