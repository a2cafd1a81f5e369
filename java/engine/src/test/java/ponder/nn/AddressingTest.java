// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.Device;
import ponder.GradientCheck;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.op.Softmax;

/** The limits of addressing, its derivatives, and what a write leaves to be read. */
class AddressingTest {
  private static final int BATCH = 2;
  private static final int SLOTS = 5;
  private static final int WIDTH = 3;

  static List<String> everywhere() {
    return TestDevices.names();
  }

  private static Tensor normal(Scope scope, long seed, long... dims) {
    Shape shape = Shape.of(dims);
    return scope.tensor(shape, Key.of(seed).normalDoubles((int) shape.size()));
  }

  private static Tensor place(Scope scope, long seed) {
    return Softmax.softmax(normal(scope, seed, BATCH, SLOTS));
  }

  private static Tensor column(Scope scope, double a, double b) {
    return scope.tensor(Shape.of(BATCH, 1), a, b);
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void aGateOfOneIsTheContentAndOfZeroTheLastPlace(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor found = place(scope, 1);
      Tensor last = place(scope, 2);
      double[] w = Addressing.interpolated(found, last, column(scope, 1, 0)).toDoubles();
      double[] a = found.toDoubles();
      double[] b = last.toDoubles();
      for (int i = 0; i < SLOTS; i++) {
        assertEquals(a[i], w[i], 1e-15);
        assertEquals(b[SLOTS + i], w[SLOTS + i], 0);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void aShiftByNothingChangesNothingAndOneByOneTurns(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor w = place(scope, 3);
      Tensor shares = scope.tensor(Shape.of(BATCH, 3), 0.0, 1, 0, 0, 0, 1);
      double[] before = w.toDoubles();
      double[] after = Addressing.shifted(w, shares).toDoubles();
      for (int i = 0; i < SLOTS; i++) {
        assertEquals(before[i], after[i], 0);
        assertEquals(before[SLOTS + i], after[SLOTS + (i + 1) % SLOTS], 0);
      }
      Tensor back = scope.tensor(Shape.of(BATCH, 3), 1.0, 0, 0, 1, 0, 0);
      double[] returned = Addressing.shifted(Addressing.shifted(w, shares), back).toDoubles();
      assertEquals(before[0], returned[SLOTS - 1], 0);
      assertEquals(before[SLOTS], returned[SLOTS], 0);
    }
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void aPowerOfOneChangesNothingAndALargeOneChooses(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor w = scope.tensor(Shape.of(BATCH, 4), 0.4, 0.3, 0.2, 0.1, 0, 0.3, 0.7, 0);
      double[] after = Addressing.sharpened(w, column(scope, 1, 500)).toDoubles();
      assertArrayEquals(new double[] {0.4, 0.3, 0.2, 0.1, 0, 0, 1, 0}, after, 1e-15);
    }
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void whatIsWrittenIsFoundByItsContent(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor memory = normal(scope, 4, BATCH, SLOTS, WIDTH);
      Tensor here = scope.tensor(Shape.of(BATCH, SLOTS), 0.0, 0, 1, 0, 0, 0, 0, 0, 0, 1);
      Tensor word = normal(scope, 5, BATCH, WIDTH);
      Tensor all = scope.tensor(Shape.of(BATCH, WIDTH), 1.0, 1, 1, 1, 1, 1);
      Tensor after = Addressing.written(memory, here, all, word);
      assertArrayEquals(word.toDoubles(), Addressing.read(after, here).toDoubles(), 1e-15);
      // A key of another length, and so sharply that no other slot counts.
      Tensor found = Addressing.content(after, word.scale(3), column(scope, 1e4, 1e4));
      assertArrayEquals(here.toDoubles(), found.toDoubles(), 1e-12);
      double[] old = memory.toDoubles();
      double[] now = after.toDoubles();
      for (int i = 0; i < old.length; i++) {
        int slot = i / WIDTH;
        if (slot != 2 && slot != 2 * SLOTS - 1) assertEquals(old[i], now[i], 0);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void aStepHasItsDerivatives(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      GradientCheck.first(
          device,
          in -> {
            Tensor strength = in[2].exp();
            Tensor w = Addressing.content(in[0], in[1], strength);
            w = Addressing.interpolated(w, Softmax.softmax(in[3]), in[4].sigmoid());
            w = Addressing.shifted(w, Softmax.softmax(in[5]));
            w = Addressing.sharpened(w, strength.affine(1, 1));
            Tensor after = Addressing.written(in[0], w, in[1].sigmoid(), in[1]);
            return Addressing.read(after, w);
          },
          normal(scope, 6, BATCH, SLOTS, WIDTH),
          normal(scope, 7, BATCH, WIDTH),
          normal(scope, 8, BATCH, 1),
          normal(scope, 9, BATCH, SLOTS),
          normal(scope, 10, BATCH, 1),
          normal(scope, 11, BATCH, 3));
    }
  }

  @Test
  void refusesShiftsWithoutAMiddleOrPastTheSlots() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor w = place(scope, 12);
      Tensor two = scope.full(w.dtype(), Shape.of(BATCH, 2), 0.5);
      Tensor seven = scope.full(w.dtype(), Shape.of(BATCH, 7), 1.0 / 7);
      assertThrows(IllegalArgumentException.class, () -> Addressing.shifted(w, two));
      assertThrows(IllegalArgumentException.class, () -> Addressing.shifted(w, seven));
    }
  }
}
