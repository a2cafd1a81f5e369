// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;
import ponder.lab.statistics.Estimate;

/**
 * What training compute and test-time compute are worth in terms of one another: contours of equal
 * accuracy, their slope kappa, the number of queries at which thinking longer stops paying, the
 * rate of right-enough answers that a training budget can buy. Source: the trade-off of Jones 2021,
 * arXiv:2104.03113; of Villalobos, Atkinson 2023.
 */
public final class Frontier {
  /** The last step of a training goes beyond its budget: up to this ratio, budgets are equal. */
  private static final double SAME_BUDGET = 1.05;

  private final List<Curve> curves;
  private final Resamples resamples;
  private final List<double[]> measured;
  private final List<double[][]> resampled;

  /** A point of a contour; the test FLOPs are null where the level is not reached. */
  public record ContourPoint(double fraction, double trainFlops, Estimate testFlops) {}

  /** The training budgets of a model and method, and the test FLOPs at which each is as good. */
  public record Contour(String model, String method, double level, List<ContourPoint> points) {}

  /** The slope - d ln C_test / d ln C_train along a contour. */
  public record Kappa(String model, String method, double level, Estimate kappa) {}

  /**
   * The exchange rate eta = - d ln C_train / d ln C_test along equal accuracy, from a training budget
   * to the next larger one, where C_test is what the cheapest way to the level takes: of all models
   * and methods, while {@link Kappa}, its reciprocal in a single one, is a slope over all budgets.
   *
   * @param eta infinite where the larger budget saves no test compute; null where the smaller one
   *     does not reach the level
   */
  public record ExchangeRate(
      double level, double trainFlops, double moreTrainFlops, Estimate eta) {}

  /**
   * The number of queries at which two ways to a level cost the same in all; with fewer queries the
   * thinker is cheaper.
   *
   * @param thinker the way with the cheapest training that reaches the level, of equal ones that
   *     with the cheapest query
   * @param rival the same of the single passes
   * @param queries 0 where thinking never pays, infinite where it always does; null where a way is
   *     missing, or where the thinker is dearer to train and cheaper to ask, so that it pays from
   *     some number of queries on instead
   */
  public record BreakEven(double level, String thinker, String rival, Estimate queries) {}

  /** The rate of answers at a training budget; 0 where the level cannot be reached. */
  public record ThroughputPoint(double trainFlops, Estimate queriesPerSecond) {}

  /** A way to answer: a point of a curve, by its number. */
  public record Choice(Curve curve, int point) {}

  /** X_q(C): queries per second at accuracy {@code level} or above, for each training budget. */
  public record Throughput(double level, List<ThroughputPoint> points) {}

  /** Takes the curves, all of the same seeds and queries. */
  public Frontier(List<Curve> curves, Resamples resamples) {
    this.curves = List.copyOf(curves);
    this.resamples = resamples;
    measured = this.curves.stream().map(Curve::accuracy).toList();
    resampled = this.curves.stream().map(resamples::accuracy).toList();
  }

  /** Returns the accuracy [spend] of a curve, as measured (-1) or in a resample. */
  private double[] accuracy(int curve, int resample) {
    return resample < 0 ? measured.get(curve) : resampled.get(curve)[resample];
  }

  /** Returns the contours at a level of every model and method with several training budgets. */
  public List<Contour> contours(double level) {
    List<Contour> contours = new ArrayList<>();
    for (List<Integer> group : groups()) {
      Curve first = curves.get(group.get(0));
      List<ContourPoint> points = new ArrayList<>();
      for (int c : group) {
        Curve curve = curves.get(c);
        Estimate flops =
            resamples.estimate(
                curve.flopsAt(level, accuracy(c, -1)), r -> curve.flopsAt(level, accuracy(c, r)));
        points.add(new ContourPoint(curve.fraction(), curve.trainFlops(), flops));
      }
      contours.add(new Contour(first.model(), first.method(), level, points));
    }
    return contours;
  }

  /** Returns kappa at a level for every model and method where two budgets cross it. */
  public List<Kappa> kappas(double level) {
    List<Kappa> kappas = new ArrayList<>();
    for (List<Integer> group : groups()) {
      Curve first = curves.get(group.get(0));
      Estimate kappa = resamples.estimate(slope(group, level, -1), r -> slope(group, level, r));
      if (kappa != null) {
        kappas.add(new Kappa(first.model(), first.method(), level, kappa));
      }
    }
    return kappas;
  }

