// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/**
 * y = op(a) op(b) over the last two axes. b of rank 2 is one matrix for all rows of a; otherwise a
 * and b have equal leading axes.
 */
record Matmul(boolean aTransposed, boolean bTransposed) implements Op.Primitive {
  private static final Matmul NN = new Matmul(false, false);
  private static final Matmul NT = new Matmul(false, true);
  private static final Matmul TN = new Matmul(true, false);
  private static final Matmul TT = new Matmul(true, true);

  /** The sizes of one call. */
  private record Sizes(long batch, long rows, long cols, long inner) {}

  static Matmul of(boolean aTransposed, boolean bTransposed) {
    return aTransposed ? (bTransposed ? TT : TN) : (bTransposed ? NT : NN);
  }

  private Sizes sizes(Shape a, Shape b) {
    int rank = a.rank();
    if (rank < 2 || b.rank() < 2) {
      throw refused(a, b, "both need two axes or more");
    }
    long rows = a.at(aTransposed ? rank - 1 : rank - 2);
    long inner = a.at(aTransposed ? rank - 2 : rank - 1);
    long cols = b.at(bTransposed ? b.rank() - 2 : b.rank() - 1);
    if (b.at(bTransposed ? b.rank() - 1 : b.rank() - 2) != inner) {
      throw refused(a, b, "their inner sizes must be equal");
    }
    if (b.rank() == 2 && (rank == 2 || !aTransposed)) {
      return new Sizes(1, a.product(0, rank - 2) * rows, cols, inner);
    }
    boolean batched = b.rank() == rank;
    for (int i = 0; batched && i < rank - 2; i++) {
      batched = a.at(i) == b.at(i);
    }
    if (!batched) {
      throw refused(a, b, "their leading axes must be equal");
    }
    return new Sizes(a.product(0, rank - 2), rows, cols, inner);
  }

  private IllegalArgumentException refused(Shape a, Shape b, String rule) {
    return new IllegalArgumentException(
        "matmul: b has shape %s%s, a has %s%s; %s"
            .formatted(
                b,
                bTransposed ? " (transposed)" : "",
                a,
                aTransposed ? " (transposed)" : "",
                rule));
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    DType.requireFloat("matmul: a", a.dtype());
    DType.require("matmul: b", b.dtype(), a.dtype());
    Sizes s = sizes(a.shape(), b.shape());
    int rank = a.shape().rank();
    long rows = a.shape().at(aTransposed ? rank - 1 : rank - 2);
    Tensor y = launch.output(a.dtype(), a.shape().with(-2, rows).with(-1, s.cols()));
    Kernels.of(launch)
        .matmul(
            a.dtype().code(),
            launch.memory(y),
            launch.memory(a),
            launch.memory(b),
            s.batch(),
            s.rows(),
            s.cols(),
            s.inner(),
            aTransposed ? 1 : 0,
            bTransposed ? 1 : 0);
    return new Result(y);
  }

  @Override
  public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    if (input == 0) {
      return aTransposed ? b.matmul(dy, bTransposed, true) : dy.matmul(b, false, !bTransposed);
    }
    if (b.shape().rank() == 2 && a.shape().rank() > 2) {
      // One matrix for all rows of a: they are one long matrix.
      a = a.reshape(a.shape().rows(), a.shape().dim(-1));
      dy = dy.reshape(dy.shape().rows(), dy.shape().dim(-1));
    }
    return bTransposed ? dy.matmul(a, true, aTransposed) : a.matmul(dy, !aTransposed, false);
  }

  @Override
  public Work work(Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    Sizes s = sizes(a.shape(), b.shape());
    long results = s.batch() * s.rows() * s.cols();
    long flops = 2 * results * s.inner();
    return new Work(flops, flops, a.bytes() + b.bytes() + results * a.dtype().bytes());
  }
}
