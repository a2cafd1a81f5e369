// SPDX-License-Identifier: Apache-2.0
// gru: the gated recurrent unit over a sequence, forward and backward through time.
// r = sigmoid(x0 + c0 + W0 h);  z = sigmoid(x1 + c1 + W1 h);  u = c2 + W2 h;  n = tanh(x2 + r u)
// hidden = n + z (h - n), h being the state before the step
// Shapes   x [batch, steps, 3, width]; weight [3, width, width] (output, input); bias [3, width];
//          initial [batch, width]; hidden [batch, steps, width]; gates [batch, steps, 4, width]
// Method   the weights are packed once per call. A tile holds the three gates of a few units for a
//          panel of sequences, so that the state follows from registers; a sequence never waits for
//          another. Backward: the same scan from the end, then one product for dweight
// Order    each gate is one chain over the inputs that starts from the bias; the carried gradient
//          one chain over the gates r, z, u and their outputs that starts from z dh; dweight one
//          chain over (batch, step); dbias in 32 lanes over (batch, step)
// Parallel over sequences; dweight and dbias over outputs
// Error    relative norm <= 1e-5 in f32 against the exact scan
// Work     6 width^2 flops per step forward, 12 backward, and about 100 width
// Source   Cho et al., arXiv:1406.1078; the reset gate stands after the product
#include "context.h"
#include "simd.h"
#include "tile.h"
// After simd.h, which it builds on.
#include "formulas.h"

namespace {

constexpr int kGates = 3;
#if defined(__AVX512F__)
constexpr int kGateRows = 8;  // 24 sums of 32 registers
#else
constexpr int kGateRows = 4;  // 12 of 16
#endif
constexpr int64_t kMostRows = 64;  // sequences of one task

template <class T>
struct Gru {
  int64_t batch, steps, width;
  T *hidden, *gates, *dx, *dweight, *dbias, *dinitial;
  const T *x, *weight, *bias, *initial, *dhidden;

  int64_t row(int64_t b, int64_t t) const { return b * steps + t; }
  // The state before step t.
  const T *before(int64_t b, int64_t t) const {
    return t == 0 ? initial + b * width : hidden + row(b, t - 1) * width;
  }
};

// Sequences per task: as many as keep the weights' panels busy, as few as keep the threads busy.
int64_t rows_per_task(int64_t batch, int64_t threads) {
  const int64_t even = (batch + threads - 1) / threads;
  return std::min(kMostRows, (even + kGateRows - 1) / kGateRows * kGateRows);
}

// weight as [panel][input][gate][kSpan vectors of units], and bias as [panel][gate][...] behind
// each panel; units rounded up to whole panels with zeros.
template <class T, int kSpan>
struct Packed {
  static constexpr int64_t kUnits = kSpan * kWidth<T>, kRow = kGates * kUnits;
  static int64_t panels(int64_t width) { return (width + kUnits - 1) / kUnits; }
  static int64_t panel_size(int64_t width) { return (width + 1) * kRow; }
  static int64_t size(int64_t width) { return panels(width) * panel_size(width); }

  static void pack_panel(T *to, const T *weight, const T *bias, int64_t width, int64_t panel) {
    constexpr int64_t kBlock = 32 / static_cast<int64_t>(sizeof(T));
    const int64_t first = panel * kUnits, n = std::min(kUnits, width - first);
    to += panel * panel_size(width);
    if (n < kUnits) std::memset(to, 0, panel_size(width) * sizeof(T));
    const int64_t whole_n = n / kBlock * kBlock, whole_k = width / kBlock * kBlock;
    for (int gate = 0; gate < kGates; ++gate) {
      const T *from = weight + (gate * width + first) * width;
      T *out = to + gate * kUnits;
      for (int64_t j = 0; j < whole_n; j += kBlock) {
        for (int64_t k = 0; k < whole_k; k += kBlock) {
          transpose_block(from + j * width + k, width, out + k * kRow + j, kRow);
        }
      }
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t k = j < whole_n ? whole_k : 0; k < width; ++k) {
          out[k * kRow + j] = from[j * width + k];
        }
        out[width * kRow + j] = bias[gate * width + first + j];
      }
    }
  }
};

