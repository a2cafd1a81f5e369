// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.lang.reflect.Method;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.TestDevices;
import ponder.nn.Nets;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/**
 * A process of its own that trains and prints the bytes of garbage a step leaves at first and
 * later: {@code StepGarbage BUILD NET}, the net one of {@link Nets} or {@link #GOAL}.
 */
final class StepGarbage {
  /** The step that goals are set for: 4 layers, width 64, one sequence of 16 tokens. */
  static final String GOAL = "GOAL";

  private static final int STEPS = 1000;

  private StepGarbage() {}

  public static void main(String[] arguments) throws ReflectiveOperationException {
    Object bean =
        Class.forName("java.lang.management.ManagementFactory")
            .getMethod("getThreadMXBean")
            .invoke(null);
    Method allocated =
        Class.forName("com.sun.management.ThreadMXBean")
            .getMethod("getCurrentThreadAllocatedBytes");
    long[] bytes = new long[STEPS];
    try (Device device = TestDevices.open(arguments[0])) {
      train(
          device,
          arguments[1],
          STEPS,
          step -> {
            try {
              bytes[(int) step.step() - 1] = (long) allocated.invoke(bean);
            } catch (ReflectiveOperationException e) {
              throw new IllegalStateException(e);
            }
          });
    }
    // Whole numbers of fours: one step in four is followed by a validation.
    long early = (bytes[200] - bytes[100]) / 100;
    long late = (bytes[STEPS - 1] - bytes[STEPS - 501]) / 500;
    System.out.println(early + " " + late);
  }

  /** Trains for so many steps, a quarter of them followed by a validation; the goal's by none. */
  static void train(Device device, String net, int steps, Progress progress) {
    boolean goal = net.equals(GOAL);
    try (Store store = device.store()) {
      CopyTask task = new CopyTask(create(net, store), Key.of(2), goal ? 1 : 4, goal ? 8 : 4);
      Trainer trainer =
          new Trainer(AdamW.usual(), new Schedule(1e-3, 0.1, 0.1), 1, goal ? 1 : steps / 4);
      long each = trainer.run(store, task, 1, Progress.NONE).work().flops();
      trainer.run(store, task, each * steps, progress);
    }
  }

  static SequenceModel create(String net, Store store) {
    Parameters parameters = Parameters.of(store, Key.of(1));
    return net.equals(GOAL)
        ? Transformer.create(parameters, 64, 4, 64, 4)
        : Nets.valueOf(net).create(parameters, CopyTask.VOCABULARY);
  }
}
