// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static ponder.lab.decoding.DecoderTest.assertSame;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Store;
import ponder.nn.LoopedTransformer;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.op.Softmax;

/** The search for the most likely completions against their enumeration. */
class BeamTest {
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

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 5})
  void aBeamOfFullWidthFindsEveryCompletionTheMostLikelyFirst(int limit) {
    Bigrams model = Bigrams.usual(store);
    Decoder decoder = new Decoder(model, device, END, limit, 64);
    int[][] prompts = {{0}, {1}, {2}, {3}};
    Written written = decoder.beam(prompts, 1 + (int) Math.pow(3, limit));
    for (int i = 0; i < prompts.length; i++) {
      List<Completion> expected = all(model, i, limit);
      assertEquals(limit == 1 ? 1 : expected.size(), written.of(i).size());
      assertSame(expected, written.of(i));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 20})
  void ofEquallyLikelyCompletionsTheShorterOfLowerTokensStay(int width) {
    double[] even = {0.25, 0.25, 0.25, 0.25};
    Bigrams model = Bigrams.of(store, even, even, even, even);
    List<Completion> expected = all(model, 0, 4).subList(0, width);
    assertSame(
        expected, new Decoder(model, device, END, 4, 9).beam(new int[][] {{0}}, width).of(0));
  }

  @Test
  void anEndStaysBeforeALongerOneThatIsEquallyLikely() {
    double[] none = {1, 0, 0, 0};
    Bigrams tied =
        Bigrams.of(store, new double[] {0, 0.5, 0, 0.5}, new double[] {0, 0, 0, 1}, none, none);
    List<Completion> ends = new Decoder(tied, device, END, 4, 9).beam(new int[][] {{0}}, 2).of(0);
    assertEquals(2, ends.size());
    assertEquals(ends.get(0).logLikelihood(), ends.get(1).logLikelihood());
    assertEquals(0, ends.get(0).tokens().length);
  }

  @Test
  void aBeamOfWidthOneIsTheBestEndOnTheGreedyPath() {
    int[][] prompts = {{0}, {1}, {2}, {4}, {5}};
    for (long seed = 0; seed < 20; seed++) {
      Bigrams model = Bigrams.random(store, seed, 6);
      Decoder decoder = new Decoder(model, device, END, 6, 8);
      Written greedy = decoder.greedy(prompts);
      Written beam = decoder.beam(prompts, 1);
      for (int i = 0; i < prompts.length; i++) {
        Completion path = greedy.of(i).get(0);
        // At the limit, the greedy path is one token too long to end.
        Completion best =
            all(model, prompts[i][0], 6).stream()
                .filter(c -> c.tokens().length <= Math.min(5, path.tokens().length))
                .filter(
                    c ->
                        Arrays.mismatch(c.tokens(), path.tokens()) == c.tokens().length
                            || Arrays.equals(c.tokens(), path.tokens()))
                .findFirst()
                .orElseThrow();
        assertSame(List.of(best), beam.of(i));
        assertTrue(!path.ended() || best.logLikelihood() >= path.logLikelihood());
      }
    }
  }

  @Test
  void aBeamOfWidthOneIsGreedyWhereNoEarlierEndIsLikelier() {
    Bigrams model =
        Bigrams.of(
            store,
            new double[] {0, 0.9, 0.05, 0.05},
            new double[] {0, 0, 0.9, 0.1},
            new double[] {0.1, 0.1, 0, 0.8},
            new double[] {1, 0, 0, 0});
    Decoder decoder = new Decoder(model, device, END, 9, 4);
    int[][] prompts = {{0}, {1}, {2}};
    assertSame(decoder.greedy(prompts), decoder.beam(prompts, 1));
  }

  @Test
  void aWiderBeamIsNeverLessLikelyThanGreedyIfItHoldsEverything() {
    int[][] prompts = {{0}, {1}, {2}, {4}};
    for (long seed = 0; seed < 10; seed++) {
      Decoder decoder = new Decoder(Bigrams.random(store, seed, 5), device, END, 4, 300);
      Written greedy = decoder.greedy(prompts);
      Written beam = decoder.beam(prompts, 64);
      for (int i = 0; i < prompts.length; i++) {
        Completion path = greedy.of(i).get(0);
        double best = beam.of(i).get(0).logLikelihood();
        assertTrue(!path.ended() || best >= path.logLikelihood());
      }
    }
  }

  @Test
  void aBeamInBetweenMayLoseTheGreedyPath() {
    // Greedy: 0, 1, 2, end with 0.55 * 0.4 = 0.22. Two beginnings over 4 are likelier, 0.225 each,
    // and end with a tenth of that.
    Bigrams model =
        Bigrams.of(
            store,
            new double[] {0, 0.55, 0, 0, 0.45, 0, 0},
            new double[] {0, 0, 0.4, 0, 0, 0.3, 0.3},
            new double[] {0, 0, 0, 1, 0, 0, 0},
            new double[] {1, 0, 0, 0, 0, 0, 0},
            new double[] {0.5, 0, 0, 0, 0, 0.5, 0},
            new double[] {0.9, 0, 0, 0.1, 0, 0, 0},
            new double[] {1, 0, 0, 0, 0, 0, 0});
    Decoder decoder = new Decoder(model, device, END, 3, 4);
    int[][] prompts = {{0}};
    assertEquals(Math.log(0.22), decoder.greedy(prompts).of(0).get(0).logLikelihood(), 1e-6);
    assertEquals(Math.log(0.0225), decoder.beam(prompts, 2).of(0).get(0).logLikelihood(), 1e-6);
    assertEquals(Math.log(0.22), decoder.beam(prompts, 3).of(0).get(0).logLikelihood(), 1e-6);
  }

  @Test
  void beamsDoNotDependOnTheBatch() {
    LoopedTransformer looped =
        LoopedTransformer.create(Parameters.of(store, Key.of(9)).in("looped"), 12, 1, 16, 2, 3);
    int[][] prompts = {{0, 1}, {4, 2}, {5, 7}, {0, 0}, {6, 1}};
    for (SequenceModel model : List.of(Bigrams.random(store, 1, 12), looped)) {
      for (int width : new int[] {1, 3, 8}) {
        Written one = new Decoder(model, device, 11, 7, 1).beam(prompts, width);
        assertEquals(5, one.completions().size());
        assertSame(one, new Decoder(model, device, 11, 7, 17).beam(prompts, width));
        assertSame(one, new Decoder(model, device, 11, 7, 100).beam(prompts, width));
      }
    }
  }

  /** Returns all completions of a prompt that end within a limit, the most likely first. */
  private List<Completion> all(Bigrams model, int prompt, int limit) {
    float[] p;
    try (Scope _ = device.openUnrecorded()) {
      p = Softmax.softmax(model.logits()).toFloats();
    }
    List<Completion> all = new ArrayList<>();
    grow(p, prompt, new int[0], 0, limit, all);
    all.sort(
        Comparator.comparingDouble(Completion::logLikelihood)
            .reversed()
            .thenComparing(c -> c.tokens().length)
            .thenComparing(Completion::tokens, Arrays::compare));
    return all;
  }

  private static void grow(
      float[] p, int last, int[] tokens, double logLikelihood, int limit, List<Completion> all) {
    int n = (int) Math.sqrt(p.length);
    for (int token = 0; tokens.length < limit && token < n; token++) {
      float share = p[last * n + token];
      double longer = logLikelihood + Math.log(share);
      if (share > 0 && token == END) {
        all.add(new Completion(tokens, longer, true));
      } else if (share > 0) {
        int[] more = Arrays.copyOf(tokens, tokens.length + 1);
        more[tokens.length] = token;
        grow(p, token, more, longer, limit, all);
      }
    }
  }
}
