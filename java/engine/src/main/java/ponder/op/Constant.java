// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;

/** Numbers that a definition computes in Java. */
final class Constant {
  private Constant() {}

  /** Returns a tensor on the device and of the type of another, in the innermost open scope. */
  static Tensor of(Tensor like, Shape shape, double... values) {
    Scope scope = like.device().scope();
    if (like.dtype() == DType.F64) return scope.tensor(shape, values);
    var floats = new float[values.length];
    for (int i = 0; i < floats.length; i++) floats[i] = (float) values[i];
    return scope.tensor(shape, floats);
  }
}
