// SPDX-License-Identifier: Apache-2.0
// attention_few: attention of few queries, forward, as each step of generation asks for it.
// The formula is attention's, and so is every bit of the results.
// Shapes   as attention; no mask
// Method   keys and values are read once, where they lie: packing would cost more than it saves.
//          Squares of keys are turned in registers, so that vectors run along the keys. The queries
//          of all heads that share the keys are rows of a panel and meet 256 keys at a time
// Order    attention's: a score is one chain over the head size, row sums run in 32 lanes within
//          256 keys, an output is one chain over the keys, which so cannot be cut among threads.
//          Pairs: as tile_bf16.h says
// Parallel over sequences and heads of keys, where enough is moved
// Error    attention's
// Work     attention's; bytes: keys and values once
// Source   as attention
#include "attention.h"

namespace {

constexpr int64_t kMostRows = 4 * kTileRows;

// Between rows of queries, and of sums.
template <class U>
constexpr int64_t kQueryStride = Copied<U>::stride_of(guard::kMostHeadSize / kPerUnit<U>);
template <class T>
constexpr int64_t kSumStride = Copied<T>::stride_of(guard::kMostHeadSize);

// Sums that stay in registers beside a square of keys, or beside a row of values.
constexpr int kScoreSums = 4, kValueSums = kVectorBytes == 64 ? 16 : 8;

// Of every kSpan units of a and b, the even ones or the odd ones, a's first.
template <int kUnit, int kSpan, bool kOdd, class V, int... kLane>
PND_INLINE V every_other(V a, V b, std::integer_sequence<int, kLane...>) {
  constexpr auto from = [](int lane) {
    const int place = lane / kUnit % kSpan, first = lane / kUnit - place, half = kSpan / 2;
    const int unit = first + place % half * 2 + (kOdd ? 1 : 0);
    return (place < half ? 0 : static_cast<int>(sizeof...(kLane))) + unit * kUnit + lane % kUnit;
  };
  return __builtin_shufflevector(a, b, from(kLane)...);
}
// Brings the even ones to a and the odd ones to b.
template <int kUnit, int kSpan, class V>
PND_INLINE void sort(V &a, V &b) {
  constexpr auto lanes = std::make_integer_sequence<int, sizeof(V) / sizeof(a[0])>{};
  const V even = every_other<kUnit, kSpan, false>(a, b, lanes);
  b = every_other<kUnit, kSpan, true>(a, b, lanes);
  a = even;
}

// Turns squares of kSpan units: unit j of x[i kStep] and unit i of x[j kStep] change places.
template <int kUnit, int kSpan, int kStep, class V>
PND_INLINE void turn(V *x) {
  static_assert(kSpan <= 4);
  if constexpr (kSpan == 2) sort<kUnit, kSpan>(x[0], x[kStep]);
  if constexpr (kSpan == 4) {
    sort<kUnit, kSpan>(x[0], x[kStep]);
    sort<kUnit, kSpan>(x[2 * kStep], x[3 * kStep]);
    sort<kUnit, kSpan>(x[0], x[2 * kStep]);
    sort<kUnit, kSpan>(x[kStep], x[3 * kStep]);
  }
}

// x[i][j] and x[j][i] change places: within 128 bits, then whole 128 bits.
template <class V>
PND_INLINE void transpose(V *x) {
  constexpr int kWide = sizeof(V) / sizeof(x[0][0]), kPart = 16 / sizeof(x[0][0]);
  PND_UNROLL
  for (int i = 0; i < kWide; i += kPart) turn<1, kPart, 1>(x + i);
  PND_UNROLL
  for (int i = 0; i < kPart; ++i) turn<kPart, kWide / kPart, kPart>(x + i);
}

// A vector of a key's units, scaled as pack_keys_of has them; or the n elements that are left.
template <class S, class T>
PND_INLINE Vec<T> load_key(const S *key, T scale) {
  if constexpr (kPerUnit<UnitOf<S>> == 2) {
    return (Vec<T>)load(reinterpret_cast<const UnitOf<S> *>(key));
  } else {
    return load_sums(key) * splat(scale);
  }
}
template <class S, class T>
PND_INLINE Vec<T> load_last_of_key(const S *key, T scale, int64_t n) {
  if constexpr (kPerUnit<UnitOf<S>> == 2) {
    return (Vec<T>)load_first_units(key, n);
  } else {
    return load_first_sums(key, n) * splat(scale);
  }
}

// Brings the line so many bytes from p, which is read later, to the second-level cache: rows that
// are far apart are not foreseen.
PND_INLINE void fetch(const void *p, int64_t apart) {
  __builtin_prefetch(reinterpret_cast<const void *>(reinterpret_cast<intptr_t>(p) + apart), 0, 2);
}
template <class S>
int64_t apart(const S *from, const S *to) {
  return reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from);
}

