// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Tensor;
import ponder.op.RmsNorm;

/**
 * Root-mean-square normalisation over the last axis. Source: Zhang, Sennrich, arXiv:1910.07467.
 *
 * @param gain [width]
 */
public record Norm(Tensor gain) {
  /** What is added to the mean square. */
  static final double EPSILON = 1e-5;

  /** Returns a layer whose gains begin at 1. */
  public static Norm create(Parameters parameters, long width) {
    return new Norm(parameters.full("gain", 1, width));
  }

  /** Returns x / sqrt(mean x^2 + 1e-5) times the gains, of x's shape [..., width]. */
  public Tensor apply(Tensor x) {
    return RmsNorm.rmsNorm(x, gain, EPSILON);
  }
}
