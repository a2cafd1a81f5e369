// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The step size over a run. */
class ScheduleTest {
  @ParameterizedTest
  @CsvSource({
    // warm-up to 2 at 0.2, then half a cosine to 0.2 at 1; at 0.6 it is half way, 1.1
    "0, 0",
    "0.05, 0.5",
    "0.1, 1",
    "0.2, 2",
    "0.4, 1.736396103067893",
    "0.6, 1.1",
    "0.8, 0.4636038969321072",
    "1, 0.2",
    "1.7, 0.2",
  })
  void warmsUpAndFallsAlongACosine(double share, double rate) {
    assertEquals(rate, new Schedule(2, 0.2, 0.1).rate(share), 1e-15);
  }

  @Test
  void risesFallsAndIsContinuous() {
    Schedule schedule = new Schedule(1, 0.25, 0);
    for (int i = 0; i < 10_000; i++) {
      double step = schedule.rate((i + 1) / 10_000.0) - schedule.rate(i / 10_000.0);
      assertTrue(i < 2_500 ? step > 0 : step < 0, "at " + i);
      assertTrue(Math.abs(step) < 5e-4, "at " + i);
    }
  }

  @Test
  void withoutWarmUpItBeginsAtThePeak() {
    assertEquals(3, new Schedule(3, 0, 0.5).rate(0));
    assertEquals(3, new Schedule(3, 0, 1).rate(0.7));
  }

  @Test
  void refusesSharesOutsideTheirRanges() {
    for (double wrong : new double[] {0, -1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> new Schedule(wrong, 0, 0));
    }
    for (double wrong : new double[] {-0.1, 1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> new Schedule(1, wrong, 0));
    }
    for (double wrong : new double[] {-0.1, 1.1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> new Schedule(1, 0, wrong));
    }
  }
}
