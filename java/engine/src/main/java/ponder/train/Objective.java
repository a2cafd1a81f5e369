// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Scope;
import ponder.Tensor;

/**
 * What a training run minimises, and how well it does on data it does not see.
 *
 * <p>Where a step's batch follows from the step's number alone, {@link #loss} and {@link
 * #validation} are all there is to say. An objective that goes through its data one after another
 * also tells its {@link #position} and can be put back to it, so that a run can be resumed.
 */
public interface Objective {
  /**
   * Returns the mean loss of a step's batch, a scalar.
   *
   * @param scope the step's scope
   * @param step from 0; the same step is always the same batch
   */
  Tensor loss(Scope scope, long step);

  /**
   * Returns the mean loss on the validation data. It must not depend on the test data.
   *
   * @param scope an unrecorded scope, closed afterwards
   */
  double validation(Scope scope);

  /**
   * Returns where the objective stands between two steps, as the few numbers that {@link #seek}
   * needs; none where the step's number is enough.
   */
  default long[] position() {
    return new long[0];
  }

  /**
   * Goes to where the objective stood before a step.
   *
   * @param step the step whose loss is asked for next, from 0
   * @param position what {@link #position} gave then
   * @throws IllegalArgumentException if there is no such position
   */
  default void seek(long step, long... position) {
    if (position.length != 0) {
      throw new IllegalArgumentException(
          "objective: position has " + position.length + " numbers, must have none");
    }
  }
}
