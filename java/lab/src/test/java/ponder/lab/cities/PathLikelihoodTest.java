// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import ponder.Key;
import ponder.lab.statistics.Estimate;

class PathLikelihoodTest {
  /** A model whose tokens have these likelihoods, sampled honestly or not. */
  private static PathLikelihood sampled(int queries, double exactShare) {
    PathLikelihood likelihood = new PathLikelihood();
    for (int query = 0; query < queries; query++) {
      double[] uniform = Key.of(1).split(query).uniformDoubles(13);
      double first = 2 * uniform[0];
      double rest = 0;
      int tokens = 1 + (int) (10 * uniform[1]);
      for (int token = 0; token < tokens; token++) {
        rest += 0.5 * uniform[2 + token];
      }
      boolean isExact = uniform[12] < exactShare * Math.exp(-first - rest);
      likelihood.add(first, rest, tokens, isExact);
    }
    return likelihood;
  }

  @Test
  void thePredictionHoldsForHonestSamples() {
    PathLikelihood likelihood = sampled(10_000, 1);
    assertTrue(Math.abs(likelihood.surprise()) < 1.96, "" + likelihood.surprise());
    Estimate predicted = likelihood.predictedExact();
    Estimate measured = likelihood.measuredExact();
    assertTrue(measured.low() < predicted.value() && predicted.value() < measured.high());
    assertEquals(1, likelihood.firstNats().value(), 0.03);
    assertEquals(5.5 * 0.25, likelihood.restNats().value(), 0.05);
    assertEquals(0.25, likelihood.restNatsPerToken(), 0.005);
  }

  @Test
  void thePredictionFailsForOtherSamples() {
    assertTrue(sampled(10_000, 0.8).surprise() < -4);
    assertTrue(sampled(10_000, 1.2).surprise() > 4);
  }

  @Test
  void theSurpriseIsStandardNormalForHonestSamples() {
    // Two kinds of queries, p = 1/2 and 1/8; the deviation is sqrt(n (1/4 + 7/64) / 2).
    PathLikelihood likelihood = new PathLikelihood();
    double half = Math.log(2);
    for (int i = 0; i < 64; i++) {
      likelihood.add(half, 0, 1, i < 40);
      likelihood.add(half, 2 * half, 2, i < 10);
    }
    assertEquals(10 / Math.sqrt(64 * (0.25 + 7.0 / 64)), likelihood.surprise(), 1e-9);
    assertEquals(5.0 / 16, likelihood.predictedExact().value(), 1e-12);
    assertEquals(Estimate.rate(50, 128), likelihood.measuredExact());
  }

  @Test
  void certaintyLeavesNoRoomForSurprise() {
    PathLikelihood likelihood = new PathLikelihood();
    likelihood.add(0, 0, 1, true);
    assertEquals(0, likelihood.surprise());
    likelihood.add(0, 0, 1, false);
    assertTrue(likelihood.surprise() < -1e9);
  }

  @Test
  void aThirdOfANatOverThirtyStepsLeavesLittle() {
    // The loss of 0.35 nats that looked small, on paths of 30 steps.
    PathLikelihood likelihood = new PathLikelihood();
    likelihood.add(0.35, 29 * 0.35, 29, false);
    assertEquals(2.75e-5, likelihood.predictedExact().value(), 1e-7);
  }
}
