// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;

class KeyTest {
  private static int[] block(int c0, int c1, int c2, int c3, int k0, int k1) {
    int[] words = new int[4];
    Philox.block(words, c0, c1, c2, c3, (k0 & 0xFFFFFFFFL) | (long) k1 << 32);
    return words;
  }

  /** The known answers published with Random123. */
  @Test
  void philoxGivesThePublishedWords() {
    assertArrayEquals(
        new int[] {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, block(0, 0, 0, 0, 0, 0));
    assertArrayEquals(
        new int[] {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, block(-1, -1, -1, -1, -1, -1));
    assertArrayEquals(
        new int[] {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
        block(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0));
  }

  @Test
  void uniformNumbersAreTheWordsOfTheStream() {
    float[] f = new Key(0).uniformFloats(5);
    assertEquals((0x6627e8d5 >>> 8) * 0x1p-24f, f[0]);
    assertEquals((0x9b00dbd8 >>> 8) * 0x1p-24f, f[3]);
    double[] d = new Key(0).uniformDoubles(3);
    assertEquals(((0x6627e8d5L << 21) + (0xe169c58dL >>> 11)) * 0x1p-53, d[0]);
    assertEquals(((0xbc57ac4cL << 21) + (0x9b00dbd8L >>> 11)) * 0x1p-53, d[1]);
    assertEquals((block(1, 0, 0, 0, 0, 0)[0] >>> 8) * 0x1p-24f, f[4]);
  }

  @Test
  void aSplitIsAValueAndDependsOnEverything() {
    Key key = Key.of(7);
    assertEquals(key.split("layer0"), Key.of(7).split("layer0"));
    assertEquals(key.split(3), Key.of(7).split(3));
    Set<Key> seen = new HashSet<>();
    seen.add(key);
    for (String name : new String[] {"", "a", "b", "ab", "ba", "a\0", "12345678", "123456789"}) {
      assertTrue(seen.add(key.split(name)), name);
      assertTrue(seen.add(Key.of(8).split(name)), name);
    }
    for (long i : new long[] {0, 1, -1, 1L << 32, 97}) {
      assertTrue(seen.add(key.split(i)), "" + i);
    }
    assertTrue(seen.add(key.split("a").split("b")));
    assertTrue(seen.add(key.split("b").split("a")));
  }

  /** Fixed for ever: what was published must be reproducible. */
  @Test
  void splitsKeepTheirValues() {
    assertEquals(0x824c274be6a8aaf1L, Key.of(7).split("layer0").value());
    assertEquals(0x020287a5722801c3L, Key.of(7).split(3).value());
    assertEquals(0x4a36528e263fc47eL, Key.of(7).split("").value());
  }

  @Test
  void uniformNumbersAreUniform() {
    int n = 200_000;
    double[] d = Key.of(1).split("uniform").uniformDoubles(n);
    int[] bins = new int[10];
    for (double u : d) {
      assertTrue(u >= 0 && u < 1);
      bins[(int) (10 * u)]++;
    }
    assertTrue(chiSquare(bins, n) < 27.9, Arrays.toString(bins));
  }

  @Test
  void boundedNumbersAreUniform() {
    int n = 210_000;
    int[] bins = new int[7];
    for (int i : Key.of(2).ints(n, 7)) {
      bins[i]++;
    }
    assertTrue(chiSquare(bins, n) < 22.5, Arrays.toString(bins));
    // 2^32 words on 3 * 2^29 numbers: without a second draw every third number is rarer.
    int[] thirds = new int[3];
    int bound = 3 << 29;
    for (int i : Key.of(3).ints(n, bound)) {
      assertTrue(i >= 0 && i < bound);
      thirds[i % 3]++;
    }
    assertTrue(chiSquare(thirds, n) < 13.8, Arrays.toString(thirds));
    assertThrows(IllegalArgumentException.class, () -> Key.of(3).ints(1, 0));
  }

  @Test
  void permutationsHoldEveryNumberAndAreUniform() {
    int[] bins = new int[6];
    for (int i = 0; i < 60_000; i++) {
      int[] p = Key.of(4).split(i).permutation(3);
      int[] sorted = p.clone();
      Arrays.sort(sorted);
      assertArrayEquals(new int[] {0, 1, 2}, sorted);
      bins[2 * p[0] + (p[1] > p[2] ? 1 : 0)]++;
    }
    assertTrue(chiSquare(bins, 60_000) < 20.5, Arrays.toString(bins));
  }

  /** The limits are the 0.999 quantiles for the number of bins used above. */
  private static double chiSquare(int[] bins, int n) {
    double expected = (double) n / bins.length;
    return Arrays.stream(bins).mapToDouble(b -> (b - expected) * (b - expected) / expected).sum();
  }

  @Test
  void normalNumbersHaveTheMomentsOfTheNormalDistribution() {
    int n = 200_001;
    double[] x = Key.of(5).normalDoubles(n);
    double mean = Arrays.stream(x).sum() / n;
    double variance = Arrays.stream(x).map(v -> v * v).sum() / n;
    double fourth = Arrays.stream(x).map(v -> v * v * v * v).sum() / n;
    assertEquals(0, mean, 4 / Math.sqrt(n));
    assertEquals(1, variance, 4 * Math.sqrt(2.0 / n));
    assertEquals(3, fourth, 4 * Math.sqrt(96.0 / n));
    float[] narrow = Key.of(5).normalFloats(3);
    assertEquals((float) x[2], narrow[2]);
  }

  @Test
  void aGeneratorGivesTheStreamsWords() {
    RandomGenerator generator = new Key(0).generator();
    assertEquals(0xe169c58d_6627e8d5L, generator.nextLong());
    assertEquals(0x9b00dbd8_bc57ac4cL, generator.nextLong());
  }
}
