// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import ponder.Device;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.lab.loop.Orbit;
import ponder.lab.statistics.Estimate;
import ponder.nn.LoopedTransformer;

/**
 * Where the states of a looped model go when it is applied more often than it was trained to: those
 * from which the first move of a query is predicted.
 *
 * @param trainedRounds the most rounds in training
 * @param rounds the rounds followed
 * @param residuals the median over queries of |h_{r+1} - h_r| / |h_{r+1}|, after each round but the
 *     first
 * @param fixed the share of queries whose state came to a fixed point
 * @param cycling the share whose state went into a cycle
 */
public record Going(
    int trainedRounds, int rounds, List<Double> residuals, Estimate fixed, Estimate cycling) {
  private static final int MOST_QUERIES = 64;
  private static final double SAME_STATE = 1e-3;

  /**
   * Follows the states.
   *
   * @param prompts source and target of each query; the first are taken
   */
  static Going of(LoopedTransformer model, Device device, int[][] prompts, int rounds) {
    int queries = Math.min(MOST_QUERIES, prompts.length);
    int[] tokens = new int[2 * queries];
    for (int i = 0; i < queries; i++) {
      System.arraycopy(prompts[i], 0, tokens, 2 * i, 2);
    }
    int width = (int) model.output().shape().dim(1);
    List<float[]> states = new ArrayList<>();
    try (Scope scope = device.openUnrecorded()) {
      Tensor asked = scope.indices(Shape.of(queries, 2), tokens);
      for (Tensor state : model.withRounds(rounds).states(asked)) {
        states.add(state.toFloats());
      }
    }
    double[][] residuals = new double[rounds - 1][queries];
    int fixed = 0;
    int cycling = 0;
    for (int i = 0; i < queries; i++) {
      int from = (2 * i + 1) * width; // after the target
      List<float[]> own =
          states.stream().map(s -> Arrays.copyOfRange(s, from, from + width)).toList();
      Orbit orbit = Orbit.of(own, SAME_STATE);
      for (int r = 0; r < residuals.length; r++) {
        residuals[r][i] = orbit.residuals()[r];
      }
      fixed += orbit.period() == 1 ? 1 : 0;
      cycling += orbit.period() > 1 ? 1 : 0;
    }
    List<Double> medians = new ArrayList<>();
    for (double[] of : residuals) {
      Arrays.sort(of);
      medians.add(of[of.length / 2]);
    }
    return new Going(
        model.rounds(),
        rounds,
        medians,
        Estimate.rate(fixed, queries),
        Estimate.rate(cycling, queries));
  }
}
