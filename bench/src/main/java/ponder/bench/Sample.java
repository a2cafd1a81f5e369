// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

/**
 * One iteration of one fork.
 *
 * @param wallNanos time of a run
 * @param cpuNanos processor time of a run: of one thread its own, of more the process's
 * @param peak how much of its peak one thread did in a second right before and after; 0 where there is none
 * @param seconds how long the iteration took
 * @param switches how often a thread lost its core in that time
 * @param stealNanos what the machine's host took in that time
 */
record Sample(
    double wallNanos,
    double cpuNanos,
    double peak,
    double seconds,
    double switches,
    double stealNanos) {
  /** Beyond these somebody else was computing: in shares of the time, and per second. */
  private static final double MOST_WAITING = 0.05;

  private static final double MOST_STOLEN = 0.01;
  private static final double MOST_SWITCHES = 20;

  /**
   * Returns whether something else had a part in the time: one thread that waited or had help, a
   * host that took some, threads that lost their cores.
   */
  boolean disturbed(int threads) {
    boolean apart = threads == 1 && Math.abs(wallNanos / cpuNanos - 1) > MOST_WAITING;
    return apart
        || 1e-9 * stealNanos > MOST_STOLEN * seconds
        || switches > MOST_SWITCHES * Math.max(seconds, 1 / MOST_SWITCHES);
  }
}
