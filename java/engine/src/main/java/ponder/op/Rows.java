// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Shape;
import ponder.Tensor;

/** The checks of the ops that work row by row, a row being the last axis of x. */
final class Rows {
  private Rows() {}

  /**
   * Checks that a tensor has rows of floats and returns its shape.
   *
   * @param what the op and the argument, such as {@code "layerNorm: x"}
   */
  static Shape check(String what, Tensor x) {
    DType.requireArithmetic(what, x.dtype());
    if (x.shape().rank() == 0) {
      throw new IllegalArgumentException(what + " is a scalar, must have rows");
    }
    return x.shape();
  }

  /**
   * Checks that a tensor holds one number for each column of x.
   *
   * @param what the op and the argument, such as {@code "layerNorm: gain"}
   */
  static void checkColumn(String what, Tensor t, Tensor x) {
    DType.require(what, t.dtype(), x.dtype());
    if (t.shape().rank() == 1 && t.size() == x.shape().dim(-1)) {
      return;
    }
    Shape.require(what, t.shape(), x.shape().last(), "x", x.shape());
  }
}
