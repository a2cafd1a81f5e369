// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import ponder.Store;

/**
 * Where a training run is kept, how often, and what it is. Its files, in one folder, are
 *
 * <ul>
 *   <li>{@code NAME.jsonl}, the log ({@link JsonLines});
 *   <li>{@code NAME.checkpoint.json}, what the run has come to, sealed by its own SHA-256;
 *   <li>{@code NAME.step-N.safetensors}, the tensors that belong to it.
 * </ul>
 *
 * <p>A process that is killed, or a disk that is full, at whatever moment leaves the last whole
 * checkpoint: the new tensors have a name of their own, the JSON is moved over the old one once
 * they are on the disk, and only then the old tensors are deleted. A run that is not resumed begins
 * by deleting the checkpoint of its name. One process at a time may keep a run.
 *
 * @param folder where the files are
 * @param name the name of the run: that of its files, and in every line of its log
 * @param program the version of the program; another one does not resume the run
 * @param run what makes the run this one, as arguments and their values; all must be equal to
 *     resume. Trainer and budget need not stand there, threads and seconds must not
 * @param resume whether a run of that name goes on from its checkpoint, if it has one
 * @param steps a checkpoint is written after this many steps, at least 1, ...
 * @param seconds ... or after so many seconds, above 0; also at the end and when stopped
 * @param stop asked after every step: whether the run shall end with a {@link StoppedException}
 */
public record Checkpoints(
    Path folder,
    String name,
    String program,
    Map<String, String> run,
    boolean resume,
    long steps,
    double seconds,
    BooleanSupplier stop) {
  private static final double USUAL_SECONDS = 30;

  /** Nothing is kept, and nothing resumed. */
  static final Checkpoints NONE = of(Path.of(""), "none", "", Map.of());

  /** Checks the ranges. */
  public Checkpoints {
    if (name.isEmpty() || name.contains(folder.getFileSystem().getSeparator())) {
      throw new IllegalArgumentException("checkpoints: \"" + name + "\" is no name of a file");
    }
    if (steps < 1) {
      throw new IllegalArgumentException("checkpoints: steps is " + steps + ", must be at least 1");
    }
    if (!(seconds > 0)) {
      throw new IllegalArgumentException(
          "checkpoints: seconds is " + seconds + ", must be above 0");
    }
    run = Map.copyOf(run);
  }

  /** Returns the plan of a run that is written down every half minute and begins anew. */
  public static Checkpoints of(Path folder, String name, String program, Map<String, String> run) {
    return new Checkpoints(
        folder, name, program, run, false, Long.MAX_VALUE, USUAL_SECONDS, () -> false);
  }

  /** Returns the same with another word on whether the run goes on from its checkpoint. */
  public Checkpoints resume(boolean resume) {
    return new Checkpoints(folder, name, program, run, resume, steps, seconds, stop);
  }

  /** Returns the same with other moments; when a checkpoint is written changes no result. */
  public Checkpoints every(long steps, double seconds) {
    return new Checkpoints(folder, name, program, run, resume, steps, seconds, stop);
  }

  /** Returns the same with another question that stops the run. */
  public Checkpoints stop(BooleanSupplier stop) {
    return new Checkpoints(folder, name, program, run, resume, steps, seconds, stop);
  }

  /** Returns whether there is a checkpoint, whole or not, of any run of this name. */
  public boolean exist() {
    return Files.exists(file());
  }

  /** Returns the file that the run goes on from. */
  public Path file() {
    return folder.resolve(name + ".checkpoint.json");
  }

  /** Returns the file that the log is written to. */
  public Path log() {
    return folder.resolve(name + ".jsonl");
  }

  /** Deletes the checkpoint of this name, if there is one; the log stays. */
  public void delete() throws IOException {
    Files.deleteIfExists(file());
    deleteTensors("");
  }

  /** Deletes the tensors of every checkpoint but those in one file. */
  void deleteTensors(String current) throws IOException {
    // The draft of a process that was killed is left over too.
    Pattern tensors = Pattern.compile(Pattern.quote(name) + "\\.step-\\d+\\.safetensors(\\.part)?");
    List<Path> old;
    try (Stream<Path> files = Files.list(folder)) {
      old =
          files
              .filter(file -> tensors.matcher(file.getFileName().toString()).matches())
              .filter(file -> !file.getFileName().toString().equals(current))
              .toList();
    }
    for (Path file : old) {
      Files.deleteIfExists(file);
    }
  }

  /** Returns what keeps a run of a trainer with a budget, in these stores. */
  Keeper keeper(
      Trainer trainer, long flops, SequencedMap<String, Store> stores, Objective objective) {
    if (this == NONE) {
      return Keeper.NONE;
    }
    Map<String, String> whole = new HashMap<>(run);
    whole.put("the trainer", trainer.toString());
    whole.put("the training budget", flops + " FLOPs");
    return new FileKeeper(this, whole, stores, objective);
  }
}
