// SPDX-License-Identifier: Apache-2.0
package ponder;

/**
 * The random function behind every random number: Philox4x32-10, which maps a counter of four
 * words and a key of two to four words. Source: Salmon, Moraes, Dror, Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011.
 */
final class Philox {
  private static final long M0 = 0xD2511F53L;
  private static final long M1 = 0xCD9E8D57L;
  private static final int W0 = 0x9E3779B9;
  private static final int W1 = 0xBB67AE85;

  private Philox() {}

  /** Writes the four words of a counter under a key. */
  static void block(int[] words, int c0, int c1, int c2, int c3, long key) {
    int k0 = (int) key;
    int k1 = (int) (key >>> 32);
    for (int round = 0; round < 10; round++) {
      long p0 = M0 * (c0 & 0xFFFFFFFFL);
      long p1 = M1 * (c2 & 0xFFFFFFFFL);
      c0 = (int) (p1 >>> 32) ^ c1 ^ k0;
      c1 = (int) p1;
      c2 = (int) (p0 >>> 32) ^ c3 ^ k1;
      c3 = (int) p0;
      k0 += W0;
      k1 += W1;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
  }

  /** The words of a key in order: those of {@code pnd_philox} with first, row and step 0. */
  static final class Stream {
    private final long key;
    private final int[] words = new int[4];
    private long next;

    Stream(long key) {
      this.key = key;
    }

    int word() {
      int w = (int) (next & 3);
      if (w == 0) {
        long block = next >>> 2;
        // Past 2^32 blocks, which pnd_philox does not reach, the row counts on.
        block(words, (int) block, (int) (block >>> 32), 0, 0, key);
      }
      next++;
      return words[w];
    }

    float uniformFloat() {
      return (word() >>> 8) * 0x1p-24f;
    }

    double uniformDouble() {
      long high = word() & 0xFFFFFFFFL;
      long low = word() & 0xFFFFFFFFL;
      return ((high << 21) + (low >>> 11)) * 0x1p-53;
    }

    /** Lemire's method: multiply, and draw again where the low half shows a bias. */
    int below(int bound) {
      long product = (word() & 0xFFFFFFFFL) * bound;
      if ((product & 0xFFFFFFFFL) < bound) {
        long uneven = 0x100000000L % bound;
        while ((product & 0xFFFFFFFFL) < uneven) {
          product = (word() & 0xFFFFFFFFL) * bound;
        }
      }
      return (int) (product >>> 32);
    }
  }
}
