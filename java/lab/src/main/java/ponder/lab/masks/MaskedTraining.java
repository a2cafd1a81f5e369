// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import ponder.Key;
import ponder.Store;
import ponder.nn.Encoder;
import ponder.optim.AdamW;
import ponder.train.Schedule;
import ponder.train.Trainer;

/** The training of an encoder on uniform masks. */
public final class MaskedTraining {
  private static final int BATCH = 64;

  private MaskedTraining() {}

  /**
   * Trains a model and returns its loss on sentences kept for validation, in nats a masked word.
   *
   * @param store holds the model's parameters
   * @param masked words of a sentence that are masked
   * @param flops the training FLOPs
   */
  public static double train(
      Store store, Encoder model, Corpus corpus, Key key, int masked, long flops) {
    var objective = new MaskedObjective(model, corpus, key, BATCH, masked);
    var trainer = new Trainer(AdamW.usual(), new Schedule(6e-3, 0.05, 0.1), 1, 4);
    return trainer.run(store, objective, flops, step -> {}).bestValidation();
  }
}
