// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import ponder.Key;
import ponder.lab.frontier.CatchUp;
import ponder.lab.frontier.Curve;
import ponder.lab.frontier.EqualTotal;
import ponder.lab.frontier.Frontier;
import ponder.lab.frontier.Resamples;
import ponder.lab.statistics.Estimate;

/**
 * What training and test-time compute were worth to the models of the paths page. An answer counts
 * as right if it is solved.
 *
 * @param curves accuracy against test FLOPs per query, of each model, method and training budget
 * @param contours the test FLOPs that equal accuracy takes at each training budget
 * @param kappa the slopes of these contours
 * @param throughput queries per second at an accuracy, for each training budget
 * @param breakEven how many queries thinking longer pays for, against the larger single pass
 * @param catchUps the smaller model thinking longest against the larger one, after equal training
 * @param equalTotals the smaller model, after every training, against the larger one answering at
 *     once after the full one, at equal compute in all
 */
public record PathsFrontier(
    List<Line> curves,
    List<Frontier.Contour> contours,
    List<Frontier.Kappa> kappa,
    List<Frontier.Throughput> throughput,
    List<Frontier.BreakEven> breakEven,
    List<CatchUp> catchUps,
    List<EqualTotal> equalTotals) {
  /** The accuracies at which everything is read off. */
  private static final double[] LEVELS = {
    0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99
  };

  /** The lifetime numbers of queries at which compute in all is made equal. */
  private static final long[] LIFETIMES = {1_000, 10_000, 100_000, 1_000_000, 10_000_000};

  private static final int RESAMPLES = 1000;

  /** A curve as it is drawn. */
  public record Line(
      String model,
      long parameters,
      String method,
      double fraction,
      double trainFlops,
      int seeds,
      List<Point> points) {}

  /**
   * A point of a curve.
   *
   * @param worstSolved that of the seed with the least
   */
  public record Point(
      int spend, double testFlops, Estimate solved, Estimate optimal, double worstSolved) {}

  /**
   * Computes the frontier.
   *
   * @param small the smaller model's name
   * @param large the larger one's
   */
  public static PathsFrontier of(List<PathsUnit> units, String small, String large) {
    List<Curve> solved = curves(units, PathsUnit.Answered::solved);
    List<Curve> optimal = curves(units, PathsUnit.Answered::optimal);
    Curve first = solved.get(0);
    Resamples resamples =
        new Resamples(RESAMPLES, first.seeds(), first.queries(), Key.of(0).split("resamples"));
    Frontier frontier = new Frontier(solved, resamples);
    List<Line> lines = new ArrayList<>();
    for (int c = 0; c < solved.size(); c++) {
      lines.add(line(solved.get(c), optimal.get(c), resamples, units));
    }
    List<Frontier.Contour> contours = new ArrayList<>();
    List<Frontier.Kappa> kappas = new ArrayList<>();
    List<Frontier.Throughput> throughput = new ArrayList<>();
    List<Frontier.BreakEven> breakEven = new ArrayList<>();
    Predicate<Curve> single = c -> c.model().equals(large) && c.method().equals("greedy");
    for (double level : LEVELS) {
      contours.addAll(frontier.contours(level));
      kappas.addAll(frontier.kappas(level));
      throughput.add(frontier.throughput(level, c -> !usesMap(c)));
      breakEven.add(
          frontier.breakEven(level, c -> !c.model().equals(large) && !usesMap(c), single));
    }
    List<Curve> thinkers =
        solved.stream().filter(c -> c.model().equals(small) && c.points() > 1).toList();
    List<CatchUp> catchUps = new ArrayList<>();
    for (Curve thinker : thinkers) {
      for (Curve rival : solved) {
        boolean isPair = rival.model().equals(large) && rival.fraction() == thinker.fraction();
        if (isPair && (single.test(rival) || rival.method().equals(thinker.method()))) {
          catchUps.add(CatchUp.of(frontier, thinker, rival));
        }
      }
    }
    List<EqualTotal> equalTotals = new ArrayList<>();
    for (Curve rival : solved.stream().filter(single).filter(c -> c.fraction() == 1).toList()) {
      for (long queries : LIFETIMES) {
        for (Curve thinker : thinkers.stream().filter(c -> !usesMap(c)).toList()) {
          equalTotals.add(EqualTotal.of(frontier, thinker, rival, queries));
        }
      }
    }
    return new PathsFrontier(lines, contours, kappas, throughput, breakEven, catchUps, equalTotals);
  }

  /** Returns whether a method looks at the graph while it writes. */
  private static boolean usesMap(Curve curve) {
    return curve.method().contains("on the map");
  }

  private static Line line(
      Curve solved, Curve optimal, Resamples resamples, List<PathsUnit> units) {
    List<Point> points = new ArrayList<>();
    Estimate[] ofSolved = resamples.estimates(solved);
    Estimate[] ofOptimal = resamples.estimates(optimal);
    for (int i = 0; i < solved.points(); i++) {
      points.add(
          new Point(
              solved.spend()[i],
              solved.testFlops()[i],
              ofSolved[i],
              ofOptimal[i],
              solved.worst(i)));
    }
    long parameters =
        units.stream()
            .filter(u -> u.training().model().equals(solved.model()))
            .findFirst()
            .orElseThrow()
            .training()
            .parameters();
    return new Line(
        solved.model(),
        parameters,
        solved.method(),
        solved.fraction(),
        solved.trainFlops(),
        solved.seeds(),
        points);
  }

  /** What is read of an answer. */
  private interface Marks {
    String of(PathsUnit.Answered answered);
  }

  private static List<Curve> curves(List<PathsUnit> units, Marks marks) {
    Map<String, List<PathsUnit>> trained = new LinkedHashMap<>();
    for (PathsUnit unit : units) {
      String name = unit.training().model() + "\n" + unit.training().fraction();
      trained.computeIfAbsent(name, n -> new ArrayList<>()).add(unit);
    }
    List<Curve> curves = new ArrayList<>();
    for (List<PathsUnit> seeds : trained.values()) {
      List<String> methods =
          seeds.get(0).answers().stream().map(a -> a.row().method()).distinct().toList();
      for (String method : methods) {
        curves.add(curve(seeds, method, marks));
      }
    }
    return curves;
  }

  private static Curve curve(List<PathsUnit> seeds, String method, Marks marks) {
    List<List<PathsUnit.Answered>> points =
        seeds.stream()
            .map(
                unit ->
                    unit.answers().stream()
                        .filter(a -> a.row().method().equals(method))
                        .sorted(Comparator.comparingInt(a -> a.row().spend()))
                        .toList())
            .toList();
    int n = points.get(0).size();
    int[] spend = new int[n];
    double[] flops = new double[n];
    double[] seconds = new double[n];
    boolean[][][] right = new boolean[seeds.size()][n][];
    double train = 0;
    for (int s = 0; s < seeds.size(); s++) {
      train += points.get(s).get(0).row().trainFlops() / (double) seeds.size();
      for (int i = 0; i < n; i++) {
        PathsUnit.Answered a = points.get(s).get(i);
        spend[i] = a.row().spend();
        flops[i] += a.row().testFlopsPerQuery() / seeds.size();
        seconds[i] += a.seconds() / seeds.size();
        String text = marks.of(a);
        right[s][i] = new boolean[text.length()];
        for (int q = 0; q < text.length(); q++) {
          right[s][i][q] = text.charAt(q) == '1';
        }
      }
    }
    PathsUnit.Training training = seeds.get(0).training();
    return new Curve(
        training.model(), method, training.fraction(), train, spend, flops, seconds, right);
  }
}
