// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
import java.util.List;
import java.util.function.IntPredicate;
import ponder.Shape;
import ponder.Tensor;

/** What {@link FastWeights} means, step by step in primitives of the type that it computes in. */
final class FastWeightsSteps {
  private final FastWeights op;
  private final Tensor[] in;
  private final int batch;
  private final int[] resets;
  private final int[] lengths;

  FastWeightsSteps(FastWeights op, Tensor... in) {
    this.op = op;
    this.in = in.clone();
    for (int i = 0; i < 3; i++) this.in[i] = in[i].cast(in[i].dtype().sums());
    batch = Math.toIntExact(in[0].shape().dim(0));
    resets = op.restarted() ? op.resets(in).toInts() : null;
    lengths = op.padded() ? op.lengths(in).toInts() : null;
  }

  /** Returns the state after the last step. */
  Tensor end() {
    return scan(new ArrayList<>());
  }

  /** Returns what each step reads, of v's shape. */
  Tensor reads() {
    List<Tensor> reads = new ArrayList<>();
    scan(reads);
    // Neighbours are joined in rounds, so that no read is copied more than log2(steps) times.
    while (reads.size() > 1) {
      List<Tensor> joined = new ArrayList<>();
      for (int i = 0; i < reads.size(); i += 2) {
        boolean pair = i + 1 < reads.size();
        joined.add(pair ? reads.get(i).concat(reads.get(i + 1), 1) : reads.get(i));
      }
      reads = joined;
    }
    return reads.getFirst().scale(op.scale());
  }

  private Tensor scan(List<Tensor> reads) {
    Shape v = in[2].shape();
    Tensor state = op.begun() ? op.initial(in) : Constant.of(in[0], Shape.scalar(), 0);
    if (!op.begun()) state = state.broadcastTo(op.state(in));
    for (int t = 0; t < v.dim(1); t++) {
      if (resets != null) state = chosen(state, zeros(state), reset(t));
      Tensor next = step(state, t);
      Tensor y = read(next, column(feature(at(in[0], t))), v.dim(3)).reshape(v.with(1, 1));
      reads.add(lengths == null ? y : chosen(y, zeros(y), ended(t)));
      state = lengths == null ? next : chosen(next, state, ended(t));
    }
    return state;
  }

  private Tensor step(Tensor state, int t) {
    Tensor k = column(feature(at(in[1], t)));
    Tensor v = row(at(in[2], t));
    if (op.normalised()) v = v.concat(Constant.of(v, Shape.scalar(), 1).broadcastTo(one(v)), 3);
    Tensor decayed = op.decayed() ? state.mul(column(at(op.decay(in), t))) : state;
    return switch (op.kind()) {
      case PLAIN -> decayed.add(k.matmul(v));
      case DELTA -> {
        Tensor rate = at(op.rate(in), t).reshape(one(v));
        Tensor lacks = v.sub(k.matmul(decayed, true, false));
        yield decayed.add(k.matmul(lacks.mul(rate)));
      }
      case LOW_RANK -> {
        Tensor held = column(at(op.erase(in), t)).matmul(state, true, false);
        yield decayed.add(column(at(op.write(in), t)).matmul(held)).add(k.matmul(v));
      }
    };
  }

  /** Returns [batch, heads, 1, values]. */
  private Tensor read(Tensor state, Tensor q, long values) {
    Tensor y = q.matmul(state, true, false);
    if (!op.normalised()) return y;
    Tensor norm = y.slice(3, values, 1);
    Tensor zero = Constant.of(norm, Shape.scalar(), 0);
    Tensor some = norm.greater(zero).add(norm.neg().greater(zero));
    return y.slice(3, 0, values).div(norm.add(some.affine(-1, 1))).mul(some);
  }

  /** Returns elu + 1, whose derivative at 0 is 1. */
  private Tensor feature(Tensor x) {
    if (!op.features()) return x;
    Tensor above = x.detach().greater(Constant.of(x, Shape.scalar(), 0));
    Tensor below = above.affine(-1, 1);
    return x.mul(below).exp().mul(below).add(x.affine(1, 1).mul(above));
  }

  /** Returns [batch, heads, ...] of one step; zeros in the rows whose steps have ended. */
  private Tensor at(Tensor x, int t) {
    Tensor step = x.slice(1, t, 1);
    step = step.reshape(x.shape().without(1));
    return lengths == null ? step : chosen(step, zeros(step), ended(t));
  }

  private IntPredicate ended(int t) {
    return row -> t >= lengths[row];
  }

  private IntPredicate reset(int t) {
    int steps = Math.toIntExact(in[0].shape().dim(1));
    return row -> resets[row * steps + t] != 0;
  }

  /** Returns the rows of x, or of other where that holds; the rows left out may hold anything. */
  private Tensor chosen(Tensor x, Tensor other, IntPredicate others) {
    var rows = new int[batch];
    for (int b = 0; b < batch; b++) rows[b] = others.test(b) ? batch + b : b;
    return x.concat(other, 0).gather(x.device().scope().indices(Shape.of(batch), rows));
  }

  private static Tensor zeros(Tensor x) {
    return Constant.of(x, Shape.scalar(), 0).broadcastTo(x.shape());
  }

  private static Tensor column(Tensor x) {
    return x.reshape(x.shape().insert(3, 1));
  }

  private static Tensor row(Tensor x) {
    return x.reshape(x.shape().insert(2, 1));
  }

  private static Shape one(Tensor row) {
    return row.shape().with(3, 1);
  }
}
