// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/** The primitives along one axis of x, seen as [outer, mid, inner]. */
final class Axis {
  private Axis() {}

  private static long outer(Shape shape, int axis) {
    return shape.product(0, axis);
  }

  private static long inner(Shape shape, int axis) {
    return shape.product(axis + 1, shape.rank());
  }

  private static Work reducing(Tensor x, int axis) {
    long results = x.size() / x.shape().at(axis);
    return new Work(x.size() - results, 0, x.bytes() + results * x.dtype().bytes());
  }

  /** y[o,i] = sum over m of x[o,m,i]. */
  record Sum(int axis) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Shape s = x.shape();
      DType.requireArithmetic("sum: x", x.dtype());
      Tensor y = launch.output(x.dtype(), s.without(axis));
      Kernels.of(launch)
          .sum(
              x.dtype().code(),
              launch.memory(y),
              launch.memory(x),
              outer(s, axis),
              s.at(axis),
              inner(s, axis));
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.broadcast(axis, in[0].shape().at(axis));
    }

    @Override
    public Work work(Tensor... in) {
      return reducing(in[0], axis);
    }
  }

  /** y[o,i] = the largest of x[o,m,i] over m. */
  record Largest(int axis) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Shape s = x.shape();
      DType.requireArithmetic("largest: x", x.dtype());
      Tensor y = launch.output(x.dtype(), s.without(axis));
      Kernels.of(launch)
          .largest(
              x.dtype().code(),
              launch.memory(y),
              launch.memory(x),
              outer(s, axis),
              s.at(axis),
              inner(s, axis));
      return new Result(y);
    }

    /** Equal largest elements share the derivative. */
    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      long size = in[0].shape().at(axis);
      Tensor chosen = y.broadcast(axis, size).greater(in[0]).affine(-1, 1);
      return chosen.mul(dy.div(chosen.sum(axis)).broadcast(axis, size));
    }

    @Override
    public Work work(Tensor... in) {
      return reducing(in[0], axis);
    }
  }

  /** y[o,m,i] = x[o,i]. */
  record Broadcast(int axis, long size) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Shape s = x.shape().insert(axis, size);
      Tensor y = launch.output(x.dtype(), s);
      Kernels.of(launch)
          .broadcast(
              x.dtype().code(),
              launch.memory(y),
              launch.memory(x),
              outer(s, axis),
              size,
              inner(s, axis));
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.cast(dy.dtype().sums()).sum(axis).cast(dy.dtype());
    }

    @Override
    public Work work(Tensor... in) {
      return new Work(0, 0, in[0].bytes() * (1 + size));
    }
  }
}
