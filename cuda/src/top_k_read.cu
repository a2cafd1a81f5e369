// SPDX-License-Identifier: Apache-2.0
// top_k_read: each query reads the few slots of a memory whose keys are nearest to it.
// s[i,m] = scale q[i,:] . keys[m,:];  index[i,:] = the slots of the `count` largest s[i,:]
// p[i,j] = softmax over j of s[i,index[i,j]];  out[i,:] = sum over j of p[i,j] values[index[i,j],:]
// dp[i,j] = dout[i,:] . values[index[i,j],:]
// ds[i,j] = scale p[i,j] (dp[i,j] - sum over k of p[i,k] dp[i,k])
// dq[i,:] = sum over j of ds[i,j] keys[index[i,j],:]
// dkeys[m,:] = sum of ds[i,j] q[i,:], dvalues[m,:] = sum of p[i,j] dout[i,:], index[i,j] = m
// Shapes   for each batch: q [queries, key_size]; keys [slots, key_size]; values [slots,
//          value_size]; out [queries, value_size]; p, index [queries, count]
// Method   a block has 8 queries, one per warp, that share each tile of 64 slots and 32 columns of
//          keys in shared memory. What lies above the least score that a warp keeps is gathered and
//          merged into its sorted list, up to 32 at a time. Backward: ds and dq by a warp per
//          query, then the reads are sorted by slot (scatter.cuh)
// Order    a score is the CPU's chain over key_size; sums over j and over the reads of a slot go
//          upwards; dp lane by lane, folded 16, 8, 4, 2, 1
// Error    out, p <= 2 x the plain loop where no two scores are so close that rounding decides
// Work     2 key_size flops per score; 2 value_size per read forward, 4 (key_size + value_size)
//          backward
// Source   Rae et al., arXiv:1610.09027, section 3.1
#include "guards/top_k_read.h"
#include "scalar.cuh"
#include "scatter.cuh"

namespace {

constexpr int kQueries = 8;  // of a block, one per warp
constexpr int kReadThreads = kQueries * kWarp;
constexpr int kTileSlots = 2 * kWarp, kTileDepth = 32;

template <class T>
struct Forward {
  T *out, *p;
  int32_t *index;
  const T *q, *keys, *values;
  const int32_t *lengths;
  Range range;  // of lengths
  int64_t batch, queries, slots, key_size, value_size, start;
  int count;
  T scale;

  // Where the slots end that a query may read, the i-th of its batch.
  __device__ int64_t end(int64_t query, int64_t i) const {
    int64_t written = start < 0 || start + i > slots ? slots : start + i;
    if (lengths == nullptr) return written;
    const int32_t length = lengths[query];
    if (!range.holds(query, length)) return 0;
    return length < written ? length : written;
  }
};

// A slot and its score; the better of two comes first.
template <class T>
struct Read {
  T score;
  int32_t slot;

  __device__ bool before(const Read &other) const {
    return score > other.score || (score == other.score && slot < other.slot);
  }
};

// The sorted reads of a warp's query, and those found since the last merge.
template <class T>
struct Best {
  T *score;
  int32_t *slot;
  int most, kept = 0;
  Read<T> pending{};  // this lane's, of the first `waiting` lanes
  int waiting = 0;
  T least = -static_cast<T>(__builtin_huge_val());

