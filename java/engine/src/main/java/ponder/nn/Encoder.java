// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.List;
import ponder.Tensor;
import ponder.op.CrossEntropy;

/**
 * An encoder that reads a whole sequence in both directions, to tell the words that were masked:
 * embedding, blocks of attention to every step and a two-layer network, norm, output. Source:
 * Devlin et al., arXiv:1810.04805, with the norms first and rotary positions.
 *
 * @param embedding reads the tokens
 * @param attention the attention block of each layer
 * @param mlp the two-layer network of each layer
 * @param norm before the output product
 * @param output [vocabulary, width]
 */
public record Encoder(
    Embedding embedding, List<AttentionBlock> attention, List<Mlp> mlp, Norm norm, Tensor output) {
  /**
   * Returns a new model: the parameters are those of a {@link Transformer} of the same sizes.
   *
   * @param vocabulary number of tokens, the mask token included
   * @param layers number of blocks
   * @param width size of the hidden state
   * @param heads how attention is divided, and how far it sees in both directions
   */
  public static Encoder create(Parameters p, long vocabulary, int layers, long width, Heads heads) {
    Transformer of = Transformer.create(p, vocabulary, layers, width, heads);
    return new Encoder(of.embedding(), of.attention(), of.mlp(), of.norm(), of.output());
  }

  /**
   * Returns what every step is read as.
   *
   * @param tokens [batch, steps], I32
   * @return [batch, steps, width], what the output weight is multiplied with
   */
  public Tensor read(Tensor tokens) {
    return read(tokens, null);
  }

  /**
   * Returns the same of sequences that are padded at their end.
   *
   * @param lengths [batch], I32: steps from there on are seen by none; null where all count
   */
  public Tensor read(Tensor tokens, Tensor lengths) {
    Tensor x = embedding.apply(tokens);
    for (int i = 0; i < attention.size(); i++) {
      x = mlp.get(i).apply(attention.get(i).both(x, lengths));
    }
    return norm.apply(x);
  }

  /**
   * Returns the loss of each step: minus the logarithm of its target's probability.
   *
   * @param corrupted [batch, steps], I32, the tokens with the mask on some
   * @param labels [batch, steps], I32, the token that was masked, -1 where none was
   * @param lengths as of {@link #read(Tensor, Tensor)}
   * @return [batch, steps], in nats; 0 where the label is -1
   */
  public Tensor losses(Tensor corrupted, Tensor labels, Tensor lengths) {
    return CrossEntropy.crossEntropy(read(corrupted, lengths), output, labels);
  }
}
