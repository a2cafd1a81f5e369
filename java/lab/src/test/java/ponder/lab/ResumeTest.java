// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import ponder.Key;

/** Whole runs of the paths page that are stopped or killed, and resumed. */
class ResumeTest {
  private static final int KILLS = 20;

  /** Trainings of some hundred steps, so that most kills fall between the first and the last. */
  private static final String RUN =
      "paths --budget 5e10 --models transformer-small,looped --fractions 1,0.5 --batch 8"
          + " --queries 6 --samples 2 --beam 2 --rounds 4 --threads 1 --checkpoint-seconds 0.02";

  @TempDir Path folder;

  private static Process start(Path out, String... more) throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-XX:TieredStopAtLevel=1", "-Xshare:auto"));
    command.add("--enable-native-access=ponder.engine");
    command.add("-Dponder.library.path=" + System.getProperty("ponder.library.path"));
    command.addAll(List.of("-p", System.getProperty("jdk.module.path")));
    command.addAll(List.of("-m", "ponder.lab/ponder.lab.Main"));
    command.addAll(List.of(RUN.split(" ")));
    command.addAll(List.of("--out", out.toString()));
    command.addAll(List.of(more));
    Path printed = out.resolveSibling(out.getFileName() + ".printed");
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(ProcessBuilder.Redirect.to(printed.toFile()))
        .start();
  }

  private static String printed(Path out) throws IOException {
    return Files.readString(out.resolveSibling(out.getFileName() + ".printed"));
  }

  @Test
  void aRunKilledTwentyTimesEndsAsOneThatWasNot() throws Exception {
    Path whole = folder.resolve("whole");
    long began = System.nanoTime();
    assertEquals(0, start(whole).waitFor(), printed(whole));
    long nanos = System.nanoTime() - began;

    Path killed = folder.resolve("killed");
    double[] moments = Key.of(7).uniformDoubles(KILLS);
    int kills = 0;
    int finished = -1;
    for (int i = 0; i < 40 * KILLS && kills < KILLS; i++) {
      Process process = start(killed, i == 0 ? new String[0] : new String[] {"--resume"});
      // The first half second is the start of Java; the kills are spread over what follows.
      long patience = 500_000_000L + (long) (moments[kills] * nanos / 8);
      if (process.waitFor(patience, TimeUnit.NANOSECONDS)) {
        finished = process.exitValue();
        assertEquals(0, finished, printed(killed));
        break;
      }
      process.destroyForcibly().waitFor();
      kills++;
    }
    if (finished < 0) {
      assertEquals(0, start(killed, "--resume").waitFor(), printed(killed));
    }
    assertEquals(KILLS, kills, "the run was over before it had been killed often enough");
    assertSame(whole, killed);
  }

  @Test
  void aStoppedRunSaysHowToGoOnAndDoes() throws Exception {
    Path whole = folder.resolve("whole");
    assertEquals(0, start(whole).waitFor(), printed(whole));
    Path stopped = folder.resolve("stopped");
    Process process = start(stopped);
    Path log = stopped.resolve("looped-all-1.jsonl");
    while (process.isAlive() && (!Files.exists(log) || Files.size(log) < 2_000)) {
      Thread.sleep(1);
    }
    process.destroy();
    int code = process.waitFor();
    assertEquals(143, code, printed(stopped));
    String command = "./ponder " + RUN + " --out " + stopped + " --resume";
    assertTrue(printed(stopped).endsWith("Stopped. To go on: " + command + "\n"), printed(stopped));
    assertFalse(Files.exists(stopped.resolve("results.json")));
    assertEquals(0, start(stopped, "--resume").waitFor(), printed(stopped));
    assertSame(whole, stopped);
  }

  @Test
  void aFolderBelongsToOneRunUntilItEndsHowever() throws Exception {
    Path out = folder.resolve("out");
    Process first = start(out);
    Path log = out.resolve("transformer-small-all-1.jsonl");
    while (first.isAlive() && !Files.exists(log)) {
      Thread.sleep(1);
    }
    // By another name, too.
    Path again = Files.createSymbolicLink(folder.resolve("again"), out);
    for (String[] more : new String[][] {{}, {"--resume"}}) {
      assertEquals(2, start(again, more).waitFor(), printed(again));
      assertEquals(
          "ponder: --out " + again + " must be a folder that no other run is using.",
          printed(again).lines().findFirst().orElseThrow());
      assertTrue(first.isAlive(), "the first run was over too soon");
    }
    first.destroyForcibly().waitFor();
    assertEquals(0, start(again, "--resume").waitFor(), printed(again));
  }

  /** Checks that two folders hold the same files with the same content, times and paths aside. */
  private static void assertSame(Path a, Path b) throws IOException {
    TreeMap<String, byte[]> left = contents(a);
    TreeMap<String, byte[]> right = contents(b);
    assertEquals(left.keySet(), right.keySet());
    for (String name : left.keySet()) {
      assertArrayEquals(left.get(name), right.get(name), name);
    }
    assertEquals(4, left.keySet().stream().filter(n -> n.endsWith("1.safetensors")).count());
  }

  private static TreeMap<String, byte[]> contents(Path folder) throws IOException {
    TreeMap<String, byte[]> contents = new TreeMap<>();
    List<Path> files;
    try (var list = Files.list(folder)) {
      files = list.toList();
    }
    for (Path file : files) {
      String name = file.getFileName().toString();
      assertFalse(name.endsWith(".part"), name);
      byte[] bytes = Files.readAllBytes(file);
      if (name.equals("report.html")) {
        bytes = new byte[0]; // made of the results, and tells times
      }
      if (name.endsWith(".json") || name.endsWith(".jsonl")) {
        StringBuilder text = new StringBuilder();
        for (String part :
            new String(bytes, StandardCharsets.UTF_8).split(name.endsWith("l") ? "\n" : "$")) {
          text.append(withoutTimes(new ObjectMapper().readTree(part))).append('\n');
        }
        bytes = text.toString().getBytes(StandardCharsets.UTF_8);
      }
      contents.put(name, bytes);
    }
    return contents;
  }

  private static JsonNode withoutTimes(JsonNode node) {
    if (node instanceof ObjectNode object) {
      // Times and what follows from them (a log with longer numbers is longer), and the command,
      // which names the folder.
      object.remove(List.of("seconds", "log", "sha256", "throughput", "command"));
    }
    node.forEach(ResumeTest::withoutTimes);
    return node;
  }
}
