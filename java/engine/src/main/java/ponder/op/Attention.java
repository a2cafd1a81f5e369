// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import ponder.DType;
import ponder.Grown;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * out = softmax(scale q k^T) v for every head over the keys that a query sees, the scores never
 * stored whole. Heads may share keys: query head h reads head h / (heads / kv_heads) of k and v. A
 * query that sees no key gives zeros.
 *
 * <pre>{@code
 * Tensor y = Attention.causal().apply(q, k, v);
 * Tensor near = Attention.causal().window(64).lengths(lengths).apply(q, k, v);
 * Tensor learned = Attention.full().scale(0.1).gates(gates).packed(starts, starts).apply(q, k, v);
 * }</pre>
 *
 * <p>The fields are the constants of a model; a tensor beside q, k and v is handed over by {@link
 * #mask}, {@link #gates}, {@link #lengths} or {@link #packed(Tensor, Tensor)}. The op's inputs are
 * q, k, v, then the mask or the gates, then the lengths or both starts, where the fields say so.
 * Source: Dao et al., arXiv:2205.14135; shared keys: Ainslie et al., arXiv:2305.13245.
 *
 * @param order what a query sees of the keys after it
 * @param window how far a query sees: the keys less than so many steps from it; 0 for all
 * @param scale what a product of a query and a key is multiplied by; NaN for 1 / sqrt(head_size)
 * @param masked whether a mask is added to the scores
 * @param gated whether the exponentials are multiplied by gates
 * @param padded whether lengths tell how many keys of each sequence count
 * @param packed whether starts divide one row into sequences
 */
public record Attention(
    Order order,
    long window,
    double scale,
    boolean masked,
    boolean gated,
    boolean padded,
    boolean packed)
    implements Op.Fused {
  private static final long LARGEST_WINDOW = 1L << 40;
  private static final double MOST_EXPONENT = 64;

  /** What a query sees of the keys after it. The numbers are the header's. */
  public enum Order {
    /** All of them. */
    FULL,
    /** None; the last query stands at the last key. */
    CAUSAL,
    /** None; the last query stands at the last key that counts, which only lengths tell. */
    CAUSAL_AT_LENGTH
  }

  /** Checks what excludes what. */
  public Attention {
    if (window < 0 || window > LARGEST_WINDOW) {
      throw new IllegalArgumentException(
          "attention: window is " + window + ", must be in [0, 2^40]; 0 is none");
    }
    if (masked && gated) {
      throw new IllegalArgumentException("attention: a mask and gates; must be one of them");
    }
    if (padded && packed) {
      throw new IllegalArgumentException("attention: lengths and starts; must be one of them");
    }
  }

  /** Returns attention to every key. */
  public static Attention full() {
    return of(Order.FULL);
  }

  /** Returns attention to no key after the query; the last query stands at the last key. */
  public static Attention causal() {
    return of(Order.CAUSAL);
  }

  /**
   * Returns attention to no key after the query, the last query at the last key that counts: for a
   * store of keys that has room for more. It needs {@link #lengths}.
   */
  public static Attention causalAtLength() {
    return of(Order.CAUSAL_AT_LENGTH);
  }

  private static Attention of(Order order) {
    return new Attention(order, 0, Double.NaN, false, false, false, false);
  }

  /**
   * Returns attention to keys and values that grow: to all that are held, the last query standing at
   * the last of them.
   *
   * @param q [batch, q_steps, heads, head_size]
   * @param k [batch, count, kv_heads, head_size]
   * @param v as many as k
   * @return the shape of q
   */
  public Tensor apply(Tensor q, Grown k, Grown v) {
    boolean together = k.count() == v.count() && k.room().shape().equals(v.room().shape());
    if (k.isFull() || !together || order == Order.FULL && window > 0) {
      return apply(q, k.tensor(), v.tensor());
    }
    Order held = order == Order.FULL ? Order.FULL : Order.CAUSAL_AT_LENGTH;
    var op = new Attention(held, window, scale, masked, gated, padded, packed);
    return op.lengths(k.lengths()).apply(q, k.room(), v.room());
  }

  /**
   * Returns the same attention to the keys less than {@code window} steps from the query.
   *
   * @param window at least 1, or 0 for all keys
   */
  public Attention window(long window) {
    return new Attention(order, window, scale, masked, gated, padded, packed);
  }

  /** Returns the same attention with products of queries and keys multiplied by {@code scale}. */
  public Attention scale(double scale) {
    return new Attention(order, window, scale, masked, gated, padded, packed);
  }

  /**
   * Adds a mask to the scores; -infinity hides a key.
   *
   * @param mask up to four axes that broadcast to [batch, heads, q_steps, k_steps], the last of
   *     them k_steps; of q's type; it has a gradient
   */
  public AttentionInputs mask(Tensor mask) {
    return new AttentionInputs(this).mask(mask);
  }

  /**
   * Multiplies the exponentials by gates: weight = gate exp(s) / sum of gate exp(s). A gate that is
   * not above 0 hides its key, and yet has the gradient of a factor, so that gates of 0 and 1 can be
   * learned straight through: see {@link Tensor#straightThrough}. In that gradient a score counts at
   * most e^64 times the sum.
   *
   * @param gates of a mask's shapes and type
   */
  public AttentionInputs gates(Tensor gates) {
    return new AttentionInputs(this).gates(gates);
  }

  /**
   * Lets only the first keys of each sequence count.
   *
   * @param lengths [batch], I32, in [0, k_steps]
   */
  public AttentionInputs lengths(Tensor lengths) {
    return new AttentionInputs(this).lengths(lengths);
  }

  /**
   * Takes the one row of q, and that of k and v, for sequences one after another: a query sees keys
   * of its own sequence alone, and steps count from its first.
   *
   * @param qStarts [sequences + 1], I32: where each sequence's queries begin, and q_steps; from 0,
   *     never falling
   * @param kStarts [sequences + 1], I32: where its keys begin, and k_steps
   */
  public AttentionInputs packed(Tensor qStarts, Tensor kStarts) {
    return new AttentionInputs(this).packed(qStarts, kStarts);
  }

  /** Returns whether a mask or gates follow q, k and v. */
  boolean weighted() {
    return masked || gated;
  }

  private double scaleOf(Tensor q) {
    return Double.isNaN(scale) ? 1 / Math.sqrt(q.shape().dim(3)) : scale;
  }

  // ---- the meaning -----------------------------------------------------------------------------

  @Override
  public Tensor definition(Tensor... in) {
    DType type = in[0].dtype();
    if (!type.hasArithmetic()) {
      Tensor[] wide = in.clone();
      for (int i = 0; i < (weighted() ? 4 : 3); i++) wide[i] = in[i].cast(type.sums());
      return definition(wide).cast(type);
    }
    long heads = in[0].shape().dim(2);
    Tensor q = in[0].swapAxes(1, 2);
    Tensor scores = q.matmul(spread(in[1], heads), false, true).scale(scaleOf(in[0]));
    if (masked) scores = scores.add(in[3]);
    if (order != Order.FULL || window > 0 || padded || packed) {
      scores = scores.add(new Sight(this, in).visibility(in[0]));
    }
    Tensor weights = gated ? gatedSoftmax(scores, in[3]) : new Softmax().definition(scores);
    return weights.matmul(spread(in[2], heads)).swapAxes(1, 2);
  }

  /** Returns keys or values [batch, heads, k_steps, size], each of their heads for its group. */
  private static Tensor spread(Tensor k, long heads) {
    Shape s = k.shape();
    Tensor x = k.swapAxes(1, 2);
    if (s.dim(2) == heads) return x;
    return x.broadcast(2, heads / s.dim(2)).reshape(s.dim(0), heads, s.dim(1), s.dim(3));
  }

  /**
   * Returns gate exp(s) over its sum along the last axis; zeros where no gate is above 0. A NaN
   * among the gates gives NaN here; kernels hide its key.
   */
  private static Tensor gatedSoftmax(Tensor scores, Tensor gates) {
    Shape column = scores.shape().with(-1, 1);
    Tensor zero = Constant.of(gates, Shape.scalar(), 0);
    Tensor hard = gates.detach().maximum(zero);
    Tensor seen = scores.detach().add(hard.greater(zero).log());
    Tensor largest = Softmax.finite(seen.largest(-1)).reshape(column);
    Tensor sum = seen.sub(largest).exp().mul(hard).sum(-1).reshape(column);
    // The exponent is at most 64 + log sum; where the sum is 0 that hides everything.
    Tensor most = sum.log().affine(1, MOST_EXPONENT);
    Tensor exponent = scores.sub(largest).neg().maximum(most.neg()).neg();
    Tensor weights = exponent.exp().mul(hard.straightThrough(gates));
    Tensor nothing = sum.greater(zero).affine(-1, 1);
    return weights.div(weights.sum(-1).reshape(column).add(nothing));
  }

  // ---- the kernels -----------------------------------------------------------------------------

  @Override
  public Result forward(Launch launch, Tensor... in) {
    AttentionInputs.check(this, in);
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
            optional(launch, mask(in)),
            optional(launch, lengths(in)),
            optional(launch, qStarts(in)),
            optional(launch, kStarts(in)),
            s.dim(0),
            s.dim(2),
            in[1].shape().dim(2),
            s.dim(1),
            in[1].shape().dim(1),
            s.dim(3),
            mask.dim(0),
            mask.dim(1),
            mask.dim(2),
            segments(in),
            window,
            scaleOf(q),
            order.ordinal(),
            gated ? 1 : 0);
    return new Result(out, lse);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor q = in[0];
    Shape s = q.shape();
    Shape mask = maskShape(in);
    Tensor[] derivatives = new Tensor[in.length];
    for (int i = 0; i < 3; i++) derivatives[i] = launch.output(q.dtype(), in[i].shape());
    boolean learned = weighted() && launch.needs(3);
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
            optional(launch, mask(in)),
            optional(launch, lengths(in)),
            optional(launch, qStarts(in)),
            optional(launch, kStarts(in)),
            launch.memory(y.value()),
            launch.memory(y.saved()[0]),
            s.dim(0),
            s.dim(2),
            in[1].shape().dim(2),
            s.dim(1),
            in[1].shape().dim(1),
            s.dim(3),
            mask.dim(0),
            mask.dim(1),
            mask.dim(2),
            segments(in),
            window,
            scaleOf(q),
            order.ordinal(),
            gated ? 1 : 0);
    return derivatives;
  }

  private static MemorySegment optional(Launch launch, Tensor t) {
    return t == null ? MemorySegment.NULL : launch.memory(t);
  }

  private Tensor mask(Tensor... in) {
    return weighted() ? in[3] : null;
  }

  Tensor lengths(Tensor... in) {
    return padded ? in[in.length - 1] : null;
  }

  Tensor qStarts(Tensor... in) {
    return packed ? in[in.length - 2] : null;
  }

  Tensor kStarts(Tensor... in) {
    return packed ? in[in.length - 1] : null;
  }

  private long segments(Tensor... in) {
    return packed ? qStarts(in).size() - 1 : 0;
  }

  /** Returns the mask's four sizes, leading ones of 1 added. */
  private Shape maskShape(Tensor... in) {
    Shape shape = weighted() ? in[3].shape() : Shape.of(in[1].shape().dim(1));
    while (shape.rank() < 4) shape = shape.insert(0, 1);
    return shape;
  }

  // ---- what it costs ---------------------------------------------------------------------------

  /**
   * Per visible pair the two products, and scale, largest, difference, exp and sum, the mask's sum,
   * or the gate's comparison and product; per query and head the quotient of each element, and 2
   * for the log-sum-exp. Keys and values that no query sees are not read.
   */
  @Override
  public Work work(Tensor... in) {
    Sight.Visits visits = new Sight(this, in).visits();
    long pairs = visits.pairs();
    long queries = in[0].size() / in[0].shape().dim(3);
    long products = 4 * pairs * in[0].shape().dim(3);
    long each = gated ? 7 : masked ? 6 : 5;
    long flops = products + pairs * each + in[0].size() + 2 * queries;
    long read = in[0].bytes() + 2 * visits.bytesOf(in[1]) + others(in);
    long written = in[0].bytes() + queries * in[0].dtype().sums().bytes();
    return new Work(flops, products, read + written);
  }

  /**
   * Per visible pair five products, and scale, difference, exp, difference and product; for a mask
   * two sums more, for gates a comparison, the exponent's bound, two products and a sum; per query
   * the sum over dout out, and the scale of dq and dk.
   */
  @Override
  public Work backwardWork(Tensor... in) {
    Sight.Visits visits = new Sight(this, in).visits();
    long pairs = visits.pairs();
    Tensor q = in[0];
    Tensor k = in[1];
    long queries = q.size() / q.shape().dim(3);
    long products = 10 * pairs * q.shape().dim(3);
    long each = gated ? 10 : masked ? 7 : 5;
    long flops = products + pairs * each + 3 * q.size() + k.size();
    long sums = queries * q.dtype().sums().bytes();
    long read = 3 * q.bytes() + 2 * visits.bytesOf(k) + others(in) + sums;
    long written = q.bytes() + 2 * k.bytes() + (weighted() ? in[3].bytes() : 0);
    return new Work(flops, products, read + written);
  }

  /** Returns the bytes of the inputs after q, k and v. */
  private static long others(Tensor... in) {
    long bytes = 0;
    for (int i = 3; i < in.length; i++) bytes += in[i].bytes();
    return bytes;
  }
}
