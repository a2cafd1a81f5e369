// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.Work;

/** Models whose products, attention and scans are in BF16, beside the same models in F32. */
class PrecisionTest {
  private static final int BATCH = 3;
  private static final int STEPS = 17;
  private static final int VOCABULARY = 13;
  private static final int[] TOKENS = Nets.tokens(5, BATCH, STEPS, VOCABULARY);

  // Shares of the norm, as for the recurrent kernels in bf16.
  private static final double FORWARD = 1e-2;
  private static final double BACKWARD = 2e-2;

  /** Returns the losses, then the derivative by each parameter. */
  private static double[][] run(Device device, Nets net, DType products) {
    try (Store store = device.store();
        Scope scope = device.open()) {
      Parameters parameters = Parameters.of(store, Key.of(1)).withProducts(products);
      SequenceModel model = net.create(parameters, VOCABULARY);
      Tensor tokens = scope.indices(Shape.of(BATCH, STEPS), TOKENS);
      Tensor losses = model.losses(tokens, tokens);
      Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
      Tensor[] gradients = Gradient.of(losses, xs);
      double[][] all = new double[1 + xs.length][];
      all[0] = losses.toDoubles();
      for (int i = 0; i < xs.length; i++) {
        assertEquals(DType.F32, gradients[i].dtype());
        all[1 + i] = gradients[i].toDoubles();
      }
      return all;
    }
  }

  @ParameterizedTest
  @MethodSource("ponder.nn.Nets#everywhere")
  void roundingCountsBytesAndNoFlops(String name, Nets net) {
    try (Device device = TestDevices.open(name)) {
      Work begin = device.meter().total();
      run(device, net, DType.F32);
      Work exact = device.meter().since(begin);
      begin = device.meter().total();
      run(device, net, DType.BF16);
      Work half = device.meter().since(begin);
      assertEquals(exact.flops(), half.flops());
      assertEquals(exact.matrixFlops(), half.matrixFlops());
      assertNotEquals(exact.bytes(), half.bytes());
    }
  }

  private static double share(double[] exact, double[] other) {
    double distance = 0;
    double norm = 0;
    for (int i = 0; i < exact.length; i++) {
      distance += (other[i] - exact[i]) * (other[i] - exact[i]);
      norm += exact[i] * exact[i];
    }
    return Math.sqrt(distance / norm);
  }

  @ParameterizedTest
  @MethodSource("ponder.nn.Nets#everywhere")
  void lossesAndGradientsAreNearThoseOfF32(String name, Nets net) {
    try (Device device = TestDevices.open(name)) {
      double[][] exact = run(device, net, DType.F32);
      double[][] half = run(device, net, DType.BF16);
      double losses = share(exact[0], half[0]);
      assertTrue(losses <= FORWARD, "losses: " + losses);
      assertTrue(losses > 0, "nothing was computed in BF16");
      for (int i = 1; i < exact.length; i++) {
        double gradient = share(exact[i], half[i]);
        assertTrue(gradient <= BACKWARD, "gradient " + i + ": " + gradient);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("ponder.nn.Nets#everywhere")
  void readsStepByStepAboutWhatItReadsWhole(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      Parameters parameters = Parameters.of(store, Key.of(1)).withProducts(DType.BF16);
      SequenceModel model = net.create(parameters, VOCABULARY);
      Tensor all = Nets.columns(scope, TOKENS, BATCH, 0, STEPS);
      double[] whole = model.read(all, Memory.EMPTY).hidden().toDoubles();
      Memory memory = Memory.EMPTY;
      Tensor hidden = null;
      for (int i = 0; i < STEPS; i++) {
        Tensor step = Nets.columns(scope, TOKENS, BATCH, i, i + 1);
        SequenceModel.Reading reading = model.read(step, memory);
        hidden = hidden == null ? reading.hidden() : hidden.concat(reading.hidden(), 1);
        memory = reading.memory();
      }
      assertTrue(share(whole, hidden.toDoubles()) <= FORWARD, Arrays.toString(whole));
    }
  }

  @Test
  void productsAreOfTheParametersTypeOrBf16OverF32() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      Parameters single = Parameters.of(store, Key.of(1));
      Parameters wide = Parameters.of(store, DType.F64, Key.of(1));
      assertEquals(DType.F32, single.products());
      assertEquals(DType.F64, wide.in("a").products());
      assertEquals(DType.BF16, single.withProducts(DType.BF16).in("a").products());
      assertThrows(IllegalArgumentException.class, () -> single.withProducts(DType.F64));
      assertThrows(IllegalArgumentException.class, () -> single.withProducts(DType.I32));
      assertThrows(IllegalArgumentException.class, () -> wide.withProducts(DType.BF16));
    }
  }
}
