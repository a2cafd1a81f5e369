// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;

/** The chunked form of whole models against the recurrent one. */
class FastWeightsModelTest {
  private static final int BATCH = 2;
  private static final int STEPS = 67;
  private static final int VOCABULARY = 11;

  @ParameterizedTest
  @EnumSource(FastWeightsBlock.Rule.class)
  void theChunkedFormIsTheRecurrentOne(FastWeightsBlock.Rule rule) {
    for (String name : TestDevices.names()) {
      try (Device device = TestDevices.open(name);
          Store store = device.store();
          Scope scope = device.open()) {
        var model =
            FastWeightsModel.create(
                Parameters.of(store, DType.F64, Key.of(1)), rule, VOCABULARY, 2, 24, 2);
        int[] numbers = Nets.tokens(3, BATCH, STEPS, VOCABULARY);
        Tensor tokens = scope.indices(Shape.of(BATCH, STEPS), numbers);
        Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
        SequenceModel.Reading one = model.read(tokens, Memory.EMPTY);
        Tensor[] slopes = Gradient.of(cubes(one), xs);
        for (long chunk : new long[] {1, 7, 16, STEPS}) {
          SequenceModel.Reading other = model.chunk(chunk).read(tokens, Memory.EMPTY);
          near(one.hidden(), other.hidden(), 1e-12);
          for (int i = 0; i < 2; i++) {
            near(one.memory().tensors().get(i), other.memory().tensors().get(i), 1e-12);
          }
          Tensor[] others = Gradient.of(cubes(other), xs);
          for (int i = 0; i < xs.length; i++) near(slopes[i], others[i], 1e-11);
        }
      }
    }
  }

  /** Of everything that a reading gives. */
  private static Tensor cubes(SequenceModel.Reading reading) {
    Tensor sum = reading.hidden().mul(reading.hidden()).mul(reading.hidden()).sum();
    for (Tensor state : reading.memory().tensors()) sum = sum.add(state.mul(state).sum());
    return sum;
  }

  private static void near(Tensor want, Tensor got, double limit) {
    double[] values = want.toDoubles();
    double largest = 1;
    for (double value : values) largest = Math.max(largest, Math.abs(value));
    assertArrayEquals(values, got.toDoubles(), limit * largest);
  }

  @ParameterizedTest
  @EnumSource(FastWeightsBlock.Rule.class)
  void refusesHeadsThatDoNotDivideTheWidth(FastWeightsBlock.Rule rule) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      String message =
          assertThrows(
                  IllegalArgumentException.class,
                  () ->
                      FastWeightsModel.create(
                          Parameters.of(store, Key.of(1)), rule, VOCABULARY, 1, 10, 3))
              .getMessage();
      assertEquals("fast weights: width 10 must be a multiple of the heads, 3", message);
    }
  }
}
