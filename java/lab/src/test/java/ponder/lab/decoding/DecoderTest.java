// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.nn.GruModel;
import ponder.nn.LoopedTransformer;
import ponder.nn.LstmModel;
import ponder.nn.Memory;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.op.Softmax;

/** Writing token by token: greedy, drawn, constrained, and what it costs. */
class DecoderTest {
  private static final int END = 3;

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

  @Test
  void greedyTakesTheMostProbableTokens() {
    Decoder decoder = new Decoder(Bigrams.usual(store), device, END, 10, 4);
    Completion c = decoder.greedy(new int[][] {{2, 0}}).of(0).get(0);
    assertArrayEquals(new int[] {1, 2}, c.tokens());
    assertTrue(c.ended());
    assertEquals(Math.log(0.5) + Math.log(0.8) + Math.log(0.6), c.logLikelihood(), 1e-5);
  }

  @Test
  void stopsAtTheLimit() {
    Bigrams forever =
        Bigrams.of(
            store,
            new double[] {0, 1, 0, 0},
            new double[] {1, 0, 0, 0},
            new double[] {1, 0, 0, 0},
            new double[] {1, 0, 0, 0});
    Completion c = new Decoder(forever, device, END, 5, 4).greedy(new int[][] {{0}}).of(0).get(0);
    assertArrayEquals(new int[] {1, 0, 1, 0, 1}, c.tokens());
    assertFalse(c.ended());
  }

  @Test
  void samplesAsOftenAsTheModelSays() {
    int n = 20_000;
    List<Completion> drawn =
        new Decoder(Bigrams.usual(store), device, END, 10, 512)
            .sample(new int[][] {{0}}, n, Key.of(5))
            .of(0);
    // 0 -> end at once: 0.3; 0 -> 1 -> 2 -> end: 0.24. Five standard errors are 0.017.
    assertEquals(0.3, share(drawn, new int[] {}), 0.017);
    assertEquals(0.24, share(drawn, new int[] {1, 2}), 0.017);
  }

  private static double share(List<Completion> drawn, int[] tokens) {
    return drawn.stream().filter(c -> c.ended() && Arrays.equals(tokens, c.tokens())).count()
        / (double) drawn.size();
  }

  @Test
  void drawsDoNotDependOnTheBatch() {
    int[][] prompts = {{0}, {1}, {2}, {0}, {1}};
    Bigrams model = Bigrams.usual(store);
    Written one = new Decoder(model, device, END, 10, 1).sample(prompts, 7, Key.of(3));
    Written many = new Decoder(model, device, END, 10, 16).sample(prompts, 7, Key.of(3));
    assertEquals(5, one.completions().size());
    assertSame(one, many);
  }

  static void assertSame(Written a, Written b) {
    assertEquals(a.completions().size(), b.completions().size());
    for (int i = 0; i < a.completions().size(); i++) {
      assertSame(a.of(i), b.of(i));
    }
  }

  static void assertSame(List<Completion> a, List<Completion> b) {
    assertEquals(a.size(), b.size());
    for (int i = 0; i < a.size(); i++) {
      assertArrayEquals(a.get(i).tokens(), b.get(i).tokens());
      assertEquals(a.get(i).logLikelihood(), b.get(i).logLikelihood());
      assertEquals(a.get(i).ended(), b.get(i).ended());
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.5, 1, 2, Double.POSITIVE_INFINITY})
  void aTemperatureRaisesTheProbabilitiesToItsInverse(double temperature) {
    int n = 20_000;
    Decoder decoder = new Decoder(Bigrams.usual(store), device, END, 10, 512);
    List<Completion> drawn = decoder.sample(new int[][] {{0}}, n, temperature, Key.of(6)).of(0);
    double[] weights = {0.5, 0.2, 0.3};
    Arrays.setAll(weights, i -> Math.pow(weights[i], 1 / temperature));
    double expected = weights[2] / Arrays.stream(weights).sum();
    double error = Math.sqrt(expected * (1 - expected) / n);
    assertEquals(expected, share(drawn, new int[] {}), 5 * error);
    // Token 0 never follows itself.
    assertTrue(drawn.stream().allMatch(c -> c.tokens().length == 0 || c.tokens()[0] != 0));
    // The likelihood is the model's own.
    Completion end = drawn.stream().filter(c -> c.tokens().length == 0).findFirst().orElseThrow();
    assertEquals(Math.log(0.3), end.logLikelihood(), 1e-6);
  }

  @ParameterizedTest
  @ValueSource(doubles = {1e-3, 1e-9, Double.MIN_VALUE})
  void nearTemperatureZeroDrawsAreGreedy(double temperature) {
    // Every probability is small: raised to a large power as it is, none would be left.
    Decoder decoder = new Decoder(Bigrams.random(store, 4, 12), device, END, 20, 8);
    int[][] prompts = {{0}, {1}, {2}, {4}, {5}};
    Written greedy = decoder.greedy(prompts);
    Written drawn = decoder.sample(prompts, 3, temperature, Key.of(2));
    for (int i = 0; i < prompts.length; i++) {
      for (Completion c : drawn.of(i)) {
        assertSame(greedy.of(i), List.of(c));
      }
    }
  }

