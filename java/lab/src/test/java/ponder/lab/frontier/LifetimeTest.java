// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class LifetimeTest {
  @Test
  void theShareOfTheQueriesGoesFromNothingToAll() {
    Lifetime life = new Lifetime(1e12, 1e6);
    assertEquals(0, life.share(0));
    assertEquals(1e9 / (1e12 + 1e9), life.share(1e3), 1e-15);
    assertEquals(0.5, life.share(1e6), 1e-15);
    assertEquals(1e3 / (1 + 1e3), life.share(1e9), 1e-15);
  }

  @Test
  void aQueryIsWorthTheTokensThatCostAsMuch() {
    assertEquals(2.5, new Lifetime(1e12, 1e6).tokenEquivalents(4e5), 1e-15);
    // The same where both sides run at the same part of the peak.
    assertEquals(2.5, Lifetime.tokenEquivalents(1e9 / 4e5, 1e9 / 1e6), 1e-15);
  }

  @Test
  void refusesWhatCostsNothing() {
    assertThrows(IllegalArgumentException.class, () -> new Lifetime(0, 1));
    assertThrows(IllegalArgumentException.class, () -> new Lifetime(1, Double.NaN));
  }
}
