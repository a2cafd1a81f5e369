// SPDX-License-Identifier: Apache-2.0
// fast_weights_backward: the adjoints of fast_weights.cpp, step by step from the end.
// With G that of the state after step t and dy = scale dout (normalised: through the quotient):
//   G += q dy^T;  dq = S dy;  e = G^T k;  dk = G x, x being what was written with k;
//   plain     dv = e;
//   delta     dv = rate e;  drate = e . (v - u);  dk -= D S_before dv;  G -= k dv^T;
//   low rank  dv = e;  du = G^T write;  dwrite = G u;  derase = S_before du;
// and then ddecay = sum over columns of G S_before, G = D G (low rank: + erase du^T)
// Shapes   as in fast_weights.cpp; G has the state's
// Method   a pass from the start keeps a state every so many steps; from the end, the states
//          between two of these are computed again, in the order of the forward function: a block
//          of columns takes all those steps before the next block, and stays in L1. Then each step
//          takes two passes over G: down the columns for e and du, along the rows for the rest
//          The plain kind keeps no state where it can do without: fast_weights_back_plain.h
// Order    sums over the keys are chains, those over the columns in 32 lanes
// Parallel over heads
// Error    relative 1e-4 of the largest in f32, 1e-12 in f64, 2e-2 in bf16
// Work     per step and head 8 keys values flops for states, 12 to 18 for adjoints
// Source   reverse-mode differentiation of the formulas above
#include "fast_weights_back_plain.h"

namespace {

// Steps between two kept states: what is kept and what is computed again take like memory, the
// latter less, as it is to stay in a cache.
int64_t segment_of(int64_t steps) {
  int64_t n = 16;
  while (4 * n * n < steps) ++n;
  return n;
}

template <class S, Memory kKind>
struct Back {
  using T = Computed<S>;
  const FastWeights<S> &f;
  int64_t bh, keys, columns, stride, segment;
  Token<S> *tokens;         // [segment]
  T *kept, *before;         // [segments and segment, keys, stride]: the states before those steps
  T *slope;                 // [keys, stride]: G
  T *held, *written, *dy;   // [segment, stride]: u (delta: v - u), what k writes, the outputs'
  T *normed;                // [steps, stride] where normalised: S^T q, q . z
  T *de, *du, *key_slopes;  // [stride], [stride], [keys]
  T *dq_sums, *dk_sums;     // [keys], where the arrays are of less than they add up in
  T *features;              // [2, segment, keys]: q and k where not the arrays' own
  T one[1] = {1};

  Back(const FastWeights<S> &call, int64_t head, Scratch scratch)
      : f(call),
        bh(head),
        keys(f.keys),
        columns(f.columns()),
        stride(odd_stride(f)),
        segment(segment_of(f.steps)) {
    tokens = scratch.take<Token<S>>(segment);
    kept = scratch.take<T>((f.steps + segment - 1) / segment * keys * stride);
    before = scratch.take<T>(segment * keys * stride);
    slope = scratch.take<T>(keys * stride);
    for (T **rows : {&held, &written, &dy}) *rows = scratch.take<T>(segment * stride);
    normed = scratch.take<T>(f.normalised ? f.steps * stride : 0);
    for (T **row : {&de, &du}) *row = scratch.take<T>(stride);
    for (T **row : {&key_slopes, &dq_sums, &dk_sums}) *row = scratch.take<T>(keys);
    features = scratch.take<T>(prepares(f) ? 2 * segment * keys : 0);
  }
  static int64_t bytes(const FastWeights<S> &f) {
    const auto of = [](int64_t count) { return Scratch::bytes<T>(count); };
    const int64_t n = segment_of(f.steps), stride = odd_stride(f), state = f.keys * stride;
    return Scratch::bytes<Token<S>>(n) + of((f.steps + n - 1) / n * state) + of(n * state) +
           of(state) + 3 * of(n * stride) + of(f.normalised ? f.steps * stride : 0) +
           2 * of(stride) + 3 * of(f.keys) + of(prepares(f) ? 2 * n * f.keys : 0);
  }
  static bool prepares(const FastWeights<S> &f) { return f.room_elements() > 0; }

