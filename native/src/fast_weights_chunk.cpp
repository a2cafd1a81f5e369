// SPDX-License-Identifier: Apache-2.0
// fast_weights_chunk: the fast-weight memory of fast_weights.cpp, so many steps at a time.
// With P(i,t) the product of the decays of the steps i+1 .. t, w and x a write's key and values:
//   S_t = P(0,t) S_0 + sum over writes i <= t of (P(i,t) w_i) x_i^T,
// so that with r_t what u reads with (delta: D_t k_t; low rank: erase_t)
//   u_t = (P(0,t-1) r_t)^T S_0 + sum over i < t of A[t,i] x_i,  A[t,i] = (P(i,t-1) r_t) . w_i,
//   out_t = (P(0,t) q_t)^T S_0 + sum over i <= t of B[t,i] x_i, B[t,i] = (P(i,t) q_t) . w_i
// Method   A and B first: P(i,t) w_i is multiplied onwards from step to step, nothing is divided,
//          so no product of decays has to stay above 0. Then three products with S, and the
//          triangular system for x row by row. A chunk ends early before a reset
// Order    products and rows are chains; A and B in 32 lanes
// Parallel over heads
// Work     per step and head 6 keys values + 3 chunk (keys + values) flops with rate
// Source   Yang et al., arXiv:2406.06484, section 3.2; with decays arXiv:2412.06464, section 3.3
#include "fast_weights.h"

namespace {

// y += sum of c[i] x[i, :] over i < n.
template <class T>
void add_rows_of(T *y, const T *c, const T *x, int64_t stride, int64_t n) {
  constexpr int kVectors = 4;
  int64_t at = 0;
  for (; at + kVectors * kWidth<T> <= stride; at += kVectors * kWidth<T>) {
    auto sum = load_pack<kVectors>(y + at);
    for (int64_t i = 0; i < n; ++i) {
      const auto row = load_pack<kVectors>(x + i * stride + at);
      sum = per_vector([&](Vec<T> a, Vec<T> b) { return fma(splat(c[i]), a, b); }, row, sum);
    }
    store_pack(y + at, sum);
  }
  for (; at < stride; at += kWidth<T>) {
    Vec<T> sum = load(y + at);
    for (int64_t i = 0; i < n; ++i) sum = fma(splat(c[i]), load(x + i * stride + at), sum);
    store(y + at, sum);
  }
}

// One head. The low-rank kind makes two writes a step, of u and of v.
template <class S>
struct Chunks {
  using T = Computed<S>;
  const FastWeights<S> &f;
  int64_t bh, most, keys, stride;
  Memory kind;
  Token<S> *tokens;        // [most]
  T *state;                // [keys, stride]
  T *reads, *queries;      // [most, keys]: P(0,t-1) r_t and P(0,t) q_t
  T *ends_k, *ends_write;  // [most, keys]: P(i,end) w_i
  T *of_k, *of_write;      // [most, most]: A, of the writes of v and of u
  T *out_k, *out_write;    // [most, most]: B
  T *u, *x, *y;            // [most, stride]: what S holds, what is written, what is read
  T *through, *moved;      // [keys]: P(0,t); a write on its way
  T *features, *room;      // [2, most, keys]; of products

  Chunks(const FastWeights<S> &call, int64_t head, Scratch scratch)
      : f(call),
        bh(head),
        most(std::min(call.chunk, call.steps)),
        keys(call.keys),
        stride(call.stride()),
        kind(call.kind()) {
    tokens = scratch.take<Token<S>>(most);
    state = scratch.take<T>(keys * stride);
    for (T **rows : {&reads, &queries, &ends_k, &ends_write}) *rows = scratch.take<T>(most * keys);
    for (T **square : {&of_k, &of_write, &out_k, &out_write}) {
      *square = scratch.take<T>(most * most);
    }
    for (T **rows : {&u, &x, &y}) *rows = scratch.take<T>(most * stride);
    for (T **row : {&through, &moved}) *row = scratch.take<T>(keys);
    features = scratch.take<T>(2 * most * keys);
    room = scratch.take<T>(kProductScratch<T>);
  }
  static int64_t bytes(const FastWeights<S> &f) {
    const auto of = [](int64_t count) { return Scratch::bytes<T>(count); };
    const int64_t most = std::min(f.chunk, f.steps);
    return Scratch::bytes<Token<S>>(most) + of(f.keys * f.stride()) + 4 * of(most * f.keys) +
           4 * of(most * most) + 3 * of(most * f.stride()) + 2 * of(f.keys) +
           of(2 * most * f.keys) + of(kProductScratch<T>);
  }