  /**
   * The least-squares slope over the budgets that cross the level between their first and their last
   * point: at the first point the level may have been passed long before.
   */
  private double slope(List<Integer> group, double level, int resample) {
    int n = 0;
    double[] train = new double[group.size()];
    double[] test = new double[group.size()];
    for (int c : group) {
      Curve curve = curves.get(c);
      double flops = curve.flopsAt(level, accuracy(c, resample));
      if (flops > curve.testFlops()[0]) {
        train[n] = Math.log(curve.trainFlops());
        test[n] = Math.log(flops);
        n++;
      }
    }
    double x = Arrays.stream(train, 0, n).average().orElse(0);
    double y = Arrays.stream(test, 0, n).average().orElse(0);
    double xx = 0;
    double xy = 0;
    for (int i = 0; i < n; i++) {
      xx += (train[i] - x) * (train[i] - x);
      xy += (train[i] - x) * (test[i] - y);
    }
    return xx == 0 ? Double.NaN : -xy / xx;
  }

  /** A way to a level: what its training costs, and each query. */
  private record Way(int curve, double trainFlops, double testFlops) {}

  /**
   * Returns the break-even number of queries of the thinkers against the single passes.
   *
   * @param thinker which curves think longer
   * @param rival which curves are single passes of the larger model
   */
  public BreakEven breakEven(double level, Predicate<Curve> thinker, Predicate<Curve> rival) {
    Way small = cheapest(level, thinker, -1);
    Way large = cheapest(level, rival, -1);
    Estimate queries =
        resamples.estimate(
            queries(small, large),
            r -> queries(cheapest(level, thinker, r), cheapest(level, rival, r)));
    return new BreakEven(level, name(small), name(large), queries);
  }

  private static double queries(Way thinker, Way rival) {
    if (thinker == null || rival == null) {
      return Double.NaN;
    }
    double saved = saved(thinker.trainFlops, rival.trainFlops);
    double dearer = thinker.testFlops - rival.testFlops;
    if (saved < 0) {
      return dearer < 0 ? Double.NaN : 0;
    }
    if (saved == 0) {
      return dearer < 0 ? Double.POSITIVE_INFINITY : 0;
    }
    return dearer <= 0 ? Double.POSITIVE_INFINITY : saved / dearer;
  }

  /** Returns the training FLOPs that a thinker needs less than its rival, 0 of equal budgets. */
  static double saved(double thinker, double rival) {
    boolean equal = rival <= SAME_BUDGET * thinker && thinker <= SAME_BUDGET * rival;
    return equal ? 0 : rival - thinker;
  }

  /** Returns the way with the cheapest training, among these the one with the cheapest query. */
  private Way cheapest(double level, Predicate<Curve> which, int resample) {
    List<Way> ways = new ArrayList<>();
    double least = Double.POSITIVE_INFINITY;
    for (int c = 0; c < curves.size(); c++) {
      Curve curve = curves.get(c);
      if (which.test(curve)) {
        double flops = curve.flopsAt(level, accuracy(c, resample));
        if (!Double.isNaN(flops)) {
          ways.add(new Way(c, curve.trainFlops(), flops));
          least = Math.min(least, curve.trainFlops());
        }
      }
    }
    double most = SAME_BUDGET * least;
    return ways.stream()
        .filter(way -> way.trainFlops <= most)
        .min(Comparator.comparingDouble(Way::testFlops))
        .orElse(null);
  }

  private String name(Way way) {
    if (way == null) {
      return null;
    }
    Curve curve = curves.get(way.curve);
    return "%s, %s, %s of the training"
        .formatted(curve.model(), curve.method(), Curve.part(curve.fraction()));
  }

  /** Returns X_q(C) at a level, for the dearest training of every training budget. */
  public Throughput throughput(double level, Predicate<Curve> which) {
    List<ThroughputPoint> points = new ArrayList<>();
    for (double budget : budgets()) {
      Estimate rate =
          resamples.estimate(rate(level, budget, which, -1), r -> rate(level, budget, which, r));
      points.add(new ThroughputPoint(budget, rate));
    }
    return new Throughput(level, points);
  }

  /** Returns the dearest training of every training budget, the smallest first. */
  private List<Double> budgets() {
    Map<Double, Double> budgets = new TreeMap<>();
    for (Curve curve : curves) {
      budgets.merge(curve.fraction(), curve.trainFlops(), Math::max);
    }
    return List.copyOf(budgets.values());
  }

  private double rate(double level, double budget, Predicate<Curve> which, int resample) {
    Choice quickest = quickest(level, budget, which, resample);
    return quickest == null ? 0 : 1 / quickest.curve.seconds()[quickest.point];
  }

