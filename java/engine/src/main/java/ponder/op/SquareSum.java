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

/** y = the sum of x^2 over all elements. */
public record SquareSum() implements Op.Fused {
  /**
   * Returns the sum of the squares of all elements, such as a gradient's squared norm.
   *
   * @param x any shape, F32 or F64
   * @return a scalar
   * @throws IllegalArgumentException if x holds indices
   */
  public static Tensor squareSum(Tensor x) {
    return new SquareSum().apply(x);
  }

  @Override
  public Tensor definition(Tensor... in) {
    return in[0].mul(in[0]).sum();
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    DType.requireArithmetic("squareSum: x", x.dtype());
    Tensor y = launch.output(x.dtype(), Shape.scalar());
    Kernels.of(launch).squareSum(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
    return new Result(y);
  }

  /** dx = 2 dy x. */
  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor x = in[0];
    Tensor twice = launch.output(x.dtype(), Shape.scalar());
    Tensor dx = launch.output(x.dtype(), x.shape());
    int type = x.dtype().code();
    Kernels kernels = Kernels.of(launch);
    kernels.affine(type, launch.memory(twice), launch.memory(dy), 1, 2, 0);
    kernels.mul(type, launch.memory(dx), launch.memory(x), launch.memory(twice), 1, x.size(), 1);
    return new Tensor[] {dx};
  }

  /** 2 flops per element. */
  @Override
  public Work work(Tensor... in) {
    return Work.of(2 * in[0].size(), in[0]).plus(new Work(0, 0, in[0].dtype().bytes()));
  }

  /** 1 flop per element, and the affine map of one number. */
  @Override
  public Work backwardWork(Tensor... in) {
    return Work.of(in[0].size() + 2, in[0], in[0]).plus(new Work(0, 0, 3L * in[0].dtype().bytes()));
  }
}
