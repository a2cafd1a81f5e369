// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Tensor;

/**
 * A learned vector for each token.
 *
 * @param weight [vocabulary, width]
 */
public record Embedding(Tensor weight) {
  /** Returns a layer whose weights begin normal with deviation 1. */
  public static Embedding create(Parameters parameters, long vocabulary, long width) {
    return new Embedding(parameters.normal("weight", 1, vocabulary, width));
  }

  /**
   * Returns the tokens' vectors.
   *
   * @param tokens [batch, steps], I32, in [0, vocabulary)
   * @return [batch, steps, width]
   */
  public Tensor apply(Tensor tokens) {
    if (tokens.shape().rank() != 2) {
      throw new IllegalArgumentException(
          "embedding: tokens has shape " + tokens.shape() + ", must be [batch, steps]");
    }
    return weight.gather(tokens);
  }
}
