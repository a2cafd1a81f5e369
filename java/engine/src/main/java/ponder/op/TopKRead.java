// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.stream.IntStream;
import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * A read of the few slots of a memory whose keys are nearest to each query: attention to the
 * {@code count} slots of the largest scores scale q . key alone, of equal scores the lower slots. A
 * score of NaN or -infinity is never chosen; a query that finds no slot gives zeros. Which slots are
 * read has no derivative.
 *
 * <pre>{@code
 * Tensor y = TopKRead.of(32).read(q, keys, values);
 * Tensor own = TopKRead.of(32).after(0).read(q, keys, values);      // of what it wrote before
 * Tensor filled = TopKRead.of(32).scale(1).read(q, keys, values, lengths);
 * }</pre>
 *
 * <p>Source: Rae et al., arXiv:1610.09027, section 3.1.
 *
 * @param count how many slots a query reads, 1 to 256
 * @param start query i reads slots before start + i alone; -1 where it may read all
 * @param scale what a product of a query and a key is multiplied by; NaN for 1 / sqrt(key_size)
 * @param partly whether lengths tell how many slots each query may read
 */
public record TopKRead(long count, long start, double scale, boolean partly) implements Op.Fused {
  private static final long MOST = 256;
  private static final long LARGEST_START = 1L << 40;

  /** Checks the numbers. */
  public TopKRead {
    if (count < 1 || count > MOST) {
      throw new IllegalArgumentException(
          "topKRead: count is " + count + ", must be in [1, " + MOST + "]");
    }
    if (start < -1 || start > LARGEST_START) {
      throw new IllegalArgumentException(
          "topKRead: start is " + start + ", must be in [0, 2^40], or -1 for none");
    }
  }

  /** Returns a read of so many slots with scores q . key / sqrt(key_size). */
  public static TopKRead of(long count) {
    return new TopKRead(count, -1, Double.NaN, false);
  }

  /** Returns the same read with products of queries and keys multiplied by {@code scale}. */
  public TopKRead scale(double scale) {
    return new TopKRead(count, start, scale, partly);
  }

  /**
   * Returns the same read by a sequence that writes a slot at each step and reads those of the steps
   * before.
   *
   * @param start how many slots were written before the first query
   */
  public TopKRead after(long start) {
    if (start < 0) {
      throw new IllegalArgumentException("topKRead: start is " + start + ", below 0");
    }
    return new TopKRead(count, start, scale, partly);
  }

  /**
   * Returns, for each query, the mean of the values it reads, weighted by the softmax of their
   * scores.
   *
   * @param q [batch, queries, key_size], F32 or F64
   * @param keys [batch, slots, key_size]
   * @param values [batch, slots, value_size]
   * @return [batch, queries, value_size]
   * @throws IllegalArgumentException if shapes or types do not fit
   */
  public Tensor read(Tensor q, Tensor keys, Tensor values) {
    return new TopKRead(count, start, scale, false).apply(q, keys, values);
  }

  /**
   * Returns the same where a query may read the first slots alone: those written before it.
   *
   * @param lengths [batch, queries], I32, in [0, slots]
   */
  public Tensor read(Tensor q, Tensor keys, Tensor values, Tensor lengths) {
    return new TopKRead(count, start, scale, true).apply(q, keys, values, lengths);
  }

  private double scaleOf(Tensor q) {
    return Double.isNaN(scale) ? 1 / Math.sqrt(q.shape().dim(2)) : scale;
  }

