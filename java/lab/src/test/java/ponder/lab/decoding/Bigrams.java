// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import java.util.Arrays;
import java.util.List;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.nn.Memory;
import ponder.nn.SequenceModel;

/** A model whose next token depends on the last one alone, by a table of log-probabilities. */
record Bigrams(Tensor logits, Tensor output) implements SequenceModel {
  @Override
  public Reading read(Tensor tokens, Memory memory) {
    long[] dims = tokens.shape().dims();
    Tensor hidden = logits.gather(tokens.reshape(tokens.size()));
    return new Reading(
        hidden.reshape(dims[0], dims[1], hidden.shape().dim(1)),
        new Memory(memory.steps() + dims[1], List.of()));
  }

  /** Returns a model of these probabilities [last token, next token], new in a store. */
  static Bigrams of(Store store, double[]... probabilities) {
    int n = probabilities.length;
    float[] logits = new float[n * n];
    float[] identity = new float[n * n];
    for (int i = 0; i < n; i++) {
      identity[i * n + i] = 1;
      for (int j = 0; j < n; j++) {
        logits[i * n + j] = (float) Math.max(-1e4, Math.log(probabilities[i][j]));
      }
    }
    int tables = store.names().size();
    try (Scope scope = store.device().open()) {
      return new Bigrams(
          store.add("logits" + tables, scope.tensor(Shape.of(n, n), logits)),
          store.add("output" + tables, scope.tensor(Shape.of(n, n), identity)));
    }
  }

  /** Returns a model of four tokens. */
  static Bigrams usual(Store store) {
    return Bigrams.of(
        store,
        new double[] {0, 0.5, 0.2, 0.3},
        new double[] {0.1, 0, 0.8, 0.1},
        new double[] {0.2, 0.2, 0, 0.6},
        new double[] {0.25, 0.25, 0.25, 0.25});
  }

  /** Returns a table of random probabilities, none of them 0. */
  static Bigrams random(Store store, long seed, int n) {
    double[][] rows = new double[n][];
    for (int i = 0; i < n; i++) {
      double[] row = Key.of(seed).split(i).uniformDoubles(n);
      double sum = Arrays.stream(row).sum();
      rows[i] = Arrays.stream(row).map(v -> v / sum).toArray();
    }
    return Bigrams.of(store, rows);
  }
}
