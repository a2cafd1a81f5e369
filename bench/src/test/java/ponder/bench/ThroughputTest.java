// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Exams and timings that are made up, and what must come of them. */
class ThroughputTest {
  private static final BudgetTask.Setting SETTING = new BudgetTask.Setting(10, 500, 4, 10, 2, 1600);
  private static final List<Row> TABLE =
      Rows.parse(
          """
           | budget.train.small | budget small train | f32 | | fma_f32 |
           | budget.c1.small.once | budget small once | f32 | budget=1 | fma_f32 |
           | budget.c1.small.draws2 | budget small draws | f32 | budget=1 draws=2 | fma_f32 |
           | budget.c1.small.draws4 | budget small draws | f32 | budget=1 draws=4 | fma_f32 |
           | budget.c1.looped.rounds1 | budget looped rounds | f32 | budget=1 rounds=1 | fma_f32 |
           | budget.c1.looped.rounds2 | budget looped rounds | f32 | budget=1 rounds=2 | fma_f32 |
           | budget.c2.small.once | budget small once | f32 | budget=2 | fma_f32 |
           | budget.c2.small.draws2 | budget small draws | f32 | budget=2 draws=2 | fma_f32 |
           | budget.c2.small.draws4 | budget small draws | f32 | budget=2 draws=4 | fma_f32 |
           | budget.c2.looped.rounds1 | budget looped rounds | f32 | budget=2 rounds=1 | fma_f32 |
           | budget.c2.looped.rounds2 | budget looped rounds | f32 | budget=2 rounds=2 | fma_f32 |
          """);

  private final List<BudgetExam> exams = new ArrayList<>();
  private final Map<String, Entry> entries = new HashMap<>();

  /** Ten queries: how many each way solves. */
  @BeforeEach
  void invent() {
    exams.add(exam("small", 1, 410, once(3), draws(2, 6), draws(4, 8)));
    exams.add(exam("looped", 1, 420, rounds(1, 0), rounds(2, 10)));
    exams.add(exam("small", 2, 1610, once(10), draws(2, 10), draws(4, 10)));
    exams.add(exam("looped", 2, 1620, rounds(1, 10), rounds(2, 10)));
    for (int budget = 1; budget <= 2; budget++) {
      time("budget.c" + budget + ".small.once", 100, 0.5);
      time("budget.c" + budget + ".small.draws2", 40, 0.5);
      time("budget.c" + budget + ".small.draws4", 20, 0.5);
      time("budget.c" + budget + ".looped.rounds1", 60, 0.5);
      time("budget.c" + budget + ".looped.rounds2", 30, 0.5);
    }
    time("budget.train.small", 1000, 0);
  }

  private static BudgetExam exam(
      String model, int budget, double flops, BudgetExam.Answered... answers) {
    return new BudgetExam(model + budget, model, budget, 0, 7, 9, flops, 1, 0.1, List.of(answers));
  }

  private static BudgetExam.Answered answered(String method, int spend, double flops, int solved) {
    String bits = "1".repeat(solved) + "0".repeat(10 - solved);
    return new BudgetExam.Answered(method, spend, flops, bits, List.of());
  }

  private static BudgetExam.Answered once(int solved) {
    return answered("greedy", 1, 2, solved);
  }

  private static BudgetExam.Answered draws(int draws, int solved) {
    return answered("shortest legal", draws, 2.5 * draws, solved);
  }

  private static BudgetExam.Answered rounds(int rounds, int solved) {
    return answered("rounds", rounds, 3 * rounds, solved);
  }

  /** Ten queries or tokens a run; 12 FLOPs each, 10 of them in products; at half the peak. */
  private void time(String name, double rate, double latencySeconds) {
    double nanos = 1e9 * 10 / rate;
    Sample sample = new Sample(nanos, nanos, 2 * 100 / (1e-9 * nanos), 0.3, 0, 0);
    Round round = new Round(List.of(sample), 120, 0, 10, 100, 0, 1e9 * latencySeconds);
    Row row = TABLE.stream().filter(r -> r.name().equals(name)).findAny().orElseThrow();
    entries.put(name, Entry.of(row, MergeTest.RUN, List.of(round), Map.of()));
  }

  private Throughput throughput() {
    return BudgetFindings.of(SETTING, "cpu", exams, TABLE, entries);
  }

  private static Throughput.Point at(Throughput found, double level, int budget) {
    return found.points().stream()
        .filter(p -> p.level() == level && p.budget() == budget)
        .findAny()
        .orElseThrow();
  }

