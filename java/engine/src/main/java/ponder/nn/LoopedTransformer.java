// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Grown;
import ponder.Tensor;

/**
 * A transformer whose blocks are applied again and again with the same weights, as often as is
 * asked for: h_0 = 0, h_r = norm(blocks(h_{r-1} W_state + e W_recall)), where e is the embedded
 * input, recalled in every round; logits = h_R output^T. How many rounds are made is no property of
 * the weights, so a model may think longer than it was trained to. Source: Dehghani et al.,
 * arXiv:1807.03819; recall: Bansal et al., arXiv:2202.05826.
 *
 * @param embedding reads the tokens
 * @param state brings the state of the round before in
 * @param recall brings the input in again
 * @param attention the attention block of each layer of the core
 * @param mlp the two-layer network of each layer of the core
 * @param norm after each round
 * @param output [vocabulary, width]
 * @param rounds how often the core is applied, at least 1
 * @param blind for how many of the first rounds no derivative is taken, fewer than the rounds
 */
public record LoopedTransformer(
    Embedding embedding,
    Linear state,
    Linear recall,
    List<AttentionBlock> attention,
    List<Mlp> mlp,
    Norm norm,
    Tensor output,
    int rounds,
    int blind)
    implements SequenceModel {
  /** Checks the rounds. */
  public LoopedTransformer {
    if (rounds < 1 || blind < 0 || blind >= rounds) {
      throw new IllegalArgumentException(
          "looped transformer: "
              + blind
              + " blind of "
              + rounds
              + " rounds; there must be at least one round, and fewer blind ones");
    }
  }

  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of blocks in the core
   * @param width size of the hidden state
   * @param heads number of attention heads; width / heads must be even
   * @param rounds how often the core is applied
   */
  public static LoopedTransformer create(
      Parameters p, long vocabulary, int layers, long width, long heads, int rounds) {
    return create(p, vocabulary, layers, width, Heads.of(heads), rounds);
  }

  /**
   * Returns a new model whose heads may share keys and values, or see a part of the steps.
   *
   * @param vocabulary number of tokens
   * @param layers number of blocks in the core
   * @param width size of the hidden state
   * @param heads how attention is divided; width / heads must be even
   * @param rounds how often the core is applied
   */
  public static LoopedTransformer create(
      Parameters p, long vocabulary, int layers, long width, Heads heads, int rounds) {
    heads.size("looped transformer", width);
    double gain = 1 / Math.sqrt(2.0 * layers);
    List<AttentionBlock> attention = new ArrayList<>();
    List<Mlp> mlp = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      Parameters layer = p.in("core" + i);
      attention.add(AttentionBlock.create(layer.in("attention"), width, heads, gain));
      mlp.add(Mlp.create(layer.in("mlp"), width, 4 * width, gain));
    }
    return new LoopedTransformer(
        Embedding.create(p.in("embedding"), vocabulary, width),
        Linear.create(p.in("state"), width, width, 1),
        Linear.create(p.in("recall"), width, width, 1),
        List.copyOf(attention),
        List.copyOf(mlp),
        Norm.create(p.in("norm"), width),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width),
        rounds,
        0);
  }

  /** Returns the same weights applied in another number of rounds. */
  public LoopedTransformer withRounds(int rounds) {
    return withRounds(0, rounds);
  }

  /**
   * Returns the same weights applied in {@code blind} rounds without a derivative, then in {@code
   * live} rounds with one.
   */
  public LoopedTransformer withRounds(int blind, int live) {
    return new LoopedTransformer(
        embedding, state, recall, attention, mlp, norm, output, blind + live, blind);
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    List<Grown> carried = new ArrayList<>();
    List<Tensor> states = states(tokens, memory, carried);
    long steps = memory.steps() + tokens.shape().dim(1);
    return new Reading(states.get(rounds - 1), new Memory(steps, List.of(), carried));
  }

  /**
   * Returns the state after every round, each [batch, steps, width].
   *
   * @param tokens [batch, steps], I32, whole sequences
   */
  public List<Tensor> states(Tensor tokens) {
    return states(tokens, Memory.EMPTY, new ArrayList<>());
  }

  private List<Tensor> states(Tensor tokens, Memory memory, List<Grown> carried) {
    int layers = attention.size();
    memory.require("looped transformer", 0, 2 * layers * rounds);
    Tensor input = recall.apply(embedding.apply(tokens));
    List<Tensor> states = new ArrayList<>();
    Tensor h = null;
    for (int round = 0; round < rounds; round++) {
      Tensor x = h == null ? input : input.add(state.apply(h));
      for (int i = 0; i < layers; i++) {
        int at = 2 * (round * layers + i);
        List<Grown> past = memory.steps() == 0 ? List.of() : memory.grown().subList(at, at + 2);
        x = attention.get(i).apply(x, memory.steps(), past, carried);
        x = mlp.get(i).apply(x);
      }
      h = norm.apply(x);
      if (round < blind) {
        h = h.detach();
      }
      states.add(h);
    }
    return states;
  }
}
