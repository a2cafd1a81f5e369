// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.BitSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Key;

class ShuffleTest {
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 7, 17, 64, 65, 301, 4_097, 100_003})
  void anOrderHasEachNumberOnce(long size) {
    BitSet seen = new BitSet();
    Shuffle shuffle = new Shuffle(size, Key.of(11));
    for (long i = 0; i < size; i++) {
      long value = shuffle.at(i);
      assertTrue(value >= 0 && value < size);
      seen.set((int) value);
    }
    assertEquals(size, seen.cardinality());
    assertThrows(IndexOutOfBoundsException.class, () -> shuffle.at(size));
    assertThrows(IndexOutOfBoundsException.class, () -> shuffle.at(-1));
  }

  @Test
  void anOrderLooksRandomAndDependsOnItsSeed() {
    int size = 10_000;
    Shuffle shuffle = new Shuffle(size, Key.of(1));
    Shuffle other = new Shuffle(size, Key.of(2));
    double products = 0;
    int equal = 0;
    for (int i = 0; i < size; i++) {
      products += (i / (double) size - 0.5) * (shuffle.at(i) / (double) size - 0.5);
      equal += shuffle.at(i) == other.at(i) ? 1 : 0;
    }
    // The correlation of place and number; 4 standard errors.
    assertEquals(0, 12 * products / size, 4 / Math.sqrt(size));
    assertTrue(equal < 10, equal + " places agree");
  }
}
