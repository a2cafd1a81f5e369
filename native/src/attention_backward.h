// SPDX-License-Identifier: Apache-2.0
// attention_backward.h: what a task of attention's gradients works on: the call's arrays, the turns
// that tasks take, copies of a group's queries, and a thread's room.
#pragma once

#include "attention.h"
#include "turns.h"

constexpr int64_t kKeyBlock = 128;
// Between rows of scores; and of their slopes as rows of units.
template <class T>
constexpr int64_t kScoreStride = kKeyBlock + 64 / static_cast<int64_t>(sizeof(T));
template <class U>
constexpr int64_t kSlopeStride = kKeyBlock / kPerUnit<U> + 64 / static_cast<int64_t>(sizeof(U));

template <class S>
struct Arrays {
  using T = SumOf<UnitOf<S>>;
  S *dq, *dk, *dv;
  T *dmask;
  const S *dout, *out;
  const T *lse;
};

// The turns of dq and dmask, shared by all tasks. A piece of dq is a block of queries of a head,
// one of dmask a pair of blocks of a matrix; packed sequences have pieces of their own, numbered
// with gaps.
template <class S>
struct Shared {
  int64_t query_blocks, key_blocks;  // of the longest sequence
  int64_t all_queries, all_keys;     // blocks of all sequences; of those that a mask tells apart
  Turns dq_turns, mask_turns;

  static int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
  static int64_t query_pieces(const AttentionSizes<S> &sizes) {
    const int64_t each = blocks(sizes.q_steps, kQueryBlock);
    return sizes.q_starts == nullptr ? sizes.batch * each : each + sizes.segments;
  }
  static int64_t key_pieces(const AttentionSizes<S> &sizes) {
    return blocks(sizes.k_steps, kKeyBlock) + sizes.segments;
  }
  static int64_t dq_pieces(const AttentionSizes<S> &sizes) {
    return sizes.heads * query_pieces(sizes);
  }
  static int64_t mask_pieces(const AttentionSizes<S> &sizes) {
    return sizes.mask_batch * sizes.mask_heads * key_pieces(sizes) *
           blocks(sizes.q_steps, kQueryBlock);
  }
  static int64_t bytes(const AttentionSizes<S> &sizes) {
    return Scratch::bytes<int32_t>(dq_pieces(sizes)) + Scratch::bytes<int32_t>(mask_pieces(sizes));
  }
  Shared(const AttentionSizes<S> &sizes, Scratch &scratch)
      : query_blocks(blocks(sizes.q_steps, kQueryBlock)),
        key_blocks(blocks(sizes.k_steps, kKeyBlock)),
        all_queries(query_pieces(sizes)),
        all_keys(key_pieces(sizes)),
        dq_turns(scratch.take<int32_t>(dq_pieces(sizes)), dq_pieces(sizes)),
        mask_turns(scratch.take<int32_t>(mask_pieces(sizes)), mask_pieces(sizes)) {}
};

// dout . out of a row
template <class S>
PND_INLINE auto delta_of(const S *dout, const S *out, int64_t n) {
  if constexpr (std::is_same_v<S, Bf16>) {
    return lane_sum<float>(
        n,
        [&](int64_t i, Vec<float> lane) {
          return fma(load_widened(dout + i), load_widened(out + i), lane);
        },
        [&](int64_t i, float lane) { return fma(widened(dout[i]), widened(out[i]), lane); });
  } else {
    return dot_of(dout, out, n);
  }
}

// The queries of the heads that share their keys, their dout, where their dq is summed, their lse
// (infinity for a query that sees nothing) and delta. A head begins with a whole unit.
template <class S>
struct Copies {
  using U = UnitOf<S>;
  using T = SumOf<U>;
  static_assert(sizeof(U) == sizeof(T));
  static constexpr bool kPairs = kPerUnit<U> == 2;

  int64_t each;  // rows of a head
  // As left operands; and as right ones, units of queries as rows.
  Copied<U> queries, dout, queries_by_unit, dout_by_unit;
  Copied<T> dq;
  T *lse, *delta;

  static int64_t rows_of_head(int64_t queries) { return units_of<U>(queries) * kPerUnit<U>; }
  static int64_t rows(const AttentionSizes<S> &sizes) {
    return sizes.group() * rows_of_head(sizes.q_steps);
  }
  // In elements of T, whole lines.
  static int64_t size(const AttentionSizes<S> &sizes) {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    const int64_t left = Copied<U>::stride_of(sizes.head_units());
    const int64_t right = Copied<U>::stride_of(sizes.head_size);
    const int64_t row = 2 * left + (kPairs ? right : 0) + right + 2;
    return (rows(sizes) * row + kLine - 1) / kLine * kLine;
  }
  Copies(T *to, const AttentionSizes<S> &sizes)
      : each(rows_of_head(sizes.q_steps)),
        queries(reinterpret_cast<U *>(to), sizes.head_units()),
        dout(queries.at(rows(sizes)), sizes.head_units()),
        queries_by_unit(kPairs ? dout.at(rows(sizes)) : queries.data, sizes.head_size),
        dout_by_unit(kPairs ? queries_by_unit.at(rows(sizes) / 2) : dout.data, sizes.head_size),
        dq(reinterpret_cast<T *>(dout_by_unit.at(rows(sizes) / kPerUnit<U>)), sizes.head_size),
        lse(dq.at(rows(sizes))),
        delta(lse + rows(sizes)) {}