  void run() {
    const int64_t length = f.length(bh), state = keys * stride;
    load_state(before, stride, FastWeights<S>::row(f.initial, bh, keys * columns), keys, columns);
    for (int64_t t = 0; t < length; t += segment) {
      const int64_t n = std::min(segment, length - t);
      std::memcpy(kept + t / segment * state, before, state * sizeof(T));
      take_tokens(t, n);
      advance(n, 0, t);
    }
    load_state(slope, stride, FastWeights<S>::row(f.dlast, bh, keys * columns), keys, columns);
    clear_after(f, bh, length);
    for (int64_t t = (length - 1) / segment * segment; t >= 0 && length > 0; t -= segment) {
      const int64_t n = std::min(segment, length - t);
      take_tokens(t, n);
      std::memcpy(before, kept + t / segment * state, state * sizeof(T));
      advance(n, state, t);
      for (int64_t i = 0; i < n; ++i) output_slopes(t + i, dy + i * stride);
      for (int64_t i = n - 1; i >= 0; --i) {
        step_back(t + i, tokens[i], before + i * state, held + i * stride, written + i * stride,
                  dy + i * stride);
        if (tokens[i].reset) std::memset(slope, 0, state * sizeof(T));
      }
    }
    if (f.dinitial == nullptr) return;
    for (int64_t j = 0; j < keys; ++j) {
      std::memcpy(f.dinitial + (bh * keys + j) * columns, slope + j * stride, columns * sizeof(T));
    }
  }

 private:
  static constexpr int kBlock = 4;  // vectors of columns that a chain over the keys takes along

  void take_tokens(int64_t t, int64_t n) {
    for (int64_t i = 0; i < n; i += kTokens) {
      f.tokens(tokens + i, bh, t + i, std::min(kTokens, n - i),
               features + (prepares(f) ? 2 * i * keys : 0));
    }
  }
  const T *decay_of(const Token<S> &token) const {
    return f.decay == nullptr ? one : token.decay;  // a factor of 1 changes nothing
  }
  int64_t decay_step() const { return f.decay == nullptr || f.decay_size == 1 ? 0 : 1; }

  // Calls body(first column, std::integral_constant<int, vectors>) for all columns.
  template <class Body>
  PND_INLINE void each_block(Body &&body) const {
    int64_t c = 0;
    for (; c + kBlock * kWidth<T> <= columns; c += kBlock * kWidth<T>) {
      body(c, std::integral_constant<int, kBlock>{});
    }
    for (; c < columns; c += kWidth<T>) body(c, std::integral_constant<int, 1>{});
  }

  // What is read of a state before a step, by which row, from what decay leaves of it.
  struct Reader {
    const T *row, *decay;
  };
  Reader reader_of(const Token<S> &token) const {
    if (kKind == Memory::kDelta) return {token.k, decay_of(token)};
    return {token.erase, one};
  }

  // (decay S)^T row, of columns of S.
  template <int kVectors>
  PND_INLINE Pack<Vec<T>, kVectors> read(const T *state, Reader by) const {
    Pack<Vec<T>, kVectors> sum{};
    const int64_t n = keys, next_row = stride, step = by.decay == one ? 0 : decay_step();
    for (int64_t j = 0; j < n; ++j, state += next_row) {
      sum = per_vector(
          [&](Vec<T> a, Vec<T> b) {
            return fma(a * splat(by.decay[j * step]), splat(by.row[j]), b);
          },
          load_pack<kVectors>(state), sum);
    }
    return sum;
  }

  // The state after a token that writes x, and what the next one reads of it (nullable).
  template <bool kReads, bool kDecay, int kVectors>
  PND_INLINE Pack<Vec<T>, kVectors> take_step(const Token<S> &token, const T *state, T *after,
                                              const Pack<Vec<T>, kVectors> &u,
                                              const Pack<Vec<T>, kVectors> &x, Reader by) const {
    Pack<Vec<T>, kVectors> sum{};
    const Token<S> now = token;
    const T *decay = decay_of(now);
    const int64_t n = keys, next_row = stride, step = kDecay ? decay_step() : 0;
    for (int64_t j = 0; j < n; ++j, state += next_row, after += next_row) {
      auto s = load_pack<kVectors>(state);
      PND_UNROLL
      for (int i = 0; i < kVectors; ++i) {
        s.v[i] = next<kDecay>(now, j, s.v[i], decay[j * step], x.v[i], u.v[i]);
        if constexpr (kReads) {
          Vec<T> left = s.v[i];
          if constexpr (kDecay && kKind == Memory::kDelta) left *= splat(by.decay[j * step]);
          sum.v[i] = fma(left, splat(by.row[j]), sum.v[i]);
        }
      }
      store_pack(after, s);
    }
    return sum;
  }

