// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.lab.statistics.Estimate;

/** What counts as right, on a small map that can be drawn by hand. */
class PathScoreTest {
  private static final double INFINITE = Double.POSITIVE_INFINITY;

  /**
   * One degree is about 111 km and the radius 125 km:
   *
   * <pre>
   * 3 - 4 - 5
   * |   |   |
   * 0 - 1 - 2 - 6    7 (alone)
   * </pre>
   */
  private static final CityGraph MAP =
      Places.of(
          List.of(
              Places.at(0, 0),
              Places.at(0, 1),
              Places.at(0, 2),
              Places.at(1, 0),
              Places.at(1, 1),
              Places.at(1, 2),
              Places.at(0, 3.1),
              Places.at(0, 9)),
          125);

  private static final PathTable TRUTH = PathTable.of(MAP);

  private static PathScore score(int source, int target, int... generated) {
    return PathScore.of(TRUTH, source, target, generated, 0, generated.length, true);
  }

  @Test
  void theShortestPathIsRightInEveryWay() {
    PathScore score = score(0, 6, 1, 2, 6);
    assertEquals(3, score.steps());
    assertEquals(3, score.legalSteps());
    assertTrue(score.isLegal() && score.isAtTarget() && score.isOptimal() && score.isExact());
    assertTrue(score.isFirstMoveRight() && score.isSolved());
    assertEquals(TRUTH.kilometres(0, 6), score.kilometres(), 1e-9);
    assertEquals(1, score.stretch(), 1e-12);
  }

  @Test
  void aDetourIsLegalAndStretched() {
    PathScore score = score(0, 2, 3, 4, 5, 2);
    assertTrue(score.isLegal() && score.isAtTarget());
    assertFalse(score.isOptimal() || score.isExact() || score.isSolved());
    assertFalse(score.isFirstMoveRight());
    assertEquals(2, score.stretch(), 0.001);
  }

  @Test
  void walkingBackAndForthIsLegal() {
    PathScore score = score(0, 1, 1, 0, 1);
    assertTrue(score.isLegal() && score.isAtTarget() && score.isFirstMoveRight());
    assertEquals(3, score.stretch(), 1e-12);
    assertFalse(score.isExact());
  }

  @Test
  void aJumpIsIllegalAndHasNoLength() {
    PathScore score = score(0, 6, 1, 6);
    assertEquals(2, score.steps());
    assertEquals(1, score.legalSteps());
    assertFalse(score.isLegal());
    assertTrue(score.isAtTarget() && score.isFirstMoveRight());
    assertEquals(INFINITE, score.kilometres());
    assertEquals(INFINITE, score.stretch());
  }

  @Test
  void stayingWhereOneIsFollowsNoEdge() {
    assertEquals(1, score(0, 1, 0, 1).legalSteps());
  }

  @Test
  void aPathThatStopsShortIsLegalButNotAtTheTarget() {
    PathScore score = score(0, 6, 1, 2);
    assertTrue(score.isLegal());
    assertFalse(score.isAtTarget() || score.isOptimal() || score.isExact());
    assertTrue(score.kilometres() < INFINITE);
    assertEquals(INFINITE, score.stretch());
  }

  @Test
  void aPathThatRunsPastTheTargetIsNotAtIt() {
    assertFalse(score(0, 2, 1, 2, 6).isAtTarget());
  }

  @Test
  void aPathThatIsNotEndedIsNeitherLegalNorAtTheTarget() {
    PathScore score = PathScore.of(TRUTH, 0, 2, new int[] {1, 2}, 0, 2, false);
    assertFalse(score.isLegal() || score.isAtTarget() || score.isExact() || score.isSolved());
    assertEquals(2, score.legalSteps());
  }

  @Test
  void anEmptyPathIsNotLegal() {
    PathScore score = score(0, 2);
    assertFalse(score.isLegal() || score.isAtTarget() || score.isFirstMoveRight());
    assertEquals(0, score.steps());
  }