  @Test
  void theQuickestWayThatIsGoodEnoughGivesX() {
    Throughput found = throughput();
    Throughput.Point half = at(found, 0.5, 1);
    assertEquals("small, shortest legal of 2", found.ways().get(half.quickest()).text());
    assertEquals(420, half.trainFlops());
    assertEquals(40, half.queriesPerSecond().value(), 1e-9);
    assertEquals(0, half.singlePass().value());
    assertEquals(1000 / 40.0, half.tokenEquivalents(), 1e-9);
    assertEquals(5 / 10.0, half.tokenEquivalentsOfFlops(), 1e-9);
    assertEquals(5e3 / (410 + 5e3), half.shares().get(0), 1e-12);
    assertEquals(100, at(found, 0.5, 2).queriesPerSecond().value(), 1e-9);
    assertEquals(100, at(found, 0.5, 2).singlePass().value(), 1e-9);
  }

  @Test
  void theRivalSolvesMostForNoMoreOfEither() {
    Throughput found = throughput();
    Throughput.Point most = at(found, 0.9, 1);
    assertEquals("looped, 2 rounds", found.ways().get(most.quickest()).text());
    // Six FLOPs of the looped model buy two draws; four would solve more.
    Throughput.Way rival = found.ways().get(most.rival());
    assertEquals("small, shortest legal of 2", rival.text());
    assertEquals(1, rival.budget());
    assertEquals(0.6, rival.solved().value(), 1e-12);
  }

  @Test
  void whatNoWayReachesIsInfeasible() {
    exams.set(1, exam("looped", 1, 420, rounds(1, 0), rounds(2, 5)));
    Throughput.Point none = at(throughput(), 0.9, 1);
    assertEquals(0, none.queriesPerSecond().value());
    assertNull(none.quickest());
    String page = ThroughputPage.of(throughput(), "m");
    assertTrue(page.contains("| 90 % | C1 4.2e2 | 0 |"), page);
  }

  @Test
  void aWayWhoseBatchesAreLateDoesNotCount() {
    time("budget.c1.looped.rounds2", 30, 2.1);
    assertEquals(0, at(throughput(), 0.9, 1).queriesPerSecond().value());
    time("budget.c1.looped.rounds2", 30, 2);
    assertEquals(30, at(throughput(), 0.9, 1).queriesPerSecond().value(), 1e-9);
  }

  @Test
  void etaIsFromTheBudgetBefore() {
    Throughput found = throughput();
    assertNull(at(found, 0.25, 1).eta());
    // A single pass of 2 FLOPs is the cheapest under both.
    assertTrue(Double.isInfinite(at(found, 0.25, 2).eta().value()));
    // To solve all takes 6 FLOPs, then 2; nine tenths, a tenth of the way from 3 to 6 less.
    double before = 3 * Math.pow(2, 0.9);
    double eta = Math.log(1620 / 420.0) / Math.log(before / 2);
    assertEquals(eta, at(found, 0.9, 2).eta().value(), 1e-9);
  }

  @Test
  void rowsThatWereNotTimedAreLeftOut() {
    entries.remove("budget.c1.small.draws2");
    assertEquals(30, at(throughput(), 0.5, 1).queriesPerSecond().value(), 1e-9);
    entries.clear();
    assertNull(throughput());
  }

  @Test
  void thePageSaysWhatTheFileHolds() {
    String page = ThroughputPage.of(throughput(), "m");
    assertTrue(
        page.contains(
            "| 50 % | C1 4.2e2 | 40 (30-100) | small, shortest legal of 2, C1 | 5e0 | 500 ms |"
                + " 25.0, 0.500 |  | 50 %, 50 % | 92 %, all but 0.0082 %, all but 8.2e-6 % | 0"
                + " (0-100) |"),
        page);
    assertTrue(
        page.contains("| looped, 2 rounds | 100 (72-100); 30/s | 100 (72-100); 30/s | 6e0 |"),
        page);
    assertTrue(page.contains("| C1 | looped, 2 rounds | small, once | +70.0 (+"), page);
    assertTrue(page.contains("![X against C](m.svg)"), page);
    assertFalse(page.contains("null") || page.contains("NaN"), page);
    String summary = ThroughputPage.summary(throughput());
    assertTrue(summary.contains("40, 100 queries/s after"), summary);
  }

  @Test
  void thePlotIsLogarithmicOnBothAxesAndHasALineOfZero() {
    exams.set(1, exam("looped", 1, 420, rounds(1, 0), rounds(2, 5)));
    String svg = ThroughputPlot.of(throughput());
    // C from 1e2 to 1e4, X from 1e1 to 1e2: 420 and 40 for a half, 1,620 and 100; 2 px to the left.
    double left = 70 + 490 * (Math.log10(420) - 2) / 2 - 2;
    double right = 70 + 490 * (Math.log10(1620) - 2) / 2 - 2;
    double low = 290 - 270 * (Math.log10(40) - 1);
    assertTrue(svg.contains("points=\"%.1f,%.1f %.1f,20.0\"".formatted(left, low, right)), svg);
    // Nine tenths are infeasible at first; 6 px to the right.
    assertTrue(svg.contains("points=\"%.1f,320.0 %.1f,20.0\"".formatted(left + 8, right + 8)), svg);
    assertFalse(svg.contains("NaN") || svg.contains("Infinity"), svg);
  }
}
