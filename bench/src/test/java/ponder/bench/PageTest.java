// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The page, the README's figures, and the file they come from. */
class PageTest {
  private static final Machine MACHINE =
      new Machine(
          "AMD EPYC (Zen 5)",
          List.of("avx2"),
          2,
          List.of("L1d 48 KiB"),
          24,
          "6.18.44",
          "25.0.3+9, Vendor",
          "v4");
  private static final Row PRODUCT =
      Row.parse("r | p.one | op matmul forward | f32 | rows=1 | fma_f32 | >= 0.5 peak");
  private static final Row RED = Row.parse("r | p.red | op gelu forward | f32 | | exp | ");
  private static final Row TWICE =
      Row.parse("  | p.two | op matmul forward | f32 | rows=2 | fma_f32 | <= 1.5 of p.one");
  private static final List<Row> TABLE = List.of(PRODUCT, RED, TWICE);

  private static Results results() {
    Timing rival = Timing.merge(PRODUCT, List.of(MergeTest.round(400)));
    return new Results(
        MACHINE,
        List.of(
            Entry.of(
                PRODUCT,
                MergeTest.RUN,
                List.of(MergeTest.round(150, 160, 170)),
                Map.of("openblas", rival)),
            Entry.refused(RED, MergeTest.RUN, "y[0] is NaN | wrong")),
        null);
  }

  @Test
  void showsAFigureWithItsShareItsRivalAndItsVerdict() {
    String line = line(Page.of(results(), TABLE), "| p.one");
    assertEquals(
        "| p.one | >= 50 % of peak | 0.625 (0.606-0.645) GFLOP/s | 160 ns, 162 ns | openblas 0.250"
            + " | 2.50 | 63 % | 40 B | 2.00 KiB | met |",
        line);
  }

  @Test
  void aRedRowShowsNoNumber() {
    String line = line(Page.of(results(), TABLE), "| p.red");
    assertEquals("| p.red |  | | | | | | | | **red**: y[0] is NaN \\| wrong |", line);
  }

  @Test
  void whatIsMovedIsSetAgainstACopy() {
    Row copy = Row.parse(" | peak.copy_dram | peak | | | copy_dram | ");
    List<Entry> entries = new ArrayList<>(results().entries());
    entries.add(Entry.of(copy, MergeTest.RUN, List.of(MergeTest.round(200)), Map.of()));
    // 40 bytes in 160 ns; a copy moves 100 in 200 ns.
    String page = Page.of(new Results(MACHINE, entries, null), TABLE);
    assertTrue(line(page, "| p.one").contains("| 40 B, 50 % | 2.00 KiB |"), page);
  }

  @Test
  void aVerdictOnADisturbedFigureIsMarkedAndNotCounted() {
    Sample quiet = new Sample(160, 160, 1e9, 0.3, 0, 0);
    Sample waited = new Sample(300, 160, 1e9, 0.3, 0, 0);
    Entry one = entry(PRODUCT, quiet);
    Entry busy = entry(PRODUCT, waited);
    Entry two = entry(TWICE, quiet);
    assertEquals("met", Page.verdict(PRODUCT, one, Map.of()));
    assertEquals("met ~", Page.verdict(PRODUCT, busy, Map.of()));
    assertEquals("met, 1.00", Page.verdict(TWICE, two, Map.of("p.one", one)));
    assertEquals("met, 1.00 ~", Page.verdict(TWICE, two, Map.of("p.one", busy)));
    String markers =
        "<!-- ./ponder bench --readme: begin -->\n<!-- ./ponder bench --readme: end -->\n";
    Results results = new Results(MACHINE, List.of(busy, two), null);
    String text = Readme.with(markers, List.of(results), TABLE);
    assertTrue(text.contains("0 of 0 targets met, 2 more disturbed ("), text);
  }