  @Test
  void whatIsNoPlaceFollowsNoEdgeAndNoneFollowsIt() {
    for (int noPlace : new int[] {8, 9, -1, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
      PathScore score = score(0, 2, 1, noPlace, 2);
      assertEquals(1, score.legalSteps());
      assertFalse(score.isLegal());
    }
  }

  @Test
  void aPieceOfAnArrayIsScored() {
    int[] generated = {7, 7, 1, 2, 6, 7};
    PathScore score = PathScore.of(TRUTH, 0, 6, generated, 2, 3, true);
    assertTrue(score.isExact());
    assertThrows(
        IndexOutOfBoundsException.class, () -> PathScore.of(TRUTH, 0, 6, generated, 4, 3, true));
  }

  @Test
  void anEquallyShortPathIsOptimalButNotExact() {
    // North and south of the equator alike.
    CityGraph graph =
        Places.of(
            List.of(Places.at(0, 0), Places.at(0.5, 1), Places.at(-0.5, 1), Places.at(0, 2)), 140);
    PathTable truth = PathTable.of(graph);
    assertTrue(truth.isTied(0, 3));
    assertEquals(1, truth.firstMove(0, 3));
    PathScore other = PathScore.of(truth, 0, 3, new int[] {2, 3}, 0, 2, true);
    assertTrue(other.isOptimal() && other.isSolved());
    assertFalse(other.isExact() || other.isFirstMoveRight());
  }

  @Test
  void theCheckIsChargedByTheStep() {
    long one = score(0, 1, 1).operations();
    long two = score(0, 2, 1, 2).operations();
    // Ended and at the target: 2. A step: 2, an addition, and a search in 2 or 3 neighbours: 2.
    assertEquals(2 + 5, one);
    assertEquals(2 + 5 + 5, two);
    assertEquals(2 + 4, score(0, 2, 5).operations());
    assertEquals(2 + 2, score(0, 2, -1).operations());
  }

  @Test
  void aQueryWithoutAnAnswerIsRefused() {
    assertThrows(IllegalArgumentException.class, () -> score(0, 7, 1));
    assertThrows(IllegalArgumentException.class, () -> score(0, 0, 1));
    assertThrows(IllegalArgumentException.class, () -> score(0, 0));
  }

  @Test
  void illegalPathsStayInEveryDenominator() {
    PathMetrics metrics = new PathMetrics();
    metrics.add(score(0, 6, 1, 2, 6)); // right
    metrics.add(score(0, 2, 3, 4, 5, 2)); // twice as long
    metrics.add(score(0, 6, 1, 6)); // illegal
    metrics.add(score(0, 6, 1, 2)); // stops short
    metrics.add(score(0, 6)); // empty
    assertEquals(5, metrics.queries());
    assertEquals(0.6, metrics.legal().value());
    assertEquals(0.6, metrics.endpoint().value());
    assertEquals(0.2, metrics.solved().value());
    assertEquals(0.2, metrics.optimal().value());
    assertEquals(0.2, metrics.exact().value());
    assertEquals(0.6, metrics.firstMove().value());
    assertEquals(10.0 / 11, metrics.legalSteps().value(), 1e-12);
    for (int i = 0; i < PathMetrics.bounds().length; i++) {
      assertEquals(0.2, metrics.stretch(i).value());
    }
    assertEquals(Estimate.rate(3, 5), metrics.legal());
    assertEquals(17 + 22 + 11 + 12 + 2, metrics.operations());
  }

  @Test
  void theBoundsAreIncludedAndRising() {
    PathMetrics metrics = new PathMetrics();
    double[] stretches = {1, 1.01, 1.02, 1.05, 1.06, 1.10, 1.11, 1.5, 1.51, INFINITE};
    for (double stretch : stretches) {
      metrics.add(new PathScore(1, 1, true, true, stretch, stretch, false, false, false, 0));
    }
    assertEquals(0.2, metrics.stretch(0).value());
    assertEquals(0.4, metrics.stretch(1).value());
    assertEquals(0.6, metrics.stretch(2).value());
    assertEquals(0.8, metrics.stretch(3).value());
    assertEquals(0.6, metrics.solved().value());
  }
}
