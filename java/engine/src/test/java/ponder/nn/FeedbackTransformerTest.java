// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.op.Attention;
import ponder.op.Boundaries;
import ponder.op.Rotary;

/** The limits of a feedback memory. */
class FeedbackTransformerTest {
  private static final int BATCH = 2;
  private static final int STEPS = 11;
  private static final int VOCABULARY = 7;
  private static final int LAYERS = 3;
  private static final int[] TOKENS = Nets.tokens(5, BATCH, STEPS, VOCABULARY);

  /** Returns a new model, width 12, three heads. */
  private static FeedbackTransformer model(Store store) {
    Parameters parameters = Parameters.of(store, DType.F64, Key.of(1));
    return FeedbackTransformer.create(parameters, VOCABULARY, LAYERS, 12, Heads.of(3));
  }

  static List<String> everywhere() {
    return TestDevices.names();
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void lengthsBeyondTheStepsAreRefused(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      FeedbackTransformer model = model(store);
      Tensor tokens = scope.indices(Shape.of(BATCH, STEPS), TOKENS);
      Boundaries ends = Boundaries.none().lengths(scope.indices(Shape.of(BATCH), STEPS + 1, 2));
      var refused =
          assertThrows(
              IllegalArgumentException.class,
              () -> model.read(tokens, Memory.EMPTY, ends).hidden().toDoubles());
      assertTrue(refused.getMessage().contains("lengths[0]"), refused.getMessage());
    }
  }

