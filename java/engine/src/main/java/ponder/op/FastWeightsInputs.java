// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import ponder.DType;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;

/**
 * A {@link FastWeights} with the tensors that it takes beside q, k and v. Immutable: each method
 * returns another one, and {@link #apply} computes.
 */
public final class FastWeightsInputs {
  private static final long LARGEST = 256;

  private final FastWeights op;
  private final List<Tensor> writes;
  // The decay, the initial state, resets and lengths, or null.
  private final Tensor[] others;

  FastWeightsInputs(FastWeights.Kind kind, Tensor... writes) {
    this(new FastWeights(kind, 0, 1, false, false, false, false, false, false), writes);
  }

  private FastWeightsInputs(FastWeights op, Tensor... writes) {
    this.op = op;
    this.writes = Arrays.stream(writes).map(t -> of("rate, erase or write", t)).toList();
    this.others = new Tensor[4];
  }

  private FastWeightsInputs(FastWeights op, List<Tensor> writes, Tensor... others) {
    this.op = op;
    this.writes = writes;
    this.others = others;
  }

  private static Tensor of(String name, Tensor t) {
    if (t == null) throw new IllegalArgumentException("fastWeights: " + name + " is null");
    return t;
  }

  private FastWeightsInputs with(long chunk, double scale, boolean features, boolean normalised) {
    var changed =
        new FastWeights(
            op.kind(),
            chunk,
            scale,
            features,
            normalised,
            others[0] != null,
            others[1] != null,
            others[2] != null,
            others[3] != null);
    return new FastWeightsInputs(changed, writes, others);
  }

  private FastWeightsInputs with(int which, String name, Tensor t) {
    Tensor[] changed = others.clone();
    changed[which] = of(name, t);
    return new FastWeightsInputs(op, writes, changed)
        .with(op.chunk(), op.scale(), op.features(), op.normalised());
  }

  /** Takes so many steps at a time, at most 256; 0 takes them one by one. */
  public FastWeightsInputs chunk(long chunk) {
    return with(chunk, op.scale(), op.features(), op.normalised());
  }

  /** Multiplies what is read by {@code scale}. */
  public FastWeightsInputs scale(double scale) {
    return with(op.chunk(), scale, op.features(), op.normalised());
  }

  /** Takes q and k for elu + 1 of them, which is above 0. */
  public FastWeightsInputs features() {
    return with(op.chunk(), op.scale(), true, op.normalised());
  }

  /** Divides what is read by q . z, z being the decayed sum of the keys; zeros where that is 0. */
  public FastWeightsInputs normalised() {
    return with(op.chunk(), op.scale(), op.features(), true);
  }

  /**
   * Multiplies the state before each step.
   *
   * @param decay [batch, steps, heads, 1 or keys], factors, most sensibly in [0, 1]
   */
  public FastWeightsInputs decay(Tensor decay) {
    return with(0, "decay", decay);
  }

  /**
   * Starts from a state.
   *
   * @param initial [batch, heads, keys, values], with one more column where normalised, the sum of
   *     the keys
   */
  public FastWeightsInputs initial(Tensor initial) {
    return with(1, "initial", initial);
  }

  /**
   * Clears the state before some steps, whatever it holds.
   *
   * @param resets [batch, steps], I32, not 0 where a new sequence begins
   */
  public FastWeightsInputs resets(Tensor resets) {
    return with(2, "resets", resets);
  }

  /**
   * Lets only the first steps of each row count: the others leave the state and give zeros.
   *
   * @param lengths [batch], I32, in [0, steps]
   */
  public FastWeightsInputs lengths(Tensor lengths) {
    return with(3, "lengths", lengths);
  }

  /**
   * Returns what each step reads after its write.
   *
   * @param q [batch, steps, heads, keys], F32, F64 or BF16; keys and values at most 256. Beside
   *     BF16 all but q, k and v is F32: it adds up or multiplies up over the steps
   * @param k the shape and type of q
   * @param v [batch, steps, heads, values], the type of q
   * @return the shape and type of v
   * @throws IllegalArgumentException if shapes or types do not fit, or a length is out of its range
   */
  public Tensor apply(Tensor q, Tensor k, Tensor v) {
    return op.apply(inputs(q, k, v));
  }

