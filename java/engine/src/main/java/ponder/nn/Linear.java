// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.DType;
import ponder.Tensor;

/**
 * y = x W, over the last axis.
 *
 * @param weight [in, out]
 * @param products the type that the product is computed in
 */
public record Linear(Tensor weight, DType products) {
  /** Returns a layer whose weights begin normal with deviation {@code gain / sqrt(in)}. */
  public static Linear create(Parameters parameters, long in, long out, double gain) {
    Tensor weight = parameters.normal("weight", gain / Math.sqrt(in), in, out);
    return new Linear(weight, parameters.products());
  }

  /**
   * Returns x W in the weights' type.
   *
   * @param x [..., in], of the weights' type or the products'
   * @return [..., out]
   */
  public Tensor apply(Tensor x) {
    return product(x).cast(weight.dtype());
  }

  /** Returns x W in the products' type. */
  Tensor product(Tensor x) {
    return x.cast(products).matmul(weight.cast(products));
  }
}
