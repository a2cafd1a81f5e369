// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;

/** How many pairs a state of [SIZE, SIZE] holds: written one after another, then all read. */
class FastWeightsCapacityTest {
  private static final int SIZE = 32;
  private static final int ROWS = 256;

  /** Mean squared errors of what is read, over the square of the values: by pair, oldest first. */
  private static double[] errors(Device device, boolean corrects, int pairs) {
    try (Scope scope = device.openUnrecorded()) {
      int steps = 2 * pairs;
      double[] keys = Key.of(pairs).split("keys").normalDoubles(ROWS * pairs * SIZE);
      double[] values = Key.of(pairs).split("values").normalDoubles(ROWS * pairs * SIZE);
      double[] q = new double[ROWS * steps * SIZE];
      double[] k = new double[q.length];
      double[] v = new double[q.length];
      for (int i = 0; i < ROWS * pairs; i++) {
        double length = 0;
        for (int d = 0; d < SIZE; d++) length = Math.hypot(length, keys[i * SIZE + d]);
        for (int d = 0; d < SIZE; d++) {
          int write = ((i / pairs) * steps + i % pairs) * SIZE + d;
          k[write] = keys[i * SIZE + d] / length;
          v[write] = values[i * SIZE + d];
          q[write + pairs * SIZE] = k[write];
        }
      }
      Shape shape = Shape.of(ROWS, steps, 1, SIZE);
      Tensor rate = scope.tensor(Shape.of(ROWS, steps, 1), ones(ROWS * steps));
      FastWeightsInputs memory = corrects ? FastWeights.delta(rate) : FastWeights.plain();
      double[] read =
          memory
              .scan(scope.tensor(shape, q), scope.tensor(shape, k), scope.tensor(shape, v))
              .out()
              .toDoubles();
      double[] errors = new double[pairs];
      for (int i = 0; i < ROWS * pairs * SIZE; i++) {
        int pair = i / SIZE % pairs;
        int at = (i / (pairs * SIZE) * steps + pairs + pair) * SIZE + i % SIZE;
        double apart = read[at] - values[i];
        errors[pair] += apart * apart / (ROWS * SIZE);
      }
      return errors;
    }
  }

  private static double[] ones(int n) {
    double[] ones = new double[n];
    Arrays.fill(ones, 1);
    return ones;
  }

  /**
   * In a sum n random pairs disturb each other by (n - 1) / SIZE. What corrects holds its newest pair
   * exactly and the older ones the worse, and of each number of pairs more than a sum does.
   */
  @Test
  void correctionsHoldMoreThanSums() {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: too many steps");
    try (Device device = TestDevices.open(TestDevices.builds().getLast())) {
      for (int pairs : new int[] {4, 16, 32, 64}) {
        double summed = Arrays.stream(errors(device, false, pairs)).average().orElseThrow();
        double expected = (pairs - 1.0) / SIZE;
        assertEquals(expected, summed, 0.05 * expected, pairs + " pairs");
        double[] corrected = errors(device, true, pairs);
        assertEquals(0, corrected[pairs - 1], 1e-24, pairs + " pairs");
        double older = Arrays.stream(corrected, 0, pairs / 2).average().orElseThrow();
        double newer = Arrays.stream(corrected, pairs / 2, pairs).average().orElseThrow();
        assertTrue(newer < 0.8 * older, newer + " of the newer, " + older + " of the older");
        assertTrue(older + newer < 2 * 0.7 * summed, pairs + " pairs: " + (older + newer) / 2);
      }
    }
  }
}