  __device__ Read<T> at(int i) const { return {score[i], slot[i]}; }
  __device__ void put(int i, const Read<T> &read) const {
    if (i < most) score[i] = read.score, slot[i] = read.slot;
  }
  // How many of the waiting reads come before the given one.
  __device__ int waiting_before(const Read<T> &read) const {
    int n = 0;
    for (int lane = 0; lane < waiting; ++lane) {
      const Read<T> other{__shfl_sync(kAllLanes, pending.score, lane),
                          __shfl_sync(kAllLanes, pending.slot, lane)};
      n += other.before(read);
    }
    return n;
  }
  __device__ void merge() {
    const int lane = lane_number();
    int place = waiting_before(pending);
    if (lane < waiting) {
      int low = 0, high = kept;  // the kept reads before this one are [0, low)
      while (low < high) {
        const int mid = (low + high) / 2;
        if (at(mid).before(pending)) {
          low = mid + 1;
        } else {
          high = mid;
        }
      }
      place += low;
    }
    // From the end, so that what is overwritten has moved.
    for (int base = (kept - 1) / kWarp * kWarp; base >= 0 && kept > 0; base -= kWarp) {
      const bool moves = base + lane < kept;
      const Read<T> read = moves ? at(base + lane) : Read<T>{};
      const int further = waiting_before(read);
      __syncwarp();
      if (moves) put(base + lane + further, read);
      __syncwarp();
    }
    if (lane < waiting) put(place, pending);
    __syncwarp();
    kept = kept + waiting < most ? kept + waiting : most;
    waiting = 0;
    if (kept == most) least = score[most - 1];
  }
  // Offers a read of each lane.
  __device__ void offer(const Read<T> &read, bool exists) {
    unsigned found = __ballot_sync(kAllLanes, exists && read.score > least);
    if (found == 0) return;
    if (waiting + __popc(found) > kWarp) {
      merge();
      found = __ballot_sync(kAllLanes, exists && read.score > least);
    }
    // Lane `waiting` takes the first of those found, and so on.
    const int wanted = lane_number() - waiting;
    unsigned left = found;
    for (int i = 0; i < wanted && left != 0; ++i) left &= left - 1;
    const int from = wanted < 0 || left == 0 ? 0 : __ffs(static_cast<int>(left)) - 1;
    const Read<T> taken{__shfl_sync(kAllLanes, read.score, from),
                        __shfl_sync(kAllLanes, read.slot, from)};
    if (wanted >= 0 && left != 0) pending = taken;
    waiting += __popc(found);
  }
};

// p, index and out of the warp's query.
template <class T>
__device__ void read_slots(const Forward<T> &f, int64_t query, const Best<T> &best) {
  const int lane = lane_number(), kept = best.kept;
  for (int j = lane; j < f.count; j += kWarp) {
    f.index[query * f.count + j] = j < kept ? best.slot[j] : -1;
  }
  const T first = kept > 0 ? best.score[0] : T(0);
  __syncwarp();
  for (int j = lane; j < kept; j += kWarp) {
    best.score[j] = exp_of_negative(best.score[j] - first);
  }
  __syncwarp();
  T sum = 0;
  for (int j = 0; j < kept; ++j) sum += best.score[j];
  for (int j = lane; j < f.count; j += kWarp) {
    f.p[query * f.count + j] = j < kept ? best.score[j] / sum : T(0);
  }
  const T *values = f.values + query / f.queries * f.slots * f.value_size;
  for (int64_t c = lane; c < f.value_size; c += kWarp) {
    T out = 0;
    for (int j = 0; j < kept; ++j) {
      out = fma(best.score[j] / sum, values[best.slot[j] * f.value_size + c], out);
    }
    f.out[query * f.value_size + c] = out;
  }
}

// Blocks of kQueries queries of one batch.
template <class T>
__global__ void __launch_bounds__(kReadThreads, 2)
    read_kernel(int64_t first_block, Forward<T> f, int64_t blocks) {
  const int lane = lane_number(), warp = warp_number();
  const int64_t block = first_block + blockIdx.x, b = block / blocks;
  const int64_t within = (block - b * blocks) * kQueries + warp, query = b * f.queries + within;
  const bool works = within < f.queries;
  // [kTileDepth][kTileSlots + 1] of keys, [kQueries][kTileDepth] of queries, then the lists.
  T *keys = shared_memory<T>(), *queries = keys + kTileDepth * (kTileSlots + 1);
  T *scores = queries + kQueries * kTileDepth;
  int32_t *slots = reinterpret_cast<int32_t *>(scores + kQueries * f.count);
  Best<T> best{scores + warp * f.count, slots + warp * f.count, f.count};

  // The slots of this query, and of any of the block.
  int64_t end = 0, filled = 0;
  for (int i = 0; i < kQueries && within - warp + i < f.queries; ++i) {
    const int64_t written = f.end(query - warp + i, within - warp + i);
    filled = written > filled ? written : filled;
    if (i == warp) end = written;
  }
  for (int64_t slot = 0; slot < filled; slot += kTileSlots) {
    T sum[2] = {};
    for (int64_t k = 0; k < f.key_size; k += kTileDepth) {
      __syncthreads();
#pragma unroll 4
      for (int i = threadIdx.x; i < kTileSlots * kTileDepth; i += kReadThreads) {
        const int64_t m = slot + i / kTileDepth, c = k + i % kTileDepth;
        const bool exists = m < filled && c < f.key_size;
        keys[i % kTileDepth * (kTileSlots + 1) + i / kTileDepth] =
            exists ? f.keys[(b * f.slots + m) * f.key_size + c] : T(0);
      }
      const int64_t c = k + lane;
      queries[warp * kTileDepth + lane] =
          works && c < f.key_size ? f.q[query * f.key_size + c] : T(0);
      __syncthreads();
      const int depth = f.key_size - k < kTileDepth ? static_cast<int>(f.key_size - k) : kTileDepth;
      for (int i = 0; i < depth; ++i) {
        const T x = queries[warp * kTileDepth + i];
        const T *row = keys + i * (kTileSlots + 1);
        sum[0] = fma(x, row[lane], sum[0]);
        sum[1] = fma(x, row[kWarp + lane], sum[1]);
      }
    }
#pragma unroll 1  // once in the code: registers
    for (int half = 0; half < 2; ++half) {
      const int64_t m = slot + half * kWarp + lane;
      const T score = (half == 0 ? sum[0] : sum[1]) * f.scale;
      best.offer({score, static_cast<int32_t>(m)}, works && m < end);
    }
  }
  best.merge();
  if (works) read_slots(f, query, best);
}

template <class T>
struct Backward {
  T *dq, *ds;
  int32_t *rows;  // the reads' slots, counted over all batches
  const T *dout, *keys, *values, *p;
  const int32_t *index;
  Range range;
  int64_t queries, slots, key_size, value_size, total;
  int count;
  T scale;
};

// ds, dq and the rows of the reads, a warp per query.
template <class T>
__global__ void __launch_bounds__(kMapThreads) slope_kernel(Backward<T> f) {
  const int lane = lane_number();
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kMapThreads / kWarp);
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) / kWarp;
  for (int64_t i = warp; i < f.total; i += step) {
    const int64_t b = i / f.queries;
    const T *keys = f.keys + b * f.slots * f.key_size, *p = f.p + i * f.count;
    const T *values = f.values + b * f.slots * f.value_size, *dout = f.dout + i * f.value_size;
    const int32_t *index = f.index + i * f.count;
    T *ds = f.ds + i * f.count;
    T mean = 0;
    for (int j = 0; j < f.count; ++j) {
      const int32_t slot = index[j];
      const bool reads = f.range.holds(i * f.count + j, slot) && slot >= 0;
      T dp = 0;
      for (int64_t c = lane; reads && c < f.value_size; c += kWarp) {
        dp = fma(dout[c], values[slot * f.value_size + c], dp);
      }
#pragma unroll
      for (int w = kWarp / 2; w > 0; w /= 2) dp += __shfl_xor_sync(kAllLanes, dp, w);
      if (reads) mean = fma(p[j], dp, mean);
      if (lane == 0) {
        ds[j] = dp;
        f.rows[i * f.count + j] = reads ? static_cast<int32_t>(b * f.slots + slot) : -1;
      }
    }
    __syncwarp();
    for (int j = lane; j < f.count; j += kWarp) ds[j] = f.scale * (p[j] * (ds[j] - mean));
    __syncwarp();
    for (int64_t c = lane; c < f.key_size; c += kWarp) {
      T dq = 0;
      for (int j = 0; j < f.count; ++j) {
        const int32_t slot = index[j];
        if (slot >= 0 && slot < f.slots) dq = fma(ds[j], keys[slot * f.key_size + c], dq);
      }
      f.dq[i * f.key_size + c] = dq;
    }
  }
}

