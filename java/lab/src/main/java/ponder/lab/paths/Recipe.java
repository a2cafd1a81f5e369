// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import ponder.Key;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.train.Schedule;

/** A kind of model: its name, how it is made, and how it is trained. */
public interface Recipe {
  /** Returns the name in tables and of files. */
  String title();

  /** Returns a new model. */
  SequenceModel create(Parameters parameters, int vocabulary);

  /** Returns the model as a training step applies it. */
  default SequenceModel inStep(SequenceModel model, long step, Key key) {
    return model;
  }

  /** Returns the step size over the budget. */
  Schedule schedule();
}
