// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.cases.Type;
import ponder.nn.Parameters;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/**
 * What does a whole training step of a transformer cost: forward, backward and AdamW? A small one
 * is nearly all overhead, a large one nearly all arithmetic. A row of bf16 is mixed: products and
 * attention in bf16, parameters and everything else in f32.
 */
final class StepSubject implements Subject {
  /** Steps whose losses the gate compares: the later ones see what the earlier ones wrote. */
  private static final int CHECKED = 3;

  private final Row row;
  private final Device device;
  private final Training training;
  private final Work work;

  StepSubject(Row row, String device) {
    this.row = row;
    this.device = Subjects.open(device, row.threads());
    this.training = new Training(row, this.device);
    training.step();
    Work before = this.device.meter().total();
    training.step();
    this.work = this.device.meter().since(before);
  }

  /** A model, its optimiser's state, and a batch. */
  private static final class Training {
    private final Device device;
    private final Store parameters;
    private final Store state;
    private final Transformer model;
    private final AdamW optimiser = AdamW.usual();
    private final Shape shape;
    private final int[] tokens;

    Training(Row row, Device device) {
      this.device = device;
      parameters = device.store();
      state = device.store();
      int vocabulary = row.size("vocabulary");
      DType products = row.type() == Type.BF16 ? DType.BF16 : DType.F32;
      model =
          Transformer.create(
              Parameters.of(parameters, Key.of(1)).withProducts(products),
              vocabulary,
              row.size("layers"),
              row.size("width"),
              row.size("heads"));
      shape = Shape.of(row.size("batch"), row.size("steps"));
      tokens = Key.of(2).ints(Math.toIntExact(shape.size()), vocabulary);
      optimiser.prepare(parameters, state);
    }

    double step() {
      try (Scope scope = device.open()) {
        Tensor batch = scope.indices(shape, tokens);
        Tensor mean = model.losses(batch, batch).mean();
        Tensor[] xs = parameters.names().stream().map(parameters::get).toArray(Tensor[]::new);
        Tensor[] gradients = Gradient.of(mean, xs);
        Tensor rate = scope.tensor(Shape.of(1), 1e-3f);
        Tensor scale = scope.tensor(Shape.of(1), 1f);
        optimiser.step(parameters, state, gradients, rate, scale);
        return mean.item();
      }
    }
  }

  /** Trains anew on one thread and on two: the losses have the same bits, and fall. */
  @Override
  public void check(int repeats) {
    double[][] before = {losses(1)};
    Gate.same(row.name() + " run again", new double[][] {losses(1)}, before);
    Gate.same(row.name() + " on 2 threads", new double[][] {losses(2)}, before);
    if (!(before[0][CHECKED - 1] < before[0][0])) {
      throw new RedGate(row.name() + ": the loss does not fall on one batch");
    }
  }

  private double[] losses(int threads) {
    try (Device own = Subjects.open("cpu", threads)) {
      Training anew = new Training(row, own);
      double[] losses = new double[CHECKED];
      for (int i = 0; i < CHECKED; i++) losses[i] = anew.step();
      return losses;
    }
  }

  @Override
  public Object run() {
    return training.step();
  }

  @Override
  public Work work() {
    return work;
  }

  @Override
  public long elements() {
    return training.shape.size();
  }

  @Override
  public void close() {
    device.close();
  }
}
