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

  static Matmul of(boolean aTransposed, boolean bTransposed) {
    return aTransposed ? (bTransposed ? TT : TN) : (bTransposed ? NT : NN);
  }

  private long rows(Shape a) {
    return a.at(a.rank() - (aTransposed ? 1 : 2));
  }

  private long inner(Shape a) {
    return a.at(a.rank() - (aTransposed ? 2 : 1));
  }

  private long cols(Shape b) {
    return b.at(b.rank() - (bTransposed ? 2 : 1));
  }

  /** Whether b is one matrix for all rows of a, which then are those of one long matrix. */
  private boolean shares(Shape a, Shape b) {
    return b.rank() == 2 && (a.rank() == 2 || !aTransposed);
  }

  private void check(Shape a, Shape b) {
    int rank = a.rank();
    if (rank < 2 || b.rank() < 2) {
      throw refused(a, b, "both need two axes or more");
    }
    if (b.at(b.rank() - (bTransposed ? 1 : 2)) != inner(a)) {
      throw refused(a, b, "their inner sizes must be equal");
    }
    if (shares(a, b)) {
      return;
    }
    boolean batched = b.rank() == rank;
    for (int i = 0; batched && i < rank - 2; i++) {
      batched = a.at(i) == b.at(i);
    }
    if (!batched) {
      throw refused(a, b, "their leading axes must be equal");
    }
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
    Shape s = a.shape();
    check(s, b.shape());
    long rows = rows(s);
    long cols = cols(b.shape());
    boolean shares = shares(s, b.shape());
    long matrices = s.product(0, s.rank() - 2);
    Tensor y = launch.output(a.dtype(), s.with(-2, rows).with(-1, cols));
    Kernels.of(launch)
        .matmul(
            a.dtype().code(),
            launch.memory(y),
            launch.memory(a),
            launch.memory(b),
            shares ? 1 : matrices,
            shares ? matrices * rows : rows,
            cols,
            inner(s),
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
    if (shares(a.shape(), b.shape()) && !aTransposed) {
      OuterSum sum = new OuterSum(b.shape());
      return bTransposed ? sum.apply(dy, a) : sum.apply(a, dy);
    }
    return bTransposed ? dy.matmul(a, true, aTransposed) : a.matmul(dy, !aTransposed, false);
  }

  @Override
  public Work work(Tensor... in) {
    Tensor a = in[0];
    Tensor b = in[1];
    long results = a.size() / inner(a.shape()) * cols(b.shape());
    long flops = 2 * results * inner(a.shape());
    return new Work(flops, flops, a.bytes() + b.bytes() + results * a.dtype().bytes());
  }
}
