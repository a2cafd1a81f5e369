// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.DType;
import ponder.Grown;
import ponder.Shape;
import ponder.Tensor;
import ponder.op.Boundaries;
import ponder.op.Feedback;
import ponder.op.Softmax;

/**
 * A transformer whose every layer sees the states of all layers at the steps before: at each step
 * they are mixed into one vector of memory, m = sum over l of softmax(mixture)[l] x[l], whose key and
 * value all layers share. What a step found at the top, the next step reads at the bottom; so steps
 * follow each other, in training too. Source: Fan et al., arXiv:2002.09402, with rotary positions for
 * the relative ones.
 *
 * <p>Products in BF16 round the weights; the memory itself is computed in the parameters' type.
 *
 * @param embedding reads the tokens
 * @param stack the weights of all layers, one tensor for all of a kind
 * @param mixture [layers + 1]: the share of each layer's states in the memory, the embedding's first
 * @param norm of the memory
 * @param key [width, kvHeads, size], makes the memory's keys
 * @param value [width, kvHeads, size], makes its values
 * @param last before the output product
 * @param output [vocabulary, width]
 * @param heads how attention is divided, and how far back it sees
 * @param products the type that weights are rounded to
 */
public record FeedbackTransformer(
    Embedding embedding,
    Stack stack,
    Tensor mixture,
    Norm norm,
    Tensor key,
    Tensor value,
    Norm last,
    Tensor output,
    Heads heads,
    DType products)
    implements SequenceModel {
  private static final double ROTARY_BASE = 10_000;

  /**
   * The layers' weights. Each layer is x + mix attention(norm(x) query, memory), then a two-layer
   * network.
   *
   * @param norm its gains [layers, width] normalise what is read
   * @param query [layers, width, heads, size] makes the queries from it
   * @param mix [layers, heads, size, width] brings the heads' results together
   * @param mlpNorm its gains [layers, width] normalise what the network is given
   * @param wide [layers, width, inner]
   * @param narrow [layers, inner, width]
   */
  public record Stack(
      Norm norm, Tensor query, Tensor mix, Norm mlpNorm, Tensor wide, Tensor narrow) {}

  /**
   * One layer.
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
    long size = heads.size("feedback", width);
    long inner = 4 * width;
    double one = 1 / Math.sqrt(width);
    double gain = 1 / Math.sqrt(2.0 * layers);
    Stack stack =
        new Stack(
            new Norm(p.full("layers.norm.gain", 1, layers, width)),
            p.normal("layers.query.weight", one, layers, width, heads.count(), size),
            p.normal("layers.mix.weight", gain * one, layers, heads.count(), size, width),
            new Norm(p.full("layers.mlp.norm.gain", 1, layers, width)),
            p.normal("layers.mlp.wide.weight", one, layers, width, inner),
            p.normal("layers.mlp.narrow.weight", gain / Math.sqrt(inner), layers, inner, width));
    return new FeedbackTransformer(
        Embedding.create(p.in("embedding"), vocabulary, width),
        stack,
        p.full("mixture", 0, layers + 1),
        Norm.create(p.in("memory"), width),
        p.normal("key.weight", one, width, heads.kvHeads(), size),
        p.normal("value.weight", one, width, heads.kvHeads(), size),
        Norm.create(p.in("norm"), width),
        p.normal("output", one, vocabulary, width),
        heads,
        p.products());
  }

  /**
   * {@inheritDoc}
   *
   * <p>A derivative goes through the memory that an earlier read gave. To end back-propagation
   * through time at a window's first step, detach what is carried: {@code
   * memory.map(Tensor::detach)}.
   */
  @Override
  public Reading read(Tensor tokens, Memory memory) {
    return read(tokens, memory, Boundaries.none());
  }

  /**
   * Reads the next steps of sequences that begin anew or end before the last one. The memory knows
   * what a reset has forgotten. Where a sequence ends, hidden is that of states of 0, and who goes on
   * with it resets it at the next read's first step.
   *
   * <p>What resets forget is found by the host: a read with resets cannot be recorded.
   *
   * @param boundaries resets [batch, steps] and lengths [batch]
   * @throws IllegalArgumentException if a shape, a length or the memory does not fit
   */
  public Reading read(Tensor tokens, Memory memory, Boundaries boundaries) {
    memory.require("feedback", Math.min(1, memory.tensors().size()), 2);
    Tensor x = embedding.apply(tokens);
    Feedback op = Feedback.of(Norm.EPSILON, ROTARY_BASE).window(heads.window());
    boolean begins = memory.steps() == 0;
    Grown keys = begins ? null : memory.grown().get(0);
    Grown values = begins ? null : memory.grown().get(1);
    Tensor first = begins || memory.tensors().isEmpty() ? null : memory.tensors().get(0);
    Feedback.Read read =
        begins
            ? op.read(x, weights(), boundaries)
            : op.read(x, weights(), keys, values, first, boundaries);
    keys = begins ? Grown.of(read.keys()) : keys.append(read.keys());
    values = begins ? Grown.of(read.values()) : values.append(read.values());
    Shape s = x.shape();
    long layers = mixture.size() - 1;
    Tensor top = read.states().slice(2, layers, 1).reshape(s);
    first = firstAfter(first, memory.steps(), s, boundaries);
    List<Tensor> carried = first == null ? List.of() : List.of(first);
    Memory after = new Memory(memory.steps() + s.dim(1), carried, List.of(keys, values));
    return new Reading(last.apply(top), after);
  }

  /** Returns the first step that each sequence reads from now on, null for all. */
  private static Tensor firstAfter(Tensor first, long past, Shape x, Boundaries boundaries) {
    if (boundaries.resets() == null) return first;
    int batch = Math.toIntExact(x.dim(0));
    int steps = Math.toIntExact(x.dim(1));
    int[] places = first == null ? new int[batch] : first.toInts();
    int[] resets = boundaries.resets().toInts();
    int[] lengths = boundaries.lengths() == null ? null : boundaries.lengths().toInts();
    for (int b = 0; b < batch; b++) {
      int end = lengths == null ? steps : lengths[b];
      for (int t = 0; t < end; t++) {
        if (resets[b * steps + t] != 0) places[b] = Math.toIntExact(past + t);
      }
    }
    return boundaries.resets().device().scope().indices(Shape.of(batch), places);
  }

  private Feedback.Weights weights() {
    return new Feedback.Weights(
        stack.norm.gain(),
        rounded(stack.query),
        rounded(stack.mix),
        stack.mlpNorm.gain(),
        rounded(stack.wide),
        rounded(stack.narrow),
        Softmax.softmax(mixture.reshape(1, mixture.size())).reshape(mixture.size()),
        norm.gain(),
        rounded(key),
        rounded(value));
  }

  private Tensor rounded(Tensor weight) {
    return weight.cast(products).cast(weight.dtype());
  }

  /** Returns the layers one by one, the lowest first: what a step computes between its reads. */
  public List<Layer> layers() {
    long width = norm.gain().size();
    long inner = stack.wide.shape().dim(-1);
    List<Layer> layers = new ArrayList<>();
    for (int l = 0; l < mixture.size() - 1; l++) {
      Linear wide = linear(stack.wide, l, inner);
      Mlp mlp = new Mlp(norm(stack.mlpNorm, l), wide, linear(stack.narrow, l, width));
      Linear query = linear(stack.query, l, width);
      layers.add(new Layer(norm(stack.norm, l), query, linear(stack.mix, l, width), mlp));
    }
    return layers;
  }

  private Linear linear(Tensor weights, int layer, long out) {
    Tensor own = weights.slice(0, layer, 1);
    return new Linear(own.reshape(own.size() / out, out), products);
  }

  private static Norm norm(Norm norms, int layer) {
    Tensor own = norms.gain().slice(0, layer, 1);
    return new Norm(own.reshape(own.size()));
  }
}
