// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.SequenceModel;

/** Bits, and after each whether the ones so far are odd. */
final class ParityTask implements BatchObjective<SequenceModel> {
  static final int VOCABULARY = 2;

  private final SequenceModel model;
  private final Key key;
  private final int batch;
  private final int steps;

  ParityTask(SequenceModel model, Key key, int batch, int steps) {
    this.model = model;
    this.key = key;
    this.batch = batch;
    this.steps = steps;
  }

  @Override
  public Batch<SequenceModel> batch(long step) {
    return batch(key.split("train").split(step), steps);
  }

  @Override
  public Tensor loss(SequenceModel model, Tensor... arrays) {
    return model.losses(arrays[0], arrays[1]).mean();
  }

  @Override
  public double validation(Scope scope) {
    return validation(scope, steps);
  }

  /** Returns the loss on sequences of so many bits, in nats a bit. */
  double validation(Scope scope, int steps) {
    return loss(model, batch(key.split("validation"), steps).of(scope)).item();
  }

  private Batch<SequenceModel> batch(Key data, int steps) {
    int[] bits = data.ints(batch * steps, 2);
    int[] odd = new int[bits.length];
    for (int i = 0; i < bits.length; i++) {
      odd[i] = i % steps == 0 ? bits[i] : odd[i - 1] ^ bits[i];
    }
    Shape shape = Shape.of(batch, steps);
    return Batch.of(model).with(shape, bits).with(shape, odd);
  }
}
