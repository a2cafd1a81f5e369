// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;

/** What heads share, and how far they see. */
class HeadsTest {
  @Test
  void aStepSeesItsWindowAndNoFurther() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model =
          Transformer.create(Parameters.of(store, Key.of(1)), 5, 1, 8, Heads.of(2).withWindow(3));
      Shape shape = Shape.of(1, 7);
      Tensor a = model.read(scope.indices(shape, 0, 1, 2, 3, 4, 0, 1), Memory.EMPTY).hidden();
      Tensor b = model.read(scope.indices(shape, 4, 1, 2, 3, 4, 0, 1), Memory.EMPTY).hidden();
      for (int step = 0; step < 7; step++) {
        float[] one = a.slice(1, step, 1).toFloats();
        boolean same = Arrays.equals(one, b.slice(1, step, 1).toFloats());
        assertEquals(step >= 3, same, "step " + step);
      }
    }
  }

  @Test
  void sharedKeysAndValuesAreNarrower() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      Heads heads = Heads.of(4).withKvHeads(2);
      AttentionBlock block = AttentionBlock.create(Parameters.of(store, Key.of(1)), 16, heads, 1);
      assertEquals(Shape.of(16, 16), block.query().weight().shape());
      assertEquals(Shape.of(16, 8), block.key().weight().shape());
      assertEquals(Shape.of(16, 8), block.value().weight().shape());
    }
  }

  @Test
  void refusesWhatDoesNotDivide() {
    refused("heads: 4 must be a multiple of kvHeads, 3, and window, 0, not below 0", 3, 0);
    refused("heads: 4 must be a multiple of kvHeads, 2, and window, -1, not below 0", 2, -1);
    var e = assertThrows(IllegalArgumentException.class, () -> Heads.of(4).size("model", 12));
    assertEquals("model: width 12 must be a multiple of twice the heads, 4", e.getMessage());
  }

  private static void refused(String message, long kvHeads, long window) {
    var e = assertThrows(IllegalArgumentException.class, () -> new Heads(4, kvHeads, window));
    assertEquals(message, e.getMessage());
  }
}
