// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import ponder.Store;
import ponder.Tensor;

/**
 * A rule that moves parameters against their gradients. Its state lives in a store of its own, so
 * that it is saved and resumed as parameters are. Its text ({@code toString}) says the rule and all
 * its numbers, as a record's does: a run is not resumed under another.
 */
public interface Optimiser {
  /**
   * Adds the state for every parameter of a store.
   *
   * @param parameters the parameters, by name
   * @param state an empty store
   */
  void prepare(Store parameters, Store state);

  /**
   * Moves every parameter one step, in place: {@link #count}, then {@link #move}.
   *
   * @throws IllegalArgumentException as move does, before anything is written
   */
  default void step(Store parameters, Store state, Tensor[] gradients, Tensor rate, Tensor scale) {
    Inputs.check(this, parameters, gradients, rate, scale);
    count(state);
    move(parameters, state, gradients, rate, scale);
  }

  /**
   * Counts a step that is about to be made, where the rule depends on its number. The host does
   * this; what follows the device does alone, so that a graph can hold it.
   */
  default void count(Store state) {}

  /**
   * Moves every parameter, in place, by the step that was counted last.
   *
   * @param parameters the parameters, as {@link #prepare} saw them
   * @param state what prepare and earlier steps left
   * @param gradients one for each parameter, in the store's order
   * @param rate [1], the step size
   * @param scale [1], what every gradient is multiplied with first
   * @throws IllegalArgumentException if a gradient, the rate or the scale does not fit
   */
  void move(Store parameters, Store state, Tensor[] gradients, Tensor rate, Tensor scale);
}
