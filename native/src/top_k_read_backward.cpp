// SPDX-License-Identifier: Apache-2.0
// top_k_read_backward: the adjoints of a read of a few slots.
// dp[i,j] = dout[i,:] . values[index[i,j],:]
// ds[i,j] = scale p[i,j] (dp[i,j] - sum over k of p[i,k] dp[i,k])
// dq[i,:] = sum over j of ds[i,j] keys[index[i,j],:]
// dkeys[m,:] = sum of ds[i,j] q[i,:], dvalues[m,:] = sum of p[i,j] dout[i,:], index[i,j] = m
// Shapes   for each batch: q, dq [queries, key_size]; dout [queries, value_size]; keys, dkeys
//          [slots, key_size]; values, dvalues [slots, value_size]; p, index [queries, count]
// Method   ds and dq query by query; then the reads are sorted by slot, by counting, and each slot
//          gathers its own
// Order    dp in 32 lanes; sums over j and over the reads of a slot upwards, one chain per element
// Parallel over queries, then over slots
// Error    <= 2 x the plain loop
// Work     4 (key_size + value_size) flops per read
// Source   elementary
#include "guards/top_k_read.h"
#include "map.h"

namespace {

// The reads of a batch, in the order of slots: slot m has list[starts[m]] to list[starts[m+1]].
struct Sorted {
  int64_t *starts, *list;

  void sort(const int32_t *index, int64_t reads, int64_t slots) const {
    std::fill_n(starts, slots + 1, int64_t{0});
    for (int64_t n = 0; n < reads; ++n) {
      if (index[n] >= 0) ++starts[index[n] + 1];
    }
    for (int64_t m = 0; m < slots; ++m) starts[m + 1] += starts[m];
    for (int64_t n = 0; n < reads; ++n) {
      if (index[n] >= 0) list[starts[index[n]]++] = n;
    }
    // Each start has moved to its end, which is the next one's start.
    for (int64_t m = slots; m > 0; --m) starts[m] = starts[m - 1];
    starts[0] = 0;
  }
};

}  // namespace

int32_t pnd_top_k_read_backward(pnd_context *context, int32_t dtype, void *dq, void *dkeys,
                                void *dvalues, const void *dout, const void *q, const void *keys,
                                const void *values, const void *p, const int32_t *index,
                                int64_t batch, int64_t queries, int64_t slots, int64_t key_size,
                                int64_t value_size, int64_t count, double scale) {
  Call call(context, "top_k_read_backward");
  const guard::TopKRead sizes{dtype, q,        keys,       values, batch, queries,
                              slots, key_size, value_size, count,  scale};
  guard::top_k_read_backward(call, sizes, dq, dkeys, dvalues, dout, p, index);
  if (!call.refused()) call.indices("index", index, batch * queries * count, -1, slots);
  if (call.refused()) return call.status();
  return by_type(dtype, [&](auto type) -> int32_t {
    using T = decltype(type);
    const int64_t reads = queries * count;
    call.reserve(0, Scratch::bytes<T>(batch * reads) + Scratch::bytes<int64_t>(reads) +
                        Scratch::bytes<int64_t>(slots + 1));
    if (call.refused()) return call.status();
    Scratch scratch(context, kShared);
    T *ds = scratch.take<T>(batch * reads);
    int64_t *list = scratch.take<int64_t>(reads);
    const Sorted sorted{scratch.take<int64_t>(slots + 1), list};

    const int64_t cost = count * (key_size + value_size);
    parallel_rows(context, batch * queries, cost, kSerialMove,
                  [&](int64_t first, int64_t last, int) {
                    for (int64_t i = first; i < last; ++i) {
                      const int64_t b = i / queries;
                      const T *key = static_cast<const T *>(keys) + b * slots * key_size;
                      const T *value = static_cast<const T *>(values) + b * slots * value_size;
                      const T *adjoint = static_cast<const T *>(dout) + i * value_size;
                      const T *part = static_cast<const T *>(p) + i * count;
                      const int32_t *slot = index + i * count;
                      T *slope = ds + i * count, *to = static_cast<T *>(dq) + i * key_size;
                      T mean = 0;
                      for (int64_t j = 0; j < count; ++j) {
                        if (slot[j] < 0) continue;
                        slope[j] = dot_of(adjoint, value + slot[j] * value_size, value_size);
                        mean = fma(part[j], slope[j], mean);
                      }
                      std::fill_n(to, key_size, T{0});
                      for (int64_t j = 0; j < count; ++j) {
                        if (slot[j] < 0) continue;
                        slope[j] = static_cast<T>(scale) * (part[j] * (slope[j] - mean));
                        add_scaled(to, slope[j], key + slot[j] * key_size, key_size);
                      }
                    }
                  });

    for (int64_t b = 0; b < batch; ++b) {
      sorted.sort(index + b * reads, reads, slots);
      parallel_rows(context, slots, key_size + value_size, kSerialMove,
                    [&](int64_t first, int64_t last, int) {
                      for (int64_t m = first; m < last; ++m) {
                        T *dkey = static_cast<T *>(dkeys) + (b * slots + m) * key_size;
                        T *dvalue = static_cast<T *>(dvalues) + (b * slots + m) * value_size;
                        std::fill_n(dkey, key_size, T{0});
                        std::fill_n(dvalue, value_size, T{0});
                        for (int64_t at = sorted.starts[m]; at < sorted.starts[m + 1]; ++at) {
                          const int64_t n = b * reads + list[at], i = n / count;
                          add_scaled(dkey, ds[n], static_cast<const T *>(q) + i * key_size,
                                     key_size);
                          add_scaled(dvalue, static_cast<const T *>(p)[n],
                                     static_cast<const T *>(dout) + i * value_size, value_size);
                        }
                      }
                    });
    }
    return PND_OK;
  });
}
