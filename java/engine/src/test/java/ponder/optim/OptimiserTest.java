// SPDX-License-Identifier: Apache-2.0
package ponder.optim;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
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
import ponder.Work;

/** Optimisers against their rules in plain double loops. */
class OptimiserTest {
  private static final String DEVICES = "ponder.TestDevices#names";
  private static final AdamW ADAM = new AdamW(0.9, 0.97, 1e-6, 0.1);
  private static final Sgd SGD = new Sgd(0.8, 0.05);

  /** The parameters: a matrix, which decays, and a row and a number, which do not. */
  private static final List<Shape> SHAPES = List.of(Shape.of(3, 11), Shape.of(17), Shape.scalar());

  private static Store parameters(Device device, DType type) {
    Store store = device.store();
    try (Scope scope = device.open()) {
      for (int i = 0; i < SHAPES.size(); i++) {
        store.add("p" + i, numbers(scope, type, SHAPES.get(i), Key.of(i)));
      }
    }
    return store;
  }

  private static Tensor numbers(Scope scope, DType type, Shape shape, Key key) {
    return type == DType.F64
        ? scope.tensor(shape, key.normalDoubles((int) shape.size()))
        : scope.tensor(shape, key.normalFloats((int) shape.size()));
  }

  private static double rate(int step) {
    return 0.01 * (1 + step % 7);
  }

  private static double scale(int step) {
    return 1.0 / (1 + step % 3);
  }

  /** Moves parameters so many steps by random gradients. */
  private static void run(Optimiser rule, Store parameters, Store state, DType type, int steps) {
    Device device = parameters.device();
    rule.prepare(parameters, state);
    for (int step = 0; step < steps; step++) {
      try (Scope scope = device.open()) {
        List<Tensor> gradients = new ArrayList<>();
        for (String name : parameters.names()) {
          Key key = Key.of(99).split(name).split(step);
          gradients.add(numbers(scope, type, parameters.get(name).shape(), key));
        }
        Tensor rate = scope.full(type, Shape.of(1), rate(step));
        Tensor scale = scope.full(type, Shape.of(1), scale(step));
        rule.step(parameters, state, gradients.toArray(Tensor[]::new), rate, scale);
      }
    }
  }

  private static double[] adam(double[] p, String name, int steps, double decay) {
    double[] first = new double[p.length];
    double[] second = new double[p.length];
    for (int step = 0; step < steps; step++) {
      double[] g = Key.of(99).split(name).split(step).normalDoubles(p.length);
      for (int i = 0; i < p.length; i++) {
        double gradient = scale(step) * g[i];
        first[i] = 0.9 * first[i] + (1 - 0.9) * gradient;
        second[i] = 0.97 * second[i] + (1 - 0.97) * gradient * gradient;
        double mean = first[i] / (1 - Math.pow(0.9, step + 1));
        double square = second[i] / (1 - Math.pow(0.97, step + 1));
        p[i] -= rate(step) * (mean / (Math.sqrt(square) + 1e-6) + decay * p[i]);
      }
    }
    return p;
  }

