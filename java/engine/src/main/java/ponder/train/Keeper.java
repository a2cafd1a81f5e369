// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.Closeable;
import java.io.IOException;
import java.util.SequencedMap;
import ponder.Store;

/** Keeps a run as it goes, so that it can be taken up again. */
interface Keeper extends Closeable {
  /** Keeps nothing. */
  Keeper NONE =
      new Keeper() {
        @Override
        public Trainer.Outcome begin(SequencedMap<String, Store> stores, Objective objective) {
          return Trainer.Outcome.NOTHING;
        }

        @Override
        public void after(Progress.Step step, Trainer.Outcome at) {}

        @Override
        public void close() {}
      };

  /**
   * Puts stores and objective back to where the run was, if it is to be taken up.
   *
   * @param stores all that steps read and write, ready for the first step
   * @return what the run had come to, nothing if it begins
   */
  Trainer.Outcome begin(SequencedMap<String, Store> stores, Objective objective) throws IOException;

  /**
   * Called after every step.
   *
   * @throws StoppedException if the run shall not go on to the next
   */
  void after(Progress.Step step, Trainer.Outcome at) throws IOException;
}