// Scores of kRows queries and kVectors vectors of keys, of which `count` keys exist, or all.
// Fetches what is `next` bytes from each key.
template <class S, int kRows, int kVectors, bool kAll, class U = UnitOf<S>, class T = SumOf<U>>
__attribute__((noinline)) void score(T *scores, const U *queries, const S *keys, int64_t stride,
                                     int64_t count, int64_t next, const AttentionSizes<S> &sizes) {
  constexpr int64_t kWide = kWidth<U>, kStep = kWide * kPerUnit<U>;
  Tile<U, kRows, kVectors> tile;
  tile.clear();
  // The next `units` columns of each square, 1 to kWide.
  const auto add_squares = [&](int64_t units, auto &&get) PND_INLINED {
    const S *key = keys;
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      Vec<T> x[kWide];
      PND_UNROLL
      for (int i = 0; i < kWide; ++i) {
        fetch(key, next);
        x[i] = get(key);
        key += kAll || v * kWide + i + 1 < count ? stride : 0;
      }
      // One address, which moves on: the compiler would keep that of each key.
      asm("" : "+r"(key));
      transpose(x);
      PND_UNROLL
      for (int i = 0; i < kWide; ++i) {
        if (i >= units) break;
        PND_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const Vec<U> query = splat<U>(queries[r * kQueryStride<U> + i]);
          tile.sum[r][v] = plus_product(tile.sum[r][v], query, (Vec<U>)x[i]);
        }
      }
    }
    keys += kStep;
    queries += kWide;
  };
  const T scale = sizes.scaled_by();
  int64_t left = sizes.head_size;
  for (; left >= kStep; left -= kStep) {
    add_squares(kWide, [=](const S *key) PND_INLINED { return load_key(key, scale); });
  }
  if (left > 0) {
    add_squares(units_of<U>(left),
                [=](const S *key) PND_INLINED { return load_last_of_key(key, scale, left); });
  }
  scale_scores(tile, sizes);
  tile.store_to(scores, kBlockStride<T>);
}

// A row of values, or, in pairs, two of them, zipped where there are several vectors.
template <class S, int kVectors, class U = UnitOf<S>>
PND_INLINE void load_values(Vec<U> *x, const S *values, int64_t stride) {
  if constexpr (kPerUnit<U> == 1) {
    PND_UNROLL
    for (int v = 0; v < kVectors; ++v) x[v] = load_sums(values + v * kWidth<U>);
  } else if constexpr (kVectors == 1) {
    *x = load_across(values, values + stride);
  } else {
    PND_UNROLL
    for (int v = 0; v < kVectors; v += 2) {
      load_zipped(x + v, values + v * kWidth<U>, values + stride + v * kWidth<U>);
    }
  }
}
// Sums of such values: to their order, and twice more back.
template <class S, int kTimes, int kRows, int kVectors>
PND_INLINE void zip(Tile<UnitOf<S>, kRows, kVectors> &tile) {
  if constexpr (kPerUnit<UnitOf<S>> == 2 && kVectors > 1) {
    PND_UNROLL
    for (int i = 0; i < kTimes * kRows * kVectors / 2; ++i) {
      Vec<float> *at = tile.sum[i * 2 / kVectors % kRows] + i * 2 % kVectors;
      sort<4, 4>(at[0], at[1]);
    }
  }
}
// The first n columns.
template <class S, class U = UnitOf<S>>
PND_INLINE void load_first_values(Vec<U> *x, const S *values, int64_t stride, int64_t n) {
  if constexpr (kPerUnit<U> == 2) {
    S piece[2][2 * kWidth<U>];
    store(reinterpret_cast<U *>(piece[0]), load_first_units(values, n));
    store(reinterpret_cast<U *>(piece[1]), load_first_units(values + stride, n));
    *x = load_across(piece[0], piece[1]);
  } else {
    *x = load_first_sums(values, n);
  }
}

