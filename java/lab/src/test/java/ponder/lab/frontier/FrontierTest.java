// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Key;
import ponder.lab.statistics.Estimate;

class FrontierTest {
  private static final Resamples FEW = new Resamples(50, 1, 10, Key.of(4));

  /** Ten queries, all answered wrong at the first point and right at the second: no chance in it. */
  private static Curve step(String model, double fraction, double train, double... testFlops) {
    return Curves.of(model, "method", fraction, train, testFlops, 10, 0, 10);
  }

  private static Estimate exactly(double value) {
    return new Estimate(value, value, value);
  }

  private static void assertClose(double expected, Estimate got) {
    double limit = 1e-12 * expected;
    assertEquals(expected, got.value(), limit);
    assertEquals(expected, got.low(), limit);
    assertEquals(expected, got.high(), limit);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.5, 1, 2})
  void kappaIsThePowerThatTradesTrainingForTestCompute(double a) {
    int queries = 5_000;
    double[] flops = new double[21];
    for (int i = 0; i < flops.length; i++) {
      flops[i] = 1e6 * Math.pow(2, i);
    }
    List<Curve> curves = new ArrayList<>();
    for (double fraction : new double[] {1.0 / 64, 1.0 / 16, 0.25, 1}) {
      int[] right = new int[flops.length];
      for (int i = 0; i < flops.length; i++) {
        // A function of C_train^a C_test alone.
        double worth = a * Math.log(fraction) + Math.log(flops[i] / 1e6);
        right[i] = (int) Math.round(queries / (1 + Math.exp(3 - worth)));
      }
      curves.add(Curves.of("model", "method", fraction, 1e12 * fraction, flops, queries, right));
    }
    Frontier frontier = new Frontier(curves, new Resamples(40, 1, queries, Key.of(8)));
    for (double level : new double[] {0.3, 0.5, 0.8}) {
      List<Frontier.Kappa> kappas = frontier.kappas(level);
      assertEquals(1, kappas.size());
      Estimate kappa = kappas.get(0).kappa();
      assertEquals(a, kappa.value(), 0.01);
      assertTrue(kappa.low() <= a + 0.01 && a - 0.01 <= kappa.high(), kappa.toString());
    }
  }

  @Test
  void kappaNeedsTwoBudgetsThatCrossTheLevelAfterTheirFirstPoint() {
    Curve small = step("a", 0.25, 100, 1, 4);
    Curve atOnce = Curves.of("a", "method", 1, 400, new double[] {1, 4}, 10, 10, 10);
    assertEquals(List.of(), new Frontier(List.of(small, atOnce), FEW).kappas(0.5));
    assertEquals(List.of(), new Frontier(List.of(small), FEW).kappas(0.5));
    // Four times the training, an eighth of the test compute.
    Curve large = step("a", 1, 400, 0.125, 0.5);
    assertClose(1.5, new Frontier(List.of(small, large), FEW).kappas(0.5).get(0).kappa());
    // Of equal budgets there is no slope.
    Curve same = step("a", 0.5, 100, 0.125, 0.5);
    assertEquals(List.of(), new Frontier(List.of(small, same), FEW).kappas(0.5));
  }

  private static List<Estimate> etas(double level, Curve... curves) {
    return new Frontier(List.of(curves), FEW)
        .exchangeRates(level, c -> !c.model().equals("oracle")).stream()
            .map(Frontier.ExchangeRate::eta)
            .toList();
  }

  @Test
  void etaIsWhatTrainingBuysInTestCompute() {
    // Four times the training, an eighth of the test compute.
    Curve small = step("a", 0.25, 100, 1, 4);
    Curve large = step("b", 1, 400, 0.125, 0.5);
    assertClose(2 / 3.0, etas(0.5, small, large).get(0));
    // The cheapest way counts, of this budget and of those below.
    Curve dear = step("c", 1, 390, 64, 256);
    Curve barred = step("oracle", 1, 400, 1e-9, 4e-9);
    assertClose(2 / 3.0, etas(0.5, small, dear, large, barred).get(0));
    assertEquals(exactly(Double.POSITIVE_INFINITY), etas(0.5, small, dear).get(0));
  }

  @Test
  void etaIsUnknownWhereTheSmallerBudgetIsTooSmall() {
    Curve never = Curves.of("a", "method", 1.0 / 16, 25, new double[] {1, 4}, 10, 0, 0);
    List<Estimate> got = etas(0.5, never, step("a", 0.25, 100, 1, 4), step("a", 1, 400, 1, 4));
    assertNull(got.get(0));
    assertEquals(exactly(Double.POSITIVE_INFINITY), got.get(1));
    assertEquals(List.of(), etas(0.5, never));
  }

  @Test
  void contoursGoFromTheSmallestBudgetToTheLargest() {
    Curve never = Curves.of("a", "method", 1.0 / 16, 25, new double[] {1, 4}, 10, 0, 0);
    List<Curve> curves =
        List.of(
            step("a", 1, 400, 1, 4),
            never,
            step("a", 0.25, 100, 4, 16),
            step("alone", 1, 400, 1, 4));
    List<Frontier.Contour> contours = new Frontier(curves, FEW).contours(0.5);
    assertEquals(1, contours.size());
    List<Frontier.ContourPoint> points = contours.get(0).points();
    assertEquals(new Frontier.ContourPoint(1.0 / 16, 25, null), points.get(0));
    assertEquals(0.25, points.get(1).fraction());
    assertClose(8, points.get(1).testFlops());
    assertEquals(400, points.get(2).trainFlops());
    assertClose(2, points.get(2).testFlops());
  }

  @ParameterizedTest
  @CsvSource({
    // thinker's training and test FLOPs, the rival's, queries
    "100, 5, 300, 1, 50",
    "100, 5, 300, 5, Infinity",
    "100, 5, 300, 6, Infinity",
    "300, 5, 300, 1, 0",
    "300, 5, 300, 6, Infinity",
    "400, 5, 300, 1, 0",
    "400, 5, 300, 5, 0",
  })
  void breakEvenIsTheSavedTrainingOverTheDearerQuery(
      double train, double test, double rivalTrain, double rivalTest, double queries) {
    Curve thinker = step("thinker", 0.25, train, test, 9 * test);
    Curve rival = Curves.of("rival", "greedy", 1, rivalTrain, new double[] {rivalTest}, 10, 10);
    // At a level of 0 the first point is enough.
    Frontier.BreakEven got = breakEven(0, thinker, rival);
    assertEquals(exactly(queries), got.queries());
    assertEquals("thinker, method, 1/4 of the training", got.thinker());
    assertEquals("rival, greedy, all of the training", got.rival());
  }

  private static Frontier.BreakEven breakEven(double level, Curve... curves) {
    return new Frontier(List.of(curves), FEW)
        .breakEven(level, c -> c.model().equals("thinker"), c -> c.model().equals("rival"));
  }

  @Test
  void breakEvenIsUnknownWhereAWayIsMissingOrTheSidesAreTurned() {
    Curve thinker = step("thinker", 0.25, 100, 1, 4);
    Curve weak = Curves.of("rival", "greedy", 1, 300, new double[] {1}, 10, 0);
    Frontier.BreakEven got = breakEven(0.5, thinker, weak);
    assertNull(got.rival());
    assertNull(got.queries());
    assertNull(breakEven(0.5, weak).thinker());
    // Dearer to train and cheaper to ask: it pays from a number of queries on.
    Curve cheap = Curves.of("rival", "greedy", 1, 50, new double[] {9}, 10, 10);
    assertNull(breakEven(0.5, thinker, cheap).queries());
  }

  @Test
  void breakEvenTakesTheCheapestTrainingThenTheCheapestQuery() {
    Curve rival = Curves.of("rival", "greedy", 1, 300, new double[] {1}, 10, 10);
    Curve dear = step("thinker", 1, 200, 1, 4);
    Curve slow = step("thinker", 0.5, 100, 4, 16);
    Curve quick = step("thinker", 0.5, 100, 2, 8);
    Curve unable = Curves.of("thinker", "method", 0.25, 50, new double[] {1}, 10, 0);
    // 200 saved, 4 - 1 dearer.
    assertClose(200 / 3.0, breakEven(0.5, dear, slow, quick, unable, rival).queries());
  }

  @Test
  void throughputIsTheQuickestAnswerThatATrainingBudgetBuys() {
    // Seconds are a tenth of the FLOPs.
    Curve little = Curves.of("a", "method", 1.0 / 16, 25, new double[] {1, 4}, 10, 0, 0);
    Curve some = step("a", 0.25, 100, 1, 4);
    Curve much = Curves.of("a", "method", 1, 400, new double[] {2, 8}, 10, 10, 10);
    Curve slow = Curves.of("b", "method", 1, 390, new double[] {5}, 10, 10);
    Curve barred = Curves.of("oracle", "method", 1.0 / 16, 20, new double[] {0.1}, 10, 10);
    List<Curve> curves = List.of(much, slow, barred, some, little);
    Frontier.Throughput got =
        new Frontier(curves, FEW).throughput(0.5, c -> !c.model().equals("oracle"));
    assertEquals(
        List.of(
            new Frontier.ThroughputPoint(25, exactly(0)),
            new Frontier.ThroughputPoint(100, exactly(1 / 0.4)),
            new Frontier.ThroughputPoint(400, exactly(1 / 0.2))),
        got.points());
  }

  @Test
  void theQuickestWayIsTheOneWhoseRateTheThroughputIs() {
    Curve little = Curves.of("a", "method", 0.25, 100, new double[] {1, 4, 9}, 10, 0, 6, 6);
    Curve much = Curves.of("a", "method", 1, 400, new double[] {2, 8}, 10, 5, 10);
    Frontier frontier = new Frontier(List.of(little, much), FEW);
    assertEquals(new Frontier.Choice(little, 1), frontier.quickest(0.5, 100, c -> true));
    assertEquals(new Frontier.Choice(much, 0), frontier.quickest(0.5, 400, c -> true));
    assertEquals(new Frontier.Choice(little, 1), frontier.quickest(0.6, 400, c -> true));
    assertNull(frontier.quickest(0.7, 399, c -> true));
    // A way that takes for ever reaches nothing.
    double[] never = {Double.POSITIVE_INFINITY};
    Curve late = new Curve("b", "m", 1, 400, new int[] {1}, new double[] {1}, never, right(10));
    assertNull(new Frontier(List.of(late), FEW).quickest(0.5, 400, c -> true));
    assertEquals(
        exactly(0),
        new Frontier(List.of(late), FEW)
            .throughput(0.5, c -> true)
            .points()
            .get(0)
            .queriesPerSecond());
  }

  private static boolean[][][] right(int queries) {
    boolean[][][] right = new boolean[1][1][queries];
    java.util.Arrays.fill(right[0][0], true);
    return right;
  }

  @Test
  void theBestWayIsWithinBothBudgets() {
    Curve little = Curves.of("a", "method", 0.25, 100, new double[] {1, 4, 9}, 10, 2, 6, 5);
    Curve much = Curves.of("a", "method", 1, 400, new double[] {4, 8}, 10, 6, 10);
    Frontier frontier = new Frontier(List.of(little, much), FEW);
    assertEquals(new Frontier.Choice(little, 0), frontier.best(400, 3.9, c -> true));
    assertEquals(new Frontier.Choice(little, 1), frontier.best(400, 4, c -> true));
    assertEquals(new Frontier.Choice(much, 1), frontier.best(400, 8, c -> true));
    assertEquals(new Frontier.Choice(little, 1), frontier.best(399, 100, c -> true));
    assertNull(frontier.best(400, 0.9, c -> true));
    assertNull(frontier.best(99, 100, c -> true));
  }

  @Test
  void throughputNeverFallsWithTheBudget() {
    List<Curve> curves = new ArrayList<>();
    double[] flops = {1, 2, 4};
    for (int i = 0; i < 20; i++) {
      int[] right = Key.of(i).ints(3, 11);
      curves.add(
          Curves.of("m", "t" + i, 1.0 / (1 + i % 5), 1000.0 / (1 + i % 5), flops, 10, right));
    }
    for (double level : new double[] {0.2, 0.5, 0.8, 1}) {
      double before = 0;
      List<Frontier.ThroughputPoint> points =
          new Frontier(curves, FEW).throughput(level, c -> true).points();
      assertEquals(5, points.size());
      for (Frontier.ThroughputPoint point : points) {
        assertTrue(point.queriesPerSecond().value() >= before);
        before = point.queriesPerSecond().value();
      }
    }
  }

  @Test
  void differencesArePaired() {
    double[] flops = {1, 4};
    Curve a = Curves.of("a", "method", 1, 400, flops, 10, 3, 7);
    Curve b = Curves.of("b", "method", 1, 400, flops, 10, 7, 3);
    Frontier frontier = new Frontier(List.of(a, b), FEW);
    // The same queries are right: in every resample there is no difference.
    assertEquals(exactly(0), frontier.difference(a, 1, b, 0));
    Estimate difference = frontier.difference(a, 1, b, 1);
    assertEquals(0.4, difference.value(), 1e-15);
    // A superset is never worse.
    assertTrue(0 <= difference.low() && difference.low() < 0.4 && 0.4 < difference.high());
    Curve other = Curves.of("c", "method", 1, 400, flops, 10, 7, 3);
    assertThrows(IllegalArgumentException.class, () -> frontier.difference(a, 0, other, 0));
  }

  @Test
  void refusesCurvesOfOtherQueries() {
    Curve nine = Curves.of("a", "method", 1, 400, new double[] {1}, 9, 3);
    assertThrows(IllegalArgumentException.class, () -> new Frontier(List.of(nine), FEW));
  }
}
