// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Shape;
import ponder.Tensor;

/** The checks of the ops that work row by row, a row being the last axis of x. */
final class Rows {
  private Rows() {}

  /** Checks that a tensor has rows of floats and returns its shape. */
  static Shape check(String op, String name, Tensor x) {
    DType.requireArithmetic(op + ": " + name, x.dtype());
    if (x.shape().rank() == 0) {
      throw new IllegalArgumentException(op + ": " + name + " is a scalar, must have rows");
    }
    return x.shape();
  }

  /** Checks that a tensor holds one number for each column of x. */
  static void checkColumn(String op, String name, Tensor t, Tensor x) {
    String what = op + ": " + name;
    DType.require(what, t.dtype(), x.dtype());
    Shape.require(what, t.shape(), x.shape().last(), "x", x.shape());
  }
}
