// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Locale;
import ponder.Key;
import ponder.lab.paths.Recipe;
import ponder.nn.LoopedTransformer;
import ponder.nn.Parameters;
import ponder.nn.RandomRounds;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.train.Schedule;

/** The models of the budget rows: two that answer in a single pass, and one that goes in rounds. */
enum BudgetModel implements Recipe {
  SMALL(2, 64, 2, 0),
  LARGE(3, 128, 4, 0),
  LOOPED(1, 96, 3, 4);

  private static final double PROGRESSIVE = 0.5;

  private final int layers;
  private final int width;
  private final int heads;
  private final int rounds;

  BudgetModel(int layers, int width, int heads, int rounds) {
    this.layers = layers;
    this.width = width;
    this.heads = heads;
    this.rounds = rounds;
  }

  /** Returns the model of a row, its second word. */
  static BudgetModel of(Row row) {
    return named(row.words()[1]);
  }

  /** Returns the model of a title. */
  static BudgetModel named(String title) {
    return valueOf(title.toUpperCase(Locale.ROOT));
  }

  /** Returns whether it answers in a single pass. */
  boolean isSinglePass() {
    return rounds == 0;
  }

  @Override
  public String title() {
    return name().toLowerCase(Locale.ROOT);
  }

  @Override
  public SequenceModel create(Parameters p, int vocabulary) {
    return rounds == 0
        ? Transformer.create(p, vocabulary, layers, width, heads)
        : LoopedTransformer.create(p, vocabulary, layers, width, heads, rounds);
  }

  @Override
  public SequenceModel inStep(SequenceModel model, long step, Key key) {
    return model instanceof LoopedTransformer looped
        ? new RandomRounds(rounds, PROGRESSIVE, key).of(looped, step)
        : model;
  }

  @Override
  public Schedule schedule() {
    return new Schedule(3e-3, 0.05, 0.02);
  }

  /** Returns what it is, in words. */
  String description() {
    String blocks = layers + (layers == 1 ? " layer" : " layers") + " of width " + width;
    return rounds == 0 ? blocks : blocks + ", trained to " + rounds + " rounds";
  }

  /** Returns everything about it that its training depends on. */
  String recipe() {
    return "%s, %s heads, %s of the steps progressive"
        .formatted(description(), heads, rounds == 0 ? 0 : PROGRESSIVE);
  }
}
