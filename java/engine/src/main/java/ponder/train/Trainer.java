// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.LinkedHashMap;
import java.util.SequencedMap;
import ponder.Budget;
import ponder.Device;
import ponder.Scope;
import ponder.Store;
import ponder.Work;
import ponder.optim.Optimiser;

/**
 * Trains the parameters of a store until a budget of training FLOPs is spent, and leaves in the
 * store the parameters with the lowest validation loss seen. Only what a step does (loss, gradient,
 * update) counts towards the budget; validation is counted apart, what listeners do not at all. On
 * a device that has graphs ({@link ponder.CudaGraph}) the steps of a {@link BatchObjective} are
 * recorded and launched, with the same results.
 *
 * @param optimiser moves the parameters
 * @param schedule the step size over the budget
 * @param clip the largest norm of the whole gradient; a larger one is scaled down to it; infinity
 *     for none
 * @param validations how often the validation loss is measured, the end included
 */
public record Trainer(Optimiser optimiser, Schedule schedule, double clip, int validations) {
  /**
   * What a run gave, or has come to so far.
   *
   * @param steps how many steps were made
   * @param work what the steps performed
   * @param validationWork what measuring the validation loss performed
   * @param validations how many of the validations that were due by then are done
   * @param bestStep the step whose parameters are in the store; 0 before the first validation
   * @param bestValidation their validation loss; infinity before the first validation
   * @param seconds the time the run took, in all the processes it was resumed in
   */
  public record Outcome(
      long steps,
      Work work,
      Work validationWork,
      long validations,
      long bestStep,
      double bestValidation,
      double seconds) {
    /** Where every run begins. */
    static final Outcome NOTHING =
        new Outcome(0, Work.NONE, Work.NONE, 0, 0, Double.POSITIVE_INFINITY, 0);
  }

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
    try {
      return run(parameters, objective, flops, progress, Checkpoints.NONE);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Runs steps until the budget is spent, and keeps the run in files so that it can be resumed. A
   * run that was stopped or killed, however often, and resumed ends in the same parameters, the
   * same outcome and the same log as one that was not, seconds aside; also on another number of
   * threads. A finished run that is resumed ends at once.
   *
   * @param parameters what is trained, as {@link #run(Store, Objective, long, Progress)} takes it
   * @param checkpoints where and how often the run is written down, whether it is to be resumed
   * @throws IOException in one sentence, if a file cannot be written, or there is a checkpoint to
   *     resume from but it is damaged or of another run; the last whole checkpoint is untouched
   * @throws StoppedException if the run was asked to stop, once its checkpoint is written
   * @throws ArithmeticException if a loss or a gradient is not a finite number
   */
  public Outcome run(
      Store parameters, Objective objective, long flops, Progress progress, Checkpoints checkpoints)
      throws IOException {
    if (flops < 1) {
      throw new IllegalArgumentException("trainer: flops is " + flops + ", must be at least 1");
    }
    if (parameters.names().isEmpty()) {
      throw new IllegalArgumentException("trainer: the store holds no parameters");
    }
    Device device = parameters.device();
    try (Store state = device.store();
        Store best = device.store();
        Steps steps = Steps.of(new Descent(optimiser, clip, parameters, state), objective);
        Keeper keeper =
            checkpoints.keeper(this, flops, stores(parameters, state, best), objective)) {
      optimiser.prepare(parameters, state);
      // All stores have their memory before the first step: from the second on, none allocates.
      copy(parameters, best);
      Outcome at = keeper.begin();
      long began = System.nanoTime() - (long) (at.seconds * 1e9);
      Work start = device.meter().total().minus(at.work);
      Budget budget = new Budget(device.meter(), flops, at.work.flops());
      while (!budget.exhausted()) {
        double rate = schedule.rate(budget.share());
        Descent.Measured measured = steps.make(at.steps, rate);
        Work stepped = device.meter().total();
        long step = at.steps + 1;
        double validation = Double.NaN;
        long due = due(budget);
        if (due > at.validations) {
          validation = validate(device, objective, step);
        }
        boolean better = validation < at.bestValidation;
        if (better) {
          copy(parameters, best);
        }
        at =
            new Outcome(
                step,
                stepped.minus(start),
                at.validationWork.plus(device.meter().since(stepped)),
                due,
                better ? step : at.bestStep,
                better ? validation : at.bestValidation,
                (System.nanoTime() - began) * 1e-9);
        Progress.Step done =
            new Progress.Step(
                step,
                measured.loss(),
                validation,
                rate,
                measured.norm(),
                at.work.flops(),
                flops,
                at.seconds);
        progress.after(done);
        keeper.after(done, at);
        Work apart = device.meter().since(stepped);
        budget.exempt(apart);
        start = start.plus(apart);
      }
      copy(best, parameters);
      return at;
    }
  }

  /** Returns all that a step reads and writes, under the names that a checkpoint gives it. */
  private static SequencedMap<String, Store> stores(Store parameters, Store state, Store best) {
    SequencedMap<String, Store> stores = new LinkedHashMap<>();
    stores.put("parameters.", parameters);
    stores.put("optimiser.", state);
    stores.put("best.", best);
    return stores;
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
}
