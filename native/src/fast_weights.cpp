// SPDX-License-Identifier: Apache-2.0
// fast_weights: a matrix per head that every step decays, writes to and reads, and its chunked form
// (fast_weights_chunk.cpp).
// S = D S + k v^T; delta: u = (D S)^T k, S = D S + k (rate (v - u))^T;
// low rank: u = S^T erase, S = D S + write u^T + k v^T; out = scale S^T q
// Shapes   q, k, erase, write [batch, steps, heads, keys]; v, out [batch, steps, heads, values];
//          decay [batch, steps, heads, 1 or keys]; rate [batch, steps, heads]; state [batch, heads,
//          keys, values + normalised]; q, k, v, out of bf16: widened as they are read, computed in
//          floats and rounded once
// Method   columns of S never meet: a panel of them stays in L1 while all steps of its head pass.
//          One pass per step writes what the step before left pending, decays, and reads for u and
//          for out, which adds its own write afterwards. The plain kind waits for nothing: a pass
//          takes several steps and each reads the state it has made. Heads take turns, some steps
//          each: their rows lie together
// Order    a read is one chain over the keys; k . q and write . q in 32 lanes
// Parallel over groups of heads and panels
// Error    chunked against step by step: 2e-5 of the largest in f32, 1e-12 in f64, 5e-3 in bf16
// Work     per step and head 4 keys values flops, 6 with rate, 8 with erase; 1 more with decay
// Source   Katharopoulos et al., arXiv:2006.16236; Yang et al., arXiv:2412.06464
#include <new>

#include "fast_weights.h"

namespace {

constexpr int kMostVectors = 2;  // of a panel: the sums and writes of four steps fit the registers

constexpr int64_t kAhead = 4;  // steps; more of one head's rows, pages apart, push each other out

// The columns [first, first + left) of one head, which one task takes through all steps; column
// `values` is z, which leaves q . z in `norms` [steps], by which the others divide. Where a step
// waits for the write of the one before, the columns are cut into two parts that take turns.
template <class S, int kVectors, Memory kKind, bool kDecay>
struct Panel {
  using T = Computed<S>;
  using Columns = Pack<Vec<T>, kVectors>;
  static constexpr int64_t kCols = kVectors * kWidth<T>;
  static constexpr int kParts = kKind == Memory::kPlain ? 1 : 2;
  static constexpr int kSteps = kKind == Memory::kPlain ? 4 : 1;  // of a pass

  // What a token writes; `k` is null where there is none. A loop over the state keeps a copy of it
  // and of the sizes: to the compiler, the state's stores might change any member.
  struct Write {
    const T *k, *write;
    Columns v, u;

    // Row j of the state with it.
    PND_INLINE Columns onto(const Columns &x, int64_t j) const {
      return per_vector(
          [&](Vec<T> s, Vec<T> a, Vec<T> b) {
            if constexpr (kKind == Memory::kLowRank) s = fma(splat(write[j]), b, s);
            return fma(splat(k[j]), a, s);
          },
          x, v, u);
    }
  };

  const FastWeights<S> &f;
  int64_t bh, first, left, parts, decay_step, start;
  T *norms, *room, *state[kParts];
  Write pending[kParts];
  Token<S> tokens[2][kTokens];

  Panel(const FastWeights<S> &call, int64_t head, int64_t column, T *norms_of_head,
        Scratch &scratch)
      : f(call), bh(head), first(column), norms(norms_of_head), pending{} {
    left = is_norm() ? 1 : std::min(kParts * kCols, f.values - first);
    parts = (left + kCols - 1) / kCols;
    decay_step = f.decay_size == 1 ? 0 : 1;
    start = f.place(bh, 0);
    for (T *&part : state) part = scratch.take<T>(f.keys * kCols);
    room = scratch.take<T>(2 * f.room_elements());
  }
  static int64_t bytes(const FastWeights<S> &f) {
    return kParts * Scratch::bytes<T>(f.keys * kCols) + Scratch::bytes<T>(2 * f.room_elements());
  }
  int64_t place(int64_t t) const { return start + t * f.heads; }
  bool is_norm() const { return first == f.values; }

