// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.List;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * The gated recurrent unit over a sequence: with h the state before a step,
 *
 * <pre>
 *   r = sigmoid(x[0] + W[0] h + c[0]), z = sigmoid(x[1] + W[1] h + c[1]), u = W[2] h + c[2],
 *   n = tanh(x[2] + r u), the next state is n + z (h - n).
 * </pre>
 *
 * The op's inputs are x, the weight, the bias and the initial state, then the resets and the
 * lengths where the fields say so. Source: Cho et al., arXiv:1406.1078, with the reset after the
 * product.
 *
 * @param resets whether resets tell where the state is cleared
 * @param lengths whether lengths tell where sequences end
 */
public record Gru(boolean resets, boolean lengths) implements Op.Fused {
  private static final Scan SCAN = new Scan("gru", 3, List.of("initial"));

  /**
   * Returns the state after every step. The last one, {@code slice(1, steps - 1, 1)}, continues the
   * sequence: T steps equal T1 steps and the rest from the carried state, bit for bit.
   *
   * @param x [batch, steps, 3, width], the products of the inputs for r, z and n; F32, F64 or
   *     BF16, of which a state is rounded once, as it is returned
   * @param weight [3, width, width], output before input
   * @param bias [3, width], added to the products of the state; F32 beside BF16
   * @param initial [batch, width], the state before the first step
   * @return [batch, steps, width]
   * @throws IllegalArgumentException if shapes or types do not fit
   */
  public static Tensor gru(Tensor x, Tensor weight, Tensor bias, Tensor initial) {
    return gru(x, weight, bias, initial, Boundaries.none());
  }

  /**
   * Returns the state after every step of sequences that begin anew or end before the last one.
   *
   * @throws IllegalArgumentException if shapes or types do not fit or a length is outside its range
   */
  public static Tensor gru(
      Tensor x, Tensor weight, Tensor bias, Tensor initial, Boundaries boundaries) {
    var op = new Gru(boundaries.resets() != null, boundaries.lengths() != null);
    return op.apply(boundaries.after(x, weight, bias, initial));
  }

  private Boundaries boundaries(Tensor... in) {
    return Boundaries.of(resets, lengths, in);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor[] wide = SCAN.widened(in);
    Tensor weight = wide[1];
    Tensor bias = wide[2];
    Unrolled.Cell cell =
        (x, states) -> {
          Tensor h = states[0];
          Tensor r = Unrolled.input(x, 0).add(Unrolled.product(h, weight, bias, 0)).sigmoid();
          Tensor z = Unrolled.input(x, 1).add(Unrolled.product(h, weight, bias, 1)).sigmoid();
          Tensor u = Unrolled.product(h, weight, bias, 2);
          Tensor n = Unrolled.input(x, 2).add(r.mul(u)).tanh();
          return new Tensor[] {n.add(z.mul(h.sub(n)))};
        };
    Tensor states = new Unrolled(wide[0], boundaries(in)).states(cell, wide[3])[0];
    return states.cast(in[0].dtype());
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    Boundaries boundaries = boundaries(in);
    Shape s = SCAN.check(boundaries, in);
    Tensor hidden = launch.output(x.dtype(), Shape.of(s.dim(0), s.dim(1), s.dim(3)));
    Tensor gates = launch.output(x.dtype(), Shape.of(s.dim(0), s.dim(1), 4, s.dim(3)));
    Kernels.of(launch)
        .gru(
            x.dtype().code(),
            launch.memory(hidden),
            launch.memory(gates),
            launch.memory(x),
            launch.memory(in[1]),
            launch.memory(in[2]),
            launch.memory(in[3]),
            boundaries.resets(launch),
            boundaries.lengths(launch),
            s.dim(0),
            s.dim(1),
            s.dim(3));
    return new Result(hidden, gates);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor[] derivatives = new Tensor[in.length];
    for (int i = 0; i < SCAN.inputs(); i++) {
      derivatives[i] = launch.output(in[i].dtype(), in[i].shape());
    }
    Boundaries boundaries = boundaries(in);
    Shape s = in[0].shape();
    Kernels.of(launch)
        .gruBackward(
            dy.dtype().code(),
            launch.memory(derivatives[0]),
            launch.memory(derivatives[1]),
            launch.memory(derivatives[2]),
            launch.memory(derivatives[3]),
            launch.memory(dy),
            launch.memory(in[1]),
            launch.memory(in[3]),
            launch.memory(y.value()),
            launch.memory(y.saved()[0]),
            boundaries.resets(launch),
            boundaries.lengths(launch),
            s.dim(0),
            s.dim(1),
            s.dim(3));
    return derivatives;
  }

  /** Three products with the state per step that runs; r 5, z 5, u 1, n 3, the state 3 per unit. */
  @Override
  public Work work(Tensor... in) {
    Shape s = in[0].shape();
    long running = boundaries(in).running(s) * s.dim(3);
    long products = 6 * running * s.dim(3);
    // Read: the steps that run and the other inputs; written: the state and four gates.
    long units = s.dim(0) * s.dim(1) * s.dim(3);
    long bytes = (3 * running + 5 * units) * in[0].dtype().bytes() + Scan.bytesAfterX(in);
    return new Work(products + 17 * running, products, bytes);
  }

  /**
   * The products' two adjoints per step that runs, the gates' 17 and the bias's 3 per unit; the
   * carry 1 for every step.
   */
  @Override
  public Work backwardWork(Tensor... in) {
    Shape s = in[0].shape();
    long running = boundaries(in).running(s) * s.dim(3);
    long units = s.dim(0) * s.dim(1) * s.dim(3);
    long products = 12 * running * s.dim(3);
    // Read: dy, the state, four gates, weight, initial, boundaries; written: four derivatives.
    long read =
        (units + 5 * running) * in[0].dtype().bytes() + Scan.bytesAfterX(in) - in[2].bytes();
    long written = in[0].bytes() + in[1].bytes() + in[2].bytes() + in[3].bytes();
    return new Work(products + 20 * running + units, products, read + written);
  }
}
