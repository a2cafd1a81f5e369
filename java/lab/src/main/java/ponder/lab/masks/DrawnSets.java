// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.Arrays;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.op.Masking;

/**
 * Sets that the engine's sampler drew from one proposal.
 *
 * @param chosen the sets
 * @param weight of each position of each set
 */
record DrawnSets(int[] chosen, double[][] weight) {
  /** Returns so many draws of a masking from logits of a sentence's positions. */
  static DrawnSets of(
      Device device, Masking.Scheme scheme, Key key, int draws, int k, double... logits) {
    int n = logits.length;
    Masking masking =
        Masking.of(scheme, key, n + 1, n).choosing(k, (double) k / n).drawing(16, 0.1);
    try (Scope scope = device.openUnrecorded()) {
      Shape shape = Shape.of(draws, n);
      int[] tokens = new int[draws * n];
      Arrays.setAll(tokens, i -> i % n);
      Tensor all = scope.tensor(Shape.of(1, n), logits).broadcastTo(shape);
      var masked =
          masking.mask(all, scope.indices(shape, tokens), scope.indices(Shape.of(2), 1, 0));
      double[] weights = masked.weight().toDoubles();
      int[] labels = masked.label().toInts();
      var chosen = new int[draws];
      var weight = new double[draws][n];
      for (int d = 0; d < draws; d++) {
        for (int i = 0; i < n; i++) {
          if (labels[d * n + i] < 0) continue;
          chosen[d] |= 1 << i;
          weight[d][i] = weights[d * n + i];
        }
      }
      return new DrawnSets(chosen, weight);
    }
  }
}
