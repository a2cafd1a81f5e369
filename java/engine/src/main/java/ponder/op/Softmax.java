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

/** y = exp(x - max x) / sum of exp(x - max x) along the last axis. */
public record Softmax() implements Op.Fused {
  /**
   * Returns the probabilities whose logarithms are x up to a constant, along the last axis.
   *
   * @param x [.., cols], F32 or F64; -infinity gives 0, and a row of nothing else gives zeros
   * @return [.., cols], every row sums to 1
   * @throws IllegalArgumentException if x is a scalar or holds indices
   */
  public static Tensor softmax(Tensor x) {
    return new Softmax().apply(x);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor x = in[0];
    Shape column = x.shape().with(-1, 1);
    Tensor weight = x.sub(finite(x.largest(-1).detach()).reshape(column)).exp();
    // The largest weight is 1, so that a sum below 1/2 is the sum of a row of zeros.
    Tensor sum = weight.sum(-1);
    Tensor half = sum.detach().affine(0, 0.5);
    return weight.div(sum.maximum(half).reshape(column));
  }

  /** Returns x with -infinity replaced by the least finite value, which can be subtracted. */
  static Tensor finite(Tensor x) {
    double least = x.dtype() == DType.F32 ? -Float.MAX_VALUE : -Double.MAX_VALUE;
    return x.maximum(x.greater(x).affine(1, least));
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    Shape shape = Rows.check("softmax: x", x);
    Tensor y = launch.output(x.dtype(), shape);
    Kernels.of(launch)
        .softmax(x.dtype().code(), launch.memory(y), launch.memory(x), shape.rows(), shape.dim(-1));
    return new Result(y);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Shape shape = in[0].shape();
    Tensor dx = launch.output(dy.dtype(), shape);
    Kernels.of(launch)
        .softmaxBackward(
            dy.dtype().code(),
            launch.memory(dx),
            launch.memory(dy),
            launch.memory(y.value()),
            shape.rows(),
            shape.dim(-1));
    return new Tensor[] {dx};
  }

  /** Largest, difference, exp, sum and scale 5 per element; 1 per row. */
  @Override
  public Work work(Tensor... in) {
    return new Work(5 * in[0].size() + in[0].shape().rows(), 0, 2 * in[0].bytes());
  }

  /** A product-sum, a difference and a product: 4 flops per element. */
  @Override
  public Work backwardWork(Tensor... in) {
    return new Work(4 * in[0].size(), 0, 3 * in[0].bytes());
  }
}