  // The place of a part's row j in an array of states, and how many of its columns exist.
  int64_t row(int64_t part, int64_t j) const {
    return (bh * f.keys + j) * f.columns() + first + part * kCols;
  }
  int64_t left_of(int64_t part) const { return left - part * kCols; }

  void begin() {
    const T *initial = static_cast<const T *>(f.initial);
    for (int64_t p = 0; p < parts; ++p) {
      for (int64_t j = 0; j < f.keys; ++j) {
        store_pack(state[p] + j * kCols,
                   initial == nullptr ? Columns{}
                                      : load_columns<kVectors>(initial + row(p, j), left_of(p)));
      }
    }
  }

  // Steps [from, to), from a multiple of kTokens.
  void run(int64_t from, int64_t to) {
    const int64_t length = std::min(to, f.length(bh));
    for (int64_t t = from; t < length; t += kTokens) {
      // A pending write needs the keys of the block before.
      const int64_t half = t / kTokens % 2, n = std::min(kTokens, length - t);
      Token<S> *block = tokens[half];
      f.tokens(block, bh, t, n, room + half * f.room_elements());
      run_block(block, n, t);
    }
  }

  void end() {
    for (int64_t p = 0; p < parts; ++p) {
      for (int64_t t = f.length(bh); t < f.steps && !is_norm(); ++t) put(p, t, Columns{});
      for (int64_t j = 0; j < f.keys; ++j) {
        Columns x = load_pack<kVectors>(state[p] + j * kCols);
        if (pending[p].k != nullptr) x = pending[p].onto(x, j);
        store_columns(f.last + row(p, j), x, left_of(p));
      }
    }
  }

