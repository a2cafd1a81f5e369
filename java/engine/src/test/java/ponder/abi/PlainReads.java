// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.stream.IntStream;

/** Reads of a memory in plain loops: every score, all of them sorted. */
abstract class PlainReads extends PlainAttention {
  private static final long MOST_READS = 256;

  PlainReads(boolean narrow) {
    super(narrow);
  }

  @Override
  public void topKRead(
      int dtype,
      MemorySegment out,
      MemorySegment p,
      MemorySegment index,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment lengths,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      long start,
      double scale) {
    floats(dtype);
    range("count", count, 1, MOST_READS + 1);
    range("start", start, -1, (1L << 40) + 1);
    double[] qs = read(dtype, q, batch, queries, keySize);
    double[] ks = read(dtype, keys, batch, slots, keySize);
    double[] vs = read(dtype, values, batch, slots, valueSize);
    int rows = (int) (batch * queries);
    int[] ends = new int[rows];
    Arrays.fill(ends, (int) slots);
    if (!missing(lengths)) ends = readIndex(lengths, "lengths", rows, 0, slots + 1);
    for (int row = 0; start >= 0 && row < rows; row++) {
      ends[row] = (int) Math.min(ends[row], start + row % queries);
    }
    int k = (int) count;
    var outs = new double[rows * (int) valueSize];
    var weights = new double[rows * k];
    var indices = new double[rows * k];
    Arrays.fill(indices, -1);
    double factor = dtype == F32 ? (float) scale : scale;
    for (int row = 0; row < rows; row++) {
      int b = row / (int) queries;
      var scores = new double[ends[row]];
      for (int m = 0; m < ends[row]; m++) {
        var sum = new Sum();
        int key = (int) (b * slots + m) * (int) keySize;
        for (int c = 0; c < keySize; c++) sum.add(qs[row * (int) keySize + c], ks[key + c]);
        scores[m] = round(factor * sum.value());
      }
      int[] best =
          IntStream.range(0, ends[row])
              .filter(m -> scores[m] > Double.NEGATIVE_INFINITY)
              .boxed()
              // Not Double.compare, which tells zeros apart.
              .sorted((m, n) -> scores[m] > scores[n] ? -1 : scores[m] < scores[n] ? 1 : 0)
              .limit(k)
              .mapToInt(m -> m)
              .toArray();
      double total = 0;
      for (int j = 0; j < best.length; j++) {
        indices[row * k + j] = best[j];
        weights[row * k + j] = round(Math.exp(round(scores[best[j]] - scores[best[0]])));
        total = round(total + weights[row * k + j]);
      }
      for (int j = 0; j < best.length; j++) {
        weights[row * k + j] = round(weights[row * k + j] / total);
      }
      for (int c = 0; c < valueSize; c++) {
        var sum = new Sum();
        for (int j = 0; j < best.length; j++) {
          sum.add(weights[row * k + j], vs[(int) (b * slots + best[j]) * (int) valueSize + c]);
        }
        outs[row * (int) valueSize + c] = sum.value();
      }
    }
    write(dtype, out, outs);
    write(dtype, p, weights);
    write(I32, index, indices);
  }

  @Override
  public void topKReadBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment p,
      MemorySegment index,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      double scale) {
    floats(dtype);
    range("count", count, 1, MOST_READS + 1);
    double[] adjoints = read(dtype, dout, batch, queries, valueSize);
    double[] qs = read(dtype, q, batch, queries, keySize);
    double[] ks = read(dtype, keys, batch, slots, keySize);
    double[] vs = read(dtype, values, batch, slots, valueSize);
    double[] weights = read(dtype, p, batch, queries, count);
    int[] indices = readIndex(index, "index", batch * queries * count, -1, slots);
    int size = (int) keySize;
    int width = (int) valueSize;
    int k = (int) count;
    Sum[] toQ = sums(qs.length);
    Sum[] toKeys = sums(ks.length);
    Sum[] toValues = sums(vs.length);
    double factor = dtype == F32 ? (float) scale : scale;
    for (int row = 0; row < batch * queries; row++) {
      int base = row / (int) queries * (int) slots;
      var dp = new double[k];
      var mean = new Sum();
      for (int j = 0; j < k; j++) {
        int slot = indices[row * k + j];
        if (slot < 0) continue;
        var sum = new Sum();
        for (int c = 0; c < width; c++) {
          sum.add(adjoints[row * width + c], vs[(base + slot) * width + c]);
        }
        dp[j] = sum.value();
        mean.add(weights[row * k + j], dp[j]);
      }
      for (int j = 0; j < k; j++) {
        int slot = indices[row * k + j];
        if (slot < 0) continue;
        double weight = weights[row * k + j];
        double ds = round(factor * round(weight * round(dp[j] - mean.value())));
        for (int c = 0; c < size; c++) {
          toQ[row * size + c].add(ds, ks[(base + slot) * size + c]);
          toKeys[(base + slot) * size + c].add(ds, qs[row * size + c]);
        }
        for (int c = 0; c < width; c++) {
          toValues[(base + slot) * width + c].add(weight, adjoints[row * width + c]);
        }
      }
    }
    write(dtype, dq, values(toQ, 1));
    write(dtype, dkeys, values(toKeys, 1));
    write(dtype, dvalues, values(toValues, 1));
  }
}
