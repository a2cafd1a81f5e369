// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.GradientCheck;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.Work;

/** The squares of several tensors; of one, {@code Cases} has them. */
class SquareSumTest {
  private static final String DEVICES = "ponder.TestDevices#names";
  private static final List<Shape> SHAPES =
      List.of(Shape.of(7), Shape.of(3, 11), Shape.scalar(), Shape.of(301), Shape.of(2, 1, 17));

  private static Tensor[] numbers(Scope scope, DType type, int count) {
    List<Tensor> made = new ArrayList<>();
    for (Shape shape : SHAPES.subList(0, count)) {
      Key key = Key.of(made.size());
      int size = (int) shape.size();
      made.add(
          type == DType.F64
              ? scope.tensor(shape, key.normalDoubles(size))
              : scope.tensor(shape, key.normalFloats(size)));
    }
    return made.toArray(Tensor[]::new);
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void isTheSumOfEachInTheirOrder(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      for (int count = 1; count <= SHAPES.size(); count++) {
        Tensor[] xs = numbers(scope, DType.F32, count);
        Work start = device.meter().total();
        Tensor sum = SquareSum.squareSum(xs[0]);
        for (int i = 1; i < count; i++) {
          sum = sum.add(SquareSum.squareSum(xs[i]));
        }
        Work apart = device.meter().since(start);
        start = device.meter().total();
        Tensor once = SquareSum.squareSum(xs);
        assertArrayEquals(sum.toFloats(), once.toFloats());
        assertEquals(apart, device.meter().since(start));
      }
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void hasDerivativesByEach(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor[] xs = numbers(scope, DType.F64, 3);
      GradientCheck.check(device, SquareSum::squareSum, xs);
      // Per element 1, and 2 for the factor; read: the factor's halves and it, x; written: it, dx.
      Work expected = new Work(41 + 2, 0, 8 * (2 + 3 + 2 * 41));
      assertEquals(expected, new SquareSum().backwardWork(xs));
    }
  }

  @Test
  void refusesNoneAndMixedTypes() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor narrow = scope.full(DType.F32, Shape.of(3), 1);
      Tensor wide = scope.full(DType.F64, Shape.of(3), 1);
      assertThrows(IllegalArgumentException.class, SquareSum::squareSum);
      var e =
          assertThrows(
              IllegalArgumentException.class, () -> SquareSum.squareSum(narrow, wide, narrow));
      assertEquals("squareSum: x is F64, must be F32", e.getMessage());
    }
  }
}
