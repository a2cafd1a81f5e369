// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Grown;
import ponder.Tensor;

/**
 * A decoder with a memory: blocks of attention to the last few steps, an exact read of the nearest
 * of all steps before, and a two-layer network. Source: Wu et al., arXiv:2203.08913.
 *
 * @param embedding reads the tokens
 * @param attention the attention block of each layer
 * @param memory the memory of each layer
 * @param mlp the two-layer network of each layer
 * @param norm before the output product
 * @param output [vocabulary, width]
 */
public record MemoryModel(
    Embedding embedding,
    List<AttentionBlock> attention,
    List<MemoryLayer> memory,
    List<Mlp> mlp,
    Norm norm,
    Tensor output)
    implements SequenceModel {
  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of blocks
   * @param width size of the hidden state
   * @param heads how attention is divided, and how far back it sees
   * @param reads how many steps a step reads from memory, 1 to 256
   */
  public static MemoryModel create(
      Parameters p, long vocabulary, int layers, long width, Heads heads, long reads) {
    heads.size("memory", width);
    double gain = 1 / Math.sqrt(3.0 * layers);
    List<AttentionBlock> attention = new ArrayList<>();
    List<MemoryLayer> memory = new ArrayList<>();
    List<Mlp> mlp = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      Parameters layer = p.in("layer" + i);
      attention.add(AttentionBlock.create(layer.in("attention"), width, heads, gain));
      memory.add(MemoryLayer.create(layer.in("memory"), width, reads, gain));
      mlp.add(Mlp.create(layer.in("mlp"), width, 4 * width, gain));
    }
    return new MemoryModel(
        Embedding.create(p.in("embedding"), vocabulary, width),
        List.copyOf(attention),
        List.copyOf(memory),
        List.copyOf(mlp),
        Norm.create(p.in("norm"), width),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width));
  }

  /** Returns this model with the same parameters, reading nothing from its memory. */
  public MemoryModel withoutReads() {
    List<MemoryLayer> blind =
        memory.stream()
            .map(m -> new MemoryLayer(m.norm(), m.query(), m.key(), m.value(), m.mix(), 0))
            .toList();
    return new MemoryModel(embedding, attention, blind, mlp, norm, output);
  }

  @Override
  public Reading read(Tensor tokens, Memory before) {
    before.require("memory", 0, 4 * attention.size());
    Tensor x = embedding.apply(tokens);
    List<Grown> carried = new ArrayList<>();
    for (int i = 0; i < attention.size(); i++) {
      List<Grown> past = before.steps() == 0 ? List.of() : before.grown().subList(4 * i, 4 * i + 4);
      List<Grown> stored = past.isEmpty() ? past : past.subList(2, 4);
      x = attention.get(i).apply(x, before.steps(), past, carried);
      x = memory.get(i).apply(x, before.steps(), stored, carried);
      x = mlp.get(i).apply(x);
    }
    long steps = before.steps() + tokens.shape().dim(1);
    return new Reading(norm.apply(x), new Memory(steps, List.of(), carried));
  }
}
