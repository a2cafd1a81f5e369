// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import java.util.Arrays;

/**
 * How often one way of thinking is right, as more and more is spent on a query: one trained size,
 * one training budget, one method, several amounts of test-time compute.
 *
 * @param model the model's name
 * @param method how test-time compute is spent
 * @param fraction the training budget as a part of the full one
 * @param trainFlops the FLOPs of the training, mean over the seeds
 * @param spend how much is spent, in the method's own unit (samples, width, rounds), rising
 * @param testFlops [spend], FLOPs per query, mean over the seeds, above 0, rising
 * @param seconds [spend], wall time per query on the machine at hand
 * @param right [seed][spend][query], whether the answer was right
 */
public record Curve(
    String model,
    String method,
    double fraction,
    double trainFlops,
    int[] spend,
    double[] testFlops,
    double[] seconds,
    boolean[][][] right) {
  /** Checks the lengths, and that test FLOPs have a logarithm. */
  public Curve {
    int n = spend.length;
    boolean fits = n > 0 && testFlops.length == n && seconds.length == n && right.length > 0;
    int queries = fits && right[0].length == n ? right[0][0].length : 0;
    for (boolean[][] seed : right) {
      fits &= seed.length == n;
      for (boolean[] point : seed) {
        fits &= point.length == queries;
      }
    }
    if (!fits || queries == 0) {
      throw new IllegalArgumentException(
          "curve " + model + ", " + method + ": lengths differ or are 0");
    }
    for (double flops : testFlops) {
      if (!(flops > 0)) {
        throw new IllegalArgumentException(
            "curve " + model + ", " + method + ": test FLOPs are " + flops + ", must be above 0");
      }
    }
  }

  /** Returns a part of the full training budget as it is read: all, 1/4, 0.3. */
  public static String part(double fraction) {
    double whole = Math.rint(1 / fraction);
    return fraction == 1
        ? "all"
        : 1 / whole == fraction ? "1/" + (long) whole : String.valueOf(fraction);
  }

  /** Returns the number of amounts of test-time compute. */
  public int points() {
    return spend.length;
  }

  /** Returns the number of the last point that costs no more test FLOPs; -1 where all cost more. */
  int within(double flops) {
    int point = -1;
    while (point + 1 < points() && testFlops[point + 1] <= flops) {
      point++;
    }
    return point;
  }

  /** Returns the number of seeds. */
  public int seeds() {
    return right.length;
  }

  /** Returns the number of queries. */
  public int queries() {
    return right[0][0].length;
  }

  /** Returns the share of right answers [spend], over all seeds and queries. */
  public double[] accuracy() {
    // Divided once: a share that is written as a level is that level, to the bit.
    double[] share = new double[points()];
    Arrays.setAll(
        share,
        i ->
            Arrays.stream(right).mapToLong(s -> count(s[i])).sum()
                / ((double) seeds() * queries()));
    return share;
  }

  /** Returns the share of right answers of the seed with the fewest, at an amount. */
  public double worst(int point) {
    return Arrays.stream(right).mapToLong(s -> count(s[point])).min().orElse(0)
        / (double) queries();
  }

  private static long count(boolean[] right) {
    long count = 0;
    for (boolean r : right) {
      count += r ? 1 : 0;
    }
    return count;
  }

  /**
   * Returns the test FLOPs per query at which a level is reached: on the line between the points
   * around it, straight in the logarithm of the FLOPs, once a curve that falls again has been
   * replaced by the highest value so far. NaN if it is never reached; the first point's FLOPs if it
   * is reached there, though fewer might do.
   *
   * @param accuracy [spend], of this curve or of a resample of it
   */
  public double flopsAt(double level, double[] accuracy) {
    double before = 0;
    for (int i = 0; i < points(); i++) {
      if (accuracy[i] >= level) {
        if (i == 0) {
          return testFlops[0];
        }
        double part = (level - before) / (accuracy[i] - before);
        return testFlops[i - 1] * Math.pow(testFlops[i] / testFlops[i - 1], part);
      }
      before = Math.max(before, accuracy[i]);
    }
    return Double.NaN;
  }
}
