// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import ponder.Device;
import ponder.Store;
import ponder.nn.SequenceModel;
import ponder.train.Safetensors;
import ponder.train.Trainer;

/**
 * The trained models of the budget rows, on the disk: each is trained once, and again only when
 * something changes that it depends on. A name has one model; that of an older key is deleted.
 *
 * @param task what they learn
 * @param folder where they are
 * @param device what trains them
 * @param program the hash of what computes
 * @param ways those in which each is asked
 */
record BudgetCache(
    BudgetTask task,
    Path folder,
    String device,
    String program,
    Map<BudgetModel, List<BudgetWay>> ways) {
  private static final Path FOLDER = Path.of("build/bench/budget");

  /** Returns that of the suite, of a device. */
  static BudgetCache of(String device) {
    try {
      return new BudgetCache(
          new BudgetTask(BudgetTask.Setting.USUAL),
          FOLDER,
          device,
          Program.fingerprint(device),
          ways(Rows.all()));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Returns the ways of every model that a table has rows of. */
  static Map<BudgetModel, List<BudgetWay>> ways(List<Row> table) {
    Map<BudgetModel, List<BudgetWay>> ways = new TreeMap<>();
    for (Row row : table) {
      if (!BudgetWay.isOf(row)) continue;
      List<BudgetWay> of = ways.computeIfAbsent(BudgetModel.of(row), m -> new ArrayList<>());
      if (!of.contains(BudgetWay.of(row))) of.add(BudgetWay.of(row));
    }
    return ways;
  }

  /** Returns everything that determines a model and its answers. */
  String key(BudgetModel model, int budget, long seed) {
    return String.join(
        "; ",
        task.setting().toString(),
        model.recipe(),
        task.trainer(model).toString(),
        task.setting().flops(budget) + " FLOPs",
        "seed " + seed,
        ways.get(model).toString(),
        device,
        program);
  }

  private Path file(BudgetModel model, int budget, long seed, String ending) {
    String hash = Program.hash(key(model, budget, seed)).substring(0, 16);
    return folder.resolve(name(model, budget, seed) + hash + ending);
  }

  private String name(BudgetModel model, int budget, long seed) {
    String on = device.replace(':', '_');
    return "%s-%s-c%d-%d-".formatted(on, model.title(), budget, seed);
  }

  /**
   * Returns the exam of a model, which is trained and asked where it has not been.
   *
   * @param progress takes a sentence where it was
   */
  BudgetExam exam(BudgetModel model, int budget, long seed, Consumer<String> progress)
      throws IOException {
    Path file = file(model, budget, seed, ".json");
    if (!Files.exists(file)) {
      BudgetExam exam = train(model, budget, seed);
      exam.write(file);
      progress.accept(
          String.format(
              Locale.ROOT,
              "trained  %s, C%d, seed %d: %,d steps, %.3g FLOPs, %.1f s",
              model.title(),
              budget,
              seed,
              exam.steps(),
              exam.trainFlops(),
              exam.seconds()));
    }
    return read(model, budget, seed);
  }

  /**
   * Trains the models that some rows are about, where they are not trained.
   *
   * @param seeds how many of each
   */
  void train(List<Row> rows, int seeds, Consumer<String> progress) throws IOException {
    for (Row row : rows) {
      if (!BudgetWay.isOf(row)) continue;
      for (long seed = 0; seed < seeds; seed++) {
        exam(BudgetModel.of(row), row.size("budget"), seed, progress);
      }
    }
  }

  /**
   * Returns the exams of the models that rows of some names are about, of those trained with every
   * seed.
   */
  List<BudgetExam> exams(List<Row> table, Set<String> names, int seeds) {
    Map<String, BudgetExam> exams = new LinkedHashMap<>();
    for (Row row : table) {
      if (!BudgetWay.isOf(row) || !names.contains(row.name())) continue;
      BudgetModel model = BudgetModel.of(row);
      int budget = row.size("budget");
      if (!LongStream.range(0, seeds)
          .allMatch(seed -> Files.exists(file(model, budget, seed, ".json")))) {
        continue;
      }
      for (long seed = 0; seed < seeds; seed++) {
        BudgetExam exam = read(model, budget, seed);
        exams.put(exam.key(), exam);
      }
    }
    return List.copyOf(exams.values());
  }

  /** Returns the exam of a model that has been trained. */
  BudgetExam read(BudgetModel model, int budget, long seed) {
    try {
      return BudgetExam.read(file(model, budget, seed, ".json"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private BudgetExam train(BudgetModel of, int budget, long seed) throws IOException {
    Files.createDirectories(folder);
    forget(name(of, budget, seed));
    try (Device device = Subjects.open(this.device, 0);
        Store store = device.store()) {
      SequenceModel model = task.create(of, seed, store);
      Trainer.Outcome training =
          task.trainer(of)
              .run(
                  store, task.objective(of, seed, model), task.setting().flops(budget), step -> {});
      Safetensors.write(file(of, budget, seed, ".safetensors"), store);
      List<BudgetExam.Answered> answers = new ArrayList<>();
      for (BudgetWay way : ways.get(of)) {
        answers.add(BudgetExam.Answered.of(task.ask(of, seed, model, device, way)));
      }
      return BudgetExam.of(
          key(of, budget, seed), of, budget, seed, store.size(), training, answers);
    }
  }

  private void forget(String name) throws IOException {
    List<Path> old;
    try (Stream<Path> files = Files.list(folder)) {
      old = files.filter(f -> f.getFileName().toString().startsWith(name)).toList();
    }
    for (Path file : old) Files.deleteIfExists(file);
  }

  /**
   * Opens a trained model.
   *
   * @param store takes its parameters
   */
  SequenceModel open(BudgetModel of, int budget, long seed, Store store) {
    Path file = file(of, budget, seed, ".safetensors");
    if (!Files.exists(file)) {
      throw new IllegalStateException("%s is not there: train first".formatted(file));
    }
    try {
      SequenceModel model = task.create(of, seed, store);
      Safetensors.read(file, store);
      return model;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
