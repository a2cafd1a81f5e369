// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import ponder.lab.frontier.CatchUp;
import ponder.lab.statistics.Estimate;

/** The page's section on throughput against the training budget. */
final class ThroughputPage {
  private static final String HEAD =
      """

      ## Throughput against the training budget

      What a training budget buys: models that the suite trains itself learn shortest paths between
      %d places, each under training budgets %s of %s FLOPs, %s.
      They are asked %d held-out queries, all at once, on %s; a query is solved by a legal path to
      its target that is at most 10 %% too long. C is what the training steps took and c what a query
      takes, draws and checks included, both counted by the meter. Rates are medians with quartiles,
      as above; shares of solved queries and X have 95 %% intervals over %s. `~`: something
      else on the machine disturbed the timing.
      """;

  private ThroughputPage() {}

  /**
   * Returns the section.
   *
   * @param slug the name of the plot's file
   */
  static String of(Throughput t, String slug) {
    List<Integer> budgets =
        t.ways().stream().map(Throughput.Way::budget).distinct().sorted().toList();
    StringBuilder text = new StringBuilder();
    text.append(
        HEAD.formatted(
            t.setting().places(),
            budgets.stream().map(b -> "C" + b).collect(Collectors.joining(", ")),
            budgets.stream()
                .map(b -> flops(t.setting().flops(b)))
                .collect(Collectors.joining(", ")),
            t.seeds() == 1 ? "one seed" : t.seeds() + " seeds",
            t.queries(),
            t.device().equals("cpu") ? "one core" : t.device(),
            t.seeds() == 1 ? "queries" : "seeds and queries"));
    text.append(models(t));
    text.append(ways(t, budgets));
    text.append(points(t));
    text.append("\n![X against C](" + slug + ".svg)\n");
    text.append(catchUps(t));
    return text.toString();
  }

  private static String models(Throughput t) {
    StringBuilder text =
        new StringBuilder(
            """

            | model | parameters | training | FLOPs a token | 6 N + attention | share of peak | validation, beside C |
            |---|---|---|---|---|---|---|
            """);
    for (Throughput.Model m : t.models()) {
      boolean timed = m.tokensPerSecond() != null;
      text.append(
          line(
              m.model() + ": " + m.description(),
              String.format(Locale.ROOT, "%,d", m.parameters()),
              timed
                  ? Page.rate(m.tokensPerSecond()) + " tokens/s" + mark(m.disturbed())
                  : "not timed",
              timed ? flops(m.flopsPerToken()) : "",
              timed ? flops(m.matrixFlopsPerToken()) : "",
              percent(m.share()),
              part(m.validation())));
    }
    return text.toString();
  }

  private static String ways(Throughput t, List<Integer> budgets) {
    StringBuilder text =
        new StringBuilder(
            "\nSolved, in percent, and queries a second; c after the last:\n\n| way |");
    budgets.forEach(b -> text.append(" C" + b + " |"));
    text.append(" c |\n|---|").append("---|".repeat(budgets.size())).append("---|\n");
    for (String way : t.ways().stream().map(Throughput.Way::text).distinct().toList()) {
      List<String> cells = new ArrayList<>(List.of(way));
      String c = "";
      for (int b : budgets) {
        Throughput.Way of =
            t.ways().stream()
                .filter(w -> w.budget() == b && w.text().equals(way))
                .findAny()
                .orElse(null);
        cells.add(of == null ? "" : percent(of.solved()) + "; " + rate(of));
        if (of != null) c = flops(of.testFlops());
      }
      cells.add(c);
      text.append(line(cells.toArray(String[]::new)));
    }
    return text.toString();
  }

  private static String points(Throughput t) {
    StringBuilder text =
        new StringBuilder(
            """

            X, the most queries a second of models trained with at most C that solve a share q, within
            %s s for 95 %% of the batches; 0 where none does. A token equivalent is a token of training:
            first by the clock, (tokens/s in training) / X, then by count, c / (6 N + attention). eta =
            -d log C / d log c along equal q, from the C before, c being that of the cheapest way: large
            where a single pass is enough for both. "Queries' part": Q c / (C + Q c) of all the compute
            after Q = %s queries. The controls: X of single passes alone, and what a model of a single
            pass solves at most, drawing as often as it may, for no more than C and c.

            | q | C | X, queries/s | by | c | batch within | token equivalents | eta | share of peak, training and answering | queries' part | single pass, X | at equal c |
            |---|---|---|---|---|---|---|---|---|---|---|---|
            """
                .formatted(
                    Page.digits(Throughput.MOST_SECONDS).replaceFirst("[.]?0+$", ""),
                    Arrays.stream(Throughput.LIFETIMES)
                        .mapToObj(ThroughputPage::flops)
                        .collect(Collectors.joining(", "))));
    for (Throughput.Point p : t.points()) {
      String level = Page.percent(p.level());
      String c = "C%d %s".formatted(p.budget(), flops(p.trainFlops()));
      if (p.quickest() == null) {
        text.append(line(level, c, "0", "", "", "", "", "", "", "", "0", ""));
        continue;
      }
      Throughput.Way way = t.ways().get(p.quickest());
      Throughput.Way rival = p.rival() == null ? null : t.ways().get(p.rival());
      Spread training =
          t.models().stream()
              .filter(m -> m.model().equals(way.model()))
              .findAny()
              .orElseThrow()
              .share();
      text.append(
          line(
              level,
              c,
              interval(p.queriesPerSecond()) + mark(way.disturbed()),
              way.text() + ", C" + way.budget(),
              flops(way.testFlops()),
              Page.time(1e9 * way.latencySeconds()),
              p.tokenEquivalents() == null
                  ? "not timed"
                  : Page.digits(p.tokenEquivalents())
                      + ", "
                      + Page.digits(p.tokenEquivalentsOfFlops()),
              eta(p.eta()),
              way.share() == null
                  ? ""
                  : (training == null ? "not timed" : percent(training))
                      + ", "
                      + percent(way.share()),
              p.shares().stream().map(ThroughputPage::part).collect(Collectors.joining(", ")),
              interval(p.singlePass()),
              rival == null
                  ? "none so cheap"
                  : percent(rival.solved()) + " by " + rival.text() + ", C" + rival.budget()));
    }
    return text.toString();
  }

