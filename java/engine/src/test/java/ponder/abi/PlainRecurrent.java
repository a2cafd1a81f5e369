// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/** Recurrent memory in plain loops, as the header states it. */
abstract class PlainRecurrent extends PlainReads {
  PlainRecurrent(boolean narrow) {
    super(narrow);
  }

  /** Where states are cleared and where sequences end. */
  private static final class Bounds {
    private final int steps;
    private final double[] resets;
    private final int[] lengths;

    Bounds(MemorySegment resets, MemorySegment lengths, long batch, long steps) {
      this.steps = (int) steps;
      this.resets = missing(resets) ? null : read(I32, resets, batch, steps);
      this.lengths = missing(lengths) ? null : readIndex(lengths, "lengths", batch, 0, steps + 1);
    }

    boolean runs(int b, int t) {
      return lengths == null || t < lengths[b];
    }

    boolean clears(int b, int t) {
      return resets != null && runs(b, t) && resets[b * steps + t] != 0;
    }

    /** Returns the state before step t, of a sequence that runs at it. */
    double[] before(double[] states, double[] initials, int w, int b, int t) {
      if (clears(b, t)) return new double[w];
      int row = b * steps + t;
      return t > 0
          ? Arrays.copyOfRange(states, (row - 1) * w, row * w)
          : Arrays.copyOfRange(initials, b * w, (b + 1) * w);
    }
  }

  @Override
  public void gru(
      int dtype,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    storedFloats(dtype);
    double[] xs = read(dtype, x, batch, steps, 3, width);
    double[] weights = read(dtype, weight, 3, width, width);
    double[] biases = read(sumType(dtype), bias, 3, width);
    double[] initials = read(dtype, initial, batch, width);
    var bounds = new Bounds(resets, lengths, batch, steps);
    int w = (int) width;
    var states = new double[(int) (batch * steps) * w];
    var kept = new double[states.length * 4];
    for (int b = 0; b < batch; b++) {
      double[] h = Arrays.copyOfRange(initials, b * w, (b + 1) * w);
      for (int t = 0; t < steps; t++) {
        int row = (int) (b * steps) + t;
        if (!bounds.runs(b, t)) {
          System.arraycopy(h, 0, states, row * w, w);
          continue;
        }
        if (bounds.clears(b, t)) h = new double[w];
        var next = new double[w];
        for (int i = 0; i < w; i++) {
          double r = sigmoid(round(xs[3 * row * w + i] + product(weights, biases, h, 0, i)));
          double z = sigmoid(round(xs[(3 * row + 1) * w + i] + product(weights, biases, h, 1, i)));
          double u = product(weights, biases, h, 2, i);
          double n = round(Math.tanh(round(xs[(3 * row + 2) * w + i] + round(r * u))));
          next[i] = round(n + round(z * round(h[i] - n)));
          states[row * w + i] = next[i];
          double[] gate = {r, z, n, u};
          for (int g = 0; g < 4; g++) kept[(4 * row + g) * w + i] = gate[g];
        }
        h = next;
      }
    }
    write(dtype, hidden, states);
    write(dtype, gates, kept);
  }

  /** The i-th element of W_gate h + c_gate. */
  private double product(double[] weight, double[] bias, double[] h, int gate, int i) {
    int w = h.length;
    var sum = new Sum();
    for (int j = 0; j < w; j++) sum.add(weight[(gate * w + i) * w + j], h[j]);
    return round(sum.value() + bias[gate * w + i]);
  }

