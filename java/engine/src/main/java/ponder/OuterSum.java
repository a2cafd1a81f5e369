// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/**
 * y[i,j] = sum over r of a[r,i] b[r,j], r going through all rows of a and b: the derivative of a
 * product by a matrix that all rows share.
 */
record OuterSum() implements Op.Primitive {
  static final OuterSum ALL_ROWS = new OuterSum();

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    long rows = a.shape().dim(-1);
    long cols = b.shape().dim(-1);
    Tensor y = launch.output(a.dtype(), Shape.of(rows, cols));
    Kernels.of(launch)
        .matmul(
            a.dtype().code(),
            launch.memory(y),
            launch.memory(a),
            launch.memory(b),
            1,
            rows,
            cols,
            a.shape().rows(),
            1,
            0);
    return new Result(y);
  }

  @Override
  public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
    return input == 0 ? in[1].matmul(dy, false, true) : in[0].matmul(dy);
  }

  @Override
  public Work work(Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    long results = a.shape().dim(-1) * b.shape().dim(-1);
    long flops = 2 * results * a.shape().rows();
    return new Work(flops, flops, a.bytes() + b.bytes() + results * a.dtype().bytes());
  }
}
