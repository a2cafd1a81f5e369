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
 * y = x / (1 + exp -x), element by element. Source: Elfwing, Uchibe, Doya, arXiv:1702.03118, eq. 5.
 */
public record Silu() implements Op.Fused {
  /**
   * Returns x times its sigmoid.
   *
   * @param x any shape, F32 or F64
   * @return the shape of x
   * @throws IllegalArgumentException if x holds indices
   */
  public static Tensor silu(Tensor x) {
    return new Silu().apply(x);
  }

  @Override
  public Tensor definition(Tensor... in) {
    return in[0].mul(in[0].sigmoid());
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    DType.requireArithmetic("silu: x", x.dtype());
    Tensor y = launch.output(x.dtype(), x.shape());
    Kernels.of(launch).silu(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
    return new Result(y);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor x = in[0];
    Tensor dx = launch.output(x.dtype(), x.shape());
    Kernels.of(launch)
        .siluBackward(
            x.dtype().code(), launch.memory(dx), launch.memory(dy), launch.memory(x), x.size());
    return new Tensor[] {dx};
  }

  /** The gate 3, the product 1 per element. */
  @Override
  public Work work(Tensor... in) {
    return new Work(4 * in[0].size(), 0, 2 * in[0].bytes());
  }

  /** The gate 3, its slope 3, their sums and products 4 per element. */
  @Override
  public Work backwardWork(Tensor... in) {
    return new Work(10 * in[0].size(), 0, 3 * in[0].bytes());
  }
}
