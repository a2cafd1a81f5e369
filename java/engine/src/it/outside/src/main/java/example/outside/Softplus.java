// SPDX-License-Identifier: Apache-2.0
package example.outside;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Tensor;
import ponder.Work;

/** y = log(1 + exp x): a fused op from outside the engine, its kernels in Java. */
public record Softplus() implements Op.Fused {
  private static final long FLOPS = 3;

  /** Returns log(1 + exp x), element by element, for f32. */
  public static Tensor softplus(Tensor x) {
    return new Softplus().apply(x);
  }

  @Override
  public Tensor definition(Tensor... in) {
    return in[0].exp().affine(1, 1).log();
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor y = launch.output(in[0].dtype(), in[0].shape());
    MemorySegment from = launch.memory(in[0]);
    MemorySegment to = launch.memory(y);
    for (long i = 0; i < y.size(); i++) {
      to.setAtIndex(JAVA_FLOAT, i, (float) Math.log1p(Math.exp(from.getAtIndex(JAVA_FLOAT, i))));
    }
    return new Result(y);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor dx = launch.output(in[0].dtype(), in[0].shape());
    MemorySegment x = launch.memory(in[0]);
    MemorySegment from = launch.memory(dy);
    MemorySegment to = launch.memory(dx);
    for (long i = 0; i < dx.size(); i++) {
      double slope = 1 / (1 + Math.exp(-x.getAtIndex(JAVA_FLOAT, i)));
      to.setAtIndex(JAVA_FLOAT, i, (float) (from.getAtIndex(JAVA_FLOAT, i) * slope));
    }
    return new Tensor[] {dx};
  }

  @Override
  public Work work(Tensor... in) {
    return new Work(FLOPS * in[0].size(), 0, 2 * in[0].bytes());
  }

  @Override
  public Work backwardWork(Tensor... in) {
    return new Work((FLOPS + 1) * in[0].size(), 0, 3 * in[0].bytes());
  }
}
