// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import ponder.Device;
import ponder.Key;
import ponder.TestDevices;

/** Runs whose process is killed, again and again, at moments that nobody chose. */
class KilledRunsTest {
  private static final int KILLS = 20;
  private static final int STEPS = 150;
  private static final int EVERY = 2;
  private static final int SIGKILL = 9;

  @TempDir private Path folder;

  @Test
  void twentyKillsLeaveNoTrace() throws Exception {
    List<String> builds = TestDevices.builds();
    String build = builds.isEmpty() ? TestDevices.PLAIN : builds.getLast();
    Path whole = Files.createDirectory(folder.resolve("whole"));
    Path killed = Files.createDirectory(folder.resolve("killed"));
    double nanosPerStep = unkilled(whole, build);
    double[] random = Key.of(20).uniformDoubles(2 * KILLS);
    for (int kill = 0; kill < KILLS; kill++) {
      // Spread over both runs; then anywhere within the next four steps and their checkpoints.
      long step =
          1 + (long) ((kill + random[2 * kill]) / KILLS * (KilledRuns.NETS.length * STEPS - 20));
      Process process = start(killed, build);
      awaitStep(process, step);
      LockSupport.parkNanos((long) (random[2 * kill + 1] * 4 * nanosPerStep));
      process.destroyForcibly();
      assertEquals(128 + SIGKILL, process.waitFor(), "exit code after kill " + kill);
    }
    Process last = start(killed, build);
    String printed = new String(last.getInputStream().readAllBytes());
    assertEquals(0, last.waitFor(), printed);
    assertTrue(printed.lines().count() < 0.2 * KilledRuns.NETS.length * STEPS, printed);
    TinyRun.requireSame(TinyRun.timeless(whole), TinyRun.timeless(killed));
  }

  /** Trains in this process, without an interruption, and returns the time of a step. */
  private static double unkilled(Path whole, String build) throws IOException {
    try (Device device = TestDevices.open(build)) {
      long began = System.nanoTime();
      for (String net : KilledRuns.NETS) {
        TinyRun run = new TinyRun(net, STEPS);
        run.run(
            device,
            run.flops(device),
            run.in(whole).every(EVERY, Double.POSITIVE_INFINITY),
            Progress.NONE);
      }
      return (double) (System.nanoTime() - began) / (KilledRuns.NETS.length * STEPS);
    }
  }

  private static Process start(Path folder, String build) throws Exception {
    return ChildProcess.start(
        KilledRuns.class,
        List.of("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        folder.toString(),
        build,
        "" + STEPS,
        "" + EVERY);
  }

  /** Returns once the process has printed this step or a later one. */
  private static void awaitStep(Process process, long step) throws IOException {
    BufferedReader lines = process.inputReader();
    StringBuilder printed = new StringBuilder();
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      printed.append(line).append('\n');
      if (line.matches("\\d+") && Long.parseLong(line) >= step) {
        return;
      }
    }
    throw new AssertionError("it ended before step " + step + ":\n" + printed);
  }
}
