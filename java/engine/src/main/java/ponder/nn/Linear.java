// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Tensor;

/**
 * y = x W, over the last axis.
 *
 * @param weight [in, out]
 */
public record Linear(Tensor weight) {
  /** Returns a layer whose weights begin normal with deviation {@code gain / sqrt(in)}. */
  public static Linear create(Parameters parameters, long in, long out, double gain) {
    return new Linear(parameters.normal("weight", gain / Math.sqrt(in), in, out));
  }

  /**
   * Returns x W.
   *
   * @param x [..., in]
   * @return [..., out]
   */
  public Tensor apply(Tensor x) {
    return x.matmul(weight);
  }
}
