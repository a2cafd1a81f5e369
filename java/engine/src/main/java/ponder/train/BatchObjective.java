// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Scope;
import ponder.Tensor;

/**
 * An objective whose steps differ by what is in their {@link Batch}: so a device that has graphs
 * records one step of each kind and launches it for the others.
 *
 * <p>{@link #loss(Object, Tensor...)} may depend on the program and the arrays alone, and on
 * parameters. A number that changes from step to step belongs into an array; were it taken from a
 * field, the graph would keep the one of the step that was recorded.
 *
 * @param <P> the program: what decides, apart from the arrays' shapes, which calls the loss makes
 */
public interface BatchObjective<P> extends Objective {
  /**
   * Returns the batch of a step.
   *
   * @param step from 0; asked for once each, in their order
   */
  Batch<P> batch(long step);

  /**
   * Returns the mean loss of a batch, a scalar, computed in the innermost open scope.
   *
   * @param program the batch's
   * @param arrays the batch's, in their order
   */
  Tensor loss(P program, Tensor... arrays);

  @Override
  default Tensor loss(Scope scope, long step) {
    Batch<P> batch = batch(step);
    return loss(batch.program(), batch.of(scope));
  }
}
