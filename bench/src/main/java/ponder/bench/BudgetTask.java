// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Arrays;
import java.util.List;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.lab.cities.Cities;
import ponder.lab.cities.City;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.paths.Answers;
import ponder.lab.paths.PathExam;
import ponder.lab.paths.PathObjective;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.optim.AdamW;
import ponder.train.Trainer;

/**
 * What the models of the budget rows learn and are asked: shortest paths between the largest of the
 * lab's built-in places, by pairs held out in both directions.
 */
final class BudgetTask {
  private static final int VALIDATION_BATCHES = 8;
  private static final int VALIDATIONS = 10;
  private static final double CLIP = 1;

  /**
   * Its sizes.
   *
   * @param places how many
   * @param kilometres places at most this far apart are joined
   * @param batch paths in a training batch
   * @param queries those of the exam, all asked at once
   * @param budgets training budgets, each four times the one before
   * @param flops the largest of them
   */
  record Setting(int places, double kilometres, int batch, int queries, int budgets, long flops) {
    /** That of the suite. */
    static final Setting USUAL = new Setting(100, 500, 32, 256, 4, 2_000_000_000_000L);

    /**
     * Returns a training budget in FLOPs.
     *
     * @param number from 1, the smallest
     */
    long flops(int number) {
      return flops >> 2 * (budgets - number);
    }

    /** Returns the number of a training budget that is a part of the largest. */
    int number(double fraction) {
      return (int) Math.round(budgets + Math.log(fraction) / Math.log(4));
    }
  }

  private final Setting setting;
  private final PathTable table;
  private final Split split;
  private final PathTokens tokens;
  private final PathExam exam;

  BudgetTask(Setting setting) {
    this.setting = setting;
    List<City> places = Cities.embedded().subList(0, setting.places);
    table = PathTable.of(CityGraph.of(places, setting.kilometres, CityGraph.Orientation.BOTH_WAYS));
    split = Split.named("clean", table, Key.of(0), Split.Shares.USUAL);
    tokens = new PathTokens(setting.places, false);
    exam = new PathExam(table, tokens, split, setting.queries);
  }

  Setting setting() {
    return setting;
  }

  /** Returns what trains a model. */
  Trainer trainer(BudgetModel of) {
    return new Trainer(AdamW.usual(), of.schedule(), CLIP, VALIDATIONS);
  }

  /** Returns a new model whose parameters live in a store. */
  SequenceModel create(BudgetModel of, long seed, Store store) {
    Parameters parameters = Parameters.of(store, key(of, seed).split("parameters"));
    return of.create(parameters, tokens.vocabulary());
  }

  /** Returns what the training of a model minimises. */
  PathObjective objective(BudgetModel of, long seed, SequenceModel model) {
    Key key = key(of, seed);
    return new PathObjective(
        model,
        step -> of.inStep(model, step, key.split("rounds")),
        table,
        split,
        tokens,
        key.split("paths"),
        setting.batch,
        VALIDATION_BATCHES * setting.batch);
  }

  /** Asks a model every query of the exam in one way. */
  Answers ask(BudgetModel of, long seed, SequenceModel model, Device device, BudgetWay way) {
    return exam.ask(model, device, way.method(), way.spend(), key(of, seed).split("draws"));
  }

  /** Returns how many tokens a training batch has on average, the padding not among them. */
  double tokensPerBatch() {
    PathStream train = new PathStream(table, split, Split.Part.TRAIN, Key.of(0));
    long paths = 0;
    long sum = 0;
    while (train.next()) {
      paths++;
      sum += tokens.batch(new int[][] {Arrays.copyOf(train.nodes(), train.count())}).lengths()[0];
    }
    return setting.batch * (double) sum / paths;
  }

  private static Key key(BudgetModel of, long seed) {
    return Key.of(seed).split(of.title());
  }
}
