// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.IntToDoubleFunction;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.lab.cities.Dijkstra;
import ponder.lab.cities.GreedyWalk;
import ponder.lab.cities.PathLikelihood;
import ponder.lab.cities.PathScore;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.decoding.Completion;
import ponder.lab.decoding.Constraint;
import ponder.lab.decoding.Decoder;
import ponder.lab.decoding.Written;
import ponder.nn.LoopedTransformer;
import ponder.nn.SequenceModel;

/**
 * The test queries of a split, asked once of each model, in every way it can think longer. What a
 * method spends is charged to it: a choice among several paths costs all of them and every check
 * made on them.
 */
public final class PathExam {
  private static final int DECODED_AT_ONCE = 128;

  private final PathTable table;
  private final PathTokens tokens;
  private final Constraint map;
  private final int[][] paths;
  private final int[][] prompts;

  /**
   * How much is spent at most.
   *
   * @param samples paths drawn per query, a power of two
   * @param temperature of the draws
   * @param width of the widest beam, a power of two
   * @param rounds the most rounds of a looped model, a power of two
   */
  record Spending(int samples, double temperature, int width, int rounds) {}

  /**
   * Takes the queries: the first of the test part's paths, in an order no model's seed changes.
   *
   * @param queries how many; fewer where the part has fewer
   */
  public PathExam(PathTable table, PathTokens tokens, Split split, int queries) {
    this.table = table;
    this.tokens = tokens;
    this.map = new LegalSteps(table.graph(), tokens);
    PathStream stream = new PathStream(table, split, Split.Part.TEST, Key.of(0));
    List<int[]> taken = new ArrayList<>();
    while (taken.size() < queries && stream.next()) {
      taken.add(Arrays.copyOf(stream.nodes(), stream.count()));
    }
    paths = taken.toArray(int[][]::new);
    if (paths.length == 0) {
      throw new IllegalArgumentException("the test part of the split has no path");
    }
    prompts = new int[paths.length][];
    for (int i = 0; i < paths.length; i++) {
      prompts[i] = new int[] {paths[i][0], paths[i][paths[i].length - 1]};
    }
  }

  /** Returns the shortest paths that the queries ask for, both ends included. */
  int[][] paths() {
    return paths;
  }

  /** Returns source and target of each query. */
  int[][] prompts() {
    return prompts;
  }

  /** Returns the answers of what learns nothing: the greedy walk on the map, and Dijkstra. */
  List<Answers> baselines() {
    GreedyWalk walker = new GreedyWalk(table.graph());
    Dijkstra search = new Dijkstra(table.graph());
    int[] nodes = new int[table.graph().size()];
    Gathering walk = new Gathering("greedy walk", 1);
    Gathering oracle = new Gathering("Dijkstra", 1);
    long walked = 0;
    long searched = 0;
    for (int[] prompt : prompts) {
      int source = prompt[0];
      int target = prompt[1];
      int count = walker.walk(source, target, nodes);
      boolean arrives = count > 0 && nodes[count - 1] == target;
      walk.add(
          Arrays.copyOf(nodes, count),
          PathScore.of(table, source, target, nodes, 0, count, arrives));
      walked += walker.operations();
      search.between(source, target);
      count = search.path(target, nodes);
      oracle.add(
          Arrays.copyOfRange(nodes, 1, count),
          PathScore.of(table, source, target, nodes, 1, count - 1, true));
      searched += search.operations();
    }
    double n = paths.length;
    return List.of(walk.answers(walked / n, Double.NaN), oracle.answers(searched / n, Double.NaN));
  }

  /**
   * Asks a model.
   *
   * @param scorer its learned score
   * @param key the source of the draws
   */
  List<Answers> ask(
      SequenceModel model, PathScorer scorer, Device device, Spending spending, Key key) {
    List<Answers> all = new ArrayList<>();
    Decoder decoder = decoder(model, device);
    all.add(single("greedy", 1, decoder));
    all.addAll(drawn(decoder, scorer, spending, key));
    for (int width = 2; width <= spending.width; width *= 2) {
      all.addAll(beam(decoder, scorer, width));
    }
    Decoder guided = decoder(model, device, DECODED_AT_ONCE, map);
    all.add(single("greedy on the map", 1, guided));
    all.addAll(drawnOnTheMap(guided, spending, key.split("map")));
    if (model instanceof LoopedTransformer looped) {
      for (int rounds = 1; rounds <= spending.rounds; rounds *= 2) {
        all.add(rounds(looped, device, rounds));
      }
    }
    return all;
  }

