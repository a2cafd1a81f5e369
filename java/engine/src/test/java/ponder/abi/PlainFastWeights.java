// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;

/** Fast-weight memory in plain loops, step by step as the header words it; every state is kept. */
abstract class PlainFastWeights extends PlainRecurrent {
  PlainFastWeights(boolean narrow) {
    super(narrow);
  }

  @Override
  public void fastWeights(
      int dtype,
      MemorySegment out,
      MemorySegment last,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      long chunk,
      double scale,
      int features,
      int normalised) {
    storedFloats(dtype);
    range("chunk", chunk, 0, 257);
    var sizes = new Sizes(batch, heads, steps, keys, values, decaySize, features, normalised);
    var in = new Inputs(dtype, sizes, q, k, v, decay, rate, erase, write, initial, resets, lengths);
    var result = new double[in.v.length];
    var ends = new double[sizes.states()];
    for (int head = 0; head < batch * heads; head++) {
      var scan = new Scan(sizes, in, head);
      for (int t = 0; t < scan.length; t++) {
        double[] y = scan.read(t);
        double norm = normalised == 0 ? 1 : y[sizes.values];
        for (int c = 0; c < values; c++) {
          double read = normalised == 0 ? y[c] : norm == 0 ? 0 : round(y[c] / norm);
          result[scan.at(t) * sizes.values + c] = round(scale * read);
        }
      }
      System.arraycopy(scan.last(), 0, ends, head * sizes.state(), sizes.state());
    }
    write(dtype, out, result);
    write(sumType(dtype), last, ends);
  }

