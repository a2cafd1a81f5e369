// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * Rotary positions: with h = head_size / 2 the pair (x[i], x[i+h]) of a head at step t turns by the
 * angle (start + t) base^(-i / h). Source: Su et al., arXiv:2104.09864, eq. 15, with the halves
 * paired instead of neighbours.
 *
 * @param start the position of the first step
 * @param base the wavelength's growth over the head, often 10,000
 */
public record Rotary(long start, double base) implements Op.Fused {
  /**
   * Returns x with its positions turned in, so that a product of two heads depends on how far they
   * are apart.
   *
   * @param x [batch, steps, heads, head_size], F32 or F64; head_size even
   * @param start the position of the first step; what was kept from earlier steps
   * @param base the wavelength's growth over the head, above 0
   * @return the shape of x
   * @throws IllegalArgumentException if x has another rank, head_size is odd, start is negative or
   *     base is not above 0
   */
  public static Tensor rotary(Tensor x, long start, double base) {
    return new Rotary(start, base).apply(x);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor x = in[0];
    long half = x.shape().dim(3) / 2;
    Tensor a = x.slice(3, 0, half);
    Tensor b = x.slice(3, half, half);
    Tensor cos = table(x, false);
    Tensor sin = table(x, true);
    return a.mul(cos).sub(b.mul(sin)).concat(a.mul(sin).add(b.mul(cos)), 3);
  }

  /** Returns the cosines or sines [steps, 1, head_size / 2] of the angles. */
  private Tensor table(Tensor x, boolean sine) {
    int steps = Math.toIntExact(x.shape().dim(1));
    int half = Math.toIntExact(x.shape().dim(3) / 2);
    var values = new double[Math.multiplyExact(steps, half)];
    for (int t = 0; t < steps; t++) {
      for (int i = 0; i < half; i++) {
        double angle = (start + t) * Math.pow(base, -(double) i / half);
        values[t * half + i] = sine ? Math.sin(angle) : Math.cos(angle);
      }
    }
    return Constant.of(x, Shape.of(steps, 1, half), values);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    DType.requireArithmetic("rotary: x", x.dtype());
    Shape s = x.shape();
    if (s.rank() != 4 || s.dim(3) % 2 != 0) {
      throw new IllegalArgumentException(
          "rotary: x has shape " + s + ", must be [batch, steps, heads, an even head_size]");
    }
    if (start < 0) throw new IllegalArgumentException("rotary: start is " + start + ", below 0");
    if (!(base > 0))
      throw new IllegalArgumentException("rotary: base is " + base + ", not above 0");
    Tensor y = launch.output(x.dtype(), s);
    Kernels.of(launch)
        .rotary(
            x.dtype().code(),
            launch.memory(y),
            launch.memory(x),
            s.dim(0),
            s.dim(1),
            s.dim(2),
            s.dim(3),
            start,
            base);
    return new Result(y);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Shape s = in[0].shape();
    Tensor dx = launch.output(dy.dtype(), s);
    Kernels.of(launch)
        .rotaryBackward(
            dy.dtype().code(),
            launch.memory(dx),
            launch.memory(dy),
            s.dim(0),
            s.dim(1),
            s.dim(2),
            s.dim(3),
            start,
            base);
    return new Tensor[] {dx};
  }

  /** 3 flops per element; an angle, its sine and cosine 4 per step and pair. */
  @Override
  public Work work(Tensor... in) {
    Shape s = in[0].shape();
    return new Work(3 * in[0].size() + 4 * s.dim(1) * (s.dim(3) / 2), 0, 2 * in[0].bytes());
  }

  @Override
  public Work backwardWork(Tensor... in) {
    return work(in);
  }
}