  @Test
  void aRivalThatWasDisturbedMarksTheVerdict() {
    Row rivalled = Row.parse(" | p.r | op matmul forward | f32 | rows=1 | fma_f32 | >= 1 rival");
    Round busy = new Round(List.of(new Sample(900, 400, 0, 0.3, 0, 0)), 0, 0, 0, 0, Double.NaN, 0);
    Timing rival = Timing.merge(rivalled, List.of(busy));
    Entry entry =
        Entry.of(rivalled, MergeTest.RUN, List.of(MergeTest.round(160)), Map.of("b", rival));
    assertEquals("met ~", Page.verdict(rivalled, entry, Map.of()));
  }

  private static Entry entry(Row row, Sample sample) {
    Round round = new Round(List.of(sample), 100, 40, 7, 100, 2048, 0);
    return Entry.of(row, MergeTest.RUN, List.of(round), Map.of());
  }

  @Test
  void theReadmeIsChangedBetweenItsMarkersAlone() {
    String begin = "<!-- ./ponder bench --readme: begin -->\n";
    String end = "<!-- ./ponder bench --readme: end -->\n";
    String text =
        Readme.with("before\n" + begin + "old\n" + end + "after\n", List.of(results()), TABLE);
    assertTrue(text.startsWith("before\n" + begin + "AMD EPYC (Zen 5), 2 cores: 1 of 1 targets"));
    assertTrue(text.endsWith("|\n" + end + "after\n"), text);
    assertTrue(text.contains("| p.one | 0.625 (0.606-0.645) GFLOP/s | 63 % | 2.50 |"), text);
    assertFalse(text.contains("old") || text.contains("p.red"), text);
    assertThrows(
        IllegalArgumentException.class, () -> Readme.with(end + begin, List.of(results()), TABLE));
  }

  /** Their figures are not typed in: the file, the page and the README say the same. */
  @Test
  void thePagesAndTheReadmeShowTheCommittedFiles() throws IOException {
    List<Results> machines = new ArrayList<>();
    try (Stream<Path> files = Files.list(Path.of("bench/results"))) {
      for (Path file : files.filter(f -> f.toString().endsWith(".json")).sorted().toList()) {
        Results results = Results.read(file);
        machines.add(results);
        String page = Files.readString(Path.of("bench/results", results.machine().slug() + ".md"));
        assertEquals(Page.of(results, Rows.all()), page, "run ./ponder bench --readme");
        if (results.throughput() == null) continue;
        String plot = Files.readString(Path.of("bench/results", results.machine().slug() + ".svg"));
        assertEquals(ThroughputPlot.of(results.throughput()), plot, "run ./ponder bench --readme");
      }
    }
    String readme = Files.readString(Path.of("README.md"));
    assertEquals(Readme.with(readme, machines, Rows.all()), readme, "run ./ponder bench --readme");
  }

  @Test
  void newFiguresTakeThePlaceOfOlderOnes(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("m.json");
    results().write(file);
    Results before = Results.readOrEmpty(file, MACHINE);
    assertEquals(results(), before);
    Entry again = Entry.of(RED, MergeTest.RUN, List.of(MergeTest.round(100)), Map.of());
    Entry other = Entry.of(TWICE, MergeTest.RUN, List.of(MergeTest.round(320)), Map.of());
    Results after = before.with(MACHINE, List.of(other, again), TABLE);
    assertEquals(
        List.of("p.one", "p.red", "p.two"), after.entries().stream().map(Entry::row).toList());
    assertEquals(2, after.byRow().get("p.two").figure(TWICE, TWICE.target(), after.byRow()), 1e-9);
  }

  @Test
  void figuresOfTwoMachinesDoNotMix(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("m.json");
    results().write(file);
    var other =
        new Machine("AMD EPYC (Zen 4)", List.of("avx2"), 2, List.of(), 24, "6.1", "25", "v4");
    assertThrows(IOException.class, () -> Results.readOrEmpty(file, other));
  }

  private static String line(String page, String start) {
    return page.lines().filter(l -> l.startsWith(start)).findAny().orElseThrow();
  }
}
