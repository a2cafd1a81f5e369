// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.SequencedMap;
import ponder.Store;

/** Keeps a run in the files that {@link Checkpoints} names. */
final class FileKeeper implements Keeper {
  private final Checkpoints plan;
  private final Map<String, String> run;
  private final SequencedMap<String, Store> stores;
  private final Objective objective;
  private JsonLines log;
  private long writtenStep;
  private long writtenNanos;

  /**
   * Prepares to keep a run; no file is touched yet.
   *
   * @param run what makes the run this one
   * @param stores all that steps read and write, by what stands before the names in a checkpoint
   */
  FileKeeper(
      Checkpoints plan,
      Map<String, String> run,
      SequencedMap<String, Store> stores,
      Objective objective) {
    this.plan = plan;
    this.run = run;
    this.stores = stores;
    this.objective = objective;
  }

  @Override
  public Trainer.Outcome begin() throws IOException {
    writtenNanos = System.nanoTime();
    if (!Files.isDirectory(plan.folder()) || !Files.isWritable(plan.folder())) {
      throw new IOException(plan.folder() + ": is no folder that can be written");
    }
    return plan.resume() && plan.exist() ? resume() : anew();
  }

  private Trainer.Outcome anew() throws IOException {
    plan.delete();
    log = new JsonLines(plan.log(), plan.name());
    return Trainer.Outcome.NOTHING;
  }

  private Trainer.Outcome resume() throws IOException {
    Checkpoint checkpoint = Checkpoint.read(plan.file());
    checkpoint.requireRun(plan.file(), plan.program(), run);
    Trainer.Outcome at = checkpoint.at();
    Path file = tensors(at.steps());
    if (!Files.exists(file)) {
      throw new IOException(
          plan.file() + ": the tensors that belong to it, " + file + ", are gone");
    }
    if (!Sha256.of(file).equals(checkpoint.tensors())) {
      throw new IOException(file + ": is cut short or altered, its SHA-256 is not the one written");
    }
    Safetensors.read(file, stores);
    try {
      objective.seek(at.steps(), checkpoint.position());
    } catch (IllegalArgumentException e) {
      throw new IOException(plan.file() + ": " + e.getMessage(), e);
    }
    log = new JsonLines(plan.log(), plan.name(), checkpoint.log());
    // A process killed after its last checkpoint has not deleted the one before.
    plan.deleteTensors(file.getFileName().toString());
    writtenStep = at.steps();
    return at;
  }

  @Override
  public void after(Progress.Step step, Trainer.Outcome at) throws IOException {
    log.write(step);
    boolean last = step.flops() >= step.budget();
    boolean stopped = plan.stop().getAsBoolean() && !last;
    if (last || stopped || isDue(at.steps())) {
      write(at);
    }
    if (stopped) {
      throw new StoppedException(plan.file(), at.steps());
    }
  }

  private boolean isDue(long step) {
    return step - writtenStep >= plan.steps()
        || (System.nanoTime() - writtenNanos) * 1e-9 >= plan.seconds();
  }

  private void write(Trainer.Outcome at) throws IOException {
    log.force();
    Path file = tensors(at.steps());
    String hash = Safetensors.write(file, stores);
    byte[] text =
        new Checkpoint(plan.program(), run, at, objective.position(), log.length(), hash).text();
    WholeFile.write(plan.file(), channel -> Channels.newOutputStream(channel).write(text));
    plan.deleteTensors(file.getFileName().toString());
    writtenStep = at.steps();
    writtenNanos = System.nanoTime();
  }

  private Path tensors(long step) {
    return plan.folder().resolve(plan.name() + ".step-" + step + ".safetensors");
  }

  @Override
  public void close() throws IOException {
    if (log != null) {
      log.close();
    }
  }
}
