// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * One side of a row, its rounds merged: every iteration counts once, whatever its round.
 *
 * @param wallNanos time of a run
 * @param cpuNanos processor time of a run
 * @param rounds the median of each round, in the time that counts
 * @param iterations how many were measured
 * @param disturbed how many of them were disturbed
 */
record Timing(
    Spread wallNanos, Spread cpuNanos, List<Double> rounds, int iterations, int disturbed) {
  /** Beyond this share of disturbed iterations a figure is marked. */
  private static final double MOST_DISTURBED = 0.25;

  /** Returns the rounds of a row as one. */
  static Timing merge(Row row, List<Round> rounds) {
    List<Sample> samples = rounds.stream().flatMap(r -> r.samples().stream()).toList();
    ToDoubleFunction<Sample> time = row.onOneThread() ? Sample::cpuNanos : Sample::wallNanos;
    return new Timing(
        spread(samples, Sample::wallNanos),
        spread(samples, Sample::cpuNanos),
        rounds.stream().map(r -> spread(r.samples(), time).median()).toList(),
        samples.size(),
        (int) samples.stream().filter(s -> s.disturbed(row.threads())).count());
  }

  private static Spread spread(List<Sample> samples, ToDoubleFunction<Sample> of) {
    return Spread.of(samples.stream().map(of::applyAsDouble).toList());
  }

  /**
   * Returns the time that counts: on one thread the processor's, which stands still while others
   * compute; on several, that of the clock.
   */
  Spread time(Row row) {
    return row.onOneThread() ? cpuNanos : wallNanos;
  }

  /** Returns whether the figure bears a mark. */
  boolean isDisturbed() {
    return disturbed > MOST_DISTURBED * iterations;
  }
}
