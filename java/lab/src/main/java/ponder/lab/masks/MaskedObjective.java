// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import ponder.DType;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.Encoder;
import ponder.op.Masking;
import ponder.train.Batch;
import ponder.train.BatchObjective;

/** The mean loss of masked words, as many in each sentence, all sets of them alike. */
final class MaskedObjective implements BatchObjective<Encoder> {
  private final Encoder model;
  private final Corpus corpus;
  private final Key key;
  private final int batch;
  private final int k;
  private final Masking masking;

  /**
   * Makes an objective.
   *
   * @param batch sentences in a step
   * @param k words of each that are masked
   */
  MaskedObjective(Encoder model, Corpus corpus, Key key, int batch, int k) {
    this.model = model;
    this.corpus = corpus;
    this.key = key;
    this.batch = batch;
    this.k = k;
    masking =
        Masking.of(
                Masking.Scheme.CONDITIONAL, key.split("masks"), corpus.vocabulary(), corpus.mask())
            .choosing(k, 0);
  }

  @Override
  public Batch<Encoder> batch(long step) {
    return batch(key.split("train").split(step), step + 1);
  }

  private Batch<Encoder> batch(Key data, long step) {
    return Batch.of(model)
        .with(Shape.of(batch, corpus.length()), corpus.draw(data, batch))
        .with(Shape.of(2), (int) step, (int) (step >>> 32));
  }

  @Override
  public Tensor loss(Encoder model, Tensor... arrays) {
    Tensor tokens = arrays[0];
    Scope scope = tokens.device().scope();
    DType type = model.output().dtype();
    var masked = masking.mask(scope.full(type, tokens.shape(), 0), tokens, arrays[1]);
    Tensor losses = model.losses(masked.corrupted(), masked.label(), null);
    return losses.sum().scale(1.0 / (batch * k));
  }

  @Override
  public double validation(Scope scope) {
    return loss(model, batch(key.split("validation"), 0).of(scope)).item();
  }
}
