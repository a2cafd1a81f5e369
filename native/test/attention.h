// SPDX-License-Identifier: Apache-2.0
// attention.h: the sizes of a call of attention and its formula, for the tests of every type.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <random>
#include <vector>

struct AttentionShape {
  int64_t batch, heads, q_steps, k_steps, head_size;
  int mask = -1;  // 1: full batch axis, 2: full head axis, 4: full query axis; -1: none
  bool lengths = false;
  int causal = 0;
  int64_t shift = 0;  // of every array, in elements
  int64_t group = 1;  // heads that share their keys
  int64_t window = 0;
  bool gated = false, packed = false;

  int64_t kv_heads() const { return heads / group; }
  int64_t mask_batch() const { return mask >= 0 && (mask & 1) ? batch : 1; }
  int64_t mask_heads() const { return mask >= 0 && (mask & 2) ? heads : 1; }
  int64_t mask_steps() const { return mask >= 0 && (mask & 4) ? q_steps : 1; }
  int64_t query_size() const { return batch * q_steps * heads * head_size; }
  int64_t key_size() const { return batch * k_steps * kv_heads() * head_size; }
  int64_t rows() const { return batch * heads * q_steps; }
  int64_t mask_size() const { return mask_batch() * mask_heads() * mask_steps() * k_steps; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(head_size)); }
  int64_t query(int64_t b, int64_t i, int64_t h) const {
    return ((b * q_steps + i) * heads + h) * head_size;
  }
  // Of the keys that query head h reads.
  int64_t key(int64_t b, int64_t j, int64_t h) const {
    return ((b * k_steps + j) * kv_heads() + h / group) * head_size;
  }
  int64_t row(int64_t b, int64_t h, int64_t i) const { return (b * heads + h) * q_steps + i; }
  int64_t mask_at(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const int64_t matrix = (mask_batch() == 1 ? 0 : b) * mask_heads() + (mask_heads() == 1 ? 0 : h);
    return (matrix * mask_steps() + (mask_steps() == 1 ? 0 : i)) * k_steps + j;
  }
};

inline std::ostream &operator<<(std::ostream &out, const AttentionShape &s) {
  return out << "batch " << s.batch << " heads " << s.heads << " by " << s.group << " steps "
             << s.q_steps << " " << s.k_steps << " head_size " << s.head_size << " mask " << s.mask
             << " gated " << s.gated << " lengths " << s.lengths << " causal " << s.causal
             << " window " << s.window << " packed " << s.packed << " shift " << s.shift;
}

// What tells which key a query sees.
struct AttentionSight {
  std::vector<int32_t> lengths, q_starts, k_starts;

  explicit AttentionSight(const AttentionShape &s) {
    // Nothing, something and all of the keys, in turn.
    for (int64_t b = 0; s.lengths && b < s.batch; ++b) {
      lengths.push_back(static_cast<int32_t>(b % 3 * s.k_steps / 2));
    }
    if (!s.packed) return;
    // The second sequence has no queries, the third no keys.
    for (int64_t part : {0, 4, 4, 9, 12}) q_starts.push_back(part * s.q_steps / 12);
    for (int64_t part : {0, 3, 6, 6, 12}) k_starts.push_back(part * s.k_steps / 12);
  }
  int64_t segments() const { return q_starts.empty() ? 0 : q_starts.size() - 1; }
  static const int32_t *or_null(const std::vector<int32_t> &x) {
    return x.empty() ? nullptr : x.data();
  }

  // The header's words.
  bool sees(const AttentionShape &s, int64_t b, int64_t i, int64_t j) const {
    int64_t queries = s.q_steps, keys = s.k_steps;
    if (s.packed) {
      int64_t n = 0;
      while (i >= q_starts[n + 1]) ++n;
      queries = q_starts[n + 1] - q_starts[n];
      keys = k_starts[n + 1] - k_starts[n];
      i -= q_starts[n];
      j -= k_starts[n];
      if (j < 0 || j >= keys) return false;
    }
    if (!lengths.empty() && j >= lengths[b]) return false;
    const int64_t t = i + (s.causal == 2 ? lengths[b] : keys) - queries;
    if (s.causal != 0 && j > t) return false;
    return s.window == 0 || (j > t - s.window && j < t + s.window);
  }
};

// Sights that leave out keys: at the end, at the start, both, by the segment, by windows.
inline std::vector<AttentionShape> shapes_with_unseen_keys() {
  std::vector<AttentionShape> all(7, {1, 2, 9, 45, 16});
  all[0] = {3, 2, 33, 45, 16, -1, true};
  all[1] = {3, 2, 33, 45, 16, -1, true, 1};
  all[2].window = 4;
  all[3].window = 4;
  all[3].causal = 1;
  all[4].window = 1;
  all[4].causal = 1;
  all[5] = {3, 2, 4, 45, 16, -1, true, 2};
  all[5].window = 5;
  all[6].packed = true;
  return all;
}

