// SPDX-License-Identifier: Apache-2.0
// cross_entropy: the loss of a softmax over the product of x and the output weights, fused.
// logits[r,c] = x[r,:] . weight[c,:];  lse[r] = log sum over c of exp logits[r,c]
// loss[r] = lse[r] - logits[r,target[r]]
// p[r,c] = dloss[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]);  dx = p weight;  dweight = p^T x
// Shapes   x, dx [rows, width]; weight, dweight [classes, width]; loss, lse, dloss, target [rows]
// Method   rows with a target are gathered into blocks; a block meets 128 classes at a time, so
//          that logits live in L1 (forward) or L2 (backward, where they are computed again). A row
//          without a target costs nothing
// Order    logits are one chain over the width; sums run in 32 lanes within 128 classes, then block
//          by block; dx is one chain over the classes, dweight one chain over the rows, upwards
// Parallel over blocks of rows; they add to dweight in turn
// Error    loss, lse <= 2 x the plain loop; gradients <= 3 x
// Work     2 width flops per logit forward, 6 backward, and about 15 for the softmax
// Source   Bishop 2006, eq. 4.108; blocks: Hsu et al., arXiv:2410.10989
#include "guards/cross_entropy.h"
#include "context.h"
#include "softmax.h"
#include "turns.h"

