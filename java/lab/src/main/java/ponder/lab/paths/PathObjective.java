// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.List;
import java.util.function.LongFunction;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.nn.SequenceModel;
import ponder.train.Batch;
import ponder.train.BatchObjective;

/** Mean loss per predicted token on the training paths; on the first validation paths. */
public final class PathObjective implements BatchObjective<SequenceModel> {
  private final SequenceModel model;
  private final LongFunction<SequenceModel> inStep;
  private final PathBatches batches;
  private final List<PathTokens.Batch> validation = new ArrayList<>();
  private long steps;

  /**
   * Prepares the paths.
   *
   * @param model the model whose validation loss is measured
   * @param inStep the same model as a training step applies it
   * @param tokens how paths are written
   * @param key the source of the training paths' order
   * @param rows paths in a training batch
   * @param validationPaths how many validation paths are read each time, a multiple of rows
   */
  public PathObjective(
      SequenceModel model,
      LongFunction<SequenceModel> inStep,
      PathTable table,
      Split split,
      PathTokens tokens,
      Key key,
      int rows,
      int validationPaths) {
    this.model = model;
    this.inStep = inStep;
    PathStream train = new PathStream(table, split, Split.Part.TRAIN, key.split("train"));
    batches = new PathBatches(train, tokens, rows, key.split("batches"));
    // The validation paths are the same for every model and seed.
    PathStream held = new PathStream(table, split, Split.Part.VALIDATION, Key.of(0));
    PathBatches heldBatches = new PathBatches(held, tokens, rows, Key.of(0));
    for (int read = 0; read < validationPaths; read += rows) {
      validation.add(heldBatches.next());
    }
  }

  @Override
  public Tensor loss(Scope scope, long step) {
    PathTokens.Batch batch = next(step);
    return losses(inStep.apply(step), scope, batch).sum().scale(1.0 / batch.predictions());
  }

  /** The paths differ in how many tokens they predict: a graph reads their share from an array. */
  @Override
  public Batch<SequenceModel> batch(long step) {
    PathTokens.Batch batch = next(step);
    Shape shape = Shape.of(batch.rows(), batch.steps());
    return Batch.of(inStep.apply(step))
        .with(shape, batch.input())
        .with(shape, batch.target())
        .with(Shape.scalar(), (float) (1.0 / batch.predictions()));
  }

  @Override
  public Tensor loss(SequenceModel model, Tensor... arrays) {
    return model.losses(arrays[0], arrays[1]).sum().mul(arrays[2]);
  }

  private PathTokens.Batch next(long step) {
    if (step != steps++) {
      throw new IllegalArgumentException(
          "path objective: step " + step + " asked for, step " + (steps - 1) + " is next");
    }
    return batches.next();
  }

  @Override
  public long[] position() {
    return batches.position();
  }

  @Override
  public void seek(long step, long... position) {
    batches.seek(step, position);
    steps = step;
  }

  @Override
  public double validation(Scope scope) {
    double sum = 0;
    long predictions = 0;
    for (PathTokens.Batch batch : validation) {
      try (Scope part = scope.device().openUnrecorded()) {
        sum += losses(model, part, batch).sum().item();
        predictions += batch.predictions();
      }
    }
    return sum / predictions;
  }

  private static Tensor losses(SequenceModel model, Scope scope, PathTokens.Batch batch) {
    Shape shape = Shape.of(batch.rows(), batch.steps());
    return model.losses(scope.indices(shape, batch.input()), scope.indices(shape, batch.target()));
  }
}