// One step of kRows sequences from `row` on of a task that starts at sequence b0: the units of one
// panel. `state` is the operand before the step, `next` the one after it.
template <class T, int kRows, int kSpan>
__attribute__((noinline)) void step_panel(const Gru<T> &gru, const T *packed, int64_t panel,
                                          int64_t t, int64_t b0, int64_t row, Rows<T> state,
                                          Rows<T> next) {
  using P = Packed<T, kSpan>;
  const int64_t width = gru.width;
  const T *weight = packed + panel * P::panel_size(width), *bias = weight + width * P::kRow;
  Tile<T, kRows, kGates * kSpan> tile;
  tile.load_from(bias, 0);
  add_rows(tile, state, row, weight, P::kRow, width);
  T sums[kRows * P::kRow];
  tile.store_to(sums, P::kRow);
  for (int r = 0; r < kRows; ++r) {
    const int64_t at = gru.row(b0 + row + r, t);
    for (int s = 0; s < kSpan; ++s) {
      const int64_t unit = panel * P::kUnits + s * kWidth<T>;
      const int64_t cols = std::min<int64_t>(kWidth<T>, width - unit);
      if (cols <= 0) break;
      const T *x = gru.x + at * kGates * width + unit;
      const T *sum = sums + r * P::kRow + s * kWidth<T>;
      const Vec<T> h = load_some(state.at(row + r, unit), cols);
      const Vec<T> reset = sigmoid_of(load_some(x, cols) + load(sum));
      const Vec<T> keep = sigmoid_of(load_some(x + width, cols) + load(sum + P::kUnits));
      const Vec<T> u = load(sum + 2 * P::kUnits);
      const Vec<T> n = tanh_of(fma(reset, u, load_some(x + 2 * width, cols)));
      const Vec<T> after = fma(keep, h - n, n);
      T *gates = gru.gates + at * 4 * width + unit;
      store_some(gates, reset, cols);
      store_some(gates + width, keep, cols);
      store_some(gates + 2 * width, n, cols);
      store_some(gates + 3 * width, u, cols);
      store_some(gru.hidden + at * width + unit, after, cols);
      store_some(next.at(row + r, unit), after, cols);
    }
  }
}

template <class T, int kSpan>
void scan(pnd_context *context, const Gru<T> &gru) {
  using P = Packed<T, kSpan>;
  constexpr int kHeight = kGateRows / kSpan;
  const int64_t width = gru.width, most = rows_per_task(gru.batch, context->threads);
  T *packed = Scratch(context, kShared).take<T>(P::size(width));
  parallel(context, P::panels(width),
           [&](int64_t panel, int) { P::pack_panel(packed, gru.weight, gru.bias, width, panel); });
  parallel(context, (gru.batch + most - 1) / most, [&](int64_t task, int worker) {
    const int64_t b0 = task * most, rows = std::min(most, gru.batch - b0);
    Scratch scratch(context, worker);
    Rows<T> state{scratch.take<T>(Rows<T>::size(most, width)), rows};
    Rows<T> next{scratch.take<T>(Rows<T>::size(most, width)), rows};
    for (int64_t r = 0; r < rows; ++r) state.fill(r, gru.initial + (b0 + r) * width, width);
    const int64_t heights = (rows + kHeight - 1) / kHeight;
    for (int64_t t = 0; t < gru.steps; ++t) {
      for (int64_t panel = 0; panel < P::panels(width); ++panel) {
        for (int64_t p = 0; p < heights; ++p) {
          const int64_t row = panel_start(p, heights, rows);
          const int64_t height = panel_start(p + 1, heights, rows) - row;
          unrolled<kHeight>([&](auto i) {
            if (height == i() + 1) {
              step_panel<T, i() + 1, kSpan>(gru, packed, panel, t, b0, row, state, next);
            }
          });
        }
      }
      std::swap(state, next);
    }
  });
}

// The gradients of one step's gates for one sequence: dx, and the operand [dr dz du] of the
// product; carry = z dh, to which the product is added.
template <class T>
void step_slopes(const Gru<T> &gru, int64_t b, int64_t t, int64_t row, Rows<T> operand, T *carry) {
  const int64_t width = gru.width, at = gru.row(b, t);
  const T *gates = gru.gates + at * 4 * width, *before = gru.before(b, t);
  const T *dhidden = gru.dhidden + at * width;
  T *dx = gru.dx + at * kGates * width;
  const Vec<T> one = splat<T>(1);
  for (int64_t i = 0; i < width; i += kWidth<T>) {
    const int64_t cols = std::min<int64_t>(kWidth<T>, width - i);
    const Vec<T> r = load_some(gates + i, cols), z = load_some(gates + width + i, cols);
    const Vec<T> n = load_some(gates + 2 * width + i, cols),
                 u = load_some(gates + 3 * width + i, cols);
    const Vec<T> dh = load_some(dhidden + i, cols) + load(carry + i);
    const Vec<T> dn = dh * (one - z) * (one - n * n);
    const Vec<T> dz = dh * (load_some(before + i, cols) - n) * z * (one - z);
    const Vec<T> dr = dn * u * r * (one - r);
    store_some(dx + i, dr, cols);
    store_some(dx + width + i, dz, cols);
    store_some(dx + 2 * width + i, dn, cols);
    const auto put = [&](int64_t column, Vec<T> x) {
      // A row of the operand is cut at multiples of kDepth, a vector may lie across a cut.
      if (cols == kWidth<T> && column % kDepth + kWidth<T> <= kDepth) {
        store(operand.at(row, column), x);
      } else {
        for (int64_t c = 0; c < cols; ++c) *operand.at(row, column + c) = x[c];
      }
    };
    put(i, dr);
    put(width + i, dz);
    put(2 * width + i, dn * r);
    store(carry + i, dh * z);
  }
}