// sums += weights values, over `count` units of values. Fetches what is `next` bytes from each.
template <class S, int kRows, class U = UnitOf<S>, class T = SumOf<U>>
__attribute__((noinline)) void add_values(T *sums, const U *weights, const S *values,
                                          int64_t stride, int64_t count, int64_t next,
                                          int64_t head_size) {
  if (count <= 0) return;
  const auto add = [&](int64_t d, auto vectors, auto &&get) PND_INLINED {
    constexpr int kVectors = vectors();
    Tile<U, kRows, kVectors> tile;
    tile.load_from(sums + d, kSumStride<T>);
    zip<S, 1>(tile);
    const S *row = values + d;
    const U *weight = weights;
#pragma GCC unroll 2
    for (int64_t k = 0; k < count; ++k, ++weight, row += stride * kPerUnit<U>) {
      for (int64_t i = 0; i < kPerUnit<U>; ++i) {
        PND_UNROLL
        for (int64_t c = 0; c < kVectors * kWidth<U>; c += 64 / static_cast<int64_t>(sizeof(S))) {
          fetch(row + i * stride + c, next);
        }
      }
      Vec<U> x[kVectors];
      get(x, row);
      PND_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Vec<U> w = splat<U>(weight[r * kBlockStride<U>]);
        PND_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          tile.sum[r][v] = plus_product(tile.sum[r][v], w, x[v]);
        }
      }
    }
    zip<S, 2>(tile);
    tile.store_to(sums + d, kSumStride<T>);
  };
  int64_t d = 0;
  const auto cut = [&](auto vectors) PND_INLINED {
    if constexpr (vectors() == 1 || vectors() * kRows <= kValueSums) {
      constexpr int64_t kCols = vectors() * kWidth<U>;
      for (; d + kCols <= head_size; d += kCols) {
        add(d, vectors, [&](Vec<U> *x, const S *row) PND_INLINED {
          load_values<S, vectors()>(x, row, stride);
        });
      }
    }
  };
  cut(std::integral_constant<int, 8>{});
  cut(std::integral_constant<int, 4>{});
  cut(std::integral_constant<int, 2>{});
  cut(std::integral_constant<int, 1>{});
  if (d == head_size) return;
  add(d, std::integral_constant<int, 1>{}, [&](Vec<U> *x, const S *row) PND_INLINED {
    load_first_values(x, row, stride, head_size - d);
  });
}

// Up to kTileRows queries of the heads that share keys, the ones that see later keys last.
template <class S>
struct Panel {
  using T = SumOf<UnitOf<S>>;
  int64_t rows;
  int64_t query[kTileRows];
  const UnitOf<S> *queries;
  T *sums;
  Statistics<T> *statistics;
};

// What a thread needs.
template <class S>
struct Room {
  using U = UnitOf<S>;
  using T = SumOf<U>;
  Panel<S> *panels;
  Statistics<T> *statistics;
  U *queries;
  T *sums;
  BlockScores<U> block;
  S *edge;  // a pair of values of which one is missing