 private:
  __attribute__((noinline)) void run_block(const Token<S> *token, int64_t n, int64_t t) {
    for (int64_t i = 0; i < n;) {
      const int count = runs_on(token + i, n - i) ? kSteps : 1;
      for (int c = 0; c < count; ++c) fetch(t + i + c + kAhead);
      for (int64_t p = 0; p < parts; ++p) {
        if (token[i].reset) {
          std::memset(state[p], 0, f.keys * kCols * sizeof(T));
          pending[p].k = nullptr;
        }
        if constexpr (kKind == Memory::kPlain) {
          count == 1 ? plain_pass<1>(token + i, t + i) : plain_pass<kSteps>(token + i, t + i);
        } else if (pending[p].k == nullptr) {
          pass<false>(p, token[i], t + i);
        } else {
          pass<true>(p, token[i], t + i);
        }
      }
      i += count;
    }
  }
  // Asks for the rows of step t: those of one head lie apart, and no processor foresees them.
  void fetch(int64_t t) const {
    if (t >= f.steps) return;
    const int64_t at = place(t);
    fetch_row(FastWeights<S>::template row<S>(f.q, at, f.keys), f.keys);
    fetch_row(FastWeights<S>::template row<S>(f.k, at, f.keys), f.keys);
    fetch_row(FastWeights<S>::row(f.erase, at, f.keys), f.keys);
    fetch_row(FastWeights<S>::row(f.write, at, f.keys), f.keys);
    for (int64_t c = first; c < first + left && !is_norm(); c += kLine<S>) {
      __builtin_prefetch(FastWeights<S>::template row<S>(f.v, at, f.values) + c);
      __builtin_prefetch(f.out + at * f.values + c, 1);
    }
  }
  template <class E>
  static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(E));
  template <class E>
  static void fetch_row(const E *row, int64_t n) {
    for (int64_t j = 0; row != nullptr && j < n; j += kLine<E>) __builtin_prefetch(row + j);
  }
  static bool runs_on(const Token<S> *token, int64_t n) {
    if (n < kSteps) return false;
    for (int i = 1; i < kSteps; ++i) {
      if (token[i].reset) return false;
    }
    return true;
  }
  Columns values_of(int64_t part, const Token<S> &token) const {
    if (!is_norm()) {
      return load_columns<kVectors>(token.v + first + part * kCols, left_of(part));
    }
    Columns ones{};
    ones.v[0] = splat<T>(1);
    return ones;
  }
  void put(int64_t part, int64_t t, const Columns &y) const {
    store_columns(f.out + place(t) * f.values + first + part * kCols, y, left_of(part));
  }
  // The read of step t as it belongs into out.
  void finish(int64_t part, int64_t t, Columns y) const {
    if (is_norm()) {
      norms[t] = y.v[0][0];
      return;
    }
    PND_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      if (f.normalised) y.v[c] = norms[t] == 0 ? Vec<T>{} : y.v[c] / splat(norms[t]);
      y.v[c] *= splat(static_cast<T>(f.scale));
    }
    put(part, t, y);
  }

  // kCount steps from t on: each row of the state takes all their writes, and is read after each.
  template <int kCount>
  PND_INLINE void plain_pass(const Token<S> *token, int64_t t) {
    Columns v[kCount], y[kCount];
    const T *q[kCount], *k[kCount], *decay[kCount];
    PND_UNROLL
    for (int i = 0; i < kCount; ++i) {
      v[i] = values_of(0, token[i]);
      y[i] = Columns{};
      q[i] = token[i].q, k[i] = token[i].k, decay[i] = token[i].decay;
    }
    const int64_t keys = f.keys, step = decay_step;
    T *row = state[0];
#pragma GCC unroll 4
    for (int64_t j = 0; j < keys; ++j, row += kCols) {
      Columns x = load_pack<kVectors>(row);
      PND_UNROLL
      for (int i = 0; i < kCount; ++i) {
        const Vec<T> key = splat(k[i][j]), query = splat(q[i][j]);
        PND_UNROLL
        for (int c = 0; c < kVectors; ++c) {
          if constexpr (kDecay) x.v[c] *= splat(decay[i][j * step]);
          x.v[c] = fma(key, v[i].v[c], x.v[c]);
          y[i].v[c] = fma(x.v[c], query, y[i].v[c]);
        }
      }
      store_pack(row, x);
    }
    for (int i = 0; i < kCount; ++i) finish(0, t + i, y[i]);
  }

  // Step t: the write before it, the decay, the reads for u and out; its own write is now pending.
  template <bool kPending>
  PND_INLINE void pass(int64_t part, const Token<S> &token, int64_t t) {
    Columns u{}, y{};
    const Write before = pending[part];
    const T *reader = kKind == Memory::kDelta ? token.k : token.erase, *q = token.q;
    const T *decay = token.decay;
    const int64_t keys = f.keys, step = decay_step;
    T *row = state[part];
#pragma GCC unroll 4
    for (int64_t j = 0; j < keys; ++j, row += kCols) {
      Columns x = load_pack<kVectors>(row);
      if constexpr (kPending) x = before.onto(x, j);
      const Vec<T> key = splat(reader[j]), query = splat(q[j]);
      PND_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        if constexpr (kKind == Memory::kLowRank) u.v[c] = fma(x.v[c], key, u.v[c]);
        if constexpr (kDecay) x.v[c] *= splat(decay[j * step]);
        if constexpr (kKind == Memory::kDelta) u.v[c] = fma(x.v[c], key, u.v[c]);
        y.v[c] = fma(x.v[c], query, y.v[c]);
      }
      store_pack(row, x);
    }
    Columns v = values_of(part, token);
    PND_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      if constexpr (kKind == Memory::kDelta) v.v[c] = splat(token.rate) * (v.v[c] - u.v[c]);
      if constexpr (kKind == Memory::kLowRank) y.v[c] = fma(splat(token.wq), u.v[c], y.v[c]);
      y.v[c] = fma(splat(token.kq), v.v[c], y.v[c]);
    }
    pending[part] = {token.k, token.write, v, u};
    finish(part, t, y);
  }
};

// Steps that a head takes before the next one's turn.
constexpr int64_t kRun = 2 * kTokens;

