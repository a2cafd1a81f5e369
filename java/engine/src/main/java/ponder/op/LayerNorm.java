// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * y = (x - mean) / sqrt(variance + eps) * gain + bias over the last axis. Source: Ba, Kiros,
 * Hinton, arXiv:1607.06450, eq. 4.
 *
 * @param eps what is added to the variance
 */
public record LayerNorm(double eps) implements Op.Fused {
  /**
   * Returns each row of x at mean 0 and variance 1, then scaled and shifted.
   *
   * @param x [.., cols], F32 or F64
   * @param gain [cols]
   * @param bias [cols]
   * @param eps what is added to the variance, which is divided by cols
   * @return the shape of x; a constant row gives bias
   * @throws IllegalArgumentException if gain or bias is not [cols] of x's type
   */
  public static Tensor layerNorm(Tensor x, Tensor gain, Tensor bias, double eps) {
    return new LayerNorm(eps).apply(x, gain, bias);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor x = in[0];
    Shape column = x.shape().with(-1, 1);
    Tensor distance = x.sub(x.mean(-1).reshape(column));
    Tensor variance = distance.mul(distance).mean(-1).reshape(column);
    return distance.mul(variance.affine(1, eps).power(-0.5)).mul(in[1]).add(in[2]);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    Shape shape = Rows.check("layerNorm: x", x);
    Rows.checkColumn("layerNorm: gain", in[1], x);
    Rows.checkColumn("layerNorm: bias", in[2], x);
    Tensor y = launch.output(x.dtype(), shape);
    Tensor mean = launch.output(x.dtype(), Shape.of(shape.rows()));
    Tensor rstd = launch.output(x.dtype(), Shape.of(shape.rows()));
    Kernels.of(launch)
        .layerNorm(
            x.dtype().code(),
            launch.memory(y),
            launch.memory(mean),
            launch.memory(rstd),
            launch.memory(x),
            launch.memory(in[1]),
            launch.memory(in[2]),
            shape.rows(),
            shape.dim(-1),
            eps);
    return new Result(y, mean, rstd);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor x = in[0];
    Tensor dx = launch.output(x.dtype(), x.shape());
    Tensor dgain = launch.output(x.dtype(), in[1].shape());
    Tensor dbias = launch.output(x.dtype(), in[2].shape());
    Kernels.of(launch)
        .layerNormBackward(
            x.dtype().code(),
            launch.memory(dx),
            launch.memory(dgain),
            launch.memory(dbias),
            launch.memory(dy),
            launch.memory(x),
            launch.memory(in[1]),
            launch.memory(y.saved()[0]),
            launch.memory(y.saved()[1]),
            x.shape().rows(),
            x.shape().dim(-1));
    return new Tensor[] {dx, dgain, dbias};
  }

  /** Mean 1, variance and the mean's correction 4, normalised x 2, gain and bias 2; 8 per row. */
  @Override
  public Work work(Tensor... in) {
    Tensor x = in[0];
    long rows = x.shape().rows();
    long saved = 2 * rows * x.dtype().bytes();
    return new Work(9 * x.size() + 8 * rows, 0, 2 * x.bytes() + 2 * in[1].bytes() + saved);
  }

  /** The two means 6, dx 7, dgain 4, dbias 1, for each the normalised x anew; 2 per row. */
  @Override
  public Work backwardWork(Tensor... in) {
    Tensor x = in[0];
    long rows = x.shape().rows();
    long saved = 2 * rows * x.dtype().bytes();
    return new Work(18 * x.size() + 2 * rows, 0, 3 * x.bytes() + 3 * in[1].bytes() + saved);
  }
}
