// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import ponder.TestDevices;
import ponder.abi.Header;

/** Every call of every case, written to tapes and played by the C++ program. */
class ReplayTest {
  private static final List<Path> TAPES = new ArrayList<>();

  /** Where tapes go; the C++ tests look for them there. */
  private static Path folder() {
    return Path.of(System.getProperty("ponder.tapes", "target/tapes"));
  }

  @BeforeAll
  static void everyCaseBecomesATape() throws IOException {
    for (Case one : Cases.all()) {
      Path file = folder().resolve(one.name() + ".tape");
      try (Tape tape = new Tape(file)) {
        for (Type type : one.types()) {
          for (Call call : one.calls(type)) tape.add(call);
        }
      }
      TAPES.add(file);
    }
  }

  private static Path library(Path tree, String build) {
    return tree.resolve("native/libponder_cpu_" + build + ".so");
  }

  private record Played(int code, List<String> lines) {
    String last() {
      return lines.isEmpty() ? "" : lines.getLast();
    }
  }

  private static Played replay(Path tree, String build, int threads, List<Path> tapes)
      throws IOException, InterruptedException {
    var command = new ArrayList<String>();
    command.add(tree.resolve("test/replay").toString());
    command.addAll(List.of("--threads", Integer.toString(threads)));
    command.add(library(tree, build).toString());
    for (Path tape : tapes) command.add(tape.toAbsolutePath().toString());
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    List<String> lines = process.inputReader().lines().toList();
    return new Played(process.waitFor(), lines);
  }

  private static void everyTapePasses(Path tree) throws IOException, InterruptedException {
    int calls = 0;
    for (Case one : Cases.all()) for (Type type : one.types()) calls += one.calls(type).size();
    // Sanitizers watch the library that the processor uses, and others where they changed.
    List<String> builds =
        TestDevices.builds().stream().filter(build -> Files.exists(library(tree, build))).toList();
    assertFalse(builds.isEmpty(), "no library is built in " + tree);
    for (String build : builds) {
      for (int threads : new int[] {1, 2}) {
        Played played = replay(tree, build, threads, TAPES);
        String all = build + ":\n" + String.join("\n", played.lines());
        assertEquals(calls + " passed, 0 failed", played.last(), all);
        assertEquals(0, played.code(), all);
      }
    }
  }

  @Test
  void everyBuildPasses() throws IOException, InterruptedException {
    everyTapePasses(Header.repository("build"));
  }

  @Test
  void everyBuildPassesUnderTheSanitizers() throws IOException, InterruptedException {
    Path tree = Header.repository("build/sanitize");
    assumeTrue(Files.exists(tree.resolve("test/replay")), "build/sanitize is not built");
    everyTapePasses(tree);
  }

  @Test
  void aWrongAnswerFails(@TempDir Path other) throws IOException, InterruptedException {
    byte[] bytes = Files.readAllBytes(folder().resolve("add.tape"));
    // The head, the name, the number of arguments, the dtype; then y, whose expected value follows
    // its role, type, count and limit. The flipped bit is the exponent's highest.
    int expected = 8 + (4 + "add".length()) + 4 + (1 + 8) + (1 + 1 + 8 + 3 * 8);
    bytes[expected + 7] ^= 0x40;
    Path tape = Files.write(other.resolve("wrong.tape"), bytes);
    Played played = replay(Header.repository("build"), "base", 1, List.of(tape));
    assertEquals(1, played.code());
    assertTrue(played.last().endsWith(" passed, 1 failed"), played.last());
    assertTrue(played.lines().getFirst().contains("add dtype=0 outer=1 mid=1 inner=1: y [0] is"));
  }

  @Test
  void aDamagedTapeFails(@TempDir Path other) throws IOException, InterruptedException {
    byte[] bytes = Files.readAllBytes(folder().resolve("add.tape"));
    byte[] cut = Arrays.copyOf(bytes, bytes.length - 1);
    Path tape = Files.write(other.resolve("cut.tape"), cut);
    Path text = Files.writeString(other.resolve("text.tape"), "no tape");
    Path none = other.resolve("missing.tape");
    Played played = replay(Header.repository("build"), "base", 1, List.of(tape, text, none));
    assertEquals(1, played.code());
    assertTrue(played.lines().get(0).contains("ends in the middle of a call"));
    assertTrue(played.lines().get(1).contains("is no call tape"));
    assertTrue(played.lines().get(2).contains("cannot be opened"));
    assertTrue(played.last().endsWith(" passed, 3 failed"), played.last());
  }
}
