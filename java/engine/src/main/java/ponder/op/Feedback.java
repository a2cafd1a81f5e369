// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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
 * Feedback memory: a transformer whose layers all read what every layer found at the steps before.
 * At step t, for each layer l,
 *
 * <pre>
 *   y = x_l + attention(rotary(norm(x_l) query[l]), keys, values) mix[l],
 *   x_{l+1} = y + gelu(norm(y) wide[l]) narrow[l];
 *   z = norm(sum over l of share[l] x_l); rotary(z key) and z value are what later steps read.
 * </pre>
 *
 * <p>The op's value are the states x_l; it saves the keys and values. Its inputs are x, the weights
 * in their order, what was remembered before, from where on each sequence reads it, resets and
 * lengths, each where a field says so. Source: Fan et al., arXiv:2002.09402, with rotary positions
 * for the relative ones.
 *
 * @param past how many steps were remembered before the first
 * @param window how many of the steps before it a step reads; 0 for all
 * @param eps what the norms add to mean squares
 * @param base the growth of the rotary positions' wavelengths
 * @param begun whether keys and values from before are given
 * @param first whether it is told from which position of the past on each sequence reads
 * @param resets whether resets tell where sequences forget
 * @param lengths whether lengths tell where sequences end
 */
public record Feedback(
    long past,
    long window,
    double eps,
    double base,
    boolean begun,
    boolean first,
    boolean resets,
    boolean lengths)
    implements Op.Fused {
  static final int WEIGHTS = 10;
  private static final long MOST = 1L << 40;

  /**
   * What the layers and the memory are made of.
   *
   * @param attentionGain [layers, width], of the norms before the queries
   * @param query [layers, width, heads, head_size]; head_size even, at most 256
   * @param mix [layers, heads, head_size, width]
   * @param mlpGain [layers, width], of the norms before the two-layer networks
   * @param wide [layers, width, inner]
   * @param narrow [layers, inner, width]
   * @param share [layers + 1], of each state in the memory, the lowest first
   * @param memoryGain [width]
   * @param key [width, kv_heads, head_size]; heads a multiple of kv_heads
   * @param value the shape of key
   */
  public record Weights(
      Tensor attentionGain,
      Tensor query,
      Tensor mix,
      Tensor mlpGain,
      Tensor wide,
      Tensor narrow,
      Tensor share,
      Tensor memoryGain,
      Tensor key,
      Tensor value) {}

  /**
   * What reading some steps gives.
   *
   * @param states [batch, steps, layers + 1, width]: the inputs first, the last layer's results last
   * @param keys [batch, steps, kv_heads, head_size] that later steps read
   * @param values the shape of keys
   */
  public record Read(Tensor states, Tensor keys, Tensor values) {}

  /** Checks the numbers. */
  public Feedback {
    if (past < 0 || past > MOST || window < 0 || window > MOST) {
      throw new IllegalArgumentException(
          "feedback: past is %s, window %s; must be in [0, 2^40]".formatted(past, window));
    }
    if (!(eps >= 0) || !(base > 0)) {
      throw new IllegalArgumentException(
          "feedback: eps is %s, must not be below 0; base %s, above 0".formatted(eps, base));
    }
  }

  /** Returns a memory of all steps before. */
  public static Feedback of(double eps, double base) {
    return new Feedback(0, 0, eps, base, false, false, false, false);
  }

  /** Returns the same where a step reads the last {@code window} of the steps before; 0: all. */
  public Feedback window(long window) {
    return new Feedback(past, window, eps, base, begun, first, resets, lengths);
  }

  /**
   * Reads the first steps of sequences.
   *
   * @param x [batch, steps, width], F32 or F64
   * @throws IllegalArgumentException if shapes or types do not fit
   */
  public Read read(Tensor x, Weights weights) {
    return read(x, weights, Boundaries.none());
  }

  /**
   * Reads the first steps of sequences that begin anew or end before the last one.
   *
   * @param boundaries a reset makes its sequence forget all steps before; states, keys and values of
   *     steps from a length on are 0
   * @throws IllegalArgumentException if shapes or types do not fit or a length is outside its range
   */
  public Read read(Tensor x, Weights weights, Boundaries boundaries) {
    return with(0, false, false, boundaries).read(boundaries.after(inputs(x, weights)));
  }

  /**
   * Reads the steps that follow: T steps equal T1 steps and the rest with the keys and values of
   * those, bit for bit.
   *
   * @param keys what the steps before gave, [batch, any number of steps, kv_heads, head_size]
   * @param values as many
   */
  public Read read(Tensor x, Weights weights, Grown keys, Grown values) {
    return read(x, weights, keys, values, null, Boundaries.none());
  }

  /**
   * Reads the steps that follow of sequences that begin anew or end before the last one. Who goes on
   * with a sequence that has ended resets it at its first step here.
   *
   * @param first [batch], I32, in [0, steps before]: which of the steps before a sequence reads
   *     first, such as that of its last reset; null for all
   */
  public Read read(
      Tensor x, Weights weights, Grown keys, Grown values, Tensor first, Boundaries boundaries) {
    boolean room = keys.room().shape().equals(values.room().shape());
    Tensor[] in =
        inputs(
            x, weights, room ? keys.room() : keys.tensor(), room ? values.room() : values.tensor());
    if (first != null) {
      in = Arrays.copyOf(in, in.length + 1);
      in[in.length - 1] = first;
    }
    return with(keys.count(), true, first != null, boundaries).read(boundaries.after(in));
  }

  private Feedback with(long past, boolean begun, boolean first, Boundaries boundaries) {
    boolean resets = boundaries.resets() != null;
    boolean lengths = boundaries.lengths() != null;
    return new Feedback(past, window, eps, base, begun, first, resets, lengths);
  }

  private static Tensor[] inputs(Tensor x, Weights w, Tensor... past) {
    List<Tensor> in = new ArrayList<>();
    in.addAll(List.of(x, w.attentionGain, w.query, w.mix, w.mlpGain, w.wide, w.narrow));
    in.addAll(List.of(w.share, w.memoryGain, w.key, w.value));
    in.addAll(List.of(past));
    return in.toArray(Tensor[]::new);
  }

  private Read read(Tensor... in) {
    Result result = run(in);
    Tensor memory = new FeedbackMemory(this, result).apply(in);
    Shape s = result.saved()[0].shape();
    return new Read(
        result.value(), memory.slice(0, 0, 1).reshape(s), memory.slice(0, 1, 1).reshape(s));
  }

  /** Returns where sequences begin anew and end, of an op's inputs. */
  Boundaries boundaries(Tensor... in) {
    return Boundaries.of(resets, lengths, in);
  }

  /** Returns the input that tells what of the past each sequence reads, or null. */
  Tensor firstOf(Tensor... in) {
    return first ? in[floats()] : null;
  }

  /** Returns how many inputs have derivatives. */
  int floats() {
    return WEIGHTS + (begun ? 3 : 1);
  }

  // ---- the kernels -----------------------------------------------------------------------------

  @Override
  public Tensor definition(Tensor... in) {
    return FeedbackSteps.states(this, in);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    FeedbackSizes s = FeedbackSizes.check(this, in);
    DType type = in[0].dtype();
    Tensor states = launch.output(type, Shape.of(s.batch(), s.steps(), s.levels(), s.width()));
    Tensor keys = launch.output(type, s.remembered());
    Tensor values = launch.output(type, s.remembered());
    MemorySegment[] m = memories(launch, in);
    Kernels.of(launch)
        .feedback(
            type.code(),
            launch.memory(states),
            launch.memory(keys),
            launch.memory(values),
            m[0],
            m[11],
            m[12],
            m[1],
            m[2],
            m[3],
            m[4],
            m[5],
            m[6],
            m[7],
            m[8],
            m[9],
            m[10],
            m[13],
            m[14],
            m[15],
            s.batch(),
            s.steps(),
            s.layers(),
            s.width(),
            s.inner(),
            s.heads(),
            s.kvHeads(),
            s.headSize(),
            past,
            s.room(),
            window,
            eps,
            base);
    return new Result(states, keys, values);
  }

  /** Returns the memory of each array, null for what is not there. */
  private MemorySegment[] memories(Launch launch, Tensor... in) {
    var memories = new MemorySegment[WEIGHTS + 6];
    Arrays.fill(memories, MemorySegment.NULL);
    for (int i = 0; i < floats(); i++) memories[i] = launch.memory(in[i]);
    if (in.length == floats()) return memories;
    if (first) memories[WEIGHTS + 3] = launch.memory(firstOf(in));
    Boundaries boundaries = boundaries(in);
    memories[WEIGHTS + 4] = boundaries.resets(launch);
    memories[WEIGHTS + 5] = boundaries.lengths(launch);
    return memories;
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    return slopes(launch, launch.memory(dy), MemorySegment.NULL, MemorySegment.NULL, y, in);
  }

  /** Returns the derivatives from those of the states and, unless null, of keys and values. */
  Tensor[] slopes(
      Launch launch,
      MemorySegment dstates,
      MemorySegment dkeys,
      MemorySegment dvalues,
      Result y,
      Tensor... in) {
    FeedbackSizes s = FeedbackSizes.of(this, in);
    var derivatives = new Tensor[in.length];
    for (int i = 0; i < floats(); i++) {
      derivatives[i] = launch.output(in[i].dtype(), in[i].shape());
    }
    MemorySegment[] d = memories(launch, Arrays.copyOf(derivatives, floats()));
    MemorySegment[] m = memories(launch, in);
    Kernels.of(launch)
        .feedbackBackward(
            in[0].dtype().code(),
            d[0],
            d[11],
            d[12],
            d[1],
            d[2],
            d[3],
            d[4],
            d[5],
            d[6],
            d[7],
            d[8],
            d[9],
            d[10],
            dstates,
            dkeys,
            dvalues,
            launch.memory(y.value()),
            launch.memory(y.saved()[0]),
            launch.memory(y.saved()[1]),
            m[11],
            m[12],
            m[1],
            m[2],
            m[3],
            m[4],
            m[5],
            m[6],
            m[7],
            m[8],
            m[9],
            m[10],
            m[13],
            m[14],
            m[15],
            s.batch(),
            s.steps(),
            s.layers(),
            s.width(),
            s.inner(),
            s.heads(),
            s.kvHeads(),
            s.headSize(),
            past,
            s.room(),
            window,
            eps,
            base);
    return derivatives;
  }

  // ---- what it costs ---------------------------------------------------------------------------

  /**
   * The products of the steps that run; per step a norm's 4 per element and 4, gelu 8, rotary 3 per
   * element, and 4 per pair for its angle; of what a head reads scale, largest, difference, exp,
   * sum and share; the mixed states 2 per state's element.
   */
  @Override
  public Work work(Tensor... in) {
    FeedbackSizes s = FeedbackSizes.of(this, in);
    FeedbackReach.Count count = new FeedbackReach(this, in).count();
    final long readings = s.layers() * count.reading();
    final long reads = s.layers() * s.heads() * count.positions();
    long perStep = 2 * s.levels() * s.width() + s.norm() + 3 * s.kvWidth();
    long perLayer = s.norm() + 8 * s.inner();
    long perReading = s.norm() + 3 * s.qWidth() + s.heads();
    long others =
        count.running() * (perStep + s.layers() * perLayer)
            + readings * perReading
            + 6 * reads
            + 4 * s.steps() * (s.headSize() / 2);
    long products =
        4 * s.width() * (count.running() * (s.layers() * s.inner() + s.kvWidth()))
            + 4 * s.width() * s.qWidth() * readings
            + 4 * s.headSize() * reads;
    return new Work(
        products + others, products, s.bytesRead(this, count, in) + s.bytesFound(s.rows(), in));
  }

  /**
   * All of a step anew but its last product and its memory's; then two adjoints of each product, for
   * a read four; a norm's adjoint 12 per element and 1, gelu's 16, rotary's 3, the angles again; the
   * mean of a read's adjoints 2, and 3; the mixed states' 2 for the share and 3 for the state, and 1
   * per state. Zeros that stand for a step without a memory are not counted.
   */
  @Override
  public Work backwardWork(Tensor... in) {
    FeedbackSizes s = FeedbackSizes.of(this, in);
    FeedbackReach.Count count = new FeedbackReach(this, in).count();
    final long readings = s.layers() * count.reading();
    final long reads = s.layers() * s.heads() * count.positions();
    long normBack = 12 * s.width() + 1;
    long perStep = s.levels() * (7 * s.width() + 1) + s.norm() + normBack + 3 * s.kvWidth();
    long perLayer = s.norm() + normBack + 24 * s.inner();
    long perReading = s.norm() + normBack + 6 * s.qWidth() + s.heads();
    long others =
        count.running() * (perStep + s.layers() * perLayer)
            + readings * perReading
            + 11 * reads
            + 8 * s.steps() * (s.headSize() / 2);
    long products =
        s.width() * (count.running() * (10 * s.layers() * s.inner() + 8 * s.kvWidth()))
            + 12 * s.width() * s.qWidth() * readings
            + 12 * s.headSize() * reads;
    // Read: the adjoints of the states, what the forward call found, and its inputs but x.
    long written = 0;
    for (int i = 0; i < floats(); i++) written += in[i].bytes();
    long row = s.width() * in[0].dtype().bytes();
    long states = count.running() * s.levels() * row;
    long read = states + s.bytesFound(count.running(), in);
    read += s.bytesRead(this, count, in) - count.running() * row;
    return new Work(products + others, products, read + written);
  }
}
