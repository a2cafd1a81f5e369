// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.MemorySegment;
import ponder.abi.Kernels;

/**
 * The primitives of two tensors, element by element. Their kernels repeat b along one run of axes:
 * y[o,m,i] = a[o,m,i] (op) b[o,i]. Any other broadcasting is done before, by {@link #apply}.
 */
abstract class Binary implements Op.Primitive {
  static final Binary ADD = new Add();
  static final Binary SUB = new Sub();
  static final Binary MUL = new Mul();
  static final Binary DIV = new Div();
  static final Binary MAXIMUM = new Maximum();
  static final Binary GREATER = new Greater();

  /** The sizes of the axes before, within and after the run along which b is repeated. */
  private record Span(long outer, long mid, long inner) {
    /** Returns the span of a shape over a, or null if it takes more than one run of axes. */
    static Span of(Shape a, Shape b) {
      if (a.equals(b)) {
        return new Span(1, 1, a.size());
      }
      int missing = a.rank() - b.rank();
      if (missing < 0) {
        return null;
      }
      int from = a.rank();
      int to = 0;
      for (int i = 0; i < a.rank(); i++) {
        if (a.at(i) != 1 && (i < missing || b.at(i - missing) == 1)) {
          from = Math.min(from, i);
          to = i + 1;
        }
      }
      if (from > to) {
        from = to;
      }
      for (int i = 0; i < a.rank(); i++) {
        long wanted = i >= from && i < to ? 1 : a.at(i);
        if ((i < missing ? 1 : b.at(i - missing)) != wanted) {
          return null;
        }
      }
      return new Span(a.product(0, from), a.product(from, to), a.product(to, a.rank()));
    }
  }

