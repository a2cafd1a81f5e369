// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Grown;
import ponder.Shape;
import ponder.Tensor;
import ponder.op.Rotary;
import ponder.op.Softmax;

/**
 * A transformer whose every layer sees the states of all layers at the steps before: at each step
 * they are mixed into one vector of memory, m = sum over l of softmax(mixture)[l] x[l], whose key and
 * value all layers share. What a step found at the top, the next step reads at the bottom; so steps
 * follow each other, in training too. Source: Fan et al., arXiv:2002.09402, with rotary positions for
 * the relative ones.
 *
 * @param embedding reads the tokens
 * @param layers what each layer has of its own
 * @param mixture [layers + 1]: the share of each layer's states in the memory, the embedding's first
 * @param norm of the memory
 * @param key makes the memory's keys
 * @param value makes its values
 * @param last before the output product
 * @param output [vocabulary, width]
 * @param heads how attention is divided, and how far back it sees
 */
public record FeedbackTransformer(
    Embedding embedding,
    List<Layer> layers,
    Tensor mixture,
    Norm norm,
    Linear key,
    Linear value,
    Norm last,
    Tensor output,
    Heads heads)
    implements SequenceModel {
  private static final double ROTARY_BASE = 10_000;

  /**
   * A layer: x + W attention(norm(x), memory), then a two-layer network.
   *
   * @param norm normalises what is read
   * @param query makes the queries from it
   * @param mix brings the heads' results together
   * @param mlp the two-layer network
   */
  public record Layer(Norm norm, Linear query, Linear mix, Mlp mlp) {}

  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of layers
   * @param width size of the hidden state
   * @param heads how attention is divided; width / heads must be even
   */
  public static FeedbackTransformer create(
      Parameters p, long vocabulary, int layers, long width, Heads heads) {
    long kvWidth = heads.kvHeads() * heads.size("feedback", width);
    double gain = 1 / Math.sqrt(2.0 * layers);
    List<Layer> made = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      Parameters layer = p.in("layer" + i);
      made.add(
          new Layer(
              Norm.create(layer.in("norm"), width),
              Linear.create(layer.in("query"), width, width, 1),
              Linear.create(layer.in("mix"), width, width, gain),
              Mlp.create(layer.in("mlp"), width, 4 * width, gain)));
    }
    return new FeedbackTransformer(
        Embedding.create(p.in("embedding"), vocabulary, width),
        List.copyOf(made),
        p.full("mixture", 0, layers + 1),
        Norm.create(p.in("memory"), width),
        Linear.create(p.in("key"), width, kvWidth, 1),
        Linear.create(p.in("value"), width, kvWidth, 1),
        Norm.create(p.in("norm"), width),
        p.normal("output", 1 / Math.sqrt(width), vocabulary, width),
        heads);
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    memory.require("feedback", 0, 2);
    Tensor x = embedding.apply(tokens);
    Grown keys = memory.steps() == 0 ? null : memory.grown().get(0);
    Grown values = memory.steps() == 0 ? null : memory.grown().get(1);
    Tensor share = Softmax.softmax(mixture.reshape(1, mixture.size()));
    long steps = tokens.shape().dim(1);
    Grown hidden = null;
    for (long t = 0; t < steps; t++) {
      long place = memory.steps() + t;
      List<Tensor> states = states(x.slice(1, t, 1), place, keys, values);
      Tensor m = norm.apply(mixed(share, states));
      Tensor k = turned(key.apply(m), heads.kvHeads(), place);
      Tensor v = split(value.product(m), heads.kvHeads());
      keys = keys == null ? Grown.of(k) : keys.append(k);
      values = values == null ? Grown.of(v) : values.append(v);
      Tensor top = states.getLast();
      hidden = hidden == null ? Grown.of(top) : hidden.append(top);
    }
    Memory after = new Memory(memory.steps() + steps, List.of(), List.of(keys, values));
    return new Reading(last.apply(hidden.tensor()), after);
  }

  /** Returns the states of one step [batch, 1, width], the embedding's and each layer's. */
  private List<Tensor> states(Tensor x, long place, Grown keys, Grown values) {
    List<Tensor> states = new ArrayList<>();
    states.add(x);
    for (Layer layer : layers) {
      if (keys != null) {
        Tensor q = turned(layer.query.apply(layer.norm.apply(x)), heads.count(), place);
        Tensor read = heads.attention().apply(q, keys, values);
        x = x.add(layer.mix.apply(read.reshape(x.shape())));
      }
      x = layer.mlp.apply(x);
      states.add(x);
    }
    return states;
  }

  /** Returns the sum of the states, each times its share [1, layers + 1]. */
  private static Tensor mixed(Tensor share, List<Tensor> states) {
    Shape s = states.getFirst().shape();
    Tensor all = states.getFirst().reshape(1, s.size());
    for (Tensor state : states.subList(1, states.size())) {
      all = all.concat(state.reshape(1, s.size()), 0);
    }
    return share.matmul(all).reshape(s);
  }

  private static Tensor split(Tensor x, long heads) {
    Shape s = x.shape();
    return x.reshape(s.dim(0), s.dim(1), heads, s.dim(2) / heads);
  }

  /** Returns queries or keys at their position, in the products' type. */
  private Tensor turned(Tensor x, long heads, long place) {
    return Rotary.rotary(split(x, heads), place, ROTARY_BASE).cast(key.products());
  }
}