template <class T>
int64_t whole_tiles(int64_t width) {
  return (width + kTileCols<T> - 1) / kTileCols<T> * kTileCols<T>;
}

template <class T>
void scan_back(pnd_context *context, const Gru<T> &gru) {
  const int64_t width = gru.width, depth = kGates * width, padded = whole_tiles<T>(width);
  const int64_t most = rows_per_task(gru.batch, context->threads);
  T *packed = Scratch(context, kShared).take<T>(depth * padded);
  parallel(context, padded / kTileCols<T>, [&](int64_t panel, int) {
    const int64_t first = panel * kTileCols<T>;
    pack_columns(packed + first * depth, gru.weight + first, width, depth,
                 std::min<int64_t>(kTileCols<T>, width - first), false);
  });
  parallel(context, (gru.batch + most - 1) / most, [&](int64_t task, int worker) {
    const int64_t b0 = task * most, rows = std::min(most, gru.batch - b0);
    Scratch scratch(context, worker);
    const Rows<T> operand{scratch.take<T>(Rows<T>::size(most, depth)), rows};
    T *carry = scratch.take<T>(most * padded);
    std::memset(carry, 0, rows * padded * sizeof(T));
    const int64_t panels = panels_of(rows);
    for (int64_t t = gru.steps - 1; t >= 0; --t) {
      for (int64_t r = 0; r < rows; ++r) {
        step_slopes(gru, b0 + r, t, r, operand, carry + r * padded);
      }
      each_tile<T>(width, [&](int64_t column, auto vectors) {
        for (int64_t k = 0; k < depth; k += kDepth) {
          for (int64_t p = 0; p < panels; ++p) {
            const int64_t row = panel_start(p, panels, rows);
            with_rows(panel_start(p + 1, panels, rows) - row, [&](auto height) {
              tile_product<T, height(), vectors(), kRowStride<T>, 1>(
                  operand.at(row, k), packed + column * depth + k * kTileCols<T>, kTileCols<T>,
                  std::min(kDepth, depth - k), carry + row * padded + column, padded, true,
                  kTileCols<T>);
            });
          }
        }
      });
    }
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(gru.dinitial + (b0 + r) * width, carry + r * padded, width * sizeof(T));
    }
  });
}

// Outputs of one gate whose rows of dweight one task computes.
constexpr int64_t kMostOutputs = 256;

// dweight[gate, first ..] and dbias of the same outputs, over chunks of kDepth rows (batch, step).
template <class T>
void weight_slopes(const Gru<T> &gru, int gate, int64_t first, int64_t outputs, Scratch scratch) {
  const int64_t width = gru.width, rows = gru.batch * gru.steps;
  T *before = scratch.take<T>(kDepth * width);
  T *slopes = scratch.take<T>(kDepth * kMostOutputs);
  T *lanes = scratch.take<T>(kLanes * kMostOutputs);
  T *room = scratch.take<T>(kProductScratch<T>);
  std::memset(lanes, 0, kLanes * kMostOutputs * sizeof(T));
  for (int64_t m0 = 0; m0 < rows; m0 += kDepth) {
    const int64_t n = std::min(kDepth, rows - m0);
    for (int64_t m = 0; m < n; ++m) {
      const int64_t b = (m0 + m) / gru.steps, t = (m0 + m) % gru.steps;
      std::memcpy(before + m * width, gru.before(b, t), width * sizeof(T));
      const T *dx = gru.dx + ((m0 + m) * kGates + gate) * width + first;
      const T *reset = gru.gates + (m0 + m) * 4 * width + first;
      T *slope = slopes + m * kMostOutputs, *lane = lanes + m % kLanes * kMostOutputs;
      for (int64_t i = 0; i < outputs; ++i) {
        slope[i] = gate == 2 ? dx[i] * reset[i] : dx[i];  // du = dn r
        lane[i] += slope[i];
      }
    }
    product(gru.dweight + (gate * width + first) * width, width,
            Matrix<T>{slopes, kMostOutputs, true}, Matrix<T>{before, width, false}, outputs, width,
            n, m0 > 0, room);
  }
  for (int w = kLanes / 2; w > 0; w /= 2) {
    for (int l = 0; l < w; ++l) {
      for (int64_t i = 0; i < outputs; ++i) {
        lanes[l * kMostOutputs + i] += lanes[(l + w) * kMostOutputs + i];
      }
    }
  }
  std::memcpy(gru.dbias + gate * width + first, lanes, outputs * sizeof(T));
}

