// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Budget;
import ponder.Device;
import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.op.SquareSum;
import ponder.optim.Optimiser;

/**
 * Trains the parameters of a store until a budget of training FLOPs is spent, and leaves in the
 * store the parameters with the lowest validation loss seen. Only what a step does (loss, gradient,
 * update) counts towards the budget; validation is counted apart.
 *
 * @param optimiser moves the parameters
 * @param schedule the step size over the budget
 * @param clip the largest norm of the whole gradient; a larger one is scaled down to it; infinity
 *     for none
 * @param validations how often the validation loss is measured, the end included
 */
public record Trainer(Optimiser optimiser, Schedule schedule, double clip, int validations) {
  /**
   * What a run gave.
   *
   * @param steps how many steps were made
   * @param work what the steps performed
   * @param validationWork what measuring the validation loss performed
   * @param bestStep the step whose parameters are in the store
   * @param bestValidation their validation loss
   * @param seconds the time the run took
   */
  public record Outcome(
      long steps,
      Work work,
      Work validationWork,
      long bestStep,
      double bestValidation,
      double seconds) {}

  /** Checks the ranges. */
  public Trainer {
    if (!(clip > 0)) {
      throw new IllegalArgumentException("trainer: clip is " + clip + ", must be above 0");
    }
    if (validations < 1) {
      throw new IllegalArgumentException(
          "trainer: validations is " + validations + ", must be at least 1");
    }
  }

  /**
   * Runs steps until the budget is spent.
   *
   * @param parameters what is trained; if the run fails they are as the last whole step left them
   * @param objective the loss
   * @param flops the training FLOPs that may be spent, at least 1; the step that reaches them is
   *     the last
   * @param progress hears of every step
   * @throws ArithmeticException if a loss or a gradient is not a finite number
   */
  public Outcome run(Store parameters, Objective objective, long flops, Progress progress) {
    if (flops < 1) {
      throw new IllegalArgumentException("trainer: flops is " + flops + ", must be at least 1");
    }
    if (parameters.names().isEmpty()) {
      throw new IllegalArgumentException("trainer: the store holds no parameters");
    }
    Device device = parameters.device();
    long began = System.nanoTime();
    Work validating = Work.NONE;
    long step = 0;
    long validated = 0;
    long bestStep = 0;
    double best = Double.POSITIVE_INFINITY;
    try (Store state = device.store();
        Store kept = device.store()) {
      optimiser.prepare(parameters, state);
      // All stores have their memory before the first step: from the second on, none allocates.
      copy(parameters, kept);
      Work start = device.meter().total();
      Budget budget = new Budget(device.meter(), flops);
      while (!budget.exhausted()) {
        double rate = schedule.rate(budget.share());
        Measured measured = step(parameters, state, objective, step, rate);
        step++;
        double validation = Double.NaN;
        long due = due(budget);
        if (due > validated) {
          validated = due;
          Work before = device.meter().total();
          validation = validate(device, objective, step);
          Work apart = device.meter().since(before);
          budget.exempt(apart);
          validating = validating.plus(apart);
          if (validation < best) {
            best = validation;
            bestStep = step;
            copy(parameters, kept);
          }
        }
        progress.after(
            new Progress.Step(
                step,
                measured.loss,
                validation,
                rate,
                measured.norm,
                budget.spent(),
                flops,
                secondsSince(began)));
      }
      copy(kept, parameters);
      Work work = device.meter().since(start).minus(validating);
      return new Outcome(step, work, validating, bestStep, best, secondsSince(began));
    }
  }

  /** Returns how many validations are due by now; the last is due once the budget is spent. */
  private long due(Budget budget) {
    return budget.exhausted()
        ? validations
        : Math.min(validations - 1, (long) (budget.share() * validations));
  }

  private static double validate(Device device, Objective objective, long step) {
    try (Scope scope = device.openUnrecorded()) {
      double validation = objective.validation(scope);
      if (!Double.isFinite(validation)) {
        throw new ArithmeticException(
            "training: after step " + step + " the validation loss is " + validation);
      }
      return validation;
    }
  }

  /** What a step measured before it moved the parameters. */
  private record Measured(double loss, double norm) {}

  private Measured step(
      Store parameters, Store state, Objective objective, long step, double rate) {
    try (Scope scope = parameters.device().open()) {
      Tensor loss = objective.loss(scope, step);
      Tensor[] xs = parameters.names().stream().map(parameters::get).toArray(Tensor[]::new);
      Tensor[] gradients = Gradient.of(loss, xs);
      Tensor square = SquareSum.squareSum(gradients[0]);
      for (int i = 1; i < gradients.length; i++) {
        square = square.add(SquareSum.squareSum(gradients[i]));
      }
      double value = loss.item();
      double norm = Math.sqrt(square.item());
      if (!Double.isFinite(value) || !Double.isFinite(norm)) {
        throw new ArithmeticException(
            "training: step " + (step + 1) + " has loss " + value + " and gradient norm " + norm);
      }
      // min(1, clip / norm), written with maximum; a norm of 0 gives 1.
      Shape one = Shape.of(1);
      Tensor least = scope.full(square.dtype(), one, -1);
      Tensor scale = square.reshape(one).power(-0.5).scale(-clip).maximum(least).neg();
      optimiser.step(parameters, state, gradients, scope.full(square.dtype(), one, rate), scale);
      return new Measured(value, norm);
    }
  }

  /** Writes every value of one store into the other, which has the same names or none. */
  private static void copy(Store from, Store to) {
    for (String name : from.names()) {
      if (to.names().contains(name)) {
        to.replace(name, from.get(name));
      } else {
        to.add(name, from.get(name));
      }
    }
  }

  private static double secondsSince(long nanos) {
    return (System.nanoTime() - nanos) * 1e-9;
  }
}
