// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Models trained in a moment, asked, timed and told about. */
class BudgetTest {
  private static final BudgetTask.Setting TINY =
      new BudgetTask.Setting(40, 800, 8, 20, 2, 400_000_000);
  private static final List<Row> TABLE =
      Rows.parse(
          """
           | budget.train.small | budget small train | f32 | | |
           | budget.c1.small.once | budget small once | f32 | budget=1 | |
           | budget.c1.small.draws2 | budget small draws | f32 | budget=1 draws=2 | |
           | budget.c1.looped.rounds2 | budget looped rounds | f32 | budget=1 rounds=2 | |
           | budget.c2.small.once | budget small once | f32 | budget=2 | |
           | budget.c2.small.draws2 | budget small draws | f32 | budget=2 draws=2 | |
           | budget.c2.looped.rounds2 | budget looped rounds | f32 | budget=2 rounds=2 | |
          """);

  @TempDir Path folder;
  private final List<String> trained = new ArrayList<>();

  private BudgetCache cache(BudgetTask.Setting setting, String program) {
    return new BudgetCache(
        new BudgetTask(setting), folder, "cpu", program, BudgetCache.ways(TABLE));
  }

  private BudgetExam exam(BudgetCache cache, Row row, long seed) throws IOException {
    return cache.exam(BudgetModel.of(row), row.size("budget"), seed, trained::add);
  }