  /**
   * A memory of embeddings alone needs no step to wait for another: all steps at once, every layer
   * attending to the embeddings of the steps before, give the same.
   */
  @ParameterizedTest
  @MethodSource("everywhere")
  void aMemoryOfEmbeddingsIsReadInParallel(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      FeedbackTransformer model = model(store);
      Tensor tokens = scope.indices(Shape.of(BATCH, STEPS), TOKENS);
      double[] mixed = model.read(tokens, Memory.EMPTY).hidden().toDoubles();
      // Softmax of this is 1 for the embedding and 0 for every layer.
      double[] mixture = new double[LAYERS + 1];
      Arrays.fill(mixture, 1, mixture.length, -1e5);
      store.replace("mixture", scope.tensor(Shape.of(LAYERS + 1), mixture));
      double[] stepwise = model.read(tokens, Memory.EMPTY).hidden().toDoubles();
      double[] atOnce = parallel(model, tokens).toDoubles();
      assertArrayEquals(atOnce, stepwise, 1e-10);
      double apart = 0;
      for (int i = 0; i < mixed.length; i++) apart += Math.abs(mixed[i] - stepwise[i]);
      assertTrue(apart > 1, "the mixture made no difference");
    }
  }

  /** What is carried without its derivative is a constant: back-propagation ends at the window. */
  @ParameterizedTest
  @MethodSource("everywhere")
  void aDetachedMemoryEndsBackPropagation(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      FeedbackTransformer model = model(store);
      Tensor tokens = scope.indices(Shape.of(BATCH, STEPS), TOKENS);
      Memory memory = model.read(tokens, Memory.EMPTY).memory();
      Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
      double[][] whole = slopes(model.read(tokens, memory), xs);
      double[][] cut = slopes(model.read(tokens, memory.map(Tensor::detach)), xs);
      double[][] constant =
          slopes(model.read(tokens, memory.map(t -> scope.tensor(t.shape(), t.toDoubles()))), xs);
      double apart = 0;
      for (int i = 0; i < xs.length; i++) {
        assertArrayEquals(constant[i], cut[i]);
        for (int j = 0; j < cut[i].length; j++) apart += Math.abs(whole[i][j] - cut[i][j]);
      }
      assertTrue(apart > 1, "the first window had no part in the derivatives");
    }
  }

  /** Sequences after each other, a reset before each, are those sequences alone. */
  @ParameterizedTest
  @MethodSource("everywhere")
  void packedSequencesAreTheSequencesAlone(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      FeedbackTransformer model = model(store);
      Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
      // The rows have three sequences and two, the last of which ends before the row does.
      int[][] starts = {{0, 4, 7, 11}, {0, 3, 9}};
      var resets = new int[BATCH * STEPS];
      for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < starts[b].length - 1; i++) resets[b * STEPS + starts[b][i]] = 1;
      }
      Boundaries boundaries =
          Boundaries.none()
              .resets(scope.indices(Shape.of(BATCH, STEPS), resets))
              .lengths(scope.indices(Shape.of(BATCH), STEPS, 9));
      Tensor all = scope.indices(Shape.of(BATCH, STEPS), TOKENS);
      Tensor packed = model.read(all, Memory.EMPTY, boundaries).hidden();
      Tensor plain = model.read(all, Memory.EMPTY).hidden();
      Tensor packedSum = null;
      Tensor sum = null;
      double apart = 0;
      for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < starts[b].length - 1; i++) {
          int from = starts[b][i];
          int count = starts[b][i + 1] - from;
          int[] own = Arrays.copyOfRange(TOKENS, b * STEPS + from, b * STEPS + from + count);
          Tensor alone = model.read(scope.indices(Shape.of(1, count), own), Memory.EMPTY).hidden();
          Tensor part = packed.slice(0, b, 1).slice(1, from, count);
          double[] got = part.toDoubles();
          assertArrayEquals(alone.toDoubles(), got, 1e-12);
          double[] mixed = plain.slice(0, b, 1).slice(1, from, count).toDoubles();
          for (int j = 0; j < got.length; j++) apart += Math.abs(got[j] - mixed[j]);
          packedSum = plus(packedSum, part);
          sum = plus(sum, alone);
        }
      }
      assertTrue(apart > 1, "the resets made no difference");
      Tensor[] expected = Gradient.of(sum, xs);
      Tensor[] found = Gradient.of(packedSum, xs);
      for (int i = 0; i < xs.length; i++) {
        assertArrayEquals(expected[i].toDoubles(), found[i].toDoubles(), 1e-11);
      }
    }
  }

  private static Tensor plus(Tensor sum, Tensor hidden) {
    Tensor cubes = hidden.mul(hidden).mul(hidden).sum();
    return sum == null ? cubes : sum.add(cubes);
  }

  /** What a window forgot, the next one does not remember. */
  @ParameterizedTest
  @MethodSource("everywhere")
  void aMemoryKnowsWhatWasForgotten(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.openUnrecorded()) {
      FeedbackTransformer model = model(store);
      var resets = new int[BATCH * STEPS];
      for (int place : new int[] {3, STEPS + 1, STEPS + 8}) resets[place] = 1;
      double[] whole = read(model, scope, resets, STEPS);
      for (int[] pieces : new int[][] {{2, 9}, {4, 7}, {4, 1, 6}, {1, 1, 1, 1, 7}}) {
        assertArrayEquals(whole, read(model, scope, resets, pieces));
      }
      // A sequence that has ended begins anew in the next window; its neighbour goes on.
      Tensor start = Nets.columns(scope, TOKENS, BATCH, 0, 5);
      Tensor rest = Nets.columns(scope, TOKENS, BATCH, 5, STEPS);
      Boundaries ends = Boundaries.none().lengths(scope.indices(Shape.of(BATCH), 5, 2));
      var anew = new int[BATCH * (STEPS - 5)];
      anew[STEPS - 5] = 1;
      Boundaries begins = Boundaries.none().resets(scope.indices(Shape.of(BATCH, STEPS - 5), anew));
      Memory memory = model.read(start, Memory.EMPTY, ends).memory();
      SequenceModel.Reading reading = model.read(rest, memory, begins);
      double[] plain = read(model, scope, new int[BATCH * STEPS], STEPS);
      double[] found = reading.hidden().slice(0, 0, 1).toDoubles();
      assertArrayEquals(Arrays.copyOfRange(plain, 5 * 12, STEPS * 12), found);
      double[] alone = model.read(rest.slice(0, 1, 1), Memory.EMPTY).hidden().toDoubles();
      assertArrayEquals(alone, reading.hidden().slice(0, 1, 1).toDoubles(), 1e-12);
      // Rows of a memory know it too.
      Memory turned = reading.memory().map(Tensor::detach).rows(scope.indices(Shape.of(2), 1, 0));
      Tensor next = scope.indices(Shape.of(BATCH, 1), 3, 4);
      double[] a = model.read(next, reading.memory()).hidden().toDoubles();
      double[] b = model.read(scope.indices(Shape.of(BATCH, 1), 4, 3), turned).hidden().toDoubles();
      assertArrayEquals(Arrays.copyOf(a, 12), Arrays.copyOfRange(b, 12, 24));
      assertArrayEquals(Arrays.copyOfRange(a, 12, 24), Arrays.copyOf(b, 12));
    }
  }

  /** Returns the hidden states of a read in pieces of these lengths. */
  private static double[] read(
      FeedbackTransformer model, Scope scope, int[] resets, int... pieces) {
    Memory memory = Memory.EMPTY;
    Tensor hidden = null;
    for (int steps : pieces) {
      int from = (int) memory.steps();
      Tensor part = Nets.columns(scope, TOKENS, BATCH, from, from + steps);
      Boundaries own =
          Boundaries.none().resets(Nets.columns(scope, resets, BATCH, from, from + steps));
      SequenceModel.Reading reading = model.read(part, memory, own);
      hidden = hidden == null ? reading.hidden() : hidden.concat(reading.hidden(), 1);
      memory = reading.memory();
    }
    return hidden.toDoubles();
  }

  private static double[][] slopes(SequenceModel.Reading reading, Tensor... xs) {
    Tensor hidden = reading.hidden();
    Tensor[] slopes = Gradient.of(hidden.mul(hidden).mul(hidden).sum(), xs);
    return Stream.of(slopes).map(Tensor::toDoubles).toArray(double[][]::new);
  }

  private static Tensor parallel(FeedbackTransformer model, Tensor tokens) {
    Tensor x = model.embedding().apply(tokens);
    Shape s = x.shape();
    long size = s.dim(2) / 3;
    Tensor memory = model.norm().apply(x).slice(1, 0, STEPS - 1);
    Shape split = Shape.of(BATCH, STEPS - 1, 3, size);
    Tensor k = Rotary.rotary(memory.matmul(flat(model.key())).reshape(split), 0, 10_000);
    Tensor v = memory.matmul(flat(model.value())).reshape(split);
    for (FeedbackTransformer.Layer layer : model.layers()) {
      Tensor q = layer.query().apply(layer.norm().apply(x)).slice(1, 1, STEPS - 1);
      q = Rotary.rotary(q.reshape(split), 1, 10_000);
      Tensor read = Attention.causal().apply(q, k, v).reshape(BATCH, STEPS - 1, s.dim(2));
      // The first step has nothing to read.
      x = x.add(layer.mix().apply(read.pad(1, 1, STEPS)));
      x = layer.mlp().apply(x);
    }
    return model.last().apply(x);
  }

  private static Tensor flat(Tensor weight) {
    return weight.reshape(weight.shape().dim(0), weight.size() / weight.shape().dim(0));
  }
}
