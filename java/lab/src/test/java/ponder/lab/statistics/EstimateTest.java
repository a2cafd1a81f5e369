// SPDX-License-Identifier: Apache-2.0
package ponder.lab.statistics;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EstimateTest {
  @ParameterizedTest
  @CsvSource({
    // Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    "81, 263, 0.2553, 0.3662",
    "15, 148, 0.0624, 0.1605",
    "0, 20, 0.0000, 0.1611",
    "1, 29, 0.0061, 0.1718",
  })
  void wilsonsIntervalsAreThePublishedOnes(long successes, long trials, double low, double high) {
    Estimate rate = Estimate.rate(successes, trials);
    assertEquals((double) successes / trials, rate.value());
    assertEquals(low, rate.low(), 5e-5);
    assertEquals(high, rate.high(), 5e-5);
    // Failures are successes seen from the other side.
    Estimate failures = Estimate.rate(trials - successes, trials);
    assertEquals(1 - rate.low(), failures.high(), 1e-12);
    assertEquals(1 - rate.high(), failures.low(), 1e-12);
  }

  @Test
  void atTheEndsTheIntervalEndsExactly() {
    for (long n = 1; n < 3_000; n++) {
      assertEquals(0, Estimate.rate(0, n).low());
      assertEquals(1, Estimate.rate(n, n).high());
      assertTrue(Estimate.rate(n, n).low() > 0 && Estimate.rate(0, n).high() < 1);
    }
  }

  @Test
  void nothingMeasuredIsNothingKnown() {
    assertEquals(new Estimate(Double.NaN, 0, 1), Estimate.rate(0, 0));
    assertEquals(new Estimate(Double.NaN, 0, 1), Estimate.ratio(0, 0, 0, 0, 0, 0));
    assertTrue(Double.isNaN(Estimate.mean(0, 0, 0).value()));
    assertThrows(IllegalArgumentException.class, () -> Estimate.rate(2, 1));
    assertThrows(IllegalArgumentException.class, () -> Estimate.rate(-1, 1));
  }

  @Test
  void theIntervalOfAMeanIsTheNormalOne() {
    // 1, 2, 3, 4: mean 2.5, variance 5/3, standard error sqrt(5/12).
    Estimate mean = Estimate.mean(4, 10, 30);
    assertEquals(2.5, mean.value());
    assertEquals(2.5 - 1.959963984540054 * Math.sqrt(5.0 / 12), mean.low(), 1e-12);
    assertEquals(2.5 + 1.959963984540054 * Math.sqrt(5.0 / 12), mean.high(), 1e-12);
  }

  @Test
  void theIntervalOfARatioCoversTheTruthWhereStepsHangTogether() {
    // Paths of 1 to 20 steps; in four of ten, all steps are legal, else each with chance 0.8.
    RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(7);
    double truth = 0.4 + 0.6 * 0.8;
    int covered = 0;
    int rounds = 1_000;
    for (int round = 0; round < rounds; round++) {
      double a = 0;
      double b = 0;
      double aa = 0;
      double ab = 0;
      double bb = 0;
      for (int path = 0; path < 200; path++) {
        int steps = random.nextInt(1, 21);
        boolean isGood = random.nextDouble() < 0.4;
        int legal = 0;
        for (int step = 0; step < steps; step++) {
          legal += isGood || random.nextDouble() < 0.8 ? 1 : 0;
        }
        a += legal;
        b += steps;
        aa += legal * legal;
        ab += legal * steps;
        bb += steps * steps;
      }
      Estimate ratio = Estimate.ratio(200, a, b, aa, ab, bb);
      covered += ratio.low() <= truth && truth <= ratio.high() ? 1 : 0;
    }
    assertEquals(0.95, covered / (double) rounds, 0.02);
  }
}
