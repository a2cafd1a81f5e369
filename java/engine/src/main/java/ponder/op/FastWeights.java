// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * Fast-weight memory: a state S [keys, values] of each head that every step decays, writes to and
 * reads. With D the decay and u the values that S holds at a key,
 *
 * <pre>
 *   plain     S = D S + k v^T;
 *   delta     u = (D S)^T k, S = D S + k (rate (v - u))^T;
 *   low rank  u = S^T erase, S = D S + write u^T + k v^T; then out = scale S^T q.
 * </pre>
 *
 * <pre>{@code
 * Tensor y = FastWeights.plain().features().normalised().apply(q, k, v); // linear attention
 * Tensor z = FastWeights.delta(rate).decay(decay).chunk(64).apply(q, k, v);
 * var both = FastWeights.delta(rate).initial(state).scan(q, k, v); // and the state after
 * }</pre>
 *
 * <p>The op's inputs are q, k, v, then rate, or erase and write, then decay, initial, resets and
 * lengths, where the fields say so: {@link FastWeightsInputs}. It saves the state after the last
 * step. Source: Katharopoulos et al., arXiv:2006.16236; Yang et al., arXiv:2406.06484,
 * arXiv:2412.06464; low rank: Peng et al., arXiv:2503.14456.
 *
 * @param kind what a step writes
 * @param chunk how many steps are taken at a time; 0 for one by one
 * @param scale what a read is multiplied by
 * @param features whether q and k stand for elu + 1 of them
 * @param normalised whether a read is divided by the sum of its weights, q . z
 * @param decayed whether a decay is given
 * @param begun whether a state before the first step is given; else it is zeros
 * @param restarted whether resets tell where the state is cleared
 * @param padded whether lengths tell how many steps of each row count
 */