// Calls f(memory, decays) with the call's kind and whether it decays, as constants.
template <class S, class F>
void with_kind(const FastWeights<S> &f, F &&body) {
  const auto with_decay = [&](auto kind) {
    f.decay == nullptr ? body(kind, std::false_type{}) : body(kind, std::true_type{});
  };
  switch (f.kind()) {
    case Memory::kPlain:
      return with_decay(std::integral_constant<Memory, Memory::kPlain>{});
    case Memory::kDelta:
      return with_decay(std::integral_constant<Memory, Memory::kDelta>{});
    case Memory::kLowRank:
      return with_decay(std::integral_constant<Memory, Memory::kLowRank>{});
  }
}

// How many heads take turns: as many as stay in half of a usual L2, and leave a task per thread.
template <class S>
int64_t heads_together(const FastWeights<S> &f, int64_t bytes, int64_t panels, int64_t threads) {
  constexpr int64_t kUsual = 1 << 19;
  const int64_t tasks = f.batch * f.heads * panels;
  return std::clamp<int64_t>(std::min(kUsual / bytes, tasks / (2 * threads)), 1, f.heads);
}

template <class S>
void run_steps(Call &call, pnd_context *context, const FastWeights<S> &f) {
  using T = Computed<S>;
  const int64_t bhs = f.batch * f.heads;
  with_kind(f, [&](auto kind, auto decays) {
    using Widest = Panel<S, kMostVectors, kind(), decays()>;
    using Narrowest = Panel<S, 1, kind(), decays()>;
    constexpr int64_t most = Widest::kParts * Widest::kCols;
    const int64_t panels = (f.values + most - 1) / most;
    const int64_t group = heads_together(f, Widest::bytes(f), panels, context->threads);
    const int64_t groups = (f.heads + group - 1) / group, norms = f.normalised ? f.steps : 0;
    call.reserve(group * (Widest::bytes(f) + Scratch::bytes<Widest>(1)),
                 Scratch::bytes<T>(bhs * norms));
    if (call.refused()) return;
    T *norm = Scratch(context, kShared).take<T>(bhs * norms);
    // The heads of a group, a run of steps of each in turn: they lie together in the arrays.
    const auto run_group = [&]<class P>(std::type_identity<P>, int64_t b, int64_t first_head,
                                        int64_t first, int worker) {
      Scratch scratch(context, worker);
      P *panel = scratch.take<P>(group);
      const int64_t n = std::min(group, f.heads - first_head);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t bh = b * f.heads + first_head + i;
        new (panel + i) P(f, bh, first, norm + bh * norms, scratch);
        panel[i].begin();
      }
      for (int64_t t = 0; t < f.steps; t += kRun) {
        for (int64_t i = 0; i < n; ++i) panel[i].run(t, std::min(t + kRun, f.steps));
      }
      for (int64_t i = 0; i < n; ++i) panel[i].end();
    };
    if (f.normalised) {
      parallel(context, f.batch * groups, f.is_small(), [&](int64_t task, int worker) {
        run_group(std::type_identity<Narrowest>{}, task / groups, task % groups * group, f.values,
                  worker);
      });
    }
    parallel(context, f.batch * groups * panels, f.is_small(), [&](int64_t task, int worker) {
      const int64_t b = task / groups / panels, first_head = task / panels % groups * group;
      const int64_t first = task % panels * most;
      if (f.values - first > kWidth<T>) {
        run_group(std::type_identity<Widest>{}, b, first_head, first, worker);
      } else {
        run_group(std::type_identity<Narrowest>{}, b, first_head, first, worker);
      }
    });
  });
}

}  // namespace

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
  check_lengths(call, sizes);
  if (call.refused()) return call.status();
  by_stored_type(dtype, [&](auto type) {
    using S = decltype(type);
    FastWeights<S> f(sizes);
    f.out = static_cast<S *>(out);
    f.last = static_cast<Computed<S> *>(last);
    f.chunk = chunk;
    chunk == 0 ? run_steps(call, context, f) : run_chunked(call, context, f);
  });
  return call.status();
}