  void run() {
    const int64_t length = f.length(bh);
    load_state(state, stride, FastWeights<S>::row(f.initial, bh, keys * f.columns()), keys,
               f.columns());
    for (int64_t t = 0; t < length; t += most) {
      const int64_t n = std::min(most, length - t);
      for (int64_t i = 0; i < n; i += kTokens) {
        f.tokens(tokens + i, bh, t + i, std::min(kTokens, n - i), features + 2 * i * keys);
      }
      for (int64_t first = 0, end; first < n; first = end) {
        if (tokens[first].reset) std::memset(state, 0, keys * stride * sizeof(T));
        for (end = first + 1; end < n && !tokens[end].reset;) ++end;
        run_chunk(tokens + first, end - first, t + first);
      }
    }
    for (int64_t t = length; t < f.steps; ++t) {
      std::memset(static_cast<void *>(f.out + f.place(bh, t) * f.values), 0, f.values * sizeof(S));
    }
    T *last = f.last + bh * keys * f.columns();
    for (int64_t j = 0; j < keys; ++j) {
      std::memcpy(last + j * f.columns(), state + j * stride, f.columns() * sizeof(T));
    }
  }

 private:
  void decayed(T *row, const Token<S> &token) const {
    if (f.decay == nullptr) return;
    for (int64_t j = 0; j < keys; ++j) row[j] *= token.decay[f.decay_size == 1 ? 0 : j];
  }
  void times(T *to, const T *a, const T *b) const {
    for (int64_t j = 0; j < keys; ++j) to[j] = a[j] * b[j];
  }

  // The columns of A and B that belong to the write w of step i, and what is left of w at the end.
  void follow(const Token<S> *token, int64_t i, int64_t n, const T *w, T *of, T *out, T *ends) {
    std::memcpy(moved, w, keys * sizeof(T));
    for (int64_t t = i; t < n; ++t) {
      if (t > i) {
        if (kind == Memory::kLowRank) of[t * most + i] = dot_of(token[t].erase, moved, keys);
        decayed(moved, token[t]);
        if (kind == Memory::kDelta) of[t * most + i] = dot_of(token[t].k, moved, keys);
      }
      out[t * most + i] = dot_of(token[t].q, moved, keys);
    }
    std::memcpy(ends + i * keys, moved, keys * sizeof(T));
  }

  void run_chunk(const Token<S> *token, int64_t n, int64_t first) {
    const bool low_rank = kind == Memory::kLowRank, reads_first = kind != Memory::kPlain;
    std::fill_n(through, keys, T(1));
    for (int64_t t = 0; t < n; ++t) {
      if (low_rank) times(reads + t * keys, through, token[t].erase);
      decayed(through, token[t]);
      if (kind == Memory::kDelta) times(reads + t * keys, through, token[t].k);
      times(queries + t * keys, through, token[t].q);
      follow(token, t, n, token[t].k, of_k, out_k, ends_k);
      if (low_rank) follow(token, t, n, token[t].write, of_write, out_write, ends_write);
      read_row(x + t * stride, token[t].v, f.values);
      if (f.normalised) x[t * stride + f.values] = 1;
    }
    const Matrix<T> s{state, stride, false};
    if (reads_first) {
      product(u, stride, Matrix<T>{reads, keys, false}, s, n, f.columns(), keys, false, room);
    }
    product(y, stride, Matrix<T>{queries, keys, false}, s, n, f.columns(), keys, false, room);
    for (int64_t t = 0; t < n; ++t) {
      T *held = u + t * stride, *made = x + t * stride, *read = y + t * stride;
      if (reads_first) add_rows_of(held, of_k + t * most, x, stride, t);
      if (low_rank) add_rows_of(held, of_write + t * most, u, stride, t);
      if (kind == Memory::kDelta) {
        for (int64_t c = 0; c < f.values; ++c) made[c] = token[t].rate * (made[c] - held[c]);
      }
      add_rows_of(read, out_k + t * most, x, stride, t + 1);
      if (low_rank) add_rows_of(read, out_write + t * most, u, stride, t + 1);
      finish(read, f.out + f.place(bh, first + t) * f.values);
    }
    if (f.decay != nullptr) {
      for (int64_t j = 0; j < keys; ++j) {
        for (int64_t c = 0; c < stride; ++c) state[j * stride + c] *= through[j];
      }
    }
    const auto write = [&](const T *ends, const T *rows) {
      product(state, stride, Matrix<T>{ends, keys, true}, Matrix<T>{rows, stride, false}, keys,
              f.columns(), n, true, room);
    };
    write(ends_k, x);
    if (low_rank) write(ends_write, u);
  }

  // Makes of a read what belongs into out.
  void finish(T *read, S *out) const {
    const T scale = static_cast<T>(f.scale);
    for (int64_t c = 0; c < f.values; ++c) {
      T y = read[c];
      if (f.normalised) y = read[f.values] == 0 ? T(0) : y / read[f.values];
      read[c] = y * scale;
    }
    write_row(out, read, f.values);
  }
};

}  // namespace

template <class S>
void run_chunked(Call &call, pnd_context *context, const FastWeights<S> &f) {
  if (call.reserve(Chunks<S>::bytes(f)).refused()) return;
  parallel(context, f.batch * f.heads, f.is_small(),
           [&](int64_t bh, int worker) { Chunks<S>(f, bh, Scratch(context, worker)).run(); });
}
template void run_chunked(Call &, pnd_context *, const FastWeights<float> &);
template void run_chunked(Call &, pnd_context *, const FastWeights<double> &);
template void run_chunked(Call &, pnd_context *, const FastWeights<Bf16> &);