public record FastWeights(
    Kind kind,
    long chunk,
    double scale,
    boolean features,
    boolean normalised,
    boolean decayed,
    boolean begun,
    boolean restarted,
    boolean padded)
    implements Op.Fused {
  private static final long LARGEST_CHUNK = 256;

  /** What a step writes. */
  public enum Kind {
    /** The values at the key. */
    PLAIN(0),
    /** What the values at the key lack. */
    DELTA(1),
    /** The values at the key, and elsewhere what is held at another. */
    LOW_RANK(2);

    private final int inputs;

    Kind(int inputs) {
      this.inputs = inputs;
    }

    /** Returns how many inputs it has beside q, k and v. */
    int inputs() {
      return inputs;
    }
  }

  /** Checks what excludes what. */
  public FastWeights {
    if (chunk < 0 || chunk > LARGEST_CHUNK) {
      throw new IllegalArgumentException(
          "fastWeights: chunk is " + chunk + ", must be in [0, " + LARGEST_CHUNK + "]");
    }
    if (normalised && kind != Kind.PLAIN) {
      throw new IllegalArgumentException("fastWeights: only plain memory is normalised");
    }
  }

  /** Returns memory that adds the values at the key. */
  public static FastWeightsInputs plain() {
    return new FastWeightsInputs(Kind.PLAIN);
  }

  /**
   * Returns memory that moves what it holds at the key towards the values.
   *
   * @param rate [batch, steps, heads], how far: 1 is all the way where k has length 1
   */
  public static FastWeightsInputs delta(Tensor rate) {
    return new FastWeightsInputs(Kind.DELTA, rate);
  }

  /**
   * Returns memory that adds the values at the key, and at {@code write} what it holds at {@code
   * erase}.
   *
   * @param erase [batch, steps, heads, keys]
   * @param write [batch, steps, heads, keys]
   */
  public static FastWeightsInputs lowRank(Tensor erase, Tensor write) {
    return new FastWeightsInputs(Kind.LOW_RANK, erase, write);
  }

  // ---- the inputs ------------------------------------------------------------------------------

  Tensor rate(Tensor... in) {
    return kind == Kind.DELTA ? in[3] : null;
  }

  Tensor erase(Tensor... in) {
    return kind == Kind.LOW_RANK ? in[3] : null;
  }

  Tensor write(Tensor... in) {
    return kind == Kind.LOW_RANK ? in[4] : null;
  }

  Tensor decay(Tensor... in) {
    return decayed ? in[3 + kind.inputs] : null;
  }

  Tensor initial(Tensor... in) {
    return begun ? in[3 + kind.inputs + (decayed ? 1 : 0)] : null;
  }

  Tensor resets(Tensor... in) {
    return restarted ? in[in.length - (padded ? 2 : 1)] : null;
  }

  Tensor lengths(Tensor... in) {
    return padded ? in[in.length - 1] : null;
  }

  /** Returns [batch, heads, keys, values], with one more column where normalised. */
  Shape state(Tensor... in) {
    Shape s = in[0].shape();
    return Shape.of(s.dim(0), s.dim(2), s.dim(3), in[2].shape().dim(3) + (normalised ? 1 : 0));
  }

  // ---- the kernels -----------------------------------------------------------------------------

  @Override
  public Tensor definition(Tensor... in) {
    return new FastWeightsSteps(this, in).reads().cast(in[0].dtype());
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    FastWeightsInputs.check(this, in);
    Tensor q = in[0];
    Shape s = q.shape();
    Tensor out = launch.output(q.dtype(), in[2].shape());
    Tensor last = launch.output(q.dtype().sums(), state(in));
    Kernels.of(launch)
        .fastWeights(
            q.dtype().code(),
            launch.memory(out),
            launch.memory(last),
            launch.memory(q),
            launch.memory(in[1]),
            launch.memory(in[2]),
            optional(launch, decay(in)),
            optional(launch, rate(in)),
            optional(launch, erase(in)),
            optional(launch, write(in)),
            optional(launch, initial(in)),
            optional(launch, resets(in)),
            optional(launch, lengths(in)),
            s.dim(0),
            s.dim(2),
            s.dim(1),
            s.dim(3),
            in[2].shape().dim(3),
            decaySize(in),
            chunk,
            scale,
            features ? 1 : 0,
            normalised ? 1 : 0);
    return new Result(out, last);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    return slopes(launch, dy, null, in);
  }

  /** Returns the derivatives from those of the reads and, unless null, of the state at the end. */
  Tensor[] slopes(Launch launch, Tensor dy, Tensor dlast, Tensor... in) {
    Tensor q = in[0];
    Shape s = q.shape();
    Tensor[] d = new Tensor[in.length];
    for (int i = 0; i < in.length; i++) {
      if (in[i].dtype() != DType.I32) d[i] = launch.output(in[i].dtype(), in[i].shape());
    }
    Kernels.of(launch)
        .fastWeightsBackward(
            q.dtype().code(),
            launch.memory(d[0]),
            launch.memory(d[1]),
            launch.memory(d[2]),
            optional(launch, decay(d)),
            optional(launch, rate(d)),
            optional(launch, erase(d)),
            optional(launch, write(d)),
            optional(launch, initial(d)),
            launch.memory(dy),
            optional(launch, dlast),
            launch.memory(q),
            launch.memory(in[1]),
            launch.memory(in[2]),
            optional(launch, decay(in)),
            optional(launch, rate(in)),
            optional(launch, erase(in)),
            optional(launch, write(in)),
            optional(launch, initial(in)),
            optional(launch, resets(in)),
            optional(launch, lengths(in)),
            s.dim(0),
            s.dim(2),
            s.dim(1),
            s.dim(3),
            in[2].shape().dim(3),
            decaySize(in),
            scale,
            features ? 1 : 0,
            normalised ? 1 : 0);
    return d;
  }

  private static MemorySegment optional(Launch launch, Tensor t) {
    return t == null ? MemorySegment.NULL : launch.memory(t);
  }

  private long decaySize(Tensor... in) {
    return decayed ? decay(in).shape().dim(3) : 1;
  }

  // ---- what it costs ---------------------------------------------------------------------------

  /**
   * Per step and cell of the state: the products of the write and the read, those of u and its
   * write, and the decay. Per value the scale and the quotient, the difference and the rate; per
   * feature a sum and an exp.
   */
  @Override
  public Work work(Tensor... in) {
    long tokens = tokens(in);
    long cells = tokens * cells(in);
    long products = (4 + 2 * kind.inputs) * cells;
    return new Work(
        products + (decayed ? cells : 0) + tokens * others(in),
        products,
        bytes(in) + in[2].bytes() + stateBytes(in));
  }

  /**
   * The adjoints of the products, twice as many; the states computed anew, twice: the products of
   * their writes and the decay. Decays have two products more per cell, one of them summed.
   */
  @Override
  public Work backwardWork(Tensor... in) {
    long tokens = tokens(in);
    long cells = tokens * cells(in);
    long states = 2 * (2 + 2 * kind.inputs) * cells;
    long products = 2 * (4 + 2 * kind.inputs) * cells + states;
    long decays = decayed ? 5 * cells : 0;
    return new Work(
        products + decays + 3 * tokens * others(in),
        products,
        2 * bytes(in) + in[2].bytes() - (restarted ? resets(in).bytes() : 0) - lengthBytes(in));
  }

  private long tokens(Tensor... in) {
    Shape s = in[0].shape();
    if (!padded) return s.dim(0) * s.dim(1) * s.dim(2);
    long steps = 0;
    for (int length : lengths(in).toInts()) steps += length;
    return steps * s.dim(2);
  }

  private long cells(Tensor... in) {
    Shape state = state(in);
    return state.dim(2) * state.dim(3);
  }

  private long others(Tensor... in) {
    long values = in[2].shape().dim(3);
    long each = 1 + (normalised ? 1 : 0) + (kind == Kind.DELTA ? 2 : 0);
    return each * values + (features ? 4 * in[0].shape().dim(3) : 0);
  }

  private long stateBytes(Tensor... in) {
    return state(in).size() * in[0].dtype().sums().bytes();
  }

  private long lengthBytes(Tensor... in) {
    return padded ? lengths(in).bytes() : 0;
  }

  private static long bytes(Tensor... in) {
    long bytes = 0;
    for (Tensor t : in) bytes += t.bytes();
    return bytes;
  }
}
