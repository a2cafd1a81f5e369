// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import java.util.Locale;
import ponder.Store;
import ponder.Tensor;

/** The check of an optimiser's inputs, made before anything is written. */
final class Inputs {
  private Inputs() {}

  /** Checks that each parameter has a gradient, and that rate and scale are one number each. */
  static void check(
      Optimiser rule, Store parameters, Tensor[] gradients, Tensor rate, Tensor scale) {
    String what = rule.getClass().getSimpleName().toLowerCase(Locale.ROOT);
    int count = parameters.names().size();
    if (gradients.length != count) {
      throw new IllegalArgumentException(
          what + ": " + gradients.length + " gradients for " + count + " parameters");
    }
    int i = 0;
    for (String name : parameters.names()) {
      Tensor p = parameters.get(name);
      Tensor gradient = gradients[i++];
      if (!gradient.shape().equals(p.shape()) || gradient.dtype() != p.dtype()) {
        throw new IllegalArgumentException(
            "%s: gradient of %s is %s, must be %s".formatted(what, name, gradient, p));
      }
      requireOne(what, "rate", rate, p);
      requireOne(what, "scale", scale, p);
    }
  }

  private static void requireOne(String what, String argument, Tensor t, Tensor parameter) {
    if (t.dtype() != parameter.dtype() || t.shape().rank() != 1 || t.size() != 1) {
      throw new IllegalArgumentException(
          "%s: %s is %s, must be %s [1]".formatted(what, argument, t, parameter.dtype()));
    }
  }
}
