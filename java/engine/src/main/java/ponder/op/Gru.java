// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
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
 * The gated recurrent unit over a sequence: with h the state before a step,
 *
 * <pre>
 *   r = sigmoid(x[0] + W[0] h + c[0]), z = sigmoid(x[1] + W[1] h + c[1]), u = W[2] h + c[2],
 *   n = tanh(x[2] + r u), the next state is n + z (h - n).
 * </pre>
 *
 * Source: Cho et al., arXiv:1406.1078, with the reset after the product.
 */
public record Gru() implements Op.Fused {
  /**
   * Returns the state after every step. The last one, {@code slice(1, steps - 1, 1)}, continues the
   * sequence: T steps equal T1 steps and the rest from the carried state, bit for bit.
   *
   * @param x [batch, steps, 3, width], the products of the inputs for r, z and n; F32 or F64
   * @param weight [3, width, width], output before input
   * @param bias [3, width], added to the products of the state
   * @param initial [batch, width], the state before the first step
   * @return [batch, steps, width]
   * @throws IllegalArgumentException if shapes or types do not fit
   */
  public static Tensor gru(Tensor x, Tensor weight, Tensor bias, Tensor initial) {
    return new Gru().apply(x, weight, bias, initial);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor x = in[0];
    Shape s = x.shape();
    List<Tensor> states = new ArrayList<>();
    Tensor h = in[3];
    for (long t = 0; t < s.dim(1); t++) {
      Tensor step = x.slice(1, t, 1);
      Tensor r = input(step, 0).add(product(h, in, 0)).sigmoid();
      Tensor z = input(step, 1).add(product(h, in, 1)).sigmoid();
      Tensor n = input(step, 2).add(r.mul(product(h, in, 2))).tanh();
      h = n.add(z.mul(h.sub(n)));
      states.add(h.reshape(s.dim(0), 1, s.dim(3)));
    }
    // Neighbours are joined in rounds, so that no state is copied more than log2(steps) times.
    while (states.size() > 1) {
      List<Tensor> joined = new ArrayList<>();
      for (int i = 0; i < states.size(); i += 2) {
        boolean pair = i + 1 < states.size();
        joined.add(pair ? states.get(i).concat(states.get(i + 1), 1) : states.get(i));
      }
      states = joined;
    }
    return states.getFirst();
  }

  /** Returns [batch, width] of one gate from the inputs [batch, 1, 3, width] of one step. */
  private static Tensor input(Tensor step, int gate) {
    return step.slice(2, gate, 1).reshape(step.shape().dim(0), step.shape().dim(3));
  }

  /** Returns W[gate] h + c[gate] for each row of h [batch, width]. */
  private static Tensor product(Tensor h, Tensor[] in, int gate) {
    long width = h.shape().dim(1);
    Tensor weight = in[1].slice(0, gate, 1).reshape(width, width);
    return h.matmul(weight, false, true).add(in[2].slice(0, gate, 1).reshape(width));
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    Shape s = check(in);
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
            s.dim(0),
            s.dim(1),
            s.dim(3));
    return new Result(hidden, gates);
  }

  private static Shape check(Tensor... in) {
    Shape s = in[0].shape();
    DType.requireArithmetic("gru: x", in[0].dtype());
    if (s.rank() != 4 || s.dim(2) != 3) {
      throw new IllegalArgumentException(
          "gru: x has shape " + s + ", must be [batch, steps, 3, width]");
    }
    long width = s.dim(3);
    String[] names = {"weight", "bias", "initial"};
    Shape[] shapes = {Shape.of(3, width, width), Shape.of(3, width), Shape.of(s.dim(0), width)};
    for (int i = 0; i < names.length; i++) {
      DType.require("gru: " + names[i], in[i + 1].dtype(), in[0].dtype());
      Shape.require("gru: " + names[i], in[i + 1].shape(), shapes[i], "x", s);
    }
    return s;
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor[] derivatives = new Tensor[4];
    for (int i = 0; i < 4; i++) derivatives[i] = launch.output(dy.dtype(), in[i].shape());
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
            s.dim(0),
            s.dim(1),
            s.dim(3));
    return derivatives;
  }

  /** Three products with the state per step; r 5, z 5, u 1, n 3 and the state 3 per unit. */
  @Override
  public Work work(Tensor... in) {
    Shape s = in[0].shape();
    long units = s.dim(0) * s.dim(1) * s.dim(3);
    long products = 6 * units * s.dim(3);
    // Read: the inputs; written: the state and four gates.
    return new Work(
        products + 17 * units, products, 5 * units * in[0].dtype().bytes() + inputs(in));
  }

  /** The products' two adjoints per step; the gates' 17, the bias's 3 and the carry 1 per unit. */
  @Override
  public Work backwardWork(Tensor... in) {
    Shape s = in[0].shape();
    long units = s.dim(0) * s.dim(1) * s.dim(3);
    long products = 12 * units * s.dim(3);
    // Read: dy, the state, four gates, weight, initial; written: four derivatives.
    long bytes = 6 * units * in[0].dtype().bytes() + in[1].bytes() + in[3].bytes() + inputs(in);
    return new Work(products + 21 * units, products, bytes);
  }

  private static long inputs(Tensor... in) {
    return in[0].bytes() + in[1].bytes() + in[2].bytes() + in[3].bytes();
  }
}
