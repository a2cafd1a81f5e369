// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.Device;
import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.lab.paths.PathObjective;
import ponder.optim.AdamW;

/**
 * How many tokens a second is a model of the budget rows trained on? Steps go through the batches
 * of its training, which differ in length; what one does is the mean of as many as are sorted
 * together.
 */
final class BudgetStepSubject implements Subject {
  private static final int BATCHES = 32;

  /** Steps whose losses the gate compares. */
  private static final int CHECKED = 3;

  private final Row row;
  private final BudgetTask task;
  private final BudgetModel of;
  private final Device device;
  private final Training training;
  private final Work work;

  BudgetStepSubject(Row row, BudgetTask task, String device) {
    this.row = row;
    this.task = task;
    of = BudgetModel.of(row);
    this.device = Subjects.open(device, row.threads());
    training = new Training(task, of, this.device);
    Work before = this.device.meter().total();
    for (int i = 0; i < BATCHES; i++) training.step();
    Work sum = this.device.meter().since(before);
    work = new Work(sum.flops() / BATCHES, sum.matrixFlops() / BATCHES, sum.bytes() / BATCHES);
  }

  /** A model, its optimiser's state and its batches. */
  private static final class Training {
    private final Device device;
    private final Store parameters;
    private final Store state;
    private final PathObjective objective;
    private final AdamW optimiser = AdamW.usual();
    private long steps;

    Training(BudgetTask task, BudgetModel of, Device device) {
      this.device = device;
      parameters = device.store();
      state = device.store();
      objective = task.objective(of, 0, task.create(of, 0, parameters));
      optimiser.prepare(parameters, state);
    }

    double step() {
      try (Scope scope = device.open()) {
        Tensor mean = objective.loss(scope, steps++);
        Tensor[] gradients = Gradient.of(mean, parameters.values());
        Tensor rate = scope.tensor(Shape.of(1), 1e-3f);
        Tensor scale = scope.tensor(Shape.of(1), 1f);
        optimiser.step(parameters, state, gradients, rate, scale);
        return mean.item();
      }
    }
  }

  /** Trains anew on one thread and on two: the losses have the same bits. */
  @Override
  public void check(int repeats) {
    Gate.same(row.name() + " on 2 threads", new double[][] {losses(2)}, new double[][] {losses(1)});
  }

  private double[] losses(int threads) {
    try (Device own = Subjects.open("cpu", threads)) {
      Training anew = new Training(task, of, own);
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
    return Math.round(task.tokensPerBatch());
  }

  @Override
  public void close() {
    device.close();
  }
}
