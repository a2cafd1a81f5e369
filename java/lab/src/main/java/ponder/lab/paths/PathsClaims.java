// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.commons.statistics.distribution.ChiSquaredDistribution;
import ponder.lab.frontier.CatchUp;
import ponder.lab.frontier.EqualTotal;

/** The claims of the paths page, stated beforehand, put to what was measured. */
public final class PathsClaims {
  /** The probability below which chance does not explain what was predicted otherwise. */
  private static final double SIGNIFICANCE = 0.05;

  /** The fewest exact draws that must be expected for z to be nearly normal (Cochran 1954). */
  private static final int LEAST_EXPECTED = 5;

  /** By how much the shortest legal path must beat the greedy one, stated beforehand. */
  private static final double GAIN = 0.10;

  /** The training budgets at which it must, as parts of the full one. */
  private static final double GAIN_FRACTION = 0.25;

  /** Of the ways to think longer, those that the terminal tells of. */
  private static final Set<String> CATCH_UP_METHODS = Set.of("most likely", "shortest legal");

  private PathsClaims() {}

  /**
   * Returns each claim and what was found.
   *
   * @param queries how many test queries were asked
   * @param samples how many paths were drawn for each
   */
  public static List<PathsResult.Verdict> of(
      List<PathsUnit> units, PathsFrontier frontier, int queries, int samples) {
    return List.of(likelihood(units, queries), gain(units, samples), catchUp(frontier));
  }

  private static PathsResult.Verdict likelihood(List<PathsUnit> units, int queries) {
    List<String> details = new ArrayList<>();
    double squares = 0;
    int tested = 0;
    for (PathsUnit unit : units) {
      PathsUnit.Training t = unit.training();
      if (t.predictedExact().value() * queries >= LEAST_EXPECTED) {
        squares += t.surprise() * t.surprise();
        tested++;
      }
      details.add(
          String.format(
              Locale.ROOT,
              "%s: first move %.3f nats, rest %.3f; exact draws predicted %.1f %%, measured %.1f %%"
                  + " (z = %.2f)",
              t.name(),
              t.firstMoveNats().value(),
              t.restNats().value(),
              100 * t.predictedExact().value(),
              100 * t.measuredExact().value(),
              t.surprise()));
    }
    String claim = "Exact draws are as frequent as exp(-NLL) predicts";
    if (tested == 0) {
      String text = "no model is expected to draw " + LEAST_EXPECTED + " exact paths";
      return new PathsResult.Verdict(claim, null, text, details);
    }
    double chance = ChiSquaredDistribution.of(tested).survivalProbability(squares);
    return new PathsResult.Verdict(
        claim,
        chance >= SIGNIFICANCE,
        String.format(
            Locale.ROOT,
            "the sum of z^2 over the %d models that are expected to draw %d exact paths or more is"
                + " %.1f, as large by chance with probability %.2g",
            tested,
            LEAST_EXPECTED,
            squares,
            chance),
        details);
  }

  private static PathsResult.Verdict gain(List<PathsUnit> units, int samples) {
    List<String> details = new ArrayList<>();
    int held = 0;
    int asked = 0;
    for (PathsUnit unit : units) {
      PathsUnit.Training t = unit.training();
      double greedy = solved(unit, "greedy", 1);
      double gain = solved(unit, "shortest legal", samples) - greedy;
      double control = solved(unit, "most likely", 1) - greedy;
      if (t.fraction() <= GAIN_FRACTION) {
        asked++;
        held += gain >= GAIN ? 1 : 0;
      }
      details.add(
          String.format(
              Locale.ROOT,
              "%s: %+.1f points; control, one draw: %+.1f",
              t.name(),
              100 * gain,
              100 * control));
    }
    return new PathsResult.Verdict(
        String.format(
            Locale.ROOT,
            "The shortest legal of %d draws solves at least %.0f points more than greedy, at a"
                + " quarter of the training or less",
            samples,
            100 * GAIN),
        asked == 0 ? null : Boolean.valueOf(held == asked),
        "so for " + held + " of " + asked + " models",
        details);
  }

  private static PathsResult.Verdict catchUp(PathsFrontier frontier) {
    List<CatchUp> tests =
        frontier.catchUps().stream()
            .filter(c -> c.fraction() == 1 && c.rival().equals("greedy"))
            .toList();
    long caughtUp = tests.stream().filter(c -> c.verdict().equals("caught up")).count();
    return new PathsResult.Verdict(
        "The smaller model thinking longest catches up with the larger one answering at once, after"
            + " equal training, whichever way it thinks",
        tests.isEmpty() ? null : Boolean.valueOf(caughtUp == tests.size()),
        "so for "
            + caughtUp
            + " of "
            + tests.size()
            + " ways; "
            + String.join(
                "; ",
                tests.stream()
                    .filter(c -> CATCH_UP_METHODS.contains(c.method()))
                    .map(CatchUp::text)
                    .toList())
            + equalTotals(frontier),
        frontier.catchUps().stream().map(CatchUp::text).toList());
  }

  /** Returns how many ways catch up at equal compute in all, for each lifetime. */
  private static String equalTotals(PathsFrontier frontier) {
    Map<Long, Long> caughtUp = new TreeMap<>();
    for (EqualTotal e : frontier.equalTotals()) {
      caughtUp.merge(e.queries(), e.verdict().equals("caught up") ? 1L : 0, Long::sum);
    }
    return caughtUp.isEmpty()
        ? ""
        : String.format(
            Locale.ROOT,
            "; at equal compute in all, over %s queries, so for %s of %d ways without the map",
            join(caughtUp.keySet().stream().map(q -> String.format(Locale.ROOT, "%,d", q))),
            join(caughtUp.values().stream().map(String::valueOf)),
            frontier.equalTotals().size() / caughtUp.size());
  }

  private static String join(Stream<String> numbers) {
    return numbers.collect(Collectors.joining(" / "));
  }

  private static double solved(PathsUnit unit, String method, int spend) {
    return unit.answers().stream()
        .map(PathsUnit.Answered::row)
        .filter(r -> r.method().equals(method) && r.spend() == spend)
        .findFirst()
        .orElseThrow()
        .solved()
        .value();
  }
}
