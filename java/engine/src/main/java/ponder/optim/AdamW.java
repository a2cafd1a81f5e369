// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import ponder.Launch;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Update;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * Adam with decoupled weight decay. Source: Loshchilov, Hutter, arXiv:1711.05101, algorithm 2.
 *
 * @param beta1 share of the mean gradient that is kept, in [0, 1)
 * @param beta2 share of the mean squared gradient that is kept, in [0, 1)
 * @param eps added to the root of the mean square, above 0
 * @param decay weight decay per unit of rate; parameters of one axis (gains, biases) have none
 */
public record AdamW(double beta1, double beta2, double eps, double decay) implements Optimiser {
  private static final String STEP = "step";
  private static final String FIRST = "first.";
  private static final String SECOND = "second.";

  /** Checks the ranges. */
  public AdamW {
    require("beta1", beta1, beta1 >= 0 && beta1 < 1, "in [0, 1)");
    require("beta2", beta2, beta2 >= 0 && beta2 < 1, "in [0, 1)");
    require("eps", eps, eps > 0, "above 0");
    require("decay", decay, decay >= 0, "at least 0");
  }

  /** Returns the usual setting for small sequence models: 0.9, 0.99, 1e-8, decay 0.01. */
  public static AdamW usual() {
    return new AdamW(0.9, 0.99, 1e-8, 0.01);
  }

  @Override
  public void prepare(Store parameters, Store state) {
    try (Scope scope = state.device().open()) {
      state.add(STEP, scope.indices(Shape.of(1), 0));
      for (String name : parameters.names()) {
        Tensor p = parameters.get(name);
        state.add(FIRST + name, scope.full(p.dtype(), p.shape(), 0));
        state.add(SECOND + name, scope.full(p.dtype(), p.shape(), 0));
      }
    }
  }

  @Override
  public void count(Store state) {
    state.upload(STEP, state.get(STEP).toInts()[0] + 1);
  }

  @Override
  public void move(Store parameters, Store state, Tensor[] gradients, Tensor rate, Tensor scale) {
    Inputs.check(this, parameters, gradients, rate, scale);
    Tensor[] held = Inputs.state(this, parameters, state, 1, FIRST, SECOND);
    Tensor[] moved = parameters.values();
    Move plain = new Move(this, 0);
    Move decaying = new Move(this, decay);
    for (int i = 0; i < moved.length; i++) {
      Tensor p = moved[i];
      Tensor[] values = {p, held[1 + 2 * i], held[2 + 2 * i]};
      Move move = p.shape().rank() > 1 ? decaying : plain;
      parameters.update(move, values, gradients[i], rate, held[0], scale);
    }
  }

  /** Moves one parameter and its two moments. */
  private record Move(AdamW rule, double decay) implements Update {
    @Override
    public void run(Launch launch, Tensor[] values, Tensor... in) {
      Tensor p = values[0];
      Kernels.of(launch)
          .adamw(
              p.dtype().code(),
              launch.memory(p),
              launch.memory(values[1]),
              launch.memory(values[2]),
              launch.memory(in[0]),
              launch.memory(in[1]),
              launch.memory(in[2]),
              launch.memory(in[3]),
              p.size(),
              rule.beta1,
              rule.beta2,
              rule.eps,
              decay);
    }

    /**
     * Scale 1, moments 3 and 4, root, eps and quotient 3, decay and move 2 each; the gradient is
     * read, three values are read and written.
     */
    @Override
    public Work work(Tensor[] values, Tensor... in) {
      return new Work(15 * in[0].size(), 0, 7 * in[0].bytes());
    }
  }

  private static void require(String name, double value, boolean holds, String rule) {
    if (!holds) {
      throw new IllegalArgumentException("adamw: " + name + " is " + value + ", must be " + rule);
    }
  }
}
