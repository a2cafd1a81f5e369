// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.cases.Type;
import ponder.optim.AdamW;
import ponder.optim.Optimiser;
import ponder.optim.Sgd;

/** An optimiser's step on one parameter that no cache holds. */
final class OptimiserSubject implements Subject {
  private static final String NAME = "parameter";
  private static final AdamW ADAMW = new AdamW(0.9, 0.99, 1e-8, 0.01);
  private static final Sgd SGD = new Sgd(0.9, 0.01);
  private static final float RATE = 0x1p-10f;

  private final Row row;
  private final Optimiser rule;
  private final Device device;
  private final Moved moved;
  private Work work = Work.NONE;

  OptimiserSubject(Row row, String name, String device) {
    this.row = row;
    this.rule = name.equals("adamw") ? ADAMW : SGD;
    this.device = Subjects.open(device, row.threads());
    this.moved = new Moved(rule, this.device, row.size("n"));
    Work before = this.device.meter().total();
    run();
    work = this.device.meter().since(before);
  }

  /** A parameter, its gradient, and the optimiser's state. */
  private static final class Moved {
    private final Optimiser rule;
    private final Store parameters;
    private final Store state;
    private final Tensor[] gradients;
    private final Tensor rate;
    private final Tensor scale;

    Moved(Optimiser rule, Device device, int n) {
      this.rule = rule;
      parameters = device.store();
      state = device.store();
      Scope scope = device.open();
      // Of two axes: one of a single axis has no decay.
      parameters.add(NAME, scope.tensor(Shape.of(1, n), Key.of(1).uniformFloats(n)));
      gradients = new Tensor[] {scope.tensor(Shape.of(1, n), Key.of(2).uniformFloats(n))};
      rate = scope.tensor(Shape.of(1), RATE);
      scale = scope.tensor(Shape.of(1), 1f);
      rule.prepare(parameters, state);
      rule.count(state);
    }

    void move() {
      rule.move(parameters, state, gradients, rate, scale);
    }
  }

  /** Compares a first step with its formula, in double, and with itself on other threads. */
  @Override
  public void check(int repeats) {
    int n = row.size("n");
    double[][] got = {first(row.threads())};
    float[] p = Key.of(1).uniformFloats(n);
    float[] g = Key.of(2).uniformFloats(n);
    double[] answer = new double[n];
    for (int i = 0; i < n; i++) {
      // In the first step AdamW's corrected means are the gradient and its square.
      answer[i] =
          rule == ADAMW
              ? p[i] - RATE * (g[i] / (Math.abs(g[i]) + ADAMW.eps()) + ADAMW.decay() * p[i])
              : p[i] - RATE * (g[i] + SGD.decay() * p[i]);
    }
    Gate.near(row.name(), Type.F32, 0, got[0], answer, new double[0], new double[0]);
    Gate.same(row.name() + " run again", new double[][] {first(row.threads())}, got);
    int threads = row.onOneThread() ? 2 : 1;
    Gate.same(row.name() + " on " + threads + " threads", new double[][] {first(threads)}, got);
  }

  private double[] first(int threads) {
    try (Device own = Device.cpu(threads)) {
      Moved fresh = new Moved(rule, own, row.size("n"));
      fresh.move();
      return fresh.parameters.get(NAME).toDoubles();
    }
  }

  @Override
  public Object run() {
    moved.move();
    device.synchronize();
    return moved;
  }

  @Override
  public Work work() {
    return work;
  }

  @Override
  public void close() {
    device.close();
  }
}