namespace {

constexpr int64_t kClassBlock = 128;  // part of the definition: sums go from block to block
// Rows of a block: narrow ones are more, so that the classes are packed less often.
constexpr int64_t row_block(int64_t width, bool backward) {
  return std::clamp<int64_t>(49152 / width, 192, backward ? 384 : 768);
}
template <class T>
constexpr int64_t kLogitStride = kClassBlock + 64 / static_cast<int64_t>(sizeof(T));

template <class T>
int64_t whole_tiles(int64_t n) {
  return (n + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
}

template <class T>
struct Problem {
  int64_t classes, width;
  T *loss, *lse, *dx, *dweight;
  const T *dloss, *x, *weight, *known_lse;
  const int32_t *target;
};

// The rows with a target, cut into blocks.
struct Targets {
  const int64_t *row;
  int64_t count, blocks;

  int64_t start(int64_t block) const { return block * count / blocks; }
};

Targets find_targets(const int32_t *target, int64_t rows, int64_t block, int64_t threads,
                     int64_t *row) {
  int64_t count = 0;
  for (int64_t r = 0; r < rows; ++r) {
    row[count] = r;
    count += target[r] >= 0;
  }
  // Blocks of equal size; smaller ones where there would be too few for the threads.
  const int64_t full = (count + block - 1) / block, least = (count + 31) / 32;
  return {row, count, threads == 1 ? full : std::max(full, std::min(2 * threads, least))};
}

// What a thread needs for a block of rows.
template <class T>
struct Room {
  Rows<T> x, dx;
  T *logits, *columns, *weight;
  Statistics<T> *statistics;

  Room(const Problem<T> &problem, int64_t rows, bool backward, Scratch scratch)
      : x{scratch.take<T>(Rows<T>::size(row_block(problem.width, backward), problem.width)), rows},
        dx{x},
        logits(scratch.take<T>(row_block(problem.width, backward) * kLogitStride<T>)),
        columns(scratch.take<T>(kClassBlock * problem.width)),
        weight(columns),
        statistics(scratch.take<Statistics<T>>(row_block(problem.width, backward))) {
    if (backward) {
      dx.data = scratch.take<T>(Rows<T>::size(row_block(problem.width, backward), problem.width));
      weight = scratch.take<T>(kClassBlock * whole_tiles<T>(problem.width));
    }
  }
  static int64_t bytes(int64_t width, bool backward) {
    const int64_t block = row_block(width, backward);
    const int64_t rows = Scratch::bytes<T>(Rows<T>::size(block, width));
    return rows + Scratch::bytes<T>(block * kLogitStride<T>) +
           Scratch::bytes<T>(kClassBlock * width) + Scratch::bytes<Statistics<T>>(block) +
           (backward ? rows + Scratch::bytes<T>(kClassBlock * whole_tiles<T>(width)) : 0);
  }
};

// Calls body(rows of the panel as a constant, first row) for the panels of n rows.
template <class F>
PND_INLINE void each_panel(int64_t n, F &&body) {
  const int64_t panels = panels_of(n);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t r0 = panel_start(p, panels, n), r1 = panel_start(p + 1, panels, n);
    with_rows(r1 - r0, [&](auto rows) { body(rows, r0); });
  }
}

// Calls use(tile, class) for the logits of kRows rows and `count` packed classes, tile by tile.
// What lies past the classes is -infinity.
template <class T, int kRows, class Use>
PND_INLINE void logit_tiles(Rows<T> x, int64_t row, const T *columns, int64_t width, int64_t count,
                            Use &&use) {
  each_tile<T>(count, [&](int64_t c, auto vectors) {
    Tile<T, kRows, vectors()> tile;
    tile.clear();
    add_rows(tile, x, row, columns + c * width, kTileCols<T>, width);
    if (count - c < vectors() * kWidth<T>) {
      for (int r = 0; r < kRows; ++r) cut_after(tile, r, count - c);
    }
    use(tile, c, vectors);
  });
}

template <class T, int kRows>
__attribute__((noinline)) void loss_panel(const Problem<T> &problem, const Targets &targets,
                                          const Room<T> &room, int64_t first, int64_t row,
                                          int64_t class0, int64_t count,
                                          Statistics<T> &statistics) {
  constexpr int64_t kStride = kLogitStride<T>;
  T *logits = room.logits;
  Vec<T> most[kRows];
  for (Vec<T> &m : most) m = splat(kNothing<T>);
  logit_tiles<T, kRows>(room.x, row, room.columns, problem.width, count,
                        [&](auto &tile, int64_t c, auto) {
                          tile.raise_to(most);
                          tile.store_to(logits + c, kStride);
                        });
  for (int r = 0; r < kRows; ++r) {
    const int64_t at = targets.row[first + row + r], c = problem.target[at] - class0;
    if (c >= 0 && c < count) problem.loss[at] = logits[r * kStride + c];
  }
  T kept[Statistics<T>::kSize];
  statistics.template add<kRows, kStride, false>(
      logits, (count + kWidth<T> - 1) / kWidth<T> * kWidth<T>, most, kept);
}

// loss and lse of one block of rows.
template <class T>
void loss_block(const Problem<T> &problem, const Targets &targets, int64_t block, Scratch scratch) {
  const int64_t first = targets.start(block), n = targets.start(block + 1) - first;
  const Room<T> room(problem, n, false, scratch);
  for (int64_t r = 0; r < n; ++r) {
    room.x.fill(r, problem.x + targets.row[first + r] * problem.width, problem.width);
    room.statistics[r].clear();
  }
  for (int64_t class0 = 0; class0 < problem.classes; class0 += kClassBlock) {
    const int64_t count = std::min(kClassBlock, problem.classes - class0);
    pack_columns(room.columns, problem.weight + class0 * problem.width, problem.width,
                 problem.width, count, true);
    each_panel(n, [&](auto rows, int64_t row) {
      loss_panel<T, rows()>(problem, targets, room, first, row, class0, count,
                            room.statistics[row]);
    });
  }
  each_panel(n, [&](auto rows, int64_t row) {
    T lse[Statistics<T>::kSize];
    room.statistics[row].log_sums(lse);
    for (int r = 0; r < rows(); ++r) {
      const int64_t at = targets.row[first + row + r];
      problem.lse[at] = lse[r];
      problem.loss[at] = lse[r] - problem.loss[at];
    }
  });
}

// p of kRows rows and `count` classes from class0 on.
template <class T, int kRows>
__attribute__((noinline)) void slope_panel(const Problem<T> &problem, const Targets &targets,
                                           const Room<T> &room, int64_t first, int64_t row,
                                           int64_t class0, int64_t count) {
  constexpr int64_t kStride = kLogitStride<T>;
  T *p = room.logits + row * kStride, lse[kRows];
  for (int r = 0; r < kRows; ++r) lse[r] = problem.known_lse[targets.row[first + row + r]];
  logit_tiles<T, kRows>(room.x, row, room.columns, problem.width, count,
                        [&](auto &tile, int64_t c, auto vectors) {
                          for (int r = 0; r < kRows; ++r) {
                            for (int v = 0; v < vectors(); ++v) {
                              store(p + r * kStride + c + v * kWidth<T>,
                                    exp_of_negative(tile.sum[r][v] - splat(lse[r])));
                            }
                          }
                        });
  for (int r = 0; r < kRows; ++r) {
    const int64_t at = targets.row[first + row + r], c = problem.target[at] - class0;
    if (c >= 0 && c < count) p[r * kStride + c] -= 1;
    const T scale = problem.dloss[at];
    for (int64_t i = 0; i < count; ++i) p[r * kStride + i] *= scale;
  }
}

// dx of one block of rows, and its part of dweight.
template <class T>
void slope_block(const Problem<T> &problem, const Targets &targets, const Turns &turns,
                 int64_t block, Scratch scratch) {
  constexpr int64_t kStride = kLogitStride<T>, kCols = kTileCols<T>;
  const int64_t first = targets.start(block), n = targets.start(block + 1) - first;
  const int64_t width = problem.width;
  const Room<T> room(problem, n, true, scratch);
  for (int64_t r = 0; r < n; ++r) {
    room.x.fill(r, problem.x + targets.row[first + r] * width, width);
  }
  for (int64_t class0 = 0; class0 < problem.classes; class0 += kClassBlock) {
    const int64_t count = std::min(kClassBlock, problem.classes - class0);
    const T *weight = problem.weight + class0 * width;
    pack_columns(room.columns, weight, width, width, count, true);
    each_panel(n, [&](auto rows, int64_t row) {
      slope_panel<T, rows()>(problem, targets, room, first, row, class0, count);
    });
    pack_columns(room.weight, weight, width, count, width, false);
    each_tile<T>(width, [&](int64_t k, auto vectors) {
      each_panel(n, [&](auto rows, int64_t row) {
        tile_product<T, rows(), vectors(), kStride, 1>(
            room.logits + row * kStride, room.weight + k * count, kCols, count, room.dx.at(row, k),
            kRowStride<T>, class0 > 0, kCols);
      });
    });
    const int64_t piece = class0 / kClassBlock;
    turns.await(piece, block);
    each_tile<T>(width, [&](int64_t k, auto vectors) {
      each_panel(count, [&](auto classes, int64_t c) {
        tile_product<T, classes(), vectors(), 1, kStride>(
            room.logits + c, room.x.at(0, k), kRowStride<T>, n,
            problem.dweight + (class0 + c) * width + k, width, block > 0, width - k);
      });
    });
    turns.pass(piece);
  }
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t k = 0; k < width; k += kDepth) {
      std::memcpy(problem.dx + targets.row[first + r] * width + k, room.dx.at(r, k),
                  std::min(kDepth, width - k) * sizeof(T));
    }
  }
}

}  // namespace

