// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import ponder.Key;
import ponder.lab.statistics.Estimate;

class ResamplesTest {
  private static final double[] ONE = {1};

  private static Curve curve(boolean[]... seeds) {
    boolean[][][] right = new boolean[seeds.length][][];
    Arrays.setAll(right, s -> new boolean[][] {seeds[s]});
    return new Curve("model", "method", 1, 1e9, new int[] {1}, ONE, ONE, right);
  }

  private static Estimate estimate(Resamples resamples, Curve curve) {
    double[][] accuracy = resamples.accuracy(curve);
    return resamples.estimate(curve.accuracy()[0], r -> accuracy[r][0]);
  }

  @Test
  void intervalsCoverTheTruthInNineteenOfTwenty() {
    int rounds = 1_000;
    int queries = 200;
    double truth = 0.4;
    int covered = 0;
    for (int round = 0; round < rounds; round++) {
      Key key = Key.of(17).split(round);
      boolean[] right = new boolean[queries];
      double[] draws = key.split("answers").uniformDoubles(queries);
      for (int q = 0; q < queries; q++) {
        right[q] = draws[q] < truth;
      }
      Estimate e = estimate(new Resamples(200, 1, queries, key.split("resamples")), curve(right));
      covered += e.low() <= truth && truth <= e.high() ? 1 : 0;
    }
    assertEquals(0.95, covered / (double) rounds, 5 * Math.sqrt(0.95 * 0.05 / rounds));
  }

  @Test
  void theIntervalOfOneSeedIsWilsonsAndOfSeveralTheResamples() {
    boolean[] some = new boolean[50];
    Arrays.fill(some, 0, 20, true);
    assertEquals(
        Estimate.rate(20, 50), new Resamples(400, 1, 50, Key.of(3)).estimates(curve(some))[0]);
    Resamples resamples = new Resamples(400, 2, 50, Key.of(3));
    Curve two = curve(some, new boolean[50]);
    assertEquals(estimate(resamples, two), resamples.estimates(two)[0]);
  }

  @Test
  void theSameKeyGivesTheSameInterval() {
    Curve curve = Curves.of("model", "method", 1, 1e9, ONE, 100, 37);
    Estimate once = estimate(new Resamples(500, 1, 100, Key.of(1)), curve);
    assertEquals(once, estimate(new Resamples(500, 1, 100, Key.of(1)), curve));
    assertNotEquals(
        Arrays.deepToString(new Resamples(500, 1, 100, Key.of(1)).accuracy(curve)),
        Arrays.deepToString(new Resamples(500, 1, 100, Key.of(2)).accuracy(curve)));
  }

  @Test
  void seedsAreDrawnToo() {
    boolean[] all = new boolean[50];
    Arrays.fill(all, true);
    double[][] accuracy =
        new Resamples(400, 2, 50, Key.of(3)).accuracy(curve(all, new boolean[50]));
    // Whichever queries are drawn: none, one or two of two seeds are right.
    Set<Double> values = Arrays.stream(accuracy).map(a -> a[0]).collect(Collectors.toSet());
    assertEquals(Set.of(0.0, 0.5, 1.0), values);
    double half = Arrays.stream(accuracy).filter(a -> a[0] == 0.5).count() / 400.0;
    assertEquals(0.5, half, 5 * Math.sqrt(0.25 / 400));
  }

  @Test
  void everyCurveIsResampledWithTheSameQueries() {
    Resamples resamples = new Resamples(100, 1, 10, Key.of(3));
    boolean[] first = {true, false, true, false, true, false, true, false, true, true};
    boolean[] wrong = new boolean[10];
    for (int q = 0; q < 10; q++) {
      wrong[q] = !first[q];
    }
    double[][] a = resamples.accuracy(curve(first));
    double[][] b = resamples.accuracy(curve(wrong));
    for (int r = 0; r < 100; r++) {
      assertEquals(1, a[r][0] + b[r][0], 1e-15);
    }
  }

  @Test
  void theIntervalIsOfThePercentiles() {
    Resamples resamples = new Resamples(1_001, 1, 1, Key.of(1));
    assertEquals(new Estimate(7, 25, 975), resamples.estimate(7, r -> 1_000 - r));
    assertEquals(new Estimate(5, 5, 5), new Resamples(1, 1, 1, Key.of(1)).estimate(5, r -> 5));
  }

  @Test
  void whatIsUndefinedInMoreThanATenthOfTheResamplesIsUnknown() {
    Resamples resamples = new Resamples(100, 1, 1, Key.of(1));
    assertNull(resamples.estimate(Double.NaN, r -> 1));
    assertNull(resamples.estimate(1, r -> r < 11 ? Double.NaN : 1));
    assertEquals(new Estimate(1, 1, 1), resamples.estimate(1, r -> r < 10 ? Double.NaN : 1));
    double infinite = Double.POSITIVE_INFINITY;
    assertEquals(
        new Estimate(infinite, 2, infinite),
        resamples.estimate(infinite, r -> r < 9 ? 2 : infinite));
  }

  @Test
  void refusesCurvesOfOtherSizesAndNoResamples() {
    Resamples resamples = new Resamples(3, 2, 4, Key.of(1));
    boolean[] four = new boolean[4];
    assertArrayEquals(new double[] {0}, resamples.accuracy(curve(four, four))[2]);
    assertThrows(IllegalArgumentException.class, () -> resamples.accuracy(curve(four)));
    assertThrows(IllegalArgumentException.class, () -> resamples.accuracy(curve(four, four, four)));
    boolean[] three = new boolean[3];
    assertThrows(IllegalArgumentException.class, () -> resamples.accuracy(curve(three, three)));
    assertThrows(IllegalArgumentException.class, () -> new Resamples(0, 2, 4, Key.of(1)));
  }
}
