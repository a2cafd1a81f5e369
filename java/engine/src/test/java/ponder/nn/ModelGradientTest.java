// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
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

/** Derivatives of whole models by every parameter against central differences, in F64. */
class ModelGradientTest {
  private static final int VOCABULARY = 5;
  private static final double STEP = 2.5e-6;

  private static SequenceModel create(Nets net, Parameters parameters) {
    return switch (net) {
      case TRANSFORMER -> Transformer.create(parameters, VOCABULARY, 2, 4, 2);
      case SHARED -> {
        Heads heads = Heads.of(2).withKvHeads(1).withWindow(2);
        yield Transformer.create(parameters, VOCABULARY, 1, 8, heads);
      }
      case LOOPED -> LoopedTransformer.create(parameters, VOCABULARY, 1, 4, 2, 3);
      case MEMORY -> MemoryModel.create(parameters, VOCABULARY, 1, 8, Heads.of(2).withWindow(2), 2);
      case FEEDBACK -> FeedbackTransformer.create(parameters, VOCABULARY, 1, 4, Heads.of(2));
      case TOKENS -> MemoryTokens.create(parameters, VOCABULARY, 1, 4, Heads.of(2), 2, 2);
      case GRU -> GruModel.create(parameters, VOCABULARY, 2, 3);
      case LSTM -> LstmModel.create(parameters, VOCABULARY, 2, 3);
      case LINEAR, GATED, DELTA, GATED_DELTA ->
          FastWeightsModel.create(
              parameters, FastWeightsBlock.Rule.valueOf(net.name()), VOCABULARY, 1, 4, 2);
    };
  }

  static List<Arguments> everywhere() {
    return Nets.everywhere();
  }

  @ParameterizedTest
  @MethodSource("everywhere")
  void theGradientIsTheSlopeByEveryParameter(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store()) {
      SequenceModel model = create(net, Parameters.of(store, DType.F64, Key.of(7)));
      perturb(store);
      // A sequence read in two pieces: the derivative also goes through the memory.
      check(
          store,
          () -> {
            Scope scope = device.scope();
            Tensor tokens = scope.indices(Shape.of(2, 3), 0, 1, 4, 3, 1, 1);
            Tensor targets = scope.indices(Shape.of(2, 3), 1, 4, 2, -1, 1, 0);
            Tensor later = scope.indices(Shape.of(2, 2), 2, 0, 4, 2);
            Memory memory = model.read(tokens, Memory.EMPTY).memory();
            Tensor hidden = model.read(later, memory).hidden();
            return model.losses(tokens, targets).sum().add(hidden.mul(hidden).mul(hidden).sum());
          });
    }
  }

  /** Moves every parameter off its initial value, so that none is 0 or 1. */
  private static void perturb(Store store) {
    try (Scope scope = store.device().open()) {
      for (String name : store.names()) {
        Tensor p = store.get(name);
        double[] values = Key.of(8).split(name).uniformDoubles((int) p.size());
        Tensor noise = scope.tensor(p.shape(), values).affine(0.4, 0.1);
        store.replace(name, p.add(noise));
      }
    }
  }

  private static void check(Store store, Supplier<Tensor> loss) {
    Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
    double[][] got;
    double[][] again;
    try (Scope _ = store.device().open()) {
      got = Stream.of(Gradient.of(loss.get(), xs)).map(Tensor::toDoubles).toArray(double[][]::new);
      again =
          Stream.of(Gradient.ofAgain(loss.get(), xs))
              .map(Tensor::toDoubles)
              .toArray(double[][]::new);
    }
    int i = 0;
    for (String name : store.names()) {
      double[] slopes = slopes(store, name, loss);
      double largest = 1;
      for (double slope : slopes) {
        largest = Math.max(largest, Math.abs(slope));
      }
      for (int j = 0; j < slopes.length; j++) {
        String what = name + "[" + j + "]: slope " + slopes[j] + ", gradient " + got[i][j];
        assertTrue(Math.abs(got[i][j] - slopes[j]) <= 1e-7 * largest, what);
        assertEquals(got[i][j], again[i][j], 1e-10 * largest, what);
      }
      i++;
    }
  }

  private static double[] slopes(Store store, String name, Supplier<Tensor> loss) {
    double[] values = store.get(name).toDoubles();
    double[] slopes = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      double at = values[i];
      double[] sides = new double[2];
      for (int side = 0; side < 2; side++) {
        try (Scope scope = store.device().openUnrecorded()) {
          values[i] = side == 0 ? at + STEP : at - STEP;
          store.replace(name, scope.tensor(store.get(name).shape(), values));
          sides[side] = loss.get().item();
        }
      }
      values[i] = at;
      try (Scope scope = store.device().openUnrecorded()) {
        store.replace(name, scope.tensor(store.get(name).shape(), values));
      }
      slopes[i] = (sides[0] - sides[1]) / (2 * STEP);
    }
    return slopes;
  }
}
