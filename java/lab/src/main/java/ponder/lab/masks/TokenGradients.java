// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.Arrays;
import ponder.Device;
import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.nn.Encoder;

/**
 * The gradients of one sentence's losses by all parameters, for every set of positions that may be
 * masked: one gradient for each masked word of each set. They are taken in double and kept in float;
 * what is computed from them takes the kept ones for exact.
 */
final class TokenGradients {
  private final int length;
  private final float[][][] of;
  private final int size;

  private TokenGradients(int length, float[][][] of, int size) {
    this.length = length;
    this.of = of;
    this.size = size;
  }

  /** Returns the gradients of a sentence. Its masked words all become the mask token. */
  static TokenGradients of(Device device, Store store, Encoder model, int mask, int... sentence) {
    int n = sentence.length;
    Tensor[] parameters = store.names().stream().map(store::get).toArray(Tensor[]::new);
    int size = (int) Arrays.stream(parameters).mapToLong(Tensor::size).sum();
    var of = new float[1 << n][][];
    of[0] = new float[0][];
    for (int set = 1; set < 1 << n; set++) {
      int[] places = Subsets.positions(set);
      of[set] = new float[places.length][];
      int[] tokens = sentence.clone();
      int[] targets = new int[n];
      Arrays.fill(targets, -1);
      for (int place : places) {
        tokens[place] = mask;
        targets[place] = sentence[place];
      }
      Shape shape = Shape.of(1, n);
      try (Scope scope = device.open()) {
        Tensor losses =
            model.losses(scope.indices(shape, tokens), scope.indices(shape, targets), null);
        for (int j = 0; j < places.length; j++) {
          Tensor one = losses.slice(1, places[j], 1).sum();
          of[set][j] = joined(Gradient.of(one, parameters), size);
        }
      }
    }
    return new TokenGradients(n, of, size);
  }

  private static float[] joined(Tensor[] parts, int size) {
    var all = new float[size];
    int at = 0;
    for (Tensor part : parts) {
      for (double value : part.toDoubles()) all[at++] = (float) value;
    }
    return all;
  }

  /** Returns how many words the sentence has. */
  int length() {
    return length;
  }

  /** Returns how many numbers a gradient has. */
  int size() {
    return size;
  }

  /** Returns the sum over the words of a masked set of their gradients times their weights. */
  double[] sum(int set, double... weight) {
    var sum = new double[size];
    int[] places = Subsets.positions(set);
    for (int j = 0; j < places.length; j++) {
      float[] g = of[set][j];
      double w = weight[places[j]];
      for (int i = 0; i < size; i++) sum[i] += w * g[i];
    }
    return sum;
  }

  /** Returns the gradient of the mean loss of a masked set. */
  double[] mean(int set) {
    var weight = new double[length];
    Arrays.fill(weight, 1.0 / Integer.bitCount(set));
    return sum(set, weight);
  }

  /** Returns for each position the mean norm of its gradient over the sets that hold it. */
  double[] norms(int... sets) {
    var sum = new double[length];
    var count = new int[length];
    for (int set : sets) {
      int[] places = Subsets.positions(set);
      for (int j = 0; j < places.length; j++) {
        double square = 0;
        for (float value : of[set][j]) square += (double) value * value;
        sum[places[j]] += Math.sqrt(square);
        count[places[j]]++;
      }
    }
    for (int i = 0; i < length; i++) sum[i] /= count[i];
    return sum;
  }

  /** Returns the squared norm. */
  static double square(double[] x) {
    double sum = 0;
    for (double value : x) sum += value * value;
    return sum;
  }
}
