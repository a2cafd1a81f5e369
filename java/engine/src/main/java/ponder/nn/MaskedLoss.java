// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Tensor;
import ponder.op.Masking;

/**
 * A masked language model's loss from the losses of masked words and the weights that {@link
 * Masking} gave them. Where words were chosen by a proposal the weights make up for it.
 */
public final class MaskedLoss {
  private MaskedLoss() {}

  /**
   * Returns the mean over rows of an estimate of the mean loss of all words: each masked word counts
   * for 1 / its inclusion probability. It has no bias where a word's loss does not depend on which
   * others are masked. Source: Horvitz, Thompson 1952.
   *
   * @param losses [rows, length], in nats, 0 where no word was masked
   * @param weight of the same shape
   * @return a scalar, in nats
   */
  public static Tensor ofWords(Tensor losses, Tensor weight) {
    return mean(losses, weight, losses.shape().dim(-1));
  }

  /**
   * Returns the mean over rows of the mean loss of the masked words, each row times the weight of
   * its set: {@link Masking.Scheme#CANDIDATES}. It has no bias for the mean over uniform sets.
   *
   * @param losses [rows, length], in nats, 0 where no word was masked
   * @param weight of the same shape
   * @param chosen how many words of a row are masked
   * @return a scalar, in nats
   */
  public static Tensor ofSets(Tensor losses, Tensor weight, long chosen) {
    return mean(losses, weight, chosen);
  }

  private static Tensor mean(Tensor losses, Tensor weight, long words) {
    return losses.mul(weight).sum().scale(1.0 / losses.shape().rows() / words);
  }
}
