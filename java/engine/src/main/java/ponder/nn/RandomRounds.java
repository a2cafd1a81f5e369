// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Key;

/**
 * How many rounds of a looped model are made in each step of its training. With probability {@code
 * share} a step is progressive: n rounds without a derivative, n uniform in [0, most - 1], then k
 * with one, k uniform in [1, most - n]; the other steps make all {@code most} rounds. Over steps
 * this is the loss (1 - share) L_most + share L_progressive, one term drawn at a time. Source:
 * Bansal et al., arXiv:2202.05826, algorithm 1. Difference: there both terms are computed in every
 * step.
 *
 * @param most the most rounds in training, at least 1
 * @param share the share of progressive steps, in [0, 1]
 * @param key the source of the draws; a step's rounds depend on it and the step alone
 */
public record RandomRounds(int most, double share, Key key) {
  /** Checks the ranges. */
  public RandomRounds {
    if (most < 1 || !(share >= 0 && share <= 1)) {
      throw new IllegalArgumentException(
          "random rounds: most " + most + " must be at least 1, share " + share + " in [0, 1]");
    }
  }

  /** Returns the model as a step trains it. */
  public LoopedTransformer of(LoopedTransformer model, long step) {
    double[] draw = key.split(step).uniformDoubles(3);
    if (draw[0] >= share) {
      return model.withRounds(most);
    }
    int blind = (int) (draw[1] * most);
    int live = 1 + (int) (draw[2] * (most - blind));
    return model.withRounds(blind, live);
  }
}
