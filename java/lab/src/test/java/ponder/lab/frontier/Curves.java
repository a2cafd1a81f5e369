// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import java.util.Arrays;

/** Makes curves of one seed. */
final class Curves {
  private Curves() {}

  /**
   * Returns a curve whose seconds are a tenth of its test FLOPs.
   *
   * @param right [spend], how many of the queries are answered right, the first ones
   */
  static Curve of(
      String model,
      String method,
      double fraction,
      double trainFlops,
      double[] testFlops,
      int queries,
      int... right) {
    int n = testFlops.length;
    int[] spend = new int[n];
    boolean[][] answers = new boolean[n][queries];
    for (int i = 0; i < n; i++) {
      spend[i] = i + 1;
      Arrays.fill(answers[i], 0, right[i], true);
    }
    double[] seconds = Arrays.stream(testFlops).map(flops -> flops / 10).toArray();
    return new Curve(
        model,
        method,
        fraction,
        trainFlops,
        spend,
        testFlops,
        seconds,
        new boolean[][][] {answers});
  }
}
