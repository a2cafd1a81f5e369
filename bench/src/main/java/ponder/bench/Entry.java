// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/**
 * What was measured of a row.
 *
 * @param row its name
 * @param date the day, as 2026-11-21
 * @param commit of the sources; ends in + where they differ from it
 * @param device what computed
 * @param quick whether it was a quick run
 * @param threads threads that computed
 * @param refused why the gate is red, or null; all that follows is null or 0 then
 * @param ours our side
 * @param rivals the others, by their names
 * @param flops operations of a run, by the meter
 * @param bytes bytes that a run reads and writes
 * @param elements numbers or tokens that a run makes
 * @param amount what a run does, in the peak's unit
 * @param allocated bytes of Java garbage of a run; null where nobody counts
 * @param latencyNanos the time in which nearly all runs were done; null where nobody asks
 * @param peak the peak's rate in the same processes, all threads; null where there is none
 * @param share of the peak, iteration by iteration; null where there is none
 */
record Entry(
    String row,
    String date,
    String commit,
    String device,
    boolean quick,
    int threads,
    String refused,
    Timing ours,
    Map<String, Timing> rivals,
    double flops,
    double bytes,
    double elements,
    double amount,
    Double allocated,
    Double latencyNanos,
    Spread peak,
    Spread share) {

  /** Where and how a run is made. */
  record Run(String date, String commit, String device, boolean quick) {}

  /** Returns the entry of a row whose gate is red. */
  static Entry refused(Row row, Run run, String sentence) {
    return new Entry(
        row.name(),
        run.date,
        run.commit,
        run.device,
        run.quick,
        row.threads(),
        sentence,
        null,
        Map.of(),
        0,
        0,
        0,
        0,
        null,
        null,
        null,
        null);
  }

  /** Returns the entry of a row's rounds. */
  static Entry of(Row row, Run run, List<Round> ours, Map<String, Timing> rivals) {
    Round first = ours.getFirst();
    Collection<Double> peaks = new ArrayList<>();
    Collection<Double> shares = new ArrayList<>();
    int cores = row.peak() != null && row.peak().scales() ? row.threads() : 1;
    for (Round round : ours) {
      for (Sample s : round.samples()) {
        if (s.peak() > 0) {
          double nanos = row.onOneThread() ? s.cpuNanos() : s.wallNanos();
          peaks.add(cores * s.peak());
          shares.add(round.amount() / (1e-9 * nanos) / (cores * s.peak()));
        }
      }
    }
    return new Entry(
        row.name(),
        run.date,
        run.commit,
        run.device,
        run.quick,
        row.threads(),
        null,
        Timing.merge(row, ours),
        rivals,
        first.flops(),
        first.bytes(),
        first.elements(),
        first.amount(),
        Double.isNaN(first.allocated()) ? null : first.allocated(),
        first.latencyNanos() == 0
            ? null
            : Spread.of(ours.stream().map(Round::latencyNanos).toList()).median(),
        peaks.isEmpty() ? null : Spread.of(peaks),
        shares.isEmpty() ? null : Spread.of(shares));
  }

  /** Returns our speed over the fastest rival's, or NaN where there is none. */
  double ratio(Row of) {
    return rivals.values().stream()
        .mapToDouble(rival -> rival.time(of).median() / ours.time(of).median())
        .min()
        .orElse(Double.NaN);
  }

  /**
   * Returns the figure that a target judges, or NaN where something that it needs was not measured.
   *
   * @param entries what was measured of other rows
   */
  double figure(Row of, Target target, Map<String, Entry> entries) {
    if (refused != null) return Double.NaN;
    double nanos = ours.time(of).median();
    return switch (target.unit()) {
      case "peak" -> share == null ? Double.NaN : share.median();
      case "rival" -> ratio(of);
      case "ms" -> 1e-6 * nanos;
      case "tokens/s" -> elements / (1e-9 * nanos);
      case "KiB" -> allocated == null ? Double.NaN : allocated / 1024;
      default -> against(entries.get(target.of()), target);
    };
  }

  /** Returns whether something else on the machine had a part in the figure that a target judges. */
  boolean isDisturbed(Target target, Map<String, Entry> entries) {
    Entry other = target.of() == null ? null : entries.get(target.of());
    return ours.isDisturbed()
        || other != null && other.refused == null && other.ours.isDisturbed()
        || target.unit().equals("rival") && rivals.values().stream().anyMatch(Timing::isDisturbed);
  }

  /** A row on more threads than the other is compared by the clock. */
  private double against(Entry other, Target target) {
    if (other == null || other.refused != null) return Double.NaN;
    boolean byTheClock = threads > 1 || other.threads > 1;
    double mine = (byTheClock ? ours.wallNanos() : ours.cpuNanos()).median();
    double its = (byTheClock ? other.ours.wallNanos() : other.ours.cpuNanos()).median();
    return target.atLeast() ? its / mine : mine / its;
  }
}
