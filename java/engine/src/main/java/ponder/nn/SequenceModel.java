// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Tensor;
import ponder.op.CrossEntropy;

/**
 * A causal model of the next token. The same function reads a whole sequence in training and the
 * next step in generation: what it has read before arrives as a memory.
 */
public interface SequenceModel {
  /**
   * What reading some steps gave.
   *
   * @param hidden [batch, steps, width], what the output weight is multiplied with
   * @param memory what the steps that follow need
   */
  record Reading(Tensor hidden, Memory memory) {}

  /**
   * Reads the next steps of a batch of sequences.
   *
   * @param tokens [batch, steps], I32, token numbers
   * @param memory what this model carried from the steps before, with the same batch
   * @throws IllegalArgumentException if the tokens' shape or the memory does not fit
   */
  Reading read(Tensor tokens, Memory memory);

  /** Returns the output weight [classes, width]: logits = hidden weight^T. */
  Tensor output();

  /**
   * Returns the loss of each position.
   *
   * @param tokens [batch, steps], I32, token numbers
   * @param targets [batch, steps], I32, the token that follows each, or -1 where none is to be
   *     predicted
   * @return [batch, steps], in nats; 0 where the target is -1
   */
  default Tensor losses(Tensor tokens, Tensor targets) {
    return CrossEntropy.crossEntropy(read(tokens, Memory.EMPTY).hidden(), output(), targets);
  }
}
