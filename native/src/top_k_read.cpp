// SPDX-License-Identifier: Apache-2.0
// top_k_read: each query reads the few slots of a memory whose keys are nearest to it.
// s[i,m] = scale q[i,:] . keys[m,:];  index[i,:] = the slots of the `count` largest s[i,:]
// p[i,j] = softmax over j of s[i,index[i,j]];  out[i,:] = sum over j of p[i,j] values[index[i,j],:]
// Shapes   for each batch: q [queries, key_size]; keys [slots, key_size]; values [slots,
//          value_size]; out [queries, value_size]; p, index [queries, count]
// Method   the queries of a block are the columns of tiles, packed once; the keys are their rows,
//          128 at a time, as they lie in memory. A tile of scores stays in registers; the largest
//          of each query is compared with the least score that it keeps, and only what lies above
//          goes into the query's heap
// Order    a score is one chain over key_size, sums over j go upwards
// Parallel over blocks of queries; where they are few, over parts of the slots, too: the best of
// the
//          parts' best are those of all
// Error    out, p <= 2 x the plain loop where no two scores are so close that rounding decides
// Work     2 key_size flops per score, 2 value_size per read
// Source   Rae et al., arXiv:1610.09027, section 3.1
#include <bit>

#include "guards/top_k_read.h"
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

  // Returns what a score must be above from now on.
  T offer(Read<T> x) {
    if (kept < most) {
      read[kept++] = x;
      std::push_heap(read, read + kept);
      return kept < most ? kNothing<T> : read[0].score;
    }
    int64_t i = 0;
    for (int64_t child = 1; child < most; child = 2 * i + 1) {
      if (child + 1 < most) child += read[child] < read[child + 1];
      if (!(x < read[child])) break;
      read[i] = read[child];
      i = child;
    }
    read[i] = x;
    return read[0].score;
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

// Offers the scores of kRows slots from `slot` on to kVectors vectors of packed queries; least:
// what their scores must be above.
template <class T, int kRows, int kVectors>
PND_INLINE void offer_tile(const T *keys, int64_t key_size, int64_t slot, const T *columns, T scale,
                           Best<T> *best, T *least) {
  Tile<T, kRows, kVectors> tile;
  tile.clear();
  tile.add_product(keys + slot * key_size, key_size, columns, kTileCols<T>, key_size);
  PND_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    if (scale > 0) {
      Vec<T> largest = splat(kNothing<T>);
      PND_UNROLL
      for (int r = 0; r < kRows; ++r) largest = larger(tile.sum[r][v], largest);
      if (above<T>(largest * splat(scale), load(least + v * kWidth<T>)) == 0) continue;
    }
    PND_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> scores = tile.sum[r][v] * splat(scale);
      unsigned found = above<T>(scores, load(least + v * kWidth<T>));
      if (found == 0) continue;
      T score[kWidth<T>];
      store(score, scores);
      for (; found != 0; found &= found - 1) {
        const int i = std::countr_zero(found), query = v * kWidth<T> + i;
        if (slot + r < best[query].end) {
          least[query] = best[query].offer({score[i], static_cast<int32_t>(slot + r)});
        }
      }
    }
  }
}

// Of the slots [first, last), to as many queries.
template <class T, int kVectors>
__attribute__((noinline)) void offer_slots(const T *keys, int64_t key_size, int64_t first,
                                           int64_t last, const T *columns, T scale, Best<T> *best,
                                           T *least) {
  for (; first + kTileRows <= last; first += kTileRows) {
    offer_tile<T, kTileRows, kVectors>(keys, key_size, first, columns, scale, best, least);
  }
  with_rows(last - first, [&](auto rows) {
    offer_tile<T, rows(), kVectors>(keys, key_size, first, columns, scale, best, least);
  });
}

// p, index and out of one query from what it keeps, the best first.
template <class T>
void read_slots(const Forward<T> &f, int64_t query, const Best<T> &best) {
  const int64_t count = f.sizes.count, size = f.sizes.value_size;
  const T *values = f.values + query / f.sizes.queries * f.sizes.slots * size;
  T *p = f.p + query * count, *out = f.out + query * size;
  int32_t *index = f.index + query * count;
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
  T *columns, *least;
  Read<T> *reads;
  Best<T> *best;

  Room(const guard::TopKRead &sizes, Scratch scratch)
      : columns(scratch.take<T>(kQueryBlock * sizes.key_size)),
        least(scratch.take<T>(kQueryBlock)),
        reads(scratch.take<Read<T>>(kQueryBlock * sizes.count)),
        best(scratch.take<Best<T>>(kQueryBlock)) {}
  static int64_t bytes(const guard::TopKRead &sizes) {
    return Scratch::bytes<T>(kQueryBlock * sizes.key_size) + Scratch::bytes<T>(kQueryBlock) +
           Scratch::bytes<Read<T>>(kQueryBlock * sizes.count) +
           Scratch::bytes<Best<T>>(kQueryBlock);
  }
};

