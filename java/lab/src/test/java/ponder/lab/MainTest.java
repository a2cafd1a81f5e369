// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.lab.cities.Split;

final class MainTest {
  @TempDir Path folder;

  private record Run(int code, String out, String error) {}

  private static Run run(String... arguments) {
    PrintStream out = System.out;
    PrintStream error = System.err;
    ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
    ByteArrayOutputStream errorBytes = new ByteArrayOutputStream();
    try {
      System.setOut(new PrintStream(outBytes, true, StandardCharsets.UTF_8));
      System.setErr(new PrintStream(errorBytes, true, StandardCharsets.UTF_8));
      int code = Main.run(arguments);
      return new Run(
          code,
          outBytes.toString(StandardCharsets.UTF_8),
          errorBytes.toString(StandardCharsets.UTF_8));
    } finally {
      System.setOut(out);
      System.setErr(error);
    }
  }

  private void refuses(int code, String sentence, String... arguments) {
    Run run = run(arguments);
    assertEquals(code, run.code, run.error);
    assertTrue(run.error.startsWith("ponder: "), run.error);
    assertTrue(run.error.contains(sentence), run.error);
    assertTrue(run.error.lines().count() <= 2, run.error);
  }

  /** Returns the arguments of a run of a second. */
  private static String[] small(Path out, String budget) {
    return ("paths --batch 8 --queries 6 --samples 2 --beam 2 --rounds 4 --threads 1 --budget "
            + budget
            + " --out "
            + out)
        .split(" ");
  }

  @Test
  void refusesWrongUsageWithCodeTwo() {
    refuses(2, "command");
    refuses(2, "--nonsense", "paths", "--nonsense");
    refuses(2, "--split", "paths", "--split", "tidy");
    refuses(2, "--budget", "paths", "--budget", "0");
    refuses(2, "--budget", "paths", "--budget", "much");
    refuses(2, "--seeds", "paths", "--seeds", "0");
    refuses(2, "--samples", "paths", "--samples", "-1");
    refuses(2, "--samples", "paths", "--samples", "12");
    refuses(2, "--models", "paths", "--models", "gru,oracle");
    refuses(2, "--fractions", "paths", "--fractions", "1,0");
    refuses(2, "--fractions", "paths", "--fractions", "2");
    refuses(2, "--rounds", "paths", "--rounds", "2");
    refuses(2, "--beam", "paths", "--beam", "3");
    refuses(2, "--temperature", "paths", "--temperature", "0");
    refuses(2, "--checkpoint-seconds", "paths", "--checkpoint-seconds", "0");
    refuses(2, "--radius-km", "paths", "--radius-km", "-5");
    refuses(2, "--cities", "paths", "--top", "10");
    refuses(2, "--device", "paths", "--device", "gpu");
    refuses(2, "--threads", "paths", "--threads", "-1");
    refuses(2, "--precision", "paths", "--precision", "f16");
    refuses(2, "--budget", "masks", "--budget", "0");
    refuses(2, "--sentences", "masks", "--sentences", "0");
    refuses(2, "not a folder", "masks", "--text", folder.toString());
  }

  @Test
  void comparesMasksAndWritesWhatItMeasured() throws IOException {
    Path out = folder.resolve("masks");
    Run run = run("masks", "--quick", "--threads", "1", "--out", out.toString());
    assertEquals(0, run.code, run.error);
    assertTrue(run.out.contains("Weights of whole sets leave no bias: held"), run.out);
    assertTrue(run.out.contains("Weights of words alone have a bias: held"), run.out);
    JsonNode result = new ObjectMapper().readTree(out.resolve("results.json").toFile());
    assertEquals(20, result.get("rows").size());
    assertEquals(4, result.get("verdicts").size());
  }

  @Test
  void masksOfATextThatIsNotThereAreRefused() {
    refuses(1, "missing.txt", "masks", "--text", folder.resolve("missing.txt").toString());
  }

  /** No machine has ten thousand CUDA devices, and most that run this have none. */
  @Test
  void aDeviceThatIsNotThereIsOneSentenceAndCodeTwo() {
    refuses(2, "--device cuda:9999: ", "paths", "--device", "cuda:9999", "--out", "" + folder);
  }

