// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.List;
import ponder.lab.cities.City;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.Split;
import ponder.lab.frontier.EqualTotal;
import ponder.lab.frontier.Frontier;
import ponder.lab.statistics.Estimate;

/**
 * What the page of a run shows: what was measured, and a map with some queries and every answer to
 * them.
 *
 * @param title what it is about
 * @param command the options that were given
 * @param version the program's version
 * @param commit the commit it was built from, or null
 * @param split which paths were held out
 * @param splits what each kind of split holds out, the run's and the others
 * @param seeds the seeds
 * @param machine what it ran on
 * @param data what the paths are made of
 * @param verdicts the claims, each with what was found
 * @param baselines what learns nothing
 * @param curves accuracy against test-time compute
 * @param contours equal accuracy
 * @param kappa the slopes of the contours
 * @param throughput queries per second at an accuracy
 * @param breakEven how many queries thinking longer pays for
 * @param equalTotals the smaller model against the larger one at equal compute in all
 * @param training how each model was trained
 * @param rows every measured row
 * @param map the cities and some queries
 */
public record PathsReport(
    String title,
    String command,
    String version,
    String commit,
    String split,
    List<Meaning> splits,
    List<Long> seeds,
    PathsResult.Machine machine,
    PathsData data,
    List<PathsResult.Verdict> verdicts,
    List<Baseline> baselines,
    List<PathsFrontier.Line> curves,
    List<Frontier.Contour> contours,
    List<Frontier.Kappa> kappa,
    List<Frontier.Throughput> throughput,
    List<BreakEven> breakEven,
    List<EqualTotal> equalTotals,
    List<PathsUnit.Training> training,
    List<PathsRow> rows,
    Atlas map) {
  /** A name and what it stands for. */
  public record Meaning(String name, String text) {}

  /** A method that learns nothing. */
  public record Baseline(String method, double testFlops, Estimate solved, Estimate optimal) {}

  /** A break-even; the number is null where there is none, and the text says why. */
  public record BreakEven(
      double level, String small, String large, Estimate queries, String text) {}

  /** The cities, and the queries that are shown. */
  public record Atlas(List<Place> cities, List<Query> queries) {}

  /** A city. */
  public record Place(String name, String state, double latitude, double longitude) {}

  /** A query: its shortest path, both ends included, and what was answered. */
  public record Query(
      int source, int target, double kilometres, int[] truth, List<Answer> answers) {}

  /** An answer; the path has its source, too. Of several seeds the first is shown. */
  public record Answer(
      String model,
      double fraction,
      String method,
      int spend,
      double testFlops,
      int[] path,
      boolean legal,
      boolean solved,
      boolean optimal,
      Double stretch) {}

  /**
   * Puts a page together.
   *
   * @param version the program's version
   * @param commit the commit it was built from, or null
   * @param graph the cities
   * @param queries the shortest paths that were asked for
   */
  public static PathsReport of(
      PathsResult result,
      String version,
      String commit,
      CityGraph graph,
      int[][] queries,
      List<PathsUnit> units) {
    PathsFrontier frontier = result.frontier();
    List<Baseline> baselines =
        result.rows().stream()
            .filter(r -> r.trainFlops() == 0)
            .map(r -> new Baseline(r.method(), r.testFlopsPerQuery(), r.solved(), r.optimal()))
            .toList();
    return new PathsReport(
        "Shortest paths between cities",
        result.command(),
        version,
        commit,
        result.data().split(),
        Split.NAMES.stream().map(name -> new Meaning(name, Split.meaning(name))).toList(),
        result.training().stream().map(PathsUnit.Training::seed).distinct().toList(),
        result.machine(),
        result.data(),
        result.verdicts(),
        baselines,
        frontier.curves(),
        frontier.contours(),
        frontier.kappa(),
        frontier.throughput(),
        frontier.breakEven().stream().map(PathsReport::breakEven).toList(),
        frontier.equalTotals(),
        result.training(),
        result.rows(),
        new Atlas(
            graph.cities().stream().map(PathsReport::place).toList(),
            queries(graph, queries, units)));
  }

  private static Place place(City city) {
    return new Place(city.name(), city.state(), city.latitude(), city.longitude());
  }

  private static BreakEven breakEven(Frontier.BreakEven b) {
    String text;
    Estimate queries = b.queries();
    if (b.thinker() == null) {
      text = "no way of thinking longer reaches it";
    } else if (b.rival() == null) {
      text = "the larger single pass does not reach it after any training";
    } else if (queries == null) {
      text = "reached in too few resamples to say";
    } else if (queries.value() == Double.POSITIVE_INFINITY) {
      text = "the smaller model is cheaper in training and per query: always";
      queries = null;
    } else if (queries.value() == 0) {
      text = "the larger single pass is trained as cheaply: never";
      queries = null;
    } else {
      text = "thinking longer is cheaper up to so many queries";
      if (Double.isInfinite(queries.high())) {
        text += "; the interval has no upper end";
        queries = new Estimate(queries.value(), queries.low(), Double.NaN);
      }
    }
    return new BreakEven(b.level(), b.thinker(), b.rival(), queries, text);
  }

  private static List<Query> queries(CityGraph graph, int[][] paths, List<PathsUnit> units) {
    long first = units.get(0).training().seed();
    int shown = units.get(0).answers().get(0).paths().size();
    List<Query> queries = new ArrayList<>();
    for (int i = 0; i < shown; i++) {
      int[] truth = paths[i];
      double shortest = kilometres(graph, truth);
      List<Answer> answers = new ArrayList<>();
      for (PathsUnit unit : units) {
        if (unit.training().seed() == first) {
          for (PathsUnit.Answered a : unit.answers()) {
            answers.add(answer(graph, truth, shortest, a, i));
          }
        }
      }
      queries.add(
          new Query(truth[0], truth[truth.length - 1], shortest, truth, List.copyOf(answers)));
    }
    return queries;
  }

  private static Answer answer(
      CityGraph graph, int[] truth, double shortest, PathsUnit.Answered a, int query) {
    int[] places = a.paths().get(query);
    int[] path = new int[places.length + 1];
    path[0] = truth[0];
    System.arraycopy(places, 0, path, 1, places.length);
    double length = kilometres(graph, path);
    boolean arrives =
        places.length > 0
            && !Double.isNaN(length)
            && path[places.length] == truth[truth.length - 1];
    return new Answer(
        a.row().model(),
        a.row().fraction(),
        a.row().method(),
        a.row().spend(),
        a.row().testFlopsPerQuery(),
        path,
        places.length > 0 && !Double.isNaN(length),
        a.solved().charAt(query) == '1',
        a.optimal().charAt(query) == '1',
        arrives ? length / shortest : null);
  }

  /** Returns the length of a path, NaN if a step follows no edge. */
  private static double kilometres(CityGraph graph, int[] path) {
    double sum = 0;
    for (int i = 1; i < path.length; i++) {
      boolean isPlace = path[i - 1] < graph.size() && path[i] < graph.size();
      int arc = isPlace ? graph.arc(path[i - 1], path[i]) : -1;
      sum += arc < 0 ? Double.NaN : graph.kilometres(arc);
    }
    return sum;
  }
}
