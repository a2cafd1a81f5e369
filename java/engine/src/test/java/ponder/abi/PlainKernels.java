// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;

/**
 * The header in plain loops, each function as its formula, over any memory of true size: the oracle
 * of every test. It refuses sizes, types and indices that the header refuses; overlap and alignment
 * are the libraries' own business.
 */
public final class PlainKernels extends PlainMasks {
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
