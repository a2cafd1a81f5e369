// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.SequenceModel;

/**
 * Sequences of random letters, a mark, and the same letters again, which are to be predicted. There
 * are far too many to be learned by heart.
 */
final class CopyTask implements BatchObjective<SequenceModel> {
  static final int LETTERS = 10;
  static final int VOCABULARY = LETTERS + 1;

  private final SequenceModel model;
  private final Key key;
  private final int batch;
  private final int length;

  /**
   * Makes a task.
   *
   * @param length how many letters are to be repeated
   */
  CopyTask(SequenceModel model, Key key, int batch, int length) {
    this.model = model;
    this.key = key;
    this.batch = batch;
    this.length = length;
  }

  @Override
  public Batch<SequenceModel> batch(long step) {
    return batch(key.split("train").split(step));
  }

  @Override
  public Tensor loss(SequenceModel model, Tensor... arrays) {
    return model.losses(arrays[0], arrays[1]).sum().scale(1.0 / (batch * length));
  }

  @Override
  public double validation(Scope scope) {
    return loss(model, batch(key.split("validation")).of(scope)).item();
  }

  private Batch<SequenceModel> batch(Key data) {
    int[] letters = data.ints(batch * length, LETTERS);
    int steps = 2 * length;
    int[] tokens = new int[batch * steps];
    int[] targets = new int[batch * steps];
    for (int row = 0; row < batch; row++) {
      for (int i = 0; i < length; i++) {
        int letter = letters[row * length + i];
        tokens[row * steps + i] = letter;
        targets[row * steps + i] = -1;
        targets[row * steps + length + i] = letter;
        if (i + 1 < length) {
          tokens[row * steps + length + 1 + i] = letter;
        }
      }
      tokens[row * steps + length] = LETTERS;
    }
    Shape shape = Shape.of(batch, steps);
    return Batch.of(model).with(shape, tokens).with(shape, targets);
  }
}
