// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import ponder.DType;
import ponder.Key;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * Which positions of each row are masked, and what stands there: the value is the log-probability
 * of the choice, whose derivative trains the proposal that made it. Positions with a negative
 * token, an eligible flag of 0 or a logit that is not finite are never chosen. {@code ponder.h}
 * states each scheme. Source: Tille, Sampling Algorithms, 2006.
 *
 * @param scheme how positions are chosen
 * @param k how many of a row; 0 for the share {@code rate} of those that may be, rounded
 * @param rate that share; of {@link Scheme#BERNOULLI} the probability of each
 * @param candidates how many sets {@link Scheme#CANDIDATES} draws
 * @param floor its share of chance that falls on all sets alike, which bounds weights by 1 / floor
 * @param key what the choice depends on, beside row and step
 * @param vocabulary random tokens lie in [0, vocabulary)
 * @param maskToken the number of the mask token
 * @param maskShare the share of the chosen that become the mask token
 * @param randomShare the share of them that become a random token; the rest stay as they are
 */
public record Masking(
    Scheme scheme,
    long k,
    double rate,
    long candidates,
    double floor,
    Key key,
    long vocabulary,
    long maskToken,
    double maskShare,
    double randomShare)
    implements Op.Fused {

  /** How positions are chosen; the order is pnd_scheme's. */
  public enum Scheme {
    /** Each by itself with the same probability. */
    BERNOULLI,
    /** Each by itself, in proportion to the exponential of its logit. */
    POISSON,
    /** So many without replacement; the weights are those of a threshold. */
    GUMBEL,
    /** So many, with exact inclusion probabilities in proportion. */
    SYSTEMATIC,
    /** So many, sets in proportion to the product of their weights. */
    CONDITIONAL,
    /** One of several uniform sets, by its sum of logits; one weight for the whole set. */
    CANDIDATES
  }

  /**
   * A row's choice.
   *
   * @param logProbability its log-probability, [..], in nats; it can be differentiated by logits
   * @param inclusion the probability of each position, [.., length]
   * @param weight 1 / inclusion where chosen ({@link Scheme#CANDIDATES}: the set's), else 0
   * @param corrupted the tokens with those chosen replaced
   * @param label the token where chosen, else -1: a target of {@link CrossEntropy}
   */
  public record Masked(
      Tensor logProbability, Tensor inclusion, Tensor weight, Tensor corrupted, Tensor label) {}

  /** Returns the choice of 15 % in the way of BERT: 80 % masked, 10 % random, 10 % kept. */
  public static Masking of(Scheme scheme, Key key, long vocabulary, long maskToken) {
    return new Masking(scheme, 0, 0.15, 8, 0.5, key, vocabulary, maskToken, 0.8, 0.1);
  }

  /** Returns the same for so many positions of a row; 0 for the share {@code rate}. */
  public Masking choosing(long k, double rate) {
    return new Masking(
        scheme, k, rate, candidates, floor, key, vocabulary, maskToken, maskShare, randomShare);
  }

  /** Returns the same from so many sets with that floor. */
  public Masking drawing(long candidates, double floor) {
    return new Masking(
        scheme, k, rate, candidates, floor, key, vocabulary, maskToken, maskShare, randomShare);
  }

  /**
   * Returns the choice of each row.
   *
   * @param logits [.., length], F32 or F64: the proposal
   * @param tokens of the same shape, I32; negative ones are never chosen
   * @param step [2], I32: the lower and the upper half of a number that differs from draw to draw
   * @param eligible of the same shape, I32, 0 where a position is never chosen; may be missing
   * @throws IllegalArgumentException if shapes or types do not fit, or a number is out of its range
   */
  public Masked mask(Tensor logits, Tensor tokens, Tensor step, Tensor... eligible) {
    Result result =
        eligible.length == 0 ? run(logits, tokens, step) : run(logits, tokens, step, eligible[0]);
    Tensor[] saved = result.saved();
    return new Masked(result.value(), saved[0], saved[1], saved[2], saved[3]);
  }

  @Override
  public Tensor definition(Tensor... in) {
    return new MaskDefinition(this, in).logProbability();
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Shape s = check(in);
    DType type = in[0].dtype();
    Tensor logProbability = launch.output(type, s.without(-1));
    Tensor inclusion = launch.output(type, s);
    Tensor weight = launch.output(type, s);
    Tensor corrupted = launch.output(DType.I32, s);
    Tensor label = launch.output(DType.I32, s);
    Kernels.of(launch)
        .mask(
            type.code(),
            launch.memory(logProbability),
            launch.memory(inclusion),
            launch.memory(weight),
            launch.memory(corrupted),
            launch.memory(label),
            launch.memory(in[0]),
            launch.memory(in[1]),
            in.length > 3 ? launch.memory(in[3]) : MemorySegment.NULL,
            launch.memory(in[2]),
            s.rows(),
            s.dim(-1),
            vocabulary,
            k,
            candidates,
            maskToken,
            key.value(),
            rate,
            floor,
            maskShare,
            randomShare,
            scheme.ordinal());
    return new Result(logProbability, inclusion, weight, corrupted, label);
  }

  private static Shape check(Tensor... in) {
    Shape s = Rows.check("masking: logits", in[0]);
    String[] names = {"logits", "tokens", "step", "eligible"};
    if (in.length < 3 || in.length > names.length) {
      throw new IllegalArgumentException("masking: takes logits, tokens, step and eligible");
    }
    for (int i = 1; i < in.length; i++) {
      DType.require("masking: " + names[i], in[i].dtype(), DType.I32);
      if (i == 2) {
        Shape.require("masking: step", in[i].shape(), Shape.of(2));
      } else {
        Shape.require("masking: " + names[i], in[i].shape(), s, "logits", s);
      }
    }
    return s;
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor dlogits = launch.output(dy.dtype(), in[0].shape());
    Kernels.of(launch)
        .maskBackward(
            dy.dtype().code(),
            launch.memory(dlogits),
            launch.memory(dy),
            launch.memory(in[0]),
            launch.memory(y.saved()[0]),
            launch.memory(y.saved()[3]),
            launch.memory(in[2]),
            in[0].shape().rows(),
            in[0].shape().dim(-1),
            k,
            candidates,
            key.value(),
            rate,
            floor,
            scheme.ordinal());
    Tensor[] derivatives = new Tensor[in.length];
    derivatives[0] = dlogits;
    return derivatives;
  }

  /** How many positions of a row are chosen, where all may be. */
  private long chosen(Tensor logits) {
    long length = logits.shape().dim(-1);
    return Math.min(length, k > 0 ? k : (long) (rate * length + 0.5));
  }

  /**
   * Per position the weight's quotient, and: Bernoulli 1; the others 5 for w and its sum; Poisson 5
   * for pi and its logarithm; Gumbel 6 for its time and pi; systematic 5. Gumbel's logarithm 3 and
   * conditional Poisson's two recursions 8 positions' per position chosen, candidates 2 per draw.
   */
  @Override
  public Work work(Tensor... in) {
    long n = in[0].size();
    long c = chosen(in[0]);
    long rows = in[0].shape().rows();
    long flops =
        switch (scheme) {
          case BERNOULLI -> 2 * n;
          case POISSON, SYSTEMATIC -> 11 * n;
          case GUMBEL -> 12 * n + 3 * c * rows;
          case CONDITIONAL -> 10 * n + 8 * n * c;
          case CANDIDATES -> 6 * n + 2 * n * candidates;
        };
    long bytes = 3 * in[0].bytes() + 2 * in[1].bytes() + rows * in[0].dtype().bytes();
    for (int i = 1; i < in.length; i++) bytes += in[i].bytes();
    return new Work(flops, 0, bytes);
  }

  /** Per position: the steps of the forward function that it runs again, and 3 for the slope. */
  @Override
  public Work backwardWork(Tensor... in) {
    long n = in[0].size();
    long c = chosen(in[0]);
    long rows = in[0].shape().rows();
    long flops =
        switch (scheme) {
          case BERNOULLI -> 0;
          case POISSON -> 11 * n;
          case GUMBEL -> 11 * n + 2 * c * rows;
          case SYSTEMATIC -> 12 * n;
          case CONDITIONAL -> 2 * n;
          case CANDIDATES -> 8 * n + 3 * n * candidates;
        };
    // Read: logits, inclusion, label, dy, step; written: the derivative.
    long bytes = 3 * in[0].bytes() + in[1].bytes() + rows * in[0].dtype().bytes() + in[2].bytes();
    return new Work(flops, 0, bytes);
  }
}
