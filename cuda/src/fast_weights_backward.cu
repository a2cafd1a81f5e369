// SPDX-License-Identifier: Apache-2.0
// fast_weights_backward: the adjoints of fast_weights.cu, step by step from the end.
// With G that of the state after step t and dy = scale dout (normalised: through the quotient):
//   G += q dy^T;  dq = S dy;  e = G^T k;  dk = G x, x being what was written with k;
//   plain     dv = e;
//   delta     dv = rate e;  drate = e . (v - u);  dk -= D S_before dv;  G -= k dv^T;
//   low rank  dv = e;  du = G^T write;  dwrite = G u;  derase = S_before du;
// and then ddecay = sum over columns of G S_before, G = D G (low rank: + erase du^T)
// Shapes   as in fast_weights.cu; G has the state's
// Method   one block per head and 32 columns. A scan keeps a state every so many steps; from the
//          end, the states between two of these are computed again. Each block leaves what its
//          columns add to the adjoints of the rows, and a last pass adds the blocks up. The plain
//          kind in bf16 goes in chunks: fast_weights_chunk_backward.cu
// Order    sums over the keys as in fast_weights.cu; over 32 columns 16, 8, 4, 2, 1, then over the
//          panels; ddecay of size 1 then over the keys
// Error    1e-4 of the largest in f32, 1e-12 in f64, 2e-2 in bf16
// Work     per step and head 8 keys values flops for states, 12 to 18 for adjoints
// Source   reverse-mode differentiation of the formulas above
#include "fast_weights.cuh"
#include "fold.cuh"

namespace {

// The adjoints of a step's rows, each in parts, one for every panel.
enum Slope { kQ, kK, kDecay, kErase, kWrite, kSlopes };

// Steps between two kept states: both kinds of states take like memory.
int64_t segment_of(int64_t steps) {
  int64_t n = 8;
  while (n * n < steps) ++n;
  return n;
}

template <class S>
struct Back : FastWeights<S>, Slopes<S> {
  using T = Computed<S>;
  int64_t panels, segment;
  const T *dy;        // [tokens, columns] where normalised
  T *states;          // of each block: kept ones, those of a segment, G
  T *written;         // of each block [segment, 2, kPanel]
  T *parts[kSlopes];  // [panels, tokens, keys], those of absent inputs null
  T *rate_parts;      // [panels, tokens]

  Back(const FastWeights<S> &call, const Slopes<S> &slopes)
      : FastWeights<S>(call), Slopes<S>(slopes) {}
  PND_SHARED int64_t segments() const { return (this->steps + segment - 1) / segment; }
  PND_SHARED int64_t block_states() const { return segments() + segment + 1; }
  // The adjoint of S^T q.
  __device__ T output_slope(int64_t place, int64_t column) const {
    if (dy != nullptr) return dy[place * this->width() + column];
    return widened(this->dout[place * this->values + column]) * static_cast<T>(this->scale);
  }
};

// One block's work: a head and a panel.
template <class S, int kRows, Memory kKind>
struct BackPanel {
  using T = Computed<S>;
  const Back<S> &f;
  int64_t bh, panel, column;
  bool exists;
  T *kept, *before, *slope;  // [.., keys, kPanel], this thread's column
  T *written;                // [segment, 2, kPanel], this thread's column: x, u
  T *shared, *sums;
  int turn = 0;  // of two sets of rows

  using Part = StatePart<T, kRows>;

  __device__ BackPanel(const Back<S> &call, int64_t block) : f(call) {
    const int64_t state = f.keys * kPanel;
    bh = block / f.panels;
    panel = block % f.panels;
    column = panel * kPanel + lane_number();
    exists = column < f.width();
    kept = f.states + block * f.block_states() * state + lane_number();
    before = kept + f.segments() * state;
    slope = before + f.segment * state;
    written = f.written + block * f.segment * 2 * kPanel + lane_number();
    shared = shared_memory<T>();
    sums = shared + 2 * StepRows<T>::kRows * f.keys;
  }

  __device__ StepRows<T> rows_of(int64_t place) {
    turn ^= 1;
    const StepRows<T> rows(shared + turn * StepRows<T>::kRows * f.keys, f.keys);
    rows.load(f, place);
    __syncthreads();
    return rows;
  }
  __device__ T rate(int64_t place) const { return f.rate == nullptr ? T(0) : f.at(f.rate, place); }
  // The state's rows `from`, or zeros, of the batch's array.
  __device__ void load(Part &part, const void *from) const {
    part.clear();
    if (!exists || from == nullptr) return;
    part.load(static_cast<const T *>(from) + bh * f.keys * f.width() + column, f.width(), f.keys);
  }