  @Test
  void aModelThatAnswersNoNumbersWritesNothing() {
    double[] row = {Double.NaN, Double.NaN, Double.NaN, Double.NaN};
    Decoder decoder = new Decoder(Bigrams.of(store, row, row, row, row), device, END, 4, 9);
    int[][] prompts = {{0}};
    for (Written written :
        List.of(
            decoder.greedy(prompts),
            decoder.sample(prompts, 1, Key.of(1)),
            decoder.beam(prompts, 2))) {
      assertEquals(0, written.of(0).get(0).tokens().length);
      assertFalse(written.of(0).get(0).ended());
    }
  }

  @Test
  void aConstraintIsObeyedEvenWhereTheModelHoldsItImpossible() {
    // The model holds 0 -> 0 and 2 -> 2 impossible; nothing else may follow but the end.
    Constraint same =
        (prompt, written, count, p, from, classes) -> {
          int last = count == 0 ? prompt[prompt.length - 1] : written[count - 1];
          for (int c = 0; c < classes; c++) {
            boolean may = c == last || (c == END && count > 1);
            p[from + c] = may ? Math.max(p[from + c], Float.MIN_VALUE) : 0;
          }
          return 1;
        };
    Decoder decoder = new Decoder(Bigrams.usual(store), device, END, 4, 3, same);
    int[][] prompts = {{0}, {1}, {2}};
    for (Written written :
        List.of(
            decoder.greedy(prompts),
            decoder.sample(prompts, 9, Key.of(1)),
            decoder.sample(prompts, 9, 0.1, Key.of(1)),
            decoder.sample(prompts, 9, 10, Key.of(1)),
            decoder.beam(prompts, 1),
            decoder.beam(prompts, 3))) {
      for (int i = 0; i < prompts.length; i++) {
        int token = i;
        for (Completion c : written.of(i)) {
          assertTrue(c.tokens().length > 1, Arrays.toString(c.tokens()));
          assertTrue(Arrays.stream(c.tokens()).allMatch(t -> t == token));
          assertTrue(Double.isFinite(c.logLikelihood()));
        }
      }
    }
  }

  @Test
  void whereNothingMayFollowTheSequenceStopsUnfinished() {
    // From 0 to 1 to 2, and nowhere from there.
    Constraint narrow =
        (prompt, written, count, p, from, classes) -> {
          for (int c = 0; c < classes; c++) {
            p[from + c] = c == count + 1 && c < END ? 0.5f : 0;
          }
          return 1;
        };
    Decoder decoder = new Decoder(Bigrams.usual(store), device, END, 10, 4, narrow);
    int[][] prompts = {{0}, {0}};
    for (Written written :
        List.of(
            decoder.greedy(prompts),
            decoder.sample(prompts, 2, Key.of(1)),
            decoder.sample(prompts, 2, 0.3, Key.of(1)),
            decoder.beam(prompts, 2))) {
      for (Completion c : written.of(1)) {
        assertArrayEquals(new int[] {1, 2}, c.tokens());
        assertFalse(c.ended());
        assertEquals(2 * Math.log(0.5), c.logLikelihood(), 1e-12);
      }
    }
  }