  @Test
  void failsWithOneSentenceAndCodeOne() throws IOException {
    String out = folder.resolve("out").toString();
    refuses(
        1,
        "missing.csv",
        "paths",
        "--out",
        out,
        "--cities",
        folder.resolve("missing.csv").toString());
    Path file = Files.writeString(folder.resolve("file"), "x");
    refuses(1, "file", "paths", "--out", file.resolve("below").toString());
    refuses(1, "file", "paths", "--out", file.toString());
    refuses(1, "radius", "paths", "--out", out, "--radius-km", "30");
    Path table = Files.writeString(folder.resolve("cities.csv"), "no city table\n1,2\n");
    refuses(1, "cities.csv", "paths", "--out", out, "--cities", table.toString());
  }

  @Test
  void writesATableAndResults() throws IOException {
    Path out = folder.resolve("out");
    String arguments =
        "paths --budget 2e9 --batch 8 --queries 20 --samples 4 --beam 2 --rounds 8 --threads 1"
            + " --out "
            + out;
    Run run = run(arguments.split(" "));
    assertEquals(0, run.code, run.error);
    assertTrue(run.out.contains("shortest legal"), run.out);
    JsonNode results = new ObjectMapper().readTree(out.resolve("results.json").toFile());
    // Greedy, three choices among 1, 2 and 4 draws, a beam of 2 chosen from twice, greedy on the
    // map, the shortest of 1, 2 and 4 on it; the looped model in 1, 2, 4 and 8 rounds, too.
    int methods = 1 + 3 * 3 + 2 + 1 + 3;
    assertEquals(2 + 4 * (4 * methods + 4), results.get("rows").size());
    for (JsonNode row : results.get("rows")) {
      JsonNode solved = row.get("solved");
      assertTrue(solved.get("low").asDouble() <= solved.get("value").asDouble());
      assertEquals(20, row.get("queries").asInt());
    }
    JsonNode dijkstra = results.get("rows").get(1);
    assertEquals("Dijkstra", dijkstra.get("method").asText());
    assertEquals(1.0, dijkstra.get("optimal").get("value").asDouble());
    assertEquals(16, results.get("training").size());
    for (JsonNode training : results.get("training")) {
      double flops = training.get("trainFlops").asDouble();
      double budget = 2e9 * training.get("fraction").asDouble();
      // The last step may go over, and at a 64th a step is a good part of the budget.
      assertTrue(flops >= budget && flops < budget + 1e9, training.toString());
    }
    // Eight methods of each model and budget, and the rounds of the looped one.
    assertEquals(16 * 8 + 4, results.get("frontier").get("curves").size());
    // Three choices among 1, 2 and 4 draws, after each training, for five numbers of queries.
    JsonNode totals = results.get("frontier").get("equalTotals");
    assertEquals(5 * 4 * 3, totals.size());
    for (JsonNode total : totals) {
      assertFalse(total.get("method").asText().contains("on the map"));
      assertEquals("transformer-small", total.get("small").asText());
      assertEquals("transformer", total.get("large").asText());
      assertEquals("greedy", total.get("rival").asText());
    }
    assertEquals(3, results.get("verdicts").size());
    String report = Files.readString(out.resolve("report.html"));
    assertTrue(report.contains("\"shortest legal\"") && report.length() < 2_000_000);
    try (var files = Files.list(out)) {
      assertEquals(
          16,
          files.filter(f -> f.toString().matches(".*/[a-z-]+-(all|1_\\d+)-1.safetensors")).count());
    }
  }

