// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.Device;
import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.optim.AdamW;

/**
 * What does a whole training step cost: forward, backward and AdamW? A small one is nearly all
 * overhead, a large one nearly all arithmetic. Where batches differ in length, what one does is the
 * mean of some.
 */
final class StepSubject implements Subject {
  /** Steps whose losses the gate compares: the later ones see what the earlier ones wrote. */
  private static final int CHECKED = 3;

  private final Row row;
  private final StepTask task;
  private final Device device;
  private final Training training;
  private final Work work;

  StepSubject(Row row, StepTask task, String device) {
    this.row = row;
    this.task = task;
    this.device = Subjects.open(device, row.threads());
    training = new Training(task, this.device);
    int batches = task.batches();
    Work before = this.device.meter().total();
    for (int i = 0; i < batches; i++) training.step();
    Work sum = this.device.meter().since(before);
    work = new Work(sum.flops() / batches, sum.matrixFlops() / batches, sum.bytes() / batches);
  }

  /** A model, its optimiser's state and its batches. */
  private static final class Training {
    private final Device device;
    private final Store parameters;
    private final Store state;
    private final StepTask.Loss loss;
    private final AdamW optimiser = AdamW.usual();
    private long steps;

    Training(StepTask task, Device device) {
      this.device = device;
      parameters = device.store();
      state = device.store();
      loss = task.create(parameters);
      optimiser.prepare(parameters, state);
    }

    double step() {
      try (Scope scope = device.open()) {
        Tensor mean = loss.of(scope, steps++);
        Tensor[] gradients = Gradient.of(mean, parameters.values());
        Tensor rate = scope.tensor(Shape.of(1), 1e-3f);
        Tensor scale = scope.tensor(Shape.of(1), 1f);
        optimiser.step(parameters, state, gradients, rate, scale);
        return mean.item();
      }
    }
  }

  /**
   * Trains anew on one thread and on two: the losses have the same bits, and fall where the batch is
   * always the same.
   */
  @Override
  public void check(int repeats) {
    double[][] before = {losses(1)};
    Gate.same(row.name() + " run again", new double[][] {losses(1)}, before);
    Gate.same(row.name() + " on 2 threads", new double[][] {losses(2)}, before);
    if (task.batches() == 1 && !(before[0][CHECKED - 1] < before[0][0])) {
      throw new RedGate(row.name() + ": the loss does not fall on one batch");
    }
  }

  private double[] losses(int threads) {
    try (Device own = Subjects.open("cpu", threads)) {
      Training anew = new Training(task, own);
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
    return task.tokens();
  }

  @Override
  public void close() {
    device.close();
  }
}
