// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.List;
import java.util.Map;

/** The figures of the README, between two markers. */
final class Readme {
  private static final String BEGIN = "<!-- ./ponder bench --readme: begin -->\n";
  private static final String END = "<!-- ./ponder bench --readme: end -->\n";

  private Readme() {}

  /**
   * Returns a README whose figures are those of the results.
   *
   * @throws IllegalArgumentException if it has not both markers, in their order
   */
  static String with(String readme, List<Results> machines, List<Row> table) {
    int begin = readme.indexOf(BEGIN);
    int end = readme.indexOf(END);
    if (begin < 0 || end < begin) {
      throw new IllegalArgumentException(
          "the README has no lines " + BEGIN.strip() + " and " + END.strip());
    }
    StringBuilder text = new StringBuilder(readme.substring(0, begin)).append(BEGIN);
    machines.forEach(results -> text.append(figures(results, table)));
    return text.append(readme.substring(end)).toString();
  }

  private static String figures(Results results, List<Row> table) {
    Map<String, Entry> entries = results.byRow();
    int judged = 0;
    int met = 0;
    int disturbed = 0;
    StringBuilder lines = new StringBuilder();
    for (Row row : table) {
      Entry entry = entries.get(row.name());
      if (entry == null || entry.refused() != null) continue;
      String verdict = Page.verdict(row, entry, entries);
      if (verdict.endsWith(Page.DISTURBED)) {
        disturbed++;
      } else if (verdict.matches("(met|missed).*")) {
        judged++;
        if (verdict.startsWith("met")) met++;
      }
      if (!row.shown()) continue;
      double ratio = entry.ratio(row);
      lines.append(
          "| %s | %s | %s | %s | %s | %s |\n"
              .formatted(
                  row.name(),
                  Page.speed(row, entry),
                  entry.share() == null ? "" : Page.percent(entry.share().median()),
                  Page.ratio(ratio),
                  row.target() == null ? "" : row.target(),
                  verdict));
    }
    String slug = results.machine().slug();
    return """
    %s, %d cores: %d of %d targets met%s ([all rows](bench/results/%s.md)).

    | row | ours | share of peak | over the fastest rival | target | |
    | --- | --- | --- | --- | --- | --- |
    %s%s\
    """
        .formatted(
            results.machine().processor(),
            results.machine().cores(),
            met,
            judged,
            disturbed == 0 ? "" : ", " + disturbed + " more disturbed",
            slug,
            lines,
            results.throughput() == null ? "" : ThroughputPage.summary(results.throughput()));
  }
}
