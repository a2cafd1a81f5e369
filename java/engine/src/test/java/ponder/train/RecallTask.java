// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.util.Arrays;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.SequenceModel;

/**
 * Pairs of a name and a letter, then every name again in another order, after each of which its
 * letter is to be predicted: k1 v1 k2 v2 ... k2 v2 k1 v1 ... Source: Arora et al., arXiv:2312.04927.
 */
final class RecallTask implements BatchObjective<SequenceModel> {
  static final int LETTERS = 8;
  private static final int NAMES = 16;
  static final int VOCABULARY = NAMES + LETTERS;

  private final SequenceModel model;
  private final Key key;
  private final int batch;
  private final int pairs;

  /**
   * Makes a task.
   *
   * @param pairs in each sequence, at most 16
   */
  RecallTask(SequenceModel model, Key key, int batch, int pairs) {
    this.model = model;
    this.key = key;
    this.batch = batch;
    this.pairs = pairs;
  }

  @Override
  public Batch<SequenceModel> batch(long step) {
    return batch(key.split("train").split(step));
  }

  @Override
  public Tensor loss(SequenceModel model, Tensor... arrays) {
    return model.losses(arrays[0], arrays[1]).sum().scale(1.0 / (batch * pairs));
  }

  @Override
  public double validation(Scope scope) {
    return validation(model, scope);
  }

  /** Returns the loss of another model on the same sequences, in nats a letter. */
  double validation(SequenceModel model, Scope scope) {
    return loss(model, batch(key.split("validation")).of(scope)).item();
  }

  private Batch<SequenceModel> batch(Key data) {
    int steps = 4 * pairs;
    int[] letters = data.split("letters").ints(batch * pairs, LETTERS);
    int[] draws = data.split("names").ints(2 * batch * NAMES, 1 << 20);
    int[] tokens = new int[batch * steps];
    int[] targets = new int[batch * steps];
    Arrays.fill(targets, -1);
    for (int row = 0; row < batch; row++) {
      int[] names = shuffled(NAMES, draws, 2 * row * NAMES);
      int[] order = shuffled(pairs, draws, (2 * row + 1) * NAMES);
      for (int i = 0; i < pairs; i++) {
        put(tokens, row * steps + 2 * i, names[i], NAMES + letters[row * pairs + i]);
        int at = row * steps + 2 * (pairs + i);
        put(tokens, at, names[order[i]], NAMES + letters[row * pairs + order[i]]);
        targets[at] = tokens[at + 1];
      }
    }
    Shape shape = Shape.of(batch, steps);
    return Batch.of(model).with(shape, tokens).with(shape, targets);
  }

  private static void put(int[] tokens, int at, int name, int letter) {
    tokens[at] = name;
    tokens[at + 1] = letter;
  }

  /** Returns the numbers below n in a random order. */
  private static int[] shuffled(int n, int[] draws, int from) {
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      int other = draws[from + i] % (i + 1);
      order[i] = order[other];
      order[other] = i;
    }
    return order;
  }
}
