// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/** y = x in another type, each element rounded once. */
record Cast(DType type) implements Op.Primitive {
  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    DType.requireFloat("cast: x", x.dtype());
    DType.requireFloat("cast: type", type);
    Tensor y = launch.output(type, x.shape());
    Kernels.of(launch)
        .cast(type.code(), launch.memory(y), launch.memory(x), x.size(), x.dtype().code());
    return new Result(y);
  }

  @Override
  public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
    return dy.cast(in[0].dtype());
  }

  @Override
  public Work work(Tensor... in) {
    Tensor x = in[0];
    return new Work(0, 0, x.bytes() + x.size() * type.bytes());
  }
}
