// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Store;
import ponder.Tensor;
import ponder.nn.GruModel;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/**
 * A run of a small net on data that are read one after another, kept in files.
 *
 * @param net "transformer" or "gru"
 * @param steps how many steps the whole run has
 */
record TinyRun(String net, int steps) {
  static final String VERSION = "1.2.3";
  static final Map<String, String> ARGUMENTS =
      Map.of("seed", "1", "a \"b\" \\ é", "\n \uD83D\uDE00");
  private static final int VALIDATIONS = 5;

  /** An objective that cannot know its batch from the step's number alone. */
  private static final class Reader implements BatchObjective<SequenceModel> {
    private final CopyTask task;
    private long next;
    private long taken;

    private Reader(CopyTask task) {
      this.task = task;
    }

    @Override
    public Batch<SequenceModel> batch(long step) {
      require(step == next++);
      taken += 1 + step % 3;
      return task.batch(taken);
    }

    @Override
    public Tensor loss(SequenceModel model, Tensor... arrays) {
      return task.loss(model, arrays);
    }

    /** An assertion of the processes that know no JUnit. */
    private static void require(boolean holds) {
      if (!holds) {
        throw new IllegalStateException("the objective is not where the run is");
      }
    }

    @Override
    public double validation(Scope scope) {
      return task.validation(scope);
    }

    @Override
    public long[] position() {
      return new long[] {taken, -taken};
    }

    @Override
    public void seek(long step, long... position) {
      require(position.length == 2 && position[0] == -position[1]);
      next = step;
      taken = position[0];
    }
  }

  private SequenceModel create(Store store) {
    Parameters parameters = Parameters.of(store, Key.of(1));
    return net.equals("gru")
        ? GruModel.create(parameters, CopyTask.VOCABULARY, 1, 8)
        : Transformer.create(parameters, CopyTask.VOCABULARY, 1, 8, 2);
  }

  private static Trainer trainer() {
    return new Trainer(AdamW.usual(), new Schedule(3e-2, 0.1, 0.1), 1, VALIDATIONS);
  }

  /** Returns the plan of the run in a folder. */
  Checkpoints in(Path folder) {
    return Checkpoints.of(folder, net, VERSION, ARGUMENTS);
  }

  /** Returns the FLOPs of the whole run. */
  long flops(Device device) {
    try (Store store = device.store()) {
      CopyTask task = new CopyTask(create(store), Key.of(2), 2, 3);
      return steps * trainer().run(store, task, 1, Progress.NONE).work().flops();
    }
  }

  /** What a run ended in. */
  record End(Trainer.Outcome outcome, Map<String, float[]> parameters) {
    void requireSame(End other) {
      assertEquals(timeless(outcome), timeless(other.outcome));
      assertEquals(parameters.keySet(), other.parameters.keySet());
      parameters.forEach(
          (name, values) -> assertArrayEquals(values, other.parameters.get(name), name));
    }

    private static Trainer.Outcome timeless(Trainer.Outcome o) {
      return new Trainer.Outcome(
          o.steps(),
          o.work(),
          o.validationWork(),
          o.validations(),
          o.bestStep(),
          o.bestValidation(),
          0);
    }
  }

  /** Runs, or goes on, until the end or an exception. */
  End run(Device device, long flops, Checkpoints plan, Progress progress) throws IOException {
    return run(device, trainer(), flops, plan, progress);
  }

  /** Runs as another trainer does. */
  End run(Device device, Trainer trainer, long flops, Checkpoints plan, Progress progress)
      throws IOException {
    try (Store store = device.store()) {
      CopyTask task = new CopyTask(create(store), Key.of(2), 2, 3);
      Trainer.Outcome outcome = trainer.run(store, new Reader(task), flops, progress, plan);
      Map<String, float[]> parameters = new TreeMap<>();
      store.names().forEach(name -> parameters.put(name, store.get(name).toFloats()));
      return new End(outcome, parameters);
    }
  }

  /** Returns the files of a folder by name, what depends on time cut out of them. */
  static Map<String, byte[]> timeless(Path folder) throws IOException {
    Map<String, byte[]> files = files(folder);
    files.replaceAll(
        (name, bytes) -> {
          if (name.endsWith(".safetensors")) {
            return bytes;
          }
          String text = new String(bytes, StandardCharsets.UTF_8);
          assertTrue(text.contains("\"seconds\":"), name);
          return text.replaceAll("\"seconds\": ?[-+.0-9E]+", "")
              .replaceAll("\"log\": \\d+", "")
              .replaceAll("\"sha256\": \"[0-9a-f]{64}\"", "")
              .getBytes(StandardCharsets.UTF_8);
        });
    return files;
  }

  /** Returns the files of a folder by name. */
  static Map<String, byte[]> files(Path folder) throws IOException {
    Map<String, byte[]> files = new TreeMap<>();
    try (Stream<Path> all = Files.list(folder)) {
      for (Path file : all.toList()) {
        files.put(file.getFileName().toString(), Files.readAllBytes(file));
      }
    }
    return files;
  }

  /** Checks that two folders, or two states of one, hold the same. */
  static void requireSame(Map<String, byte[]> expected, Map<String, byte[]> found) {
    assertEquals(expected.keySet(), found.keySet());
    expected.forEach((name, bytes) -> assertArrayEquals(bytes, found.get(name), name));
  }
}
