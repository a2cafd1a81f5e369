// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import ponder.lab.frontier.CatchUp;
import ponder.lab.frontier.EqualTotal;
import ponder.lab.statistics.Estimate;

class PathsClaimsTest {
  private static final int QUERIES = 100;
  private static final int SAMPLES = 8;

  private static Estimate exactly(double value) {
    return new Estimate(value, value, value);
  }

  private static PathsUnit.Answered answered(String method, int spend, double solved) {
    Estimate e = exactly(solved);
    PathsRow row =
        new PathsRow(
            "small", 1, 1, 1, 1, method, spend, 1, QUERIES, e, e, e, e, e, e, e, e, e, e, e);
    return new PathsUnit.Answered(row, 0, "", "", List.of());
  }

  /** A unit that solves 50 % greedily, and so many as the shortest legal draw. */
  private static PathsUnit unit(double fraction, double predicted, double surprise, double legal) {
    Estimate none = exactly(0);
    PathsUnit.Training training =
        new PathsUnit.Training(
            "small",
            1,
            fraction,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            none,
            none,
            exactly(predicted),
            none,
            surprise,
            null);
    List<PathsUnit.Answered> answers =
        List.of(
            answered("greedy", 1, 0.5),
            answered("most likely", 1, 0.4),
            answered("shortest legal", 1, 0),
            answered("shortest legal", SAMPLES, legal));
    return new PathsUnit("0", Map.of(), training, answers);
  }

  private static CatchUp caughtUp(double fraction, String rival, String verdict) {
    return new CatchUp(
        "small", "most likely", 8, "large", rival, 1, fraction, exactly(0), 1, verdict);
  }

  private static EqualTotal total(long queries, String verdict) {
    return new EqualTotal(
        queries, "small", "beam", 1, 2, "large", "greedy", 1.0, exactly(0), verdict);
  }

  private static List<PathsResult.Verdict> claims(
      List<PathsUnit> units, List<CatchUp> catchUps, List<EqualTotal> totals) {
    List<PathsFrontier.Line> none = List.of();
    PathsFrontier frontier =
        new PathsFrontier(none, List.of(), List.of(), List.of(), List.of(), catchUps, totals);
    return PathsClaims.of(units, frontier, QUERIES, SAMPLES);
  }

  private static PathsResult.Verdict likelihood(PathsUnit... units) {
    return claims(List.of(units), List.of(), List.of()).get(0);
  }

  private static PathsResult.Verdict gain(PathsUnit... units) {
    return claims(List.of(units), List.of(), List.of()).get(1);
  }

  private static PathsResult.Verdict catchUp(List<CatchUp> catchUps, List<EqualTotal> totals) {
    return claims(List.of(), catchUps, totals).get(2);
  }

  @Test
  void theLikelihoodIsTestedOverTheModelsThatDrawExactPaths() {
    // At 5 % one squared normal deviate is below 3.84, the sum of two below 5.99.
    assertEquals(true, likelihood(unit(1, 0.05, 1.95, 0)).held());
    assertEquals(false, likelihood(unit(1, 0.05, -1.97, 0)).held());
    assertEquals(true, likelihood(unit(1, 0.5, 1.7, 0), unit(1, 0.5, -1.7, 0)).held());
    assertEquals(false, likelihood(unit(1, 0.5, 1.75, 0), unit(1, 0.5, -1.75, 0)).held());
    // Of one that is expected to draw four of a hundred z says nothing.
    assertEquals(true, likelihood(unit(1, 0.05, 1, 0), unit(1, 0.04, 9, 0)).held());
    assertNull(likelihood(unit(1, 0.04, 9, 0)).held());
  }

  @Test
  void everyModelOfLittleTrainingMustGainTenPoints() {
    assertEquals(true, gain(unit(0.25, 0, 0, 0.61), unit(1, 0, 0, 0.5)).held());
    PathsUnit enough = unit(0.0625, 0, 0, 0.7);
    PathsResult.Verdict missed = gain(enough, unit(0.25, 0, 0, 0.59), unit(1, 0, 0, 0.9));
    assertEquals(false, missed.held());
    assertEquals("so for 1 of 2 models", missed.text());
    assertEquals(
        "small, 1/16 of the training, seed 1: +20.0 points; control, one draw: -10.0",
        missed.details().get(0));
    assertNull(gain(unit(1, 0, 0, 0.9)).held());
  }

  @Test
  void everyWayMustCatchUpAfterTheFullTraining() {
    List<CatchUp> others =
        List.of(
            caughtUp(1, "greedy", "caught up"),
            caughtUp(0.25, "greedy", "not caught up"),
            caughtUp(1, "most likely", "undecided"));
    assertEquals(true, catchUp(others, List.of()).held());
    List<CatchUp> two =
        List.of(caughtUp(1, "greedy", "caught up"), caughtUp(1, "greedy", "undecided"));
    assertEquals(false, catchUp(two, List.of()).held());
    assertTrue(catchUp(two, List.of()).text().startsWith("so for 1 of 2 ways; "));
    assertNull(catchUp(List.of(), List.of()).held());
  }

  @Test
  void theWaysThatCatchUpAtEqualComputeInAllAreCounted() {
    List<EqualTotal> totals =
        List.of(
            total(1_000, "caught up"),
            total(10_000, "undecided"),
            total(1_000, "caught up"),
            total(10_000, "caught up"),
            total(1_000, "does not fit"),
            total(10_000, "not caught up"));
    String text = catchUp(List.of(caughtUp(1, "greedy", "caught up")), totals).text();
    assertTrue(
        text.endsWith(
            "; at equal compute in all, over 1,000 / 10,000 queries, so for 2 / 1 of 3 ways"
                + " without the map"),
        text);
  }
}
