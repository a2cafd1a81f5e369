// SPDX-License-Identifier: Apache-2.0
package ponder.lab.pages.paths;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import ponder.Device;
import ponder.Key;
import ponder.Libraries;
import ponder.Store;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathLikelihood;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.paths.PathExam;
import ponder.lab.paths.PathObjective;
import ponder.lab.paths.PathsData;
import ponder.lab.paths.PathsResult;
import ponder.lab.paths.PathsRow;
import ponder.lab.report.TrainingBar;
import ponder.nn.GruModel;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;
import ponder.train.JsonLines;
import ponder.train.Safetensors;
import ponder.train.Schedule;
import ponder.train.Trainer;

/**
 * Can a sequence model that has read shortest paths between cities write new ones, and what does
 * writing several and keeping the best buy?
 *
 * <pre>
 * Claim.    The low rates the notes report are what the loss predicts: the share of exact samples is
 *           the mean of exp(-NLL), within 1.96 standard deviations. The shortest legal of the drawn
 *           paths solves at least 10 points more queries than the greedy path.
 * Method.   A GRU and two transformers, trained to the same measured FLOPs on the same paths; the
 *           parameters with the lowest validation loss are asked the test queries once.
 * Data.     Shortest paths (Dijkstra) between cities joined where at most the radius apart; tokens
 *           source, target, places, end. Test pairs are held out by the split.
 * Reading.  "solved": legal, at the target, at most 10 % too long; illegal paths stay in the
 *           denominator. "one sample" is the control: a drawn path taken without a look, which must
 *           gain nothing. "Dijkstra" is exact by construction.
 * Cost.     Three models at 4e12 FLOPs each and their decoding: under five minutes on two cores;
 *           quick form 30 s.
 * Source.   The shortest-path data set of the founding notes (a scholar's blog, 2021), built anew.
 *           Difference: several splits, equal FLOPs, invalid paths counted, intervals.
 * </pre>
 */
public final class PathsPage {
  /** The greatest |z| at which the predicted and the measured rate still agree. */
  private static final double AGREEMENT = 1.96;

  /** By how much the shortest legal path must beat the greedy one, stated beforehand. */
  private static final double GAIN = 0.10;

  private static final int VALIDATION_BATCHES = 16;
  private static final int VALIDATIONS = 10;
  private static final double CLIP = 1;
  private static final long MOST_PAIRS = 40_000_000;

  /**
   * What to run.
   *
   * @param graph the cities and their edges
   * @param split one of {@link Split#NAMES}
   * @param flops training FLOPs of each model
   * @param batch paths in a training batch
   * @param seeds how many seeds, from {@code seed} on
   * @param seed the first seed
   * @param queries test queries
   * @param samples paths drawn per query
   * @param folder where logs and parameters go
   * @param command the command line, for the record
   */
  public record Options(
      CityGraph graph,
      String split,
      long flops,
      int batch,
      int seeds,
      long seed,
      int queries,
      int samples,
      Path folder,
      String command) {}

  /** A model's kind and size. */
  private enum Kind {
    GRU("gru") {
      @Override
      SequenceModel create(Parameters p, int vocabulary) {
        return GruModel.create(p, vocabulary, 2, 192);
      }
    },
    SMALL("transformer-small") {
      @Override
      SequenceModel create(Parameters p, int vocabulary) {
        return Transformer.create(p, vocabulary, 2, 64, 2);
      }
    },
    LARGE("transformer") {
      @Override
      SequenceModel create(Parameters p, int vocabulary) {
        return Transformer.create(p, vocabulary, 3, 128, 4);
      }
    };

    final String title;

    Kind(String title) {
      this.title = title;
    }

    abstract SequenceModel create(Parameters p, int vocabulary);

    Schedule schedule() {
      return new Schedule(3e-3, 0.05, 0.02);
    }
  }

  private final Device device;
  private final Options options;
  private final PrintStream out;
  private final boolean terminal;
  private final List<PathsResult.Training> training = new ArrayList<>();
  private final List<PathsRow> rows = new ArrayList<>();

  /**
   * Prepares the page.
   *
   * @param out where progress and tables are printed
   * @param terminal whether that is a terminal
   */
  public PathsPage(Device device, Options options, PrintStream out, boolean terminal) {
    this.device = device;
    this.options = options;
    this.out = out;
    this.terminal = terminal;
  }

  /** Runs the page and returns everything it measured. */
  public PathsResult run() throws IOException {
    // Data.
    PathTable table = PathTable.sampled(options.graph, MOST_PAIRS, Key.of(0));
    Split split = Split.named(options.split, table, Key.of(0), Split.Shares.USUAL);
    PathsData data = PathsData.of(table, split);
    out.print(data.text());

    // Models, training, measurement.
    PathExam exam = new PathExam(table, split, options.queries);
    rows.addAll(exam.baselines());
    for (long seed = options.seed; seed < options.seed + options.seeds; seed++) {
      for (Kind kind : Kind.values()) {
        trainAndAsk(kind, table, split, exam, seed);
      }
    }

    // Table and claim.
    out.println();
    out.print(PathsRow.table(rows));
    out.println();
    List<String> verdicts = List.of(likelihoodVerdict(), gainVerdict());
    verdicts.forEach(out::println);
    PathsResult.Machine machine =
        new PathsResult.Machine(
            Libraries.platform(),
            device.name().replaceFirst("@.*", ""),
            device.threads(),
            Runtime.version().toString());
    return new PathsResult(
        options.command, machine, data, List.copyOf(training), List.copyOf(rows), verdicts);
  }

