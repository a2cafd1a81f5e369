// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Tensor;

/**
 * A recurrent model of the next token: embedding, layers of gated recurrent units, output.
 *
 * @param embedding reads the tokens
 * @param layers the recurrent layers, each reading the states of the one before
 * @param output [vocabulary, width]
 */
public record GruModel(Embedding embedding, List<GruLayer> layers, Tensor output)
    implements SequenceModel {
  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of recurrent layers
   * @param width size of embeddings and states
   */
  public static GruModel create(Parameters p, long vocabulary, int layers, long width) {
    List<GruLayer> made = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      made.add(GruLayer.create(p.in("layer" + i), width, width));
    }
    return new GruModel(
        Embedding.create(p.in("embedding"), vocabulary, width),
        List.copyOf(made),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width));
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    memory.require("gru", layers.size(), 0);
    Tensor x = embedding.apply(tokens);
    long batch = tokens.shape().dim(0);
    long steps = tokens.shape().dim(1);
    List<Tensor> carried = new ArrayList<>();
    for (int i = 0; i < layers.size(); i++) {
      GruLayer layer = layers.get(i);
      Tensor state = memory.steps() == 0 ? layer.begin(batch) : memory.tensors().get(i);
      x = layer.apply(x, state);
      carried.add(x.slice(1, steps - 1, 1).reshape(batch, layer.width()));
    }
    return new Reading(x, new Memory(memory.steps() + steps, carried));
  }
}
