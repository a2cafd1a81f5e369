// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.nio.file.Path;

/** A training run ended between two steps because it was asked to; its checkpoint is written. */
public final class StoppedException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final transient Path checkpoint;
  private final long step;

  StoppedException(Path checkpoint, long step) {
    super("training: stopped after step " + step + ", which " + checkpoint + " holds");
    this.checkpoint = checkpoint;
    this.step = step;
  }

  /** Returns the file that the run goes on from. */
  public Path checkpoint() {
    return checkpoint;
  }

  /** Returns how many steps were made. */
  public long step() {
    return step;
  }
}
