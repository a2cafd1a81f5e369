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
 * The keys and values that a {@link Feedback} remembers, as a function of that op's inputs, [2,
 * batch, steps, kv_heads, head_size]: a copy of what it saved. Only a derivative that comes back
 * through them, as in training across windows, runs the backward kernel a second time.
 *
 * @param op what remembers
 * @param found what it computed on the same inputs
 */
record FeedbackMemory(Feedback op, Result found) implements Op.Fused {
  @Override
  public Tensor definition(Tensor... in) {
    return FeedbackSteps.memory(op, in);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor keys = found.saved()[0];
    Tensor values = found.saved()[1];
    Tensor both = launch.output(keys.dtype(), keys.shape().insert(0, 2));
    long bytes = keys.bytes();
    MemorySegment to = launch.memory(both);
    Kernels.of(launch).copy(to.asSlice(0, bytes), launch.memory(keys), bytes);
    Kernels.of(launch).copy(to.asSlice(bytes, bytes), launch.memory(values), bytes);
    return new Result(both);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Shape shape = found.value().shape();
    Tensor none = launch.output(dy.dtype(), shape);
    Kernels.of(launch).fill(none.dtype().code(), launch.memory(none), none.size(), 0);
    long bytes = dy.bytes() / 2;
    MemorySegment d = launch.memory(dy);
    return op.slopes(
        launch, launch.memory(none), d.asSlice(0, bytes), d.asSlice(bytes, bytes), found, in);
  }

  /** A copy. */
  @Override
  public Work work(Tensor... in) {
    return new Work(0, 0, 4 * found.saved()[0].bytes());
  }

  @Override
  public Work backwardWork(Tensor... in) {
    Work work = op.backwardWork(in);
    long states = found.value().bytes();
    return new Work(
        work.flops(), work.matrixFlops(), work.bytes() + states + 2 * found.saved()[0].bytes());
  }
}
