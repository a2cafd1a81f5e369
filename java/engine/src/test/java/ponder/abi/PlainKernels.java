// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * The header in plain loops, each function as its formula, over any memory of true size: the oracle
 * of every test. It refuses sizes, types and indices that the header refuses; overlap and alignment
 * are the libraries' own business.
 */
public final class PlainKernels extends PlainAttention {
  private PlainKernels(boolean narrow) {
    super(narrow);
  }

  /** Returns the kernels that compute in double with compensated sums: the answer. */
  public static PlainKernels wide() {
    return new PlainKernels(false);
  }

  /** Returns the kernels that round every operation to float: the measure of error limits. */
  public static PlainKernels narrow() {
    return new PlainKernels(true);
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
      long batch,
      long steps,
      long width) {
    floats(dtype);
    double[] xs = read(dtype, x, batch, steps, 3, width);
    double[] weights = read(dtype, weight, 3, width, width);
    double[] biases = read(dtype, bias, 3, width);
    double[] initials = read(dtype, initial, batch, width);
    int w = (int) width;
    var states = new double[(int) (batch * steps) * w];
    var kept = new double[states.length * 4];
    for (int b = 0; b < batch; b++) {
      double[] h = Arrays.copyOfRange(initials, b * w, (b + 1) * w);
      for (int t = 0; t < steps; t++) {
        int row = (int) (b * steps) + t;
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
      long batch,
      long steps,
      long width) {
    floats(dtype);
    double[] dhiddens = read(dtype, dhidden, batch, steps, width);
    double[] weights = read(dtype, weight, 3, width, width);
    double[] initials = read(dtype, initial, batch, width);
    double[] states = read(dtype, hidden, batch, steps, width);
    double[] kept = read(dtype, gates, batch, steps, 4, width);
    int w = (int) width;
    var toX = new double[states.length * 3];
    var toWeight = sums(weights.length);
    var toBias = sums(3 * w);
    var toInitial = new double[initials.length];
    for (int b = 0; b < batch; b++) {
      var carried = new double[w];
      for (int t = (int) steps - 1; t >= 0; t--) {
        int row = (int) (b * steps) + t;
        double[] h =
            t > 0
                ? Arrays.copyOfRange(states, (row - 1) * w, row * w)
                : Arrays.copyOfRange(initials, b * w, (b + 1) * w);
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
      }
      System.arraycopy(carried, 0, toInitial, b * w, w);
    }
    write(dtype, dx, toX);
    write(dtype, dweight, values(toWeight, 1));
    write(dtype, dbias, values(toBias, 1));
    write(dtype, dinitial, toInitial);
  }

  @Override
  public void adamw(
      int dtype,
      MemorySegment parameter,
      MemorySegment first,
      MemorySegment second,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment step,
      MemorySegment scale,
      long n,
      double beta1,
      double beta2,
      double eps,
      double decay) {
    floats(dtype);
    double[] p = read(dtype, parameter, n);
    double[] m = read(dtype, first, n);
    double[] v = read(dtype, second, n);
    double[] gradients = read(dtype, gradient, n);
    double speed = read(dtype, rate, 1)[0];
    double factor = read(dtype, scale, 1)[0];
    int t = readIndex(step, "step", 1, 1, Integer.MAX_VALUE)[0];
    double firstRest = round(1 - Math.pow(beta1, t));
    double secondRest = round(1 - Math.pow(beta2, t));
    for (int i = 0; i < n; i++) {
      double g = round(factor * gradients[i]);
      m[i] = round(round(round(beta1) * m[i]) + round(round(1 - beta1) * g));
      v[i] = round(round(round(beta2) * v[i]) + round(round(1 - beta2) * round(g * g)));
      double root = round(Math.sqrt(round(v[i] / secondRest)));
      double move = round(round(m[i] / firstRest) / round(root + round(eps)));
      p[i] = round(p[i] - round(speed * round(move + round(round(decay) * p[i]))));
    }
    write(dtype, parameter, p);
    write(dtype, first, m);
    write(dtype, second, v);
  }

  @Override
  public void sgd(
      int dtype,
      MemorySegment parameter,
      MemorySegment velocity,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment scale,
      long n,
      double momentum,
      double decay) {
    floats(dtype);
    double[] p = read(dtype, parameter, n);
    double[] v = read(dtype, velocity, n);
    double[] gradients = read(dtype, gradient, n);
    double speed = read(dtype, rate, 1)[0];
    double factor = read(dtype, scale, 1)[0];
    for (int i = 0; i < n; i++) {
      double g = round(round(factor * gradients[i]) + round(round(decay) * p[i]));
      v[i] = round(round(round(momentum) * v[i]) + g);
      p[i] = round(p[i] - round(speed * v[i]));
    }
    write(dtype, parameter, p);
    write(dtype, velocity, v);
  }
}
