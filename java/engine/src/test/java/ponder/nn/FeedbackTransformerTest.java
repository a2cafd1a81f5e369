// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
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
import ponder.op.Rotary;

/** The limits of a feedback memory. */
class FeedbackTransformerTest {
  private static final int BATCH = 2;
  private static final int STEPS = 11;
  private static final int VOCABULARY = 7;
  private static final int LAYERS = 3;

  static List<String> everywhere() {
    return TestDevices.names();
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
      Parameters p = Parameters.of(store, DType.F64, Key.of(1));
      var model = FeedbackTransformer.create(p, VOCABULARY, LAYERS, 12, Heads.of(3));
      Tensor tokens =
          scope.indices(Shape.of(BATCH, STEPS), Nets.tokens(5, BATCH, STEPS, VOCABULARY));
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
      Parameters p = Parameters.of(store, DType.F64, Key.of(1));
      var model = FeedbackTransformer.create(p, VOCABULARY, LAYERS, 12, Heads.of(3));
      Tensor tokens =
          scope.indices(Shape.of(BATCH, STEPS), Nets.tokens(5, BATCH, STEPS, VOCABULARY));
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
