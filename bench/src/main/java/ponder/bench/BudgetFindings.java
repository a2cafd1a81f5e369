// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;
import ponder.Key;
import ponder.lab.frontier.CatchUp;
import ponder.lab.frontier.Curve;
import ponder.lab.frontier.Frontier;
import ponder.lab.frontier.Lifetime;
import ponder.lab.frontier.Resamples;
import ponder.lab.statistics.Estimate;

/** Brings the exams of the trained models and the timings of their rows together. */
final class BudgetFindings {
  private static final int RESAMPLES = 1000;
  private static final Predicate<Curve> SINGLE_PASS =
      curve -> BudgetModel.named(curve.model()).isSinglePass();

  private final BudgetTask.Setting setting;
  private final List<Row> table;
  private final Map<String, Entry> entries;
  private final List<Curve> curves = new ArrayList<>();
  private final List<Throughput.Way> ways = new ArrayList<>();

  /** The numbers of the first way of each curve; its others follow. */
  private final List<Integer> firstWays = new ArrayList<>();

  private BudgetFindings(BudgetTask.Setting setting, List<Row> table, Map<String, Entry> entries) {
    this.setting = setting;
    this.entries = entries;
    this.table = table.stream().filter(row -> isTimed(entries.get(row.name()))).toList();
  }

  private static boolean isTimed(Entry entry) {
    return entry != null && entry.refused() == null;
  }

  /**
   * Returns what they say together; null where no way has both.
   *
   * @param exams of some models and budgets, each with the same seeds
   * @param entries of one device, by their rows
   */
  static Throughput of(
      BudgetTask.Setting setting,
      String device,
      List<BudgetExam> exams,
      Map<String, Entry> entries) {
    return of(setting, device, exams, Rows.all(), entries);
  }

  /** Returns the same of another table. */
  static Throughput of(
      BudgetTask.Setting setting,
      String device,
      List<BudgetExam> exams,
      List<Row> table,
      Map<String, Entry> entries) {
    var findings = new BudgetFindings(setting, table, entries);
    Map<String, List<BudgetExam>> trained = new TreeMap<>();
    for (BudgetExam exam : exams) {
      String name = exam.budget() + " " + BudgetModel.named(exam.model()).ordinal();
      trained.computeIfAbsent(name, n -> new ArrayList<>()).add(exam);
    }
    trained.values().forEach(findings::add);
    return findings.curves.isEmpty() ? null : findings.throughput(device, exams);
  }

  /** Adds the curves of a model under a budget, one for each method. */
  private void add(List<BudgetExam> seeds) {
    BudgetExam first = seeds.getFirst();
    Map<String, List<Row>> methods = new TreeMap<>();
    table.stream()
        .filter(BudgetWay::isOf)
        .filter(row -> BudgetModel.of(row).title().equals(first.model()))
        .filter(row -> row.size("budget") == first.budget())
        .sorted(Comparator.comparingInt(row -> BudgetWay.of(row).spend()))
        .forEach(
            row ->
                methods
                    .computeIfAbsent(BudgetWay.of(row).method(), m -> new ArrayList<>())
                    .add(row));
    methods.forEach((method, rows) -> add(method, rows, seeds));
  }

  private void add(String method, List<Row> rows, List<BudgetExam> seeds) {
    BudgetExam first = seeds.getFirst();
    int n = rows.size();
    int[] spend = new int[n];
    double[] flops = new double[n];
    double[] seconds = new double[n];
    boolean[][][] right = new boolean[seeds.size()][n][];
    for (int i = 0; i < n; i++) {
      BudgetWay way = BudgetWay.of(rows.get(i));
      Entry entry = entries.get(rows.get(i).name());
      boolean late = latency(entry) > Throughput.MOST_SECONDS;
      spend[i] = way.spend();
      seconds[i] =
          late
              ? Double.POSITIVE_INFINITY
              : 1e-9 * entry.ours().time(rows.get(i)).median() / entry.elements();
      for (int s = 0; s < seeds.size(); s++) {
        BudgetExam.Answered answered = seeds.get(s).of(way);
        flops[i] += answered.flops() / seeds.size();
        right[s][i] = bits(answered.solved());
      }
    }
    double train = seeds.stream().mapToDouble(BudgetExam::trainFlops).average().orElseThrow();
    double fraction = setting.flops(first.budget()) / (double) setting.flops();
    Curve curve = new Curve(first.model(), method, fraction, train, spend, flops, seconds, right);
    curves.add(curve);
    firstWays.add(ways.size());
    Estimate[] solved = resamples().estimates(curve);
    for (int i = 0; i < n; i++) {
      Entry entry = entries.get(rows.get(i).name());
      ways.add(
          new Throughput.Way(
              first.model(),
              first.budget(),
              method,
              spend[i],
              train,
              flops[i],
              solved[i],
              entry.ours().time(rows.get(i)).under(1e9 * entry.elements()),
              latency(entry),
              entry.share(),
              entry.ours().isDisturbed()));
    }
  }

  private static double latency(Entry entry) {
    return 1e-9 * entry.latencyNanos();
  }

  private static boolean[] bits(String solved) {
    boolean[] bits = new boolean[solved.length()];
    for (int i = 0; i < bits.length; i++) bits[i] = solved.charAt(i) == '1';
    return bits;
  }

