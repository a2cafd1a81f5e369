// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.BooleanSupplier;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.lab.cities.PathLikelihood;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.frontier.Curve;
import ponder.lab.report.TrainingBar;
import ponder.nn.LoopedTransformer;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.optim.AdamW;
import ponder.train.Checkpoints;
import ponder.train.Safetensors;
import ponder.train.Schedule;
import ponder.train.StoppedException;
import ponder.train.Trainer;

/** Trains a model on the paths, trains its score on its own draws, and asks it the test queries. */
public final class PathsTrial {
  private static final int VALIDATION_BATCHES = 16;
  private static final int VALIDATIONS = 10;
  private static final double CLIP = 1;

  // Of the training budget: what the learned score may draw, and then train, on top of it.
  private static final int DRAWING_PART = 32;
  private static final int SCORING_PART = 8;

  private final Device device;
  private final Setting setting;
  private final Keeping keeping;
  private final PathExam exam;
  private final PrintStream out;
  private final boolean terminal;

  /**
   * What all trials of a run have in common.
   *
   * @param table the shortest paths
   * @param split which are held out
   * @param tokens how they are written
   * @param flops the full training budget
   * @param batch paths in a training batch
   * @param queries test queries
   * @param samples paths drawn per query
   * @param temperature of the draws
   * @param width of the widest beam
   * @param rounds the most rounds of a looped model
   * @param products the type that models compute their products, attention and scans in
   * @param shown the queries whose answers are kept as paths
   */
  public record Setting(
      PathTable table,
      Split split,
      PathTokens tokens,
      long flops,
      int batch,
      int queries,
      int samples,
      double temperature,
      int width,
      int rounds,
      DType products,
      int shown) {}

  /**
   * How a run is kept on the disk.
   *
   * @param folder where logs, checkpoints, parameters and units go
   * @param program the program's version; another one does not resume the run
   * @param arguments what makes the run this one; all must be equal to resume it
   * @param resume whether what is there is gone on from
   * @param seconds how often a checkpoint is written
   * @param stop asked after every training step: whether the run shall end
   */
  public record Keeping(
      Path folder,
      String program,
      Map<String, String> arguments,
      boolean resume,
      double seconds,
      BooleanSupplier stop) {}

  /**
   * Prepares trials.
   *
   * @param out where progress is printed
   * @param terminal whether that is a terminal
   */
  public PathsTrial(
      Device device, Setting setting, Keeping keeping, PrintStream out, boolean terminal) {
    this.device = device;
    this.setting = setting;
    this.keeping = keeping;
    this.out = out;
    this.terminal = terminal;
    exam = new PathExam(setting.table, setting.tokens, setting.split, setting.queries);
  }

  /** Returns the shortest paths that the queries ask for, both ends included. */
  public int[][] queries() {
    return exam.paths();
  }

  /** Returns what the methods that learn nothing gave. */
  public List<PathsUnit.Answered> baselines() {
    return exam.baselines().stream().map(a -> answered("map", 0, 0, 1, 0, a)).toList();
  }

  /**
   * Makes a trial; in a resumed run, goes on with it, or reads it where it was finished.
   *
   * @throws StoppedException if the run was asked to stop
   */
  public PathsUnit run(Recipe recipe, double fraction, long seed) throws IOException {
    String name = recipe.title() + "-" + Curve.part(fraction).replace('/', '_') + "-" + seed;
    Path file = keeping.folder.resolve(name + ".json");
    Checkpoints checkpoints =
        Checkpoints.of(keeping.folder, name, keeping.program, keeping.arguments)
            .resume(keeping.resume)
            .every(Long.MAX_VALUE, keeping.seconds)
            .stop(keeping.stop);
    if (keeping.resume && Files.exists(file)) {
      // A process killed after it had written the unit has not deleted the checkpoint.
      checkpoints.delete();
      return PathsUnit.read(file).requireRun(file, keeping.program, keeping.arguments);
    }
    Files.deleteIfExists(file);
    Key key = Key.of(seed).split(recipe.title());
    int vocabulary = setting.tokens.vocabulary();
    try (Store store = device.store()) {
      SequenceModel model = recipe.create(parameters(store, key), vocabulary);
      Trainer.Outcome outcome = train(checkpoints, name, recipe, fraction, key, model, store);
      Safetensors.write(keeping.folder.resolve(name + ".safetensors"), store);
      PathsUnit unit;
      try (Store scores = device.store()) {
        long budget = (long) (setting.flops * fraction);
        Work before = device.meter().total();
        PathScorer scorer = scorer(recipe, model, store, scores, key.split("score"), budget);
        long scoreFlops = device.meter().since(before).flops();
        unit = ask(recipe, fraction, seed, model, scorer, store, outcome, scoreFlops, key);
      }
      unit.write(file);
      checkpoints.delete();
      return unit;
    }
  }

