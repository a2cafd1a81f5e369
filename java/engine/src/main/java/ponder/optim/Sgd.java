// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import ponder.Launch;
import ponder.Scope;
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
 * @param decay weight decay, at least 0; parameters of one axis (gains, biases) have none
 */
public record Sgd(double momentum, double decay) implements Optimiser {
  private static final String VELOCITY = "velocity.";

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
        state.add(VELOCITY + name, scope.full(p.dtype(), p.shape(), 0));
      }
    }
  }

  @Override
  public void move(Store parameters, Store state, Tensor[] gradients, Tensor rate, Tensor scale) {
    Inputs.check(this, parameters, gradients, rate, scale);
    Tensor[] held = Inputs.state(this, parameters, state, 0, VELOCITY);
    Tensor[] moved = parameters.values();
    Move plain = new Move(momentum, 0);
    Move decaying = new Move(momentum, decay);
    for (int i = 0; i < moved.length; i++) {
      Tensor p = moved[i];
      Tensor[] values = {p, held[i]};
      parameters.update(p.shape().rank() > 1 ? decaying : plain, values, gradients[i], rate, scale);
    }
  }

  /** Moves one parameter and its velocity. */
  private record Move(double momentum, double decay) implements Update {
    @Override
    public void run(Launch launch, Tensor[] values, Tensor... in) {
      Tensor p = values[0];
      Kernels.of(launch)
          .sgd(
              p.dtype().code(),
              launch.memory(p),
              launch.memory(values[1]),
              launch.memory(in[0]),
              launch.memory(in[1]),
              launch.memory(in[2]),
              p.size(),
              momentum,
              decay);
    }

    /** Scale 1, the velocity 2 and the decay 2, the move 2; two values are read and written. */
    @Override
    public Work work(Tensor[] values, Tensor... in) {
      return new Work(7 * in[0].size(), 0, 5 * in[0].bytes());
    }
  }
}