// The reads' parts of dkeys or dvalues: weight[n] x[n / count, :].
template <class T>
struct Weighted {
  struct Term {
    Pack<T> x;
    T weight;
  };
  const T *weight, *x;
  int64_t count, cols;

  __device__ Term term(int64_t n, int64_t c, bool aligned) const {
    return {load_pack(x + quotient(n, count) * cols + c, cols - c, aligned), weight[n]};
  }
  __device__ static void add(Pack<T> &sum, const Term &term) {
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) sum.at[j] = fma(term.weight, term.x.at[j], sum.at[j]);
  }
};

}  // namespace

int32_t pnd_top_k_read(pnd_context *context, int32_t dtype, void *out, void *p, int32_t *index,
                       const void *q, const void *keys, const void *values, const int32_t *lengths,
                       int64_t batch, int64_t queries, int64_t slots, int64_t key_size,
                       int64_t value_size, int64_t count, int64_t start, double scale) {
  Call call(context, "top_k_read");
  const guard::TopKRead sizes{dtype, q,        keys,       values, batch, queries,
                              slots, key_size, value_size, count,  scale};
  guard::top_k_read(call, sizes, out, p, index, lengths, start);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const Forward<T> f{static_cast<T *>(out),
                       static_cast<T *>(p),
                       index,
                       static_cast<const T *>(q),
                       static_cast<const T *>(keys),
                       static_cast<const T *>(values),
                       lengths,
                       Range{context->faults, kTopKLengths, 0, slots + 1},
                       batch,
                       queries,
                       slots,
                       key_size,
                       value_size,
                       start,
                       static_cast<int>(count),
                       static_cast<T>(scale)};
    const size_t tiles = (kTileDepth * (kTileSlots + 1) + kQueries * kTileDepth) * sizeof(T);
    const size_t lists = kQueries * count * (sizeof(T) + sizeof(int32_t));
    const int64_t blocks = (queries + kQueries - 1) / kQueries;
    return launch_blocks(call, context, read_kernel<T>, batch * blocks, dim3(kReadThreads),
                         tiles + lists, f, blocks);
  });
}

