// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.op.Attention;
import ponder.op.Boundaries;
import ponder.op.Gru;
import ponder.op.Lstm;

/** Tensors of bf16 between casts: values, derivatives, and what they refuse. */
class Bf16Test {
  private static final String DEVICES = "ponder.TestDevices#names";

  /** Small whole numbers, which bf16 holds exactly. */
  private static Tensor whole(Scope scope, DType type, long rows, long cols) {
    int size = (int) (rows * cols);
    double[] values = IntStream.range(0, size).mapToDouble(i -> i * 5 % 7 - 3).toArray();
    return scope.tensor(Shape.of(rows, cols), values).cast(type);
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void castsRoundOnceAndTheirDerivativesAreCastBack(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      // Halfway between two numbers of bf16, and above the half by less than a float can hold.
      Tensor x = scope.tensor(Shape.of(3), 1 + 0x1p-8, 1 + 0x1p-8 + 0x1p-40, -0.3);
      Tensor y = x.cast(DType.BF16);
      assertEquals(DType.BF16, y.dtype());
      assertEquals(6, y.bytes());
      assertArrayEquals(new double[] {1, 1 + 0x1p-7, -0.30078125}, y.toDoubles());
      Tensor dx = Gradient.of(y.cast(DType.F64).mul(x), x)[0];
      assertArrayEquals(new double[] {2 + 0x1p-7, 2 + 0x1p-6, -0.6015625}, dx.toDoubles(), 0x1p-7);
      assertEquals(DType.F64, dx.dtype());
    }
  }