// Inputs whose keys and values that no query sees are NaN and infinite.
template <class Inputs>
Inputs with_spoilt_keys(const AttentionShape &s, Inputs in) {
  using T = typename decltype(in.k)::value_type;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t j = 0; j < s.k_steps; ++j) {
      bool seen = false;
      for (int64_t i = 0; i < s.q_steps; ++i) seen = seen || in.sight.sees(s, b, i, j);
      if (seen) continue;
      const int64_t row = s.kv_heads() * s.head_size, at = s.key(b, j, 0);
      std::fill_n(in.k.begin() + at, row, T(std::numeric_limits<float>::quiet_NaN()));
      std::fill_n(in.v.begin() + at, row, T(std::numeric_limits<float>::infinity()));
    }
  }
  return in;
}

template <class R>
struct AttentionResults {
  std::vector<R> out, lse, dq, dk, dv, dmask;
};

// The header's formulas, loop by loop, computed in R: `in` holds q, k, v, mask, dout and sight.
// What an implementation may round goes through rounded(x): p and ds before their products, out.
template <class R, class Inputs, class Rounded>
AttentionResults<R> plain_attention(const AttentionShape &s, const Inputs &in, Rounded &&rounded) {
  constexpr R kInfinity = std::numeric_limits<R>::infinity();
  AttentionResults<R> r{std::vector<R>(s.query_size()), std::vector<R>(s.rows()),
                        std::vector<R>(s.query_size()), std::vector<R>(s.key_size()),
                        std::vector<R>(s.key_size()),   std::vector<R>(s.mask_size())};
  const R scale = static_cast<R>(s.scale());
  std::vector<R> e(s.k_steps), gate(s.k_steps), dp(s.k_steps);
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.q_steps; ++i) {
        const int64_t qi = s.query(b, i, h);
        R largest = -kInfinity, sum = 0, delta = 0;
        for (int64_t j = 0; j < s.k_steps; ++j) {
          e[j] = -kInfinity;
          gate[j] = 0;
          if (!in.sight.sees(s, b, i, j)) continue;
          R dot = 0;
          for (int64_t d = 0; d < s.head_size; ++d) {
            dot += static_cast<R>(in.q[qi + d]) * in.k[s.key(b, j, h) + d];
          }
          const R mask = s.mask < 0 ? R{s.gated ? 1.0f : 0.0f} : R{in.mask[s.mask_at(b, h, i, j)]};
          e[j] = dot * scale + (s.gated ? R{0} : mask);
          gate[j] = s.gated ? (mask > 0 ? mask : R{0}) : R{1};
          if (gate[j] > 0) largest = std::max(largest, e[j]);
        }
        r.lse[s.row(b, h, i)] = largest;
        if (largest == -kInfinity) continue;
        for (int64_t j = 0; j < s.k_steps; ++j) {
          e[j] = std::exp(e[j] - largest);
          if (gate[j] > 0) sum += gate[j] * e[j];
        }
        r.lse[s.row(b, h, i)] += std::log(sum);
        for (int64_t j = 0; j < s.k_steps; ++j) {
          e[j] /= sum;
          dp[j] = 0;
          if (!in.sight.sees(s, b, i, j)) continue;
          for (int64_t d = 0; d < s.head_size; ++d) {
            r.out[qi + d] += rounded(gate[j] * e[j]) * in.v[s.key(b, j, h) + d];
            dp[j] += static_cast<R>(in.dout[qi + d]) * in.v[s.key(b, j, h) + d];
          }
        }
        for (int64_t d = 0; d < s.head_size; ++d) {
          r.out[qi + d] = rounded(r.out[qi + d]);
          delta += in.dout[qi + d] * r.out[qi + d];
        }
        for (int64_t j = 0; j < s.k_steps; ++j) {
          if (!in.sight.sees(s, b, i, j)) continue;
          const R slope = e[j] * (dp[j] - delta), ds = gate[j] * slope, p = gate[j] * e[j];
          r.dmask[s.mask_at(b, h, i, j)] += slope;
          for (int64_t d = 0; d < s.head_size; ++d) {
            r.dq[qi + d] += rounded(ds) * scale * in.k[s.key(b, j, h) + d];
            r.dk[s.key(b, j, h) + d] += rounded(ds) * scale * in.q[qi + d];
            r.dv[s.key(b, j, h) + d] += rounded(p) * in.dout[qi + d];
          }
        }
      }
    }
  }
  return r;
}