  // Steps [t, end): the states before them are kept, in `before`, where there is room for them.
  __device__ __forceinline__ void advance(Part &part, int64_t t, int64_t end, bool keeps) {
    for (int64_t i = 0; t + i < end; ++i) {
      const int64_t place = f.place(bh, t + i);
      const StepRows<T> rows = rows_of(place);
      if (f.resets_at(bh, t + i)) part.clear();
      if (keeps) part.store(before + i * f.keys * kPanel, kPanel, f.keys);
      T x = exists ? f.value(place, column) : T(0), u = T(0);
      part.template step<kKind>(rows, f.keys, rate(place), sums, x, u);
      if (keeps && warp_number() == 0) {
        written[(2 * i) * kPanel] = x;
        written[(2 * i + 1) * kPanel] = u;
      }
    }
  }

  __device__ __forceinline__ void run() {
    const int64_t length = f.length(bh / f.heads), state = f.keys * kPanel;
    {
      Part part;
      load(part, f.initial);
      for (int64_t t = 0; t < length; t += f.segment) {
        part.store(kept + t / f.segment * state, kPanel, f.keys);
        advance(part, t, t + f.segment < length ? t + f.segment : length, false);
      }
      load(part, f.dlast);
      part.store(slope, kPanel, f.keys);
    }
    for (int64_t t = (length - 1) / f.segment * f.segment; t >= 0 && length > 0; t -= f.segment) {
      const int64_t end = t + f.segment < length ? t + f.segment : length;
      {
        Part part;
        part.clear();
        part.load(kept + t / f.segment * state, kPanel, f.keys);
        advance(part, t, end, true);
      }
      __syncthreads();  // what warp 0 has written
      Part g;
      g.clear();
      g.load(slope, kPanel, f.keys);
      for (int64_t i = end - t - 1; i >= 0; --i) {
        step_back(g, t + i, before + i * state, written[2 * i * kPanel],
                  written[(2 * i + 1) * kPanel]);
        if (f.resets_at(bh, t + i)) g.clear();
      }
      g.store(slope, kPanel, f.keys);
      __syncthreads();  // before others overwrite it
    }
    for (int64_t t = length + warp_number(); t < f.steps; t += kWarps) {
      if (column < f.values) f.dv[f.place(bh, t) * f.values + column] = stored<S>(T(0));
    }
    if (f.dinitial == nullptr || !exists) return;
    Part g;
    g.load(slope, kPanel, f.keys);
    g.store(f.dinitial + bh * f.keys * f.width() + column, f.width(), f.keys);
  }

  __device__ __forceinline__ void step_back(Part &g, int64_t t, const T *state, T x, T u) {
    const int64_t place = f.place(bh, t);
    const StepRows<T> rows = rows_of(place);
    const T dy = exists ? f.output_slope(place, column) : T(0);
    Part::each(f.keys, [&](int i, int j) { g.s[i] = fma(rows.q[j], dy, g.s[i]); });
    const T e = over_warps(g.dot(rows.k, f.keys), sums);
    T du = T(0), dv = e;
    if constexpr (kKind == Memory::kLowRank) {
      du = over_warps(g.dot(rows.write, f.keys), sums + kThreads);
    }
    if constexpr (kKind == Memory::kDelta) {
      dv = rate(place) * e;
      du = -dv;
      T product = column < f.values ? e * u : T(0);
      PND_UNROLL
      for (int w = kWarp / 2; w > 0; w /= 2) product += __shfl_xor_sync(kAllLanes, product, w);
      if (threadIdx.x == 0) f.rate_parts[panel * f.tokens() + place] = product;
    }
    if (column < f.values && warp_number() == 0) {
      f.dv[place * f.values + column] = stored<S>(dv);
    }
    PND_UNROLL
    for (int i = 0; i < kRows; i += 8) {
      if (i * kWarps + warp_number() < f.keys) eight_rows(g, i, rows, place, state, dy, x, u, du);
    }
  }