template <class T>
void backward(pnd_context *context, const Gru<T> &gru) {
  scan_back(context, gru);
  // At least two blocks of outputs per thread, whole tiles.
  const int64_t wanted = (2 * context->threads + kGates - 1) / kGates;
  const int64_t even = (gru.width + wanted - 1) / wanted;
  const int64_t size = context->threads == 1
                           ? kMostOutputs
                           : std::min(kMostOutputs, (even + kTileRows - 1) / kTileRows * kTileRows);
  const int64_t blocks = (gru.width + size - 1) / size;
  parallel(context, kGates * blocks, [&](int64_t chunk, int worker) {
    const int64_t first = chunk % blocks * size;
    weight_slopes(gru, static_cast<int>(chunk / blocks), first, std::min(size, gru.width - first),
                  Scratch(context, worker));
  });
}

}  // namespace

int32_t pnd_gru(pnd_context *context, int32_t dtype, void *hidden, void *gates, const void *x,
                const void *weight, const void *bias, const void *initial, int64_t batch,
                int64_t steps, int64_t width) {
  Call call(context, "gru");
  guard::gru(call, dtype, hidden, gates, x, weight, bias, initial, batch, steps, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Gru<T> gru{};
    gru.batch = batch;
    gru.steps = steps;
    gru.width = width;
    gru.hidden = static_cast<T *>(hidden);
    gru.gates = static_cast<T *>(gates);
    gru.x = static_cast<const T *>(x);
    gru.weight = static_cast<const T *>(weight);
    gru.bias = static_cast<const T *>(bias);
    gru.initial = static_cast<const T *>(initial);
    // Few sequences: two vectors per gate, or the chains of sums would wait for themselves.
    const bool few = batch <= kGateRows / 2;
    const int64_t rows = rows_per_task(batch, context->threads);
    call.reserve(2 * Scratch::bytes<T>(Rows<T>::size(rows, width)),
                 Scratch::bytes<T>(few ? Packed<T, 2>::size(width) : Packed<T, 1>::size(width)));
    if (call.refused()) return;
    if (few) {
      scan<T, 2>(context, gru);
    } else {
      scan<T, 1>(context, gru);
    }
  });
  return call.status();
}

int32_t pnd_gru_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight, void *dbias,
                         void *dinitial, const void *dhidden, const void *weight,
                         const void *initial, const void *hidden, const void *gates, int64_t batch,
                         int64_t steps, int64_t width) {
  Call call(context, "gru_backward");
  guard::gru_backward(call, dtype, dx, dweight, dbias, dinitial, dhidden, weight, initial, hidden,
                      gates, batch, steps, width);
  if (call.refused()) return call.status();
  by_type(dtype, [&](auto type) {
    using T = decltype(type);
    Gru<T> gru{};
    gru.batch = batch;
    gru.steps = steps;
    gru.width = width;
    gru.dx = static_cast<T *>(dx);
    gru.dweight = static_cast<T *>(dweight);
    gru.dbias = static_cast<T *>(dbias);
    gru.dinitial = static_cast<T *>(dinitial);
    gru.dhidden = static_cast<const T *>(dhidden);
    gru.weight = static_cast<const T *>(weight);
    gru.initial = static_cast<const T *>(initial);
    gru.hidden = static_cast<T *>(const_cast<void *>(hidden));
    gru.gates = static_cast<T *>(const_cast<void *>(gates));
    const int64_t rows = rows_per_task(batch, context->threads), depth = kGates * width;
    const int64_t for_scan = Scratch::bytes<T>(Rows<T>::size(rows, depth)) +
                             Scratch::bytes<T>(rows * whole_tiles<T>(width));
    const int64_t for_weights =
        Scratch::bytes<T>(kDepth * width) + Scratch::bytes<T>(kDepth * kMostOutputs) +
        Scratch::bytes<T>(kLanes * kMostOutputs) + Scratch::bytes<T>(kProductScratch<T>);
    call.reserve(std::max(for_scan, for_weights), Scratch::bytes<T>(depth * whole_tiles<T>(width)));
    if (call.refused()) return;
    backward(context, gru);
  });
  return call.status();
}
