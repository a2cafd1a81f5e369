// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Objects;
import ponder.Key;

/**
 * The numbers 0 to size - 1 in a random order that takes no memory: a Feistel network of four
 * rounds permutes the smallest square power of two that holds them, and what falls outside is
 * permuted again. Source: Black, Rogaway, CT-RSA 2002 (cycle walking).
 */
final class Shuffle {
  private static final int ROUNDS = 4;

  private final long size;
  private final Key[] keys = new Key[ROUNDS];
  private final int halfBits;
  private final long halfMask;

  Shuffle(long size, Key key) {
    this.size = size;
    for (int round = 0; round < ROUNDS; round++) {
      keys[round] = key.split(round);
    }
    int bits = Math.max(2, Long.SIZE - Long.numberOfLeadingZeros(Math.max(0, size - 1)));
    halfBits = (bits + 1) / 2;
    halfMask = (1L << halfBits) - 1;
  }

  long size() {
    return size;
  }

  /** Returns the number at a place of the order. */
  long at(long place) {
    long value = Objects.checkIndex(place, size);
    do {
      long left = value >>> halfBits;
      long right = value & halfMask;
      for (Key key : keys) {
        long next = left ^ key.split(right).value() & halfMask;
        left = right;
        right = next;
      }
      value = left << halfBits | right;
    } while (value >= size);
    return value;
  }
}