  /** Sums of whole numbers up to 256 are exact, so that no rounding hides a lost term. */
  @ParameterizedTest
  @MethodSource(DEVICES)
  void derivativesThroughEveryMoveAndProductAreThoseOfDoubles(String name) {
    Function<Tensor, Tensor> f =
        x -> {
          Tensor twice = x.matmul(x, false, true).matmul(x);
          Tensor moved = x.swapAxes(0, 1).slice(0, 1, 2).pad(0, 1, 4).concat(x.reshape(4, 3), 0);
          Tensor rows = moved.matmul(x.slice(1, 0, 2).reshape(3, 2));
          return rows.reshape(16)
              .broadcast(0, 2)
              .slice(1, 0, 12)
              .reshape(2, 3, 4)
              .matmul(twice, false, true)
              .reshape(18);
        };
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor wide = whole(scope, DType.F64, 3, 4);
      Tensor half = whole(scope, DType.BF16, 3, 4);
      // Only derivatives of the parts are small enough to be exact.
      Tensor ofWide = Gradient.of(wide.matmul(wide, false, true), wide)[0];
      Tensor ofHalf = Gradient.of(half.matmul(half, false, true), half)[0];
      assertEquals(DType.BF16, ofHalf.dtype());
      assertArrayEquals(ofWide.toDoubles(), ofHalf.toDoubles());
      Function<Tensor, Tensor> moves =
          x ->
              x.swapAxes(0, 1)
                  .slice(0, 1, 2)
                  .pad(0, 1, 4)
                  .concat(x.reshape(4, 3), 0)
                  .broadcast(0, 2);
      assertArrayEquals(
          Gradient.of(moves.apply(wide), wide)[0].toDoubles(),
          Gradient.of(moves.apply(half), half)[0].toDoubles());
      double[] answer = Gradient.of(f.apply(wide), wide)[0].toDoubles();
      double[] got = Gradient.of(f.apply(half), half)[0].toDoubles();
      assertTrue(distance(answer, got) < 0x1p-6, () -> "off by " + distance(answer, got));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void attentionHasFirstAndSecondDerivatives(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Shape shape = Shape.of(2, 5, 2, 8);
      Tensor wide =
          scope.tensor(shape, Key.of(4).normalFloats(160)).cast(DType.BF16).cast(DType.F64);
      Tensor half = wide.cast(DType.BF16);
      Function<Tensor, Tensor> f =
          x -> {
            Tensor y = Attention.causal().apply(x, x, x).cast(DType.F64);
            return y.mul(y);
          };
      double[] first = Gradient.of(f.apply(wide), wide)[0].toDoubles();
      double[] got = Gradient.of(f.apply(half), half)[0].toDoubles();
      assertTrue(distance(first, got) < 0x1p-6, () -> "off by " + distance(first, got));
      Function<Tensor, double[]> second =
          x -> {
            Tensor slope = Gradient.ofAgain(f.apply(x), x)[0].cast(DType.F64);
            return Gradient.of(slope.mul(slope), x)[0].toDoubles();
          };
      double[] again = second.apply(wide);
      double[] gotAgain = second.apply(half);
      assertTrue(distance(again, gotAgain) < 0x1p-5, () -> "off by " + distance(again, gotAgain));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void recurrentCellsHaveFirstAndSecondDerivatives(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor wide = random(scope, 5, 2, 5, 4, 8).cast(DType.BF16).cast(DType.F64);
      Function<Tensor, Tensor> f =
          x -> {
            DType type = x.dtype();
            Tensor weight = random(scope, 6, 4, 8, 8).cast(type);
            Tensor bias = random(scope, 7, 4, 8).cast(type.sums());
            Tensor cell = random(scope, 8, 2, 8).cast(type.sums());
            Tensor hidden = cell.cast(type);
            Lstm.States states = Lstm.states(x, weight, bias, hidden, cell, Boundaries.none());
            Tensor reset =
                Gru.gru(x.slice(2, 0, 3), weight.slice(0, 1, 3), bias.slice(0, 1, 3), hidden);
            return squares(states.hidden()).add(squares(states.lastCell())).add(squares(reset));
          };
      Tensor half = wide.cast(DType.BF16);
      double[] first = Gradient.of(f.apply(wide), wide)[0].toDoubles();
      double[] got = Gradient.of(f.apply(half), half)[0].toDoubles();
      assertTrue(distance(first, got) < 0x1p-6, () -> "off by " + distance(first, got));
      Function<Tensor, double[]> second =
          x -> Gradient.of(squares(Gradient.ofAgain(f.apply(x), x)[0]), x)[0].toDoubles();
      double[] again = second.apply(wide);
      double[] gotAgain = second.apply(half);
      assertTrue(distance(again, gotAgain) < 0x1p-5, () -> "off by " + distance(again, gotAgain));
    }
  }

  private static Tensor random(Scope scope, long seed, long... dims) {
    Shape shape = Shape.of(dims);
    float[] values = Key.of(seed).normalFloats((int) shape.size());
    for (int i = 0; i < values.length; i++) values[i] *= 0.5f;
    return scope.tensor(shape, values);
  }

  private static Tensor squares(Tensor x) {
    Tensor wide = x.cast(DType.F64);
    return wide.mul(wide).sum();
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void arithmeticWantsACast(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor half = whole(scope, DType.BF16, 2, 3);
      for (Runnable wrong :
          new Runnable[] {
            half::exp, half::sum, () -> half.add(half), () -> half.scale(2), () -> half.largest(0)
          }) {
        var e = assertThrows(IllegalArgumentException.class, wrong::run);
        assertTrue(e.getMessage().endsWith("is BF16, must be F32 or F64"), e.getMessage());
      }
      Tensor index = scope.indices(Shape.of(2), 0, 1);
      assertThrows(IllegalArgumentException.class, () -> index.cast(DType.F32));
      assertThrows(IllegalArgumentException.class, () -> half.cast(DType.I32));
      Tensor wide = whole(scope, DType.F32, 3, 2);
      var e = assertThrows(IllegalArgumentException.class, () -> half.matmul(wide));
      assertEquals("matmul: b is F32, must be BF16", e.getMessage());
    }
  }

  /** The norm of the difference as a share of the answer's norm. */
  private static double distance(double[] answer, double[] got) {
    double off = 0;
    double norm = 0;
    for (int i = 0; i < answer.length; i++) {
      off += (got[i] - answer[i]) * (got[i] - answer[i]);
      norm += answer[i] * answer[i];
    }
    return Math.sqrt(off / norm);
  }
}
