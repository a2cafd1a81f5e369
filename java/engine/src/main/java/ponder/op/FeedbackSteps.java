// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
import java.util.List;
import ponder.Shape;
import ponder.Tensor;

/** What {@link Feedback} means, step by step in primitives. */
final class FeedbackSteps {
  private final Feedback op;
  private final FeedbackSizes s;
  private final Tensor[] in;
  private final List<Tensor> states = new ArrayList<>();
  private final List<Tensor> keys = new ArrayList<>();
  private final List<Tensor> values = new ArrayList<>();

  FeedbackSteps(Feedback op, Tensor... in) {
    this.op = op;
    this.in = in;
    s = FeedbackSizes.of(in);
    Tensor k = op.past() == 0 ? null : in[Feedback.WEIGHTS + 1].slice(1, 0, op.past());
    Tensor v = op.past() == 0 ? null : in[Feedback.WEIGHTS + 2].slice(1, 0, op.past());
    for (long t = 0; t < s.steps(); t++) {
      long place = op.past() + t;
      Tensor z = norm(mixed(t, k, v), in[8], 0);
      keys.add(turned(product(z, in[9], 0, s.kvWidth()), s.kvHeads(), place));
      values.add(split(product(z, in[10], 0, s.kvWidth()), s.kvHeads()));
      k = k == null ? keys.getLast() : k.concat(keys.getLast(), 1);
      v = v == null ? values.getLast() : v.concat(values.getLast(), 1);
    }
  }

  /** Returns [batch, steps, layers + 1, width]. */
  Tensor states() {
    return joined(states);
  }

  /** Returns the keys, then the values: [2, batch, steps, kv_heads, head_size]. */
  Tensor memory() {
    Shape shape = s.remembered().insert(0, 1);
    return joined(keys).reshape(shape).concat(joined(values).reshape(shape), 0);
  }

  private static Tensor joined(List<Tensor> steps) {
    Tensor all = steps.getFirst();
    for (Tensor step : steps.subList(1, steps.size())) all = all.concat(step, 1);
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
        Tensor read = Attention.causal().window(op.window()).definition(q, k, v);
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
