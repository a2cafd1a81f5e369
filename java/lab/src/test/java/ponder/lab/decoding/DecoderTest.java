// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.nn.GruModel;
import ponder.nn.Memory;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;

final class DecoderTest {
  private static final int END = 3;

  private Device device;
  private Store store;

  /** A model whose next token depends on the last one alone, by a table of log-probabilities. */
  private record Bigrams(Tensor logits, Tensor output) implements SequenceModel {
    @Override
    public Reading read(Tensor tokens, Memory memory) {
      long[] dims = tokens.shape().dims();
      Tensor hidden = logits.gather(tokens.reshape(tokens.size()));
      return new Reading(
          hidden.reshape(dims[0], dims[1], hidden.shape().dim(1)),
          new Memory(memory.steps() + dims[1], List.of()));
    }
  }

  @BeforeEach
  void open() {
    device = Device.cpu(1);
    store = device.store();
  }

  @AfterEach
  void close() {
    device.close();
  }

  private Bigrams bigrams(double[]... probabilities) {
    int n = probabilities.length;
    float[] logits = new float[n * n];
    float[] identity = new float[n * n];
    for (int i = 0; i < n; i++) {
      identity[i * n + i] = 1;
      for (int j = 0; j < n; j++) {
        logits[i * n + j] = (float) Math.max(-1e4, Math.log(probabilities[i][j]));
      }
    }
    try (Scope scope = device.open()) {
      return new Bigrams(
          store.add("logits", scope.tensor(Shape.of(n, n), logits)),
          store.add("output", scope.tensor(Shape.of(n, n), identity)));
    }
  }

  private Bigrams usual() {
    return bigrams(
        new double[] {0, 0.5, 0.2, 0.3},
        new double[] {0.1, 0, 0.8, 0.1},
        new double[] {0.2, 0.2, 0, 0.6},
        new double[] {0.25, 0.25, 0.25, 0.25});
  }

  @Test
  void greedyTakesTheMostProbableTokens() {
    Decoder decoder = new Decoder(usual(), device, END, 10, 4);
    Completion c = decoder.greedy(new int[][] {{2, 0}}).get(0);
    assertArrayEquals(new int[] {1, 2}, c.tokens());
    assertTrue(c.ended());
    assertEquals(Math.log(0.5) + Math.log(0.8) + Math.log(0.6), c.logLikelihood(), 1e-5);
  }

  @Test
  void stopsAtTheLimit() {
    Bigrams forever =
        bigrams(
            new double[] {0, 1, 0, 0},
            new double[] {1, 0, 0, 0},
            new double[] {1, 0, 0, 0},
            new double[] {1, 0, 0, 0});
    Completion c = new Decoder(forever, device, END, 5, 4).greedy(new int[][] {{0}}).get(0);
    assertArrayEquals(new int[] {1, 0, 1, 0, 1}, c.tokens());
    assertFalse(c.ended());
  }

  @Test
  void samplesAsOftenAsTheModelSays() {
    int n = 20_000;
    List<Completion> drawn =
        new Decoder(usual(), device, END, 10, 512).sample(new int[][] {{0}}, n, Key.of(5));
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
    Bigrams model = usual();
    List<Completion> one = new Decoder(model, device, END, 10, 1).sample(prompts, 7, Key.of(3));
    List<Completion> many = new Decoder(model, device, END, 10, 16).sample(prompts, 7, Key.of(3));
    assertEquals(35, one.size());
    for (int i = 0; i < one.size(); i++) {
      assertArrayEquals(one.get(i).tokens(), many.get(i).tokens());
    }
  }

  @Test
  void carriesAMemoryThatEqualsReadingTheWhole() {
    Parameters p = Parameters.of(store, Key.of(9));
    for (SequenceModel model :
        List.of(
            Transformer.create(p.in("transformer"), 12, 2, 16, 2),
            GruModel.create(p.in("gru"), 12, 2, 16))) {
      int[][] prompts = {{1, 2}, {3, 4}, {5, 6}};
      List<Completion> drawn = new Decoder(model, device, 11, 9, 4).sample(prompts, 3, Key.of(1));
      for (int i = 0; i < drawn.size(); i++) {
        assertEquals(
            drawn.get(i).logLikelihood(), whole(model, prompts[i / 3], drawn.get(i)), 1e-4);
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
