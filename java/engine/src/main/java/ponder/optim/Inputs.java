// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import ponder.DType;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;

/** The check of an optimiser's inputs, made before anything is written. */
final class Inputs {
  private Inputs() {}

  /** Checks that each parameter has a gradient, and that rate and scale are one number each. */
  static void check(String what, Store parameters, Tensor[] gradients, Tensor rate, Tensor scale) {
    int count = parameters.names().size();
    if (gradients.length != count) {
      throw new IllegalArgumentException(
          what + ": " + gradients.length + " gradients for " + count + " parameters");
    }
    int i = 0;
    for (String name : parameters.names()) {
      Tensor p = parameters.get(name);
      require(what + ": gradient of " + name, gradients[i++], p.shape(), p.dtype());
      require(what + ": rate", rate, Shape.of(1), p.dtype());
      require(what + ": scale", scale, Shape.of(1), p.dtype());
    }
  }

  private static void require(String what, Tensor t, Shape shape, DType type) {
    Shape.require(what, t.shape(), shape);
    DType.require(what, t.dtype(), type);
  }
}