  @Test
  void readingIsChargedOnceForEachPromptAndWritingForEachToken() {
    SequenceModel model = GruModel.create(Parameters.of(store, Key.of(9)).in("gru"), 12, 2, 16);
    int[][] prompts = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}};
    Work before = device.meter().total();
    try (Scope scope = device.openUnrecorded()) {
      model.read(scope.indices(Shape.of(1, 2), 1, 2), Memory.EMPTY);
    }
    final long reading = device.meter().since(before).flops();
    for (int count : new int[] {1, 3, 7}) {
      Written all = new Decoder(model, device, 11, 9, 100).sample(prompts, count, Key.of(1));
      assertEquals(5 * reading, all.readingFlops());
      for (int batch : new int[] {1, 2, 4, 16}) {
        Written some = new Decoder(model, device, 11, 9, batch).sample(prompts, count, Key.of(1));
        assertSame(all, some);
        // Where a batch reads several prompts, a prompt's part is rounded down.
        assertEquals(all.readingFlops(), some.readingFlops(), 5 * count);
        assertEquals(all.writingFlops(), some.writingFlops());
      }
    }
    Written wide = new Decoder(model, device, 11, 9, 100).beam(prompts, 3);
    Written narrow = new Decoder(model, device, 11, 9, 1).beam(prompts, 3);
    assertEquals(5 * reading, wide.readingFlops());
    assertEquals(
        wide, new Written(wide.completions(), narrow.readingFlops(), narrow.writingFlops()));
  }

  @Test
  void writingCostsEveryStepAndEveryProbabilityLookedAt() {
    Bigrams model = Bigrams.usual(store);
    Work before = device.meter().total();
    try (Scope scope = device.openUnrecorded()) {
      Tensor hidden = model.logits().gather(scope.indices(Shape.of(1), 0));
      Softmax.softmax(hidden.matmul(model.output(), false, true));
    }
    final long step = device.meter().since(before).flops() + 4;
    // 0: 1, 2, end. 1: 2, end. 2: end.
    int[][] prompts = {{0}, {1}, {2}};
    Written written = new Decoder(model, device, END, 9, 8).greedy(prompts);
    assertEquals(6 * step, written.writingFlops());
    Constraint dear = (prompt, tokens, count, p, from, classes) -> 100;
    written = new Decoder(model, device, END, 9, 2, dear).greedy(prompts);
    assertEquals(6 * (step + 100), written.writingFlops());
    // A beam of 1 from 2: the end with 0.6 is out of reach for what goes on.
    written = new Decoder(model, device, END, 9, 2, dear).beam(new int[][] {{2}}, 1);
    assertEquals(step + 100, written.writingFlops());
  }

  @Test
  void flopsPerPromptRiseInALineWithTheCompletions() {
    Written written = new Written(List.of(List.of(), List.of()), 60, 800);
    assertEquals(430, written.flopsPerPrompt());
    assertEquals(430, written.flopsPerPrompt(8, 8));
    assertEquals(80, written.flopsPerPrompt(1, 8));
    for (int n = 0; n <= 8; n++) {
      assertEquals(30 + 50 * n, written.flopsPerPrompt(n, 8));
    }
  }

  @Test
  void refusesWhatItCannotWrite() {
    Bigrams model = Bigrams.usual(store);
    Decoder decoder = new Decoder(model, device, END, 5, 4);
    int[][] prompts = {{0}};
    refused("must be at least 1", () -> new Decoder(model, device, END, 0, 4));
    refused("must be at least 1", () -> new Decoder(model, device, END, 5, 0));
    refused("temperature 0.0", () -> decoder.sample(prompts, 1, 0, Key.of(1)));
    refused("temperature NaN", () -> decoder.sample(prompts, 1, Double.NaN, Key.of(1)));
    refused("count 0", () -> decoder.sample(prompts, 0, Key.of(1)));
    refused("width is 0", () -> decoder.beam(prompts, 0));
    int[][] uneven = {{0, 1}, {0, 1, 2}};
    refused("lengths 2 and 3", () -> decoder.greedy(uneven));
    refused("lengths 2 and 3", () -> decoder.beam(uneven, 2));
  }

  private static void refused(String part, Runnable call) {
    String message = assertThrows(IllegalArgumentException.class, call::run).getMessage();
    assertTrue(message.contains(part), message);
  }

  @Test
  void carriesAMemoryThatEqualsReadingTheWhole() {
    Parameters p = Parameters.of(store, Key.of(9));
    LoopedTransformer looped = LoopedTransformer.create(p.in("looped"), 12, 2, 16, 2, 1);
    for (SequenceModel model :
        List.of(
            Transformer.create(p.in("transformer"), 12, 2, 16, 2),
            GruModel.create(p.in("gru"), 12, 2, 16),
            LstmModel.create(p.in("lstm"), 12, 2, 16),
            looped,
            looped.withRounds(3),
            looped.withRounds(8))) {
      int[][] prompts = {{1, 2}, {3, 4}, {5, 6}};
      Decoder decoder = new Decoder(model, device, 11, 9, 4);
      for (Written written :
          List.of(decoder.sample(prompts, 3, Key.of(1)), decoder.beam(prompts, 3))) {
        for (int i = 0; i < prompts.length; i++) {
          for (Completion c : written.of(i)) {
            assertEquals(c.logLikelihood(), whole(model, prompts[i], c), 1e-4);
          }
        }
      }
    }
  }

  /** The log-likelihood of a completion from one reading of prompt and completion together. */
  private double whole(SequenceModel model, int[] prompt, Completion c) {
    int[] all = IntStream.concat(IntStream.of(prompt), IntStream.of(c.tokens())).toArray();
    int steps = c.ended() ? all.length : all.length - 1;
    int[] targets = new int[steps];
    for (int i = 0; i < steps; i++) {
      targets[i] = i + 1 < prompt.length ? -1 : i + 1 < all.length ? all[i + 1] : 11;
    }
    try (Scope scope = device.openUnrecorded()) {
      Shape shape = Shape.of(1, steps);
      return -model
          .losses(scope.indices(shape, Arrays.copyOf(all, steps)), scope.indices(shape, targets))
          .sum()
          .item();
    }
  }
}