  /** What is written at each stage goes to a device that is always full. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "gru-all-1.jsonl",
        "gru-all-1.safetensors.part",
        "gru-all-1.json.part",
        "results.json.part"
      })
  @EnabledOnOs(OS.LINUX)
  void aFullDiskIsOneSentence(String file) throws IOException {
    Path out = Files.createDirectories(folder.resolve("out"));
    Files.createSymbolicLink(out.resolve(file), Path.of("/dev/full"));
    Path former = Files.writeString(out.resolve("results.json"), "{}");
    String[] arguments = small(out, "1e9");
    refuses(1, file.replace(".part", "") + ": No space left on device", arguments);
    assertEquals("{}", Files.readString(former));
  }

  @Test
  void everyKindOfHeldOutPairAndTheOrientedGraphRun() throws IOException {
    for (String split : Split.NAMES) {
      for (boolean dag : new boolean[] {false, split.equals("clean")}) {
        Path out = folder.resolve(split + dag);
        List<String> arguments = new ArrayList<>(List.of(small(out, "2e8")));
        arguments.addAll(List.of("--split", split));
        if (dag) {
          arguments.add("--dag");
        }
        Run run = run(arguments.toArray(String[]::new));
        assertEquals(0, run.code, run.error);
        JsonNode results = new ObjectMapper().readTree(out.resolve("results.json").toFile());
        JsonNode data = results.get("data");
        assertEquals(split, data.get("split").asText());
        assertEquals(dag ? "west-to-east" : "both-ways", data.get("orientation").asText());
        // A path east is one of the two directions of a pair, and few pairs have one.
        long pairs = data.get("pairs").asLong();
        assertTrue(dag ? pairs > 20_000 && pairs <= 40_237 : pairs == 80_474, data.toString());
        assertEquals(1.0, results.get("rows").get(1).get("optimal").get("value").asDouble());
        String report = Files.readString(out.resolve("report.html"));
        assertTrue(report.contains(Split.meaning(split)), "what " + split + " holds out");
      }
    }
  }

  @Test
  void theSameSeedGivesTheSameResults() throws IOException {
    JsonNode[] results = new JsonNode[2];
    for (int i = 0; i < 2; i++) {
      Path out = folder.resolve("run" + i);
      String[] arguments = small(out, "5e8");
      arguments[Arrays.asList(arguments).indexOf("--threads") + 1] = String.valueOf(i + 1);
      Run run = run(arguments);
      assertEquals(0, run.code, run.error);
      results[i] = new ObjectMapper().readTree(out.resolve("results.json").toFile()).get("rows");
    }
    assertEquals(results[0], results[1]);
  }

  @Test
  void bf16TrainsInTheSameStepsToNearlyTheSameLoss() throws IOException {
    JsonNode[] trainings = new JsonNode[2];
    for (int i = 0; i < 2; i++) {
      Path out = folder.resolve("run" + i);
      List<String> arguments = new ArrayList<>(List.of(small(out, "5e8")));
      arguments.addAll(List.of("--precision", i == 0 ? "f32" : "bf16"));
      Run run = run(arguments.toArray(String[]::new));
      assertEquals(0, run.code, run.error);
      trainings[i] =
          new ObjectMapper().readTree(out.resolve("results.json").toFile()).get("training");
    }
    assertEquals(16, trainings[0].size());
    for (int i = 0; i < 16; i++) {
      JsonNode f32 = trainings[0].get(i);
      JsonNode bf16 = trainings[1].get(i);
      assertEquals(f32.get("steps"), bf16.get("steps"));
      double exact = f32.get("validationNats").asDouble();
      double half = bf16.get("validationNats").asDouble();
      assertNotEquals(exact, half);
      assertEquals(exact, half, 0.01 * exact);
    }
    List<String> other = new ArrayList<>(List.of(small(folder.resolve("run1"), "5e8")));
    other.add("--resume");
    refuses(1, "--precision was bf16", other.toArray(String[]::new));
  }

  @Test
  void aResumedRunMustBeTheSameRun() throws IOException {
    Path out = folder.resolve("out");
    String[] arguments = small(out, "2e8");
    assertEquals(0, run(arguments).code);
    List<String> resumed = new ArrayList<>(List.of(arguments));
    resumed.add("--resume");
    assertEquals(0, run(resumed.toArray(String[]::new)).code);
    resumed.set(resumed.indexOf("--samples") + 1, "4");
    String[] other = resumed.toArray(String[]::new);
    refuses(1, "--samples was 2, is 4", other);
    Path unit = out.resolve("gru-all-1.json");
    byte[] whole = Files.readAllBytes(unit);
    resumed.set(resumed.indexOf("--samples") + 1, "2");
    assertEquals(0, run(resumed.toArray(String[]::new)).code);
    for (int at : new int[] {0, 20, 80, whole.length / 2, whole.length - 1}) {
      byte[] altered = whole.clone();
      altered[at] ^= 1;
      Files.write(unit, altered);
      refuses(1, "gru-all-1.json: is cut short or altered", resumed.toArray(String[]::new));
    }
    Files.write(unit, Arrays.copyOf(whole, whole.length - 7));
    refuses(1, "gru-all-1.json: is cut short or altered", resumed.toArray(String[]::new));
    Files.write(unit, new byte[0]);
    refuses(1, "gru-all-1.json: is cut short or altered", resumed.toArray(String[]::new));
  }
}
