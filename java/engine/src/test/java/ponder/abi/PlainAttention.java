// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/** Attention in plain loops: every pair of a query and a key by itself, as the header words it. */
abstract class PlainAttention extends PlainLayers {
  /** The largest s - lse that the derivative of a gate takes part with. */
  private static final double MOST_EXPONENT = 64;

  PlainAttention(boolean narrow) {
    super(narrow);
  }

  @Override
  public void attention(
      int dtype,
      MemorySegment out,
      MemorySegment lse,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated) {
    storedFloats(dtype);
    var sizes =
        new Sizes(batch, heads, kvHeads, qSteps, kSteps, headSize, maskBatch, maskHeads, maskSteps);
    var sight = new Sight(sizes, causal, window, segments, lengths, qStarts, kStarts);
    var pairs = new Pairs(dtype, sizes, sight, q, k, mask, scale, gated);
    double[] vs = read(dtype, v, batch, kSteps, kvHeads, headSize);
    var result = new double[(int) (batch * qSteps * heads * headSize)];
    var sums = new double[(int) (batch * heads * qSteps)];
    for (int row = 0; row < sums.length; row++) {
      int i = row % sizes.qSteps;
      int h = row / sizes.qSteps % sizes.heads;
      int b = row / sizes.qSteps / sizes.heads;
      double[] p = pairs.scores(b, h, i);
      sums[row] = softmax(p, pairs.gates(b, h, i));
      for (int d = 0; d < headSize; d++) {
        var sum = new Sum();
        for (int j = 0; j < kSteps; j++) {
          // A key that weighs nothing adds nothing, whatever its value.
          if (p[j] != 0) sum.add(factor(dtype, p[j]), vs[sizes.key(b, j, h, d)]);
        }
        result[sizes.query(b, i, h, d)] = sum.value();
      }
    }
    write(dtype, out, result);
    write(sumType(dtype), lse, sums);
  }

  /** Replaces scores by gate exp(score - lse) and returns lse = log of the sum of gate exp score. */
  private double softmax(double[] row, double[] gates) {
    double largest = Double.NEGATIVE_INFINITY;
    for (int j = 0; j < row.length; j++) {
      if (gates[j] > 0) largest = Math.max(largest, row[j]);
    }
    if (largest == Double.NEGATIVE_INFINITY) {
      Arrays.fill(row, 0);
      return largest;
    }
    var total = new Sum();
    for (int j = 0; j < row.length; j++) {
      double weight = gates[j] > 0 ? round(Math.exp(round(row[j] - largest))) : 0;
      row[j] = round(gates[j] * weight);
      total.add(row[j]);
    }
    for (int j = 0; j < row.length; j++) row[j] = round(row[j] / total.value());
    return round(largest + round(Math.log(total.value())));
  }

