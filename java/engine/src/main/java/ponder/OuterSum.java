// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/**
 * y[i,j] = sum over r of a[r,i] b[r,j], r going through all rows of a and b: the derivative of a
 * product by a matrix that all rows share.
 *
 * @param shape the matrix's, which is y's: the sizes of a's and b's last axes
 */
record OuterSum(Shape shape) implements Op.Primitive {
  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    Tensor y = launch.output(a.dtype(), shape);
    Kernels.of(launch)
        .matmul(
            a.dtype().code(),
            launch.memory(y),
            launch.memory(a),
            launch.memory(b),
            1,
            shape.at(0),
            shape.at(1),
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
    long flops = 2 * shape.size() * a.shape().rows();
    return new Work(flops, flops, a.bytes() + b.bytes() + shape.size() * a.dtype().bytes());
  }
}