  private static double[] sgd(double[] p, String name, int steps, double decay) {
    double[] velocity = new double[p.length];
    for (int step = 0; step < steps; step++) {
      double[] g = Key.of(99).split(name).split(step).normalDoubles(p.length);
      for (int i = 0; i < p.length; i++) {
        velocity[i] = 0.8 * velocity[i] + scale(step) * g[i] + decay * p[i];
        p[i] -= rate(step) * velocity[i];
      }
    }
    return p;
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void adamWFollowsItsRule(String name) {
    followsItsRule(name, ADAM, (p, value, decays) -> adam(value, p, 200, decays ? 0.1 : 0));
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void sgdFollowsItsRule(String name) {
    followsItsRule(name, SGD, (p, value, decays) -> sgd(value, p, 200, decays ? 0.05 : 0));
  }

  private interface Rule {
    double[] run(String name, double[] initial, boolean decays);
  }

  /** 200 steps in F64; rounding differs in a handful of operations a step, each below 1e-16. */
  private static void followsItsRule(String name, Optimiser optimiser, Rule rule) {
    try (Device device = TestDevices.open(name);
        Store parameters = parameters(device, DType.F64);
        Store state = device.store()) {
      List<double[]> expected = new ArrayList<>();
      for (String p : parameters.names()) {
        Tensor t = parameters.get(p);
        expected.add(rule.run(p, t.toDoubles(), t.shape().rank() > 1));
      }
      run(optimiser, parameters, state, DType.F64, 200);
      int i = 0;
      for (String p : parameters.names()) {
        assertArrayEquals(expected.get(i++), parameters.get(p).toDoubles(), 1e-12, p);
      }
    }
  }

  /** From the same floats a step is the rule's, rounded: two units in the last place. */
  @ParameterizedTest
  @MethodSource(DEVICES)
  void aStepInSinglePrecisionIsTheRuleRounded(String name) {
    try (Device device = TestDevices.open(name);
        Store parameters = parameters(device, DType.F32);
        Store state = device.store()) {
      double[] before = parameters.get("p1").toDoubles();
      run(new AdamW(0.9, 0.97, 1e-6, 0), parameters, state, DType.F32, 1);
      float[] after = parameters.get("p1").toFloats();
      double[] first = state.get("first.p1").toDoubles();
      double[] second = state.get("second.p1").toDoubles();
      float[] gradient = Key.of(99).split("p1").split(0).normalFloats(before.length);
      float rate = (float) rate(0);
      for (int i = 0; i < after.length; i++) {
        // The first step's corrected moments are the gradient and its square.
        double expected = before[i] - rate * (gradient[i] / (Math.abs(gradient[i]) + 1e-6));
        double limit = 2 * Math.ulp((float) Math.max(Math.abs(before[i]), Math.abs(expected)));
        assertTrue(Math.abs(after[i] - expected) <= limit, i + ": " + after[i] + " " + expected);
        double g = gradient[i];
        assertEquals(0.1 * g, first[i], 2 * Math.ulp((float) g));
        assertEquals(0.03 * g * g, second[i], 2 * Math.ulp((float) (g * g)));
      }
    }
  }

  private enum Kind {
    ADAMW(ADAM, 15, 7),
    SGD_MOMENTUM(SGD, 7, 5);

    final Optimiser rule;
    final long flops;
    final long numbers;

    /** Flops, and numbers read or written, for each element of a parameter. */
    Kind(Optimiser rule, long flops, long numbers) {
      this.rule = rule;
      this.flops = flops;
      this.numbers = numbers;
    }
  }

  @ParameterizedTest
  @EnumSource(Kind.class)
  void countsItsWork(Kind kind) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store parameters = parameters(device, DType.F32);
        Store state = device.store()) {
      Work before = device.meter().total();
      run(kind.rule, parameters, state, DType.F32, 1);
      long size = parameters.size();
      Work expected = new Work(kind.flops * size, 0, 4 * kind.numbers * size);
      assertEquals(expected, device.meter().since(before));
    }
  }