  abstract void run(
      Kernels kernels,
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  /** Whether a and b may be exchanged. */
  boolean commutes() {
    return false;
  }

  /** Runs an op after repeating explicitly what its kernel cannot repeat. */
  static Tensor apply(Binary op, Tensor a, Tensor b) {
    if (b == null || a.shape().equals(b.shape()) || Span.of(a.shape(), b.shape()) != null) {
      return op.apply(a, b);
    }
    if (op.commutes() && Span.of(b.shape(), a.shape()) != null) {
      return op.apply(b, a);
    }
    Shape target = common(Device.nameOf(op), a.shape(), b.shape());
    Tensor whole = expand("a", a, target);
    return op.apply(whole, Span.of(target, b.shape()) == null ? expand("b", b, target) : b);
  }

  /** Returns the shape to which NumPy broadcasts two shapes. */
  private static Shape common(String what, Shape a, Shape b) {
    long[] dims = new long[Math.max(a.rank(), b.rank())];
    for (int i = 0; i < dims.length; i++) {
      long da = alignedSize(a, dims.length, i);
      long db = alignedSize(b, dims.length, i);
      if (da != db && da != 1 && db != 1) {
        throw new IllegalArgumentException(
            what + ": b has shape " + b + ", a has " + a + "; they do not broadcast");
      }
      dims[i] = Math.max(da, db);
    }
    return Shape.of(dims);
  }

  /** Returns the size of axis i of a shape given leading axes of size 1 up to a rank. */
  private static long alignedSize(Shape shape, int rank, int i) {
    int axis = i - rank + shape.rank();
    return axis < 0 ? 1 : shape.at(axis);
  }

  /** Returns a tensor repeated to a shape, one kernel for each run of repeated axes. */
  static Tensor expand(String what, Tensor t, Shape target) {
    Shape from = t.shape();
    int rank = target.rank();
    boolean fits = from.rank() <= rank;
    for (int i = 0; fits && i < rank; i++) {
      long size = alignedSize(from, rank, i);
      fits = size == 1 || size == target.at(i);
    }
    if (!fits) {
      throw new IllegalArgumentException(
          what + " has shape " + from + ", which does not broadcast to " + target);
    }
    Tensor y = t;
    int i = 0;
    while (i < rank) {
      int start = i;
      while (i < rank && alignedSize(from, rank, i) == 1) {
        i++;
      }
      if (target.product(start, i) > 1) {
        long outer = target.product(0, start);
        long inner = y.size() / outer;
        y = y.reshape(outer, inner).broadcast(1, target.product(start, i));
      }
      i++;
    }
    return y.shape().equals(target) ? y : y.reshape(target);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    if (!a.dtype().hasArithmetic() || b.dtype() != a.dtype()) {
      DType.requireArithmetic(Device.nameOf(this) + ": a", a.dtype());
      DType.require(Device.nameOf(this) + ": b", b.dtype(), a.dtype());
    }
    Span s = Span.of(a.shape(), b.shape());
    Tensor y = launch.output(a.dtype(), a.shape());
    run(
        Kernels.of(launch),
        a.dtype().code(),
        launch.memory(y),
        launch.memory(a),
        launch.memory(b),
        s.outer(),
        s.mid(),
        s.inner());
    return new Result(y);
  }

  @Override
  public Work work(Tensor... in) {
    return new Work(in[0].size(), 0, 2 * in[0].bytes() + in[1].bytes());
  }

  /** Returns the sum of a tensor of a's shape along the axes b is repeated on, in b's shape. */
  private static Tensor reduce(Tensor t, Tensor a, Tensor b) {
    if (a.shape().equals(b.shape())) {
      return t;
    }
    Span s = Span.of(a.shape(), b.shape());
    Tensor sum = s.mid() == 1 ? t : t.reshape(s.outer(), s.mid(), s.inner()).sum(1);
    return sum.shape().equals(b.shape()) ? sum : sum.reshape(b.shape());
  }

  private static final class Add extends Binary {
    @Override
    boolean commutes() {
      return true;
    }

    @Override
    void run(
        Kernels kernels,
        int dtype,
        MemorySegment y,
        MemorySegment a,
        MemorySegment b,
        long outer,
        long mid,
        long inner) {
      kernels.add(dtype, y, a, b, outer, mid, inner);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return input == 0 ? dy : reduce(dy, in[0], in[1]);
    }
  }

  private static final class Sub extends Binary {
    @Override
    void run(
        Kernels kernels,
        int dtype,
        MemorySegment y,
        MemorySegment a,
        MemorySegment b,
        long outer,
        long mid,
        long inner) {
      kernels.sub(dtype, y, a, b, outer, mid, inner);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return input == 0 ? dy : reduce(dy, in[0], in[1]).neg();
    }
  }

  private static final class Mul extends Binary {
    @Override
    boolean commutes() {
      return true;
    }

    @Override
    void run(
        Kernels kernels,
        int dtype,
        MemorySegment y,
        MemorySegment a,
        MemorySegment b,
        long outer,
        long mid,
        long inner) {
      kernels.mul(dtype, y, a, b, outer, mid, inner);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return input == 0 ? dy.mul(in[1]) : reduce(dy.mul(in[0]), in[0], in[1]);
    }
  }

  private static final class Div extends Binary {
    @Override
    void run(
        Kernels kernels,
        int dtype,
        MemorySegment y,
        MemorySegment a,
        MemorySegment b,
        long outer,
        long mid,
        long inner) {
      kernels.div(dtype, y, a, b, outer, mid, inner);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      Tensor da = dy.div(in[1]);
      return input == 0 ? da : reduce(da.mul(y), in[0], in[1]).neg();
    }
  }

  /** The derivative goes to a where a = b, as the value does. */
  private static final class Maximum extends Binary {
    @Override
    void run(
        Kernels kernels,
        int dtype,
        MemorySegment y,
        MemorySegment a,
        MemorySegment b,
        long outer,
        long mid,
        long inner) {
      kernels.maximum(dtype, y, a, b, outer, mid, inner);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      Tensor larger = in[0].neg().greater(in[1].neg());
      return input == 0 ? dy.mul(larger.affine(-1, 1)) : reduce(dy.mul(larger), in[0], in[1]);
    }
  }

  private static final class Greater extends Binary {
    @Override
    void run(
        Kernels kernels,
        int dtype,
        MemorySegment y,
        MemorySegment a,
        MemorySegment b,
        long outer,
        long mid,
        long inner) {
      kernels.greater(dtype, y, a, b, outer, mid, inner);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return null;
    }
  }
}
