// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * out = softmax(scale q k^T + mask) v for every head, the scores never stored whole. The inputs are
 * q, k, v, then the mask and then the lengths where the fields say so. Source: Dao et al.,
 * arXiv:2205.14135.
 *
 * @param scale what a product of a query and a key is multiplied by
 * @param causal whether a query sees no key after it; the last query stands at the last key
 * @param masked whether an additive mask is among the inputs
 * @param padded whether lengths are among the inputs
 */
public record Attention(double scale, boolean causal, boolean masked, boolean padded)
    implements Op.Fused {
  private static final long LARGEST_HEAD = 256;

  /** Returns attention with scale 1 / sqrt(head_size), without mask and lengths. */
  public static Tensor attention(Tensor q, Tensor k, Tensor v, boolean causal) {
    double size = q.shape().rank() == 0 ? 1 : q.shape().dim(-1);
    return attention(q, k, v, null, null, 1 / Math.sqrt(size), causal);
  }

  /**
   * Returns, for each query and head, the mean of the visible values weighted by the softmax of the
   * scores. Key j is visible to query i if j is below its sequence's length and, where causal, j is
   * at most i + k_steps - q_steps. A query that sees no key, or only masks of -infinity, gives
   * zeros.
   *
   * @param q [batch, q_steps, heads, head_size], F32, F64 or BF16; head_size at most 256
   * @param k [batch, k_steps, heads, head_size]
   * @param v [batch, k_steps, heads, head_size]
   * @param mask null, or what is added to the scores: up to four axes that broadcast to [batch,
   *     heads, q_steps, k_steps], the last of them k_steps; it has a gradient
   * @param lengths null, or [batch], I32, how many keys of each sequence count, in [0, k_steps]
   * @param scale what a product of a query and a key is multiplied by
   * @param causal whether a query sees no key after it
   * @return the shape of q
   * @throws IllegalArgumentException if shapes or types do not fit, or a length is outside its
   *     range
   */
  public static Tensor attention(
      Tensor q, Tensor k, Tensor v, Tensor mask, Tensor lengths, double scale, boolean causal) {
    var op = new Attention(scale, causal, mask != null, lengths != null);
    Tensor[] in = {q, k, v, null, null};
    int count = 3;
    if (mask != null) in[count++] = mask;
    if (lengths != null) in[count++] = lengths;
    return op.apply(Arrays.copyOf(in, count));
  }

  @Override
  public Tensor definition(Tensor... in) {
    DType type = in[0].dtype();
    if (!type.hasArithmetic()) {
      Tensor[] wide = in.clone();
      for (int i = 0; i < (masked ? 4 : 3); i++) wide[i] = in[i].cast(type.sums());
      return definition(wide).cast(type);
    }
    Tensor q = in[0].swapAxes(1, 2);
    Tensor k = in[1].swapAxes(1, 2);
    Tensor v = in[2].swapAxes(1, 2);
    Tensor scores = q.matmul(k, false, true).scale(scale);
    if (masked) scores = scores.add(in[3]);
    if (causal || padded) scores = scores.add(visibility(in));
    return new Softmax().definition(scores).matmul(v).swapAxes(1, 2);
  }

  /** Returns [batch, 1, q_steps, k_steps]: 0 where a key is visible, -infinity elsewhere. */
  private Tensor visibility(Tensor... in) {
    int batch = Math.toIntExact(in[0].shape().dim(0));
    int queries = Math.toIntExact(in[0].shape().dim(1));
    int keys = Math.toIntExact(in[1].shape().dim(1));
    var values = new double[Math.multiplyExact(Math.multiplyExact(batch, queries), keys)];
    int[] lengths = lengths(in);
    for (int b = 0; b < batch; b++) {
      for (int i = 0; i < queries; i++) {
        int from = (b * queries + i) * keys;
        int seen = (int) visible(lengths == null ? keys : lengths[b], i, queries, keys);
        Arrays.fill(values, from + seen, from + keys, Double.NEGATIVE_INFINITY);
      }
    }
    return Constant.of(in[0], Shape.of(batch, 1, queries, keys), values);
  }

  private int[] lengths(Tensor... in) {
    return padded ? in[in.length - 1].toInts() : null;
  }

  /** Returns how many keys query i sees; they are the first ones. */
  private long visible(long length, long i, long queries, long keys) {
    return causal ? Math.clamp(i + keys - queries + 1, 0, length) : length;
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    check(in);
    Tensor q = in[0];
    Shape s = q.shape();
    Shape mask = maskShape(in);
    Tensor out = launch.output(q.dtype(), s);
    Tensor lse = launch.output(q.dtype().sums(), Shape.of(s.dim(0), s.dim(2), s.dim(1)));
    Kernels.of(launch)
        .attention(
            q.dtype().code(),
            launch.memory(out),
            launch.memory(lse),
            launch.memory(q),
            launch.memory(in[1]),
            launch.memory(in[2]),
            masked ? launch.memory(in[3]) : MemorySegment.NULL,
            padded ? launch.memory(in[in.length - 1]) : MemorySegment.NULL,
            s.dim(0),
            s.dim(2),
            s.dim(1),
            in[1].shape().dim(1),
            s.dim(3),
            mask.dim(0),
            mask.dim(1),
            mask.dim(2),
            scale,
            causal ? 1 : 0);
    return new Result(out, lse);
  }

  private void check(Tensor... in) {
    int wanted = 3 + (masked ? 1 : 0) + (padded ? 1 : 0);
    if (in.length != wanted) {
      throw new IllegalArgumentException("attention: " + in.length + " inputs, not " + wanted);
    }
    Tensor q = in[0];
    Shape s = q.shape();
    DType.requireFloat("attention: q", q.dtype());
    if (s.rank() != 4 || s.dim(3) > LARGEST_HEAD) {
      throw new IllegalArgumentException(
          "attention: q has shape "
              + s
              + ", must be [batch, q_steps, heads, head_size], head_size at most "
              + LARGEST_HEAD);
    }
    DType.require("attention: k", in[1].dtype(), q.dtype());
    DType.require("attention: v", in[2].dtype(), q.dtype());
    Shape keys = in[1].shape();
    Shape like = keys.rank() == 4 ? s.with(1, keys.dim(1)) : s;
    Shape.require("attention: k", keys, like, "q", s);
    Shape.require("attention: v", in[2].shape(), keys, "k", keys);
    if (masked) {
      DType.require("attention: mask", in[3].dtype(), q.dtype());
      Shape full = Shape.of(s.dim(0), s.dim(2), s.dim(1), keys.dim(1));
      Shape mask = in[3].shape();
      boolean fits = mask.rank() >= 1 && mask.rank() <= 4 && mask.dim(-1) == full.dim(3);
      for (int i = 2; fits && i <= mask.rank(); i++) {
        fits = mask.dim(-i) == 1 || mask.dim(-i) == full.dim(-i);
      }
      if (!fits) {
        throw new IllegalArgumentException(
            "attention: mask has shape "
                + mask
                + ", must broadcast to "
                + full
                + " and end in its last size");
      }
    }
    if (padded) {
      Tensor lengths = in[in.length - 1];
      DType.require("attention: lengths", lengths.dtype(), DType.I32);
      Shape.require("attention: lengths", lengths.shape(), Shape.of(s.dim(0)), "q", s);
    }
  }

  /** Returns the mask's four sizes, leading ones of 1 added. */
  private Shape maskShape(Tensor... in) {
    Shape shape = masked ? in[3].shape() : Shape.of(in[1].shape().dim(1));
    while (shape.rank() < 4) shape = shape.insert(0, 1);
    return shape;
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor q = in[0];
    Shape s = q.shape();
    Shape mask = maskShape(in);
    Tensor[] derivatives = new Tensor[in.length];
    for (int i = 0; i < 3; i++) derivatives[i] = launch.output(q.dtype(), in[i].shape());
    boolean learned = masked && launch.needs(3);
    if (learned) derivatives[3] = launch.output(q.dtype(), in[3].shape());
    Kernels.of(launch)
        .attentionBackward(
            q.dtype().code(),
            launch.memory(derivatives[0]),
            launch.memory(derivatives[1]),
            launch.memory(derivatives[2]),
            learned ? launch.memory(derivatives[3]) : MemorySegment.NULL,
            launch.memory(dy),
            launch.memory(q),
            launch.memory(in[1]),
            launch.memory(in[2]),
            masked ? launch.memory(in[3]) : MemorySegment.NULL,
            padded ? launch.memory(in[in.length - 1]) : MemorySegment.NULL,
            launch.memory(y.value()),
            launch.memory(y.saved()[0]),
            s.dim(0),
            s.dim(2),
            s.dim(1),
            in[1].shape().dim(1),
            s.dim(3),
            mask.dim(0),
            mask.dim(1),
            mask.dim(2),
            scale,
            causal ? 1 : 0);
    return derivatives;
  }

  /** The number of visible pairs of a query and a key, all heads together. */
  private long pairs(Tensor... in) {
    Shape s = in[0].shape();
    long queries = s.dim(1);
    long keys = in[1].shape().dim(1);
    int[] lengths = lengths(in);
    long pairs = 0;
    for (int b = 0; b < s.dim(0); b++) {
      long length = lengths == null ? keys : lengths[b];
      if (!causal) {
        pairs += length * queries;
        continue;
      }
      for (long i = 0; i < queries; i++) pairs += visible(length, i, queries, keys);
    }
    return pairs * s.dim(2);
  }

  /**
   * Per visible pair the two products, and scale, largest, difference, exp and sum, and the mask's
   * sum; per query and head the quotient of each element, and 2 for the log-sum-exp.
   */
  @Override
  public Work work(Tensor... in) {
    long pairs = pairs(in);
    long queries = in[0].size() / in[0].shape().dim(3);
    long products = 4 * pairs * in[0].shape().dim(3);
    long flops = products + pairs * (masked ? 6 : 5) + in[0].size() + 2 * queries;
    return new Work(flops, products, queries * in[0].dtype().sums().bytes())
        .plus(Work.of(0, in))
        .plus(Work.of(0, in[0]));
  }

  /**
   * Per visible pair five products, and scale, difference, exp, difference and product, and for a
   * mask two sums more; per query the sum over dout out, and the scale of dq and dk.
   */
  @Override
  public Work backwardWork(Tensor... in) {
    long pairs = pairs(in);
    Tensor q = in[0];
    Tensor k = in[1];
    long queries = q.size() / q.shape().dim(3);
    long products = 10 * pairs * q.shape().dim(3);
    long flops = products + pairs * (masked ? 7 : 5) + 3 * q.size() + k.size();
    // Read: dout, out, lse and the inputs; written: one derivative for each input of floats.
    Work work = new Work(flops, products, queries * q.dtype().sums().bytes());
    work = work.plus(Work.of(0, q, q, q, k, k)).plus(Work.of(0, in));
    return masked ? work.plus(Work.of(0, in[3])) : work;
  }
}
