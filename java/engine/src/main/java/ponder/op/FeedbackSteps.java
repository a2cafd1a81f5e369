// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
import java.util.List;
import ponder.Shape;
import ponder.Tensor;

/**
 * What {@link Feedback} means, step by step in primitives. Sequences that do not all begin and end
 * together are read one by one, so that nothing of what one has forgotten reaches it.
 */
final class FeedbackSteps {
  private final Feedback op;
  private final FeedbackSizes s;
  private final Tensor[] in;
  private final List<Tensor> states = new ArrayList<>();
  private final List<Tensor> keys = new ArrayList<>();
  private final List<Tensor> values = new ArrayList<>();

  /** Reads sequences of which each step reads from the same position on. */
  private FeedbackSteps(Feedback op, int length, long[] oldest, Tensor... in) {
    this.op = op;
    this.in = in;
    s = FeedbackSizes.of(op, in);
    Tensor k = op.past() == 0 ? null : in[Feedback.WEIGHTS + 1].slice(1, 0, op.past());
    Tensor v = op.past() == 0 ? null : in[Feedback.WEIGHTS + 2].slice(1, 0, op.past());
    for (int t = 0; t < length; t++) {
      long place = op.past() + t;
      long read = place - oldest[t];
      Tensor seen = read == 0 ? null : k.slice(1, oldest[t], read);
      Tensor z = norm(mixed(t, seen, read == 0 ? null : v.slice(1, oldest[t], read)), in[8], 0);
      keys.add(turned(product(z, in[9], 0, s.kvWidth()), s.kvHeads(), place));
      values.add(split(product(z, in[10], 0, s.kvWidth()), s.kvHeads()));
      k = k == null ? keys.getLast() : k.concat(keys.getLast(), 1);
      v = v == null ? values.getLast() : v.concat(values.getLast(), 1);
    }
  }

  /** Returns the states of all sequences, [batch, steps, layers + 1, width]. */
  static Tensor states(Feedback op, Tensor... in) {
    FeedbackSizes s = FeedbackSizes.of(op, in);
    Shape step = Shape.of(1, 1, s.levels(), s.width());
    return joined(all(op, in).stream().map(part -> part.joined(part.states, step)).toList(), 0);
  }

  /** Returns the keys, then the values: [2, batch, steps, kv_heads, head_size]. */
  static Tensor memory(Feedback op, Tensor... in) {
    FeedbackSizes s = FeedbackSizes.of(op, in);
    Shape step = Shape.of(1, 1, s.kvHeads(), s.headSize());
    List<FeedbackSteps> all = all(op, in);
    Tensor keys = joined(all.stream().map(part -> part.joined(part.keys, step)).toList(), 0);
    Tensor values = joined(all.stream().map(part -> part.joined(part.values, step)).toList(), 0);
    Shape shape = s.remembered().insert(0, 1);
    return keys.reshape(shape).concat(values.reshape(shape), 0);
  }

  private static List<FeedbackSteps> all(Feedback op, Tensor... in) {
    var reach = new FeedbackReach(op, in);
    Shape x = in[0].shape();
    if (reach.isUniform()) {
      return List.of(new FeedbackSteps(op, Math.toIntExact(x.dim(1)), reach.oldest(0), in));
    }
    List<FeedbackSteps> all = new ArrayList<>();
    for (int b = 0; b < x.dim(0); b++) {
      Tensor[] own = in.clone();
      own[0] = in[0].slice(0, b, 1);
      for (int i = Feedback.WEIGHTS + 1; i < op.floats(); i++) own[i] = in[i].slice(0, b, 1);
      all.add(new FeedbackSteps(op, reach.length(b), reach.oldest(b), own));
    }
    return all;
  }

  /** Returns the steps after each other, zeros after the last. */
  private Tensor joined(List<Tensor> computed, Shape step) {
    Shape whole = step.with(1, s.steps());
    if (computed.isEmpty()) {
      return Constant.of(in[0], whole, new double[Math.toIntExact(whole.size())]);
    }
    return joined(computed, 1).pad(1, 0, s.steps());
  }

  private static Tensor joined(List<Tensor> parts, int axis) {
    Tensor all = parts.getFirst();
    for (Tensor part : parts.subList(1, parts.size())) all = all.concat(part, axis);
    return all;
  }

  /** Computes the states of a step and returns their mixture, [batch, 1, width]. */
  private Tensor mixed(long t, Tensor k, Tensor v) {
    long place = op.past() + t;
    Tensor x = in[0].slice(1, t, 1);
    Tensor all = row(x);
    for (long l = 0; l < s.layers(); l++) {
      if (k != null) {
        Tensor q = turned(product(norm(x, in[1], l), in[2], l, s.qWidth()), s.heads(), place);
        Tensor read = Attention.causal().definition(q, k, v);
        read = read.reshape(s.batch(), 1, s.qWidth());
        x = x.add(product(read, in[3], l, s.width()));
      }
      Tensor wide = product(norm(x, in[4], l), in[5], l, s.inner());
      x = x.add(product(new Gelu().definition(wide), in[6], l, s.width()));
      all = all.concat(row(x), 2);
    }
    states.add(all);
    Tensor share = in[7].reshape(1, 1, 1, s.levels());
    return share.broadcastTo(Shape.of(s.batch(), 1, 1, s.levels())).matmul(all).reshape(x.shape());
  }

  private Tensor row(Tensor x) {
    return x.reshape(s.batch(), 1, 1, s.width());
  }

  /** Returns x times a layer's weights, which lead to so many columns. */
  private static Tensor product(Tensor x, Tensor weights, long layer, long cols) {
    long depth = x.shape().dim(2);
    Tensor own = weights.reshape(weights.size() / (depth * cols), depth, cols).slice(0, layer, 1);
    return x.matmul(own.reshape(depth, cols));
  }

  private Tensor norm(Tensor x, Tensor gains, long layer) {
    long width = s.width();
    Tensor gain = gains.reshape(gains.size() / width, width).slice(0, layer, 1).reshape(width);
    return new RmsNorm(op.eps()).definition(x, gain);
  }

  private Tensor turned(Tensor x, long heads, long place) {
    return new Rotary(place, op.base()).definition(split(x, heads));
  }

  private Tensor split(Tensor x, long heads) {
    return x.reshape(s.batch(), 1, heads, s.headSize());
  }
}