int32_t pnd_cross_entropy(pnd_context *context, int32_t dtype, void *loss, void *lse, const void *x,
                          const void *weight, const int32_t *target, int64_t rows, int64_t classes,
                          int64_t width) {
  Call call(context, "cross_entropy");
  guard::cross_entropy(call, dtype, loss, lse, x, weight, target, rows, classes, width);
  call.indices("target", target, rows, -1, classes);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    if (call.reserve(Room<T>::bytes(width, false), Scratch::bytes<int64_t>(rows + 1)).refused()) {
      return;
    }
    Problem<T> problem{};
    problem.classes = classes;
    problem.width = width;
    problem.loss = static_cast<T *>(loss);
    problem.lse = static_cast<T *>(lse);
    problem.x = static_cast<const T *>(x);
    problem.weight = static_cast<const T *>(weight);
    problem.target = target;
    const Targets targets = find_targets(target, rows, row_block(width, false), context->threads,
                                         Scratch(context, kShared).take<int64_t>(rows + 1));
    for (int64_t r = 0; r < rows; ++r) problem.loss[r] = problem.lse[r] = 0;
    parallel(context, targets.blocks, [&](int64_t block, int worker) {
      loss_block(problem, targets, block, Scratch(context, worker));
    });
  });
  return call.status();
}

int32_t pnd_cross_entropy_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight,
                                   const void *dloss, const void *x, const void *weight,
                                   const int32_t *target, const void *lse, int64_t rows,
                                   int64_t classes, int64_t width) {
  Call call(context, "cross_entropy_backward");
  guard::cross_entropy_backward(call, dtype, dx, dweight, dloss, x, weight, target, lse, rows,
                                classes, width);
  call.indices("target", target, rows, -1, classes);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t pieces = (classes + kClassBlock - 1) / kClassBlock;
    const int64_t shared = Scratch::bytes<int64_t>(rows + 1) + Scratch::bytes<int32_t>(pieces);
    if (call.reserve(Room<T>::bytes(width, true), shared).refused()) return;
    Problem<T> problem{};
    problem.classes = classes;
    problem.width = width;
    problem.dx = static_cast<T *>(dx);
    problem.dweight = static_cast<T *>(dweight);
    problem.dloss = static_cast<const T *>(dloss);
    problem.x = static_cast<const T *>(x);
    problem.weight = static_cast<const T *>(weight);
    problem.known_lse = static_cast<const T *>(lse);
    problem.target = target;
    Scratch scratch(context, kShared);
    const Targets targets = find_targets(target, rows, row_block(width, true), context->threads,
                                         scratch.take<int64_t>(rows + 1));
    const Turns turns(scratch.take<int32_t>(pieces), pieces);
    for (int64_t r = 0; r < rows; ++r) {
      if (target[r] < 0) std::memset(problem.dx + r * width, 0, width * sizeof(T));
    }
    if (targets.count == 0) std::memset(dweight, 0, classes * width * sizeof(T));
    parallel(context, targets.blocks, [&](int64_t block, int worker) {
      slope_block(problem, targets, turns, block, Scratch(context, worker));
    });
  });
  return call.status();
}
