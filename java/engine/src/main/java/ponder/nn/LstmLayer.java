// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.Arrays;
import ponder.DType;
import ponder.Shape;
import ponder.Tensor;
import ponder.op.Boundaries;
import ponder.op.Lstm;

/**
 * One layer of long short-term memory. Source: Hochreiter, Schmidhuber 1997; Gers, Schmidhuber,
 * Cummins 2000.
 *
 * @param input [in, 4 width], the products of the input for input, forget, candidate and output
 * @param weight [4, width, width], the products of the state
 * @param bias [4 width], of all gates
 * @param hidden [width], the learned hidden state before the first step
 * @param cell [width], the learned cell before the first step
 */
public record LstmLayer(Linear input, Tensor weight, Tensor bias, Tensor hidden, Tensor cell) {
  /** Returns a layer that begins with open forget gates: their bias is 1, of the others 0. */
  public static LstmLayer create(Parameters p, long in, long width) {
    int units = Math.toIntExact(width);
    double[] bias = new double[4 * units];
    Arrays.fill(bias, units, 2 * units, 1);
    return new LstmLayer(
        Linear.create(p.in("input"), in, 4 * width, 1),
        p.normal("weight", 1 / Math.sqrt(width), 4, width, width),
        p.of("bias", Shape.of(4 * width), bias),
        p.in("hidden").full("initial", 0, width),
        p.in("cell").full("initial", 0, width));
  }

  /**
   * Returns the hidden states after every step, and the last cell.
   *
   * @param x [batch, steps, in]
   * @param hidden [batch, width], before the first step
   * @param cell [batch, width], before the first step
   */
  public Lstm.States apply(Tensor x, Tensor hidden, Tensor cell) {
    long batch = x.shape().dim(0);
    long steps = x.shape().dim(1);
    DType type = input.products();
    Tensor products = input.product(x).reshape(batch, steps, 4, width());
    Tensor gates = bias.reshape(4, width());
    Lstm.States states =
        Lstm.states(products, weight.cast(type), gates, hidden.cast(type), cell, Boundaries.none());
    return new Lstm.States(states.hidden().cast(weight.dtype()), states.lastCell());
  }

  /** Returns the width of the states. */
  public long width() {
    return weight.shape().dim(1);
  }
}
