// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.Key;

class CatchUpTest {
  private static final int QUERIES = 40;

  private static CatchUp of(int right, int[] rivalRight, double... rivalFlops) {
    Curve thinker = Curves.of("small", "draws", 0.25, 100, new double[] {1, 8}, QUERIES, 0, right);
    Curve rival = Curves.of("large", "beam", 0.25, 100, rivalFlops, QUERIES, rivalRight);
    Resamples resamples = new Resamples(200, 1, QUERIES, Key.of(6));
    return CatchUp.of(new Frontier(List.of(thinker, rival), resamples), thinker, rival);
  }

  @Test
  void theMostIsSetAgainstNoMoreThanThat() {
    CatchUp got = of(30, new int[] {0, 20, 40}, 4, 8, 16);
    assertEquals(2, got.spend());
    assertEquals(2, got.rivalSpend());
    assertEquals(1, got.dearer());
    assertEquals(0.25, got.difference().value(), 1e-12);
    // A single pass that is dearer than all thinking is a rival still.
    got = of(30, new int[] {20, 40}, 16, 32);
    assertEquals(1, got.rivalSpend());
    assertEquals(0.5, got.dearer());
  }

  @Test
  void theVerdictIsThatOfTheWholeInterval() {
    assertEquals("caught up", of(33, new int[] {20}, 1).verdict());
    assertEquals("not caught up", of(7, new int[] {20}, 1).verdict());
    assertEquals("undecided", of(20, new int[] {20}, 1).verdict());
    assertEquals("undecided", of(21, new int[] {20}, 1).verdict());
  }

  @Test
  void saysWhatWasSetAgainstWhat() {
    String text = of(40, new int[] {0}, 4).text();
    assertEquals(
        "1/4 of the training: small, draws of 2, against large, beam of 1: +100.0 points (+100.0 to"
            + " +100.0) at 2.0 times its test FLOPs, caught up",
        text);
  }
}
