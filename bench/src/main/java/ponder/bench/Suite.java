// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Times rows, ours and the rivals in turns: round after round, in each round row after row, of each
 * row one fork of every side, so that whatever drifts drifts for all of them.
 *
 * @param forks what times
 * @param effort how long
 * @param progress takes a sentence for each row
 */
record Suite(List<Forks> forks, Effort effort, Consumer<String> progress) {
  /** The rounds of one row so far. */
  private static final class State {
    private final Map<String, List<Round>> rounds = new LinkedHashMap<>();
    private String refused;
    private String failed;
  }

  /**
   * What came out.
   *
   * @param entries of the rows that could be timed, and of those that were refused
   * @param red how many were refused
   * @param failed a sentence for each row or rival that could not be timed
   */
  record Outcome(List<Entry> entries, int red, List<String> failed) {}

  /** Times the rows. */
  Outcome run(List<Row> rows, Entry.Run run) {
    Map<Row, State> states = new LinkedHashMap<>();
    rows.forEach(row -> states.put(row, new State()));
    List<String> failed = new ArrayList<>();
    for (int round = 0; round < effort.rounds(); round++) {
      for (Row row : rows) time(row, states.get(row), round, failed);
    }
    List<Entry> entries = new ArrayList<>();
    int red = 0;
    for (var each : states.entrySet()) {
      State state = each.getValue();
      if (state.refused != null) {
        red++;
        entries.add(Entry.refused(each.getKey(), run, state.refused));
      } else if (state.failed == null) {
        entries.add(entry(each.getKey(), run, state));
      }
    }
    return new Outcome(entries, red, failed);
  }

  private void time(Row row, State state, int round, List<String> failed) {
    if (state.refused != null || state.failed != null) return;
    for (Forks each : forks) {
      for (String side : each.sides(row)) {
        boolean ours = side.equals(Subjects.OURS);
        if (!ours && round > 0 && !state.rounds.containsKey(side)) continue;
        try {
          Round measured = each.time(row, side, effort, round == 0);
          state.rounds.computeIfAbsent(side, s -> new ArrayList<>()).add(measured);
          if (ours) progress.accept(line(row, round, measured));
        } catch (RedGate e) {
          if (!ours) {
            failed.add(row.name() + ", " + side + ": " + e.getMessage());
            continue;
          }
          state.refused = e.getMessage();
          progress.accept(row.name() + "  RED: " + e.getMessage());
          return;
        } catch (IllegalStateException e) {
          failed.add(row.name() + ", " + side + ": " + e.getMessage());
          progress.accept(row.name() + "  not timed, " + side + ": " + e.getMessage());
          if (ours) {
            state.failed = e.getMessage();
            return;
          }
          state.rounds.remove(side);
        }
      }
    }
  }

  private String line(Row row, int round, Round measured) {
    Timing timing = Timing.merge(row, List.of(measured));
    return "%d/%d  %-50s %s%s"
        .formatted(
            round + 1,
            effort.rounds(),
            row.name(),
            Page.time(timing.time(row).median()),
            timing.isDisturbed() ? "  disturbed" : "");
  }

  private static Entry entry(Row row, Entry.Run run, State state) {
    Map<String, Timing> rivals = new LinkedHashMap<>();
    state.rounds.forEach(
        (side, rounds) -> {
          if (!side.equals(Subjects.OURS)) rivals.put(side, Timing.merge(row, rounds));
        });
    return Entry.of(row, run, state.rounds.get(Subjects.OURS), rivals);
  }
}