  private static String catchUps(Throughput t) {
    if (t.catchUps().isEmpty()) return "";
    StringBuilder text =
        new StringBuilder(
            """

            The model that goes in rounds, at its most, against a single pass after equal training, and
            against the best of draws for no more test FLOPs:

            | C | rounds | against | points | times its c | |
            |---|---|---|---|---|---|
            """);
    for (CatchUp c : t.catchUps()) {
      text.append(
          line(
              "C" + t.setting().number(c.fraction()),
              c.small() + ", " + BudgetWay.text(c.method(), c.spend()),
              c.large() + ", " + BudgetWay.text(c.rival(), c.rivalSpend()),
              String.format(
                  Locale.ROOT,
                  "%+.1f (%+.1f to %+.1f)",
                  100 * c.difference().value(),
                  100 * c.difference().low(),
                  100 * c.difference().high()),
              Page.digits(c.dearer()),
              c.verdict()));
    }
    return text.toString();
  }

  /** Returns the few figures that the README shows. */
  static String summary(Throughput t) {
    double level = Throughput.LEVELS[1];
    List<Throughput.Point> points = t.points().stream().filter(p -> p.level() == level).toList();
    return """

    To solve %s of the queries of a path task, %s has models that answer %s queries/s after
    training with %s FLOPs.
    """
        .formatted(
            Page.percent(level),
            t.device().equals("cpu") ? "one core" : t.device(),
            points.stream()
                .map(p -> String.format(Locale.ROOT, "%,.0f", p.queriesPerSecond().value()))
                .collect(Collectors.joining(", ")),
            points.stream().map(p -> flops(p.trainFlops())).collect(Collectors.joining(", ")));
  }

  private static String rate(Throughput.Way way) {
    return String.format(Locale.ROOT, "%,.0f/s", way.queriesPerSecond().median())
        + mark(way.disturbed());
  }

  private static String mark(boolean disturbed) {
    return disturbed ? Page.DISTURBED : "";
  }

  private static String interval(Estimate e) {
    return e.low() == e.high()
        ? String.format(Locale.ROOT, "%,.0f", e.value())
        : String.format(Locale.ROOT, "%,.0f (%,.0f-%,.0f)", e.value(), e.low(), e.high());
  }

  private static String eta(Estimate e) {
    return e == null
        ? ""
        : "%s (%s-%s)".formatted(exchange(e.value()), exchange(e.low()), exchange(e.high()));
  }

  private static String exchange(double eta) {
    return Double.isInfinite(eta) ? "\u221e" : Page.digits(eta);
  }

  private static String percent(Estimate e) {
    return String.format(
        Locale.ROOT, "%.0f (%.0f-%.0f)", 100 * e.value(), 100 * e.low(), 100 * e.high());
  }

  private static String percent(Spread share) {
    return share == null ? "" : Page.percent(share.median());
  }

  /** Returns a part of a whole in percent, to two digits from where it is nearest to. */
  private static String part(double part) {
    if (part > 0.995 && part < 1) return "all but " + small(1 - part);
    return part < 0.005 ? small(part) : Page.percent(part);
  }

  private static String small(double part) {
    double percent = 100 * part;
    String text = percent < 1e-4 ? flops(percent) : String.format(Locale.ROOT, "%.2g", percent);
    return text + " %";
  }

  /** Returns a number in powers of ten, such as 1.6e10. */
  private static String flops(double flops) {
    return String.format(Locale.ROOT, "%.1e", flops)
        .replaceFirst("[.]0e", "e")
        .replaceFirst("e[+]0?", "e")
        .replaceFirst("e-0", "e-");
  }

  private static String line(String... cells) {
    return "| " + String.join(" | ", cells) + " |\n";
  }
}
