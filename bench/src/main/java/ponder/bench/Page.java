// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The Markdown page of a machine, rendered from its results. */
final class Page {
  private static final String HEAD =
      """
      # Measured: %s

      Made by `./ponder bench` from [%s.json](%s.json); do not edit. %s.

      On one thread a time is that thread's processor time, without the JVM's other threads; on more
      it is the clock's; beside it, the other. Medians, with the quartiles of the speed. A share is
      of the peak that was measured in the same process, times the threads; that of attention counts
      the products of visible pairs alone. The ratio is our speed over the fastest rival's. "Moved"
      is every input of an op read once and every output written once, and its speed as a part of
      that at which one core copies memory; more than all of it stays in the caches. `~` marks
      figures, and verdicts on them, that something else disturbed in more than a quarter of the
      iterations. A row whose answer is wrong has no figure.
      """;

  /** Marks a figure that something else on the machine had a part in. */
  static final String DISTURBED = " ~";

  /** The row whose speed is that of copying memory. */
  private static final String COPY = "peak.copy_dram";

  private Page() {}

  /** Returns the page. */
  static String of(Results results, List<Row> table) {
    Map<String, Entry> entries = results.byRow();
    StringBuilder text = new StringBuilder();
    String slug = results.machine().slug();
    text.append(
        HEAD.formatted(
            results.machine().processor() + ", " + results.machine().cores() + " cores",
            slug,
            slug,
            results.machine()));
    String group = "";
    for (Row row : table) {
      Entry entry = entries.get(row.name());
      if (entry == null) continue;
      if (!row.group().equals(group)) {
        group = row.group();
        text.append("\n## ").append(group).append("\n\n").append(header());
      }
      text.append(line(row, entry, entries));
    }
    if (results.throughput() != null) text.append(ThroughputPage.of(results.throughput(), slug));
    return text.append('\n').append(runs(results.entries())).toString();
  }

  private static String header() {
    return "| row | target | ours | time, other time | rival | ratio | share of peak | moved |"
        + " garbage | |\n"
        + "|---|---|---|---|---|---|---|---|---|---|\n";
  }

  private static String line(Row row, Entry entry, Map<String, Entry> entries) {
    String target = row.target() == null ? "" : row.target().toString();
    if (entry.refused() != null) {
      return "| %s | %s | | | | | | | | **red**: %s |\n"
          .formatted(row.name(), target, entry.refused().replace("|", "\\|"));
    }
    String mark = entry.ours().isDisturbed() ? DISTURBED : "";
    Spread other = row.onOneThread() ? entry.ours().wallNanos() : entry.ours().cpuNanos();
    return "| %s | %s | %s%s | %s, %s | %s | %s | %s | %s | %s | %s |\n"
        .formatted(
            row.name(),
            target,
            speed(row, entry),
            mark,
            time(entry.ours().time(row).median()),
            time(other.median()),
            rivals(row, entry),
            ratio(entry.ratio(row)),
            entry.share() == null ? "" : percent(entry.share().median()),
            moved(row, entry, entries.get(COPY)),
            entry.allocated() == null ? "" : bytes(entry.allocated()),
            verdict(row, entry, entries));
  }

  /** Returns our speed in the row's unit. */
  static String speed(Row row, Entry entry) {
    Spread time = entry.ours().time(row);
    if (row.made() != null) {
      Spread rate = time.under(1e9 * entry.elements());
      return rate(rate) + " " + row.made() + "/s";
    }
    if (row.peak() == null) {
      return time(time.median());
    }
    Spread rate = time.under(entry.amount());
    return "%s (%s-%s) %s"
        .formatted(
            digits(rate.median()), digits(rate.low()), digits(rate.high()), row.peak().unit());
  }

  /** Returns the bytes of a run and their speed as a part of that of copying memory. */
  private static String moved(Row row, Entry entry, Entry copy) {
    if (entry.bytes() == 0) return "";
    String bytes = bytes(entry.bytes());
    if (copy == null || copy.refused() != null || !copy.device().equals(entry.device())) {
      return bytes;
    }
    double speed = entry.bytes() / entry.ours().time(row).median();
    return bytes + ", " + percent(speed / (copy.amount() / copy.ours().cpuNanos().median()));
  }

  /** Returns a rate with its quartiles. */
  static String rate(Spread rate) {
    return String.format(
        Locale.ROOT, "%,.0f (%,.0f-%,.0f)", rate.median(), rate.low(), rate.high());
  }

  private static String rivals(Row row, Entry entry) {
    List<String> cells = new ArrayList<>();
    entry
        .rivals()
        .forEach(
            (name, timing) -> {
              double nanos = timing.time(row).median();
              String figure =
                  entry.amount() > 0 && row.made() == null
                      ? digits(entry.amount() / nanos)
                      : time(nanos);
              cells.add(name + " " + figure + (timing.isDisturbed() ? DISTURBED : ""));
            });
    return String.join(", ", cells);
  }

  /**
   * Returns whether the row's target is met, marked where that is no sure thing, and the figure where
   * no other column has it.
   */
  static String verdict(Row row, Entry entry, Map<String, Entry> entries) {
    if (row.target() == null || entry.refused() != null) return "";
    double figure = entry.figure(row, row.target(), entries);
    if (Double.isNaN(figure)) return "not compared";
    String word = row.target().isMetBy(figure) ? "met" : "missed";
    if (row.target().unit().equals("of")) word += ", " + ratio(figure);
    return entry.isDisturbed(row.target(), entries) ? word + DISTURBED : word;
  }

  private static String runs(List<Entry> entries) {
    List<String> runs =
        entries.stream()
            .map(
                e ->
                    "%s at %s on %s%s"
                        .formatted(e.date(), e.commit(), e.device(), e.quick() ? ", quick" : ""))
            .distinct()
            .sorted()
            .toList();
    return "Measured " + String.join("; ", runs) + ".\n";
  }

  /** Returns a time in a unit that suits it. */
  static String time(double nanos) {
    if (nanos < 1e3) return digits(nanos) + " ns";
    if (nanos < 1e6) return digits(nanos / 1e3) + " us";
    return nanos < 1e9 ? digits(nanos / 1e6) + " ms" : digits(nanos / 1e9) + " s";
  }

  private static String bytes(double bytes) {
    return bytes < 1024
        ? String.format(Locale.ROOT, "%.0f B", bytes)
        : bytes < 1 << 20 ? digits(bytes / 1024) + " KiB" : digits(bytes / (1 << 20)) + " MiB";
  }

  static String ratio(double ratio) {
    return Double.isNaN(ratio) ? "" : String.format(Locale.ROOT, "%.2f", ratio);
  }

  static String percent(double share) {
    return String.format(Locale.ROOT, "%.0f %%", 100 * share);
  }

  /** Returns a number with three digits, or all before the point. */
  static String digits(double value) {
    double size = Math.abs(value);
    String format = size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : size >= 1 ? "%.2f" : "%.3f";
    return String.format(Locale.ROOT, format, value);
  }
}