  @Override
  public void fastWeightsBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment ddecay,
      MemorySegment drate,
      MemorySegment derase,
      MemorySegment dwrite,
      MemorySegment dinitial,
      MemorySegment dout,
      MemorySegment dlast,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      double scale,
      int features,
      int normalised) {
    storedFloats(dtype);
    var sizes = new Sizes(batch, heads, steps, keys, values, decaySize, features, normalised);
    var in = new Inputs(dtype, sizes, q, k, v, decay, rate, erase, write, initial, resets, lengths);
    double[] douts = read(dtype, dout, batch, steps, heads, values);
    double[] ends = missing(dlast) ? new double[sizes.states()] : states(dtype, dlast, sizes);
    var slopes = new Slopes(sizes);
    for (int head = 0; head < batch * heads; head++) {
      new Scan(sizes, in, head).back(scale, douts, ends, slopes);
    }
    write(dtype, dq, slopes.q);
    write(dtype, dk, slopes.k);
    write(dtype, dv, slopes.v);
    if (!missing(ddecay)) write(sumType(dtype), ddecay, slopes.decay());
    if (!missing(drate)) write(sumType(dtype), drate, slopes.rate);
    if (!missing(derase)) write(sumType(dtype), derase, slopes.erase);
    if (!missing(dwrite)) write(sumType(dtype), dwrite, slopes.write);
    if (!missing(dinitial)) write(sumType(dtype), dinitial, slopes.initial);
  }

  private double[] states(int dtype, MemorySegment memory, Sizes s) {
    return read(sumType(dtype), memory, s.batch, s.heads, s.keys, s.columns());
  }

  /** The sizes of a call. */
  private record Sizes(
      int batch,
      int heads,
      int steps,
      int keys,
      int values,
      int decaySize,
      boolean features,
      boolean normalised) {
    Sizes(
        long batch,
        long heads,
        long steps,
        long keys,
        long values,
        long decaySize,
        int features,
        int normalised) {
      this(
          (int) batch,
          (int) heads,
          (int) steps,
          (int) keys,
          (int) values,
          (int) decaySize,
          features == 1,
          normalised == 1);
      if (decaySize != 1 && decaySize != keys) {
        throw new IllegalArgumentException("decay_size " + decaySize);
      }
    }

    int columns() {
      return values + (normalised ? 1 : 0);
    }

    int state() {
      return keys * columns();
    }

    int states() {
      return batch * heads * state();
    }

    int tokens() {
      return batch * steps * heads;
    }
  }

  /** The arrays of a call, null where it has none. */
  private final class Inputs {
    final double[] q;
    final double[] k;
    final double[] v;
    final double[] decay;
    final double[] rate;
    final double[] erase;
    final double[] write;
    final double[] initial;
    final int[] resets;
    final int[] lengths;

    Inputs(
        int dtype,
        Sizes s,
        MemorySegment q,
        MemorySegment k,
        MemorySegment v,
        MemorySegment decay,
        MemorySegment rate,
        MemorySegment erase,
        MemorySegment write,
        MemorySegment initial,
        MemorySegment resets,
        MemorySegment lengths) {
      this.q = read(dtype, q, s.tokens(), s.keys);
      this.k = read(dtype, k, s.tokens(), s.keys);
      this.v = read(dtype, v, s.tokens(), s.values);
      this.decay = missing(decay) ? null : read(sumType(dtype), decay, s.tokens(), s.decaySize);
      this.rate = missing(rate) ? null : read(sumType(dtype), rate, s.tokens());
      this.erase = missing(erase) ? null : read(sumType(dtype), erase, s.tokens(), s.keys);
      this.write = missing(write) ? null : read(sumType(dtype), write, s.tokens(), s.keys);
      this.initial = missing(initial) ? null : states(dtype, initial, s);
      long rows = (long) s.batch * s.steps;
      this.resets =
          missing(resets)
              ? null
              : readIndex(resets, "resets", rows, Integer.MIN_VALUE, Integer.MAX_VALUE + 1L);
      this.lengths =
          missing(lengths) ? null : readIndex(lengths, "lengths", s.batch, 0, s.steps + 1L);
    }
  }

  /** The adjoints of a call's inputs. */
  private final class Slopes {
    final double[] q;
    final double[] k;
    final double[] v;
    final double[] rate;
    final double[] erase;
    final double[] write;
    final double[] initial;
    private final Sum[] decay;

    Slopes(Sizes s) {
      q = new double[s.tokens() * s.keys];
      k = new double[q.length];
      v = new double[s.tokens() * s.values];
      rate = new double[s.tokens()];
      erase = new double[q.length];
      write = new double[q.length];
      initial = new double[s.states()];
      decay = sums(s.tokens() * s.decaySize);
    }

    double[] decay() {
      return values(decay, 1);
    }
  }

  /** One head, with the state before and after each of its steps. */
  private final class Scan {
    private final Sizes s;
    private final Inputs in;
    private final int head;
    private final int row;
    private final double[] start;
    private final double[][] before;
    private final double[][] after;
    private final double[][] held;
    private final double[][] written;
    final int length;

    Scan(Sizes s, Inputs in, int head) {
      this.s = s;
      this.in = in;
      this.head = head;
      row = head / s.heads;
      length = in.lengths == null ? s.steps : in.lengths[row];
      start = new double[s.state()];
      if (in.initial != null) {
        System.arraycopy(in.initial, head * s.state(), start, 0, s.state());
      }
      before = new double[length][];
      after = new double[length][];
      held = new double[length][s.columns()];
      written = new double[length][s.columns()];
      double[] state = start;
      for (int t = 0; t < length; t++) {
        if (resets(t)) state = new double[s.state()];
        before[t] = state;
        state = step(t, state);
        after[t] = state;
      }
    }

    int at(int t) {
      return (row * s.steps + t) * s.heads + head % s.heads;
    }

    private boolean resets(int t) {
      return in.resets != null && in.resets[row * s.steps + t] != 0;
    }

    private double feature(double x) {
      return !s.features ? x : x > 0 ? round(x + 1) : round(Math.exp(x));
    }

    private double query(int t, int j) {
      return feature(in.q[at(t) * s.keys + j]);
    }

    private double key(int t, int j) {
      return feature(in.k[at(t) * s.keys + j]);
    }

    private double value(int t, int c) {
      return c == s.values ? 1 : in.v[at(t) * s.values + c];
    }

    private double decayed(int t, int j, double x) {
      if (in.decay == null) return x;
      return round(in.decay[at(t) * s.decaySize + (s.decaySize == 1 ? 0 : j)] * x);
    }

    double[] last() {
      return length == 0 ? start : after[length - 1];
    }

    double[] read(int t) {
      var y = new double[s.columns()];
      for (int c = 0; c < y.length; c++) {
        var sum = new Sum();
        for (int j = 0; j < s.keys; j++) sum.add(after[t][j * y.length + c], query(t, j));
        y[c] = sum.value();
      }
      return y;
    }

    private double[] step(int t, double[] state) {
      int columns = s.columns();
      var next = new double[s.state()];
      for (int c = 0; c < columns; c++) {
        var u = new Sum();
        for (int j = 0; j < s.keys; j++) {
          double cell = state[j * columns + c];
          if (in.rate != null) u.add(decayed(t, j, cell), key(t, j));
          if (in.erase != null) u.add(cell, in.erase[at(t) * s.keys + j]);
        }
        held[t][c] = u.value();
        double x = value(t, c);
        if (in.rate != null) x = round(in.rate[at(t)] * round(x - held[t][c]));
        written[t][c] = x;
        for (int j = 0; j < s.keys; j++) {
          var sum = new Sum();
          sum.add(decayed(t, j, state[j * columns + c]));
          if (in.write != null) sum.add(in.write[at(t) * s.keys + j], held[t][c]);
          sum.add(key(t, j), x);
          next[j * columns + c] = sum.value();
        }
      }
      return next;
    }

    void back(double scale, double[] douts, double[] ends, Slopes to) {
      var g = new double[s.state()];
      System.arraycopy(ends, head * g.length, g, 0, g.length);
      for (int t = length - 1; t >= 0; t--) {
        var dout = new double[s.values];
        System.arraycopy(douts, at(t) * s.values, dout, 0, s.values);
        stepBack(t, g, outputSlopes(scale, dout, read(t)), to);
        if (resets(t)) g = new double[g.length];
      }
      System.arraycopy(g, 0, to.initial, head * g.length, g.length);
    }

    /** Returns the adjoints of S^T q and q . z. */
    private double[] outputSlopes(double scale, double[] dout, double[] y) {
      var dy = new double[s.columns()];
      double norm = s.normalised ? y[s.values] : 1;
      if (norm == 0) return dy;
      var sum = new Sum();
      for (int c = 0; c < s.values; c++) {
        double d = round(scale * dout[c]);
        dy[c] = s.normalised ? round(d / norm) : d;
        sum.add(dy[c], y[c]);
      }
      if (s.normalised) dy[s.values] = round(-sum.value() / norm);
      return dy;
    }

    /** Makes of g, the adjoint of the state after a step, that of the state before it. */
    private void stepBack(int t, double[] g, double[] dy, Slopes to) {
      int columns = s.columns();
      int first = at(t) * s.keys;
      Sum[] dq = sums(s.keys);
      Sum[] dk = sums(s.keys);
      Sum[] da = sums(s.keys);
      Sum[] dw = sums(s.keys);
      var drate = new Sum();
      for (int c = 0; c < columns; c++) {
        var e = new Sum();
        var back = new Sum();
        for (int j = 0; j < s.keys; j++) {
          int cell = j * columns + c;
          g[cell] = round(g[cell] + round(query(t, j) * dy[c]));
          dq[j].add(after[t][cell], dy[c]);
          dk[j].add(g[cell], written[t][c]);
          e.add(g[cell], key(t, j));
          if (in.write != null) back.add(g[cell], in.write[first + j]);
        }
        double dv = in.rate == null ? e.value() : round(in.rate[at(t)] * e.value());
        if (in.rate != null) drate.add(e.value(), round(value(t, c) - held[t][c]));
        if (c < s.values) to.v[at(t) * s.values + c] = dv;
        for (int j = 0; j < s.keys; j++) {
          int cell = j * columns + c;
          double was = before[t][cell];
          if (in.rate != null) {
            dk[j].add(-decayed(t, j, was), dv);
            g[cell] = round(g[cell] - round(key(t, j) * dv));
          }
          to.decay[at(t) * s.decaySize + (s.decaySize == 1 ? 0 : j)].add(g[cell], was);
          if (in.write != null) {
            dw[j].add(g[cell], held[t][c]);
            da[j].add(was, back.value());
          }
          g[cell] = decayed(t, j, g[cell]);
          if (in.write != null) {
            g[cell] = round(g[cell] + round(in.erase[first + j] * back.value()));
          }
        }
      }
      to.rate[at(t)] = drate.value();
      for (int j = 0; j < s.keys; j++) {
        to.q[first + j] = round(dq[j].value() * slope(in.q[first + j]));
        to.k[first + j] = round(dk[j].value() * slope(in.k[first + j]));
        to.erase[first + j] = da[j].value();
        to.write[first + j] = dw[j].value();
      }
    }

    private double slope(double x) {
      return !s.features || x > 0 ? 1 : round(Math.exp(x));
    }
  }
}
