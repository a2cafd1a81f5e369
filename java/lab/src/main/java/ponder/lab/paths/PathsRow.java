// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.List;
import java.util.Locale;
import ponder.lab.cities.PathMetrics;
import ponder.lab.cities.PathScore;
import ponder.lab.frontier.Curve;
import ponder.lab.report.Table;
import ponder.lab.statistics.Estimate;

/**
 * How one way of answering did on the test queries.
 *
 * @param model the model's name, or that of what learns nothing
 * @param seed the seed of its training; 0 where nothing is trained
 * @param parameters the number of its parameters
 * @param fraction its training budget as a part of the full one
 * @param trainFlops the FLOPs of its training, those of its score included where it is used
 * @param method how paths were written and chosen
 * @param spend how much was spent: samples, width of the beam, or rounds
 * @param testFlopsPerQuery the FLOPs spent on a query, its checks included
 * @param queries the number of queries
 * @param legalSteps the share of steps that follow an edge
 * @param legal the share of paths that do so at every step
 * @param endpoint the share that end at the target
 * @param solved the share that are legal, at the target, and at most 10 % too long
 * @param optimal the share as short as can be
 * @param exact the share equal to the path of the table
 * @param firstMove the share whose first step is that path's
 * @param stretch101 the share at most 1 % too long
 * @param stretch105 at most 5 %
 * @param stretch110 at most 10 %
 * @param stretch150 at most 50 %
 */
public record PathsRow(
    String model,
    long seed,
    long parameters,
    double fraction,
    long trainFlops,
    String method,
    int spend,
    double testFlopsPerQuery,
    long queries,
    Estimate legalSteps,
    Estimate legal,
    Estimate endpoint,
    Estimate solved,
    Estimate optimal,
    Estimate exact,
    Estimate firstMove,
    Estimate stretch101,
    Estimate stretch105,
    Estimate stretch110,
    Estimate stretch150) {
  /** Returns the row of some answers. */
  static PathsRow of(
      String model, long seed, long parameters, double fraction, long trainFlops, Answers answers) {
    PathMetrics m = new PathMetrics();
    for (PathScore score : answers.scores()) {
      m.add(score);
    }
    return new PathsRow(
        model,
        seed,
        parameters,
        fraction,
        trainFlops,
        answers.method(),
        answers.spend(),
        answers.flops(),
        m.queries(),
        m.legalSteps(),
        m.legal(),
        m.endpoint(),
        m.solved(),
        m.optimal(),
        m.exact(),
        m.firstMove(),
        m.stretch(0),
        m.stretch(1),
        m.stretch(2),
        m.stretch(3));
  }

  /** Returns the rows as a table for a terminal: percent, with 95 % intervals where they matter. */
  public static String table(List<PathsRow> rows) {
    Table table =
        new Table(
            "model",
            "seed",
            "training",
            "method",
            "spend",
            "FLOPs/query",
            "legal",
            "endpoint",
            "solved (95 %)",
            "optimal (95 %)",
            "exact",
            "<=1.05",
            "first");
    for (PathsRow r : rows) {
      table.row(
          r.model,
          r.trainFlops == 0 ? "-" : r.seed,
          r.trainFlops == 0 ? "-" : Curve.part(r.fraction),
          r.method,
          r.spend,
          String.format(Locale.ROOT, "%.2e", r.testFlopsPerQuery),
          percent(r.legal),
          percent(r.endpoint),
          interval(r.solved),
          interval(r.optimal),
          percent(r.exact),
          percent(r.stretch105),
          percent(r.firstMove));
    }
    return table.toString();
  }

  private static String percent(Estimate e) {
    return String.format(Locale.ROOT, "%.1f", 100 * e.value());
  }

  private static String interval(Estimate e) {
    return String.format(
        Locale.ROOT, "%.1f (%.1f-%.1f)", 100 * e.value(), 100 * e.low(), 100 * e.high());
  }
}
