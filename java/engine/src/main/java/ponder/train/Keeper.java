// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.Closeable;
import java.io.IOException;

/** Keeps a run as it goes, so that it can be taken up again. */
interface Keeper extends Closeable {
  /** Keeps nothing. */
  Keeper NONE =
      new Keeper() {
        @Override
        public Trainer.Outcome begin() {
          return Trainer.Outcome.NOTHING;
        }

        @Override
        public void after(Progress.Step step, Trainer.Outcome at) {}

        @Override
        public void close() {}
      };

  /**
   * Puts the stores, which are ready for the first step, and the objective to where the run was,
   * if it is to be taken up.
   *
   * @return what the run had come to, nothing if it begins
   */
  Trainer.Outcome begin() throws IOException;

  /**
   * Called after every step.
   *
   * @throws StoppedException if the run shall not go on to the next
   */
  void after(Progress.Step step, Trainer.Outcome at) throws IOException;
}
