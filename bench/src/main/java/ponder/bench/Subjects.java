// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.Device;

/** Makes the subjects of rows. */
final class Subjects {
  /** The side of a row that is this engine; the others are rivals. */
  static final String OURS = "ours";

  private Subjects() {}

  /**
   * Makes what a row times.
   *
   * @param side {@link #OURS} or a rival
   * @param device cpu, cuda or cuda:N
   */
  static Subject of(Row row, String side, String device) {
    String[] word = row.words();
    if (!side.equals(OURS)) {
      return new RivalProduct(row, side);
    }
    return switch (word[0]) {
      case "op" -> new OpSubject(row, word[1], word[2], device);
      case "optimiser" -> new OptimiserSubject(row, word[1], device);
      case "step" -> new StepSubject(row, new StepTask.OneBatch(row), device);
      case "budget" ->
          word[2].equals("train")
              ? new StepSubject(
                  row,
                  new StepTask.Budgeted(
                      new BudgetTask(BudgetTask.Setting.USUAL), BudgetModel.of(row)),
                  device)
              : new BudgetSubject(row, BudgetCache.of(device));
      case "peak" -> new PeakSubject(row.peak());
      case "call" -> CallSubject.of(word[1], device);
      default -> throw new IllegalArgumentException(row.name() + ": no subject " + row.subject());
    };
  }

  /** Opens a device by its name. */
  static Device open(String device, int threads) {
    if (device.equals("cpu")) {
      return Device.cpu(threads);
    }
    return Device.cuda(device.equals("cuda") ? 0 : Integer.parseInt(device.substring(5)));
  }
}
