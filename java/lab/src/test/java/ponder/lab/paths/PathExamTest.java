// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.lab.cities.Cities;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathScore;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.decoding.Completion;
import ponder.lab.decoding.Written;
import ponder.nn.LoopedTransformer;
import ponder.nn.Memory;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;

class PathExamTest {
  private static final int QUERIES = 60;
  private static final PathTable TABLE =
      PathTable.of(
          CityGraph.of(Cities.embedded().subList(0, 60), 700, CityGraph.Orientation.BOTH_WAYS));
  private static final Split SPLIT = Split.named("clean", TABLE, Key.of(0), Split.Shares.USUAL);
  private static final PathTokens TOKENS = new PathTokens(60, false);

  private Device device;
  private Store store;

  @BeforeEach
  void open() {
    device = Device.cpu(1);
    store = device.store();
  }

  @AfterEach
  void close() {
    device.close();
  }

  /**
   * A model that knows the map: it prefers the true next place to each other token by some odds.
   *
   * @param table [place, target x token], the odds of each token in nats
   * @param output [tokens, tokens], the identity: the hidden state is the odds
   */
  private record Knowing(Tensor table, Tensor output) implements SequenceModel {
    @Override
    public Reading read(Tensor tokens, Memory memory) {
      long rows = tokens.shape().dim(0);
      long steps = tokens.shape().dim(1);
      int n = TOKENS.vocabulary();
      if (steps > 2) {
        return new Reading(tokens.oneHot(DType.F32, n), memory); // whole paths, to be scored
      }
      boolean isPrompt = memory.steps() == 0;
      Tensor target =
          isPrompt ? tokens.slice(1, 1, 1).oneHot(DType.F32, n) : memory.tensors().get(0);
      Tensor odds = table.gather(tokens.slice(1, 0, 1).reshape(rows)).reshape(rows, n, n);
      Tensor next = target.reshape(rows, 1, n).matmul(odds);
      return new Reading(
          isPrompt ? next.concat(next, 1) : next,
          new Memory(memory.steps() + steps, List.of(target.reshape(rows, n))));
    }
  }

  private Knowing knowing(float odds) {
    int n = TOKENS.vocabulary();
    float[] table = new float[n * n * n];
    float[] identity = new float[n * n];
    for (int at = 0; at < n; at++) {
      identity[at * n + at] = 1;
      for (int target = 0; target < 60; target++) {
        boolean isOnTheWay = at < 60 && at != target && TABLE.isConnected(at, target);
        int next = isOnTheWay ? TABLE.firstMove(at, target) : TOKENS.end();
        table[(at * n + target) * n + next] = odds;
      }
    }
    try (Scope scope = device.open()) {
      return new Knowing(
          store.add("table", scope.tensor(Shape.of(n, (long) n * n), table)),
          store.add("output", scope.tensor(Shape.of(n, n), identity)));
    }
  }

  private static Answers of(List<Answers> all, String method, int spend) {
    return all.stream()
        .filter(a -> a.method().equals(method) && a.spend() == spend)
        .findFirst()
        .orElseThrow();
  }

  private static double solved(Answers answers) {
    return answers.scores().stream().filter(PathScore::isSolved).count() / (double) QUERIES;
  }

  private List<Answers> ask(SequenceModel model, int samples) {
    PathExam exam = new PathExam(TABLE, TOKENS, SPLIT, QUERIES);
    Parameters p = Parameters.of(store, Key.of(3));
    Tensor head = p.full("head", 0, model.output().shape().dim(1), 1);
    return exam.ask(
        model,
        new PathScorer(model, head, TOKENS),
        device,
        new PathExam.Spending(samples, 1, 4, 8),
        Key.of(4));
  }

  @Test
  void everyQueryIsAShortestPathOfTheTestPart() {
    PathExam exam = new PathExam(TABLE, TOKENS, SPLIT, QUERIES);
    assertEquals(QUERIES, exam.paths().length);
    for (int q = 0; q < QUERIES; q++) {
      int[] path = exam.paths()[q];
      int source = path[0];
      int target = path[path.length - 1];
      assertArrayEquals(new int[] {source, target}, exam.prompts()[q]);
      assertEquals(Split.Part.TEST, SPLIT.part(source, target, path.length - 1));
      for (int i = 1; i < path.length; i++) {
        assertEquals(TABLE.firstMove(path[i - 1], target), path[i]);
      }
    }
  }

