// SPDX-License-Identifier: Apache-2.0
package example.outside;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import ponder.Device;
import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;

/** An op written outside the engine has what the engine's own have. */
class OwnOpTest {
  private static final float[] POINTS = {-3, -0.5f, 0, 0.25f, 2, 7};

  @Test
  void theEngineIsUsedAsItIsMeantToBe() {
    boolean modules = Boolean.getBoolean("modules");
    assertEquals(modules, Device.class.getModule().isNamed());
    assertEquals(modules, Softplus.class.getModule().isNamed());
  }

  @Test
  void matchesItsDefinitionToTheSecondDerivative() {
    try (Device device = Device.cpu();
        Scope scope = device.open()) {
      Tensor x = scope.tensor(Shape.of(POINTS.length), POINTS);
      Tensor fused = Softplus.softplus(x);
      Tensor plain = new Softplus().definition(x);
      assertArrayEquals(plain.toFloats(), fused.toFloats(), 1e-6f);

      Tensor slope = Gradient.of(fused.sum(), x)[0];
      assertArrayEquals(Gradient.of(plain.sum(), x)[0].toFloats(), slope.toFloats(), 1e-6f);

      Tensor again = Gradient.ofAgain(fused.sum(), x)[0];
      float[] curvature = Gradient.of(again.sum(), x)[0].toFloats();
      for (int i = 0; i < POINTS.length; i++) {
        double s = 1 / (1 + Math.exp(-POINTS[i]));
        assertEquals(s * (1 - s), curvature[i], 1e-6);
      }
    }
  }

  @Test
  void itsWorkIsCounted() {
    try (Device device = Device.cpu();
        Scope scope = device.open()) {
      Tensor x = scope.tensor(Shape.of(POINTS.length), POINTS);
      long before = device.meter().total().flops();
      Tensor y = Softplus.softplus(x);
      assertEquals(before + 3 * POINTS.length, device.meter().total().flops());
      assertEquals(POINTS.length, y.size());
    }
  }
}
