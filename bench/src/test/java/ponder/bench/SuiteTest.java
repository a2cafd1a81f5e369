// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The order of the forks, and what happens to rows that cannot be timed. */
class SuiteTest {
  private static final Row BAD = Row.parse(" | b.bad | step | f32 | | | ");
  private static final Effort TWO_ROUNDS = new Effort(2, 0, 0, 0, 1, 1, 1);

  private final List<String> forked = new ArrayList<>();

  /** Forks that write down what they are asked for. */
  private Forks forks(String side, Row refused, RuntimeException reason) {
    return new Forks() {
      @Override
      public List<String> sides(Row row) {
        return List.of(side);
      }

      @Override
      public Round time(Row row, String of, Effort effort, boolean checked) {
        forked.add(row.name() + " " + of + (checked ? " checked" : ""));
        if (row.equals(refused)) throw reason;
        return MergeTest.round(side.equals("ours") ? 100 : 300);
      }
    };
  }

  private Suite.Outcome run(Forks... forks) {
    return new Suite(List.of(forks), TWO_ROUNDS, line -> {})
        .run(List.of(MergeTest.ONE, BAD), MergeTest.RUN);
  }

  @Test
  void takesTheSidesInTurnsAndChecksTheFirstRound() {
    Suite.Outcome outcome = run(forks("ours", null, null), forks("rival", null, null));
    assertEquals(
        List.of(
            "a.one ours checked",
            "a.one rival checked",
            "b.bad ours checked",
            "b.bad rival checked",
            "a.one ours",
            "a.one rival",
            "b.bad ours",
            "b.bad rival"),
        forked);
    assertEquals(3, outcome.entries().getFirst().ratio(MergeTest.ONE), 1e-9);
    assertEquals(2, outcome.entries().getFirst().ours().rounds().size());
  }

  @Test
  void aRedGateGivesNoFigureAndIsCounted() {
    Suite.Outcome outcome =
        run(forks("ours", BAD, new RedGate("wrong")), forks("rival", null, null));
    assertEquals(1, outcome.red());
    Entry red = outcome.entries().get(1);
    assertEquals("wrong", red.refused());
    assertNull(red.ours());
    assertEquals(0, forked.stream().filter(f -> f.equals("b.bad rival checked")).count());
    assertEquals(1, forked.stream().filter(f -> f.startsWith("b.bad")).count());
  }

  @Test
  void aRivalThatFailsLeavesOurFigure() {
    Suite.Outcome outcome =
        run(forks("ours", null, null), forks("rival", BAD, new IllegalStateException("gone")));
    assertEquals(2, outcome.entries().size());
    assertTrue(outcome.entries().get(1).rivals().isEmpty());
    assertEquals(List.of("b.bad, rival: gone"), outcome.failed());
  }

  @Test
  void aRowThatCannotBeTimedHasNoEntry() {
    Suite.Outcome outcome = run(forks("ours", BAD, new IllegalStateException("no device")));
    assertEquals(1, outcome.entries().size());
    assertEquals(0, outcome.red());
    assertEquals(List.of("b.bad, ours: no device"), outcome.failed());
  }
}
