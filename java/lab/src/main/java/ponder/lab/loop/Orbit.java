// SPDX-License-Identifier: Apache-2.0
package ponder.lab.loop;

import java.util.List;

/**
 * Where the state of a looped model goes as it is applied again and again: to a fixed point, into a
 * cycle, or neither.
 *
 * @param residuals [rounds - 1], |h_{r+1} - h_r| / |h_{r+1}| after each round but the first
 * @param period the least p of at most half the rounds for which every state of the last p equals
 *     the one p rounds before it: 1 is a fixed point, more a cycle, 0 neither; a drift of less than
 *     the tolerance in a round counts as a fixed point
 */
public record Orbit(double[] residuals, int period) {
  /**
   * Follows a state.
   *
   * @param states the state after each round, at least two
   * @param tolerance the distance up to which states count as equal, relative to the later one
   * @throws IllegalArgumentException if there are fewer states
   */
  public static Orbit of(List<float[]> states, double tolerance) {
    int rounds = states.size();
    if (rounds < 2) {
      throw new IllegalArgumentException("orbit: " + rounds + " states, must be at least 2");
    }
    double[] residuals = new double[rounds - 1];
    for (int r = 0; r < residuals.length; r++) {
      residuals[r] = distance(states.get(r + 1), states.get(r));
    }
    for (int period = 1; period <= rounds / 2; period++) {
      // A cycle must hold over a whole turn, or a state that merely passes by would count.
      boolean holds = true;
      for (int back = 0; holds && back < period; back++) {
        int now = rounds - 1 - back;
        holds = distance(states.get(now), states.get(now - period)) <= tolerance;
      }
      if (holds) {
        return new Orbit(residuals, period);
      }
    }
    return new Orbit(residuals, 0);
  }

  private static double distance(float[] now, float[] before) {
    double difference = 0;
    double size = 0;
    for (int i = 0; i < now.length; i++) {
      double d = (double) now[i] - before[i];
      difference += d * d;
      size += (double) now[i] * now[i];
    }
    return difference == 0 ? 0 : Math.sqrt(difference / size);
  }
}
