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

/** y = the sum of x^2 over all elements of all inputs, the inputs' sums added in their order. */
public record SquareSum() implements Op.Fused {
  /**
   * Returns the sum of the squares of all elements, such as a gradient's squared norm.
   *
   * @param xs at least one, any shapes, all F32 or all F64
   * @return a scalar
   * @throws IllegalArgumentException if there is none, one holds indices, or their types differ
   */
  public static Tensor squareSum(Tensor... xs) {
    return new SquareSum().apply(xs);
  }

  @Override
  public Tensor definition(Tensor... in) {
    Tensor y = in[0].mul(in[0]).sum();
    for (int i = 1; i < in.length; i++) y = y.add(in[i].mul(in[i]).sum());
    return y;
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    DType type = in[0].dtype();
    DType.requireArithmetic("squareSum: x", type);
    for (Tensor x : in) DType.require("squareSum: x", x.dtype(), type);
    Kernels kernels = Kernels.of(launch);
    Tensor y = launch.output(type, Shape.scalar());
    if (in.length == 1) {
      kernels.squareSum(type.code(), launch.memory(y), launch.memory(in[0]), in[0].size());
      return new Result(y);
    }
    Tensor part = launch.output(type, Shape.scalar());
    // The sum so far goes to and fro between two places, so that the last is y.
    Tensor[] sums = {y, launch.output(type, Shape.scalar())};
    for (int i = 0; i < in.length; i++) {
      Tensor sum = sums[(in.length - 1 - i) % 2];
      Tensor square = i == 0 ? sum : part;
      kernels.squareSum(type.code(), launch.memory(square), launch.memory(in[i]), in[i].size());
      if (i > 0) {
        Tensor before = sums[(in.length - i) % 2];
        kernels.add(
            type.code(), launch.memory(sum), launch.memory(before), launch.memory(part), 1, 1, 1);
      }
    }
    return new Result(y);
  }

  /** dx = 2 dy x. */
  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    int type = dy.dtype().code();
    Kernels kernels = Kernels.of(launch);
    Tensor twice = launch.output(dy.dtype(), Shape.scalar());
    kernels.affine(type, launch.memory(twice), launch.memory(dy), 1, 2, 0);
    Tensor[] derivatives = new Tensor[in.length];
    for (int i = 0; i < in.length; i++) {
      Tensor x = in[i];
      derivatives[i] = launch.output(dy.dtype(), x.shape());
      kernels.mul(
          type,
          launch.memory(derivatives[i]),
          launch.memory(x),
          launch.memory(twice),
          1,
          x.size(),
          1);
    }
    return derivatives;
  }

  /** 2 flops per element; an addition of two numbers for each input after the first. */
  @Override
  public Work work(Tensor... in) {
    long flops = in.length - 1;
    long bytes = (4L * in.length - 3) * in[0].dtype().bytes();
    for (Tensor x : in) {
      flops += 2 * x.size();
      bytes += x.bytes();
    }
    return new Work(flops, 0, bytes);
  }

  /** 1 flop per element, and the affine map of one number. */
  @Override
  public Work backwardWork(Tensor... in) {
    long flops = 2;
    long bytes = (2L + in.length) * in[0].dtype().bytes();
    for (Tensor x : in) {
      flops += x.size();
      bytes += 2 * x.bytes();
    }
    return new Work(flops, 0, bytes);
  }
}
