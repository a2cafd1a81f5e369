// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.abi.PlainKernels;

/** Reading: whole and in pieces, causal, row by row. */
class SequenceModelTest {
  private static final String EVERYWHERE = "ponder.nn.Nets#everywhere";
  private static final int BATCH = 3;
  private static final int STEPS = 17;
  private static final int VOCABULARY = 13;
  private static final int[] TOKENS = Nets.tokens(5, BATCH, STEPS, VOCABULARY);

  /** Returns the hidden states [batch, steps, width] of a read in pieces of these lengths. */
  private static double[] read(SequenceModel model, Scope scope, int... pieces) {
    Memory memory = Memory.EMPTY;
    Tensor hidden = null;
    for (int steps : pieces) {
      int from = (int) memory.steps();
      Tensor part = Nets.columns(scope, TOKENS, BATCH, from, from + steps);
      SequenceModel.Reading reading = model.read(part, memory);
      hidden = hidden == null ? reading.hidden() : hidden.concat(reading.hidden(), 1);
      memory = reading.memory();
    }
    assertEquals(STEPS, memory.steps());
    double[] values = hidden.toDoubles();
    assertTrue(Arrays.stream(values).allMatch(Double::isFinite));
    return values;
  }

  private static List<int[]> divisions() {
    int[] single = new int[STEPS];
    Arrays.fill(single, 1);
    return List.of(
        new int[] {1, 16}, new int[] {7, 10}, new int[] {16, 1}, new int[] {3, 1, 13}, single);
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void readsInPiecesWhatItReadsWhole(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      // The plain loops carry their state in double: only in F64 do they lose nothing between
      // reads.
      boolean recurrent =
          !List.of(
                  Nets.TRANSFORMER,
                  Nets.SHARED,
                  Nets.LOOPED,
                  Nets.MEMORY,
                  Nets.FEEDBACK,
                  Nets.TOKENS)
              .contains(net);
      DType type = name.equals(TestDevices.PLAIN) && recurrent ? DType.F64 : DType.F32;
      SequenceModel model = net.create(Parameters.of(store, type, Key.of(1)), VOCABULARY);
      double[] whole = read(model, scope, STEPS);
      List<double[]> inPieces = new ArrayList<>();
      for (int[] pieces : divisions()) {
        inPieces.add(read(model, scope, pieces));
      }
      switch (net) {
        case GRU, LSTM, LINEAR, GATED, DELTA, GATED_DELTA ->
            inPieces.forEach(hidden -> assertArrayEquals(whole, hidden));
        case TRANSFORMER, SHARED, LOOPED, MEMORY, FEEDBACK, TOKENS -> {
          inPieces.add(whole);
          checkError(net, store, inPieces);
        }
      }
    }
  }

  /** Checks that no result is further from the answer in F64 than twice the plain loop in F32. */
  private static void checkError(Nets net, Store parameters, List<double[]> results) {
    double[] answer = plain(net, PlainKernels.wide(), DType.F64, parameters);
    double[] plain = plain(net, PlainKernels.narrow(), DType.F32, parameters);
    double largest = Arrays.stream(answer).map(Math::abs).max().orElseThrow();
    double limit = 2 * distance(answer, plain) + Math.ulp((float) largest);
    for (double[] result : results) {
      double error = distance(answer, result);
      assertTrue(error <= limit, error + " from the answer, the limit is " + limit);
    }
  }

  private static double distance(double[] a, double[] b) {
    double largest = 0;
    for (int i = 0; i < a.length; i++) {
      largest = Math.max(largest, Math.abs(a[i] - b[i]));
    }
    return largest;
  }

  /** Returns what a net with these parameters reads on plain kernels. */
  private static double[] plain(Nets net, PlainKernels kernels, DType type, Store parameters) {
    try (Device device = TestDevices.over(kernels, "plain");
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = net.create(Parameters.of(store, type, Key.of(0)), VOCABULARY);
      for (String name : parameters.names()) {
        Tensor value = parameters.get(name);
        store.replace(
            name,
            type == DType.F64
                ? scope.tensor(value.shape(), value.toDoubles())
                : scope.tensor(value.shape(), value.toFloats()));
      }
      return read(model, scope, STEPS);
    }
  }