  /** Attention to the slots found: which they are is no function that has a derivative. */
  @Override
  public Tensor definition(Tensor... in) {
    Tensor q = in[0];
    Shape s = q.shape();
    int[] slots = nearest(in);
    int[] rows = new int[slots.length];
    var hidden = new double[slots.length];
    for (int i = 0; i < slots.length; i++) {
      long batch = i / (s.dim(1) * count);
      rows[i] = Math.toIntExact(batch * in[1].shape().dim(1) + Math.max(0, slots[i]));
      hidden[i] = slots[i] < 0 ? Double.NEGATIVE_INFINITY : 0;
    }
    Shape reads = Shape.of(s.dim(0), s.dim(1), count);
    Tensor index = q.device().scope().indices(reads, rows);
    Tensor keys = in[1].reshape(in[1].shape().rows(), s.dim(2)).gather(index);
    Tensor values = in[2].reshape(in[2].shape().rows(), in[2].shape().dim(2)).gather(index);
    Tensor scores = keys.mul(q.reshape(s.insert(2, 1)).broadcastTo(keys.shape())).sum(-1);
    scores = scores.scale(scaleOf(q)).add(Constant.of(q, reads, hidden));
    Tensor p = new Softmax().definition(scores).reshape(s.dim(0) * s.dim(1), 1, count);
    Shape rowsOfValues = Shape.of(s.dim(0) * s.dim(1), count, values.shape().dim(3));
    return p.matmul(values.reshape(rowsOfValues)).reshape(s.with(2, values.shape().dim(3)));
  }

  /** Returns the slots [batch, queries, count] of the largest scores, -1 where there are no more. */
  private int[] nearest(Tensor... in) {
    Tensor q = in[0].detach();
    double[] scores = q.matmul(in[1].detach(), false, true).scale(scaleOf(q)).toDoubles();
    int[] ends = ends(in);
    int slots = Math.toIntExact(in[1].shape().dim(1));
    var nearest = new int[Math.toIntExact(ends.length * count)];
    Arrays.fill(nearest, -1);
    for (int i = 0; i < ends.length; i++) {
      int first = i * slots;
      int[] best =
          IntStream.range(first, first + ends[i])
              .filter(m -> scores[m] > Double.NEGATIVE_INFINITY)
              .boxed()
              .sorted((m, n) -> scores[m] > scores[n] ? -1 : scores[m] < scores[n] ? 1 : 0)
              .limit(count)
              .mapToInt(m -> m - first)
              .toArray();
      System.arraycopy(best, 0, nearest, i * (int) count, best.length);
    }
    return nearest;
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    check(in);
    Tensor q = in[0];
    Shape s = q.shape();
    Shape values = in[2].shape();
    Tensor out = launch.output(q.dtype(), Shape.of(s.dim(0), s.dim(1), values.dim(2)));
    Tensor p = launch.output(q.dtype(), Shape.of(s.dim(0), s.dim(1), count));
    Tensor index = launch.output(DType.I32, p.shape());
    Kernels.of(launch)
        .topKRead(
            q.dtype().code(),
            launch.memory(out),
            launch.memory(p),
            launch.memory(index),
            launch.memory(q),
            launch.memory(in[1]),
            launch.memory(in[2]),
            partly ? launch.memory(in[3]) : MemorySegment.NULL,
            s.dim(0),
            s.dim(1),
            values.dim(1),
            s.dim(2),
            values.dim(2),
            count,
            start,
            scaleOf(q));
    return new Result(out, p, index);
  }

