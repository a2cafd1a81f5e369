// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.Arrays;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * The state that a {@link FastWeights} ends in, with its derivatives: a copy of what that has
 * computed, which costs no second scan. Its inputs are those of the other, and the state.
 *
 * @param scan what made the state
 */
record FastWeightsEnd(FastWeights scan) implements Op.Fused {
  @Override
  public Tensor definition(Tensor... in) {
    return new FastWeightsSteps(scan, inputs(in)).end();
  }

  private static Tensor[] inputs(Tensor... in) {
    return Arrays.copyOf(in, in.length - 1);
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor state = in[in.length - 1];
    Tensor copy = launch.output(state.dtype(), state.shape());
    Kernels.of(launch).copy(launch.memory(copy), launch.memory(state), state.bytes());
    return new Result(copy);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor nothing = launch.output(in[2].dtype(), in[2].shape());
    Kernels.of(launch).fill(nothing.dtype().code(), launch.memory(nothing), nothing.size(), 0);
    Tensor[] derivatives = scan.slopes(launch, nothing, dy, inputs(in));
    return Arrays.copyOf(derivatives, in.length);
  }

  @Override
  public Work work(Tensor... in) {
    return new Work(0, 0, 2 * in[in.length - 1].bytes());
  }

  @Override
  public Work backwardWork(Tensor... in) {
    Work work = scan.backwardWork(inputs(in));
    return new Work(
        work.flops(), work.matrixFlops(), work.bytes() + in[2].bytes() + in[in.length - 1].bytes());
  }
}
