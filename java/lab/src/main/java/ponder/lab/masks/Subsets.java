// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.stream.IntStream;

/** Sets of positions as bits: position i is in the set if bit i is. */
final class Subsets {
  private Subsets() {}

  /** Returns all sets of so many of n positions, upwards. */
  static int[] ofSize(int n, int size) {
    return IntStream.range(0, 1 << n).filter(set -> Integer.bitCount(set) == size).toArray();
  }

  /** Returns the positions of a set, upwards. */
  static int[] positions(int set) {
    return IntStream.range(0, Integer.SIZE).filter(i -> holds(set, i)).toArray();
  }

  static boolean holds(int set, int position) {
    return (set >> position & 1) != 0;
  }

  /** Returns the sum over all sets of so many weights of the product of their weights. */
  static double symmetric(double[] weight, int size) {
    var sums = new double[size + 1];
    sums[0] = 1;
    for (double w : weight) {
      for (int j = size; j > 0; j--) sums[j] += w * sums[j - 1];
    }
    return sums[size];
  }

  /** Returns the product of a set's weights. */
  static double product(double[] weight, int set) {
    double product = 1;
    for (int i : positions(set)) product *= weight[i];
    return product;
  }
}
