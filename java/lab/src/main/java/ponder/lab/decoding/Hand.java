// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.Memory;
import ponder.nn.SequenceModel;
import ponder.op.Softmax;

/** Several rows being written by one model: what it carries for each, and where it stands. */
final class Hand {
  private final SequenceModel model;
  private final Scope scope;
  private Tensor hidden;
  private Memory memory;

  /**
   * Reads prompts.
   *
   * @param scope where everything is computed
   * @throws IllegalArgumentException unless the prompts are of one length
   */
  Hand(SequenceModel model, Scope scope, int[][] prompts) {
    this.model = model;
    this.scope = scope;
    int length = prompts[0].length;
    int[] tokens = new int[prompts.length * length];
    for (int i = 0; i < prompts.length; i++) {
      if (prompts[i].length != length) {
        throw new IllegalArgumentException(
            "prompts: lengths " + length + " and " + prompts[i].length + ", must be equal");
      }
      System.arraycopy(prompts[i], 0, tokens, i * length, length);
    }
    take(model.read(scope.indices(Shape.of(prompts.length, length), tokens), Memory.EMPTY));
  }

  private void take(SequenceModel.Reading reading) {
    long[] dims = reading.hidden().shape().dims();
    hidden = reading.hidden().slice(1, dims[1] - 1, 1).reshape(dims[0], dims[2]);
    memory = reading.memory();
  }

  /** Goes on with these rows, in this order; a row may be taken several times. */
  void choose(int[] rows) {
    Tensor index = scope.indices(Shape.of(rows.length), rows);
    hidden = hidden.gather(index);
    memory = memory.rows(index);
  }

  /** Returns the probabilities [rows, classes] of the next token of each row. */
  float[] probabilities() {
    return Softmax.softmax(hidden.matmul(model.output(), false, true)).toFloats();
  }

  /** Writes one token at the end of each row. */
  void write(int[] tokens) {
    take(model.read(scope.indices(Shape.of(tokens.length, 1), tokens), memory));
  }
}