  // The rows i .. i + 7 of this warp: their parts of the adjoints, and G before the step.
  __device__ __forceinline__ void eight_rows(Part &g, int first, const StepRows<T> &rows,
                                             int64_t place, const T *state, T dy, T x, T u, T du) {
    const auto put = [&](Slope what, auto &&term) {
      if (f.parts[what] == nullptr) return;
      T terms[8];
      PND_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int j = (first + i) * kWarps + warp_number();
        terms[i] = exists && j < f.keys ? term(first + i, j, state[j * kPanel]) : T(0);
      }
      Folded own;
      fold_values<8, 16, 1>(terms, own);
      const int64_t j = (first + own.place) * kWarps + warp_number();
      if (own.leads && j < f.keys) {
        f.parts[what][(panel * f.tokens() + place) * f.keys + j] = terms[0];
      }
    };
    put(kQ, [&](int, int j, T s) {
      s *= rows.decay[j];
      if constexpr (kKind == Memory::kLowRank) s = fma(rows.write[j], u, s);
      return fma(rows.k[j], x, s) * dy;
    });
    put(kK, [&](int i, int j, T s) {
      T sum = g.s[i] * x;
      if constexpr (kKind == Memory::kDelta) sum = fma(s * rows.decay[j], du, sum);
      return sum;
    });
    if constexpr (kKind == Memory::kLowRank) {
      put(kWrite, [&](int i, int, T) { return g.s[i] * u; });
      put(kErase, [&](int, int, T s) { return s * du; });
    }
    const auto each_of_eight = [&](auto &&body) {
      PND_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int j = (first + i) * kWarps + warp_number();
        if (j < f.keys) body(first + i, j);
      }
    };
    if constexpr (kKind == Memory::kDelta) {
      each_of_eight([&](int i, int j) { g.s[i] = fma(rows.k[j], du, g.s[i]); });
    }
    put(kDecay, [&](int i, int, T s) { return g.s[i] * s; });
    each_of_eight([&](int i, int j) {
      g.s[i] *= rows.decay[j];
      if constexpr (kKind == Memory::kLowRank) g.s[i] = fma(rows.erase[j], du, g.s[i]);
    });
  }
};

// One block a multiprocessor: left to itself the compiler halves the registers and spills.
template <class S, int kRows, Memory kKind>
__global__ void __launch_bounds__(kThreads, 1) back_kernel(int64_t first, Back<S> f) {
  BackPanel<S, kRows, kKind>(f, first + blockIdx.x).run();
}

// From the reads S^T q and q . z of a token, and dout, to their adjoints, in place: one thread a
// token.
template <class S>
struct QuotientSlopes {
  using T = Computed<S>;
  FastWeights<S> f;
  T *y;
  const S *dout;

  __device__ void operator()(int64_t place) const {
    T *row = y + place * f.width();
    const S *from = dout + place * f.values;
    const T norm = row[f.values], factor = static_cast<T>(f.scale) / norm;
    T sum = T(0);
    for (int64_t c = 0; c < f.values; ++c) {
      const T d = widened(from[c]);
      sum = fma(d, row[c], sum);
      row[c] = norm == T(0) ? T(0) : d * factor;
    }
    row[f.values] = norm == T(0) ? T(0) : -(sum * factor / norm);
  }
};

// The adjoints of the rows, element by element, from their parts.
template <class S>
struct RowSlopes {
  using T = Computed<S>;
  Back<S> f;

  __device__ void operator()(int64_t i) const {
    const int64_t place = quotient(i, f.keys), row = quotient(place, f.heads);
    const int64_t b = quotient(row, f.steps);
    const bool counts = row - b * f.steps < f.length(b);
    const auto put = [&](auto *to, Slope what, const void *x) {
      if (to == nullptr || f.parts[what] == nullptr) return;
      T sum = T(0);
      for (int64_t p = 0; p < f.panels && counts; ++p) {
        sum += f.parts[what][p * f.tokens() * f.keys + i];
      }
      if (x != nullptr && counts) sum *= f.feature_slope(f.token_at(x, i));
      to[i] = stored<std::remove_pointer_t<decltype(to)>>(sum);
    };
    put(f.dq, kQ, f.q);
    put(f.dk, kK, f.k);
    put(f.derase, kErase, nullptr);
    put(f.dwrite, kWrite, nullptr);
    if (f.decay_size == f.keys) put(f.ddecay, kDecay, nullptr);
  }
};

// The same of a token's scalars.
template <class S>
struct ScalarSlopes {
  using T = Computed<S>;
  Back<S> f;

  __device__ void operator()(int64_t place) const {
    const int64_t row = quotient(place, f.heads), b = quotient(row, f.steps);
    const bool counts = row - b * f.steps < f.length(b);
    T rate = T(0), decay = T(0);
    for (int64_t p = 0; p < f.panels && counts; ++p) {
      const int64_t at = p * f.tokens() + place;
      if (f.drate != nullptr) rate += f.rate_parts[at];
      for (int64_t j = 0; j < f.keys && f.parts[kDecay] != nullptr; ++j) {
        decay += f.parts[kDecay][at * f.keys + j];
      }
    }
    if (f.drate != nullptr) f.drate[place] = rate;
    if (f.ddecay != nullptr && f.decay_size == 1) f.ddecay[place] = decay;
  }
};