  @Test
  void aModelThatKnowsTheMapIsRightAtOnce() {
    List<Answers> all = ask(knowing(40), 4);
    for (Answers answers : all) {
      assertEquals(1, solved(answers), answers.method() + " of " + answers.spend());
    }
  }

  @Test
  void oneWayAloneAnswersAsAmongTheOthers() {
    LoopedTransformer model =
        LoopedTransformer.create(
            Parameters.of(store, Key.of(9)).in("model"), TOKENS.vocabulary(), 1, 16, 2, 2);
    PathExam exam = new PathExam(TABLE, TOKENS, SPLIT, QUERIES);
    for (Answers among : ask(model, 4)) {
      if (among.method().matches("greedy|shortest legal|rounds")) {
        Answers alone = exam.ask(model, device, among.method(), among.spend(), Key.of(4));
        String way = among.method() + " of " + among.spend();
        assertArrayEquals(among.places().toArray(), alone.places().toArray(), way);
        assertEquals(among.scores(), alone.scores(), way);
      }
    }
    Knowing once = knowing(6);
    assertThrows(
        IllegalArgumentException.class, () -> exam.ask(once, device, "rounds", 2, Key.of(4)));
    assertThrows(
        IllegalArgumentException.class, () -> exam.ask(model, device, "beam", 2, Key.of(4)));
  }

  @Test
  void theCheckKeepsWhatAnyDrawSolved() {
    int samples = 64;
    List<Answers> all = ask(knowing(6), samples);
    for (int n = 1; n <= samples; n *= 2) {
      List<PathScore> likely = of(all, "most likely", n).scores();
      List<PathScore> checked = of(all, "shortest legal", n).scores();
      for (int q = 0; q < QUERIES; q++) {
        // The likeliest draw is one of those checked, and so are all of half as many.
        assertTrue(checked.get(q).stretch() <= likely.get(q).stretch());
        if (n > 1) {
          PathScore half = of(all, "shortest legal", n / 2).scores().get(q);
          assertTrue(checked.get(q).stretch() <= half.stretch());
        }
      }
    }
    double single = solved(of(all, "shortest legal", 1));
    assertTrue(single > 0.02 && single < 0.9, "one draw solves " + single);
    double most = solved(of(all, "shortest legal", samples));
    assertTrue(most > single + 0.1, "the check of 64 draws solves " + most);
  }

  /**
   * Of n draws, c of them solved, k chosen at random hold a solved one with probability 1 - C(n - c,
   * k) / C(n, k). Source: Chen and others 2021, arXiv:2107.03374, section 2.1.
   */
  private static double passAt(int k, int solved, int n) {
    double none = 1;
    for (int i = 0; i < k; i++) {
      none *= Math.max(0, n - solved - i) / (double) (n - i);
    }
    return 1 - none;
  }

  /** Returns the judged draws of each query, those that {@link #ask} chooses from. */
  private List<List<Candidate>> draws(SequenceModel model, int samples) {
    PathExam exam = new PathExam(TABLE, TOKENS, SPLIT, QUERIES);
    int[][] prompts = exam.prompts();
    Written written = exam.decoder(model, device).sample(prompts, samples, 1, Key.of(4));
    List<List<Candidate>> draws = new ArrayList<>();
    for (int q = 0; q < QUERIES; q++) {
      int[] prompt = prompts[q];
      draws.add(
          written.of(q).stream()
              .map(c -> Candidate.of(TABLE, TOKENS, prompt[0], prompt[1], c))
              .toList());
    }
    return draws;
  }

  private static int solved(List<Candidate> draws) {
    return (int) draws.stream().filter(c -> c.score().isSolved()).count();
  }

  @Test
  void theCheckOfKDrawsSolvesWhatPassAtKCounts() {
    int n = 7;
    int mixed = 0;
    for (List<Candidate> all : draws(knowing(6), n)) {
      int solved = solved(all);
      mixed += solved > 0 && solved < n ? 1 : 0;
      int[] held = new int[n + 1];
      int[] choices = new int[n + 1];
      for (int subset = 1; subset < 1 << n; subset++) {
        List<Candidate> chosen = new ArrayList<>();
        for (int i = 0; i < n; i++) {
          if ((subset >> i & 1) == 1) {
            chosen.add(all.get(i));
          }
        }
        choices[chosen.size()]++;
        held[chosen.size()] += PathExam.shortest(chosen).score().isSolved() ? 1 : 0;
      }
      for (int k = 1; k <= n; k++) {
        assertEquals(passAt(k, solved, n), held[k] / (double) choices[k], 1e-12);
      }
    }
    assertTrue(mixed > QUERIES / 4, mixed + " queries of which some draws are solved, not all");
  }

