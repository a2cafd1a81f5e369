// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Set;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Shape;
import ponder.Store;
import ponder.TestDevices;

/** Names, initial values and counts of parameters. */
class ParametersTest {
  private static final Key KEY = Key.of(42);

  @Test
  void initialValuesDependOnKeyAndNameAlone() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store small = device.store();
        Store large = device.store();
        Store other = device.store()) {
      Transformer.create(Parameters.of(small, KEY), 5, 1, 8, 2);
      Parameters.of(large, KEY).normal("first", 1, 100);
      Transformer.create(Parameters.of(large, KEY), 5, 3, 8, 2);
      Transformer.create(Parameters.of(other, Key.of(43)), 5, 1, 8, 2);
      assertTrue(large.names().containsAll(small.names()));
      for (String name : small.names()) {
        float[] values = small.get(name).toFloats();
        boolean scaledWithDepth = name.endsWith("mix.weight") || name.endsWith("narrow.weight");
        if (!scaledWithDepth) {
          assertArrayEquals(values, large.get(name).toFloats(), name);
        }
        if (!name.endsWith("gain")) {
          assertFalse(Arrays.equals(values, other.get(name).toFloats()), name);
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Nets.class)
  void noTwoParametersBeginEqual(Nets net) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      net.create(Parameters.of(store, KEY), 6);
      for (String a : store.names()) {
        for (String b : store.names()) {
          boolean constant = a.endsWith("gain") || a.endsWith("ias") || a.endsWith("initial");
          if (!a.equals(b) && !constant) {
            assertFalse(
                Arrays.equals(store.get(a).toFloats(), store.get(b).toFloats()), a + " and " + b);
          }
        }
      }
    }
  }

  @Test
  void normalValuesHaveTheDeviationAskedFor() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      Linear layer = Linear.create(Parameters.of(store, KEY).in("a").in("b"), 64, 160, 3);
      assertEquals(Set.of("a.b.weight"), store.names());
      assertEquals(Shape.of(64, 160), layer.weight().shape());
      double[] values = layer.weight().toDoubles();
      int n = values.length;
      double mean = Arrays.stream(values).average().orElseThrow();
      double variance = Arrays.stream(values).map(v -> v * v).average().orElseThrow();
      double wanted = 9.0 / 64;
      // Four standard errors of the mean and of the mean square.
      assertEquals(0, mean, 4 * Math.sqrt(wanted / n));
      assertEquals(wanted, variance, 4 * wanted * Math.sqrt(2.0 / n));
    }
  }

  @Test
  void singleValuesAreTheDoubleOnesRounded() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store single = device.store();
        Store wide = device.store()) {
      Nets.GRU.create(Parameters.of(single, KEY), 6);
      Nets.GRU.create(Parameters.of(wide, DType.F64, KEY), 6);
      assertEquals(single.names(), wide.names());
      for (String name : single.names()) {
        double[] values = wide.get(name).toDoubles();
        float[] rounded = new float[values.length];
        for (int i = 0; i < values.length; i++) {
          rounded[i] = (float) values[i];
        }
        assertArrayEquals(rounded, single.get(name).toFloats(), name);
      }
    }
  }

  @Test
  void refusesEqualNamesAndIndices() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      Parameters parameters = Parameters.of(store, KEY);
      parameters.full("a", 1, 2);
      assertThrows(IllegalArgumentException.class, () -> parameters.normal("a", 1, 3));
      assertThrows(IllegalArgumentException.class, () -> Parameters.of(store, DType.I32, KEY));
      assertThrows(
          IllegalArgumentException.class, () -> Transformer.create(parameters, 5, 1, 12, 4));
      assertEquals(Set.of("a"), store.names());
    }
  }

  @ParameterizedTest
  @CsvSource({
    // 2 v w for embedding and output, 12 w^2 + 2 w for each block, w for the last gain
    "11, 1, 8, 2, 968",
    "300, 2, 64, 2, 137024",
    "301, 3, 128, 4, 667776",
  })
  void aTransformerHasSoManyParameters(
      long vocabulary, int layers, long width, long heads, long count) {
    assertEquals(count, count(p -> Transformer.create(p, vocabulary, layers, width, heads)));
  }

  @ParameterizedTest
  @CsvSource({
    // 2 v w for embedding and output, 6 w^2 + 7 w for each layer
    "11, 1, 8, 616",
    "301, 2, 192, 560640",
  })
  void aGruHasSoManyParameters(long vocabulary, int layers, long width, long count) {
    assertEquals(count, count(p -> GruModel.create(p, vocabulary, layers, width)));
  }

  @ParameterizedTest
  @CsvSource({
    // 2 v w for embedding and output, 8 w^2 + 6 w for each layer
    "11, 1, 8, 736",
    "301, 2, 160, 507840",
  })
  void anLstmHasSoManyParameters(long vocabulary, int layers, long width, long count) {
    assertEquals(count, count(p -> LstmModel.create(p, vocabulary, layers, width)));
  }

  private static long count(Consumer<Parameters> model) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      model.accept(Parameters.of(store, KEY));
      return store.size();
    }
  }
}