  private void check(Tensor... in) {
    Tensor q = in[0];
    Shape s = q.shape();
    DType.requireArithmetic("topKRead: q", q.dtype());
    if (s.rank() != 3) {
      throw new IllegalArgumentException(
          "topKRead: q has shape " + s + ", must be [batch, queries, key_size]");
    }
    DType.require("topKRead: keys", in[1].dtype(), q.dtype());
    DType.require("topKRead: values", in[2].dtype(), q.dtype());
    Shape keys = in[1].shape();
    if (keys.rank() != 3 || keys.dim(0) != s.dim(0) || keys.dim(2) != s.dim(2)) {
      throw new IllegalArgumentException(
          "topKRead: keys has shape %s, q has %s; keys must be [%s, slots, %s]"
              .formatted(keys, s, s.dim(0), s.dim(2)));
    }
    Shape values = in[2].shape();
    if (values.rank() != 3 || values.dim(0) != s.dim(0) || values.dim(1) != keys.dim(1)) {
      throw new IllegalArgumentException(
          "topKRead: values has shape %s, keys has %s; values must be [%s, %s, value_size]"
              .formatted(values, keys, s.dim(0), keys.dim(1)));
    }
    if (!partly) return;
    DType.require("topKRead: lengths", in[3].dtype(), DType.I32);
    Shape.require("topKRead: lengths", in[3].shape(), Shape.of(s.dim(0), s.dim(1)), "q", s);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor q = in[0];
    Shape s = q.shape();
    Shape values = in[2].shape();
    var derivatives = new Tensor[in.length];
    for (int i = 0; i < 3; i++) derivatives[i] = launch.output(q.dtype(), in[i].shape());
    Kernels.of(launch)
        .topKReadBackward(
            q.dtype().code(),
            launch.memory(derivatives[0]),
            launch.memory(derivatives[1]),
            launch.memory(derivatives[2]),
            launch.memory(dy),
            launch.memory(q),
            launch.memory(in[1]),
            launch.memory(in[2]),
            launch.memory(y.saved()[0]),
            launch.memory(y.saved()[1]),
            s.dim(0),
            s.dim(1),
            values.dim(1),
            s.dim(2),
            values.dim(2),
            count,
            scaleOf(q));
    return derivatives;
  }

  /**
   * Per score the product, the scale and a comparison; per read the product with the value, and
   * difference, exp, sum and quotient. A slot that no query may read is not read.
   */
  @Override
  public Work work(Tensor... in) {
    Shape s = in[0].shape();
    int[] ends = ends(in);
    long scores = sum(Long.MAX_VALUE, ends);
    long reads = sum(count, ends);
    long valueSize = in[2].shape().dim(2);
    long products = 2 * scores * s.dim(2) + 2 * reads * valueSize;
    long element = in[0].dtype().bytes();
    long rows = s.dim(0) * s.dim(1);
    long read = in[0].bytes() + (keysRead(s, ends) * s.dim(2) + reads * valueSize) * element;
    long written = rows * (valueSize + count) * element + 4 * rows * count;
    long lengths = partly ? in[3].bytes() : 0;
    return new Work(products + 2 * scores + 4 * reads, products, read + written + lengths);
  }

  /** Per read four products, and the sum over p dp, difference and two products. */
  @Override
  public Work backwardWork(Tensor... in) {
    Shape s = in[0].shape();
    long reads = sum(count, ends(in));
    long sizes = s.dim(2) + in[2].shape().dim(2);
    long products = 4 * reads * sizes;
    long element = in[0].dtype().bytes();
    long rows = s.dim(0) * s.dim(1);
    long kept = rows * count * (element + 4);
    // Read: dout, q, the slots' keys and values, p and index; written: three derivatives.
    long bytes =
        (rows * sizes + reads * sizes) * element
            + kept
            + in[0].bytes()
            + in[1].bytes()
            + in[2].bytes();
    return new Work(products + 5 * reads, products, bytes);
  }

  /** Returns where the slots end that each query may read. */
  private int[] ends(Tensor... in) {
    Shape q = in[0].shape();
    long slots = in[1].shape().dim(1);
    int[] lengths = partly ? in[3].toInts() : null;
    var ends = new int[Math.toIntExact(q.dim(0) * q.dim(1))];
    for (int i = 0; i < ends.length; i++) {
      long written = start < 0 ? slots : Math.min(slots, start + i % q.dim(1));
      ends[i] = (int) (partly ? Math.min(written, lengths[i]) : written);
    }
    return ends;
  }

  /** Returns how many keys some query may read, of all memories. */
  private static long keysRead(Shape q, int... ends) {
    int queries = Math.toIntExact(q.dim(1));
    long sum = 0;
    for (int first = 0; first < ends.length; first += queries) {
      sum += Arrays.stream(ends, first, first + queries).max().getAsInt();
    }
    return sum;
  }

  /** Returns the sum over queries of the slots that one may read, at most so many. */
  private static long sum(long most, int... ends) {
    return Arrays.stream(ends).mapToLong(end -> Math.min(most, end)).sum();
  }
}
