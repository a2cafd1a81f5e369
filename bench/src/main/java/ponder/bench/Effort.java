// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

/**
 * How long is measured.
 *
 * @param rounds forks of each side, taken in turns
 * @param silenceMillis how long a fork waits at most until the compiler is silent
 * @param warmUps iterations of a fork that do not count
 * @param warmUpMillis how long each of those lasts, at least
 * @param iterations those that do
 * @param millis how long each of those lasts, at least
 * @param repeats how often the gate compares the bits
 */
record Effort(
    int rounds,
    int silenceMillis,
    int warmUps,
    int warmUpMillis,
    int iterations,
    int millis,
    int repeats) {
  /** The whole suite in a few minutes, on fewer rows. */
  static final Effort QUICK = new Effort(1, 500, 1, 150, 3, 100, 3);

  /** What results are committed from. */
  static final Effort FULL = new Effort(5, 20_000, 3, 300, 5, 300, 100);

  /** Returns this effort with that many rounds. */
  Effort rounds(int rounds) {
    return new Effort(rounds, silenceMillis, warmUps, warmUpMillis, iterations, millis, repeats);
  }
}
