// SPDX-License-Identifier: Apache-2.0
package ponder.train;

/**
 * The step size over a run: a linear warm-up, then half a cosine down to a floor. Progress is the
 * share of the budget spent, so that runs of any length end at the floor. Source: Loshchilov,
 * Hutter, arXiv:1608.03983, without restarts.
 *
 * @param peak the highest rate, above 0
 * @param warmUp the share of the budget that the warm-up takes, in [0, 1)
 * @param floor the last rate as a share of the peak, in [0, 1]
 */
public record Schedule(double peak, double warmUp, double floor) {
  /** Checks the ranges. */
  public Schedule {
    if (!(peak > 0)) {
      throw new IllegalArgumentException("schedule: peak is " + peak + ", must be above 0");
    }
    if (!(warmUp >= 0 && warmUp < 1)) {
      throw new IllegalArgumentException("schedule: warmUp is " + warmUp + ", must be in [0, 1)");
    }
    if (!(floor >= 0 && floor <= 1)) {
      throw new IllegalArgumentException("schedule: floor is " + floor + ", must be in [0, 1]");
    }
  }

  /**
   * Returns the rate at a share of the budget.
   *
   * @param share spent so far; above 1 counts as 1
   */
  public double rate(double share) {
    if (share < warmUp) {
      return peak * share / warmUp;
    }
    double rest = Math.min(1, (share - warmUp) / (1 - warmUp));
    return peak * (floor + (1 - floor) * 0.5 * (1 + StrictMath.cos(Math.PI * rest)));
  }
}