  @Override
  public void gruBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitial,
      MemorySegment dhidden,
      MemorySegment weight,
      MemorySegment initial,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    storedFloats(dtype);
    double[] dhiddens = read(dtype, dhidden, batch, steps, width);
    double[] weights = read(dtype, weight, 3, width, width);
    double[] initials = read(dtype, initial, batch, width);
    double[] states = read(dtype, hidden, batch, steps, width);
    double[] kept = read(dtype, gates, batch, steps, 4, width);
    var bounds = new Bounds(resets, lengths, batch, steps);
    int w = (int) width;
    var toX = new double[states.length * 3];
    var toWeight = sums(weights.length);
    var toBias = sums(3 * w);
    var toInitial = new double[initials.length];
    for (int b = 0; b < batch; b++) {
      var carried = new double[w];
      for (int t = (int) steps - 1; t >= 0; t--) {
        int row = (int) (b * steps) + t;
        if (!bounds.runs(b, t)) {
          for (int i = 0; i < w; i++) carried[i] = round(dhiddens[row * w + i] + carried[i]);
          continue;
        }
        double[] h = bounds.before(states, initials, w, b, t);
        // The adjoints of W0 h + c0, W1 h + c1, W2 h + c2.
        var d = new double[3][w];
        for (int i = 0; i < w; i++) {
          double r = kept[4 * row * w + i];
          double z = kept[(4 * row + 1) * w + i];
          double n = kept[(4 * row + 2) * w + i];
          double u = kept[(4 * row + 3) * w + i];
          double dh = round(dhiddens[row * w + i] + carried[i]);
          double dn = round(round(dh * round(1 - z)) * round(1 - round(n * n)));
          d[0][i] = round(round(dn * u) * round(r * round(1 - r)));
          d[1][i] = round(round(dh * round(h[i] - n)) * round(z * round(1 - z)));
          d[2][i] = round(dn * r);
          toX[3 * row * w + i] = d[0][i];
          toX[(3 * row + 1) * w + i] = d[1][i];
          toX[(3 * row + 2) * w + i] = dn;
          carried[i] = round(dh * z);
        }
        for (int j = 0; j < w; j++) {
          var sum = new Sum();
          for (int gate = 0; gate < 3; gate++) {
            for (int i = 0; i < w; i++) {
              sum.add(d[gate][i], weights[(gate * w + i) * w + j]);
              toWeight[(gate * w + i) * w + j].add(d[gate][i], h[j]);
            }
          }
          carried[j] = round(carried[j] + sum.value());
        }
        for (int i = 0; i < 3 * w; i++) toBias[i].add(d[i / w][i % w]);
        if (bounds.clears(b, t)) Arrays.fill(carried, 0);
      }
      System.arraycopy(carried, 0, toInitial, b * w, w);
    }
    write(dtype, dx, toX);
    write(dtype, dweight, values(toWeight, 1));
    write(sumType(dtype), dbias, values(toBias, 1));
    write(dtype, dinitial, toInitial);
  }

  @Override
  public void lstm(
      int dtype,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    storedFloats(dtype);
    double[] xs = read(dtype, x, batch, steps, 4, width);
    double[] weights = read(dtype, weight, 4, width, width);
    double[] biases = read(sumType(dtype), bias, 4, width);
    double[] firstHidden = read(dtype, initialHidden, batch, width);
    double[] firstCell = read(sumType(dtype), initialCell, batch, width);
    var bounds = new Bounds(resets, lengths, batch, steps);
    int w = (int) width;
    var states = new double[(int) (batch * steps) * w];
    var stored = new double[states.length];
    var kept = new double[states.length * 4];
    for (int b = 0; b < batch; b++) {
      double[] h = Arrays.copyOfRange(firstHidden, b * w, (b + 1) * w);
      double[] c = Arrays.copyOfRange(firstCell, b * w, (b + 1) * w);
      for (int t = 0; t < steps; t++) {
        int row = (int) (b * steps) + t;
        if (bounds.clears(b, t)) {
          h = new double[w];
          c = new double[w];
        }
        double[] next = h.clone();
        for (int i = 0; i < w && bounds.runs(b, t); i++) {
          var gate = new double[4];
          for (int g = 0; g < 4; g++) {
            double sum = round(xs[(4 * row + g) * w + i] + product(weights, biases, h, g, i));
            gate[g] = g == 2 ? round(Math.tanh(sum)) : sigmoid(sum);
            kept[(4 * row + g) * w + i] = gate[g];
          }
          c[i] = round(round(gate[1] * c[i]) + round(gate[0] * gate[2]));
          next[i] = round(gate[3] * round(Math.tanh(c[i])));
        }
        h = next;
        System.arraycopy(h, 0, states, row * w, w);
        System.arraycopy(c, 0, stored, row * w, w);
      }
    }
    write(dtype, hidden, states);
    write(sumType(dtype), cells, stored);
    write(dtype, gates, kept);
  }

  @Override
  public void lstmBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitialHidden,
      MemorySegment dinitialCell,
      MemorySegment dhidden,
      MemorySegment dlastCell,
      MemorySegment weight,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    storedFloats(dtype);
    double[] dhiddens = read(dtype, dhidden, batch, steps, width);
    double[] weights = read(dtype, weight, 4, width, width);
    double[] firstHidden = read(dtype, initialHidden, batch, width);
    double[] firstCell = read(sumType(dtype), initialCell, batch, width);
    double[] states = read(dtype, hidden, batch, steps, width);
    double[] stored = read(sumType(dtype), cells, batch, steps, width);
    double[] kept = read(dtype, gates, batch, steps, 4, width);
    var bounds = new Bounds(resets, lengths, batch, steps);
    int w = (int) width;
    var toX = new double[kept.length];
    var toWeight = sums(weights.length);
    var toBias = sums(4 * w);
    var toHidden = new double[firstHidden.length];
    double[] toCell =
        missing(dlastCell)
            ? new double[firstCell.length]
            : read(sumType(dtype), dlastCell, batch, width);
    for (int b = 0; b < batch; b++) {
      var carried = new double[w];
      for (int t = (int) steps - 1; t >= 0; t--) {
        int row = (int) (b * steps) + t;
        for (int i = 0; i < w; i++) carried[i] = round(dhiddens[row * w + i] + carried[i]);
        if (!bounds.runs(b, t)) continue;
        double[] h = bounds.before(states, firstHidden, w, b, t);
        double[] c = bounds.before(stored, firstCell, w, b, t);
        var d = new double[4][w];
        for (int k = 0; k < w; k++) {
          double i = kept[4 * row * w + k];
          double f = kept[(4 * row + 1) * w + k];
          double g = kept[(4 * row + 2) * w + k];
          double o = kept[(4 * row + 3) * w + k];
          double y = round(Math.tanh(stored[row * w + k]));
          double dc = round(round(carried[k] * o) * round(1 - round(y * y)));
          dc = round(toCell[b * w + k] + dc);
          d[0][k] = round(round(dc * g) * round(i * round(1 - i)));
          d[1][k] = round(round(dc * c[k]) * round(f * round(1 - f)));
          d[2][k] = round(round(dc * i) * round(1 - round(g * g)));
          d[3][k] = round(round(carried[k] * y) * round(o * round(1 - o)));
          for (int gate = 0; gate < 4; gate++) toX[(4 * row + gate) * w + k] = d[gate][k];
          toCell[b * w + k] = bounds.clears(b, t) ? 0 : round(dc * f);
        }
        for (int j = 0; j < w; j++) {
          var sum = new Sum();
          for (int gate = 0; gate < 4; gate++) {
            for (int i = 0; i < w; i++) {
              sum.add(d[gate][i], weights[(gate * w + i) * w + j]);
              toWeight[(gate * w + i) * w + j].add(d[gate][i], h[j]);
            }
          }
          carried[j] = bounds.clears(b, t) ? 0 : round(sum.value());
        }
        for (int i = 0; i < 4 * w; i++) toBias[i].add(d[i / w][i % w]);
      }
      System.arraycopy(carried, 0, toHidden, b * w, w);
    }
    write(dtype, dx, toX);
    write(dtype, dweight, values(toWeight, 1));
    write(sumType(dtype), dbias, values(toBias, 1));
    write(dtype, dinitialHidden, toHidden);
    write(sumType(dtype), dinitialCell, toCell);
  }
}