  @Override
  public void attentionBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment dmask,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      MemorySegment out,
      MemorySegment lse,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated) {
    storedFloats(dtype);
    var sizes =
        new Sizes(batch, heads, kvHeads, qSteps, kSteps, headSize, maskBatch, maskHeads, maskSteps);
    var sight = new Sight(sizes, causal, window, segments, lengths, qStarts, kStarts);
    var pairs = new Pairs(dtype, sizes, sight, q, k, mask, scale, gated);
    double[] vs = read(dtype, v, batch, kSteps, kvHeads, headSize);
    double[] douts = read(dtype, dout, batch, qSteps, heads, headSize);
    double[] outs = read(dtype, out, batch, qSteps, heads, headSize);
    double[] sums = read(sumType(dtype), lse, batch, heads, qSteps);
    var toQ = sums(pairs.q.length);
    var toK = sums(pairs.k.length);
    var toV = sums(vs.length);
    var toMask = sums(pairs.mask.length);
    for (int row = 0; row < sums.length; row++) {
      if (sums[row] == Double.NEGATIVE_INFINITY) continue;
      int i = row % sizes.qSteps;
      int h = row / sizes.qSteps % sizes.heads;
      int b = row / sizes.qSteps / sizes.heads;
      double[] s = pairs.scores(b, h, i);
      double[] gates = pairs.gates(b, h, i);
      var delta = new Sum();
      for (int d = 0; d < headSize; d++) {
        delta.add(douts[sizes.query(b, i, h, d)], outs[sizes.query(b, i, h, d)]);
      }
      for (int j = 0; j < kSteps; j++) {
        double e = round(Math.exp(Math.min(round(s[j] - sums[row]), MOST_EXPONENT)));
        if (e == 0) continue;
        var dp = new Sum();
        for (int d = 0; d < headSize; d++) {
          dp.add(douts[sizes.query(b, i, h, d)], vs[sizes.key(b, j, h, d)]);
        }
        double slope = round(e * round(dp.value() - delta.value()));
        double p = round(gates[j] * e);
        double ds = round(gates[j] * slope);
        toMask[sizes.mask(b, h, i, j)].add(slope);
        for (int d = 0; d < headSize; d++) {
          int query = sizes.query(b, i, h, d);
          int key = sizes.key(b, j, h, d);
          toQ[query].add(factor(dtype, ds), pairs.k[key]);
          toK[key].add(factor(dtype, ds), pairs.q[query]);
          toV[key].add(factor(dtype, p), douts[query]);
        }
      }
    }
    write(dtype, dq, values(toQ, round(scale)));
    write(dtype, dk, values(toK, round(scale)));
    write(dtype, dv, values(toV, 1));
    if (!missing(dmask)) write(dtype, dmask, values(toMask, 1));
  }

  /** Where the elements of the arrays lie. */
  private static final class Sizes {
    final int batch;
    final int heads;
    final int kvHeads;
    final int qSteps;
    final int kSteps;
    final int headSize;
    final int maskBatch;
    final int maskHeads;
    final int maskSteps;

    Sizes(long... sizes) {
      Plain.sizes(sizes);
      batch = (int) sizes[0];
      heads = (int) sizes[1];
      kvHeads = (int) sizes[2];
      qSteps = (int) sizes[3];
      kSteps = (int) sizes[4];
      headSize = (int) sizes[5];
      maskBatch = (int) sizes[6];
      maskHeads = (int) sizes[7];
      maskSteps = (int) sizes[8];
      if (heads % kvHeads != 0) {
        throw new IllegalArgumentException("heads " + heads + ", kv_heads " + kvHeads);
      }
      broadcast("mask_batch", maskBatch, batch);
      broadcast("mask_heads", maskHeads, heads);
      broadcast("mask_steps", maskSteps, qSteps);
    }

    private static void broadcast(String what, int size, int whole) {
      if (size != 1 && size != whole) {
        throw new IllegalArgumentException(what + " is " + size + "; it must be 1 or " + whole);
      }
    }

    int query(int b, int i, int h, int d) {
      return ((b * qSteps + i) * heads + h) * headSize + d;
    }

    /** The place of element d of the key that query head h reads. */
    int key(int b, int j, int h, int d) {
      return ((b * kSteps + j) * kvHeads + h / (heads / kvHeads)) * headSize + d;
    }

    int mask(int b, int h, int i, int j) {
      int row = (b % maskBatch * maskHeads + h % maskHeads) * maskSteps + i % maskSteps;
      return row * kSteps + j;
    }
  }

  /** Which key a query sees. */
  private static final class Sight {
    private final Sizes sizes;
    private final int causal;
    private final long window;
    private final int[] lengths;
    private final int[] qStarts;
    private final int[] kStarts;

    Sight(
        Sizes sizes,
        int causal,
        long window,
        long segments,
        MemorySegment lengths,
        MemorySegment qStarts,
        MemorySegment kStarts) {
      this.sizes = sizes;
      this.causal = causal;
      this.window = window;
      range("causal", causal, 0, 3);
      range("window", window, 0, (1L << 40) + 1);
      boolean packed = !missing(qStarts);
      if (packed == missing(kStarts)
          || packed != segments > 0
          || packed && (sizes.batch != 1 || !missing(lengths))
          || causal == 2 && missing(lengths)) {
        throw new IllegalArgumentException("lengths, q_starts, k_starts, segments " + segments);
      }
      this.lengths =
          missing(lengths)
              ? null
              : readIndex(lengths, "lengths", sizes.batch, 0, sizes.kSteps + 1L);
      this.qStarts = packed ? starts(qStarts, "q_starts", segments, sizes.qSteps) : null;
      this.kStarts = packed ? starts(kStarts, "k_starts", segments, sizes.kSteps) : null;
    }

    private static int[] starts(MemorySegment memory, String what, long segments, int total) {
      int[] starts = readIndex(memory, what, segments + 1, 0, total + 1L);
      boolean rises = starts[0] == 0 && starts[starts.length - 1] == total;
      for (int n = 1; n < starts.length; n++) rises &= starts[n] >= starts[n - 1];
      if (!rises) throw new IllegalArgumentException(what + " is " + Arrays.toString(starts));
      return starts;
    }

    boolean sees(int b, int query, int key) {
      int i = query;
      int j = key;
      int queries = sizes.qSteps;
      int keys = sizes.kSteps;
      if (qStarts != null) {
        int n = 0;
        while (query >= qStarts[n + 1]) n++;
        queries = qStarts[n + 1] - qStarts[n];
        keys = kStarts[n + 1] - kStarts[n];
        i -= qStarts[n];
        j -= kStarts[n];
      }
      int length = lengths == null ? keys : lengths[b];
      long t = (long) i + (causal == 2 ? length : keys) - queries;
      return j >= 0
          && j < length
          && (causal == 0 || j <= t)
          && (window == 0 || j > t - window && j < t + window);
    }
  }

  /** The scores of every query with its keys, and the gates between them. */
  private final class Pairs {
    final double[] q;
    final double[] k;
    final double[] mask;
    private final Sizes sizes;
    private final Sight sight;
    private final double scale;
    private final boolean gated;

    Pairs(
        int dtype,
        Sizes sizes,
        Sight sight,
        MemorySegment q,
        MemorySegment k,
        MemorySegment mask,
        double scale,
        int gated) {
      range("gated", gated, 0, 2);
      this.sizes = sizes;
      this.sight = sight;
      this.scale = round(scale);
      this.gated = gated != 0;
      this.q = read(dtype, q, sizes.batch, sizes.qSteps, sizes.heads, sizes.headSize);
      this.k = read(dtype, k, sizes.batch, sizes.kSteps, sizes.kvHeads, sizes.headSize);
      if (missing(mask)) {
        this.mask = new double[sizes.maskBatch * sizes.maskHeads * sizes.maskSteps * sizes.kSteps];
        Arrays.fill(this.mask, gated);
      } else {
        this.mask =
            read(dtype, mask, sizes.maskBatch, sizes.maskHeads, sizes.maskSteps, sizes.kSteps);
      }
    }

    /** s[j] = scale q . k[j], plus the mask if it is added; -infinity where key j is not seen. */
    double[] scores(int b, int h, int i) {
      var s = new double[sizes.kSteps];
      for (int j = 0; j < s.length; j++) {
        if (!sight.sees(b, i, j)) {
          s[j] = Double.NEGATIVE_INFINITY;
          continue;
        }
        var dot = new Sum();
        for (int d = 0; d < sizes.headSize; d++) {
          dot.add(q[sizes.query(b, i, h, d)], k[sizes.key(b, j, h, d)]);
        }
        s[j] = round(scale * dot.value());
        if (!gated) s[j] = round(s[j] + mask[sizes.mask(b, h, i, j)]);
      }
      return s;
    }

    /** What the weights are multiplied by: gates above 0, else 0; ones where there are none. */
    double[] gates(int b, int h, int i) {
      var gates = new double[sizes.kSteps];
      for (int j = 0; j < gates.length; j++) {
        double gate = gated ? mask[sizes.mask(b, h, i, j)] : 1;
        gates[j] = gate > 0 ? gate : 0;
      }
      return gates;
    }
  }
}