  /**
   * What a scan gives.
   *
   * @param out what {@link #apply} returns
   * @param state [batch, heads, keys, values], one column more where normalised, after the last
   *     step: T steps equal T1 steps and the rest from this state
   */
  public record Scanned(Tensor out, Tensor state) {}

  /** Returns what {@link #apply} does, and the state after the last step; both have derivatives. */
  public Scanned scan(Tensor q, Tensor k, Tensor v) {
    Tensor[] in = inputs(q, k, v);
    Result result = op.run(in);
    Tensor[] with = Arrays.copyOf(in, in.length + 1);
    with[in.length] = result.saved()[0];
    return new Scanned(result.value(), new FastWeightsEnd(op).apply(with));
  }

  private Tensor[] inputs(Tensor q, Tensor k, Tensor v) {
    List<Tensor> in = new ArrayList<>(Arrays.asList(q, k, v));
    in.addAll(writes);
    Arrays.stream(others).filter(Objects::nonNull).forEach(in::add);
    return in.toArray(Tensor[]::new);
  }

  /** Returns the op that {@link #apply} applies. */
  public FastWeights op() {
    return op;
  }

  /** Checks the inputs of an op against each other. */
  static void check(FastWeights op, Tensor... in) {
    boolean[] given = {op.decayed(), op.begun(), op.restarted(), op.padded()};
    int wanted = 3 + op.kind().inputs();
    for (boolean one : given) wanted += one ? 1 : 0;
    if (in.length != wanted) {
      throw new IllegalArgumentException("fastWeights: " + in.length + " inputs, not " + wanted);
    }
    Tensor q = in[0];
    Shape s = q.shape();
    DType.requireFloat("fastWeights: q", q.dtype());
    DType sums = q.dtype().sums();
    if (s.rank() != 4 || s.dim(3) > LARGEST) {
      throw new IllegalArgumentException(
          "fastWeights: q has shape " + s + ", must be [batch, steps, heads, keys], keys <= 256");
    }
    require("k", in[1], q.dtype(), q, s);
    Shape v = in[2].shape();
    if (v.rank() != 4 || v.dim(3) > LARGEST || !v.equals(s.with(3, v.dim(3)))) {
      throw new IllegalArgumentException(
          "fastWeights: v has shape %s, q has %s; v must be %s, values <= 256"
              .formatted(v, s, "[batch, steps, heads, values] of the same sizes"));
    }
    require("v", in[2], q.dtype(), q, v);
    if (op.rate(in) != null) {
      require("rate", op.rate(in), sums, q, Shape.of(s.dim(0), s.dim(1), s.dim(2)));
    }
    if (op.erase(in) != null) require("erase", op.erase(in), sums, q, s);
    if (op.write(in) != null) require("write", op.write(in), sums, q, s);
    if (op.decayed()) {
      boolean all = op.decay(in).shape().equals(s);
      require("decay", op.decay(in), sums, q, all ? s : s.with(3, 1));
    }
    if (op.begun()) require("initial", op.initial(in), sums, q, op.state(in));
    requireIndex("resets", op.resets(in), Shape.of(s.dim(0), s.dim(1)), s);
    requireIndex("lengths", op.lengths(in), Shape.of(s.dim(0)), s);
  }

  private static void require(String name, Tensor t, DType type, Tensor q, Shape shape) {
    DType.require("fastWeights: " + name, t.dtype(), type);
    Shape.require("fastWeights: " + name, t.shape(), shape, "q", q.shape());
  }

  private static void requireIndex(String name, Tensor t, Shape shape, Shape q) {
    if (t == null) return;
    DType.require("fastWeights: " + name, t.dtype(), DType.I32);
    Shape.require("fastWeights: " + name, t.shape(), shape, "q", q);
  }
}
