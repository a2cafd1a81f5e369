// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * The cell after the last step of an {@link Lstm}, as a function of that op's inputs, [batch,
 * width]: a copy out of what the scan saved. Only a derivative that comes back through the carried
 * cell, as in training across windows, runs the scan's backward kernel a second time.
 *
 * @param op the scan
 * @param scan what it computed on the same inputs
 */
record LastCell(Lstm op, Result scan) implements Op.Fused {
  @Override
  public Tensor definition(Tensor... in) {
    Shape s = in[0].shape();
    return op.unrolled(in)[1].slice(1, s.dim(1) - 1, 1).reshape(s.dim(0), s.dim(3));
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Shape s = in[0].shape();
    Tensor cell = launch.output(in[0].dtype().sums(), Shape.of(s.dim(0), s.dim(3)));
    MemorySegment cells = launch.memory(scan.saved()[0]);
    Kernels.of(launch)
        .slice(
            cell.dtype().code(),
            launch.memory(cell),
            cells,
            s.dim(0),
            s.dim(1),
            s.dim(3),
            s.dim(1) - 1,
            1);
    return new Result(cell);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor none = launch.output(scan.value().dtype(), scan.value().shape());
    Kernels.of(launch).fill(none.dtype().code(), launch.memory(none), none.size(), 0);
    return op.backward(launch, launch.memory(none), launch.memory(dy), scan, in);
  }

  /** A copy. */
  @Override
  public Work work(Tensor... in) {
    Shape s = in[0].shape();
    return new Work(0, 0, 2 * s.dim(0) * s.dim(3) * in[0].dtype().sums().bytes());
  }

  @Override
  public Work backwardWork(Tensor... in) {
    return op.backwardWork(in);
  }
}
