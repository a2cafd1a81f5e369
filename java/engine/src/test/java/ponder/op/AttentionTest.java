// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;

/** The options of attention against each other, and what it refuses. */
class AttentionTest {
  private static final String DEVICES = "ponder.TestDevices#names";

  private static Tensor normal(Scope scope, String name, long... dims) {
    Shape shape = Shape.of(dims);
    return scope.tensor(shape, Key.of(1).split(name).normalDoubles((int) shape.size()));
  }

  /** Returns 1 where a logit is above 0, and 0 elsewhere, learned as its sigmoid. */
  private static Tensor hard(Tensor logits) {
    Tensor zero = logits.device().scope().full(logits.dtype(), Shape.scalar(), 0);
    return logits.greater(zero).straightThrough(logits.sigmoid());
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aLearnedHardMaskSeesWhatAConstantOneShows(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = normal(scope, "q", 2, 5, 4, 8).cast(DType.F32);
      Tensor k = normal(scope, "k", 2, 9, 2, 8).cast(DType.F32);
      Tensor v = normal(scope, "v", 2, 9, 2, 8).cast(DType.F32);
      for (long[] shape : new long[][] {{9}, {5, 9}, {4, 1, 9}, {2, 1, 5, 9}, {2, 4, 5, 9}}) {
        Tensor logits = normal(scope, "logits", shape).cast(DType.F32);
        Tensor gates = hard(logits);
        float[] open = gates.toFloats();
        assertTrue(count(open, 0) > 0 && count(open, 1) > 0);
        float[] learned = Attention.causal().gates(gates).apply(q, k, v).toFloats();
        // log 1 = 0 and log 0 = -infinity.
        Tensor mask = gates.detach().log();
        float[] constant = Attention.causal().mask(mask).apply(q, k, v).toFloats();
        assertArrayEquals(constant, learned);
      }
    }
  }

  private static long count(float[] values, float wanted) {
    long count = 0;
    for (float value : values) count += value == wanted ? 1 : 0;
    return count;
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aHardMaskIsLearnedByTheGradientOfItsDefinition(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = normal(scope, "q", 2, 5, 4, 8);
      Tensor k = normal(scope, "k", 2, 9, 2, 8);
      Tensor v = normal(scope, "v", 2, 9, 2, 8);
      Tensor weight = normal(scope, "weight", 2, 5, 4, 8);
      for (long[] shape : new long[][] {{9}, {5, 9}, {4, 1, 9}, {2, 1, 5, 9}, {2, 4, 5, 9}}) {
        Tensor logits = normal(scope, "logits", shape);
        Tensor gates = hard(logits);
        AttentionInputs attention = Attention.full().window(6).gates(gates);
        Tensor[] xs = {logits, q, k, v};
        Tensor[] got = Gradient.of(attention.apply(q, k, v).mul(weight), xs);
        Tensor defined = attention.op().definition(q, k, v, gates);
        Tensor[] expected = Gradient.of(defined.mul(weight), xs);
        for (int i = 0; i < xs.length; i++) {
          assertArrayEquals(expected[i].toDoubles(), got[i].toDoubles(), 1e-13);
        }
        // What a shut gate would bring is learned, too.
        double[] shut = gates.toDoubles();
        double[] slope = got[0].toDoubles();
        boolean learned = false;
        for (int i = 0; i < shut.length; i++) learned |= shut[i] == 0 && slope[i] != 0;
        assertTrue(learned);
      }
    }
  }

