// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Tensor;
import ponder.op.Lstm;

/**
 * A recurrent model of the next token: embedding, layers of long short-term memory, output.
 *
 * @param embedding reads the tokens
 * @param layers the recurrent layers, each reading the states of the one before
 * @param output [vocabulary, width]
 */
public record LstmModel(Embedding embedding, List<LstmLayer> layers, Tensor output)
    implements SequenceModel {
  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of recurrent layers
   * @param width size of embeddings and states
   */
  public static LstmModel create(Parameters p, long vocabulary, int layers, long width) {
    List<LstmLayer> made = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      made.add(LstmLayer.create(p.in("layer" + i), width, width));
    }
    return new LstmModel(
        Embedding.create(p.in("embedding"), vocabulary, width),
        List.copyOf(made),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width));
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    memory.require("lstm", 2 * layers.size(), 0);
    Tensor x = embedding.apply(tokens);
    long batch = tokens.shape().dim(0);
    long steps = tokens.shape().dim(1);
    boolean begins = memory.steps() == 0;
    List<Tensor> carried = new ArrayList<>();
    for (int i = 0; i < layers.size(); i++) {
      LstmLayer layer = layers.get(i);
      Tensor hidden = begins ? layer.hidden().broadcast(0, batch) : memory.tensors().get(2 * i);
      Tensor cell = begins ? layer.cell().broadcast(0, batch) : memory.tensors().get(2 * i + 1);
      Lstm.States states = layer.apply(x, hidden, cell);
      x = states.hidden();
      carried.add(x.slice(1, steps - 1, 1).reshape(batch, layer.width()));
      carried.add(states.lastCell());
    }
    return new Reading(x, new Memory(memory.steps() + steps, carried));
  }
}