  /**
   * Returns the way that answers X_q(C) queries per second; null where the level cannot be reached.
   *
   * @param level q
   * @param budget C
   */
  public Choice quickest(double level, double budget, Predicate<Curve> which) {
    return quickest(level, budget, which, -1);
  }

  private Choice quickest(double level, double budget, Predicate<Curve> which, int resample) {
    Choice quickest = null;
    double least = Double.POSITIVE_INFINITY;
    for (int c = 0; c < curves.size(); c++) {
      Curve curve = curves.get(c);
      if (curve.trainFlops() <= budget && which.test(curve)) {
        double[] accuracy = accuracy(c, resample);
        for (int i = 0; i < curve.points(); i++) {
          if (accuracy[i] >= level && curve.seconds()[i] < least) {
            quickest = new Choice(curve, i);
            least = curve.seconds()[i];
          }
        }
      }
    }
    return quickest;
  }

  /**
   * Returns the way that is right most often within a training budget and a number of test FLOPs
   * per query, of equal ones the first; null where every way is dearer.
   */
  public Choice best(double budget, double testFlops, Predicate<Curve> which) {
    Choice best = null;
    double most = -1;
    for (int c = 0; c < curves.size(); c++) {
      Curve curve = curves.get(c);
      if (curve.trainFlops() <= budget && which.test(curve)) {
        for (int i = 0; i <= curve.within(testFlops); i++) {
          if (measured.get(c)[i] > most) {
            best = new Choice(curve, i);
            most = measured.get(c)[i];
          }
        }
      }
    }
    return best;
  }

  /** Returns eta at a level from each training budget to the next. */
  public List<ExchangeRate> exchangeRates(double level, Predicate<Curve> which) {
    List<ExchangeRate> rates = new ArrayList<>();
    List<Double> budgets = budgets();
    for (int i = 0; i + 1 < budgets.size(); i++) {
      double less = budgets.get(i);
      double more = budgets.get(i + 1);
      Estimate eta =
          resamples.estimate(
              eta(level, less, more, which, -1), r -> eta(level, less, more, which, r));
      rates.add(new ExchangeRate(level, less, more, eta));
    }
    return rates;
  }

  private double eta(double level, double less, double more, Predicate<Curve> which, int resample) {
    double saved =
        Math.log(leastFlops(level, less, which, resample))
            - Math.log(leastFlops(level, more, which, resample));
    return Math.log(more / less) / saved;
  }

  /** Returns the fewest test FLOPs that reach a level within a training budget, NaN if none do. */
  private double leastFlops(double level, double budget, Predicate<Curve> which, int resample) {
    double least = Double.NaN;
    for (int c = 0; c < curves.size(); c++) {
      Curve curve = curves.get(c);
      if (curve.trainFlops() <= budget && which.test(curve)) {
        double flops = curve.flopsAt(level, accuracy(c, resample));
        least = flops < least || Double.isNaN(least) ? flops : least;
      }
    }
    return least;
  }

  /**
   * Returns how much more often one curve is right than another, in shares of the queries.
   *
   * @param point the amount of test-time compute of {@code a}
   * @param otherPoint that of {@code b}
   * @throws IllegalArgumentException if a curve is not of this frontier
   */
  public Estimate difference(Curve a, int point, Curve b, int otherPoint) {
    int i = curves.indexOf(a);
    int j = curves.indexOf(b);
    if (i < 0 || j < 0) {
      Curve other = i < 0 ? a : b;
      throw new IllegalArgumentException(
          "difference: curve "
              + other.model()
              + ", "
              + other.method()
              + " is not of this frontier");
    }
    return resamples.estimate(
        measured.get(i)[point] - measured.get(j)[otherPoint],
        r -> resampled.get(i)[r][point] - resampled.get(j)[r][otherPoint]);
  }

  /** Returns the numbers of the curves of each model and method, the smallest budget first. */
  private List<List<Integer>> groups() {
    TreeMap<String, List<Integer>> groups = new TreeMap<>();
    for (int c = 0; c < curves.size(); c++) {
      Curve curve = curves.get(c);
      groups
          .computeIfAbsent(curve.model() + "\n" + curve.method(), name -> new ArrayList<>())
          .add(c);
    }
    for (List<Integer> group : groups.values()) {
      group.sort(Comparator.comparingDouble(c -> curves.get(c).trainFlops()));
    }
    return groups.values().stream().filter(g -> g.size() > 1).toList();
  }
}
