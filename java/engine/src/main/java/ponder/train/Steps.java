// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.CudaGraph;
import ponder.Scope;

/** Makes the steps of a run. */
interface Steps extends AutoCloseable {
  /**
   * Makes a step.
   *
   * @param step from 0
   * @throws ArithmeticException if the loss or the gradient is not a finite number; nothing has
   *     moved then
   */
  Descent.Measured make(long step, double rate);

  @Override
  void close();

  /** Returns the way to make steps that fits the objective and the device. */
  static Steps of(Descent descent, Objective objective) {
    return objective instanceof BatchObjective<?> batches
            && CudaGraph.isSupportedBy(descent.parameters().device())
        ? new GraphSteps<>(descent, batches)
        : new Single(descent, objective);
  }

  /** One after another, each in a scope. */
  record Single(Descent descent, Objective objective) implements Steps {
    @Override
    public Descent.Measured make(long step, double rate) {
      try (Scope scope = descent.parameters().device().open()) {
        return descent.step(objective.loss(scope, step), step, rate);
      }
    }

    @Override
    public void close() {}
  }
}