  @Test
  void theCurveOverTheFirstDrawsAgreesWithPassAtK() {
    int samples = 64;
    Knowing model = knowing(5);
    List<List<Candidate>> draws = draws(model, samples);
    List<Answers> all = ask(model, samples);
    int tested = 0;
    for (int k = 1; k < samples; k *= 2) {
      List<PathScore> scores = of(all, "shortest legal", k).scores();
      double sum = 0;
      double variance = 0;
      for (int q = 0; q < QUERIES; q++) {
        List<Candidate> of = draws.get(q);
        boolean isSolved = solved(of.subList(0, k)) > 0;
        assertEquals(isSolved, scores.get(q).isSolved());
        double expected = passAt(k, solved(of), samples);
        sum += (isSolved ? 1 : 0) - expected;
        variance += expected * (1 - expected);
      }
      // With less the sum is far from normal.
      if (variance > 5) {
        tested++;
        assertTrue(Math.abs(sum) <= 3 * Math.sqrt(variance), k + " draws: " + sum);
      }
    }
    assertTrue(tested >= 3, "only at " + tested + " numbers of draws chance has a say");
  }

  @Test
  void withoutALearnedHeadTheScoreIsTheLikelihood() {
    List<Answers> all = ask(knowing(6), 8);
    for (int n = 1; n <= 8; n *= 2) {
      Answers likely = of(all, "most likely", n);
      Answers scored = of(all, "best scored", n);
      for (int q = 0; q < QUERIES; q++) {
        assertArrayEquals(likely.places().get(q), scored.places().get(q));
      }
      assertTrue(scored.flops() > likely.flops());
    }
  }

  @Test
  void moreSpentCostsMoreAndOneDrawIsTheSameForAll() {
    LoopedTransformer model =
        LoopedTransformer.create(
            Parameters.of(store, Key.of(9)).in("model"), TOKENS.vocabulary(), 1, 16, 2, 2);
    List<Answers> all = ask(model, 8);
    for (String method : all.stream().map(Answers::method).distinct().toList()) {
      double before = 0;
      for (Answers a : all.stream().filter(a -> a.method().equals(method)).toList()) {
        // With other rounds an untrained model writes other paths, perhaps shorter ones.
        assertTrue(a.flops() > before || method.equals("rounds"), method + " of " + a.spend());
        before = a.flops();
        assertEquals(QUERIES, a.scores().size());
      }
    }
    assertEquals(4, all.stream().filter(a -> a.method().equals("rounds")).count());
    double two = of(all, "rounds", 2).flops();
    assertEquals(of(all, "greedy", 1).flops(), two, "as it was trained, it is greedy");
    Answers map = of(all, "shortest on the map", 8);
    assertTrue(
        map.scores().stream().allMatch(s -> s.legalSteps() == s.steps()),
        "on the map every step is an edge");
    Answers likely = of(all, "most likely", 1);
    Answers legal = of(all, "shortest legal", 1);
    for (int q = 0; q < QUERIES; q++) {
      assertArrayEquals(likely.places().get(q), legal.places().get(q));
    }
  }

  @Test
  void aScoreReadsThePathAndTheEndWhateverStandsBeside() {
    LoopedTransformer model =
        LoopedTransformer.create(
            Parameters.of(store, Key.of(9)).in("model"), TOKENS.vocabulary(), 1, 16, 2, 2);
    Tensor head = Parameters.of(store, Key.of(2)).normal("head", 1, 16, 1);
    PathScorer scorer = new PathScorer(model, head, TOKENS);
    List<int[]> prompts = new ArrayList<>();
    List<Completion> completions = new ArrayList<>();
    for (int i = 0; i < 9; i++) {
      prompts.add(new int[] {i, 20});
      completions.add(new Completion(Key.of(i).ints(1 + i % 4, 60), -i, i != 5));
    }
    double[] together = scorer.scores(device, prompts, completions, 4);
    assertEquals(Double.NEGATIVE_INFINITY, together[5], "it was not ended");
    for (int i = 0; i < 9; i++) {
      double alone =
          scorer.scores(device, List.of(prompts.get(i)), List.of(completions.get(i)), 1)[0];
      if (i != 5) {
        assertEquals(alone, together[i], 1e-4);
        assertTrue(Math.abs(alone + i) > 1e-3, "the head must count");
      }
    }
  }
}
