// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import ponder.Key;

class EqualTotalTest {
  private static final int QUERIES = 40;
  private static final Resamples RESAMPLES = new Resamples(200, 1, QUERIES, Key.of(6));

  /** One, two, three and four drawn paths at 1, 2, 4 and 8 FLOPs. */
  private static Curve thinker(double train, int... right) {
    return Curves.of("small", "draws", 0.25, train, new double[] {1, 2, 4, 8}, QUERIES, right);
  }

  private static Curve rival(double test, int right) {
    return Curves.of("large", "greedy", 1, 300, new double[] {test}, QUERIES, right);
  }

  private static EqualTotal of(Curve thinker, Curve rival, long queries) {
    return EqualTotal.of(new Frontier(List.of(thinker, rival), RESAMPLES), thinker, rival, queries);
  }

  @ParameterizedTest
  @CsvSource({
    // the thinker's training FLOPs, queries, amount that fits, its part of the rival's total
    "100, 1000, 1, 0.8461538461538461", // 1 + 200 / 1000 FLOPs a query
    "100, 200, 2, 1", // exactly 2
    "100, 201, 1, 0.6007984031936128", // just below 2
    "100, 50, 3, 0.8571428571428571", // 5
    "100, 10, 4, 0.5806451612903226", // 21, and no more than 8 was measured
    "290, 1, 1, 0.9667774086378738", // within 5 %: nothing is saved
    "310, 1000000, 1, 1.0000099970008998", // nor lost
  })
  void theMostThatFitsIsTaken(double train, long queries, int spend, double used) {
    EqualTotal got = of(thinker(train, 1, 2, 3, 4), rival(1, 20), queries);
    assertEquals(spend, got.spend());
    assertEquals(used, got.used(), 1e-12);
    assertTrue(got.used() <= 1.05);
    assertEquals(spend / (double) QUERIES - 0.5, got.difference().value(), 1e-12);
    assertEquals("not caught up", got.verdict());
    assertEquals(queries, got.queries());
    assertEquals("small, draws, 0.25", got.small() + ", " + got.method() + ", " + got.fraction());
    assertEquals("large, greedy", got.large() + ", " + got.rival());
  }

  @Test
  void aDearerTrainingIsPaidForByQueriesOrDoesNotFit() {
    Curve dear = thinker(400, 1, 2, 3, 4);
    Curve rival = rival(3, 20);
    // 3 - 100 / 40 FLOPs a query are left.
    EqualTotal none = of(dear, rival, 40);
    assertEquals("does not fit", none.verdict());
    assertNull(none.spend());
    assertNull(none.used());
    assertNull(none.difference());
    assertEquals(1, of(dear, rival, 50).spend());
    assertEquals(2, of(dear, rival, 100).spend());
    assertEquals("does not fit", of(dear, rival, 1).verdict());
  }

  @Test
  void theVerdictIsThatOfTheWholeInterval() {
    Curve rival = rival(1, 20);
    assertEquals("caught up", of(thinker(100, 0, 0, 0, 33), rival, 10).verdict());
    assertEquals("not caught up", of(thinker(100, 40, 40, 40, 7), rival, 10).verdict());
    assertEquals("undecided", of(thinker(100, 40, 40, 40, 20), rival, 10).verdict());
    assertEquals("undecided", of(thinker(100, 40, 40, 40, 21), rival, 10).verdict());
  }

  @Test
  void differencesArePaired() {
    EqualTotal same = of(thinker(100, 0, 0, 0, 20), rival(1, 20), 10);
    assertEquals(0, same.difference().low());
    assertEquals(0, same.difference().high());
    EqualTotal more = of(thinker(100, 0, 0, 0, 24), rival(1, 20), 10);
    // The same queries and four more: never fewer.
    assertTrue(more.difference().low() >= 0 && more.difference().low() < 0.1);
  }
}
