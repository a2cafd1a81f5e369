// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/** The primitives that move elements or give them another shape, and compute nothing. */
final class Move {
  static final Op ALIAS = new Alias();

  private Move() {}

  private static long inner(Shape shape, int axis) {
    return shape.product(axis + 1, shape.rank());
  }

  /** The same memory under another shape. */
  record Reshape(Shape shape) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      if (in[0].size() != shape.size()) {
        throw new IllegalArgumentException(
            "reshape: shape %s has %s elements, %s has %s"
                .formatted(in[0].shape(), in[0].size(), shape, shape.size()));
      }
      return new Result(((Stage) launch).view(in[0], shape));
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.reshape(in[0].shape());
    }

    @Override
    public Work work(Tensor... in) {
      return Work.NONE;
    }
  }

  /** The same memory as a tensor of its own on the tape. */
  record Alias() implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      return new Result(((Stage) launch).view(in[0], in[0].shape()));
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy;
    }

    @Override
    public Work work(Tensor... in) {
      return Work.NONE;
    }
  }

  /** y[o,s,m,f,i] = x[o,f,m,s,i]. */
  record SwapAxes(int first, int second) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Shape s = x.shape();
      Tensor y = launch.output(x.dtype(), s.with(first, s.at(second)).with(second, s.at(first)));
      Kernels.of(launch)
          .swapAxes(
              x.dtype().code(),
              launch.memory(y),
              launch.memory(x),
              s.product(0, first),
              s.at(first),
              s.product(first + 1, second),
              s.at(second),
              inner(s, second));
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.swapAxes(first, second);
    }

    @Override
    public Work work(Tensor... in) {
      return Work.of(0, in[0], in[0]);
    }
  }

  /** y[o,c,i] = x[o,start+c,i]. */
  record Slice(int axis, long start, long count) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Shape s = x.shape();
      long size = s.at(axis);
      if (start < 0 || count < 1 || start > size - count) {
        throw new IllegalArgumentException(
            "slice: start " + start + " and count " + count + " leave axis " + axis + " of " + s);
      }
      Tensor y = launch.output(x.dtype(), s.with(axis, count));
      Kernels.of(launch)
          .slice(
              x.dtype().code(),
              launch.memory(y),
              launch.memory(x),
              s.product(0, axis),
              size,
              inner(s, axis),
              start,
              count);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.pad(axis, start, in[0].shape().at(axis));
    }

    @Override
    public Work work(Tensor... in) {
      long part = in[0].bytes() / in[0].shape().at(axis) * count;
      return new Work(0, 0, 2 * part);
    }
  }

  /** y[o,start+c,i] = x[o,c,i], zero elsewhere. */
  record Pad(int axis, long start, long size) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Shape s = x.shape();
      long count = s.at(axis);
      if (start < 0 || size < 1 || start > size - count) {
        throw new IllegalArgumentException(
            "pad: start " + start + " and size " + size + " do not hold axis " + axis + " of " + s);
      }
      Tensor y = launch.output(x.dtype(), s.with(axis, size));
      Kernels.of(launch)
          .pad(
              x.dtype().code(),
              launch.memory(y),
              launch.memory(x),
              s.product(0, axis),
              size,
              inner(s, axis),
              start,
              count);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.slice(axis, start, in[0].shape().at(axis));
    }

    @Override
    public Work work(Tensor... in) {
      long result = in[0].bytes() / in[0].shape().at(axis) * size;
      return new Work(0, 0, in[0].bytes() + result);
    }
  }

  /** y = a then b along an axis. */
  record Concat(int axis) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor a = in[0];
      Tensor b = in[1];
      Shape s = a.shape();
      DType.require("concat: b", b.dtype(), a.dtype());
      if (b.shape().rank() != s.rank() || !b.shape().without(axis).equals(s.without(axis))) {
        throw new IllegalArgumentException(
            "concat: b has shape %s, a has %s; all axes but %s must be equal"
                .formatted(b.shape(), s, axis));
      }
      long bSize = b.shape().at(axis);
      Tensor y = launch.output(a.dtype(), s.with(axis, Math.addExact(s.at(axis), bSize)));
      Kernels.of(launch)
          .concat(
              a.dtype().code(),
              launch.memory(y),
              launch.memory(a),
              launch.memory(b),
              s.product(0, axis),
              s.at(axis),
              bSize,
              inner(s, axis));
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      long start = input == 0 ? 0 : in[0].shape().at(axis);
      return dy.slice(axis, start, in[input].shape().at(axis));
    }

    @Override
    public Work work(Tensor... in) {
      return Work.of(0, in[0], in[0], in[1], in[1]);
    }
  }
}