// Sequences that grow, share, slide, are packed or gated, each with some of the others.
inline std::vector<AttentionShape> attention_kinds() {
  std::vector<AttentionShape> all;
  const auto add = [&](AttentionShape s, auto &&change) {
    change(s);
    all.push_back(s);
  };
  for (int causal : {0, 1, 2}) {
    for (int64_t window : {0, 2, 5, 40}) {
      add({4, 6, 33, 70, 8, 5, causal == 2, causal}, [&](auto &s) {
        s.group = 3;
        s.window = window;
      });
    }
  }
  for (int64_t window : {2, 7, 9, 300}) {
    add({1, 2, 300, 300, 16, 6, false, 1}, [&](auto &s) { s.window = window; });
    add({1, 1, 140, 270, 40, -1, false, 0}, [&](auto &s) { s.window = window; });
  }
  for (int64_t group : {2, 4}) {
    add({2, 4, 1, 100, 32, -1, true, 2}, [&](auto &s) { s.group = group; });
    add({1, 4, 50, 50, 17, 0, false, 1}, [&](auto &s) { s.group = group; });
    add({1, 4, 210, 30, 8, 4, false, 0}, [&](auto &s) { s.group = group; });
  }
  for (int mask : {-1, 0, 2, 4, 6}) {
    add({1, 2, 100, 130, 8, mask, false, 1}, [&](auto &s) { s.packed = true; });
    add({1, 4, 48, 48, 24, mask, false, mask == 2}, [&](auto &s) {
      s.packed = true;
      s.group = 2;
      s.window = mask == 4 ? 6 : 0;
    });
  }
  add({1, 1, 700, 700, 8, 4, false, 1}, [&](auto &s) { s.packed = true; });
  for (int causal : {0, 1}) {
    add({1, 2, 12, 300, 20, -1, false, causal}, [&](auto &s) { s.packed = true; });
    add({1, 4, 12, 96, 33, -1, false, causal}, [&](auto &s) {
      s.packed = true;
      s.group = 2;
      s.window = 5;
    });
  }
  for (int mask = -1; mask < 8; ++mask) {
    add({3, 2, 33, 70, 8, mask, true, mask % 2 != 0}, [&](auto &s) { s.gated = true; });
    add({2, 4, 33, 140, 20, mask, false, 1}, [&](auto &s) {
      s.gated = true;
      s.group = 4;
      s.window = (mask + 1) % 3 * 20;
    });
  }
  return all;
}

// Sequences whose last `step` queries are asked for alone, as generation does: all kinds of sight,
// with and without shared keys, of random sizes.
struct AttentionStep {
  AttentionShape whole;
  int64_t step;

  AttentionShape alone() const {
    AttentionShape s = whole;
    s.q_steps = step;
    return s;
  }
};
inline std::vector<AttentionStep> attention_steps(uint32_t seed) {
  std::vector<AttentionStep> all;
  std::mt19937 bits(seed);
  const auto below = [&](uint32_t n) { return static_cast<int64_t>(bits() % n); };
  for (int64_t i = 0; i < 60; ++i) {
    AttentionShape s{1 + below(3), 1, 40, 1 + below(i % 4 == 0 ? 600 : 90), 1 + below(70)};
    if (i % 3 == 0) s.head_size = int64_t{8} << below(6);
    s.group = 1 + below(4);
    s.heads = s.group * (1 + below(3));
    s.causal = static_cast<int>(i % 3);
    s.lengths = s.causal == 2 || below(2) == 0;
    s.window = below(3) == 0 ? 1 + below(40) : 0;
    s.shift = below(3);
    all.push_back({s, 1 + below(8)});
  }
  return all;
}

// The last queries of each sequence, of an array like q.
template <class T>
std::vector<T> queries_alone(const AttentionStep &s, const std::vector<T> &whole) {
  const int64_t row = s.whole.heads * s.whole.head_size;
  std::vector<T> alone;
  for (int64_t b = 0; b < s.whole.batch; ++b) {
    const auto end = whole.begin() + (b + 1) * s.whole.q_steps * row;
    alone.insert(alone.end(), end - s.step * row, end);
  }
  return alone;
}
// And of an array like lse.
template <class T>
std::vector<T> rows_alone(const AttentionStep &s, const std::vector<T> &whole) {
  std::vector<T> alone;
  for (int64_t row = 0; row < s.whole.batch * s.whole.heads; ++row) {
    const auto end = whole.begin() + (row + 1) * s.whole.q_steps;
    alone.insert(alone.end(), end - s.step, end);
  }
  return alone;
}