  static constexpr int64_t kEdge = 2 * guard::kMostHeadSize;
  explicit Room(Scratch &scratch)
      : panels(scratch.take<Panel<S>>(kMostRows)),
        statistics(scratch.take<Statistics<T>>(kMostRows)),
        queries(scratch.take<U>(kMostRows * kQueryStride<U>)),
        sums(scratch.take<T>(kMostRows * kSumStride<T>)),
        block(scratch),
        edge(scratch.take<S>(kEdge)) {}
  static constexpr int64_t bytes() {
    return Scratch::bytes<Panel<S>>(kMostRows) + Scratch::bytes<Statistics<T>>(kMostRows) +
           Scratch::bytes<U>(kMostRows * kQueryStride<U>) +
           Scratch::bytes<T>(kMostRows * kSumStride<T>) + BlockScores<U>::bytes() +
           Scratch::bytes<S>(kEdge);
  }
};

// All queries of a sequence of every head that shares the keys of kv_head.
template <class S>
class Step {
  using U = UnitOf<S>;
  using T = SumOf<U>;

 public:
  Step(const AttentionSizes<S> &sizes, const Sequence &sequence, int64_t kv_head,
       const Room<S> &room)
      : sizes_(sizes),
        sequence_(sequence),
        kv_head_(kv_head),
        room_(room),
        rows_(sequence.queries * sizes.group()) {
    const int64_t row = sequence.batch * sizes.k_steps + sequence.first_k;
    const int64_t start = row * sizes.k_stride() + kv_head * sizes.head_size;
    keys_ = static_cast<const S *>(sizes.k) + start;
    values_ = static_cast<const S *>(sizes.v) + start;
  }

  // The first keys it will read.
  const S *first_keys() const {
    return rows_ == 0 ? keys_
                      : keys_ + sequence_.first(0) / kSumBlock * kSumBlock * sizes_.k_stride();
  }

  // next: what is read afterwards.
  void run(S *out, T *lse, const S *next) {
    if (rows_ == 0) return;
    begin();
    const int64_t first = sequence_.first(0), last = sequence_.count(sequence_.queries - 1);
    for (int64_t block = first / kSumBlock * kSumBlock; block < last; block += kSumBlock) {
      const S *values = values_ + block * sizes_.k_stride();
      const bool ends = block + kSumBlock >= last;
      next_ = apart(values, ends ? next : keys_ + (block + kSumBlock) * sizes_.k_stride());
      for (int64_t p = 0; p < panels_of(rows_); ++p) {
        const Panel<S> &panel = room_.panels[p];
        with_rows(panel.rows, [&](auto rows) { attend<rows()>(panel, block); });
      }
    }
    finish(out, lse);
  }

 private:
  // Of row n, counted query by query.
  int64_t head(int64_t n) const { return kv_head_ * sizes_.group() + n % sizes_.group(); }
  int64_t q_row(int64_t n) const {
    return sequence_.batch * sizes_.q_steps + sequence_.first_q + n / sizes_.group();
  }
  int64_t q_place(int64_t n) const {
    return q_row(n) * sizes_.q_stride() + head(n) * sizes_.head_size;
  }

