// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What becomes of rounds: medians, quartiles, shares, marks. */
class MergeTest {
  static final Row ONE = Row.parse(" | a.one | step | f32 | | fma_f32 | >= 0.5 peak");
  static final Row TWO = Row.parse(" | a.two | step | f32 | threads=2 | fma_f32 | ");
  static final Entry.Run RUN = new Entry.Run("2026-11-21", "0123456789ab", "cpu", false);

  /** A fork whose runs take so much processor time, and do 100 at a peak of 1e9. */
  static Round round(double... cpuNanos) {
    List<Sample> samples =
        java.util.Arrays.stream(cpuNanos)
            .mapToObj(cpu -> new Sample(1.01 * cpu, cpu, 1e9, 0.3, 0, 0))
            .toList();
    return new Round(samples, 100, 40, 7, 100, 2048, 0);
  }

  @Test
  void quartilesLieBetweenNeighbours() {
    assertEquals(new Spread(2, 3, 4), Spread.of(List.of(5.0, 1.0, 3.0, 2.0, 4.0)));
    assertEquals(new Spread(1.75, 2.5, 3.25), Spread.of(List.of(4.0, 1.0, 3.0, 2.0)));
    assertEquals(new Spread(25, 100 / 3.0, 50), new Spread(2, 3, 4).under(100));
  }

  @Test
  void everyIterationCountsOnceWhateverItsRound() {
    Timing merged = Timing.merge(ONE, List.of(round(10, 20, 30), round(100, 110, 120)));
    assertEquals(65, merged.cpuNanos().median(), 1e-9);
    assertEquals(1.01 * 65, merged.wallNanos().median(), 1e-9);
    assertEquals(List.of(20.0, 110.0), merged.rounds());
    assertEquals(6, merged.iterations());
  }

  @Test
  void onOneThreadProcessorTimeCountsAndOnTwoTheClock() {
    Timing merged = Timing.merge(ONE, List.of(round(200)));
    assertEquals(200, merged.time(ONE).median());
    assertEquals(202, merged.time(TWO).median());
  }

  @Test
  void aShareIsOfThePeakOfAllThreads() {
    assertEquals(0.5, Entry.of(ONE, RUN, List.of(round(200)), Map.of()).share().median(), 1e-9);
    Entry two = Entry.of(TWO, RUN, List.of(round(100)), Map.of());
    assertEquals(2e9, two.peak().median());
    assertEquals(100 / (1.01e-7 * 2e9), two.share().median(), 1e-9);
  }

  @Test
  void theRatioIsToTheFastestRival() {
    Timing slow = Timing.merge(ONE, List.of(round(800)));
    Timing fast = Timing.merge(ONE, List.of(round(300)));
    Entry entry = Entry.of(ONE, RUN, List.of(round(200)), Map.of("a", slow, "b", fast));
    assertEquals(1.5, entry.ratio(ONE), 1e-9);
    assertEquals(1.5, entry.figure(ONE, Target.parse(">= 1 rival"), Map.of()), 1e-9);
    assertEquals(2, entry.figure(ONE, Target.parse("<= 1 KiB"), Map.of()), 1e-9);
    assertEquals(7 / 200e-9, entry.figure(ONE, Target.parse(">= 1 tokens/s"), Map.of()), 1);
    assertEquals(200e-6, entry.figure(ONE, Target.parse("<= 1 ms"), Map.of()), 1e-12);
    assertTrue(Double.isNaN(entry.figure(ONE, Target.parse(">= 1 of x"), Map.of())));
  }

  @Test
  void marksWhatOthersDisturbed() {
    Sample quiet = new Sample(102, 100, 0, 0.3, 1, 0);
    assertFalse(quiet.disturbed(1));
    assertTrue(new Sample(110, 100, 0, 0.3, 1, 0).disturbed(1), "waited");
    assertTrue(new Sample(100, 110, 0, 0.3, 1, 0).disturbed(1), "had help");
    assertFalse(new Sample(110, 200, 0, 0.3, 1, 0).disturbed(2));
    assertTrue(new Sample(100, 100, 0, 0.3, 1, 10e6).disturbed(1), "stolen from");
    assertTrue(new Sample(100, 100, 0, 0.3, 30, 0).disturbed(2), "lost its core");
    Sample waited = new Sample(110, 100, 0, 0.3, 1, 0);
    Round one = new Round(List.of(quiet, quiet, quiet, waited), 0, 0, 0, 0, 0, 0);
    Round two = new Round(List.of(quiet, waited), 0, 0, 0, 0, 0, 0);
    assertFalse(Timing.merge(ONE, List.of(one)).isDisturbed());
    assertTrue(Timing.merge(ONE, List.of(one, two)).isDisturbed());
  }
}
