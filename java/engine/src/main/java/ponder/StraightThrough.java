// SPDX-License-Identifier: Apache-2.0
package ponder;

/** y = hard, its derivative that of soft: dsoft = dy. */
record StraightThrough() implements Op.Primitive {
  @Override
  public Result forward(Launch launch, Tensor... in) {
    DType.requireFloat("straightThrough: the tensor", in[0].dtype());
    DType.require("straightThrough: soft", in[1].dtype(), in[0].dtype());
    Shape.require("straightThrough: soft", in[1].shape(), in[0].shape());
    return new Result(((Stage) launch).view(in[0], in[0].shape()));
  }

  @Override
  public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
    return input == 0 ? null : dy;
  }

  @Override
  public Work work(Tensor... in) {
    return Work.NONE;
  }
}
