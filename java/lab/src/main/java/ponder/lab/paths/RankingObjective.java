// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.List;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.Split;
import ponder.lab.decoding.Completion;
import ponder.lab.decoding.Decoder;
import ponder.lab.decoding.Written;
import ponder.train.Objective;

/**
 * The ranking loss of a {@link PathScorer}: of two paths that the model itself drew for one query,
 * the better shall score higher; mean over pairs of log(1 + exp(s_worse - s_better)). Better is a
 * legal path that arrives over one that does not, and the shorter of two that do. Source: Bradley,
 * Terry 1952; Burges et al. 2005, eq. 3.
 */
final class RankingObjective implements Objective {
  /** Draws for a query; enough that a middling model has good and bad ones among them. */
  static final int DRAWS = 8;

  private static final int GROUPS = 16;
  private static final double SAME_KILOMETRES = 1e-6;

  /** The draws of one query and its pairs, better first. */
  private record Group(int[] prompt, List<Completion> draws, List<int[]> pairs) {}

  private final PathScorer scorer;
  private final PathTable table;
  private final Key key;
  private final List<Group> train = new ArrayList<>();
  private final List<Group> validation = new ArrayList<>();

  /** Prepares; {@link #draw} fills it. */
  RankingObjective(PathScorer scorer, PathTable table, Key key) {
    this.scorer = scorer;
    this.table = table;
    this.key = key;
  }

  /**
   * Draws paths for queries of the training part, and an eighth as many of the validation part,
   * until the device has spent so many FLOPs on it; at least {@code GROUPS} queries.
   */
  void draw(Decoder decoder, Split split, long flops) {
    Device device = decoder.device();
    Work before = device.meter().total();
    PathStream of = new PathStream(table, split, Split.Part.TRAIN, key.split("queries"));
    PathStream held = new PathStream(table, split, Split.Part.VALIDATION, key.split("queries"));
    for (long round = 0; round == 0 || device.meter().since(before).flops() < flops; round++) {
      boolean isTrain = round % 8 != 7;
      collect(decoder, isTrain ? of : held, isTrain ? train : validation, key.split(round));
    }
    if (validation.isEmpty()) {
      collect(decoder, held, validation, key.split("validation"));
    }
  }

  private void collect(Decoder decoder, PathStream stream, List<Group> groups, Key draws) {
    int[][] prompts = new int[GROUPS][];
    for (int i = 0; i < GROUPS; i++) {
      stream.advance();
      prompts[i] = new int[] {stream.source(), stream.target()};
    }
    Written written = decoder.sample(prompts, DRAWS, draws);
    for (int i = 0; i < GROUPS; i++) {
      List<Completion> ended = written.of(i).stream().filter(Completion::ended).toList();
      double[] kilometres = new double[ended.size()];
      for (int j = 0; j < kilometres.length; j++) {
        Candidate c =
            Candidate.of(table, scorer.tokens(), prompts[i][0], prompts[i][1], ended.get(j));
        kilometres[j] = c.arrives() ? c.score().kilometres() : Double.POSITIVE_INFINITY;
      }
      List<int[]> pairs = new ArrayList<>();
      for (int a = 0; a < kilometres.length; a++) {
        for (int b = 0; b < kilometres.length; b++) {
          if (kilometres[a] < kilometres[b] - SAME_KILOMETRES) {
            pairs.add(new int[] {a, b});
          }
        }
      }
      if (!pairs.isEmpty()) {
        groups.add(new Group(prompts[i], ended, pairs));
      }
    }
  }

  /** Returns whether there is anything to learn: a model that is always right draws no pairs. */
  boolean hasPairs() {
    return !train.isEmpty() && !validation.isEmpty();
  }

  @Override
  public Tensor loss(Scope scope, long step) {
    int[] chosen = key.split("batches").split(step).ints(GROUPS, train.size());
    List<Group> groups = new ArrayList<>();
    for (int i : chosen) {
      groups.add(train.get(i));
    }
    return loss(scope, groups);
  }

  @Override
  public double validation(Scope scope) {
    double sum = 0;
    for (int first = 0; first < validation.size(); first += GROUPS) {
      List<Group> some = validation.subList(first, Math.min(validation.size(), first + GROUPS));
      try (Scope part = scope.device().openUnrecorded()) {
        sum += loss(part, some).item() * some.size();
      }
    }
    return sum / validation.size();
  }

  /** The mean over groups of the mean over their pairs. */
  private Tensor loss(Scope scope, List<Group> groups) {
    List<int[]> prompts = new ArrayList<>();
    List<Completion> draws = new ArrayList<>();
    List<Integer> better = new ArrayList<>();
    List<Integer> worse = new ArrayList<>();
    List<Float> weights = new ArrayList<>();
    for (Group group : groups) {
      int first = draws.size();
      for (int[] pair : group.pairs) {
        better.add(first + pair[0]);
        worse.add(first + pair[1]);
        weights.add(1f / (group.pairs.size() * groups.size()));
      }
      for (Completion draw : group.draws) {
        prompts.add(group.prompt);
        draws.add(draw);
      }
    }
    Tensor scores = scorer.scores(scope, prompts, draws);
    Tensor margin = pick(scope, scores, better).sub(pick(scope, scores, worse));
    // log(1 + exp(-m)) without overflow: max(-m, 0) + log(1 + exp(-|m|)).
    Tensor down = margin.neg();
    Tensor zero = scope.full(margin.dtype(), margin.shape(), 0);
    Tensor size = margin.maximum(down);
    Tensor loss = down.maximum(zero).add(size.neg().exp().affine(1, 1).log());
    float[] w = new float[weights.size()];
    for (int i = 0; i < w.length; i++) {
      w[i] = weights.get(i);
    }
    return loss.mul(scope.tensor(Shape.of(w.length, 1), w)).sum();
  }

  private static Tensor pick(Scope scope, Tensor scores, List<Integer> rows) {
    int[] index = rows.stream().mapToInt(Integer::intValue).toArray();
    return scores.gather(scope.indices(Shape.of(index.length), index));
  }
}
