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
 * The long short-term memory over a sequence: with h and c the hidden state and the cell before a
 * step,
 *
 * <pre>
 *   i = sigmoid(x[0] + W[0] h + b[0]), f = sigmoid(x[1] + W[1] h + b[1]),
 *   g = tanh(x[2] + W[2] h + b[2]), o = sigmoid(x[3] + W[3] h + b[3]),
 *   the next cell is f c + i g, the next hidden state o tanh of that cell.
 * </pre>
 *
 * The op's value is the hidden state after every step; it saves the cells and the gates. Its inputs
 * are x, the weight, the bias and both initial states, then the resets and the lengths where the
 * fields say so. Source: Hochreiter, Schmidhuber 1997; the forget gate: Gers, Schmidhuber, Cummins
 * 2000.
 *
 * @param resets whether resets tell where both states are cleared
 * @param lengths whether lengths tell where sequences end
 */
public record Lstm(boolean resets, boolean lengths) implements Op.Fused {
  static final int INPUTS = 5;

  /**
   * What a scan computed.
   *
   * @param hidden [batch, steps, width], the hidden state after every step
   * @param lastCell [batch, width], the cell after the last step
   */
  public record States(Tensor hidden, Tensor lastCell) {}

  /**
   * Returns the hidden state after every step.
   *
   * @param x [batch, steps, 4, width], the products of the inputs for i, f, g and o; F32 or F64
   * @param weight [4, width, width], output before input
   * @param bias [4, width]
   * @param initialHidden [batch, width], the hidden state before the first step
   * @param initialCell [batch, width], the cell before the first step
   * @param boundaries where sequences begin anew and where they end
   * @return [batch, steps, width]
   * @throws IllegalArgumentException if shapes or types do not fit or a length is outside its range
   */
  public static Tensor lstm(
      Tensor x,
      Tensor weight,
      Tensor bias,
      Tensor initialHidden,
      Tensor initialCell,
      Boundaries boundaries) {
    return of(boundaries).apply(boundaries.after(x, weight, bias, initialHidden, initialCell));
  }

  /**
   * Returns the hidden states of {@link #lstm} and the last cell, which together continue the
   * sequence: T steps equal T1 steps and the rest from the carried states, bit for bit.
   */
  public static States states(
      Tensor x,
      Tensor weight,
      Tensor bias,
      Tensor initialHidden,
      Tensor initialCell,
      Boundaries boundaries) {
    Tensor[] in = boundaries.after(x, weight, bias, initialHidden, initialCell);
    Result result = of(boundaries).run(in);
    return new States(result.value(), new LastCell(of(boundaries), result).apply(in));
  }

  private static Lstm of(Boundaries boundaries) {
    return new Lstm(boundaries.resets() != null, boundaries.lengths() != null);
  }

  @Override
  public Tensor definition(Tensor... in) {
    return unrolled(in)[0];
  }

  /** Returns the hidden states and the cells, computed by primitives. */
  Tensor[] unrolled(Tensor... in) {
    Tensor weight = in[1];
    Tensor bias = in[2];
    Unrolled.Cell cell =
        (x, states) -> {
          Tensor[] sum = new Tensor[4];
          for (int g = 0; g < 4; g++) {
            sum[g] = Unrolled.input(x, g).add(Unrolled.product(states[0], weight, bias, g));
          }
          Tensor kept = sum[1].sigmoid().mul(states[1]);
          Tensor c = kept.add(sum[0].sigmoid().mul(sum[2].tanh()));
          return new Tensor[] {sum[3].sigmoid().mul(c.tanh()), c};
        };
    return new Unrolled(in[0], boundaries(in)).states(cell, in[3], in[4]);
  }

  private Boundaries boundaries(Tensor... in) {
    return Boundaries.of(resets, lengths, in);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Shape s = check(in);
    Boundaries boundaries = boundaries(in);
    DType type = in[0].dtype();
    Tensor hidden = launch.output(type, Shape.of(s.dim(0), s.dim(1), s.dim(3)));
    Tensor cells = launch.output(type, hidden.shape());
    Tensor gates = launch.output(type, s);
    Kernels.of(launch)
        .lstm(
            type.code(),
            launch.memory(hidden),
            launch.memory(cells),
            launch.memory(gates),
            launch.memory(in[0]),
            launch.memory(in[1]),
            launch.memory(in[2]),
            launch.memory(in[3]),
            launch.memory(in[4]),
            boundaries.resets(launch),
            boundaries.lengths(launch),
            s.dim(0),
            s.dim(1),
            s.dim(3));
    return new Result(hidden, cells, gates);
  }

