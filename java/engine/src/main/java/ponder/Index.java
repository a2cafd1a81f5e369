// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/** The primitives that read or write rows by index. */
final class Index {
  private Index() {}

  private static Shape join(Shape first, Shape then) {
    long[] dims = new long[first.rank() + then.rank()];
    for (int i = 0; i < dims.length; i++) {
      dims[i] = i < first.rank() ? first.at(i) : then.at(i - first.rank());
    }
    return Shape.of(dims);
  }

  /** y[n,:] = table[index[n],:]. */
  record Gather() implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor table = in[0];
      Tensor index = in[1];
      if (table.shape().rank() == 0) {
        throw new IllegalArgumentException("gather: the table is a scalar, it needs an axis");
      }
      DType.requireFloat("gather: table", table.dtype());
      DType.require("gather: index", index.dtype(), DType.I32);
      Tensor y = launch.output(table.dtype(), join(index.shape(), table.shape().without(0)));
      long rows = table.shape().at(0);
      Kernels.of(launch)
          .gather(
              table.dtype().code(),
              launch.memory(y),
              launch.memory(table),
              launch.memory(index),
              index.size(),
              rows,
              table.size() / rows);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      DType type = dy.dtype();
      return dy.cast(type.sums()).scatterAdd(in[1], in[0].shape().at(0)).cast(type);
    }

    /** The rows named are read, not the table. */
    @Override
    public Work work(Tensor... in) {
      long row = in[0].bytes() / in[0].shape().at(0);
      return new Work(0, 0, in[1].bytes() + 2 * in[1].size() * row);
    }
  }

  /** table[r,:] = sum of x[n,:] over the n with index[n] = r. */
  record ScatterAdd(long rows) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor index = in[1];
      DType.requireArithmetic("scatterAdd: x", x.dtype());
      DType.require("scatterAdd: index", index.dtype(), DType.I32);
      Shape row = row(x.shape(), index.shape());
      Tensor table = launch.output(x.dtype(), row.insert(0, rows));
      Kernels.of(launch)
          .scatterAdd(
              x.dtype().code(),
              launch.memory(table),
              launch.memory(x),
              launch.memory(index),
              index.size(),
              rows,
              row.size());
      return new Result(table);
    }

    /** Returns the axes of x after those of the index. */
    private static Shape row(Shape x, Shape index) {
      boolean leads = index.rank() <= x.rank();
      for (int i = 0; leads && i < index.rank(); i++) {
        leads = index.at(i) == x.at(i);
      }
      if (!leads) {
        throw new IllegalArgumentException(
            "scatterAdd: index has shape %s, x has %s; index must have the leading axes of x"
                .formatted(index, x));
      }
      long[] dims = new long[x.rank() - index.rank()];
      for (int i = 0; i < dims.length; i++) {
        dims[i] = x.at(index.rank() + i);
      }
      return Shape.of(dims);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.gather(in[1]);
    }

    @Override
    public Work work(Tensor... in) {
      long table = in[0].bytes() / in[1].size() * rows;
      return new Work(in[0].size(), 0, in[0].bytes() + in[1].bytes() + table);
    }
  }

  /** y[n,c] = 1 if c = index[n], else 0. */
  record OneHot(DType type, long classes) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor index = in[0];
      DType.requireArithmetic("oneHot: type", type);
      DType.require("oneHot: index", index.dtype(), DType.I32);
      Tensor y = launch.output(type, index.shape().insert(-1, classes));
      Kernels.of(launch)
          .oneHot(type.code(), launch.memory(y), launch.memory(index), index.size(), classes);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return null;
    }

    @Override
    public Work work(Tensor... in) {
      return new Work(0, 0, in[0].bytes() + in[0].size() * classes * type.bytes());
    }
  }
}
