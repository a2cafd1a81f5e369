// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import ponder.DType;
import ponder.Launch;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Update;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * Gradient descent with momentum: velocity = momentum velocity + gradient + decay parameter;
 * parameter -= rate velocity. Source: Sutskever et al., ICML 2013, without Nesterov's look ahead.
 *
 * @param momentum share of the velocity that is kept, in [0, 1)
 * @param decay weight decay, at least 0
 */
public record Sgd(double momentum, double decay) implements Optimiser {
  /** Checks the ranges. */
  public Sgd {
    if (!(momentum >= 0 && momentum < 1)) {
      throw new IllegalArgumentException("sgd: momentum is " + momentum + ", must be in [0, 1)");
    }
    if (!(decay >= 0)) {
      throw new IllegalArgumentException("sgd: decay is " + decay + ", must be at least 0");
    }
  }

  @Override
  public void prepare(Store parameters, Store state) {
    try (Scope scope = state.device().open()) {
      for (String name : parameters.names()) {
        Tensor p = parameters.get(name);
        state.add("velocity." + name, scope.full(p.dtype(), p.shape(), 0));
      }
    }
  }

  @Override
  public void step(Store parameters, Store state, Tensor[] gradients, Tensor rate, Tensor scale) {
    int i = 0;
    for (String name : parameters.names()) {
      parameters.update(
          new Move(this),
          new Tensor[] {parameters.get(name), state.get("velocity." + name)},
          gradients[i++],
          rate,
          scale);
    }
  }

  /** One step of a parameter and its velocity. */
  private record Move(Sgd rule) implements Update {
    @Override
    public void run(Launch launch, Tensor[] values, Tensor... in) {
      Tensor p = values[0];
      Shape.require("sgd: gradient", in[0].shape(), p.shape());
      DType.require("sgd: gradient", in[0].dtype(), p.dtype());
      Kernels.of(launch)
          .sgd(
              p.dtype().code(),
              launch.memory(p),
              launch.memory(values[1]),
              launch.memory(in[0]),
              launch.memory(in[1]),
              launch.memory(in[2]),
              p.size(),
              rule.momentum,
              rule.decay);
    }

    @Override
    public Work work(Tensor[] values, Tensor... in) {
      long n = values[0].size();
      return new Work(7 * n, 0, 5 * values[0].bytes());
    }
  }
}
