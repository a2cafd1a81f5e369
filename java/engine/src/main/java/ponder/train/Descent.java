// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.op.SquareSum;
import ponder.optim.Optimiser;

/**
 * The parts of a step once its loss is there: what the device computes up to the gradient, what the
 * host looks at then, and how the parameters move.
 *
 * @param clip the largest norm of the whole gradient
 */
record Descent(Optimiser optimiser, double clip, Store parameters, Store state) {
  private static final Shape ONE = Shape.of(1);

  /**
   * A loss with its gradient.
   *
   * @param square the squared norm of the whole gradient
   */
  record Slope(Tensor loss, Tensor[] gradients, Tensor square) {}

  /** What a step measured before it moved the parameters. */
  record Measured(double loss, double norm) {}

  Slope slope(Tensor loss) {
    Tensor[] xs = parameters.values();
    Tensor[] gradients = Gradient.of(loss, xs);
    return new Slope(loss, gradients, SquareSum.squareSum(gradients));
  }

  /**
   * Reads what was measured.
   *
   * @param step from 0
   * @throws ArithmeticException if it is no finite number
   */
  static Measured measured(Slope slope, long step) {
    double loss = slope.loss.item();
    double norm = Math.sqrt(slope.square.item());
    if (!Double.isFinite(loss) || !Double.isFinite(norm)) {
      throw new ArithmeticException(
          "training: step " + (step + 1) + " has loss " + loss + " and gradient norm " + norm);
    }
    return new Measured(loss, norm);
  }

  /** Counts the step: before it moves, and apart from what a graph can hold. */
  void count() {
    optimiser.count(state);
  }

  /**
   * Moves the parameters.
   *
   * @param rate [1]
   */
  void move(Slope slope, Tensor rate) {
    // min(1, clip / norm), written with maximum; a norm of 0 gives 1.
    Scope scope = rate.device().scope();
    Tensor least = scope.full(slope.square.dtype(), ONE, -1);
    Tensor scale = slope.square.reshape(ONE).power(-0.5).scale(-clip).maximum(least).neg();
    optimiser.move(parameters, state, slope.gradients, rate, scale);
  }

  /** Makes the whole step of a loss, in the innermost open scope. */
  Measured step(Tensor loss, long step, double rate) {
    Slope slope = slope(loss);
    Measured measured = measured(slope, step);
    count();
    move(slope, loss.device().scope().full(slope.square.dtype(), ONE, rate));
    return measured;
  }
}
