// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/** The header's norms, activations, rotary positions and cross-entropy, each as its formula. */
abstract class PlainLayers extends PlainPrimitives {
  PlainLayers(boolean narrow) {
    super(narrow);
  }

  @Override
  public void softmax(int dtype, MemorySegment y, MemorySegment x, long rows, long cols) {
    floats(dtype);
    double[] values = read(dtype, x, rows, cols);
    int width = (int) cols;
    for (int r = 0; r < rows; r++) softmax(values, r * width, width);
    write(dtype, y, values);
  }

  /** Replaces a row by its softmax and returns its log-sum-exp. */
  final double softmax(double[] row, int from, int count) {
    double largest = Double.NEGATIVE_INFINITY;
    for (int c = 0; c < count; c++) largest = Math.max(largest, row[from + c]);
    if (largest == Double.NEGATIVE_INFINITY) {
      Arrays.fill(row, from, from + count, 0);
      return largest;
    }
    var total = new Sum();
    for (int c = 0; c < count; c++) {
      row[from + c] = round(Math.exp(round(row[from + c] - largest)));
      total.add(row[from + c]);
    }
    for (int c = 0; c < count; c++) row[from + c] = round(row[from + c] / total.value());
    return round(largest + round(Math.log(total.value())));
  }

  @Override
  public void softmaxBackward(
      int dtype, MemorySegment dx, MemorySegment dy, MemorySegment y, long rows, long cols) {
    floats(dtype);
    double[] dys = read(dtype, dy, rows, cols);
    double[] ys = read(dtype, y, rows, cols);
    var result = new double[dys.length];
    int width = (int) cols;
    for (int r = 0; r < rows; r++) {
      var dot = new Sum();
      for (int c = 0; c < cols; c++) dot.add(dys[r * width + c], ys[r * width + c]);
      for (int c = 0; c < cols; c++) {
        int i = r * width + c;
        result[i] = round(ys[i] * round(dys[i] - dot.value()));
      }
    }
    write(dtype, dx, result);
  }

  @Override
  public void layerNorm(
      int dtype,
      MemorySegment y,
      MemorySegment mean,
      MemorySegment rstd,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment bias,
      long rows,
      long cols,
      double eps) {
    floats(dtype);
    double[] xs = read(dtype, x, rows, cols);
    double[] gains = read(dtype, gain, cols);
    double[] biases = read(dtype, bias, cols);
    var means = new double[(int) rows];
    var rstds = new double[(int) rows];
    var result = new double[xs.length];
    int width = (int) cols;
    for (int r = 0; r < rows; r++) {
      var sum = new Sum();
      for (int c = 0; c < width; c++) sum.add(xs[r * width + c]);
      means[r] = round(sum.value() / width);
      var squares = new Sum();
      for (int c = 0; c < width; c++) {
        double distance = round(xs[r * width + c] - means[r]);
        squares.add(distance, distance);
      }
      double variance = round(squares.value() / width);
      rstds[r] = round(1 / round(Math.sqrt(round(variance + round(eps)))));
      for (int c = 0; c < width; c++) {
        int i = r * width + c;
        double unit = round(round(xs[i] - means[r]) * rstds[r]);
        result[i] = round(round(unit * gains[c]) + biases[c]);
      }
    }
    write(dtype, y, result);
    write(dtype, mean, means);
    write(dtype, rstd, rstds);
  }

