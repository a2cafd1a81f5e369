// SPDX-License-Identifier: Apache-2.0
// fast_weights: a matrix per head that every step decays, writes to and reads.
// S = D S + k v^T; delta: u = (D S)^T k, S = D S + k (rate (v - u))^T;
// low rank: u = S^T erase, S = D S + write u^T + k v^T; out = scale S^T q
// Shapes   q, k, erase, write [batch, steps, heads, keys]; v, out [batch, steps, heads, values];
//          decay [batch, steps, heads, 1 or keys]; rate [batch, steps, heads]; state [batch, heads,
//          keys, values + normalised]; q, k, v, out of bf16: widened as they are read, computed in
//          floats and rounded once
// Method   one block per head and 32 columns of S, which stay in its registers while all steps
//          pass; the rows of a step go through shared memory. Normalised: a scan of column z comes
//          first. Chunks of bf16 that tensor cores can take go there (fast_weights_chunk.cu);
//          otherwise steps are taken one by one whatever the chunk is
// Order    a read is a chain over the keys of each of 8 warps, then over the warps
// Error    2e-5 of the largest in f32, 1e-12 in f64, 5e-3 in bf16
// Work     per step and head 4 keys values flops, 6 with rate, 8 with erase; 1 more with decay
// Source   Katharopoulos et al., arXiv:2006.16236; Yang et al., arXiv:2412.06464
#include "fast_weights.cuh"

namespace {

// How many blocks a multiprocessor has at least; 0 leaves it to the compiler, which for large
// states of bf16 would spill.
template <class S, int kRows>
constexpr int kAtOnce = kRows == 32 && std::is_same_v<S, Bf16> ? 2 : 0;

template <class S, class To, int kRows, Memory kKind>
__global__ void __launch_bounds__(kThreads, kAtOnce<S, kRows>)
    scan_kernel(int64_t first_block, FastWeights<S> f, int64_t panels, int64_t first, int64_t end,
                Reads<To> reads, Computed<S> *last) {
  using T = Computed<S>;
  T *shared = shared_memory<T>(), *sums = shared + 2 * StepRows<T>::kRows * f.keys;
  const int64_t block = first_block + blockIdx.x, bh = block / panels;
  const int64_t column = first + block % panels * kPanel + lane_number();
  const bool exists = column < end;
  const int64_t state = bh * f.keys * f.width() + column, length = f.length(bh / f.heads);
  StatePart<T, kRows> part;
  part.clear();
  if (exists && f.initial != nullptr) {
    part.load(static_cast<const T *>(f.initial) + state, f.width(), f.keys);
  }
  for (int64_t t = 0; t < length; ++t) {
    const int64_t place = f.place(bh, t);
    // Two sets in turn: the slowest thread may still read the one before.
    const StepRows<T> rows(shared + t % 2 * StepRows<T>::kRows * f.keys, f.keys);
    rows.load(f, place);
    __syncthreads();
    if (f.resets_at(bh, t)) part.clear();
    T x = exists ? f.value(place, column) : T(0), u = T(0);
    part.template step<kKind>(rows, f.keys, f.rate == nullptr ? T(0) : f.at(f.rate, place), sums, x,
                              u);
    const T y = over_warps(part.dot(rows.q, f.keys), sums + kThreads);
    if (exists && warp_number() == 0) reads.put(place, column, y);
  }
  if (!exists) return;
  for (int64_t t = length + warp_number(); t < f.steps; t += kWarps) {
    reads.to[f.place(bh, t) * reads.stride + column - reads.first] = stored<To>(T(0));
  }
  if (last != nullptr) part.store(last + state, f.width(), f.keys);
}

}  // namespace

template <class S, class To>
int32_t scan(Call &call, pnd_context *context, const FastWeights<S> &f, int64_t first, int64_t end,
             Reads<To> reads, Computed<S> *last) {
  using T = Computed<S>;
  const int64_t panels = (end - first + kPanel - 1) / kPanel;
  const size_t shared = (2 * StepRows<T>::kRows * f.keys + 2 * kThreads) * sizeof(T);
  by_memory(f, [&](auto kind, auto rows) {
    // Norms, which stay wide, are the plain kind's.
    if constexpr (std::is_same_v<S, To> || kind() == Memory::kPlain) {
      launch_blocks(call, context, scan_kernel<S, To, rows(), kind()>, f.heads_of_all() * panels,
                    dim3(kThreads), shared, f, panels, first, end, reads, last);
    }
  });
  return call.status();
}
template int32_t scan(Call &, pnd_context *, const FastWeights<float> &, int64_t, int64_t,
                      Reads<float>, float *);
template int32_t scan(Call &, pnd_context *, const FastWeights<double> &, int64_t, int64_t,
                      Reads<double>, double *);
template int32_t scan(Call &, pnd_context *, const FastWeights<Bf16> &, int64_t, int64_t,
                      Reads<float>, float *);

int32_t pnd_fast_weights(pnd_context *context, int32_t dtype, void *out, void *last, const void *q,
                         const void *k, const void *v, const void *decay, const void *rate,
                         const void *erase, const void *write, const void *initial,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t heads, int64_t steps, int64_t keys, int64_t values,
                         int64_t decay_size, int64_t chunk, double scale, int32_t features,
                         int32_t normalised) {
  Call call(context, "fast_weights");
  const guard::FastWeights sizes{dtype, q,       k,          v,       decay,    rate,      erase,
                                 write, initial, resets,     lengths, batch,    heads,     steps,
                                 keys,  values,  decay_size, scale,   features, normalised};
  guard::fast_weights(call, sizes, out, last, chunk);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    using T = Computed<S>;
    const FastWeights<S> f(sizes, context, kMemoryLengths);
    T *norms = nullptr, *ends = static_cast<T *>(last);
    if constexpr (std::is_same_v<S, Bf16>) {
      if (takes_chunks(sizes, chunk)) {
        const Reads<S> reads{static_cast<S *>(out), values, 0, static_cast<T>(scale), nullptr};
        scan_chunks(call, context, f, chunk, reads, ends);
        return;
      }
    }
    if (f.normalised) {
      if (call.reserve(0, f.tokens() * sizeof(T)).refused()) return;
      norms = static_cast<T *>(context->scratch);
      scan(call, context, f, values, values + 1, Reads<T>{norms, 1, values, T(1), nullptr}, ends);
      if (call.refused()) return;
    }
    scan(call, context, f, 0, values,
         Reads<S>{static_cast<S *>(out), values, 0, static_cast<T>(scale), norms}, ends);
  });
  return call.status();
}
