// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;

/** Reading in both directions, and the loss of masked words. */
class EncoderTest {
  private static final int BATCH = 3;
  private static final int STEPS = 9;
  private static final int VOCABULARY = 13;
  private static final int[] TOKENS = Nets.tokens(5, BATCH, STEPS, VOCABULARY);

  static List<String> everywhere() {
    return TestDevices.names();
  }

  private static Encoder create(Store store) {
    return Encoder.create(
        Parameters.of(store, DType.F64, Key.of(1)), VOCABULARY, 2, 12, Heads.of(3));
  }

  private static double[] row(Tensor hidden, int row, int step) {
    return hidden.slice(0, row, 1).slice(1, step, 1).toDoubles();
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void everyStepSeesEveryOther(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      Encoder model = create(store);
      int[] other = TOKENS.clone();
      other[STEPS + 4] = (other[STEPS + 4] + 1) % VOCABULARY;
      Tensor a = model.read(scope.indices(Shape.of(BATCH, STEPS), TOKENS));
      Tensor b = model.read(scope.indices(Shape.of(BATCH, STEPS), other));
      for (int step = 0; step < STEPS; step++) {
        assertFalse(Arrays.equals(row(a, 1, step), row(b, 1, step)), "step " + step);
        assertArrayEquals(row(a, 0, step), row(b, 0, step));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void paddingIsSeenByNone(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      Encoder model = create(store);
      Tensor lengths = scope.indices(Shape.of(BATCH), STEPS, 5, 1);
      int[] other = TOKENS.clone();
      for (int i = STEPS + 5; i < 2 * STEPS; i++) other[i] = 0;
      for (int i = 2 * STEPS + 1; i < 3 * STEPS; i++) other[i] = 0;
      Tensor a = model.read(scope.indices(Shape.of(BATCH, STEPS), TOKENS), lengths);
      Tensor b = model.read(scope.indices(Shape.of(BATCH, STEPS), other), lengths);
      for (int step = 0; step < 5; step++) assertArrayEquals(row(a, 1, step), row(b, 1, step));
      assertArrayEquals(row(a, 2, 0), row(b, 2, 0));
      // As if there were none.
      Tensor alone = model.read(Nets.columns(scope, TOKENS, BATCH, 0, 5));
      for (int step = 0; step < 5; step++) {
        assertArrayEquals(row(alone, 1, step), row(a, 1, step), 1e-12);
      }
    }
  }

  @Test
  void masksCountByTheirWeights() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor losses = scope.tensor(Shape.of(2, 3), 1.0, 0.0, 2.0, 0.0, 3.0, 0.0);
      Tensor weight = scope.tensor(Shape.of(2, 3), 2.0, 0.0, 4.0, 0.0, 0.5, 0.0);
      // Rows of 2 + 8 and 1.5 over 3 words; over 2 masked ones.
      assertEquals((10 + 1.5) / 2 / 3, MaskedLoss.ofWords(losses, weight).item(), 1e-15);
      assertEquals((10 + 1.5) / 2 / 2, MaskedLoss.ofSets(losses, weight, 2).item(), 1e-15);
    }
  }
}
