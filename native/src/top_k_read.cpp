// SPDX-License-Identifier: Apache-2.0
// top_k_read: each query reads the few slots of a memory whose keys are nearest to it.
// s[i,m] = scale q[i,:] . keys[m,:];  index[i,:] = the slots of the `count` largest s[i,:]
// p[i,j] = softmax over j of s[i,index[i,j]];  out[i,:] = sum over j of p[i,j] values[index[i,j],:]
// Shapes   for each batch: q [queries, key_size]; keys [slots, key_size]; values [slots,
//          value_size]; out [queries, value_size]; p, index [queries, count]
// Method   a block of queries meets the slots in their order, 128 at a time; a tile of scores stays
//          in registers, is compared with the least score that each query keeps, and only what lies
//          above goes into the query's heap
// Order    a score is one chain over key_size, sums over j go upwards
// Parallel over blocks of queries
// Error    out, p <= 2 x the plain loop where no two scores are so close that rounding decides
// Work     2 key_size flops per score, 2 value_size per read
// Source   Rae et al., arXiv:1610.09027, section 3.1
#include <bit>

#include "map.h"
#include "softmax.h"

namespace {

constexpr int64_t kSlotBlock = 128;
constexpr int64_t kQueryBlock = 256;
// Below so many multiply-adds one thread is faster than two.
constexpr int64_t kSerialScores = 1 << 16;

// A slot that a query may read. The better of two comes first.
template <class T>
struct Read {
  T score;
  int32_t slot;

  bool operator<(const Read &other) const {
    return score > other.score || (score == other.score && slot < other.slot);
  }
};

// The best reads of one query so far, a heap with the worst of them on top. Slots before `end` are
// offered in their order, so that of equal scores the first stays.
template <class T>
struct Best {
  Read<T> *read;
  int64_t most, end, kept = 0;
  T least = kNothing<T>;  // what a score must be above

  void offer(T score, int64_t slot) {
    if (kept == most) std::pop_heap(read, read + kept--);
    read[kept++] = {score, static_cast<int32_t>(slot)};
    std::push_heap(read, read + kept);
    if (kept == most) least = read[0].score;
  }
};

template <class T>
struct Forward {
  guard::TopKRead sizes;
  T *out, *p;
  int32_t *index;
  const T *q, *keys, *values;
  const int32_t *lengths;
  int64_t start;

  // Where the slots end that a query may read.
  int64_t end(int64_t batch, int64_t i) const {
    const int64_t written = start < 0 ? sizes.slots : std::min(sizes.slots, start + i);
    return lengths == nullptr ? written
                              : std::min<int64_t>(written, lengths[batch * sizes.queries + i]);
  }
};

// Offers the scores of kRows queries and the `n` packed slots from `slot` on.
template <class T, int kRows>
__attribute__((noinline)) void offer_panel(const Rows<T> &q, int64_t row, const T *columns,
                                           int64_t key_size, int64_t slot, int64_t n, T scale,
                                           Best<T> *best) {
  each_tile<T>(n, [&](int64_t c, auto vectors) {
    Tile<T, kRows, vectors()> tile;
    tile.clear();
    add_rows(tile, q, row, columns + c * key_size, kTileCols<T>, key_size);
    tile.scale(scale);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < vectors(); ++v) {
        const int64_t first = c + v * kWidth<T>;
        unsigned found = above<T>(tile.sum[r][v], splat(best[r].least));
        if (__builtin_expect(found == 0, 1)) continue;
        T score[kWidth<T>];
        store(score, tile.sum[r][v]);
        for (; found != 0; found &= found - 1) {
          const int i = std::countr_zero(found);
          if (slot + first + i < best[r].end && score[i] > best[r].least) {
            best[r].offer(score[i], slot + first + i);
          }
        }
      }
    }
  });
}

// p, index and out of one query from what it keeps.
template <class T>
void read_slots(const Forward<T> &f, int64_t query, Best<T> &best, const T *values) {
  const int64_t count = f.sizes.count, size = f.sizes.value_size;
  T *p = f.p + query * count, *out = f.out + query * size;
  int32_t *index = f.index + query * count;
  std::sort_heap(best.read, best.read + best.kept);
  T sum = 0;
  for (int64_t j = 0; j < best.kept; ++j) {
    index[j] = best.read[j].slot;
    p[j] = exp_of_negative(best.read[j].score - best.read[0].score);
    sum += p[j];
  }
  std::fill(index + best.kept, index + count, -1);
  std::fill(p + best.kept, p + count, T{0});
  std::fill_n(out, size, T{0});
  for (int64_t j = 0; j < best.kept; ++j) {
    p[j] /= sum;
    add_scaled(out, p[j], values + index[j] * size, size);
  }
}