  @Override
  public void layerNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dbias,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment mean,
      MemorySegment rstd,
      long rows,
      long cols) {
    floats(dtype);
    double[] dys = read(dtype, dy, rows, cols);
    double[] xs = read(dtype, x, rows, cols);
    double[] means = read(dtype, mean, rows);
    double[] rstds = read(dtype, rstd, rows);
    int width = (int) cols;
    var units = new double[xs.length];
    for (int i = 0; i < units.length; i++) {
      units[i] = round(round(xs[i] - means[i / width]) * rstds[i / width]);
    }
    norm(dtype, dx, dgain, dys, units, read(dtype, gain, cols), rstds, true);
    var columns = new double[width];
    for (int c = 0; c < width; c++) {
      var sum = new Sum();
      for (int r = 0; r < rows; r++) sum.add(dys[r * width + c]);
      columns[c] = sum.value();
    }
    write(dtype, dbias, columns);
  }

  /**
   * With g = dy gain and unit = the normalised x: dx = scale (g - [centred] mean g - unit mean (g
   * unit)), dgain = sum over rows of dy unit.
   */
  private void norm(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      double[] dy,
      double[] units,
      double[] gain,
      double[] scales,
      boolean centred) {
    int width = gain.length;
    var result = new double[dy.length];
    for (int r = 0; r < scales.length; r++) {
      var sum = new Sum();
      var dot = new Sum();
      for (int c = 0; c < width; c++) {
        double g = round(dy[r * width + c] * gain[c]);
        sum.add(g);
        dot.add(g, units[r * width + c]);
      }
      double shift = centred ? round(sum.value() / width) : 0;
      double slope = round(dot.value() / width);
      for (int c = 0; c < width; c++) {
        int i = r * width + c;
        double g = round(round(dy[i] * gain[c]) - shift);
        result[i] = round(scales[r] * round(g - round(units[i] * slope)));
      }
    }
    write(dtype, dx, result);
    var columns = new double[width];
    for (int c = 0; c < width; c++) {
      var sum = new Sum();
      for (int r = 0; r < scales.length; r++) sum.add(dy[r * width + c], units[r * width + c]);
      columns[c] = sum.value();
    }
    write(dtype, dgain, columns);
  }

  @Override
  public void rmsNorm(
      int dtype,
      MemorySegment y,
      MemorySegment scale,
      MemorySegment x,
      MemorySegment gain,
      long rows,
      long cols,
      double eps) {
    floats(dtype);
    double[] xs = read(dtype, x, rows, cols);
    double[] gains = read(dtype, gain, cols);
    var scales = new double[(int) rows];
    var result = new double[xs.length];
    int width = (int) cols;
    for (int r = 0; r < rows; r++) {
      var squares = new Sum();
      for (int c = 0; c < width; c++) squares.add(xs[r * width + c], xs[r * width + c]);
      double mean = round(squares.value() / width);
      scales[r] = round(1 / round(Math.sqrt(round(mean + round(eps)))));
      for (int c = 0; c < width; c++) {
        result[r * width + c] = round(round(xs[r * width + c] * scales[r]) * gains[c]);
      }
    }
    write(dtype, y, result);
    write(dtype, scale, scales);
  }

  @Override
  public void rmsNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment scale,
      long rows,
      long cols) {
    floats(dtype);
    double[] units = read(dtype, x, rows, cols);
    double[] scales = read(dtype, scale, rows);
    for (int i = 0; i < units.length; i++) units[i] = round(units[i] * scales[(int) (i / cols)]);
    double[] dys = read(dtype, dy, rows, cols);
    norm(dtype, dx, dgain, dys, units, read(dtype, gain, cols), scales, false);
  }

  private static final double ROOT = Math.sqrt(2 / Math.PI);

  /** With (1 + tanh t) / 2 = 1 / (1 + exp -2t), whose digits do not cancel. */
  @Override
  public void gelu(int dtype, MemorySegment y, MemorySegment x, long n) {
    map(dtype, y, x, n, v -> round(v * gate(v)));
  }

  private double gate(double x) {
    double cube = round(x * round(x * x));
    double sum = round(x + round(round(0.044715) * cube));
    return sigmoid(round(round(2 * ROOT) * sum));
  }

  @Override
  public void geluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n) {
    floats(dtype);
    double[] dys = read(dtype, dy, n);
    double[] xs = read(dtype, x, n);
    for (int i = 0; i < xs.length; i++) {
      double gate = gate(xs[i]);
      double square = round(xs[i] * xs[i]);
      double slope = round(round(2 * ROOT) * round(1 + round(round(3 * 0.044715) * square)));
      double bend = round(round(gate * round(1 - gate)) * slope);
      xs[i] = round(dys[i] * round(gate + round(xs[i] * bend)));
    }
    write(dtype, dx, xs);
  }

  @Override
  public void silu(int dtype, MemorySegment y, MemorySegment x, long n) {
    map(dtype, y, x, n, v -> round(v / round(1 + round(Math.exp(-v)))));
  }

  @Override
  public void siluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n) {
    floats(dtype);
    double[] dys = read(dtype, dy, n);
    double[] xs = read(dtype, x, n);
    for (int i = 0; i < xs.length; i++) {
      double s = sigmoid(xs[i]);
      double slope = round(s * round(1 + round(xs[i] * round(1 - s))));
      xs[i] = round(dys[i] * slope);
    }
    write(dtype, dx, xs);
  }

  @Override
  public void rotary(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base) {
    turn(dtype, y, x, batch, steps, heads, headSize, start, base, 1);
  }

  @Override
  public void rotaryBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dy,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base) {
    turn(dtype, dx, dy, batch, steps, heads, headSize, start, base, -1);
  }

  private void turn(
      int dtype,
      MemorySegment to,
      MemorySegment from,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base,
      int sign) {
    floats(dtype);
    if (headSize % 2 != 0) throw new IllegalArgumentException("head_size " + headSize);
    double[] x = read(dtype, from, batch, steps, heads, headSize);
    int half = (int) headSize / 2;
    for (int row = 0; row < batch * steps * heads; row++) {
      long t = start + row / heads % steps;
      for (int i = 0; i < half; i++) {
        double rate = round(Math.pow(base, -(double) i / half));
        double angle = round(t * rate);
        double cos = round(Math.cos(angle));
        double sin = round(Math.sin(angle)) * sign;
        int at = row * 2 * half + i;
        double a = x[at];
        double b = x[at + half];
        x[at] = round(round(a * cos) - round(b * sin));
        x[at + half] = round(round(a * sin) + round(b * cos));
      }
    }
    write(dtype, to, x);
  }

  @Override
  public void crossEntropy(
      int dtype,
      MemorySegment loss,
      MemorySegment lse,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      long rows,
      long classes,
      long width) {
    floats(dtype);
    int[] targets = readIndex(target, "target", rows, -1, classes);
    double[] xs = read(dtype, x, rows, width);
    double[] weights = read(dtype, weight, classes, width);
    var losses = new double[(int) rows];
    var sums = new double[(int) rows];
    for (int r = 0; r < rows; r++) {
      if (targets[r] < 0) continue;
      double[] logits = logits(xs, weights, r, (int) width);
      double[] copy = logits.clone();
      sums[r] = softmax(copy, 0, copy.length);
      losses[r] = round(sums[r] - logits[targets[r]]);
    }
    write(dtype, loss, losses);
    write(dtype, lse, sums);
  }

  /** logits[c] = sum over k of x[r,k] weight[c,k]. */
  private double[] logits(double[] x, double[] weight, int r, int width) {
    var logits = new double[weight.length / width];
    for (int c = 0; c < logits.length; c++) {
      var sum = new Sum();
      for (int k = 0; k < width; k++) sum.add(x[r * width + k], weight[c * width + k]);
      logits[c] = sum.value();
    }
    return logits;
  }

  @Override
  public void crossEntropyBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dloss,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      MemorySegment lse,
      long rows,
      long classes,
      long width) {
    floats(dtype);
    int[] targets = readIndex(target, "target", rows, -1, classes);
    double[] dlosses = read(dtype, dloss, rows);
    double[] xs = read(dtype, x, rows, width);
    double[] weights = read(dtype, weight, classes, width);
    double[] sums = read(dtype, lse, rows);
    int w = (int) width;
    var p = new double[(int) rows][];
    for (int r = 0; r < rows; r++) {
      p[r] = logits(xs, weights, r, w);
      for (int c = 0; c < classes; c++) {
        double share = round(Math.exp(round(p[r][c] - sums[r])));
        double slope = round(share - (c == targets[r] ? 1 : 0));
        p[r][c] = targets[r] < 0 ? 0 : round(dlosses[r] * slope);
      }
    }
    var toX = new double[xs.length];
    for (int r = 0; r < rows; r++) {
      for (int k = 0; k < w; k++) {
        var sum = new Sum();
        for (int c = 0; c < classes; c++) sum.add(p[r][c], weights[c * w + k]);
        toX[r * w + k] = sum.value();
      }
    }
    write(dtype, dx, toX);
    var toWeight = new double[weights.length];
    for (int c = 0; c < classes; c++) {
      for (int k = 0; k < w; k++) {
        var sum = new Sum();
        for (int r = 0; r < rows; r++) sum.add(p[r][c], xs[r * w + k]);
        toWeight[c * w + k] = sum.value();
      }
    }
    write(dtype, dweight, toWeight);
  }
}
