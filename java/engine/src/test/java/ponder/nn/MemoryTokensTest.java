// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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

/** What passes from one segment to the next, and what does not. */
class MemoryTokensTest {
  private static final int SEGMENT = 4;
  private static final int VOCABULARY = 7;
  private static final int WIDTH = 8;

  /** Returns a new model of two blocks, two heads. */
  private static MemoryTokens model(Store store, int slots) {
    Parameters parameters = Parameters.of(store, DType.F64, Key.of(1));
    return MemoryTokens.create(parameters, VOCABULARY, 2, WIDTH, Heads.of(2), slots, SEGMENT);
  }

  static List<String> everywhere() {
    return TestDevices.names();
  }

  /** Two sequences that differ in the first segment alone, read to the end of the third. */
  @ParameterizedTest
  @MethodSource("everywhere")
  void aSegmentKnowsTheOnesBeforeByTheirMemoryAlone(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      MemoryTokens model = model(store, 2);
      int[] tokens = Nets.tokens(3, 2, 3 * SEGMENT, VOCABULARY);
      for (int i = 0; i < 3 * SEGMENT; i++) {
        int other = (tokens[i] + 1) % VOCABULARY;
        tokens[3 * SEGMENT + i] = i < SEGMENT ? other : tokens[i];
      }
      Tensor both = scope.indices(Shape.of(2, 3 * SEGMENT), tokens);
      assertFalse(Arrays.equals(third(model, both, 0), third(model, both, 1)));
      assertArrayEquals(
          third(model.withoutMemory(), both, 0), third(model.withoutMemory(), both, 1));
    }
  }

  private static double[] third(MemoryTokens model, Tensor tokens, int sequence) {
    Tensor hidden = model.read(tokens, Memory.EMPTY).hidden();
    return hidden.slice(0, sequence, 1).slice(1, 2 * SEGMENT, SEGMENT).toDoubles();
  }

  /** The first segment alone is what the decoder makes of the first memory and the tokens. */
  @ParameterizedTest
  @MethodSource("everywhere")
  void theFirstSegmentIsReadBehindTheFirstMemory(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      MemoryTokens model = model(store, 3);
      Tensor tokens = scope.indices(Shape.of(1, SEGMENT), Nets.tokens(3, 1, SEGMENT, VOCABULARY));
      Tensor x = model.decoder().embedding().apply(tokens);
      Tensor whole = model.first().reshape(1, 3, WIDTH).concat(x, 1);
      Tensor top = model.decoder().through(whole, 0, List.of(), new ArrayList<>());
      assertArrayEquals(
          model.decoder().norm().apply(top).slice(1, 3, SEGMENT).toDoubles(),
          model.read(tokens, Memory.EMPTY).hidden().toDoubles(),
          1e-12);
    }
  }
}
