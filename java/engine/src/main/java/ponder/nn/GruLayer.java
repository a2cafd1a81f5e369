// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.DType;
import ponder.Tensor;
import ponder.op.Gru;

/**
 * One layer of gated recurrent units. Source: Cho et al., arXiv:1406.1078.
 *
 * @param input [in, 3 width], the products of the input for reset, update and candidate
 * @param inputBias [3 width], added to the products of the input
 * @param weight [3, width, width], the products of the state
 * @param bias [3 width], added to the products of the state
 * @param initial [width], the learned state before the first step
 */
public record GruLayer(Linear input, Tensor inputBias, Tensor weight, Tensor bias, Tensor initial) {
  /** Returns a layer. */
  public static GruLayer create(Parameters p, long in, long width) {
    return new GruLayer(
        Linear.create(p.in("input"), in, 3 * width, 1),
        p.full("inputBias", 0, 3 * width),
        p.normal("weight", 1 / Math.sqrt(width), 3, width, width),
        p.full("bias", 0, 3 * width),
        p.full("initial", 0, width));
  }

  /**
   * Returns the states after every step.
   *
   * @param x [batch, steps, in]
   * @param state [batch, width], the state before the first step
   * @return [batch, steps, width]
   */
  public Tensor apply(Tensor x, Tensor state) {
    long batch = x.shape().dim(0);
    long steps = x.shape().dim(1);
    DType type = input.products();
    Tensor products = input.apply(x).add(inputBias).reshape(batch, steps, 3, width());
    Tensor gates = bias.reshape(3, width());
    Tensor states = Gru.gru(products.cast(type), weight.cast(type), gates, state.cast(type));
    return states.cast(weight.dtype());
  }

  /** Returns the width of the state. */
  public long width() {
    return weight.shape().dim(1);
  }

  /** Returns the state before the first step of a batch, [batch, width]. */
  public Tensor begin(long batch) {
    return initial.broadcast(0, batch);
  }
}
