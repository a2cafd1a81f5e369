// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;

/** The rounds of a looped transformer: what they compute and what has a derivative, in F64. */
class LoopedTransformerTest {
  private static final int BATCH = 3;
  private static final int STEPS = 7;
  private static final int VOCABULARY = 11;
  private static final int[] TOKENS = Nets.tokens(5, BATCH, STEPS, VOCABULARY);

  private Device device;
  private Store store;
  private LoopedTransformer model;

  @BeforeEach
  void open() {
    device = TestDevices.open(TestDevices.PLAIN);
    store = device.store();
    Parameters parameters = Parameters.of(store, DType.F64, Key.of(3));
    model = LoopedTransformer.create(parameters, VOCABULARY, 2, 12, 3, 1);
  }

  @AfterEach
  void close() {
    store.close();
    device.close();
  }

  private static Tensor tokens(Scope scope) {
    return Nets.columns(scope, TOKENS, BATCH, 0, STEPS);
  }

  private static double[][] values(List<Tensor> tensors) {
    return tensors.stream().map(Tensor::toDoubles).toArray(double[][]::new);
  }

  /** Returns norm(blocks(x)), from the layers. */
  private Tensor core(Tensor x) {
    for (int i = 0; i < 2; i++) {
      x = model.attention().get(i).apply(x, 0, List.of(), new ArrayList<>());
      x = model.mlp().get(i).apply(x);
    }
    return model.norm().apply(x);
  }

  /** Returns norm(blocks(h W_state + e W_recall)), from the layers. */
  private Tensor round(Tensor tokens, Tensor h) {
    Tensor input = model.embedding().weight().gather(tokens).matmul(model.recall().weight());
    return core(input.add(h.matmul(model.state().weight())));
  }

  @Test
  void oneRoundIsTheFormulaOfItsLayers() {
    try (Scope scope = device.open()) {
      Tensor tokens = tokens(scope);
      Tensor input = model.embedding().weight().gather(tokens).matmul(model.recall().weight());
      double[] expected = core(input).toDoubles();
      assertArrayEquals(expected, model.read(tokens, Memory.EMPTY).hidden().toDoubles(), 1e-12);
      assertEquals(1, model.states(tokens).size());
    }
  }

  @Test
  void everyRoundReadsTheStateBeforeAndTheInput() {
    try (Scope scope = device.open()) {
      Tensor tokens = tokens(scope);
      // The state before the first round is 0.
      Tensor h = scope.full(DType.F64, Shape.of(BATCH, STEPS, 12), 0);
      List<Tensor> states = model.withRounds(4).states(tokens);
      assertEquals(4, states.size());
      for (Tensor state : states) {
        h = round(tokens, h);
        assertArrayEquals(h.toDoubles(), state.toDoubles(), 1e-11);
      }
      Tensor hidden = model.withRounds(4).read(tokens, Memory.EMPTY).hidden();
      assertArrayEquals(states.get(3).toDoubles(), hidden.toDoubles());
    }
  }

  @Test
  void fewerRoundsAreTheFirstOfMore() {
    try (Scope scope = device.open()) {
      double[][] few = values(model.withRounds(2).states(tokens(scope)));
      double[][] many = values(model.withRounds(5).states(tokens(scope)));
      for (int r = 0; r < few.length; r++) {
        assertArrayEquals(few[r], many[r]);
      }
    }
  }

  @Test
  void blindRoundsChangeNoValue() {
    try (Scope scope = device.open()) {
      double[][] all = values(model.withRounds(5).states(tokens(scope)));
      for (int blind = 0; blind < 5; blind++) {
        LoopedTransformer some = model.withRounds(blind, 5 - blind);
        assertEquals(5, some.rounds());
        assertArrayEquals(all, values(some.states(tokens(scope))));
      }
    }
  }

  /** Returns the derivative of a sum of cubes by every parameter. */
  private double[][] slopes(Tensor hidden) {
    Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
    Tensor[] slopes = Gradient.of(hidden.mul(hidden).mul(hidden).sum(), xs);
    return Stream.of(slopes).map(Tensor::toDoubles).toArray(double[][]::new);
  }

  @Test
  void theDerivativeTakesTheStateAfterBlindRoundsAsAConstant() {
    try (Scope scope = device.open()) {
      Tensor tokens = tokens(scope);
      Tensor before = model.withRounds(2).states(tokens).get(1);
      Tensor constant = scope.tensor(before.shape(), before.toDoubles());
      double[][] expected = slopes(round(tokens, round(tokens, round(tokens, constant))));
      LoopedTransformer blind = model.withRounds(2, 3);
      double[][] got = slopes(blind.read(tokens, Memory.EMPTY).hidden());
      double[][] whole = slopes(model.withRounds(5).read(tokens, Memory.EMPTY).hidden());
      List<String> names = List.copyOf(store.names());
      for (int i = 0; i < got.length; i++) {
        double largest = largest(expected[i]);
        assertEquals(0, distance(expected[i], got[i]), 1e-11 * largest, names.get(i));
        boolean reached = distance(expected[i], whole[i]) > 1e-3 * largest;
        assertEquals(!names.get(i).equals("output"), reached, names.get(i));
      }
    }
  }

  private static double largest(double[] values) {
    return distance(values, new double[values.length]);
  }

  private static double distance(double[] a, double[] b) {
    return IntStream.range(0, a.length).mapToDouble(i -> Math.abs(a[i] - b[i])).max().orElse(0);
  }

  @Test
  void refusesWrongRounds() {
    refused("0 blind of 0 rounds", () -> model.withRounds(0));
    refused("0 blind of -1 rounds", () -> model.withRounds(-1));
    refused("2 blind of 2 rounds", () -> model.withRounds(2, 0));
    refused("3 blind of 2 rounds", () -> model.withRounds(3, -1));
    refused("-1 blind of 1 rounds", () -> model.withRounds(-1, 2));
    refused("rounds", () -> model.withRounds(Integer.MAX_VALUE, 1));
    Parameters parameters = Parameters.of(store, Key.of(1)).in("other");
    refused("rounds", () -> LoopedTransformer.create(parameters, VOCABULARY, 1, 12, 3, 0));
  }

  @Test
  void refusesAMemoryOfAnotherNumberOfRounds() {
    try (Scope scope = device.open()) {
      Memory memory = model.withRounds(2).read(tokens(scope), Memory.EMPTY).memory();
      refused(
          "holds 0 tensors and 8 that grow, this model carries 0 and 12",
          () -> model.withRounds(3).read(tokens(scope), memory));
    }
  }

  private static void refused(String part, Runnable call) {
    String message = assertThrows(IllegalArgumentException.class, call::run).getMessage();
    assertTrue(message.contains(part), message);
  }
}