  private Resamples resamples() {
    Curve any = curves.getFirst();
    return new Resamples(RESAMPLES, any.seeds(), any.queries(), Key.of(0).split("resamples"));
  }

  private Throughput throughput(String device, List<BudgetExam> exams) {
    Frontier frontier = new Frontier(curves, resamples());
    List<Integer> budgets = exams.stream().map(BudgetExam::budget).distinct().sorted().toList();
    List<Throughput.Model> models = models(exams);
    List<Throughput.Point> points = new ArrayList<>();
    for (double level : Throughput.LEVELS) {
      List<Frontier.ThroughputPoint> all = frontier.throughput(level, curve -> true).points();
      List<Frontier.ThroughputPoint> single = frontier.throughput(level, isOnce()).points();
      List<Frontier.ExchangeRate> rates = frontier.exchangeRates(level, curve -> true);
      for (int i = 0; i < all.size(); i++) {
        Estimate eta = eta(rates, all.get(i));
        points.add(point(frontier, models, level, budgets.get(i), all.get(i), eta, single.get(i)));
      }
    }
    return new Throughput(
        setting,
        device,
        curves.getFirst().seeds(),
        curves.getFirst().queries(),
        models,
        ways,
        points,
        catchUps(frontier));
  }

  /** Returns the rate at which a budget is reached from the one before. */
  private static Estimate eta(List<Frontier.ExchangeRate> rates, Frontier.ThroughputPoint to) {
    for (Frontier.ExchangeRate rate : rates) {
      if (rate.moreTrainFlops() == to.trainFlops()) return rate.eta();
    }
    return null;
  }

  private static Predicate<Curve> isOnce() {
    return SINGLE_PASS.and(curve -> curve.method().equals(BudgetWay.ONCE));
  }

  private Throughput.Point point(
      Frontier frontier,
      List<Throughput.Model> models,
      double level,
      int budget,
      Frontier.ThroughputPoint x,
      Estimate eta,
      Frontier.ThroughputPoint single) {
    Frontier.Choice quickest = frontier.quickest(level, x.trainFlops(), curve -> true);
    if (quickest == null) {
      return new Throughput.Point(
          level,
          budget,
          x.trainFlops(),
          x.queriesPerSecond(),
          null,
          null,
          null,
          null,
          null,
          single.queriesPerSecond(),
          null);
    }
    Throughput.Way way = ways.get(number(quickest));
    Throughput.Model model =
        models.stream().filter(m -> m.model().equals(way.model())).findAny().orElseThrow();
    Lifetime life = new Lifetime(way.trainFlops(), way.testFlops());
    boolean timed = model.tokensPerSecond() != null;
    return new Throughput.Point(
        level,
        budget,
        x.trainFlops(),
        x.queriesPerSecond(),
        number(quickest),
        timed
            ? Lifetime.tokenEquivalents(
                model.tokensPerSecond().median(), way.queriesPerSecond().median())
            : null,
        timed ? life.tokenEquivalents(model.matrixFlopsPerToken()) : null,
        eta,
        Arrays.stream(Throughput.LIFETIMES).map(life::share).boxed().toList(),
        single.queriesPerSecond(),
        number(frontier.best(x.trainFlops(), way.testFlops(), SINGLE_PASS)));
  }

  /** Returns the number of the way that a choice is; null of none. */
  private Integer number(Frontier.Choice choice) {
    return choice == null ? null : firstWays.get(curves.indexOf(choice.curve())) + choice.point();
  }

  private List<Throughput.Model> models(List<BudgetExam> exams) {
    List<Throughput.Model> models = new ArrayList<>();
    for (BudgetModel of : BudgetModel.values()) {
      BudgetExam exam =
          exams.stream()
              .filter(e -> e.model().equals(of.title()))
              .max(Comparator.comparingInt(BudgetExam::budget))
              .orElse(null);
      if (exam == null) continue;
      Row row =
          table.stream()
              .filter(r -> r.words()[0].equals("budget") && !BudgetWay.isOf(r))
              .filter(r -> BudgetModel.of(r) == of)
              .findAny()
              .orElse(null);
      Entry entry = row == null ? null : entries.get(row.name());
      models.add(
          new Throughput.Model(
              of.title(),
              of.description(),
              exam.parameters(),
              exam.validationFlops() / exam.trainFlops(),
              entry == null ? null : entry.ours().time(row).under(1e9 * entry.elements()),
              entry == null ? null : entry.flops() / entry.elements(),
              entry == null ? null : entry.amount() / entry.elements(),
              entry == null ? null : entry.share(),
              entry != null && entry.ours().isDisturbed()));
    }
    return models;
  }

  private List<CatchUp> catchUps(Frontier frontier) {
    List<CatchUp> catchUps = new ArrayList<>();
    for (Curve thinker : curves) {
      for (Curve rival : curves) {
        boolean pair = SINGLE_PASS.test(rival) && !SINGLE_PASS.test(thinker);
        if (pair && thinker.fraction() == rival.fraction()) {
          catchUps.add(CatchUp.of(frontier, thinker, rival));
        }
      }
    }
    return catchUps;
  }
}
