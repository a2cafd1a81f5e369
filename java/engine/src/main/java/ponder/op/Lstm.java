// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import java.util.List;
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
  private static final Scan SCAN = new Scan("lstm", 4, List.of("initialHidden", "initialCell"));

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
   * @param x [batch, steps, 4, width], the products of the inputs for i, f, g and o; F32, F64 or
   *     BF16, of which a hidden state is rounded once, as it is returned
   * @param weight [4, width, width], output before input
   * @param bias [4, width]; F32 beside BF16, as cells are
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
    Tensor[] wide = SCAN.widened(in);
    Tensor weight = wide[1];
    Tensor bias = wide[2];
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
    Tensor[] states = new Unrolled(wide[0], boundaries(in)).states(cell, wide[3], wide[4]);
    return new Tensor[] {states[0].cast(in[0].dtype()), states[1]};
  }

  private Boundaries boundaries(Tensor... in) {
    return Boundaries.of(resets, lengths, in);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Boundaries boundaries = boundaries(in);
    Shape s = SCAN.check(boundaries, in);
    DType type = in[0].dtype();
    Tensor hidden = launch.output(type, Shape.of(s.dim(0), s.dim(1), s.dim(3)));
    Tensor cells = launch.output(type.sums(), hidden.shape());
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

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    return backward(launch, launch.memory(dy), MemorySegment.NULL, y, in);
  }

  /** Returns the derivatives from those by the hidden states and, or null's, by the last cell. */
  Tensor[] backward(
      Launch launch, MemorySegment dhidden, MemorySegment dlastCell, Result y, Tensor... in) {
    Tensor[] derivatives = new Tensor[in.length];
    for (int i = 0; i < SCAN.inputs(); i++) {
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
    DType type = in[0].dtype();
    long bytes = (4 * running + 5 * units) * type.bytes() + units * type.sums().bytes();
    return new Work(products + 23 * running, products, bytes + Scan.bytesAfterX(in));
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
    DType type = in[0].dtype();
    long read = (units + 5 * running) * type.bytes() + running * type.sums().bytes();
    read += Scan.bytesAfterX(in) - in[2].bytes();
    long written = 0;
    for (int i = 0; i < SCAN.inputs(); i++) written += in[i].bytes();
    return new Work(products + 27 * running + units, products, read + written);
  }
}