  private List<String> files() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(f -> f.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void fromTrainingToThePage() throws IOException {
    BudgetCache cache = cache(TINY, "program");
    Map<String, BudgetExam> exams = new HashMap<>();
    Map<String, Entry> entries = new HashMap<>();
    for (Row row : TABLE) {
      boolean asked = BudgetWay.isOf(row);
      if (asked) {
        for (long seed = 0; seed < 2; seed++) {
          BudgetExam exam = exam(cache, row, seed);
          exams.put(exam.key(), exam);
          assertTrue(exam.trainFlops() >= TINY.flops(row.size("budget")), exam.model());
        }
      }
      try (Subject subject =
          asked
              ? new BudgetSubject(row, cache)
              : new StepSubject(
                  row, new StepTask.Budgeted(cache.task(), BudgetModel.of(row)), "cpu")) {
        subject.check(1);
        subject.begin();
        long began = System.nanoTime();
        subject.run();
        double nanos = System.nanoTime() - began;
        Sample sample = new Sample(nanos, nanos, 0, 0.3, 0, 0);
        Round round =
            new Round(
                List.of(sample),
                subject.work().flops(),
                subject.work().bytes(),
                subject.elements(),
                subject.work().matrixFlops(),
                0,
                asked ? subject.latencyNanos() : 0);
        if (asked) {
          assertTrue(subject.latencyNanos() > 0 && subject.latencyNanos() <= nanos, row.name());
        }
        entries.put(row.name(), Entry.of(row, MergeTest.RUN, List.of(round), Map.of()));
      }
    }
    assertEquals(8, trained.size(), "two models, two budgets, two seeds");
    Throughput found = BudgetFindings.of(TINY, "cpu", List.copyOf(exams.values()), TABLE, entries);
    assertEquals(6, found.ways().size());
    assertEquals(2 * Throughput.LEVELS.length, found.points().size());
    Path file = folder.resolve("m.json");
    Results results = new Results(Machine.here(), List.copyOf(entries.values()), found);
    results.write(file);
    assertEquals(Page.of(results, TABLE), Page.of(Results.read(file), TABLE));
    assertTrue(Page.of(results, TABLE).contains("## Throughput against the training budget"));
  }

  @Test
  void aModelIsTrainedOnceAndAnewWhenWhatDeterminesItChanges() throws IOException {
    Row row = TABLE.get(1);
    BudgetExam first = exam(cache(TINY, "program"), row, 0);
    BudgetExam again = exam(cache(TINY, "program"), row, 0);
    assertEquals(1, trained.size());
    assertEquals(first.key(), again.key());
    assertArrayEquals(
        first.answers().get(1).places().toArray(), again.answers().get(1).places().toArray());
    List<String> before = files();
    assertEquals(2, before.size(), before.toString());
    exam(cache(new BudgetTask.Setting(40, 800, 9, 20, 2, 400_000_000), "program"), row, 0);
    assertEquals(2, trained.size());
    exam(cache(TINY, "another"), row, 0);
    assertEquals(3, trained.size());
    // Of the older ones nothing is left, and another seed takes nothing away.
    exam(cache(TINY, "another"), row, 1);
    assertEquals(4, files().size());
    assertFalse(files().containsAll(before), before.toString());
  }

  @Test
  void examsAreThoseOfTimedRowsWhoseModelsAreAllThere() throws IOException {
    BudgetCache cache = cache(TINY, "program");
    cache.train(TABLE.subList(0, 3), 2, trained::add);
    assertEquals(2, trained.size(), "one model, two seeds");
    exam(cache, TABLE.get(4), 0);
    Set<String> names = TABLE.stream().map(Row::name).collect(Collectors.toSet());
    assertEquals(2, cache.exams(TABLE, names, 2).size());
    assertEquals(2, cache.exams(TABLE, names, 1).size());
    assertEquals(0, cache.exams(TABLE, Set.of("budget.train.small"), 1).size());
  }

  @Test
  void theKeyNamesAllThatDeterminesAModel() {
    BudgetCache cache = cache(TINY, "program");
    String key = cache.key(BudgetModel.SMALL, 1, 0);
    assertNotEquals(key, cache.key(BudgetModel.LOOPED, 1, 0));
    assertNotEquals(key, cache.key(BudgetModel.SMALL, 2, 0));
    assertNotEquals(key, cache.key(BudgetModel.SMALL, 1, 1));
    assertNotEquals(key, cache(TINY, "another").key(BudgetModel.SMALL, 1, 0));
    BudgetCache onDevice = new BudgetCache(cache.task(), folder, "cuda", "program", cache.ways());
    assertNotEquals(key, onDevice.key(BudgetModel.SMALL, 1, 0));
    Map<BudgetModel, List<BudgetWay>> fewer = BudgetCache.ways(TABLE.subList(0, 2));
    assertNotEquals(
        key,
        new BudgetCache(cache.task(), folder, "cpu", "program", fewer)
            .key(BudgetModel.SMALL, 1, 0));
    for (String part : List.of("AdamW", "Schedule", "places=40", "seed 0", "width 64")) {
      assertTrue(key.contains(part), key);
    }
  }

  @Test
  void theProgramIsTheSameUntilItChanges() throws IOException {
    assertEquals(Program.fingerprint("cpu"), Program.fingerprint("cpu"));
    assertTrue(Program.fingerprint("cpu").matches("[0-9a-f]{64}"));
  }

  @Test
  void aModelThatAnswersOtherwiseIsRefused() throws IOException {
    Row row = TABLE.get(1);
    BudgetCache cache = cache(TINY, "program");
    exam(cache, row, 0);
    exam(cache, row, 1);
    List<String> models = files().stream().filter(f -> f.endsWith(".safetensors")).toList();
    Files.copy(
        folder.resolve(models.get(1)),
        folder.resolve(models.get(0)),
        StandardCopyOption.REPLACE_EXISTING);
    try (Subject subject = new BudgetSubject(row, cache)) {
      assertThrows(RedGate.class, () -> subject.check(1));
    }
  }

  @Test
  void aModelThatIsNotTrainedIsNoSubject() {
    BudgetCache cache = cache(TINY, "program");
    assertThrows(IllegalStateException.class, () -> new BudgetSubject(TABLE.get(1), cache).run());
  }

  @Test
  void aDeviceThatIsMissingIsOneSentence() {
    BudgetCache cache =
        new BudgetCache(
            new BudgetTask(TINY), folder, "cuda:9999", "program", BudgetCache.ways(TABLE));
    RuntimeException missing =
        assertThrows(RuntimeException.class, () -> exam(cache, TABLE.get(1), 0));
    assertFalse(missing.getMessage().contains("\n"), missing.getMessage());
    assertEquals(1, Main.run("budget.c1.small.once", "--device", "cuda:9999", "--quick"));
  }

  @Test
  void everyRowOfTheTableHasItsModelAndItsWay() {
    int asked = 0;
    for (Row row : Rows.all()) {
      if (!row.words()[0].equals("budget")) continue;
      BudgetModel.of(row);
      if (!BudgetWay.isOf(row)) continue;
      BudgetWay.of(row);
      int budget = row.size("budget");
      assertTrue(budget >= 1 && budget <= BudgetTask.Setting.USUAL.budgets(), row.name());
      assertTrue(!row.quick() || budget <= 2, row.name());
      asked++;
    }
    assertEquals(44, asked);
    assertEquals(4 * BudgetTask.Setting.USUAL.flops(2), BudgetTask.Setting.USUAL.flops(3));
  }
}
