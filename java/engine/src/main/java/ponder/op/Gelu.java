// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), element by element. Source: Hendrycks, Gimpel,
 * arXiv:1606.08415, the tanh form.
 */
public record Gelu() implements Op.Fused {
  /**
   * Returns x where it is large, 0 where it is very negative, and a smooth bend between.
   *
   * @param x any shape, F32 or F64
   * @return the shape of x
   * @throws IllegalArgumentException if x holds indices
   */
  public static Tensor gelu(Tensor x) {
    return new Gelu().apply(x);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor x = in[0];
    // (1 + tanh t) / 2 = sigmoid(2 t), which keeps its digits where tanh is close to -1.
    Tensor t = x.add(x.power(3).scale(0.044715)).scale(Math.sqrt(2 / Math.PI));
    return x.mul(t.scale(2).sigmoid());
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    DType.requireArithmetic("gelu: x", x.dtype());
    Tensor y = launch.output(x.dtype(), x.shape());
    Kernels.of(launch).gelu(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
    return new Result(y);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor x = in[0];
    Tensor dx = launch.output(x.dtype(), x.shape());
    Kernels.of(launch)
        .geluBackward(
            x.dtype().code(), launch.memory(dx), launch.memory(dy), launch.memory(x), x.size());
    return new Tensor[] {dx};
  }

  /** With the gate 1 / (1 + exp -t): the cubic t 4, the gate 3, the product 1 per element. */
  @Override
  public Work work(Tensor... in) {
    return new Work(8 * in[0].size(), 0, 2 * in[0].bytes());
  }

  /** The cubic 4, its slope 2, the gate 3, its slope 3, their sums and products 4 per element. */
  @Override
  public Work backwardWork(Tensor... in) {
    return new Work(16 * in[0].size(), 0, 3 * in[0].bytes());
  }
}