  private void trainAndAsk(Kind kind, PathTable table, Split split, PathExam exam, long seed)
      throws IOException {
    String name = kind.title + "-" + seed;
    Key key = Key.of(seed).split(kind.title);
    try (Store store = device.store()) {
      int vocabulary = new PathTokens(table.graph().size()).vocabulary();
      SequenceModel model = kind.create(Parameters.of(store, key.split("parameters")), vocabulary);
      PathObjective objective =
          new PathObjective(
              model,
              table,
              split,
              key.split("paths"),
              options.batch,
              VALIDATION_BATCHES * options.batch);
      Trainer trainer = new Trainer(AdamW.usual(), kind.schedule(), CLIP, VALIDATIONS);
      Trainer.Outcome outcome;
      try (TrainingBar bar = new TrainingBar(name, terminal, out);
          JsonLines log = new JsonLines(options.folder.resolve(name + ".jsonl"), name)) {
        outcome = trainer.run(store, objective, options.flops, bar.and(log));
      }
      Safetensors.write(options.folder.resolve(name + ".safetensors"), store);
      PathExam.Result result =
          exam.ask(
              new PathExam.Candidate(kind.title, seed, store.size(), outcome.work().flops()),
              model,
              device,
              options.samples,
              key.split("draws"));
      rows.addAll(result.rows());
      training.add(training(kind, seed, store.size(), outcome, result.likelihood()));
      out.printf(
          Locale.ROOT,
          "%s: %,d parameters, %,d steps, %.3g FLOPs in %.1f s (%.0f GFLOP/s), validation %.4f nats"
              + " a token%n",
          name,
          store.size(),
          outcome.steps(),
          (double) outcome.work().flops(),
          outcome.seconds(),
          outcome.work().flops() / outcome.seconds() * 1e-9,
          outcome.bestValidation());
    }
  }

  private static PathsResult.Training training(
      Kind kind, long seed, long parameters, Trainer.Outcome outcome, PathLikelihood likelihood) {
    return new PathsResult.Training(
        kind.title,
        seed,
        parameters,
        outcome.steps(),
        outcome.work().flops(),
        outcome.work().matrixFlops(),
        outcome.validationWork().flops(),
        outcome.seconds(),
        outcome.bestStep(),
        outcome.bestValidation(),
        likelihood.firstNats(),
        likelihood.restNats(),
        likelihood.predictedExact(),
        likelihood.measuredExact(),
        likelihood.surprise());
  }

  private String likelihoodVerdict() {
    long agreeing = training.stream().filter(t -> Math.abs(t.surprise()) <= AGREEMENT).count();
    StringBuilder text = new StringBuilder();
    for (PathsResult.Training t : training) {
      text.append(
          String.format(
              Locale.ROOT,
              "%n  %s, seed %d: first move %.3f nats, rest %.3f; exact samples predicted %.1f %%,"
                  + " measured %.1f %% (z = %.2f)",
              t.model(),
              t.seed(),
              t.firstMoveNats().value(),
              t.restNats().value(),
              100 * t.predictedExact().value(),
              100 * t.measuredExact().value(),
              t.surprise()));
    }
    return "Exact samples are as frequent as exp(-NLL) predicts (|z| <= 1.96): "
        + agreeing
        + " of "
        + training.size()
        + " models."
        + text;
  }

  private String gainVerdict() {
    StringBuilder text = new StringBuilder();
    int held = 0;
    for (PathsResult.Training t : training) {
      double gain = solved(t, "shortest legal") - solved(t, "greedy");
      double control = solved(t, "one sample") - solved(t, "greedy");
      held += gain >= GAIN ? 1 : 0;
      text.append(
          String.format(
              Locale.ROOT,
              "%n  %s, seed %d: %+.1f points; control, one sample at random: %+.1f",
              t.model(),
              t.seed(),
              100 * gain,
              100 * control));
    }
    return String.format(
            Locale.ROOT,
            "The shortest legal of %d samples solves at least %.0f points more than greedy: ",
            options.samples,
            100 * GAIN)
        + held
        + " of "
        + training.size()
        + " models."
        + text;
  }

  private double solved(PathsResult.Training t, String method) {
    return rows.stream()
        .filter(r -> r.model().equals(t.model()) && r.seed() == t.seed())
        .filter(r -> r.method().startsWith(method))
        .findFirst()
        .orElseThrow()
        .solved()
        .value();
  }
}