// The best slots in [first_slot, last_slot) of the n queries from `first` on, of one batch.
template <class T>
void find_best(const Forward<T> &f, int64_t batch, int64_t first, int64_t n, int64_t first_slot,
               int64_t last_slot, const Room<T> &room) {
  const guard::TopKRead &sizes = f.sizes;
  const int64_t size = sizes.key_size;
  pack_columns(room.columns, f.q + (batch * sizes.queries + first) * size, size, size, n, true);
  int64_t ends[kQueryBlock / kWidth<T>] = {};  // of the queries of a tile
  for (int64_t r = 0; r < kQueryBlock; ++r) {
    const int64_t end = r < n ? std::min(last_slot, f.end(batch, first + r)) : 0;
    room.best[r] = {room.reads + r * sizes.count, sizes.count, end};
    room.least[r] = end > first_slot ? kNothing<T> : -kNothing<T>;
    ends[r / kTileCols<T>] = std::max(ends[r / kTileCols<T>], end);
  }
  const T *keys = f.keys + batch * sizes.slots * size;
  for (int64_t slot = first_slot; slot < last_slot; slot += kSlotBlock) {
    each_tile<T>(n, [&](int64_t c, auto vectors) {
      const int64_t last = std::min(slot + kSlotBlock, ends[c / kTileCols<T>]);
      if (slot >= last) return;
      T *least = room.least + c;
      for (int r = 0; r < vectors() * kWidth<T>; ++r) {
        if (room.best[c + r].end <= slot) least[r] = -kNothing<T>;
      }
      offer_slots<T, vectors()>(keys, size, slot, last, room.columns + c * size,
                                static_cast<T>(sizes.scale), room.best + c, least);
    });
  }
}

// What the parts of the slots found: [part][query].
template <class T>
struct Parts {
  Read<T> *reads;
  int64_t *kept;
};

// Reads the best of what all parts found; room: their reads.
template <class T>
void read_parts(const Forward<T> &f, int64_t query, int64_t parts, const Parts<T> &of,
                Read<T> *room) {
  const int64_t rows = f.sizes.batch * f.sizes.queries, count = f.sizes.count;
  int64_t all = 0;
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t at = p * rows + query;
    std::copy_n(of.reads + at * count, of.kept[at], room + all);
    all += of.kept[at];
  }
  std::sort(room, room + all);
  Best<T> best{room, count, 0, std::min(all, count)};
  read_slots(f, query, best);
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
    const Forward<T> f{sizes,
                       static_cast<T *>(out),
                       static_cast<T *>(p),
                       index,
                       static_cast<const T *>(q),
                       static_cast<const T *>(keys),
                       static_cast<const T *>(values),
                       lengths,
                       start};
    const bool small = batch * queries <= kSerialScores / key_size / slots;
    // Blocks of equal size; smaller ones where there would be too few for the threads, then parts.
    const int64_t threads = context->threads, full = (queries + kQueryBlock - 1) / kQueryBlock;
    const int64_t fewest = (queries + kTileCols<T> - 1) / kTileCols<T>;
    const int64_t wanted = threads == 1 || small ? 1 : (2 * threads + batch - 1) / batch;
    const int64_t blocks = std::max(full, std::min(fewest, wanted));
    const int64_t parts =
        std::clamp<int64_t>(slots / kSlotBlock, 1, std::max<int64_t>(1, wanted / blocks));
    const int64_t rows = batch * queries, held = parts > 1 ? parts * rows : 0;
    const int64_t merged = Scratch::bytes<Read<T>>(parts * count);
    call.reserve(std::max(Room<T>::bytes(sizes), merged),
                 Scratch::bytes<Read<T>>(held * count) + Scratch::bytes<int64_t>(held));
    if (call.refused()) return call.status();
    Scratch shared(context, kShared);
    const Parts<T> found{shared.take<Read<T>>(held * count), shared.take<int64_t>(held)};
    parallel(context, batch * blocks * parts, small, [&](int64_t unit, int worker) {
      const int64_t b = unit / (blocks * parts), block = unit / parts % blocks, part = unit % parts;
      const int64_t first = block * queries / blocks, n = (block + 1) * queries / blocks - first;
      const Room<T> room(sizes, Scratch(context, worker));
      find_best(f, b, first, n, part * slots / parts, (part + 1) * slots / parts, room);
      for (int64_t r = 0; r < n; ++r) {
        const Best<T> &best = room.best[r];
        const int64_t query = b * queries + first + r, at = part * rows + query;
        if (parts > 1) {
          std::copy_n(best.read, best.kept, found.reads + at * count);
          found.kept[at] = best.kept;
        } else {
          std::sort_heap(best.read, best.read + best.kept);
          read_slots(f, query, best);
        }
      }
    });
    if (parts == 1) return PND_OK;
    parallel(context, rows, small, [&](int64_t query, int worker) {
      read_parts(f, query, parts, found, Scratch(context, worker).take<Read<T>>(parts * count));
    });
    return PND_OK;
  });
}