  /** One query, two keys, the second shut: dgate = exp(s2 - s1) (v2 - v1) . dout. */
  @ParameterizedTest
  @MethodSource(DEVICES)
  void aShutGatesDerivativeIsWhatOpeningItWouldBegin(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = scope.tensor(Shape.of(1, 1, 1, 1), 1.0);
      Tensor k = scope.tensor(Shape.of(1, 2, 1, 1), 0.5, 2);
      Tensor v = scope.tensor(Shape.of(1, 2, 1, 1), 3.0, 7);
      Tensor gates = scope.tensor(Shape.of(2), 1.0, 0);
      Tensor y = Attention.full().scale(1).gates(gates).apply(q, k, v);
      assertEquals(3, y.item());
      double[] slope = Gradient.of(y, gates)[0].toDoubles();
      assertArrayEquals(new double[] {0, Math.exp(1.5) * 4}, slope, 1e-13);
      // A score far beyond the sum counts as e^64 times it.
      Tensor far = scope.tensor(Shape.of(1, 2, 1, 1), 0.5, 200);
      AttentionInputs attention = Attention.full().scale(1).gates(gates);
      double most = Math.exp(64) * 4;
      Tensor z = attention.apply(q, far, v);
      assertEquals(most, Gradient.of(z, gates)[0].toDoubles()[1], 1e-13 * most);
      Tensor defined = attention.op().definition(q, far, v, gates);
      assertEquals(most, Gradient.of(defined, gates)[0].toDoubles()[1], 1e-13 * most);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void sequencesInOneRowAreThoseApart(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      int[] qs = {0, 3, 3, 8, 12};
      int[] ks = {0, 2, 9, 9, 17};
      Tensor q = normal(scope, "q", 1, 12, 4, 8);
      Tensor k = normal(scope, "k", 1, 17, 2, 8);
      Tensor v = normal(scope, "v", 1, 17, 2, 8);
      Tensor qStarts = scope.indices(Shape.of(5), qs);
      Tensor kStarts = scope.indices(Shape.of(5), ks);
      for (Attention attention :
          new Attention[] {Attention.full(), Attention.causal(), Attention.causal().window(3)}) {
        Tensor packed = attention.packed(qStarts, kStarts).apply(q, k, v);
        for (int n = 0; n < 4; n++) {
          int queries = qs[n + 1] - qs[n];
          int keys = ks[n + 1] - ks[n];
          if (queries == 0) continue;
          double[] got = packed.slice(1, qs[n], queries).toDoubles();
          double[] alone =
              keys == 0
                  ? new double[got.length]
                  : attention
                      .apply(
                          q.slice(1, qs[n], queries),
                          k.slice(1, ks[n], keys),
                          v.slice(1, ks[n], keys))
                      .toDoubles();
          assertArrayEquals(alone, got);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void headsThatShareKeysAreHeadsWithCopiesOfThem(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = normal(scope, "q", 2, 7, 6, 4);
      Tensor k = normal(scope, "k", 2, 9, 2, 4);
      Tensor v = normal(scope, "v", 2, 9, 2, 4);
      Tensor shared = Attention.causal().apply(q, k, v);
      Tensor copied = Attention.causal().apply(q, copies(k), copies(v));
      assertArrayEquals(copied.toDoubles(), shared.toDoubles());
    }
  }

  /** Returns each head three times, one copy after another. */
  private static Tensor copies(Tensor k) {
    Shape s = k.shape();
    return k.broadcast(3, 3).reshape(s.dim(0), s.dim(1), 3 * s.dim(2), s.dim(3));
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void roomAfterTheKeysThatCountChangesNothing(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = normal(scope, "q", 2, 3, 4, 8);
      Tensor k = normal(scope, "k", 2, 40, 2, 8);
      Tensor v = normal(scope, "v", 2, 40, 2, 8);
      Tensor nothing = scope.full(DType.F64, Shape.of(2, 24, 2, 8), Double.NaN);
      Tensor lengths = scope.indices(Shape.of(2), 40, 40);
      for (long window : new long[] {0, 5}) {
        assertArrayEquals(
            Attention.causal().window(window).apply(q, k, v).toDoubles(),
            Attention.causalAtLength()
                .window(window)
                .lengths(lengths)
                .apply(q, k.concat(nothing, 1), v.concat(nothing, 1))
                .toDoubles());
      }
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void whatIsLeftOutIsWhatItsNeutralValueSays(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = normal(scope, "q", 2, 5, 3, 16);
      Tensor k = normal(scope, "k", 2, 5, 3, 16);
      double[] plain = Attention.causal().apply(q, k, k).toDoubles();
      Tensor whole = scope.indices(Shape.of(2), 5, 5);
      Attention causal = Attention.causal();
      assertArrayEquals(plain, causal.window(5).scale(0.25).apply(q, k, k).toDoubles());
      assertArrayEquals(plain, causal.lengths(whole).apply(q, k, k).toDoubles());
      assertArrayEquals(
          plain, causal.gates(scope.full(DType.F64, Shape.of(5), 1)).apply(q, k, k).toDoubles());
      double[] full = Attention.full().apply(q, k, k).toDoubles();
      assertArrayEquals(full, Attention.full().window(5).apply(q, k, k).toDoubles());
      assertFalse(Arrays.equals(plain, full));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void refusesWhatDoesNotFit(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor q = normal(scope, "q", 2, 5, 4, 8);
      Tensor k = normal(scope, "k", 2, 9, 2, 8);
      Tensor one = normal(scope, "one", 1, 5, 4, 8);
      Tensor mask = normal(scope, "mask", 5, 9);
      Tensor lengths = scope.indices(Shape.of(2), 9, 3);
      Tensor starts = scope.indices(Shape.of(3), 0, 2, 5);
      Attention full = Attention.full();
      refused("window is -1, must be in [0, 2^40]", () -> full.window(-1));
      refused("a mask and gates", () -> full.mask(mask).gates(mask));
      refused("lengths and starts", () -> full.lengths(lengths).packed(starts, starts));
      refused("mask is null", () -> full.mask(null));
      refused("kStarts is null", () -> full.packed(starts, null));
      refused("input 1 is null", () -> full.mask(mask).apply(q, null, k));
      refused("causalAtLength needs lengths", () -> Attention.causalAtLength().apply(q, k, k));
      refused(
          "k has shape [2, 9, 3, 8], q has [2, 5, 4, 8]; k must be [2, k_steps, a divisor of 4, 8]",
          () -> full.apply(q, normal(scope, "k", 2, 9, 3, 8), k));
      refused("v has shape [2, 5, 4, 8], k has [2, 9, 2, 8]", () -> full.apply(q, k, q));
      refused(
          "gates has shape [9, 5], must broadcast to [2, 4, 5, 9]",
          () -> full.gates(normal(scope, "gates", 9, 5)).apply(q, k, k));
      refused(
          "q has shape [2, 5, 4, 8], must be [1 with starts",
          () -> full.packed(starts, starts).apply(q, k, k));
      refused(
          "kStarts has shape [2], qStarts has [3]",
          () -> full.packed(starts, scope.indices(Shape.of(2), 0, 5)).apply(one, one, one));
      refused(
          "q_starts[2] = 5 must not be below 7",
          () -> {
            Tensor falling = scope.indices(Shape.of(3), 0, 7, 5);
            full.packed(falling, starts).apply(one, one, one);
          },
          name);
      refused("3 inputs, not 4", () -> full.mask(mask).op().apply(q, k, k));
    }
  }

  private static void refused(String part, Runnable call) {
    String message = assertThrows(IllegalArgumentException.class, call::run).getMessage();
    assertTrue(message.startsWith("attention: "), message);
    assertTrue(message.contains(part), message);
  }

  /** The values of starts are the library's to refuse; plain loops have words of their own. */
  private static void refused(String part, Runnable call, String device) {
    var e = assertThrows(IllegalArgumentException.class, call::run);
    assertTrue(device.equals(TestDevices.PLAIN) || e.getMessage().contains(part), e.getMessage());
  }
}