  void begin() {
    const Copied<U> copied(room_.queries, guard::kMostHeadSize / kPerUnit<U>);
    const int64_t panels = panels_of(rows_);
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t first = panel_start(p, panels, rows_);
      Panel<S> &panel = room_.panels[p];
      panel.rows = panel_start(p + 1, panels, rows_) - first;
      panel.queries = copied.at(first);
      panel.sums = room_.sums + first * kSumStride<T>;
      panel.statistics = room_.statistics + p;
      panel.statistics->clear();
      for (int64_t r = 0; r < panel.rows; ++r) {
        const int64_t n = first + r;
        panel.query[r] = n / sizes_.group();
        copied.fill(n, static_cast<const S *>(sizes_.q) + q_place(n), 0, 1, sizes_.head_size);
        std::memset(panel.sums + r * kSumStride<T>, 0, kSumStride<T> * sizeof(T));
      }
    }
  }

  // A panel against the keys [block, block + kSumBlock).
  template <int kRows>
  void attend(const Panel<S> &panel, int64_t block) const {
    // What a row sees of the block; of the keys that the panel sees, whole lanes at first.
    const auto first_of = [&](int64_t r) {
      return std::clamp<int64_t>(sequence_.first(panel.query[r]) - block, 0, kSumBlock);
    };
    const auto end_of = [&](int64_t r) {
      return std::clamp<int64_t>(sequence_.count(panel.query[r]) - block, 0, kSumBlock);
    };
    const int64_t first = first_of(0) / kLanes * kLanes, last = end_of(kRows - 1);
    if (first >= last) return;
    score_keys<kRows>(panel, block, first, last);

    const int64_t count = (last - first + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
    Vec<T> most[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      T *row = room_.block.scores + r * kBlockStride<T>;
      std::fill(row + first, row + std::max(first, first_of(r)), kNothing<T>);
      std::fill(row + std::max(first, end_of(r)), row + first + count, kNothing<T>);
      most[r] = splat(kNothing<T>);
      for (int64_t j = 0; j < count; j += kWidth<T>) {
        most[r] = larger(load(row + first + j), most[r]);
      }
    }
    T kept[Statistics<T>::kSize];
    constexpr bool kInPlace = std::is_same_v<T, U>;
    panel.statistics->template add<kRows, kBlockStride<T>, kInPlace>(
        room_.block.scores + first, count, most, kept, [&](int r, int64_t j, Vec<T> e) PND_INLINED {
          if constexpr (!kInPlace) {
            store_run(room_.block.weights + r * kBlockStride<U>, first + j, e);
          }
          return e;
        });
    for (int r = 0; r < kRows; ++r) {
      T *sums = panel.sums + r * kSumStride<T>;
      for (int64_t d = 0; d < sizes_.head_size; d += kWidth<T>) {
        store(sums + d, load(sums + d) * splat(kept[r]));
      }
    }
    if constexpr (kPerUnit<U> == 2) {
      add_pairs<kRows>(panel, block, first_of(0) / 2, units_of<U>(last));
      return;
    }
    // Keys that some rows do not see must not meet them: their values may be infinite.
    const int64_t from = first_of(kRows - 1), to = std::max(from, end_of(0));
    const S *values = values_ + block * sizes_.k_stride();
    const auto add = [&](auto rows, int64_t r, int64_t begin, int64_t end) {
      add_values<S, rows()>(panel.sums + r * kSumStride<T>,
                            room_.block.weights + r * kBlockStride<U> + begin,
                            values + begin * sizes_.k_stride(), sizes_.k_stride(), end - begin,
                            next_, sizes_.head_size);
    };
    constexpr std::integral_constant<int, 1> one;
    for (int64_t r = 0; r < kRows; ++r) add(one, r, first_of(r), std::min(from, end_of(r)));
    add(std::integral_constant<int, kRows>{}, 0, from, end_of(0));
    for (int64_t r = 0; r < kRows; ++r) add(one, r, to, end_of(r));
  }

  // Scores of the keys [first, last) of a block.
  template <int kRows>
  void score_keys(const Panel<S> &panel, int64_t block, int64_t first, int64_t last) const {
    constexpr int kVectors = std::clamp(kScoreSums / kRows, 1, 4);
    constexpr int64_t kWide = kWidth<U>, kMany = kVectors * kWide;
    const int64_t stride = sizes_.k_stride(), next = apart(keys_, values_);
    const S *keys = keys_ + block * stride;
    int64_t j = first;
    for (; j + kMany <= last; j += kMany) {
      score<S, kRows, kVectors, true>(room_.block.scores + j, panel.queries, keys + j * stride,
                                      stride, kMany, next, sizes_);
    }
    for (; j < last; j += kWide) {
      score<S, kRows, 1, false>(room_.block.scores + j, panel.queries, keys + j * stride, stride,
                                last - j, next, sizes_);
    }
  }

  // Adds the values of the pairs [begin, end) of a block. What no query sees in the first pair, or
  // does not exist in the last, counts as zeros.
  template <int kRows>
  void add_pairs(const Panel<S> &panel, int64_t block, int64_t begin, int64_t end) const {
    const int64_t stride = sizes_.k_stride(), head_size = sizes_.head_size;
    const S *values = values_ + block * stride;
    const auto add = [&](const S *at, int64_t at_stride, int64_t unit, int64_t count) {
      add_values<S, kRows>(panel.sums, static_cast<const U *>(room_.block.weights) + unit, at,
                           at_stride, count, at == room_.edge ? 0 : next_, head_size);
    };
    const int64_t seen = sequence_.first(0) - block, exist = sequence_.keys - block;
    for (int64_t unit = begin; unit < end;) {
      const bool low = 2 * unit >= seen, high = 2 * unit + 1 < exist;
      if (low && high) {
        const int64_t count = std::min(end, exist / 2) - unit;
        add(values + 2 * unit * stride, stride, unit, count);
        unit += count;
        continue;
      }
      std::memset(static_cast<void *>(room_.edge), 0, 2 * head_size * sizeof(S));
      for (int64_t i : {0, 1}) {
        if (i == 0 ? !low : !high) continue;
        std::memcpy(room_.edge + i * head_size, values + (2 * unit + i) * stride,
                    head_size * sizeof(S));
      }
      add(room_.edge, head_size, unit, 1);
      ++unit;
    }
  }

  void finish(S *out, T *lse) const {
    const int64_t panels = panels_of(rows_);
    for (int64_t p = 0; p < panels; ++p) {
      const Panel<S> &panel = room_.panels[p];
      const int64_t first = panel_start(p, panels, rows_);
      T log_sums[Statistics<T>::kSize], shares[Statistics<T>::kSize];
      panel.statistics->log_sums(log_sums);
      panel.statistics->shares(shares);
      for (int64_t r = 0; r < panel.rows; ++r) {
        const int64_t n = first + r, row = sequence_.batch * sizes_.heads + head(n);
        lse[row * sizes_.q_steps + sequence_.first_q + panel.query[r]] = log_sums[r];
        store_share(out + q_place(n), panel.sums + r * kSumStride<T>, shares[r], sizes_.head_size);
      }
    }
  }

  const AttentionSizes<S> &sizes_;
  const Sequence sequence_;
  const int64_t kv_head_;
  const Room<S> &room_;
  const int64_t rows_;
  const S *keys_, *values_;
  int64_t next_ = 0;  // bytes from the values of a block to the keys that follow
};

}  // namespace

