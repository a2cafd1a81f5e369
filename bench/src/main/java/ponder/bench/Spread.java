// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Arrays;
import java.util.Collection;

/**
 * The middle of some measurements and the quartiles around it.
 *
 * @param low a quarter of them is below
 * @param median half of them is below
 * @param high a quarter of them is above
 */
record Spread(double low, double median, double high) {
  /** Returns the quartiles, between neighbours by proportion. */
  static Spread of(Collection<Double> values) {
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    if (sorted.length == 0) throw new IllegalArgumentException("a spread of no values");
    return new Spread(at(sorted, 0.25), at(sorted, 0.5), at(sorted, 0.75));
  }

  private static double at(double[] sorted, double share) {
    double place = share * (sorted.length - 1);
    int below = (int) place;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  }

  /** Returns the quartiles of some amount divided by these. */
  Spread under(double amount) {
    double[] turned = {amount / low, amount / median, amount / high};
    Arrays.sort(turned);
    return new Spread(turned[0], turned[1], turned[2]);
  }
}
