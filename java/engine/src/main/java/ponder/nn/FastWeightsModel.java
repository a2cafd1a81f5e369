// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import ponder.Tensor;

/**
 * A recurrent model of the next token whose layers have matrices for states: embedding, blocks of
 * fast-weight memory and a two-layer network, norm, output. It costs the same at every step.
 *
 * @param embedding reads the tokens
 * @param memories the block of memory of each layer
 * @param mlp the two-layer network of each layer
 * @param norm before the output product
 * @param output [vocabulary, width]
 */
public record FastWeightsModel(
    Embedding embedding, List<FastWeightsBlock> memories, List<Mlp> mlp, Norm norm, Tensor output)
    implements SequenceModel {
  /**
   * Returns a new model.
   *
   * @param rule what a step does to the states
   * @param vocabulary number of tokens
   * @param layers number of blocks
   * @param width size of the hidden state
   * @param heads number of states in each layer
   */
  public static FastWeightsModel create(
      Parameters p,
      FastWeightsBlock.Rule rule,
      long vocabulary,
      int layers,
      long width,
      long heads) {
    // Radford et al. 2019: the residual paths' last products are scaled down with the depth.
    double gain = 1 / Math.sqrt(2.0 * layers);
    List<FastWeightsBlock> memories = new ArrayList<>();
    List<Mlp> mlp = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      Parameters layer = p.in("layer" + i);
      memories.add(FastWeightsBlock.create(layer.in("memory"), rule, width, heads, gain));
      mlp.add(Mlp.create(layer.in("mlp"), width, 4 * width, gain));
    }
    return new FastWeightsModel(
        Embedding.create(p.in("embedding"), vocabulary, width),
        List.copyOf(memories),
        List.copyOf(mlp),
        Norm.create(p.in("norm"), width),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width));
  }

  /** Returns the same model taking so many steps at a time; 0 takes them one by one. */
  public FastWeightsModel chunk(long chunk) {
    return with(m -> m.chunk(chunk));
  }

  /** Returns the same model with rates in (0, 2): its states may turn around, and so count. */
  public FastWeightsModel reflecting() {
    return with(FastWeightsBlock::reflecting);
  }

  private FastWeightsModel with(UnaryOperator<FastWeightsBlock> change) {
    List<FastWeightsBlock> changed = memories.stream().map(change).toList();
    return new FastWeightsModel(embedding, changed, mlp, norm, output);
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    memory.require("fast weights", memories.size(), 0);
    Tensor x = embedding.apply(tokens);
    List<Tensor> carried = new ArrayList<>();
    for (int i = 0; i < memories.size(); i++) {
      List<Tensor> past = memory.steps() == 0 ? List.of() : memory.tensors().subList(i, i + 1);
      x = memories.get(i).apply(x, past, carried);
      x = mlp.get(i).apply(x);
    }
    long steps = memory.steps() + tokens.shape().dim(1);
    return new Reading(norm.apply(x), new Memory(steps, carried));
  }
}