  /** What a derivative would have to read again is marked as written, in both stores. */
  @ParameterizedTest
  @EnumSource(Kind.class)
  void aStepEndsTheDerivativesOfWhatItWrote(Kind kind) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store parameters = parameters(device, DType.F64);
        Store state = device.store();
        Scope scope = device.open()) {
      run(kind.rule, parameters, state, DType.F64, 1);
      List<Tensor> written = new ArrayList<>();
      parameters.names().forEach(name -> written.add(parameters.get(name)));
      state.names().stream()
          .map(state::get)
          .filter(t -> t.dtype() != DType.I32)
          .forEach(written::add);
      List<Tensor> squares = written.stream().map(t -> t.mul(t)).toList();
      Gradient.of(squares.get(0), written.get(0));
      Tensor one = scope.full(DType.F64, Shape.of(1), 1);
      Tensor[] gradients =
          SHAPES.stream().map(s -> scope.full(DType.F64, s, 1)).toArray(Tensor[]::new);
      kind.rule.step(parameters, state, gradients, one, one);
      for (int i = 0; i < squares.size(); i++) {
        Tensor y = squares.get(i);
        Tensor x = written.get(i);
        assertThrows(IllegalStateException.class, () -> Gradient.of(y, x));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Kind.class)
  void refusesInputsThatDoNotFitAndWritesNothing(Kind kind) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store parameters = parameters(device, DType.F32);
        Store state = device.store();
        Scope scope = device.open()) {
      run(kind.rule, parameters, state, DType.F32, 2);
      List<Object> before = values(parameters, state);
      Tensor one = scope.full(DType.F32, Shape.of(1), 1);
      Tensor wide = scope.full(DType.F64, Shape.of(1), 1);
      Tensor[] fit = SHAPES.stream().map(s -> scope.full(DType.F32, s, 1)).toArray(Tensor[]::new);
      Tensor[] misshapen = fit.clone();
      misshapen[2] = one;
      Tensor[] mistyped = fit.clone();
      mistyped[1] = scope.full(DType.F64, SHAPES.get(1), 1);
      String shape = refused(kind.rule, parameters, state, misshapen, one, one);
      assertTrue(shape.endsWith("gradient of p2 is F32 [1], must be F32 []"), shape);
      String type = refused(kind.rule, parameters, state, mistyped, one, one);
      assertTrue(type.endsWith("gradient of p1 is F64 [17], must be F32 [17]"), type);
      Tensor[] fewer = {fit[0], fit[1]};
      String count = refused(kind.rule, parameters, state, fewer, one, one);
      assertTrue(count.endsWith("2 gradients for 3 parameters"), count);
      refused(kind.rule, parameters, state, fit, wide, one);
      refused(kind.rule, parameters, state, fit, one, wide);
      refused(kind.rule, parameters, state, fit, fit[1], one);
      assertEquals(before, values(parameters, state));
    }
  }

  /** A value is found by its place in the store: its name must be the one that belongs there. */
  @ParameterizedTest
  @EnumSource(Kind.class)
  void refusesAStateOfOtherParametersAndMovesNothing(Kind kind) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store parameters = parameters(device, DType.F32);
        Scope scope = device.open()) {
      Tensor one = scope.full(DType.F32, Shape.of(1), 1);
      Tensor[] gradients =
          SHAPES.stream().map(s -> scope.full(DType.F32, s, 1)).toArray(Tensor[]::new);
      List<Object> before = values(parameters);
      for (List<String> names :
          List.<List<String>>of(
              List.of(), List.of("p1", "p0", "p2"), List.of("p0"), List.of("p0", "p1", "xp2"))) {
        try (Store others = device.store();
            Store state = device.store()) {
          names.forEach(name -> others.add(name, one));
          kind.rule.prepare(others, state);
          var e =
              assertThrows(
                  IllegalArgumentException.class,
                  () -> kind.rule.move(parameters, state, gradients, one, one));
          assertTrue(e.getMessage().endsWith("for the parameters [p0, p1, p2]"), e.getMessage());
        }
      }
      assertEquals(before, values(parameters));
    }
  }

  private static String refused(
      Optimiser rule,
      Store parameters,
      Store state,
      Tensor[] gradients,
      Tensor rate,
      Tensor scale) {
    return assertThrows(
            IllegalArgumentException.class,
            () -> rule.step(parameters, state, gradients, rate, scale))
        .getMessage();
  }

  private static List<Object> values(Store... stores) {
    List<Object> values = new ArrayList<>();
    for (Store store : stores) {
      for (String name : store.names()) {
        Tensor t = store.get(name);
        if (t.dtype() == DType.I32) {
          for (int v : t.toInts()) {
            values.add(v);
          }
        } else {
          for (double v : t.toDoubles()) {
            values.add(v);
          }
        }
      }
    }
    return values;
  }

  @Test
  void refusesRulesThatAreNone() {
    for (double wrong : new double[] {-0.1, 1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> new AdamW(wrong, 0.9, 1e-8, 0));
      assertThrows(IllegalArgumentException.class, () -> new AdamW(0.9, wrong, 1e-8, 0));
      assertThrows(IllegalArgumentException.class, () -> new Sgd(wrong, 0));
    }
    for (double wrong : new double[] {-1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> new AdamW(0.9, 0.9, wrong, 0));
      assertThrows(IllegalArgumentException.class, () -> new AdamW(0.9, 0.9, 1e-8, wrong));
      assertThrows(IllegalArgumentException.class, () -> new Sgd(0, wrong));
    }
    assertThrows(IllegalArgumentException.class, () -> new AdamW(0.9, 0.9, 0, 0));
  }

  /** Large enough that the library divides the work among its threads. */
  @ParameterizedTest(allowZeroInvocations = true)
  @MethodSource("ponder.TestDevices#builds")
  void movesTheSameOnOneAndTwoThreads(String name) {
    for (Kind kind : Kind.values()) {
      float[][] results = new float[2][];
      for (int threads = 1; threads <= 2; threads++) {
        try (Device device = TestDevices.open(name, threads, 0);
            Store parameters = device.store();
            Store state = device.store()) {
          try (Scope scope = device.open()) {
            parameters.add("p", numbers(scope, DType.F32, Shape.of(700, 701), Key.of(1)));
          }
          run(kind.rule, parameters, state, DType.F32, 3);
          results[threads - 1] = parameters.get("p").toFloats();
        }
      }
      assertArrayEquals(results[0], results[1]);
    }
  }
}
