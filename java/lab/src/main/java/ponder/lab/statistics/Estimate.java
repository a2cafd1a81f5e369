// SPDX-License-Identifier: Apache-2.0
package ponder.lab.statistics;

/**
 * A measured number and its 95 % interval.
 *
 * @param value the point estimate; NaN where nothing was measured
 * @param low the lower end of the interval
 * @param high the upper end
 */
public record Estimate(double value, double low, double high) {
  /** The 97.5 % point of the standard normal distribution. */
  private static final double Z = 1.959963984540054;

  /**
   * Returns the share of successes in independent trials, with Wilson's interval.
   *
   * @throws IllegalArgumentException unless 0 is at most the successes and these at most the trials
   * Source: Wilson 1927; Brown, Cai, DasGupta 2001, eq. 4.
   */
  public static Estimate rate(long successes, long trials) {
    if (successes < 0 || successes > trials) {
      throw new IllegalArgumentException(
          successes + " successes of " + trials + " trials; there cannot be more than trials");
    }
    if (trials == 0) {
      return new Estimate(Double.NaN, 0, 1);
    }
    double n = trials;
    double p = successes / n;
    double middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n);
    double half = Z / (1 + Z * Z / n) * Math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n));
    // At 0 and n the interval ends exactly at 0 and 1; rounding may miss them by a hair.
    return new Estimate(
        p, successes == 0 ? 0 : middle - half, successes == trials ? 1 : middle + half);
  }

  /** Returns the mean of independent values from their sums, with the normal interval. */
  public static Estimate mean(long count, double sum, double sumOfSquares) {
    if (count == 0) {
      return new Estimate(Double.NaN, Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY);
    }
    double mean = sum / count;
    double variance = Math.max(0, sumOfSquares / count - mean * mean) / Math.max(1, count - 1);
    return around(mean, Math.sqrt(variance));
  }

  /**
   * Returns the ratio of two sums over independent groups, such as legal steps of all steps, path
   * by path. The steps of one path are not independent; the groups are. Source: Cochran 1977,
   * section 2.11.
   */
  public static Estimate ratio(long groups, double a, double b, double aa, double ab, double bb) {
    if (b == 0) {
      return new Estimate(Double.NaN, 0, 1);
    }
    double ratio = a / b;
    double squares = Math.max(0, aa - 2 * ratio * ab + ratio * ratio * bb);
    return around(ratio, Math.sqrt(squares * groups / Math.max(1, groups - 1)) / b);
  }

  private static Estimate around(double value, double standardError) {
    return new Estimate(value, value - Z * standardError, value + Z * standardError);
  }
}
