// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.nio.file.Path;
import ponder.Device;
import ponder.TestDevices;

/**
 * A process of its own that goes on with two runs, one after the other, and prints a line for every
 * step: {@code KilledRuns FOLDER BUILD STEPS EVERY}.
 */
final class KilledRuns {
  static final String[] NETS = {"transformer", "gru"};

  private KilledRuns() {}

  public static void main(String[] arguments) throws IOException {
    Path folder = Path.of(arguments[0]);
    int steps = Integer.parseInt(arguments[2]);
    long every = Long.parseLong(arguments[3]);
    try (Device device = TestDevices.open(arguments[1])) {
      for (int i = 0; i < NETS.length; i++) {
        TinyRun run = new TinyRun(NETS[i], steps);
        long before = (long) i * steps;
        run.run(
            device,
            run.flops(device),
            run.in(folder).resume(true).every(every, Double.POSITIVE_INFINITY),
            step -> System.out.println(before + step.step()));
      }
    }
  }
}