  private Shape check(Tensor... in) {
    Shape s = in[0].shape();
    Boundaries boundaries = boundaries(in);
    if (in.length != INPUTS + boundaries.count()) {
      throw new IllegalArgumentException(
          "lstm: " + in.length + " inputs, not " + (INPUTS + boundaries.count()));
    }
    DType.requireArithmetic("lstm: x", in[0].dtype());
    if (s.rank() != 4 || s.dim(2) != 4) {
      throw new IllegalArgumentException(
          "lstm: x has shape " + s + ", must be [batch, steps, 4, width]");
    }
    long width = s.dim(3);
    Shape state = Shape.of(s.dim(0), width);
    String[] names = {"weight", "bias", "initialHidden", "initialCell"};
    Shape[] shapes = {Shape.of(4, width, width), Shape.of(4, width), state, state};
    for (int i = 0; i < names.length; i++) {
      DType.require("lstm: " + names[i], in[i + 1].dtype(), in[0].dtype());
      Shape.require("lstm: " + names[i], in[i + 1].shape(), shapes[i], "x", s);
    }
    boundaries.check("lstm", s);
    return s;
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    return backward(launch, launch.memory(dy), MemorySegment.NULL, y, in);
  }

  /** Returns the derivatives from those by the hidden states and, or null's, by the last cell. */
  Tensor[] backward(
      Launch launch, MemorySegment dhidden, MemorySegment dlastCell, Result y, Tensor... in) {
    Tensor[] derivatives = new Tensor[in.length];
    for (int i = 0; i < INPUTS; i++) {
      derivatives[i] = launch.output(in[i].dtype(), in[i].shape());
    }
    Boundaries boundaries = boundaries(in);
    Shape s = in[0].shape();
    Kernels.of(launch)
        .lstmBackward(
            in[0].dtype().code(),
            launch.memory(derivatives[0]),
            launch.memory(derivatives[1]),
            launch.memory(derivatives[2]),
            launch.memory(derivatives[3]),
            launch.memory(derivatives[4]),
            dhidden,
            dlastCell,
            launch.memory(in[1]),
            launch.memory(in[3]),
            launch.memory(in[4]),
            launch.memory(y.value()),
            launch.memory(y.saved()[0]),
            launch.memory(y.saved()[1]),
            boundaries.resets(launch),
            boundaries.lengths(launch),
            s.dim(0),
            s.dim(1),
            s.dim(3));
    return derivatives;
  }

  /** Four products with the state per step that runs; i, f, o 5, g 3, the states 5 per unit. */
  @Override
  public Work work(Tensor... in) {
    Shape s = in[0].shape();
    long running = boundaries(in).running(s) * s.dim(3);
    long products = 8 * running * s.dim(3);
    // Read: the steps that run and the other inputs; written: both states and four gates.
    long units = s.dim(0) * s.dim(1) * s.dim(3);
    long bytes = (4 * running + 6 * units) * in[0].dtype().bytes() + others(in);
    return new Work(products + 23 * running, products, bytes);
  }

  /**
   * The products' two adjoints per step that runs, the gates' and the cell's 23 and the bias's 4
   * per unit; the carry 1 for every step.
   */
  @Override
  public Work backwardWork(Tensor... in) {
    Shape s = in[0].shape();
    long running = boundaries(in).running(s) * s.dim(3);
    long units = s.dim(0) * s.dim(1) * s.dim(3);
    long products = 16 * running * s.dim(3);
    // Read: dy, both states, four gates, weight, initial states, boundaries; written: derivatives.
    long read = (units + 6 * running) * in[0].dtype().bytes() + others(in) - in[2].bytes();
    long written = 0;
    for (int i = 0; i < INPUTS; i++) written += in[i].bytes();
    return new Work(products + 27 * running + units, products, read + written);
  }

  /** Returns the bytes of the inputs after x. */
  private static long others(Tensor... in) {
    long bytes = 0;
    for (int i = 1; i < in.length; i++) bytes += in[i].bytes();
    return bytes;
  }
}
