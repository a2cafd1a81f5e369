// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.Work;

/** What a row times. It is made, checked once, and run many times by one thread. */
interface Subject extends AutoCloseable {
  /**
   * Checks what is timed against its definition and, run again and on another number of threads,
   * against itself.
   *
   * @param repeats how often its bits are compared
   * @throws RedGate saying what is wrong
   */
  void check(int repeats);

  /** Prepares an iteration. */
  default void begin() {}

  /** Does once what is timed, and waits until it is done. */
  Object run();

  /** Ends an iteration. */
  default void end() {}

  /** Returns the work of one run; flops and bytes are 0 where nobody counts them. */
  Work work();

  /** Returns how many numbers, or tokens, one run makes. */
  default long elements() {
    return 0;
  }

  /** Returns the time in which nearly all runs of an iteration were done; 0 where nobody asks. */
  default double latencyNanos() {
    return 0;
  }

  @Override
  default void close() {}

  /**
   * Returns what one run does, in the unit of a peak.
   *
   * @param peak what the row is divided by
   */
  default double amount(Peak peak) {
    return switch (peak.unit()) {
      case "GFLOP/s" -> work().matrixFlops();
      case "GB/s" -> work().bytes();
      default -> elements();
    };
  }
}
