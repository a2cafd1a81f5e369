// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A hard value with the derivative of a soft one. */
class StraightThroughTest {
  private static final String DEVICES = "ponder.TestDevices#names";

  private static Tensor half(Tensor like) {
    return like.device().scope().full(like.dtype(), Shape.scalar(), 0.5);
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void theValueIsHardAndTheDerivativeSoft(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = scope.tensor(Shape.of(4), -2.0, -0.1, 0.3, 5);
      Tensor weight = scope.tensor(Shape.of(4), 1.0, 2, 3, 4);
      Tensor soft = x.sigmoid();
      Tensor hard = soft.greater(half(x));
      Work before = device.meter().total();
      Tensor y = hard.straightThrough(soft);
      assertEquals(Work.NONE, device.meter().since(before));
      assertArrayEquals(new double[] {0, 0, 1, 1}, y.toDoubles());
      Tensor[] through = Gradient.of(y.mul(weight), x, hard);
      assertArrayEquals(Gradient.of(soft.mul(weight), x)[0].toDoubles(), through[0].toDoubles());
      assertArrayEquals(new double[4], through[1].toDoubles());
    }
  }

  /** d/dx of y^2 with the slope of s^2 at y: 2 y s', and once more 2 s' s' + 2 y s''. */
  @ParameterizedTest
  @MethodSource(DEVICES)
  void theDerivativeHasADerivative(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      double[] at = {-1, 0.7};
      Tensor x = scope.tensor(Shape.of(2), at);
      Tensor soft = x.sigmoid();
      Tensor y = soft.greater(half(x)).straightThrough(soft);
      Tensor slope = Gradient.ofAgain(y.mul(y), x)[0];
      double[] second = Gradient.of(slope, x)[0].toDoubles();
      for (int i = 0; i < at.length; i++) {
        double s = 1 / (1 + Math.exp(-at[i]));
        double s1 = s * (1 - s);
        double s2 = s1 * (1 - 2 * s);
        double hard = s > 0.5 ? 1 : 0;
        assertEquals(2 * hard * s1, slope.toDoubles()[i], 1e-14);
        assertEquals(2 * s1 * s1 + 2 * hard * s2, second[i], 1e-14);
      }
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void bothHaveOneTypeAndShape(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor hard = scope.full(DType.F32, Shape.of(2, 3), 1);
      refused(
          "straightThrough: soft has shape [3], must be [2, 3]",
          hard,
          scope.full(DType.F32, Shape.of(3), 1));
      refused("straightThrough: soft is F64, must be F32", hard, hard.cast(DType.F64));
      Tensor index = scope.indices(Shape.of(2), 0, 1);
      refused("straightThrough: the tensor is I32, must be F32, F64 or BF16", index, index);
    }
  }

  private static void refused(String message, Tensor hard, Tensor soft) {
    var e = assertThrows(IllegalArgumentException.class, () -> hard.straightThrough(soft));
    assertEquals(message, e.getMessage());
  }
}