  // The states of the n tokens, each `apart` elements behind the one before, from `before` on;
  // where they lie in one place, also the state after them, and what normalises their outputs. What
  // they write and what they read: written, held.
  void advance(int64_t n, int64_t apart, int64_t t) {
    for (int64_t i = 0; i < n; ++i) {
      T *x = written + i * stride;
      std::memset(x, 0, stride * sizeof(T));
      read_row(x, tokens[i].v, f.values);
      if (f.normalised) x[f.values] = 1;
    }
    each_block([&](int64_t c, auto vectors) {
      f.decay == nullptr ? advance_block<false, vectors()>(n, apart, t, c)
                         : advance_block<true, vectors()>(n, apart, t, c);
    });
  }
  template <bool kDecay, int kVectors>
  __attribute__((noinline)) void advance_block(int64_t n, int64_t apart, int64_t t,
                                               int64_t c) const {
    Pack<Vec<T>, kVectors> u{};
    bool known = kKind == Memory::kPlain;
    for (int64_t i = 0; i < n; ++i) {
      const Token<S> &token = tokens[i];
      T *state = before + i * apart + c, *after = state + apart;
      if (token.reset) {
        for (int64_t j = 0; j < keys; ++j) store_pack(state + j * stride, Pack<Vec<T>, kVectors>{});
        known = kKind == Memory::kPlain;
      }
      if (!known) u = read<kVectors>(state, reader_of(token));
      auto x = load_pack<kVectors>(written + i * stride + c);
      if constexpr (kKind == Memory::kDelta) {
        PND_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          u.v[v] = x.v[v] - u.v[v];
          x.v[v] = splat(token.rate) * u.v[v];
        }
        store_pack(written + i * stride + c, x);
      }
      if constexpr (kKind != Memory::kPlain) store_pack(held + i * stride + c, u);
      if (apart != 0 && i + 1 == n) return;  // the state after the last step is nobody's
      const bool reads = kKind != Memory::kPlain && i + 1 < n && !tokens[i + 1].reset;
      if (reads) {
        const Reader by = reader_of(tokens[i + 1]);
        u = take_step<kKind != Memory::kPlain, kDecay>(token, state, after, u, x, by);
        known = true;
      } else {
        take_step<false, kDecay>(token, state, after, u, x, {});
        known = kKind == Memory::kPlain;
      }
      if (f.normalised && apart == 0) {
        store_pack(normed + (t + i) * stride + c, read<kVectors>(after, {token.q, one}));
      }
    }
  }
  // A vector of row j after the step.
  template <bool kDecay = true>
  static PND_INLINE Vec<T> next(const Token<S> &token, int64_t j, Vec<T> s, T decay, Vec<T> x,
                                [[maybe_unused]] Vec<T> u) {
    if constexpr (kDecay) s *= splat(decay);
    if constexpr (kKind == Memory::kLowRank) s = fma(splat(token.write[j]), u, s);
    return fma(splat(token.k[j]), x, s);
  }

  // The adjoint of S^T q, and with it of q . z.
  void output_slopes(int64_t t, T *to) const {
    const S *dout = f.dout + f.place(bh, t) * f.values;
    T factor = static_cast<T>(f.scale);
    std::memset(to, 0, stride * sizeof(T));
    if (f.normalised) {
      const T *y = normed + t * stride, norm = y[f.values];
      if (norm == 0) return;
      factor /= norm;
      read_row(to, dout, f.values);
      to[f.values] = -(dot_of(to, y, f.values) * factor / norm);
    } else {
      read_row(to, dout, f.values);
    }
    for (int64_t c = 0; c < f.values; ++c) to[c] *= factor;
  }

  void step_back(int64_t t, const Token<S> &token, const T *state, const T *u, const T *x,
                 const T *dout) {
    const int64_t at = f.place(bh, t);
    columns_back(token, dout);
    if constexpr (kKind == Memory::kDelta) {
      f.drate[at] = dot_of(de, u, columns);
      for (int64_t c = 0; c < stride; ++c) {
        de[c] *= token.rate;
        du[c] = -de[c];
      }
    }
    write_row(f.dv + at * f.values, de, f.values);
    f.decay == nullptr ? rows_back<false>(at, token, state, u, x, dout)
                       : rows_back<true>(at, token, state, u, x, dout);
    if (f.decay != nullptr && f.decay_size == 1) f.ddecay[at] = sum_of(key_slopes, keys);
    finish_row(f, f.dq + at * keys, dq_sums, f.q, at, token.q);
    finish_row(f, f.dk + at * keys, dk_sums, f.k, at, token.k);
  }

  // G += q dy^T; de = G^T k; du = G^T write.
  void columns_back(Token<S> token, const T *dout) const {
    // To the compiler, the stores to G might change any member.
    const int64_t n = keys, next_row = stride;
    T *const first = slope;
    each_block([&](int64_t c, auto vectors) {
      const auto d = load_pack<vectors()>(dout + c);
      Pack<Vec<T>, vectors()> e{}, w{};
      T *at = first + c;
      for (int64_t j = 0; j < n; ++j, at += next_row) {
        auto g = load_pack<vectors()>(at);
        for (int i = 0; i < vectors(); ++i) {
          g.v[i] = fma(splat(token.q[j]), d.v[i], g.v[i]);
          e.v[i] = fma(g.v[i], splat(token.k[j]), e.v[i]);
          if constexpr (kKind == Memory::kLowRank) {
            w.v[i] = fma(g.v[i], splat(token.write[j]), w.v[i]);
          }
        }
        store_pack(at, g);
      }
      store_pack(de + c, e);
      if constexpr (kKind == Memory::kLowRank) store_pack(du + c, w);
    });
  }