template <class T>
struct Room {
  Rows<T> q;
  T *columns;
  Read<T> *reads;
  Best<T> *best;

  Room(const guard::TopKRead &sizes, int64_t rows, Scratch scratch)
      : q{scratch.take<T>(Rows<T>::size(kQueryBlock, sizes.key_size)), rows},
        columns(scratch.take<T>(kSlotBlock * sizes.key_size)),
        reads(scratch.take<Read<T>>(kQueryBlock * sizes.count)),
        best(scratch.take<Best<T>>(kQueryBlock)) {}
  static int64_t bytes(const guard::TopKRead &sizes) {
    return Scratch::bytes<T>(Rows<T>::size(kQueryBlock, sizes.key_size)) +
           Scratch::bytes<T>(kSlotBlock * sizes.key_size) +
           Scratch::bytes<Read<T>>(kQueryBlock * sizes.count) +
           Scratch::bytes<Best<T>>(kQueryBlock);
  }
};

// Queries [first, first + n) of one batch.
template <class T>
void read_block(const Forward<T> &f, int64_t batch, int64_t first, int64_t n, Scratch scratch) {
  const guard::TopKRead &sizes = f.sizes;
  const Room<T> room(sizes, n, scratch);
  const int64_t query = batch * sizes.queries + first;
  int64_t filled = 0;
  for (int64_t r = 0; r < n; ++r) {
    room.q.fill(r, f.q + (query + r) * sizes.key_size, sizes.key_size);
    const int64_t end = f.end(batch, first + r);
    room.best[r] = {room.reads + r * sizes.count, sizes.count, end};
    filled = std::max(filled, end);
  }
  const T *keys = f.keys + batch * sizes.slots * sizes.key_size;
  for (int64_t slot = 0; slot < filled; slot += kSlotBlock) {
    const int64_t slots = std::min(kSlotBlock, filled - slot);
    pack_columns(room.columns, keys + slot * sizes.key_size, sizes.key_size, sizes.key_size, slots,
                 true);
    const int64_t panels = panels_of(n);
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t r0 = panel_start(p, panels, n), r1 = panel_start(p + 1, panels, n);
      with_rows(r1 - r0, [&](auto rows) {
        offer_panel<T, rows()>(room.q, r0, room.columns, sizes.key_size, slot, slots,
                               static_cast<T>(sizes.scale), room.best + r0);
      });
    }
  }
  const T *values = f.values + batch * sizes.slots * sizes.value_size;
  for (int64_t r = 0; r < n; ++r) read_slots(f, query + r, room.best[r], values);
}

}  // namespace

int32_t pnd_top_k_read(pnd_context *context, int32_t dtype, void *out, void *p, int32_t *index,
                       const void *q, const void *keys, const void *values, const int32_t *lengths,
                       int64_t batch, int64_t queries, int64_t slots, int64_t key_size,
                       int64_t value_size, int64_t count, int64_t start, double scale) {
  Call call(context, "top_k_read");
  const guard::TopKRead sizes{dtype, q,        keys,       values, batch, queries,
                              slots, key_size, value_size, count,  scale};
  guard::top_k_read(call, sizes, out, p, index, lengths, start);
  if (!call.refused() && lengths != nullptr) {
    call.indices("lengths", lengths, batch * queries, 0, slots + 1);
  }
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) -> int32_t {
    using T = decltype(type);
    call.reserve(Room<T>::bytes(sizes));
    if (call.refused()) return call.status();
    const Forward<T> f{sizes,
                       static_cast<T *>(out),
                       static_cast<T *>(p),
                       index,
                       static_cast<const T *>(q),
                       static_cast<const T *>(keys),
                       static_cast<const T *>(values),
                       lengths,
                       start};
    // Blocks of equal size; smaller ones where there would be too few for the threads.
    const int64_t threads = context->threads, full = (queries + kQueryBlock - 1) / kQueryBlock;
    const int64_t fewest = (queries + kTileRows - 1) / kTileRows;
    const int64_t wanted = threads == 1 ? 1 : (2 * threads + batch - 1) / batch;
    const int64_t blocks = std::max(full, std::min(fewest, wanted));
    const bool small = batch * queries <= kSerialScores / key_size / slots;
    parallel(context, batch * blocks, small, [&](int64_t unit, int worker) {
      const int64_t b = unit / blocks, block = unit % blocks;
      const int64_t first = block * queries / blocks, end = (block + 1) * queries / blocks;
      read_block(f, b, first, end - first, Scratch(context, worker));
    });
    return PND_OK;
  });
}
