// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * The header in plain loops, each function as its formula, over any memory of true size: the oracle
 * of every test. It refuses sizes, types and indices that the header refuses; overlap and alignment
 * are the libraries' own business.
 */
public final class PlainKernels extends PlainLayers {
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
  public void attention(
      int dtype,
      MemorySegment out,
      MemorySegment lse,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      long batch,
      long heads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      double scale,
      int causal) {
    storedFloats(dtype);
    var plan =
        new Geometry(batch, heads, qSteps, kSteps, headSize, maskBatch, maskHeads, maskSteps);
    double[] qs = read(dtype, q, batch, qSteps, heads, headSize);
    double[] ks = read(dtype, k, batch, kSteps, heads, headSize);
    double[] vs = read(dtype, v, batch, kSteps, heads, headSize);
    double[] masks = plan.mask(dtype, mask);
    int[] keys = plan.keys(lengths);
    var result = new double[qs.length];
    var sums = new double[(int) (batch * heads * qSteps)];
    for (int b = 0; b < batch; b++) {
      for (int h = 0; h < heads; h++) {
        for (int i = 0; i < qSteps; i++) {
          double[] p = scores(plan, qs, ks, masks, keys, scale, causal, b, h, i);
          sums[plan.query(b, h, i)] = softmax(p, 0, p.length);
          for (int d = 0; d < headSize; d++) {
            var sum = new Sum();
            for (int j = 0; j < kSteps; j++) {
              // A key that weighs nothing adds nothing, whatever its value.
              if (p[j] != 0) sum.add(factor(dtype, p[j]), vs[plan.at(b, j, plan.kSteps, h, d)]);
            }
            result[plan.at(b, i, plan.qSteps, h, d)] = sum.value();
          }
        }
      }
    }
    write(dtype, out, result);
    write(sumType(dtype), lse, sums);
  }

  /** s[j] = scale q . k[j] + mask where key j is visible, -infinity elsewhere. */
  private double[] scores(
      Geometry plan,
      double[] q,
      double[] k,
      double[] mask,
      int[] keys,
      double scale,
      int causal,
      int b,
      int h,
      int i) {
    var s = new double[plan.kSteps];
    for (int j = 0; j < s.length; j++) {
      if (!plan.visible(keys[b], causal, i, j)) {
        s[j] = Double.NEGATIVE_INFINITY;
        continue;
      }
      var dot = new Sum();
      for (int d = 0; d < plan.headSize; d++) {
        dot.add(q[plan.at(b, i, plan.qSteps, h, d)], k[plan.at(b, j, plan.kSteps, h, d)]);
      }
      s[j] = round(round(round(scale) * dot.value()) + mask[plan.mask(b, h, i, j)]);
    }
    return s;
  }

  @Override
  public void attentionBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment dmask,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment out,
      MemorySegment lse,
      long batch,
      long heads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      double scale,
      int causal) {
    storedFloats(dtype);
    var plan =
        new Geometry(batch, heads, qSteps, kSteps, headSize, maskBatch, maskHeads, maskSteps);
    double[] douts = read(dtype, dout, batch, qSteps, heads, headSize);
    double[] qs = read(dtype, q, batch, qSteps, heads, headSize);
    double[] ks = read(dtype, k, batch, kSteps, heads, headSize);
    double[] vs = read(dtype, v, batch, kSteps, heads, headSize);
    double[] masks = plan.mask(dtype, mask);
    int[] keys = plan.keys(lengths);
    double[] outs = read(dtype, out, batch, qSteps, heads, headSize);
    double[] sums = read(sumType(dtype), lse, batch, heads, qSteps);
    var toQ = sums(qs.length);
    var toK = sums(ks.length);
    var toV = sums(vs.length);
    var toMask = sums(masks.length);
    for (int b = 0; b < batch; b++) {
      for (int h = 0; h < heads; h++) {
        for (int i = 0; i < qSteps; i++) {
          double total = sums[plan.query(b, h, i)];
          if (total == Double.NEGATIVE_INFINITY) continue;
          double[] s = scores(plan, qs, ks, masks, keys, scale, causal, b, h, i);
          var delta = new Sum();
          for (int d = 0; d < headSize; d++) {
            int at = plan.at(b, i, plan.qSteps, h, d);
            delta.add(douts[at], outs[at]);
          }
          for (int j = 0; j < kSteps; j++) {
            double p = round(Math.exp(round(s[j] - total)));
            if (p == 0) continue;
            var dp = new Sum();
            for (int d = 0; d < headSize; d++) {
              dp.add(douts[plan.at(b, i, plan.qSteps, h, d)], vs[plan.at(b, j, plan.kSteps, h, d)]);
            }
            double ds = round(p * round(dp.value() - delta.value()));
            toMask[plan.mask(b, h, i, j)].add(ds);
            for (int d = 0; d < headSize; d++) {
              int query = plan.at(b, i, plan.qSteps, h, d);
              int key = plan.at(b, j, plan.kSteps, h, d);
              toQ[query].add(factor(dtype, ds), ks[key]);
              toK[key].add(factor(dtype, ds), qs[query]);
              toV[key].add(factor(dtype, p), douts[query]);
            }
          }
        }
      }
    }
    write(dtype, dq, values(toQ, round(scale)));
    write(dtype, dk, values(toK, round(scale)));
    write(dtype, dv, values(toV, 1));
    if (!missing(dmask)) write(dtype, dmask, values(toMask, 1));
  }

  /** Where the elements of attention's arrays lie, and who sees whom. */
  private static final class Geometry {
    final int batch;
    final int heads;
    final int qSteps;
    final int kSteps;
    final int headSize;
    final int maskBatch;
    final int maskHeads;
    final int maskSteps;

    Geometry(long... sizes) {
      Plain.sizes(sizes);
      batch = (int) sizes[0];
      heads = (int) sizes[1];
      qSteps = (int) sizes[2];
      kSteps = (int) sizes[3];
      headSize = (int) sizes[4];
      maskBatch = (int) sizes[5];
      maskHeads = (int) sizes[6];
      maskSteps = (int) sizes[7];
    }

    /** The place of element d of a head in q, k, v and what has their shape. */
    int at(int b, int step, int steps, int h, int d) {
      return ((b * steps + step) * heads + h) * headSize + d;
    }

    int query(int b, int h, int i) {
      return (b * heads + h) * qSteps + i;
    }

    int mask(int b, int h, int i, int j) {
      int row = (b % maskBatch * maskHeads + h % maskHeads) * maskSteps + i % maskSteps;
      return row * kSteps + j;
    }

    boolean visible(int keys, int causal, int i, int j) {
      return j < keys && (causal == 0 || j <= i + kSteps - qSteps);
    }

    double[] mask(int dtype, MemorySegment mask) {
      broadcast("mask_batch", maskBatch, batch);
      broadcast("mask_heads", maskHeads, heads);
      broadcast("mask_steps", maskSteps, qSteps);
      return missing(mask)
          ? new double[maskBatch * maskHeads * maskSteps * kSteps]
          : read(dtype, mask, maskBatch, maskHeads, maskSteps, kSteps);
    }

    private static void broadcast(String what, int size, int whole) {
      if (size != 1 && size != whole) {
        throw new IllegalArgumentException(what + " is " + size + "; it must be 1 or " + whole);
      }
    }

    int[] keys(MemorySegment lengths) {
      if (!missing(lengths)) return readIndex(lengths, "lengths", batch, 0, kSteps + 1L);
      var keys = new int[batch];
      Arrays.fill(keys, kSteps);
      return keys;
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
