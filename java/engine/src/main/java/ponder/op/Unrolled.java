// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import ponder.Shape;
import ponder.Tensor;

/**
 * A recurrent scan in primitives, step by step. A step is computed for the sequences that run at it
 * alone, so that nothing of the others, not even NaN, reaches a state or a derivative.
 */
final class Unrolled {
  /** One step of some sequences: from x [rows, gates, width] and the states before to those after. */
  @FunctionalInterface
  interface Cell {
    Tensor[] next(Tensor x, Tensor... states);
  }

  private final Tensor x;
  private final int batch;
  private final int steps;
  private final int[] resets;
  private final int[] lengths;

  Unrolled(Tensor x, Boundaries boundaries) {
    this.x = x;
    batch = Math.toIntExact(x.shape().dim(0));
    steps = Math.toIntExact(x.shape().dim(1));
    resets = boundaries.resets() == null ? null : boundaries.resets().toInts();
    lengths = boundaries.lengths() == null ? null : boundaries.lengths().toInts();
  }

  /** Returns each state after every step, [batch, steps, width], from those before the first. */
  Tensor[] states(Cell cell, Tensor... initial) {
    List<List<Tensor>> all = new ArrayList<>();
    for (int s = 0; s < initial.length; s++) all.add(new ArrayList<>());
    Tensor[] states = initial;
    for (int t = 0; t < steps; t++) {
      states = step(cell, t, states);
      for (int s = 0; s < states.length; s++) {
        all.get(s).add(states[s].reshape(batch, 1, states[s].shape().dim(1)));
      }
    }
    return all.stream().map(Unrolled::join).toArray(Tensor[]::new);
  }

  private Tensor[] step(Cell cell, int t, Tensor... states) {
    int[] rows = IntStream.range(0, batch).filter(b -> lengths == null || t < lengths[b]).toArray();
    if (rows.length == 0) return states;
    Shape s = x.shape();
    Tensor at = x.slice(1, t, 1).reshape(batch, s.dim(2), s.dim(3));
    Tensor[] next = new Tensor[states.length];
    for (int i = 0; i < next.length; i++) next[i] = cleared(states[i], rows, t);
    boolean whole = rows.length == batch;
    next = cell.next(whole ? at : at.gather(index(rows)), next);
    if (whole) return next;
    // Sequence b goes on with its own row, or with that of the results which is its.
    int[] from = IntStream.range(0, batch).toArray();
    for (int n = 0; n < rows.length; n++) from[rows[n]] = batch + n;
    for (int i = 0; i < next.length; i++) {
      next[i] = states[i].concat(next[i], 0).gather(index(from));
    }
    return next;
  }

  /** Returns those rows of a state, zeros where it is cleared before step t. */
  private Tensor cleared(Tensor state, int[] rows, int t) {
    int[] from = rows.clone();
    boolean any = false;
    for (int n = 0; resets != null && n < rows.length; n++) {
      if (resets[rows[n] * steps + t] == 0) continue;
      from[n] = batch;
      any = true;
    }
    if (!any) return rows.length == batch ? state : state.gather(index(rows));
    long width = state.shape().dim(1);
    Tensor zeros = Constant.of(state, Shape.of(1, width), new double[Math.toIntExact(width)]);
    return state.concat(zeros, 0).gather(index(from));
  }

  private Tensor index(int[] rows) {
    return x.device().scope().indices(Shape.of(rows.length), rows);
  }

  /** Neighbours are joined in rounds, so that no state is copied more than log2(steps) times. */
  private static Tensor join(List<Tensor> states) {
    List<Tensor> parts = states;
    while (parts.size() > 1) {
      List<Tensor> joined = new ArrayList<>();
      for (int i = 0; i < parts.size(); i += 2) {
        boolean pair = i + 1 < parts.size();
        joined.add(pair ? parts.get(i).concat(parts.get(i + 1), 1) : parts.get(i));
      }
      parts = joined;
    }
    return parts.getFirst();
  }

  /** Returns [rows, width] of one gate from the inputs [rows, gates, width] of one step. */
  static Tensor input(Tensor x, int gate) {
    return x.slice(1, gate, 1).reshape(x.shape().dim(0), x.shape().dim(2));
  }

  /** Returns W[gate] h + c[gate] for each row of h, of weights [gates, width, width]. */
  static Tensor product(Tensor h, Tensor weight, Tensor bias, int gate) {
    long width = h.shape().dim(1);
    Tensor own = weight.slice(0, gate, 1).reshape(width, width);
    return h.matmul(own, false, true).add(bias.slice(0, gate, 1).reshape(width));
  }
}
