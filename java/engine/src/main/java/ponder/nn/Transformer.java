// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Grown;
import ponder.Tensor;

/**
 * A decoder-only transformer: embedding, blocks of attention and a two-layer network, norm, output.
 * Norms come first in each block, positions are rotary, nothing has a bias. Source: Vaswani et al.,
 * arXiv:1706.03762; Su et al., arXiv:2104.09864.
 *
 * @param embedding reads the tokens
 * @param attention the attention block of each layer
 * @param mlp the two-layer network of each layer
 * @param norm before the output product
 * @param output [vocabulary, width]
 */
public record Transformer(
    Embedding embedding, List<AttentionBlock> attention, List<Mlp> mlp, Norm norm, Tensor output)
    implements SequenceModel {
  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of blocks
   * @param width size of the hidden state
   * @param heads number of attention heads; width / heads must be even
   */
  public static Transformer create(
      Parameters p, long vocabulary, int layers, long width, long heads) {
    return create(p, vocabulary, layers, width, Heads.of(heads));
  }

  /**
   * Returns a new model whose heads may share keys and values, or see a part of the steps.
   *
   * @param vocabulary number of tokens
   * @param layers number of blocks
   * @param width size of the hidden state
   * @param heads how attention is divided; width / heads must be even
   */
  public static Transformer create(
      Parameters p, long vocabulary, int layers, long width, Heads heads) {
    heads.size("transformer", width);
    // Radford et al. 2019: the residual paths' last products are scaled down with the depth.
    double gain = 1 / Math.sqrt(2.0 * layers);
    List<AttentionBlock> attention = new ArrayList<>();
    List<Mlp> mlp = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      Parameters layer = p.in("layer" + i);
      attention.add(AttentionBlock.create(layer.in("attention"), width, heads, gain));
      mlp.add(Mlp.create(layer.in("mlp"), width, 4 * width, gain));
    }
    return new Transformer(
        Embedding.create(p.in("embedding"), vocabulary, width),
        List.copyOf(attention),
        List.copyOf(mlp),
        Norm.create(p.in("norm"), width),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width));
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    memory.require("transformer", 0, 2 * attention.size());
    List<Grown> carried = new ArrayList<>();
    Tensor x = through(embedding.apply(tokens), memory.steps(), memory.grown(), carried);
    long steps = memory.steps() + tokens.shape().dim(1);
    return new Reading(norm.apply(x), new Memory(steps, List.of(), carried));
  }

  /**
   * Returns what the blocks make of x [batch, steps, width], before the last norm.
   *
   * @param start how many steps came before
   * @param past their keys and values, two for each block; any if start is 0
   * @param carried where the keys and values of all steps are added
   */
  Tensor through(Tensor x, long start, List<Grown> past, List<Grown> carried) {
    for (int i = 0; i < attention.size(); i++) {
      List<Grown> own = start == 0 ? List.of() : past.subList(2 * i, 2 * i + 2);
      x = attention.get(i).apply(x, start, own, carried);
      x = mlp.get(i).apply(x);
    }
    return x;
  }
}
