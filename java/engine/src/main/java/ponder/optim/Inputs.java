// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import java.util.Iterator;
import java.util.Locale;
import ponder.Store;
import ponder.Tensor;

/** The check of an optimiser's inputs, made before anything is written. */
final class Inputs {
  private Inputs() {}

  /** Checks that each parameter has a gradient, and that rate and scale are one number each. */
  static void check(
      Optimiser rule, Store parameters, Tensor[] gradients, Tensor rate, Tensor scale) {
    int count = parameters.names().size();
    if (gradients.length != count) {
      throw new IllegalArgumentException(
          nameOf(rule) + ": " + gradients.length + " gradients for " + count + " parameters");
    }
    int i = 0;
    for (String name : parameters.names()) {
      Tensor p = parameters.get(name);
      Tensor gradient = gradients[i++];
      if (!gradient.shape().equals(p.shape()) || gradient.dtype() != p.dtype()) {
        throw new IllegalArgumentException(
            "%s: gradient of %s is %s, must be %s".formatted(nameOf(rule), name, gradient, p));
      }
      requireOne(rule, "rate", rate, p);
      requireOne(rule, "scale", scale, p);
    }
  }

  /**
   * Checks that a state was prepared for these parameters, and returns its values.
   *
   * @param own how many values of the rule itself come first
   * @param kinds what the names of the values for each parameter begin with; its name follows
   */
  static Tensor[] state(Optimiser rule, Store parameters, Store state, int own, String... kinds) {
    boolean fits = state.names().size() == own + kinds.length * parameters.names().size();
    Iterator<String> held = state.names().iterator();
    for (int i = 0; fits && i < own; i++) {
      held.next();
    }
    for (String name : parameters.names()) {
      for (int k = 0; fits && k < kinds.length; k++) {
        String found = held.next();
        fits =
            found.length() == kinds[k].length() + name.length()
                && found.startsWith(kinds[k])
                && found.endsWith(name);
      }
    }
    if (!fits) {
      throw new IllegalArgumentException(
          "%s: the state holds %s, it was not prepared for the parameters %s"
              .formatted(nameOf(rule), state.names(), parameters.names()));
    }
    return state.values();
  }

  private static void requireOne(Optimiser rule, String argument, Tensor t, Tensor parameter) {
    if (t.dtype() != parameter.dtype() || t.shape().rank() != 1 || t.size() != 1) {
      throw new IllegalArgumentException(
          "%s: %s is %s, must be %s [1]".formatted(nameOf(rule), argument, t, parameter.dtype()));
    }
  }

  private static String nameOf(Optimiser rule) {
    return rule.getClass().getSimpleName().toLowerCase(Locale.ROOT);
  }
}