  // The sums over the columns, and G before the step.
  template <bool kDecay>
  void rows_back(int64_t at, Token<S> token, const T *state, const T *u, const T *x,
                 const T *dout) const {
    const int64_t n = keys, next_row = stride, width = columns;
    const T *const back_row = du;
    T *const dq_row = sums_of(f.dq + at * keys, dq_sums);
    T *const dk_row = sums_of(f.dk + at * keys, dk_sums);
    T *slopes = slope;
    const T *decay = decay_of(token);
    const int64_t step = decay_step();
    T *ddecay = kDecay && f.decay_size == keys && keys > 1 ? f.ddecay + at * keys : key_slopes;
    const T *row = state;
    RowSums<T> dqs, dks, dds, das, dws;
    for (int64_t j = 0; j < n; ++j, row += next_row, slopes += next_row) {
      Lanes<T> dq, dk, dd, da, dw;
      // Of the row, in registers: to the compiler, the stores to G might change the arrays.
      const Vec<T> key = splat(token.k[j]), factor = splat(decay[j * step]);
      Vec<T> writes{}, erases{};
      if constexpr (kKind == Memory::kLowRank) {
        writes = splat(token.write[j]);
        erases = splat(token.erase[j]);
      }
      over_columns<T>(width, [&](int64_t c, int lane, auto kept) PND_INLINED {
        const auto add = [&](Lanes<T> &to, Vec<T> a, Vec<T> b)
                             PND_INLINED { to.v[lane] = fma(kept(a), kept(b), to.v[lane]); };
        const Vec<T> s = load(row + c), made = load(x + c);
        Vec<T> g = load(slopes + c);
        const Vec<T> left = kDecay ? s * factor : s;
        Vec<T> after = left, read{};
        if constexpr (kKind == Memory::kLowRank) {
          read = load(u + c);
          after = fma(writes, read, after);
        }
        add(dq, fma(key, made, after), load(dout + c));
        add(dk, g, made);
        if constexpr (kKind == Memory::kDelta) {
          const Vec<T> back = load(back_row + c);
          add(dk, left, back);
          g = fma(key, back, g);
        }
        if constexpr (kDecay) add(dd, g, s);
        if constexpr (kKind == Memory::kLowRank) add(dw, g, read);
        if constexpr (kDecay) g *= factor;
        if constexpr (kKind == Memory::kLowRank) {
          const Vec<T> back = load(back_row + c);
          add(da, s, back);
          g = fma(erases, back, g);
        }
        store(slopes + c, g);
      });
      dqs.put(dq_row, j, n, dq);
      dks.put(dk_row, j, n, dk);
      if constexpr (kDecay) dds.put(ddecay, j, n, dd);
      if constexpr (kKind == Memory::kLowRank) {
        das.put(f.derase + at * keys, j, n, da);
        dws.put(f.dwrite + at * keys, j, n, dw);
      }
    }
  }
};

template <class S, Memory kKind>
void run_back(Call &call, pnd_context *context, const FastWeights<S> &f) {
  if constexpr (kKind == Memory::kPlain) {
    if (f.decay == nullptr && !f.normalised) return run_back_plain(call, context, f);
  }
  using B = Back<S, kKind>;
  if (call.reserve(B::bytes(f)).refused()) return;
  parallel(context, f.batch * f.heads, f.is_small(),
           [&](int64_t bh, int worker) { B(f, bh, Scratch(context, worker)).run(); });
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
  check_lengths(call, sizes);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    using T = Computed<S>;
    FastWeights<S> f(sizes);
    f.dq = static_cast<S *>(dq);
    f.dk = static_cast<S *>(dk);
    f.dv = static_cast<S *>(dv);
    f.ddecay = static_cast<T *>(ddecay);
    f.drate = static_cast<T *>(drate);
    f.derase = static_cast<T *>(derase);
    f.dwrite = static_cast<T *>(dwrite);
    f.dinitial = static_cast<T *>(dinitial);
    f.dout = static_cast<const S *>(dout);
    f.dlast = static_cast<const T *>(dlast);
    switch (f.kind()) {
      case Memory::kPlain:
        return run_back<S, Memory::kPlain>(call, context, f);
      case Memory::kDelta:
        return run_back<S, Memory::kDelta>(call, context, f);
      case Memory::kLowRank:
        return run_back<S, Memory::kLowRank>(call, context, f);
    }
  });
  return call.status();
}