template <class S>
bool has_few_queries(const AttentionSizes<S> &sizes) {
  if (sizes.mask != nullptr) return false;
  int64_t most = 0;
  for (int64_t s = 0; s < sizes.sequences(); ++s) {
    most = std::max(most, Sequence(sizes, s).queries);
  }
  // A panel turns the keys again. Packed keys meet the queries of each head apart.
  const int64_t rows = most * sizes.group(), panels = panels_of(rows);
  return panels <= 1 || (rows <= kMostRows && 2 * panels <= sizes.group() * panels_of(most));
}

template <class S, class T>
void attend_few(Call &call, pnd_context *context, const AttentionSizes<S> &sizes, S *out, T *lse) {
  call.reserve(Room<S>::bytes(), 0);
  if (call.refused()) return;
  const int64_t moved = 2 * sizes.k_steps * sizes.head_size;
  parallel_ranges(context, sizes.sequences() * sizes.kv_heads, kSerialMove / moved,
                  [&](int64_t first, int64_t last, int worker) {
                    Scratch scratch(context, worker);
                    const Room<S> room(scratch);
                    const auto step = [&](int64_t unit) {
                      return Step<S>(sizes, Sequence(sizes, unit / sizes.kv_heads),
                                     unit % sizes.kv_heads, room);
                    };
                    for (int64_t unit = first; unit < last; ++unit) {
                      step(unit).run(out, lse, step(std::min(unit + 1, last - 1)).first_keys());
                    }
                  });
}

#define PND_FEW(S, T)                                               \
  template bool has_few_queries<S>(const AttentionSizes<S> &sizes); \
  template void attend_few<S, T>(Call &, pnd_context *, const AttentionSizes<S> &, S *, T *);
PND_FEW(float, float)
PND_FEW(double, double)
PND_FEW(Bf16, float)
#undef PND_FEW