  // Calls f(first row here, the row's first element in [batch, q_steps, heads, head_size]) for
  // each head.
  template <class F>
  void each_head(const AttentionSizes<S> &sizes, const Sequence &sequence, int64_t kv_head,
                 F &&f) const {
    const int64_t row = sequence.batch * sizes.q_steps + sequence.first_q;
    for (int64_t i = 0; i < sizes.group(); ++i) {
      const int64_t head = kv_head * sizes.group() + i;
      f(i * each, row * sizes.q_stride() + head * sizes.head_size);
    }
  }
  void fill(const AttentionSizes<S> &sizes, const Arrays<S> &arrays, const Sequence &sequence,
            int64_t kv_head) const {
    const int64_t stride = sizes.q_stride(), n = sequence.queries;
    each_head(sizes, sequence, kv_head, [&](int64_t row, int64_t at) {
      const S *q = static_cast<const S *>(sizes.q) + at, *slopes = arrays.dout + at;
      queries.fill(row, q, stride, n, sizes.head_size);
      dout.fill(row, slopes, stride, n, sizes.head_size);
      if constexpr (kPairs) {
        fill_units(queries_by_unit, row, q, stride, sequence, sizes.head_size);
        fill_units(dout_by_unit, row, slopes, stride, sequence, sizes.head_size);
      }
      std::memset(dq.at(row), 0, n * dq.stride * sizeof(T));
      const int64_t head = kv_head * sizes.group() + row / each;
      const T *of_head = arrays.lse + (sequence.batch * sizes.heads + head) * sizes.q_steps;
      for (int64_t i = 0; i < n; ++i) {
        const T x = of_head[sequence.first_q + i];
        lse[row + i] = x == kNothing<T> ? -kNothing<T> : x;
        delta[row + i] =
            delta_of(slopes + i * stride, arrays.out + at + i * stride, sizes.head_size);
      }
    });
  }
  // Queries that see nothing may hold anything and count as zeros.
  static void fill_units(const Copied<U> &to, int64_t row, const S *from, int64_t stride,
                         const Sequence &sequence, int64_t n) {
    static constexpr S kZeros[guard::kMostHeadSize] = {};
    const auto at = [&](int64_t i) {
      const bool sees = i < sequence.queries && sequence.first(i) < sequence.count(i);
      return sees ? from + i * stride : kZeros;
    };
    for (int64_t i = 0; i < sequence.queries; i += 2) {
      pack_across(to.at((row + i) / 2), at(i), at(i + 1), n);
    }
  }
  void write(S *to, const AttentionSizes<S> &sizes, const Sequence &sequence,
             int64_t kv_head) const {
    each_head(sizes, sequence, kv_head, [&](int64_t row, int64_t at) {
      for (int64_t i = 0; i < sequence.queries; ++i) {
        store_scaled(to + at + i * sizes.q_stride(), dq.at(row + i), sizes.scaled_by(),
                     sizes.head_size);
      }
    });
  }
};

// What a thread needs: p, ds and the gates' gradient of a pair of blocks, the packed block of keys
// and values, and its dk and dv. In pairs: p of a panel, ds too where dmask does not need it, and
// what both are rounded to, by units of queries and, ds, by units of keys.
template <class S>
struct Room {
  using U = UnitOf<S>;
  using T = SumOf<U>;
  T *p, *ds, *dgate;
  U *p_by_unit, *ds_by_unit, *ds_rows;
  U *keys, *keys_by_row, *values;
  T *dk, *dv, *mask_sum;

  static constexpr bool kPairs = kPerUnit<U> == 2;
  static constexpr int64_t kRows = kQueryBlock * kScoreStride<T>;
  static constexpr int64_t kUnits = kPairs ? kRows / 2 : 0;
  static constexpr int64_t kSlopes = kPairs ? kQueryBlock * kSlopeStride<U> : 0;
  static constexpr int64_t kPacked = kKeyBlock * guard::kMostHeadSize;
  static constexpr int64_t kSums = kKeyBlock * kRowStride<T>;
  explicit Room(Scratch &scratch)
      : p(scratch.take<T>(kRows)),
        ds(scratch.take<T>(kRows)),
        dgate(scratch.take<T>(kRows)),
        p_by_unit(scratch.take<U>(kUnits)),
        ds_by_unit(scratch.take<U>(kUnits)),
        ds_rows(scratch.take<U>(kSlopes)),
        keys(scratch.take<U>(kPacked)),
        keys_by_row(scratch.take<U>(kPacked)),
        values(scratch.take<U>(kPacked)),
        dk(scratch.take<T>(kSums)),
        dv(scratch.take<T>(kSums)),
        mask_sum(scratch.take<T>(kKeyBlock)) {
    if constexpr (!kPairs) {
      p_by_unit = p;
      ds_by_unit = ds_rows = ds;
    }
  }
  static constexpr int64_t bytes() {
    return 3 * Scratch::bytes<T>(kRows) + 2 * Scratch::bytes<U>(kUnits) +
           Scratch::bytes<U>(kSlopes) + 3 * Scratch::bytes<U>(kPacked) +
           2 * Scratch::bytes<T>(kSums) + Scratch::bytes<T>(kKeyBlock);
  }
};
