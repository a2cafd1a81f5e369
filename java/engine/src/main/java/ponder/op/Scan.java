// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.List;
import ponder.DType;
import ponder.Shape;
import ponder.Tensor;

/**
 * What the inputs of recurrent cells have in common: x [batch, steps, gates, width], a weight and a
 * bias per gate, the states before the first step, boundaries.
 *
 * @param op the op's name
 * @param gates the products with the state per unit
 * @param states the names of the initial states; the second one is a cell
 */
record Scan(String op, int gates, List<String> states) {
  Scan {
    states = List.copyOf(states);
  }

  /** Returns how many inputs stand before the boundaries. */
  int inputs() {
    return 3 + states.size();
  }

  /**
   * Returns the shape of x. Of BF16, what adds up is F32: the bias and the cell.
   *
   * @throws IllegalArgumentException if shapes or types do not fit
   */
  Shape check(Boundaries boundaries, Tensor... in) {
    Shape s = in[0].shape();
    if (in.length != inputs() + boundaries.count()) {
      throw new IllegalArgumentException(
          op + ": " + in.length + " inputs, not " + (inputs() + boundaries.count()));
    }
    DType type = in[0].dtype();
    DType.requireFloat(op + ": x", type);
    if (s.rank() != 4 || s.dim(2) != gates) {
      throw new IllegalArgumentException(
          op + ": x has shape " + s + ", must be [batch, steps, " + gates + ", width]");
    }
    long width = s.dim(3);
    require("weight", in[1], type, Shape.of(gates, width, width), s);
    require("bias", in[2], type.sums(), Shape.of(gates, width), s);
    for (int i = 0; i < states.size(); i++) {
      DType stored = i == 0 ? type : type.sums();
      require(states.get(i), in[3 + i], stored, Shape.of(s.dim(0), width), s);
    }
    boundaries.check(op, s);
    return s;
  }

  private void require(String name, Tensor t, DType type, Shape shape, Shape x) {
    DType.require(op + ": " + name, t.dtype(), type);
    Shape.require(op + ": " + name, t.shape(), shape, "x", x);
  }

  /** Returns the inputs in the type that they are computed in. */
  Tensor[] widened(Tensor... in) {
    Tensor[] wide = in.clone();
    for (int i = 0; i < inputs(); i++) wide[i] = in[i].cast(in[0].dtype().sums());
    return wide;
  }

  /** Returns the bytes of the inputs after x. */
  static long bytesAfterX(Tensor... in) {
    long bytes = 0;
    for (int i = 1; i < in.length; i++) bytes += in[i].bytes();
    return bytes;
  }
}