template <class S>
void run_back(Call &call, pnd_context *context, Back<S> &f) {
  using T = Computed<S>;
  f.panels = (f.width() + kPanel - 1) / kPanel;
  f.segment = segment_of(f.steps);
  const int64_t blocks = f.heads_of_all() * f.panels;
  const bool has[kSlopes] = {true, true, f.decay != nullptr, f.erase != nullptr,
                             f.erase != nullptr};
  // Where each piece of the scratch memory starts, in elements.
  int64_t elements = 0;
  const auto piece = [&](int64_t count) {
    const int64_t start = elements;
    elements += (count + 63) / 64 * 64;
    return start;
  };
  const int64_t states = piece(blocks * f.block_states() * f.keys * kPanel);
  const int64_t written = piece(blocks * f.segment * 2 * kPanel);
  const int64_t dy = piece(f.normalised ? f.tokens() * f.width() : 0);
  const int64_t rates = piece(f.rate != nullptr ? f.panels * f.tokens() : 0);
  int64_t parts[kSlopes];
  for (int i = 0; i < kSlopes; ++i) {
    parts[i] = piece(has[i] ? f.panels * f.tokens() * f.keys : 0);
  }
  if (call.reserve(0, elements * sizeof(T)).refused()) return;
  T *scratch = static_cast<T *>(context->scratch);
  f.states = scratch + states;
  f.written = scratch + written;
  f.rate_parts = scratch + rates;
  for (int i = 0; i < kSlopes; ++i) f.parts[i] = has[i] ? scratch + parts[i] : nullptr;
  f.dy = nullptr;
  if (f.normalised) {
    T *y = scratch + dy;
    const FastWeights<S> &of_call = f;
    scan(call, context, of_call, 0, f.width(), Reads<T>{y, f.width(), 0, T(1), nullptr},
         static_cast<T *>(nullptr));
    if (call.refused()) return;
    each(call, context, f.tokens(), QuotientSlopes<S>{of_call, y, f.dout});
    f.dy = y;
  }
  if (call.refused()) return;
  const size_t shared = (2 * StepRows<T>::kRows * f.keys + 2 * kThreads) * sizeof(T);
  by_memory(f, [&](auto kind, auto rows) {
    launch_blocks(call, context, back_kernel<S, rows(), kind()>, blocks, dim3(kThreads), shared, f);
  });
  if (call.refused()) return;
  each(call, context, f.tokens() * f.keys, RowSlopes<S>{f});
  if (call.refused() || (f.drate == nullptr && f.ddecay == nullptr)) return;
  each(call, context, f.tokens(), ScalarSlopes<S>{f});
}

}  // namespace

int32_t pnd_fast_weights_backward(pnd_context *context, int32_t dtype, void *dq, void *dk, void *dv,
                                  void *ddecay, void *drate, void *derase, void *dwrite,
                                  void *dinitial, const void *dout, const void *dlast,
                                  const void *q, const void *k, const void *v, const void *decay,
                                  const void *rate, const void *erase, const void *write,
                                  const void *initial, const int32_t *resets,
                                  const int32_t *lengths, int64_t batch, int64_t heads,
                                  int64_t steps, int64_t keys, int64_t values, int64_t decay_size,
                                  double scale, int32_t features, int32_t normalised) {
  Call call(context, "fast_weights_backward");
  const guard::FastWeights sizes{dtype, q,       k,          v,       decay,    rate,      erase,
                                 write, initial, resets,     lengths, batch,    heads,     steps,
                                 keys,  values,  decay_size, scale,   features, normalised};
  guard::fast_weights_backward(call, sizes, dq, dk, dv, ddecay, drate, derase, dwrite, dinitial,
                               dout, dlast);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    using T = Computed<S>;
    const FastWeights<S> f(sizes, context, kMemoryLengthsBackward);
    const Slopes<S> slopes{static_cast<S *>(dq),         static_cast<S *>(dk),
                           static_cast<S *>(dv),         static_cast<T *>(ddecay),
                           static_cast<T *>(drate),      static_cast<T *>(derase),
                           static_cast<T *>(dwrite),     static_cast<T *>(dinitial),
                           static_cast<const S *>(dout), static_cast<const T *>(dlast)};
    if constexpr (std::is_same_v<S, Bf16>) {
      if (takes_chunks_back(context, sizes)) {
        scan_chunks_back(call, context, f, slopes);
        return;
      }
    }
    Back<S> back(f, slopes);
    run_back(call, context, back);
  });
  return call.status();
}