int32_t pnd_top_k_read_backward(pnd_context *context, int32_t dtype, void *dq, void *dkeys,
                                void *dvalues, const void *dout, const void *q, const void *keys,
                                const void *values, const void *p, const int32_t *index,
                                int64_t batch, int64_t queries, int64_t slots, int64_t key_size,
                                int64_t value_size, int64_t count, double scale) {
  Call call(context, "top_k_read_backward");
  const guard::TopKRead sizes{dtype, q,        keys,       values, batch, queries,
                              slots, key_size, value_size, count,  scale};
  guard::top_k_read_backward(call, sizes, dq, dkeys, dvalues, dout, p, index);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) -> int32_t {
    using T = decltype(type);
    const int64_t total = batch * queries, reads = total * count, rows = batch * slots;
    const int64_t ds_bytes = (reads * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    const int64_t row_bytes = (reads * static_cast<int64_t>(sizeof(int32_t)) + 63) / 64 * 64;
    call.reserve(0, ds_bytes + row_bytes + sort_bytes(reads));
    if (call.refused()) return call.status();
    char *memory = static_cast<char *>(context->scratch);
    T *ds = reinterpret_cast<T *>(memory);
    int32_t *of_read = reinterpret_cast<int32_t *>(memory + ds_bytes);
    const Backward<T> f{static_cast<T *>(dq),
                        ds,
                        of_read,
                        static_cast<const T *>(dout),
                        static_cast<const T *>(keys),
                        static_cast<const T *>(values),
                        static_cast<const T *>(p),
                        index,
                        Range{context->faults, kTopKIndex, -1, slots},
                        queries,
                        slots,
                        key_size,
                        value_size,
                        total,
                        static_cast<int>(count),
                        static_cast<T>(scale)};
    int32_t status =
        launch(call, context, slope_kernel<T>, dim3(grid_for(context, total, kMapThreads / kWarp)),
               dim3(kMapThreads), 0, f);
    Buckets buckets{reads, Range{context->faults, kTopKIndex, -1, rows}};
    if (status == PND_OK) {
      status = sort(call, context, buckets, of_read, memory + ds_bytes + row_bytes);
    }
    const T *queried = static_cast<const T *>(q), *adjoint = static_cast<const T *>(dout);
    if (status == PND_OK) {
      status = scatter(call, context, static_cast<T *>(dkeys), of_read, key_size,
                       Weighted<T>{ds, queried, count, key_size},
                       aligned_rows(key_size * sizeof(T), dkeys, q), buckets);
    }
    if (status != PND_OK) return status;
    return scatter(call, context, static_cast<T *>(dvalues), of_read, value_size,
                   Weighted<T>{static_cast<const T *>(p), adjoint, count, value_size},
                   aligned_rows(value_size * sizeof(T), dvalues, dout), buckets);
  });
}
