// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.DType;
import ponder.Shape;
import ponder.Tensor;
import ponder.op.FastWeights;
import ponder.op.FastWeightsInputs;
import ponder.op.RmsNorm;

/**
 * x + mix(norm(memory(norm(x)))): heads of fast-weight memory with a residual path. Sources:
 * Katharopoulos et al., arXiv:2006.16236 (linear); Yang et al., arXiv:2312.06635 (gated),
 * arXiv:2406.06484 (delta), arXiv:2412.06464 (gated delta).
 *
 * @param rule what a step does to a head's state
 * @param norm normalises what is read
 * @param query makes the queries from the normalised input
 * @param key makes the keys from it
 * @param value makes the values from it
 * @param controls make the rates, then the decays, from it, where the rule has them
 * @param each normalises what each head gives, [width / heads]
 * @param mix brings the heads' results together
 * @param heads number of heads
 * @param mostRate what a rate stays below: 1, or 2 to let a step turn what is held at its key into
 *     the opposite (Grazzi et al., arXiv:2411.12537)
 * @param chunk how many steps are taken at a time; 0 for one by one
 */
public record FastWeightsBlock(
    Rule rule,
    Norm norm,
    Linear query,
    Linear key,
    Linear value,
    List<Linear> controls,
    Norm each,
    Linear mix,
    long heads,
    double mostRate,
    long chunk) {
  private static final double EPSILON = 1e-6;
  private static final double SLOW = 4; // sigmoid 4: decays begin at 0.98

  /** What a step does to a head's state. */
  public enum Rule {
    /** It adds; reads are means weighted by elu + 1. */
    LINEAR(false, false),
    /** Each key's part decays, and it adds. */
    GATED(false, true),
    /** It corrects what is held at the key. */
    DELTA(true, false),
    /** The state decays, and what is held at the key is corrected. */
    GATED_DELTA(true, true);

    private final boolean corrects;
    private final boolean decays;

    Rule(boolean corrects, boolean decays) {
      this.corrects = corrects;
      this.decays = decays;
    }

    private long decaySize(long size) {
      return corrects ? 1 : size;
    }
  }

  /**
   * Returns a block.
   *
   * @param gain the initial scale of the residual path's last product
   */
  public static FastWeightsBlock create(
      Parameters p, Rule rule, long width, long heads, double gain) {
    if (heads < 1 || width % heads != 0) {
      throw new IllegalArgumentException(
          "fast weights: width " + width + " must be a multiple of the heads, " + heads);
    }
    long size = width / heads;
    // What decides where and how much is written stays in the state: it is not rounded first.
    Parameters exact = p.withProducts(p.type());
    List<Linear> controls = new ArrayList<>();
    if (rule.corrects) controls.add(Linear.create(exact.in("rate"), width, heads, 1));
    if (rule.decays) {
      controls.add(Linear.create(exact.in("decay"), width, heads * rule.decaySize(size), 1));
    }
    return new FastWeightsBlock(
        rule,
        Norm.create(p.in("norm"), width),
        Linear.create(exact.in("query"), width, width, 1),
        Linear.create(exact.in("key"), width, width, 1),
        Linear.create(p.in("value"), width, width, 1),
        List.copyOf(controls),
        Norm.create(p.in("each"), size),
        Linear.create(p.in("mix"), width, width, gain),
        heads,
        1,
        0);
  }

  /** Returns the same block taking so many steps at a time. */
  public FastWeightsBlock chunk(long chunk) {
    return with(mostRate, chunk);
  }

  /** Returns the same block with rates in (0, 2). */
  public FastWeightsBlock reflecting() {
    return with(2, chunk);
  }

  private FastWeightsBlock with(double mostRate, long chunk) {
    return new FastWeightsBlock(
        rule, norm, query, key, value, controls, each, mix, heads, mostRate, chunk);
  }

  /**
   * Returns the block's result.
   *
   * @param x [batch, steps, width]
   * @param past the state that this block left after the steps before; none at the start
   * @param carried where the state after these steps is added
   */
  public Tensor apply(Tensor x, List<Tensor> past, List<Tensor> carried) {
    Shape s = x.shape();
    Shape split = Shape.of(s.dim(0), s.dim(1), heads, s.dim(2) / heads);
    Tensor n = norm.apply(x);
    Tensor q = query.apply(n).reshape(split);
    Tensor k = key.apply(n).reshape(split);
    FastWeightsInputs memory = memory(n, split).chunk(chunk);
    if (!past.isEmpty()) memory = memory.initial(past.getFirst());
    boolean means = rule == Rule.LINEAR;
    // A correction subtracts what is held at the key: keys of BF16 leave 2^-9 of that behind, which
    // later steps find again, and put the derivatives of the rule's controls over 2 % off.
    DType tokens = rule.corrects ? x.dtype() : value.products();
    var scanned =
        memory.scan(
            (means ? q : unit(q)).cast(tokens),
            (means ? k : unit(k)).cast(tokens),
            value.product(n).cast(tokens).reshape(split));
    carried.add(scanned.state());
    return x.add(mix.apply(each.apply(scanned.out().cast(x.dtype())).reshape(s)));
  }

  private FastWeightsInputs memory(Tensor n, Shape split) {
    Shape tokens = Shape.of(split.dim(0), split.dim(1), heads);
    FastWeightsInputs memory =
        rule.corrects ? FastWeights.delta(rate(n).reshape(tokens)) : FastWeights.plain();
    if (rule == Rule.LINEAR) memory = memory.features().normalised();
    if (!rule.decays) return memory;
    Tensor decay = controls.getLast().apply(n).affine(1, SLOW).sigmoid();
    return memory.decay(decay.reshape(split.with(3, rule.decaySize(split.dim(3)))));
  }

  private Tensor rate(Tensor n) {
    Tensor rate = controls.getFirst().apply(n).sigmoid();
    return mostRate == 1 ? rate : rate.scale(mostRate);
  }

  /** Returns each head's vector at length 1: what a rate of 1 writes over is then gone. */
  private static Tensor unit(Tensor x) {
    long size = x.shape().dim(3);
    Tensor gain = x.device().scope().full(x.dtype(), Shape.of(size), 1 / Math.sqrt(size));
    return RmsNorm.rmsNorm(x, gain, EPSILON);
  }
}
