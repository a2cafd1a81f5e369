// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.TestDevices;
import ponder.optim.AdamW;
import ponder.optim.Sgd;

/** Runs that were stopped, failed or finished and are resumed; and those that are refused. */
class ResumeTest {
  private static final int STEPS = 12;
  private static final int STOP = 5;

  @TempDir private Path folder;
  private Path kept;

  @BeforeEach
  void makeTheFolder() throws IOException {
    kept = Files.createDirectory(folder.resolve("kept"));
  }

  private static Device open(int threads) {
    List<String> builds = TestDevices.builds();
    return TestDevices.open(builds.isEmpty() ? TestDevices.PLAIN : builds.getLast(), threads, 0);
  }

  /** Runs or goes on in a device of its own, as a new process would. */
  private TinyRun.End run(TinyRun run, Checkpoints plan, Progress progress) throws IOException {
    try (Device device = open(1)) {
      return run.run(device, run.flops(device), plan, progress);
    }
  }

  /** Returns a run's end and leaves its files in the folder "whole": it was never interrupted. */
  private TinyRun.End whole(TinyRun run) throws IOException {
    Path whole = Files.createDirectory(folder.resolve("whole"));
    TinyRun.End end = run(run, run.in(whole), Progress.NONE);
    assertEquals(
        List.of(
            run.net() + ".checkpoint.json",
            run.net() + ".jsonl",
            run.net() + ".step-12.safetensors"),
        List.copyOf(TinyRun.files(whole).keySet()));
    assertEquals(STEPS, Files.readAllLines(run.in(whole).log()).size());
    return end;
  }

  private void requireSameFiles() throws IOException {
    TinyRun.requireSame(TinyRun.timeless(folder.resolve("whole")), TinyRun.timeless(kept));
  }

  @ParameterizedTest
  @ValueSource(strings = {"transformer", "gru"})
  void stoppedAfterEveryStepItEndsAsIfItHadNotBeen(String net) throws IOException {
    TinyRun run = new TinyRun(net, STEPS);
    TinyRun.End expected = whole(run);
    for (int step = 1; step <= STEPS; step++) {
      Checkpoints plan = run.in(kept).resume(true).stop(() -> true);
      try (Device device = open(1 + step % 2)) {
        long flops = run.flops(device);
        if (step == STEPS) {
          expected.requireSame(run.run(device, flops, plan, Progress.NONE));
        } else {
          StoppedException stopped =
              assertThrows(
                  StoppedException.class, () -> run.run(device, flops, plan, Progress.NONE));
          assertEquals(step, stopped.step());
          assertEquals(plan.file(), stopped.checkpoint());
          assertTrue(plan.exist());
        }
      }
    }
    requireSameFiles();
  }

  @Test
  void resumedOnAnotherNumberOfThreadsItEndsInTheSameBits() throws IOException {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: plain loops have one thread");
    TinyRun run = new TinyRun("transformer", STEPS);
    TinyRun.End expected = whole(run);
    int[] asked = {0};
    Checkpoints plan = run.in(kept).resume(true).stop(() -> ++asked[0] == STOP);
    assertThrows(StoppedException.class, () -> run(run, plan, Progress.NONE));
    try (Device device = open(3)) {
      expected.requireSame(run.run(device, run.flops(device), plan, Progress.NONE));
    }
    requireSameFiles();
  }

  @Test
  void resumedWithGraphsItEndsInTheSameBits() throws IOException {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
    TinyRun run = new TinyRun("gru", STEPS);
    Path whole = Files.createDirectory(folder.resolve("whole"));
    TinyRun.End expected;
    try (Device device = TestDevices.simulatedCuda()) {
      expected = run.run(device, run.flops(device), run.in(whole), Progress.NONE);
    }
    int[] asked = {0};
    Checkpoints plan = run.in(kept).resume(true).stop(() -> ++asked[0] == STOP);
    try (Device device = TestDevices.simulatedCuda()) {
      long flops = run.flops(device);
      assertThrows(StoppedException.class, () -> run.run(device, flops, plan, Progress.NONE));
      expected.requireSame(run.run(device, flops, plan, Progress.NONE));
    }
    requireSameFiles();
  }

  /** Fails after eight steps. */
  private static final Progress FAILING =
      step -> {
        if (step.step() == 8) {
          throw new IllegalStateException("the listener's own");
        }
      };

