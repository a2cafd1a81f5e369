// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import java.util.Arrays;
import java.util.function.IntToDoubleFunction;
import ponder.Key;
import ponder.lab.statistics.Estimate;

/**
 * The bootstrap over seeds and queries: what would have been measured on other seeds and queries
 * like these. Every curve is resampled with the same seeds and queries, so differences between
 * curves are paired. Intervals are the 2.5 and 97.5 percentiles. Source: Efron, Tibshirani 1993,
 * chapter 13; two crossed factors: Owen 2007, The pigeonhole bootstrap.
 */
public final class Resamples {
  /** The share of resamples in which a number must exist to be given an interval. */
  private static final double LEAST_DEFINED = 0.9;

  private final int[][] seeds;
  private final int[][] queries;

  /**
   * Draws the resamples.
   *
   * @param count how many, at least 1
   * @param seeds the number of seeds of every curve
   * @param queries the number of queries of every curve
   */
  public Resamples(int count, int seeds, int queries, Key key) {
    if (count < 1) {
      throw new IllegalArgumentException("resamples: count is " + count + ", must be at least 1");
    }
    this.seeds = new int[count][];
    this.queries = new int[count][];
    for (int r = 0; r < count; r++) {
      // How often each is drawn.
      this.seeds[r] = counts(key.split("seeds").split(r).ints(seeds, seeds), seeds);
      this.queries[r] = counts(key.split("queries").split(r).ints(queries, queries), queries);
    }
  }

  private static int[] counts(int[] drawn, int n) {
    int[] counts = new int[n];
    for (int i : drawn) {
      counts[i]++;
    }
    return counts;
  }

  /** Returns the number of resamples. */
  public int count() {
    return seeds.length;
  }

  /**
   * Returns the accuracy [resample][spend] of a curve in every resample.
   *
   * @throws IllegalArgumentException if the curve has other numbers of seeds or queries
   */
  public double[][] accuracy(Curve curve) {
    if (curve.seeds() != seeds[0].length || curve.queries() != queries[0].length) {
      throw new IllegalArgumentException(
          "resamples of %d seeds and %d queries: curve %s, %s has %d and %d"
              .formatted(
                  seeds[0].length,
                  queries[0].length,
                  curve.model(),
                  curve.method(),
                  curve.seeds(),
                  curve.queries()));
    }
    double[][] all = new double[count()][curve.points()];
    for (int r = 0; r < count(); r++) {
      for (int point = 0; point < curve.points(); point++) {
        long right = 0;
        for (int seed = 0; seed < curve.seeds(); seed++) {
          boolean[] answers = curve.right()[seed][point];
          long ofSeed = 0;
          for (int q = 0; q < answers.length; q++) {
            ofSeed += answers[q] ? queries[r][q] : 0;
          }
          right += ofSeed * seeds[r][seed];
        }
        all[r][point] = right / ((double) curve.seeds() * curve.queries());
      }
    }
    return all;
  }

  /**
   * Returns the accuracy [spend] of a curve with its interval: Wilson's of one seed, of several that
   * of the resamples.
   */
  public Estimate[] estimates(Curve curve) {
    double[] accuracy = curve.accuracy();
    double[][] resampled = accuracy(curve);
    Estimate[] estimates = new Estimate[accuracy.length];
    for (int i = 0; i < estimates.length; i++) {
      int point = i;
      estimates[i] =
          curve.seeds() > 1
              ? estimate(accuracy[i], r -> resampled[r][point])
              : Estimate.rate(Math.round(accuracy[i] * curve.queries()), curve.queries());
    }
    return estimates;
  }

  /**
   * Returns an estimate with the interval of the resamples; null if the value, or more than a tenth
   * of the resampled ones, is NaN.
   *
   * @param value as measured
   * @param resampled the same in resample r; infinities are allowed
   */
  public Estimate estimate(double value, IntToDoubleFunction resampled) {
    double[] values = new double[count()];
    Arrays.setAll(values, resampled);
    double[] defined = Arrays.stream(values).filter(v -> !Double.isNaN(v)).sorted().toArray();
    if (Double.isNaN(value) || defined.length < LEAST_DEFINED * count()) {
      return null;
    }
    return new Estimate(value, percentile(defined, 0.025), percentile(defined, 0.975));
  }

  private static double percentile(double[] sorted, double p) {
    return sorted[(int) Math.min(sorted.length - 1, Math.round(p * (sorted.length - 1)))];
  }
}
