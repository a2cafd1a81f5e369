// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.TestDevices;
import ponder.nn.Parameters;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/**
 * A process of its own that trains for many steps and prints its resident kilobytes half way and at
 * the end: {@code ManySteps BUILD STEPS}.
 */
final class ManySteps {
  private static final long PAGE_KILOBYTES = 4;

  private ManySteps() {}

  public static void main(String[] arguments) throws IOException {
    int steps = Integer.parseInt(arguments[1]);
    long[] resident = new long[2];
    try (Device device = TestDevices.open(arguments[0]);
        Store store = device.store()) {
      Transformer model =
          Transformer.create(Parameters.of(store, Key.of(1)), CopyTask.VOCABULARY, 1, 8, 2);
      CopyTask task = new CopyTask(model, Key.of(2), 2, 3);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(1e-3, 0, 1), 1, 20);
      long each = trainer.run(store, task, 1, Progress.NONE).work().flops();
      trainer.run(
          store,
          task,
          each * steps,
          step -> {
            if (step.step() == steps / 2) {
              resident[0] = residentKilobytes();
            }
          });
      resident[1] = residentKilobytes();
    }
    System.out.println(resident[0] + " " + resident[1]);
  }

  private static long residentKilobytes() {
    try {
      String[] pages = Files.readString(Path.of("/proc/self/statm")).split(" ");
      return Long.parseLong(pages[1]) * PAGE_KILOBYTES;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