  /**
   * Asks a model in one way alone.
   *
   * @param method {@code greedy}; {@code shortest legal}, of {@code spend} draws; or {@code
   *     rounds}, {@code spend} of them made by a looped model
   * @param key the source of the draws
   * @throws IllegalArgumentException if there is no such method, or not of such a model
   */
  public Answers ask(SequenceModel model, Device device, String method, int spend, Key key) {
    if (method.equals("rounds") && model instanceof LoopedTransformer looped) {
      return rounds(looped, device, spend);
    }
    return switch (method) {
      case "greedy" -> single(method, 1, decoder(model, device));
      case "shortest legal" -> {
        long began = System.nanoTime();
        Written written = decoder(model, device).sample(prompts, spend, key);
        double seconds = secondsPerQuery(began);
        yield checked(judge(written), spend, written.flopsPerPrompt(), seconds);
      }
      default ->
          throw new IllegalArgumentException(
              "exam: " + model.getClass().getSimpleName() + " is asked by no \"" + method + "\"");
    };
  }

  private Answers rounds(LoopedTransformer looped, Device device, int rounds) {
    // What is carried grows with the rounds: fewer paths at once hold it within bounds.
    int batch = Math.max(16, DECODED_AT_ONCE * 8 / Math.max(8, rounds));
    SequenceModel longer = looped.withRounds(rounds);
    return single("rounds", rounds, decoder(longer, device, batch, Constraint.NONE));
  }

  /** Returns what lets a model write paths, up to twice as long as the longest there is. */
  Decoder decoder(SequenceModel model, Device device) {
    return decoder(model, device, DECODED_AT_ONCE, Constraint.NONE);
  }

  private Decoder decoder(SequenceModel model, Device device, int batch, Constraint constraint) {
    int limit = 2 * table.longest() + 2;
    return new Decoder(model, device, tokens.end(), limit, batch, constraint);
  }

  private Answers single(String method, int spend, Decoder decoder) {
    long began = System.nanoTime();
    Written written = decoder.greedy(prompts);
    double seconds = secondsPerQuery(began);
    Gathering gathering = new Gathering(method, spend);
    for (int i = 0; i < paths.length; i++) {
      gathering.add(judge(i, written.of(i).get(0)));
    }
    return gathering.answers(written.flopsPerPrompt(), seconds);
  }

  /** Chooses among draws by likelihood, by the learned score, and by the exact check. */
  private List<Answers> drawn(Decoder decoder, PathScorer scorer, Spending spending, Key key) {
    int samples = spending.samples;
    long began = System.nanoTime();
    Written written = decoder.sample(prompts, samples, spending.temperature, key);
    double seconds = secondsPerQuery(began) / samples;
    List<List<Candidate>> candidates = judge(written);
    LearnedScores scoring =
        new LearnedScores(scorer, decoder.device(), prompts, written, DECODED_AT_ONCE);
    List<Answers> all = new ArrayList<>();
    for (int n = 1; n <= samples; n *= 2) {
      double flops = written.flopsPerPrompt(n, samples);
      Gathering likely = new Gathering("most likely", n);
      Gathering scored = new Gathering("best scored", n);
      for (int i = 0; i < paths.length; i++) {
        List<Candidate> some = candidates.get(i).subList(0, n);
        double[] scores = scoring.of(i);
        likely.add(best(some, j -> some.get(j).logLikelihood()));
        scored.add(best(some, j -> scores[j]));
      }
      all.add(likely.answers(flops, seconds * n));
      all.add(scored.answers(flops + scoring.flops(n), seconds * n + scoring.seconds(n)));
      all.add(checked(candidates, n, flops, seconds * n));
    }
    return all;
  }