  /** Where nothing is recorded, what is carried grows in place: not a bit may change. */
  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void generatesTheBitsThatItReadsWhole(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.openUnrecorded()) {
      DType type = name.equals(TestDevices.PLAIN) ? DType.F64 : DType.F32;
      SequenceModel model = net.create(Parameters.of(store, type, Key.of(1)), VOCABULARY);
      double[] whole = read(model, scope, STEPS);
      for (int[] pieces : divisions()) {
        assertArrayEquals(whole, read(model, scope, pieces));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Nets.class)
  void generatesOnACudaDeviceWhatItReadsWhole(Nets net) {
    assumeTrue(TestDevices.hasSimulatedCuda());
    try (Device device = TestDevices.simulatedCuda();
        Store store = device.store();
        Scope scope = device.openUnrecorded()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(1)), VOCABULARY);
      double[] whole = read(model, scope, STEPS);
      for (int[] pieces : divisions()) {
        assertArrayEquals(whole, read(model, scope, pieces), 1e-5);
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void continuationsOfOneMemoryDoNotSeeEachOther(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.openUnrecorded()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(3)), VOCABULARY);
      int[] other = TOKENS.clone();
      Arrays.setAll(other, i -> (TOKENS[i] + 1) % VOCABULARY);
      Memory trunk = Memory.EMPTY;
      for (int step = 0; step < 6; step++) {
        trunk = model.read(Nets.columns(scope, TOKENS, BATCH, step, step + 1), trunk).memory();
      }
      // Three continuations, one step of each in turn.
      int[][] tokens = {TOKENS, other, TOKENS};
      Memory[] memories = {trunk, trunk, trunk};
      Tensor[] hidden = new Tensor[3];
      for (int step = 6; step < STEPS; step++) {
        for (int i = 0; i < 3; i++) {
          Tensor column = Nets.columns(scope, tokens[i], BATCH, step, step + 1);
          SequenceModel.Reading reading = model.read(column, memories[i]);
          memories[i] = reading.memory();
          hidden[i] = reading.hidden();
        }
        assertArrayEquals(hidden[0].toFloats(), hidden[2].toFloats());
      }
      Memory alone = trunk.map(t -> t);
      for (int step = 6; step < STEPS; step++) {
        Tensor column = Nets.columns(scope, other, BATCH, step, step + 1);
        SequenceModel.Reading reading = model.read(column, alone);
        alone = reading.memory();
        if (step == STEPS - 1) {
          assertArrayEquals(reading.hidden().toFloats(), hidden[1].toFloats());
        }
      }
    }
  }

  /** As a beam does: rows taken again and again, in other orders, some of them twice. */
  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void rowsReorderedAtEveryStepContinueTheirSequences(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.openUnrecorded()) {
      DType type = name.equals(TestDevices.PLAIN) ? DType.F64 : DType.F32;
      SequenceModel model = net.create(Parameters.of(store, type, Key.of(3)), VOCABULARY);
      int[][] written = new int[BATCH][0];
      Memory memory = Memory.EMPTY;
      Tensor hidden = null;
      for (int step = 0; step < STEPS; step++) {
        int[] next = new int[BATCH];
        int[][] longer = new int[BATCH][];
        for (int row = 0; row < BATCH; row++) {
          int from = step == 0 ? row : (row * row + step) % BATCH;
          next[row] = TOKENS[row * STEPS + step];
          longer[row] = Arrays.copyOf(written[from], step + 1);
          longer[row][step] = next[row];
        }
        if (step > 0) {
          int[] order = new int[BATCH];
          int now = step;
          Arrays.setAll(order, row -> (row * row + now) % BATCH);
          memory = memory.rows(scope.indices(Shape.of(BATCH), order));
        }
        SequenceModel.Reading reading = model.read(scope.indices(Shape.of(BATCH, 1), next), memory);
        memory = reading.memory();
        hidden = reading.hidden();
        written = longer;
      }
      int[] all = Arrays.stream(written).flatMapToInt(Arrays::stream).toArray();
      Tensor tokens = scope.indices(Shape.of(BATCH, STEPS), all);
      Tensor whole = model.read(tokens, Memory.EMPTY).hidden().slice(1, STEPS - 1, 1);
      assertArrayEquals(whole.toDoubles(), hidden.toDoubles());
    }
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void aLaterTokenChangesNoEarlierState(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(2)), VOCABULARY);
      int[] other = TOKENS.clone();
      int place = STEPS + 9; // step 9 of row 1
      other[place] = (other[place] + 1) % VOCABULARY;
      Shape shape = Shape.of(BATCH, STEPS);
      Tensor a = model.read(scope.indices(shape, TOKENS), Memory.EMPTY).hidden();
      Tensor b = model.read(scope.indices(shape, other), Memory.EMPTY).hidden();
      for (int row = 0; row < BATCH; row++) {
        for (int step = 0; step < STEPS; step++) {
          boolean same = Arrays.equals(state(a, row, step), state(b, row, step));
          assertEquals(row != 1 || step < 9, same, "row " + row + ", step " + step);
        }
      }
    }
  }

  private static float[] state(Tensor hidden, int row, int step) {
    float[] values = hidden.slice(0, row, 1).slice(1, step, 1).toFloats();
    assertTrue(Float.isFinite(values[0]));
    return values;
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void rowsOfAMemoryContinueTheirSequences(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(3)), VOCABULARY);
      Tensor start = Nets.columns(scope, TOKENS, BATCH, 0, 6);
      Tensor rest = Nets.columns(scope, TOKENS, BATCH, 6, STEPS);
      int[] order = {2, 0, 2, 1};
      Tensor rows = scope.indices(Shape.of(4), order);
      Memory memory = model.read(start, Memory.EMPTY).memory();
      Tensor expected = model.read(rest, memory).hidden().gather(rows);
      Memory chosen = memory.rows(rows);
      assertEquals(6, chosen.steps());
      int[] moved = new int[order.length * STEPS];
      for (int i = 0; i < order.length; i++) {
        System.arraycopy(TOKENS, order[i] * STEPS, moved, i * STEPS, STEPS);
      }
      Tensor movedRest = Nets.columns(scope, moved, order.length, 6, STEPS);
      Tensor got = model.read(movedRest, chosen).hidden();
      assertEquals(expected.shape(), got.shape());
      assertArrayEquals(expected.toFloats(), got.toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void aMemoryOutlivesItsScopeAsACopy(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(3)), VOCABULARY);
      Memory memory;
      try (Scope inner = device.openUnrecorded()) {
        Tensor start = Nets.columns(inner, TOKENS, BATCH, 0, 6);
        memory = model.read(start, Memory.EMPTY).memory().map(inner::keep);
      }
      Tensor rest = Nets.columns(scope, TOKENS, BATCH, 6, STEPS);
      Tensor again = Nets.columns(scope, TOKENS, BATCH, 0, 6);
      assertArrayEquals(
          model.read(rest, model.read(again, Memory.EMPTY).memory()).hidden().toFloats(),
          model.read(rest, memory).hidden().toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void theLossIsMinusTheLogarithmOfTheTargetsProbability(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = net.create(Parameters.of(store, DType.F64, Key.of(4)), VOCABULARY);
      Shape shape = Shape.of(BATCH, STEPS);
      Tensor tokens = scope.indices(shape, TOKENS);
      int[] targets = Nets.tokens(6, BATCH, STEPS, VOCABULARY + 1);
      Arrays.setAll(targets, i -> targets[i] - 1);
      assertTrue(Arrays.stream(targets).anyMatch(t -> t == -1));
      Tensor hidden = model.read(tokens, Memory.EMPTY).hidden();
      double[] logits = hidden.matmul(model.output(), false, true).toDoubles();
      double[] losses = model.losses(tokens, scope.indices(shape, targets)).toDoubles();
      assertEquals(BATCH * STEPS, losses.length);
      for (int row = 0; row < losses.length; row++) {
        double sum = 0;
        for (int c = 0; c < VOCABULARY; c++) {
          sum += Math.exp(logits[row * VOCABULARY + c]);
        }
        double expected =
            targets[row] < 0 ? 0 : Math.log(sum) - logits[row * VOCABULARY + targets[row]];
        assertEquals(expected, losses[row], 1e-12, "row " + row);
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EVERYWHERE)
  void refusesWhatItCannotRead(String name, Nets net) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      Parameters parameters = Parameters.of(store, Key.of(1));
      SequenceModel model = net.create(parameters.in("one"), VOCABULARY);
      Tensor tokens = Nets.columns(scope, TOKENS, BATCH, 0, 5);
      refused("must be [batch, steps]", () -> model.read(tokens.reshape(15), Memory.EMPTY));
      refused("", () -> model.read(scope.indices(Shape.of(1, 1), VOCABULARY), Memory.EMPTY));
      refused("", () -> model.read(scope.indices(Shape.of(1, 1), -1), Memory.EMPTY));
      refused("I32", () -> model.read(scope.full(DType.F32, Shape.of(1, 1), 0), Memory.EMPTY));
      Memory memory = model.read(tokens, Memory.EMPTY).memory();
      Memory short1 = new Memory(5, List.of(tokens));
      refused("this model carries", () -> model.read(tokens, short1));
      Tensor fewer = tokens.slice(0, 0, 2);
      refused("", () -> model.read(fewer, memory));
    }
  }

  private static void refused(String part, Runnable call) {
    String message = assertThrows(IllegalArgumentException.class, call::run).getMessage();
    assertTrue(message.contains(part), message);
    assertFalse(message.isBlank());
  }
}
