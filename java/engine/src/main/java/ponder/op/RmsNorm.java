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
 * y = x / sqrt(mean of x^2 + eps) * gain over the last axis. Source: Zhang, Sennrich,
 * arXiv:1910.07467, eq. 4.
 *
 * @param eps what is added to the mean square
 */
public record RmsNorm(double eps) implements Op.Fused {
  /**
   * Returns each row of x at mean square 1, then scaled.
   *
   * @param x [.., cols], F32 or F64
   * @param gain [cols]
   * @param eps what is added to the mean square
   * @return the shape of x
   * @throws IllegalArgumentException if gain is not [cols] of x's type
   */
  public static Tensor rmsNorm(Tensor x, Tensor gain, double eps) {
    return new RmsNorm(eps).apply(x, gain);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor x = in[0];
    Tensor square = x.mul(x).mean(-1).reshape(x.shape().with(-1, 1));
    return x.mul(square.affine(1, eps).power(-0.5)).mul(in[1]);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    Shape shape = Rows.check("rmsNorm: x", x);
    Rows.checkColumn("rmsNorm: gain", in[1], x);
    Tensor y = launch.output(x.dtype(), shape);
    Tensor scale = launch.output(x.dtype(), Shape.of(shape.rows()));
    Kernels.of(launch)
        .rmsNorm(
            x.dtype().code(),
            launch.memory(y),
            launch.memory(scale),
            launch.memory(x),
            launch.memory(in[1]),
            shape.rows(),
            shape.dim(-1),
            eps);
    return new Result(y, scale);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor x = in[0];
    Tensor dx = launch.output(x.dtype(), x.shape());
    Tensor dgain = launch.output(x.dtype(), in[1].shape());
    Kernels.of(launch)
        .rmsNormBackward(
            x.dtype().code(),
            launch.memory(dx),
            launch.memory(dgain),
            launch.memory(dy),
            launch.memory(x),
            launch.memory(in[1]),
            launch.memory(y.saved()[0]),
            x.shape().rows(),
            x.shape().dim(-1));
    return new Tensor[] {dx, dgain};
  }

  /** Mean square 2, scale and gain 2 per element; 4 per row. */
  @Override
  public Work work(Tensor... in) {
    Tensor x = in[0];
    long rows = x.shape().rows();
    long scale = rows * x.dtype().bytes();
    return new Work(4 * x.size() + 4 * rows, 0, 2 * x.bytes() + in[1].bytes() + scale);
  }

  /** The mean 4, dx 5, dgain 3 per element, for each the normalised x anew; 1 per row. */
  @Override
  public Work backwardWork(Tensor... in) {
    Tensor x = in[0];
    long rows = x.shape().rows();
    long scale = rows * x.dtype().bytes();
    return new Work(12 * x.size() + rows, 0, 3 * x.bytes() + 2 * in[1].bytes() + scale);
  }
}