  /** Chooses the shortest legal one of the first n candidates; every check of one is charged. */
  private Answers checked(List<List<Candidate>> candidates, int n, double flops, double seconds) {
    Gathering legal = new Gathering("shortest legal", n);
    long checks = 0;
    for (List<Candidate> of : candidates) {
      List<Candidate> some = of.subList(0, n);
      legal.add(shortest(some));
      checks += some.stream().mapToLong(c -> c.score().operations()).sum();
    }
    return legal.answers(flops + checks / (double) paths.length, seconds);
  }

  private List<Answers> beam(Decoder decoder, PathScorer scorer, int width) {
    long began = System.nanoTime();
    Written written = decoder.beam(prompts, width);
    double seconds = secondsPerQuery(began);
    List<List<Candidate>> candidates = judge(written);
    LearnedScores scoring =
        new LearnedScores(scorer, decoder.device(), prompts, written, DECODED_AT_ONCE);
    Gathering likely = new Gathering("beam", width);
    Gathering scored = new Gathering("beam, best scored", width);
    for (int i = 0; i < paths.length; i++) {
      List<Candidate> some = candidates.get(i);
      double[] scores = scoring.of(i);
      likely.add(some.get(0));
      scored.add(best(some, j -> scores[j]));
    }
    double flops = written.flopsPerPrompt();
    return List.of(
        likely.answers(flops, seconds),
        scored.answers(flops + scoring.flops(width), seconds + scoring.seconds(width)));
  }

  private List<Answers> drawnOnTheMap(Decoder guided, Spending spending, Key key) {
    int samples = spending.samples;
    long began = System.nanoTime();
    Written written = guided.sample(prompts, samples, spending.temperature, key);
    double seconds = secondsPerQuery(began) / samples;
    List<List<Candidate>> candidates = judge(written);
    List<Answers> all = new ArrayList<>();
    for (int n = 1; n <= samples; n *= 2) {
      Gathering shortest = new Gathering("shortest on the map", n);
      for (List<Candidate> of : candidates) {
        shortest.add(shortest(of.subList(0, n)));
      }
      all.add(shortest.answers(written.flopsPerPrompt(n, samples), seconds * n));
    }
    return all;
  }

  /** Returns the candidate with the greatest value, the first of equal ones. */
  private static Candidate best(List<Candidate> of, IntToDoubleFunction value) {
    int best = 0;
    for (int j = 1; j < of.size(); j++) {
      if (value.applyAsDouble(j) > value.applyAsDouble(best)) {
        best = j;
      }
    }
    return of.get(best);
  }

  /** Returns the shortest path that arrives; the most likely one where none does. */
  static Candidate shortest(List<Candidate> of) {
    ToDoubleFunction<Candidate> kilometres = c -> c.score().kilometres();
    return of.stream()
        .filter(Candidate::arrives)
        .min(Comparator.comparingDouble(kilometres))
        .orElseGet(() -> best(of, j -> of.get(j).logLikelihood()));
  }

  /**
   * Returns what the likelihood of the true paths predicts for single draws, and what was drawn.
   *
   * @param single one draw for each query
   */
  PathLikelihood likelihood(SequenceModel model, Device device, Answers single) {
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
              losses[from + PathTokens.PROMPT - 1],
              rest,
              paths[i].length - 1,
              single.scores().get(i).isExact());
        }
      }
    }
    return likelihood;
  }

  private Candidate judge(int query, Completion completion) {
    return Candidate.of(table, tokens, prompts[query][0], prompts[query][1], completion);
  }

  private List<List<Candidate>> judge(Written written) {
    return IntStream.range(0, paths.length)
        .mapToObj(i -> written.of(i).stream().map(c -> judge(i, c)).toList())
        .toList();
  }

  private double secondsPerQuery(long began) {
    return (System.nanoTime() - began) * 1e-9 / paths.length;
  }

  /** One answer after another. */
  private static final class Gathering {
    private final String method;
    private final int spend;
    private final List<PathScore> scores = new ArrayList<>();
    private final List<int[]> places = new ArrayList<>();

    Gathering(String method, int spend) {
      this.method = method;
      this.spend = spend;
    }

    void add(int[] of, PathScore score) {
      places.add(of);
      scores.add(score);
    }

    void add(Candidate chosen) {
      add(chosen.places(), chosen.score());
    }

    Answers answers(double flops, double seconds) {
      return new Answers(method, spend, flops, seconds, List.copyOf(scores), List.copyOf(places));
    }
  }
}
