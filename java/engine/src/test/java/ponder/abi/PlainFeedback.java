// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * Feedback memory by its formula, number by number. Each number knows what it was made of and its
 * slopes by that; so the formula alone gives every adjoint.
 */
abstract class PlainFeedback extends PlainFastWeights {
  PlainFeedback(boolean narrow) {
    super(narrow);
  }

  @Override
  public void feedback(
      int dtype,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment x,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base) {
    floats(dtype);
    var sizes =
        new Sizes(
            batch, steps, layers, width, inner, heads, kvHeads, headSize, past, room, window, eps,
            base);
    MemorySegment[] in = {
      x,
      pastKeys,
      pastValues,
      attentionGain,
      query,
      mix,
      mlpGain,
      wide,
      narrow,
      share,
      memoryGain,
      key,
      value
    };
    var run = new Run(dtype, sizes, new Reach(sizes, first, resets, lengths), in);
    write(dtype, states, run.states.values());
    write(dtype, keys, run.keys.values());
    write(dtype, values, run.values.values());
  }

  @Override
  public void feedbackBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dpastKeys,
      MemorySegment dpastValues,
      MemorySegment dattentionGain,
      MemorySegment dquery,
      MemorySegment dmix,
      MemorySegment dmlpGain,
      MemorySegment dwide,
      MemorySegment dnarrow,
      MemorySegment dshare,
      MemorySegment dmemoryGain,
      MemorySegment dkey,
      MemorySegment dvalue,
      MemorySegment dstates,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base) {
    floats(dtype);
    var sizes =
        new Sizes(
            batch, steps, layers, width, inner, heads, kvHeads, headSize, past, room, window, eps,
            base);
    double[] all = read(dtype, states, batch, steps, layers + 1, width);
    double[] x = new double[(int) (batch * steps * width)];
    for (int i = 0; i < batch * steps; i++) {
      System.arraycopy(all, i * (int) ((layers + 1) * width), x, i * (int) width, (int) width);
    }
    MemorySegment[] in = {
      null,
      pastKeys,
      pastValues,
      attentionGain,
      query,
      mix,
      mlpGain,
      wide,
      narrow,
      share,
      memoryGain,
      key,
      value
    };
    var run = new Run(dtype, sizes, new Reach(sizes, first, resets, lengths), x, in);
    var adjoints = new double[run.tape.count];
    run.states.seed(adjoints, read(dtype, dstates, batch, steps, layers + 1, width));
    for (int i = 0; i < 2; i++) {
      MemorySegment d = i == 0 ? dkeys : dvalues;
      if (missing(d)) continue;
      (i == 0 ? run.keys : run.values)
          .seed(adjoints, read(dtype, d, batch, steps, kvHeads, headSize));
    }
    run.tape.back(adjoints);
    MemorySegment[] out = {
      dx,
      dpastKeys,
      dpastValues,
      dattentionGain,
      dquery,
      dmix,
      dmlpGain,
      dwide,
      dnarrow,
      dshare,
      dmemoryGain,
      dkey,
      dvalue
    };
    for (int i = 0; i < out.length; i++) {
      if (missing(out[i])) continue;
      int[] numbers = run.in[i];
      var d = new double[numbers.length];
      for (int j = 0; j < d.length; j++) d[j] = adjoints[numbers[j]];
      write(dtype, out[i], d);
    }
  }

  /** The sizes of a call. */
  private record Sizes(
      int batch,
      int steps,
      int layers,
      int width,
      int inner,
      int heads,
      int kvHeads,
      int headSize,
      int past,
      int room,
      long window,
      double eps,
      double base) {
    Sizes(
        long batch,
        long steps,
        long layers,
        long width,
        long inner,
        long heads,
        long kvHeads,
        long headSize,
        long past,
        long room,
        long window,
        double eps,
        double base) {
      this(
          (int) batch,
          (int) steps,
          (int) layers,
          (int) width,
          (int) inner,
          (int) heads,
          (int) kvHeads,
          (int) headSize,
          (int) past,
          (int) room,
          window,
          eps,
          base);
      sizes(batch, steps, layers, width, inner, heads, kvHeads, headSize, room);
      range("past", past, 0, room + 1);
      range("window", window, 0, (1L << 40) + 1);
      if (heads % kvHeads != 0) throw new IllegalArgumentException("kv_heads " + kvHeads);
      if (headSize % 2 != 0) throw new IllegalArgumentException("head_size " + headSize);
    }

    /** The elements of each input, in the header's order. */
    long[][] shapes() {
      long[] memory = {batch, room, kvHeads, headSize};
      return new long[][] {
        {batch, steps, width},
        memory,
        memory,
        {layers, width},
        {layers, width, heads, headSize},
        {layers, heads, headSize, width},
        {layers, width},
        {layers, width, inner},
        {layers, inner, width},
        {layers + 1},
        {width},
        {width, kvHeads, headSize},
        {width, kvHeads, headSize}
      };
    }
  }

  /** Where sequences begin anew and end; null for what is not given. */
  private record Reach(int[] first, int[] resets, int[] lengths) {
    Reach(Sizes s, MemorySegment first, MemorySegment resets, MemorySegment lengths) {
      this(
          missing(first) ? null : readIndex(first, "first", s.batch, 0, s.past + 1L),
          missing(resets)
              ? null
              : readIndex(resets, "resets", s.batch * s.steps, Integer.MIN_VALUE, 1L << 31),
          missing(lengths) ? null : readIndex(lengths, "lengths", s.batch, 0, s.steps + 1L));
    }
  }

  /** Numbers and what they were made of. */
  private final class Tape {
    private double[] values = new double[1024];
    private int[] ends = new int[1024];
    private int[] parents = new int[4096];
    private double[] slopes = new double[4096];
    private int edges;
    int count;

    void edge(int parent, double slope) {
      if (edges == parents.length) {
        parents = Arrays.copyOf(parents, 2 * edges);
        slopes = Arrays.copyOf(slopes, 2 * edges);
      }
      parents[edges] = parent;
      slopes[edges++] = slope;
    }

    /** Returns a number made of what the edges since the last one lead to. */
    int number(double value) {
      if (count == values.length) {
        values = Arrays.copyOf(values, 2 * count);
        ends = Arrays.copyOf(ends, 2 * count);
      }
      values[count] = value;
      ends[count] = edges;
      return count++;
    }

    double value(int number) {
      return values[number];
    }

    int apply(int x, double value, double slope) {
      edge(x, slope);
      return number(value);
    }

    int add(int a, int b) {
      edge(a, 1);
      edge(b, 1);
      return number(round(values[a] + values[b]));
    }

    int mul(int a, int b) {
      edge(a, values[b]);
      edge(b, values[a]);
      return number(round(values[a] * values[b]));
    }

    /** Returns start (none if -1) + the sum of a[i] b[from + i stride]. */
    int dot(int start, int[] a, int[] b, int from, int stride) {
      var sum = new Sum();
      if (start >= 0) {
        sum.add(values[start]);
        edge(start, 1);
      }
      for (int i = 0; i < a.length; i++) {
        int other = b[from + i * stride];
        sum.add(values[a[i]], values[other]);
        edge(a[i], values[other]);
        edge(other, values[a[i]]);
      }
      return number(round(sum.value()));
    }

    /** Adds to the adjoints of all numbers those that come from later ones. */
    void back(double[] adjoints) {
      for (int i = count - 1; i > 0; i--) {
        for (int e = ends[i - 1]; e < ends[i]; e++) {
          adjoints[parents[e]] = round(adjoints[parents[e]] + round(adjoints[i] * slopes[e]));
        }
      }
    }
  }

  /** Rows of numbers that a function returns. */
  private final class Results {
    private final Tape tape;
    private int[] numbers = new int[64];
    private int count;

    Results(Tape tape) {
      this.tape = tape;
    }

    void add(int... row) {
      if (count + row.length > numbers.length) {
        numbers = Arrays.copyOf(numbers, 2 * (count + row.length));
      }
      System.arraycopy(row, 0, numbers, count, row.length);
      count += row.length;
    }

    double[] values() {
      return Arrays.stream(numbers, 0, count).mapToDouble(tape::value).toArray();
    }

    void seed(double[] adjoints, double[] own) {
      for (int i = 0; i < count; i++) adjoints[numbers[i]] += own[i];
    }
  }

  /** A call: the header's formula. */
  private final class Run {
    final Tape tape = new Tape();
    final Results states = new Results(tape);
    final Results keys = new Results(tape);
    final Results values = new Results(tape);
    final int[][] in;
    private final Sizes s;
    private final Reach reach;

    Run(int dtype, Sizes sizes, Reach reach, MemorySegment... in) {
      this(dtype, sizes, reach, read(dtype, in[0], sizes.shapes()[0]), in);
    }

    Run(int dtype, Sizes sizes, Reach reach, double[] x, MemorySegment... in) {
      s = sizes;
      this.reach = reach;
      this.in = new int[in.length][];
      for (int i = 0; i < in.length; i++) {
        if (i > 0 && missing(in[i])) continue;
        double[] numbers = i == 0 ? x : read(dtype, in[i], s.shapes()[i]);
        this.in[i] = Arrays.stream(numbers).mapToInt(tape::number).toArray();
      }
      for (int b = 0; b < s.batch; b++) sequence(b);
    }

    private void sequence(int b) {
      int kv = s.kvHeads * s.headSize;
      var k = new int[s.past + s.steps][];
      var v = new int[s.past + s.steps][];
      for (int j = 0; j < s.past; j++) {
        k[j] = row(in[1], b * s.room + j, kv);
        v[j] = row(in[2], b * s.room + j, kv);
      }
      int begin = reach.first == null ? 0 : reach.first[b];
      for (int t = 0; t < s.steps; t++) {
        int place = s.past + t;
        if (reach.lengths != null && t >= reach.lengths[b]) {
          for (int i = 0; i < (s.layers + 1) * s.width; i++) states.add(tape.number(0));
          for (int i = 0; i < kv; i++) {
            keys.add(tape.number(0));
            values.add(tape.number(0));
          }
          continue;
        }
        if (reach.resets != null && reach.resets[b * s.steps + t] != 0) begin = place;
        int first = s.window == 0 ? begin : (int) Math.max(begin, place - s.window);
        var x = new int[s.layers + 1][];
        x[0] = row(in[0], b * s.steps + t, s.width);
        states.add(x[0]);
        for (int l = 0; l < s.layers; l++) {
          int[] y = x[l];
          if (first < place) {
            int[] q = product(null, norm(y, 3, l), 4, l, s.heads * s.headSize);
            y = product(y, attention(turned(q, place), k, v, first, place), 5, l, s.width);
          }
          int[] gates = product(null, norm(y, 6, l), 7, l, s.inner);
          for (int i = 0; i < gates.length; i++) gates[i] = gelu(gates[i]);
          x[l + 1] = product(y, gates, 8, l, s.width);
          states.add(x[l + 1]);
        }
        var mixed = new int[s.width];
        for (int i = 0; i < s.width; i++) {
          var levels = new int[s.layers + 1];
          for (int l = 0; l <= s.layers; l++) levels[l] = x[l][i];
          mixed[i] = tape.dot(-1, levels, in[9], 0, 1);
        }
        int[] z = norm(mixed, 10, 0);
        k[place] = turned(product(null, z, 11, 0, kv), place);
        v[place] = product(null, z, 12, 0, kv);
        keys.add(k[place]);
        values.add(v[place]);
      }
    }

    private static int[] row(int[] numbers, int at, int size) {
      return Arrays.copyOfRange(numbers, at * size, (at + 1) * size);
    }

    /** Returns start (none if null) + x times a layer's weights. */
    private int[] product(int[] start, int[] x, int weight, int layer, int cols) {
      var y = new int[cols];
      for (int j = 0; j < cols; j++) {
        int from = layer * x.length * cols + j;
        y[j] = tape.dot(start == null ? -1 : start[j], x, in[weight], from, cols);
      }
      return y;
    }

    private int[] norm(int[] x, int gain, int layer) {
      int square = tape.dot(-1, x, x, 0, 1);
      double mean = round(round(tape.value(square) / s.width) + round(s.eps));
      double root = round(1 / round(Math.sqrt(mean)));
      int scale = tape.apply(square, root, round(-0.5 * root / mean / s.width));
      var y = new int[x.length];
      for (int i = 0; i < x.length; i++) {
        y[i] = tape.mul(tape.mul(x[i], scale), in[gain][layer * s.width + i]);
      }
      return y;
    }

    private int[] turned(int[] x, int place) {
      int half = s.headSize / 2;
      var y = x.clone();
      for (int h = 0; h < x.length; h += s.headSize) {
        for (int i = 0; i < half; i++) {
          double angle = place * Math.pow(s.base, -(double) i / half);
          double cos = round(Math.cos(angle));
          double sin = round(Math.sin(angle));
          int a = x[h + i];
          int b = x[h + i + half];
          y[h + i] = turned(a, cos, b, -sin);
          y[h + i + half] = turned(a, sin, b, cos);
        }
      }
      return y;
    }

    private int turned(int a, double byA, int b, double byB) {
      tape.edge(a, byA);
      tape.edge(b, byB);
      return tape.number(round(round(tape.value(a) * byA) + round(tape.value(b) * byB)));
    }

    private int[] attention(int[] q, int[][] k, int[][] v, int first, int place) {
      double scale = round(1 / Math.sqrt(s.headSize));
      var read = new int[q.length];
      for (int h = 0; h < s.heads; h++) {
        int at = h / (s.heads / s.kvHeads) * s.headSize;
        int[] head = row(q, h, s.headSize);
        var scores = new int[place - first];
        double largest = Double.NEGATIVE_INFINITY;
        for (int j = 0; j < scores.length; j++) {
          int dot = tape.dot(-1, head, k[first + j], at, 1);
          scores[j] = tape.apply(dot, round(scale * tape.value(dot)), scale);
          largest = Math.max(largest, tape.value(scores[j]));
        }
        double base = largest == Double.NEGATIVE_INFINITY ? 0 : largest;
        var sum = new Sum();
        for (int j = 0; j < scores.length; j++) {
          double e = round(Math.exp(round(tape.value(scores[j]) - base)));
          scores[j] = tape.apply(scores[j], e, e);
          sum.add(e);
        }
        for (int score : scores) tape.edge(score, 1);
        double total = round(sum.value());
        int all = tape.number(total);
        double share = total == 0 ? 0 : round(1 / total);
        int one = tape.apply(all, share, -round(share * share));
        for (int j = 0; j < scores.length; j++) scores[j] = tape.mul(scores[j], one);
        for (int i = 0; i < s.headSize; i++) {
          var column = new int[scores.length];
          for (int j = 0; j < column.length; j++) column[j] = v[first + j][at + i];
          read[h * s.headSize + i] = tape.dot(-1, scores, column, 0, 1);
        }
      }
      return read;
    }

    private int gelu(int x) {
      double v = tape.value(x);
      double square = round(v * v);
      double linear = round(Math.sqrt(2 / Math.PI));
      double cubic = round(0.044715);
      double bend = round(Math.tanh(round(linear * round(v + round(cubic * round(square * v))))));
      double half = round(0.5 * round(1 + bend));
      double slope = round(linear * round(1 + round(3 * cubic * square)));
      double down = round(round(0.5 * v) * round(round(1 - round(bend * bend)) * slope));
      return tape.apply(x, round(v * half), round(half + down));
    }
  }
}