  @Test
  void aRunThatFailedGoesOnFromItsLastCheckpoint() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    TinyRun.End expected = whole(run);
    Checkpoints plan = run.in(kept).every(3, Double.POSITIVE_INFINITY).resume(true);
    assertThrows(IllegalStateException.class, () -> run(run, plan, FAILING));
    // The last step's line is not written, that of the step before it is.
    assertEquals(7, Files.readAllLines(plan.log()).size());
    assertEquals(6, Checkpoint.read(plan.file()).at().steps());
    List<Long> heard = new ArrayList<>();
    expected.requireSame(run(run, plan, step -> heard.add(step.step())));
    assertEquals(List.of(7L, 8L, 9L, 10L, 11L, 12L), heard);
    requireSameFiles();
  }

  @Test
  void aFinishedRunEndsAtOnce() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    TinyRun.End expected = whole(run);
    Path whole = folder.resolve("whole");
    Map<String, byte[]> before = TinyRun.files(whole);
    List<Progress.Step> heard = new ArrayList<>();
    TinyRun.End again = run(run, run.in(whole).resume(true).stop(() -> true), heard::add);
    expected.requireSame(again);
    assertEquals(expected.outcome().seconds(), again.outcome().seconds());
    assertEquals(List.of(), heard);
    TinyRun.requireSame(before, TinyRun.files(whole));
  }

  @Test
  void aRunThatIsNotResumedBeginsAnew() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    TinyRun.End expected = whole(run);
    stopped(run);
    Files.writeString(kept.resolve("gru.step-7.safetensors"), "left over");
    Files.writeString(kept.resolve("gru.step-99.safetensors.part"), "left over");
    List<Long> heard = new ArrayList<>();
    expected.requireSame(run(run, run.in(kept), step -> heard.add(step.step())));
    assertEquals(1, heard.getFirst());
    requireSameFiles();
  }

  @Test
  void filesOfOtherRunsAreLeftAlone() throws IOException {
    List<String> others =
        List.of("gru.safetensors", "gru-2.step-1.safetensors", "gruXstep-1.safetensors");
    for (String other : others) {
      Files.writeString(kept.resolve(other), other);
    }
    TinyRun run = new TinyRun("gru", STEPS);
    run(run, run.in(kept).every(1, 1), Progress.NONE);
    for (String other : others) {
      assertEquals(other, Files.readString(kept.resolve(other)));
    }
    assertEquals(others.size() + 3, TinyRun.files(kept).size());
  }

  @Test
  void whenACheckpointIsWrittenIsAsPlanned() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    Checkpoints plan = run.in(kept).every(4, Double.POSITIVE_INFINITY);
    List<Long> seen = new ArrayList<>();
    Progress look =
        step -> {
          try {
            seen.add(plan.exist() ? Checkpoint.read(plan.file()).at().steps() : 0);
          } catch (IOException e) {
            throw new IllegalStateException(e);
          }
        };
    run(run, plan, look);
    assertEquals(List.of(0L, 0L, 0L, 0L, 4L, 4L, 4L, 4L, 8L, 8L, 8L, 8L), seen);
    seen.clear();
    run(run, plan.every(Long.MAX_VALUE, 1e-9), look);
    assertEquals(List.of(0L, 1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L, 10L, 11L), seen);
  }

  /** Leaves a run stopped after five steps. */
  private void stopped(TinyRun run) {
    int[] asked = {0};
    Checkpoints plan = run.in(kept).stop(() -> ++asked[0] == STOP);
    assertThrows(StoppedException.class, () -> run(run, plan, Progress.NONE));
  }

  /** Returns the sentence with which going on is refused; it leaves every file as it was. */
  private String refused(TinyRun run, UnaryOperator<Checkpoints> change) throws IOException {
    Map<String, byte[]> before = TinyRun.files(kept);
    Checkpoints plan = change.apply(run.in(kept).resume(true));
    String sentence =
        assertThrows(IOException.class, () -> run(run, plan, Progress.NONE)).getMessage();
    assertFalse(sentence.contains("\n") || sentence.contains("Exception"), sentence);
    TinyRun.requireSame(before, TinyRun.files(kept));
    return sentence;
  }

  private String refused(TinyRun run) throws IOException {
    return refused(run, plan -> plan);
  }

  private static Checkpoints with(Checkpoints plan, Map<String, String> arguments) {
    return Checkpoints.of(plan.folder(), plan.name(), plan.program(), arguments).resume(true);
  }

  @Test
  void anotherRunIsRefused() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    TinyRun.End expected = whole(run);
    stopped(run);
    String file = kept.resolve("gru.checkpoint.json") + ": ";
    Map<String, String> arguments = new HashMap<>(TinyRun.ARGUMENTS);
    arguments.put("seed", "2");
    assertEquals(
        file + "is of another run: seed was 1, is 2", refused(run, plan -> with(plan, arguments)));
    arguments.remove("seed");
    assertEquals(
        file + "is of another run: seed was 1, is not given",
        refused(run, plan -> with(plan, arguments)));
    arguments.putAll(Map.of("seed", "1", "split", "clean"));
    assertEquals(
        file + "is of another run: split was not given, is clean",
        refused(run, plan -> with(plan, arguments)));
    assertEquals(
        file + "is of another run: the program's version was 1.2.3, is 1.2.4",
        refused(run, plan -> Checkpoints.of(kept, "gru", "1.2.4", TinyRun.ARGUMENTS).resume(true)));
    String budget = refused(new TinyRun("gru", STEPS + 1));
    assertTrue(budget.startsWith(file + "is of another run: the training budget was "), budget);
    Schedule schedule = new Schedule(3e-2, 0.1, 0.1);
    for (Trainer other :
        List.of(
            new Trainer(AdamW.usual(), schedule, 2, 5),
            new Trainer(new Sgd(0.5, 0), schedule, 1, 5))) {
      try (Device device = open(1)) {
        long flops = run.flops(device);
        Checkpoints plan = run.in(kept).resume(true);
        String sentence =
            assertThrows(
                    IOException.class, () -> run.run(device, other, flops, plan, Progress.NONE))
                .getMessage();
        assertTrue(sentence.endsWith(", is " + other), sentence);
        assertTrue(sentence.contains("the trainer was Trainer[optimiser=AdamW["), sentence);
      }
    }
    expected.requireSame(run(run, run.in(kept).resume(true), Progress.NONE));
    requireSameFiles();
  }

  @Test
  void tensorsOfAnotherModelAreRefused() throws IOException {
    stopped(new TinyRun("gru", STEPS));
    for (String file : TinyRun.files(kept).keySet()) {
      Files.move(kept.resolve(file), kept.resolve(file.replace("gru", "transformer")));
    }
    // The budgets differ with the models: the same one is claimed here.
    TinyRun transformer = new TinyRun("transformer", STEPS);
    try (Device device = open(1)) {
      long flops = new TinyRun("gru", STEPS).flops(device);
      Checkpoints plan = transformer.in(kept).resume(true);
      Map<String, byte[]> before = TinyRun.files(kept);
      String sentence =
          assertThrows(IOException.class, () -> transformer.run(device, flops, plan, Progress.NONE))
              .getMessage();
      assertTrue(sentence.matches(".*safetensors: (it has a value|parameters[.]).*"), sentence);
      TinyRun.requireSame(before, TinyRun.files(kept));
    }
  }

  @Test
  void damagedTensorsAreRefused() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    TinyRun.End expected = whole(run);
    stopped(run);
    Path file = kept.resolve("gru.step-5.safetensors");
    byte[] bytes = Files.readAllBytes(file);
    for (int i = 0; i < bytes.length; i += bytes.length / 29) {
      byte[] damaged = bytes.clone();
      damaged[i] ^= (byte) (1 << i % 8);
      Files.write(file, damaged);
      assertTrue(refused(run).startsWith(file + ": is cut short or altered"));
      Files.write(file, Arrays.copyOf(bytes, i));
      assertTrue(refused(run).startsWith(file + ": is cut short or altered"));
    }
    Files.delete(file);
    assertTrue(refused(run).endsWith(file + ", are gone"));
    Files.write(file, bytes);
    expected.requireSame(run(run, run.in(kept).resume(true), Progress.NONE));
    requireSameFiles();
  }

  @Test
  void aDamagedStateIsRefused() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    stopped(run);
    Path file = run.in(kept).file();
    byte[] bytes = Files.readAllBytes(file);
    for (int i = 0; i < bytes.length; i++) {
      for (int mask : new int[] {1, 0x20, 0x80}) {
        byte[] damaged = bytes.clone();
        damaged[i] ^= (byte) mask;
        Files.write(file, damaged);
        assertThrows(IOException.class, () -> Checkpoint.read(file));
      }
      Files.write(file, Arrays.copyOf(bytes, i));
      String sentence = assertThrows(IOException.class, () -> Checkpoint.read(file)).getMessage();
      assertTrue(sentence.startsWith(file + ": is cut short or altered"), sentence);
    }
    assertTrue(refused(run).startsWith(file + ": is cut short or altered"));
    Files.write(file, bytes);
    assertEquals(STOP, Checkpoint.read(file).at().steps());
  }

  @Test
  void anotherFormatIsRefused() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    stopped(run);
    Path file = run.in(kept).file();
    String text = Files.readString(file);
    String body = text.substring(0, text.indexOf("  \"sha256\""));
    String later = body.replace("\"format\": 1", "\"format\": 2");
    String seal = Sha256.of(later.getBytes(StandardCharsets.UTF_8));
    Files.writeString(file, later + "  \"sha256\": \"" + seal + "\"\n}\n");
    assertEquals(file + ": is a checkpoint of format 2, must be 1", refused(run));
  }

  @Test
  void aLogThatLacksLinesIsRefused() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    stopped(run);
    Path log = run.in(kept).log();
    byte[] bytes = Files.readAllBytes(log);
    Files.write(log, Arrays.copyOf(bytes, bytes.length - 1));
    assertEquals(
        log + ": the log has " + (bytes.length - 1) + " bytes, must have at least " + bytes.length,
        refused(run));
  }

  /** The draft of the tensors or of the state goes to a device that is always full. */
  @ParameterizedTest
  @ValueSource(strings = {"gru.step-9.safetensors.part", "gru.checkpoint.json.part"})
  @EnabledOnOs(OS.LINUX)
  void aFullDiskLeavesTheLastCheckpoint(String full) throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    TinyRun.End expected = whole(run);
    stopped(run);
    byte[] state = Files.readAllBytes(run.in(kept).file());
    Progress filling =
        step -> {
          if (step.step() == 8) {
            assertDoesNotThrow(
                () -> Files.createSymbolicLink(kept.resolve(full), Path.of("/dev/full")));
          }
        };
    Checkpoints plan = run.in(kept).resume(true).every(4, Double.POSITIVE_INFINITY);
    String sentence = assertThrows(IOException.class, () -> run(run, plan, filling)).getMessage();
    assertEquals(kept.resolve(full.replace(".part", "")) + ": No space left on device", sentence);
    assertArrayEquals(state, Files.readAllBytes(plan.file()));
    expected.requireSame(run(run, plan, Progress.NONE));
    requireSameFiles();
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aLogThatFindsNoRoomEndsTheRun() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    Path log = Files.createSymbolicLink(run.in(kept).log(), Path.of("/dev/full"));
    String sentence =
        assertThrows(IOException.class, () -> run(run, run.in(kept), Progress.NONE)).getMessage();
    assertEquals(log + ": No space left on device", sentence);
  }

  @Test
  void aFolderThatCannotBeWrittenIsRefused() throws IOException {
    TinyRun run = new TinyRun("gru", STEPS);
    for (Path wrong :
        List.of(folder.resolve("none"), Files.writeString(folder.resolve("file"), ""))) {
      String sentence =
          assertThrows(IOException.class, () -> run(run, run.in(wrong), Progress.NONE))
              .getMessage();
      assertEquals(wrong + ": is no folder that can be written", sentence);
    }
    stopped(run);
    Files.setPosixFilePermissions(kept, PosixFilePermissions.fromString("r-xr-xr-x"));
    try {
      assumeTrue(!Files.isWritable(kept), "root may write every folder");
      assertEquals(kept + ": is no folder that can be written", refused(run));
    } finally {
      Files.setPosixFilePermissions(kept, PosixFilePermissions.fromString("rwxr-xr-x"));
    }
  }

  @Test
  void plansOutsideTheirRangesAreRefused() {
    Checkpoints plan = new TinyRun("gru", 1).in(kept);
    assertThrows(IllegalArgumentException.class, () -> plan.every(0, 1));
    for (double wrong : new double[] {0, -1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> plan.every(1, wrong));
    }
    for (String wrong : List.of("", "a/b", "/", "a/")) {
      assertThrows(
          IllegalArgumentException.class, () -> Checkpoints.of(kept, wrong, "1", Map.of()), wrong);
    }
  }
}
