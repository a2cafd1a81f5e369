// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Scope;
import ponder.Tensor;

/** What a training run minimises, and how well it does on data it does not see. */
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
}
