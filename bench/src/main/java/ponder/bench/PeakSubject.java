// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.Work;

/** A loop at full speed: a denominator, as a row of its own. */
final class PeakSubject implements Subject {
  private final Peak peak;
  private long done;

  PeakSubject(Peak peak) {
    this.peak = peak;
    this.done = peak.run();
  }

  /** The loops make nothing that could be wrong; one that this processor lacks is no row. */
  @Override
  public void check(int repeats) {
    if (done == 0) throw new IllegalStateException("this processor has no " + peak);
  }

  @Override
  public Object run() {
    done = peak.run();
    return this;
  }

  @Override
  public Work work() {
    return Work.NONE;
  }

  @Override
  public double amount(Peak of) {
    return done;
  }
}
