// SPDX-License-Identifier: Apache-2.0
package ponder.train;

/** Hears of a training run as it goes. */
public interface Progress {
  /** A listener that does nothing. */
  Progress NONE = step -> {};

  /**
   * What a step did.
   *
   * @param step from 1
   * @param loss the batch's mean loss before the step
   * @param validation the validation loss measured after the step, or NaN if none was
   * @param rate the step size
   * @param norm the norm of the whole gradient before clipping
   * @param flops the training FLOPs spent so far
   * @param budget the training FLOPs that may be spent
   * @param seconds the time spent so far, validation included
   */
  record Step(
      long step,
      double loss,
      double validation,
      double rate,
      double norm,
      long flops,
      long budget,
      double seconds) {
    /** Returns whether the validation loss was measured after this step. */
    public boolean validated() {
      return !Double.isNaN(validation);
    }
  }

  /** Called after every step, on the training thread. */
  void after(Step step);

  /** Returns a listener that tells this one and then the other. */
  default Progress and(Progress other) {
    return step -> {
      after(step);
      other.after(step);
    };
  }
}