  private Parameters parameters(Store store, Key key) {
    return Parameters.of(store, key.split("parameters")).withProducts(setting.products);
  }

  private Trainer.Outcome train(
      Checkpoints checkpoints,
      String name,
      Recipe recipe,
      double fraction,
      Key key,
      SequenceModel model,
      Store store)
      throws IOException {
    PathObjective objective =
        new PathObjective(
            model,
            step -> recipe.inStep(model, step, key.split("rounds")),
            setting.table,
            setting.split,
            setting.tokens,
            key.split("paths"),
            setting.batch,
            VALIDATION_BATCHES * setting.batch);
    Trainer trainer = new Trainer(AdamW.usual(), recipe.schedule(), CLIP, VALIDATIONS);
    long budget = (long) (setting.flops * fraction);
    Trainer.Outcome outcome;
    try (TrainingBar bar = new TrainingBar(name, terminal, out)) {
      outcome = trainer.run(store, objective, budget, bar, checkpoints);
    }
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
    return outcome;
  }

  /** Trains a score that begins as the model itself, on paths that the model draws. */
  private PathScorer scorer(
      Recipe recipe, SequenceModel model, Store store, Store scores, Key key, long budget) {
    Parameters parameters = parameters(scores, key);
    SequenceModel body = recipe.create(parameters, setting.tokens.vocabulary());
    for (String name : store.names()) {
      scores.replace(name, store.get(name));
    }
    Tensor head = parameters.full("head", 0, model.output().shape().dim(1), 1);
    PathScorer scorer = new PathScorer(body, head, setting.tokens);
    RankingObjective objective = new RankingObjective(scorer, setting.table, key.split("draws"));
    objective.draw(exam.decoder(model, device), setting.split, budget / DRAWING_PART);
    if (objective.hasPairs()) {
      new Trainer(AdamW.usual(), new Schedule(3e-4, 0.1, 0.02), CLIP, VALIDATIONS)
          .run(scores, objective, Math.max(1, budget / SCORING_PART), step -> {});
    }
    return scorer;
  }

  private PathsUnit ask(
      Recipe recipe,
      double fraction,
      long seed,
      SequenceModel model,
      PathScorer scorer,
      Store store,
      Trainer.Outcome outcome,
      long scoreFlops,
      Key key) {
    PathExam.Spending spending =
        new PathExam.Spending(setting.samples, setting.temperature, setting.width, setting.rounds);
    List<Answers> all = exam.ask(model, scorer, device, spending, key.split("draws"));
    Answers single =
        all.stream()
            .filter(a -> a.method().equals("most likely") && a.spend() == 1)
            .findFirst()
            .orElseThrow();
    PathLikelihood likelihood = exam.likelihood(model, device, single);
    PathsUnit.Training training =
        new PathsUnit.Training(
            recipe.title(),
            seed,
            fraction,
            store.size(),
            outcome.steps(),
            outcome.work().flops(),
            outcome.work().matrixFlops(),
            outcome.validationWork().flops(),
            scoreFlops,
            outcome.seconds(),
            outcome.bestStep(),
            outcome.bestValidation(),
            likelihood.firstNats(),
            likelihood.restNats(),
            likelihood.predictedExact(),
            likelihood.measuredExact(),
            likelihood.surprise(),
            model instanceof LoopedTransformer looped
                ? Going.of(looped, device, exam.prompts(), setting.rounds)
                : null);
    List<PathsUnit.Answered> answers = new ArrayList<>();
    for (Answers a : all) {
      long flops = training.trainFlops() + (a.method().contains("scored") ? scoreFlops : 0);
      answers.add(answered(recipe.title(), seed, store.size(), fraction, flops, a));
    }
    return new PathsUnit(keeping.program, keeping.arguments, training, answers);
  }

  private PathsUnit.Answered answered(
      String model, long seed, long parameters, double fraction, long trainFlops, Answers a) {
    StringBuilder solved = new StringBuilder();
    StringBuilder optimal = new StringBuilder();
    a.scores().forEach(s -> solved.append(s.isSolved() ? '1' : '0'));
    a.scores().forEach(s -> optimal.append(s.isOptimal() ? '1' : '0'));
    return new PathsUnit.Answered(
        PathsRow.of(model, seed, parameters, fraction, trainFlops, a),
        a.seconds(),
        solved.toString(),
        optimal.toString(),
        a.places().subList(0, Math.min(setting.shown, a.places().size())));
  }
}
