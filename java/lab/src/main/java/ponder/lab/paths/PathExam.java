// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Work;
import ponder.lab.cities.Dijkstra;
import ponder.lab.cities.GreedyWalk;
import ponder.lab.cities.PathLikelihood;
import ponder.lab.cities.PathMetrics;
import ponder.lab.cities.PathScore;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.decoding.Completion;
import ponder.lab.decoding.Decoder;
import ponder.nn.SequenceModel;

/**
 * The test queries of a split, asked once of each model. What a method spends is charged to it: a
 * choice among several paths costs all of them and every check made on them.
 */
public final class PathExam {
  private static final int DECODED_AT_ONCE = 128;

  private final PathTable table;
  private final PathTokens tokens;
  private final int[][] paths;

  /**
   * Takes the queries: the first of the test part's paths, in an order no model's seed changes.
   *
   * @param queries how many; fewer where the part has fewer
   */
  public PathExam(PathTable table, Split split, int queries) {
    this.table = table;
    this.tokens = new PathTokens(table.graph().size());
    PathStream stream = new PathStream(table, split, Split.Part.TEST, Key.of(0));
    List<int[]> taken = new ArrayList<>();
    while (taken.size() < queries && stream.next()) {
      taken.add(Arrays.copyOf(stream.nodes(), stream.count()));
    }
    paths = taken.toArray(int[][]::new);
    if (paths.length == 0) {
      throw new IllegalArgumentException("the test part of the split has no path");
    }
  }

  /** Returns the number of queries. */
  public int queries() {
    return paths.length;
  }

  /** Who is examined: the name, seed, size and training FLOPs that its rows carry. */
  public record Candidate(String model, long seed, long parameters, long trainFlops) {}

  /**
   * What a model's exam gave.
   *
   * @param rows greedy, one sample, and each choice among the samples
   * @param likelihood what the likelihood of the true paths predicts, beside one sample each
   */
  public record Result(List<PathsRow> rows, PathLikelihood likelihood) {}

  /**
   * Examines a model.
   *
   * @param samples how many paths are drawn for each query
   * @param key the source of the draws
   */
  public Result ask(Candidate who, SequenceModel model, Device device, int samples, Key key) {
    int limit = 2 * table.longest() + 2;
    Decoder decoder = new Decoder(model, device, tokens.end(), limit, DECODED_AT_ONCE);
    int[][] prompts = new int[paths.length][];
    for (int i = 0; i < paths.length; i++) {
      prompts[i] = new int[] {source(i), target(i)};
    }
    Work before = device.meter().total();
    List<Completion> greedy = decoder.greedy(prompts);
    long greedyFlops = device.meter().since(before).flops();
    before = device.meter().total();
    List<Completion> drawn = decoder.sample(prompts, samples, key);
    long drawnFlops = device.meter().since(before).flops();

    PathMetrics one = new PathMetrics();
    PathMetrics likely = new PathMetrics();
    PathMetrics shortest = new PathMetrics();
    long checks = 0;
    boolean[] isExact = new boolean[paths.length];
    for (int i = 0; i < paths.length; i++) {
      List<Completion> answers = drawn.subList(i * samples, (i + 1) * samples);
      PathScore first = score(i, answers.get(0));
      isExact[i] = first.isExact();
      one.add(first);
      Completion mostLikely = answers.get(0);
      PathScore best = null;
      for (Completion answer : answers) {
        if (answer.logLikelihood() > mostLikely.logLikelihood()) {
          mostLikely = answer;
        }
        PathScore s = score(i, answer);
        checks += s.operations();
        boolean arrives = s.isLegal() && s.isAtTarget();
        if (arrives && (best == null || s.kilometres() < best.kilometres())) {
          best = s;
        }
      }
      PathScore most = score(i, mostLikely);
      likely.add(most);
      shortest.add(best == null ? most : best);
    }
    PathMetrics straight = new PathMetrics();
    for (int i = 0; i < paths.length; i++) {
      straight.add(score(i, greedy.get(i)));
    }
    double n = paths.length;
    String of = "of " + samples;
    List<PathsRow> rows =
        List.of(
            row(who, "greedy", greedyFlops / n, straight),
            row(who, "one sample", drawnFlops / n / samples, one),
            row(who, "most likely " + of, drawnFlops / n, likely),
            row(who, "shortest legal " + of, (drawnFlops + checks) / n, shortest));
    return new Result(rows, likelihood(model, device, isExact));
  }

  /** Returns the rows of what learns nothing: the greedy walk on the map, and Dijkstra. */
  public List<PathsRow> baselines() {
    GreedyWalk walker = new GreedyWalk(table.graph());
    Dijkstra search = new Dijkstra(table.graph());
    int[] nodes = new int[table.graph().size()];
    PathMetrics walk = new PathMetrics();
    PathMetrics oracle = new PathMetrics();
    long walked = 0;
    long searched = 0;
    for (int i = 0; i < paths.length; i++) {
      int source = source(i);
      int target = target(i);
      int count = walker.walk(source, target, nodes);
      boolean arrives = count > 0 && nodes[count - 1] == target;
      walk.add(PathScore.of(table, source, target, nodes, 0, count, arrives));
      walked += walker.operations();
      search.between(source, target);
      count = search.path(target, nodes);
      oracle.add(PathScore.of(table, source, target, nodes, 1, count - 1, true));
      searched += search.operations();
    }
    double n = paths.length;
    Candidate map = new Candidate("map", 0, 0, 0);
    return List.of(
        row(map, "greedy walk", walked / n, walk), row(map, "Dijkstra", searched / n, oracle));
  }

  private PathLikelihood likelihood(SequenceModel model, Device device, boolean[] isExact) {
    PathLikelihood likelihood = new PathLikelihood();
    for (int first = 0; first < paths.length; first += DECODED_AT_ONCE) {
      int last = Math.min(first + DECODED_AT_ONCE, paths.length);
      PathTokens.Batch batch = tokens.batch(Arrays.copyOfRange(paths, first, last));
      try (Scope scope = device.openUnrecorded()) {
        Shape shape = Shape.of(batch.rows(), batch.steps());
        float[] losses =
            model
                .losses(scope.indices(shape, batch.input()), scope.indices(shape, batch.target()))
                .toFloats();
        for (int i = first; i < last; i++) {
          int from = (i - first) * batch.steps();
          double rest = 0;
          for (int t = PathTokens.PROMPT; t < batch.steps(); t++) {
            rest += losses[from + t];
          }
          likelihood.add(
              losses[from + PathTokens.PROMPT - 1], rest, paths[i].length - 1, isExact[i]);
        }
      }
    }
    return likelihood;
  }

  private PathScore score(int query, Completion answer) {
    return PathScore.of(
        table,
        source(query),
        target(query),
        answer.tokens(),
        0,
        answer.tokens().length,
        answer.ended());
  }

  private static PathsRow row(Candidate who, String method, double flops, PathMetrics metrics) {
    return PathsRow.of(who.model, who.seed, who.parameters, who.trainFlops, method, flops, metrics);
  }

  private int source(int query) {
    return paths[query][0];
  }

  private int target(int query) {
    return paths[query][paths[query].length - 1];
  }
}
