// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.op.Attention;
import ponder.op.Boundaries;
import ponder.op.Gru;
import ponder.op.Lstm;

/** What the header promises beyond values within a limit, on every build. */
class FactsTest {
  static List<String> builds() {
    return TestDevices.builds();
  }

  private static float[] normal(int seed, int count) {
    var random = new SplittableRandom(seed);
    var values = new float[count];
    for (int i = 0; i < count; i++) values[i] = (float) random.nextGaussian();
    return values;
  }

  private static Tensor tensor(Scope scope, int seed, long... dims) {
    Shape shape = Shape.of(dims);
    return scope.tensor(shape, normal(seed, (int) shape.size()));
  }

  @ParameterizedTest
  @MethodSource("builds")
  void sumsRunInThirtyTwoLanesFoldedByHalves(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      for (int n : new int[] {1, 3, 31, 32, 33, 301, 1001}) {
        float[] x = normal(n, 2 * n);
        var lanes = new float[32];
        for (int i = 0; i < n; i++) lanes[i % 32] += x[i];
        for (int width = 16; width > 0; width /= 2) {
          for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
        }
        // Along a row, and down a column of two.
        var columns = new float[2 * n];
        for (int i = 0; i < n; i++) columns[2 * i] = columns[2 * i + 1] = x[i];
        assertEquals(lanes[0], scope.tensor(Shape.of(2, n), x).sum(1).toFloats()[0]);
        float[] sums = scope.tensor(Shape.of(n, 2), columns).sum(0).toFloats();
        assertArrayEquals(new float[] {lanes[0], lanes[0]}, sums);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void anElementOfAProductIsOneChainOfFusedMultiplyAdds(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      for (int[] size : new int[][] {{1, 1, 1}, {7, 17, 33}, {33, 7, 301}, {65, 66, 130}}) {
        int rows = size[0];
        int cols = size[1];
        int inner = size[2];
        float[] a = normal(1, rows * inner);
        float[] b = normal(2, inner * cols);
        var expected = new float[rows * cols];
        for (int r = 0; r < rows; r++) {
          for (int c = 0; c < cols; c++) {
            float sum = 0;
            for (int k = 0; k < inner; k++) {
              sum = Math.fma(a[r * inner + k], b[k * cols + c], sum);
            }
            expected[r * cols + c] = sum;
          }
        }
        Tensor y =
            scope.tensor(Shape.of(rows, inner), a).matmul(scope.tensor(Shape.of(inner, cols), b));
        assertArrayEquals(expected, y.toFloats());
      }
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void rowsOfATableAreSummedInTheOrderOfTheirIndex(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      int count = 301;
      float[] x = normal(3, count * 5);
      var index = new int[count];
      var expected = new float[7 * 5];
      for (int n = 0; n < count; n++) {
        index[n] = n * n % 7;
        for (int c = 0; c < 5; c++) expected[index[n] * 5 + c] += x[n * 5 + c];
      }
      Tensor rows = scope.tensor(Shape.of(count, 5), x);
      Tensor table = rows.scatterAdd(scope.indices(Shape.of(count), index), 7);
      assertArrayEquals(expected, table.toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void aSequenceGoesOnFromItsCarriedStateBitForBit(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      for (int[] size : new int[][] {{1, 2, 1}, {3, 7, 5}, {2, 17, 33}, {17, 9, 64}}) {
        int batch = size[0];
        int steps = size[1];
        int width = size[2];
        Tensor x = tensor(scope, 1, batch, steps, 3, width);
        Tensor weight = tensor(scope, 2, 3, width, width).scale(0.3);
        Tensor bias = tensor(scope, 3, 3, width);
        Tensor initial = tensor(scope, 4, batch, width);
        for (boolean bounded : new boolean[] {false, true}) {
          Boundaries all = bounded ? bounds(scope, batch, steps, 0, steps) : Boundaries.none();
          float[] whole = Gru.gru(x, weight, bias, initial, all).toFloats();
          for (int first : new int[] {1, steps / 2, steps - 1}) {
            int rest = steps - first;
            Boundaries early = bounded ? bounds(scope, batch, steps, 0, first) : all;
            Tensor before = Gru.gru(x.slice(1, 0, first), weight, bias, initial, early);
            Tensor carried = before.slice(1, first - 1, 1).reshape(batch, width);
            Boundaries late = bounded ? bounds(scope, batch, steps, first, rest) : all;
            Tensor after = Gru.gru(x.slice(1, first, rest), weight, bias, carried, late);
            assertArrayEquals(whole, before.concat(after, 1).toFloats());
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void bothStatesOfAnLstmAreCarriedBitForBit(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      for (int[] size : new int[][] {{1, 2, 1}, {3, 7, 5}, {2, 17, 33}, {17, 9, 64}}) {
        int batch = size[0];
        int steps = size[1];
        int width = size[2];
        Tensor x = tensor(scope, 1, batch, steps, 4, width);
        Tensor weight = tensor(scope, 2, 4, width, width).scale(0.3);
        Tensor bias = tensor(scope, 3, 4, width);
        Tensor h = tensor(scope, 4, batch, width);
        Tensor c = tensor(scope, 5, batch, width);
        for (boolean bounded : new boolean[] {false, true}) {
          Boundaries all = bounded ? bounds(scope, batch, steps, 0, steps) : Boundaries.none();
          Lstm.States whole = Lstm.states(x, weight, bias, h, c, all);
          for (int first : new int[] {1, steps / 2, steps - 1}) {
            int rest = steps - first;
            Boundaries early = bounded ? bounds(scope, batch, steps, 0, first) : all;
            Lstm.States before = Lstm.states(x.slice(1, 0, first), weight, bias, h, c, early);
            Tensor carried = before.hidden().slice(1, first - 1, 1).reshape(batch, width);
            Boundaries late = bounded ? bounds(scope, batch, steps, first, rest) : all;
            Lstm.States after =
                Lstm.states(
                    x.slice(1, first, rest), weight, bias, carried, before.lastCell(), late);
            Tensor joined = before.hidden().concat(after.hidden(), 1);
            assertArrayEquals(whole.hidden().toFloats(), joined.toFloats());
            assertArrayEquals(whole.lastCell().toFloats(), after.lastCell().toFloats());
          }
        }
      }
    }
  }

  /** The derivative by the last cell is a kernel's, and its definition's. */
  @ParameterizedTest
  @MethodSource("builds")
  void theLastCellHasTheDerivativeOfItsDefinition(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      Key key = Key.of(5);
      Shape[] shapes = {
        Shape.of(3, 5, 4, 9), Shape.of(4, 9, 9), Shape.of(4, 9), Shape.of(3, 9), Shape.of(3, 9)
      };
      Tensor[] in = new Tensor[shapes.length];
      for (int i = 0; i < in.length; i++) {
        double[] values = key.split("in" + i).uniformDoubles((int) shapes[i].size());
        in[i] = scope.tensor(shapes[i], values).affine(1, -0.5);
      }
      for (boolean bounded : new boolean[] {false, true}) {
        Boundaries bounds = bounded ? bounds(scope, 3, 5, 0, 5) : Boundaries.none();
        Lstm.States states = Lstm.states(in[0], in[1], in[2], in[3], in[4], bounds);
        Tensor cell = states.lastCell();
        Tensor y = cell.mul(cell).sum().add(states.hidden().sum());
        Tensor[] found = Gradient.of(y, in);
        Tensor[] defined = Gradient.ofAgain(y, in);
        for (int i = 0; i < in.length; i++) {
          assertArrayEquals(defined[i].toDoubles(), found[i].toDoubles(), 1e-12);
        }
      }
    }
  }

  /** Returns the boundaries of sequences of many lengths, as {@code count} of their steps see them. */
  private static Boundaries bounds(Scope scope, int batch, int steps, int first, int count) {
    var resets = new int[batch * count];
    var lengths = new int[batch];
    for (int b = 0; b < batch; b++) {
      lengths[b] = Math.clamp((5L * b + 3) % (steps + 1) - first, 0, count);
      for (int t = 0; t < count; t++) resets[b * count + t] = (b + first + t) % 4 == 1 ? 1 : 0;
    }
    return Boundaries.none()
        .resets(scope.indices(Shape.of(batch, count), resets))
        .lengths(scope.indices(Shape.of(batch), lengths));
  }

  @ParameterizedTest
  @MethodSource("builds")
  void stepsBeyondASequencesEndAreNeverUsed(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      Tensor weight = tensor(scope, 2, 3, 9, 9).scale(0.3);
      Tensor bias = tensor(scope, 3, 3, 9);
      Tensor initial = tensor(scope, 4, 3, 9);
      Tensor lengths = scope.indices(Shape.of(3), 2, 0, 5);
      float[] x = normal(1, 3 * 5 * 27);
      float[][] results = new float[2][];
      for (int turn = 0; turn < 2; turn++) {
        Tensor in = scope.tensor(Shape.of(3, 5, 3, 9), x);
        Tensor y = Gru.gru(in, weight, bias, initial, Boundaries.none().lengths(lengths));
        Tensor[] d = Gradient.of(y, in, weight, bias, initial);
        Tensor again = Gradient.ofAgain(y, in)[0];
        assertArrayEquals(d[0].toFloats(), again.toFloats(), 1e-5f);
        results[turn] = y.concat(d[3].reshape(3, 1, 9), 1).toFloats();
        float[] dx = d[0].toFloats();
        for (int i = 0; i < x.length; i++) {
          int length = new int[] {2, 0, 5}[i / (5 * 27)];
          if (i / 27 % 5 < length) continue;
          assertEquals(0f, dx[i]);
          x[i] = Float.NaN;
        }
      }
      assertArrayEquals(results[0], results[1]);
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void keysThatNoQuerySeesAreNeverUsed(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      Tensor q = tensor(scope, 1, 2, 7, 3, 8);
      Tensor lengths = scope.indices(Shape.of(2), 5, 0);
      float[] k = normal(2, 2 * 9 * 3 * 8);
      float[] v = normal(3, 2 * 9 * 3 * 8);
      float[][] results = new float[2][];
      for (int turn = 0; turn < 2; turn++) {
        Tensor keys = scope.tensor(Shape.of(2, 9, 3, 8), k);
        Tensor values = scope.tensor(Shape.of(2, 9, 3, 8), v);
        Tensor out = Attention.full().scale(0.35).lengths(lengths).apply(q, keys, values);
        Tensor[] d = Gradient.of(out, q, keys, values);
        float[] dk = d[1].toFloats();
        float[] dv = d[2].toFloats();
        for (int i = 0; i < k.length; i++) {
          int batch = i / (9 * 3 * 8);
          int step = i / (3 * 8) % 9;
          if (step < (batch == 0 ? 5 : 0)) continue;
          assertEquals(0f, dk[i]);
          assertEquals(0f, dv[i]);
          k[i] = Float.NaN;
          v[i] = Float.POSITIVE_INFINITY;
        }
        results[turn] = out.concat(d[0], 0).toFloats();
      }
      assertArrayEquals(results[0], results[1]);
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void theDerivativesOfAQuerysScoresSumToZero(String build) {
    try (Device device = TestDevices.open(build);
        Scope scope = device.open()) {
      int keys = 65;
      Tensor q = tensor(scope, 1, 2, 33, 3, 16);
      Tensor k = tensor(scope, 2, 2, keys, 3, 16);
      Tensor v = tensor(scope, 3, 2, keys, 3, 16);
      Tensor mask = tensor(scope, 4, 2, 3, 33, keys);
      Tensor out = Attention.causal().scale(0.25).mask(mask).apply(q, k, v);
      // The derivative by a mask of full size is that by the scores.
      float[] scores = Gradient.of(out.mul(tensor(scope, 5, 2, 33, 3, 16)), mask)[0].toFloats();
      for (int row = 0; row < scores.length / keys; row++) {
        double sum = 0;
        double size = 0;
        for (int j = 0; j < keys; j++) {
          sum += scores[row * keys + j];
          size += Math.abs(scores[row * keys + j]);
        }
        assertTrue(Math.abs(sum) <= 1e-5 * size, row + ": " + sum + " of " + size);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("builds")
  void anAdamwStepIsWithinTwoUlp(String build) {
    try (var context = TestDevices.library(build).open(0, 1, 0)) {
      Case adamw = Cases.of("adamw");
      for (Call call : adamw.calls(Type.F32)) {
        var got = Player.play(context.kernels(), call);
        Answers.of(call)
            .forEach(
                (name, expected) -> {
                  for (int i = 0; i < expected.answer().length; i++) {
                    double answer = expected.answer()[i];
                    // Two of the value's and two of the move's, which is small where one trains.
                    double before = call.array(name).get(i);
                    float value = (float) Math.max(Math.abs(before), Math.abs(answer));
                    double limit = 2 * Math.ulp(value) + 2 * Math.ulp((float) (answer - before));
                    double off = Math.abs(got.get(name).get(i) - answer);
                    assertTrue(off <= limit, call + ": " + name + "[" + i + "] is off by " + off);
                  }
                });
      }
    }
  }

  @Test
  void aHundredRepeatsOnTwoThreadsHaveTheSameBits() {
    try (var context = TestDevices.library(TestDevices.builds().getLast()).open(0, 2, 0)) {
      for (String name : List.of("attention_backward", "gru_backward", "cross_entropy_backward")) {
        Call call = Cases.of(name).largeCalls(Type.F32).getFirst();
        var first = Player.play(context.kernels(), call);
        for (int turn = 1; turn < 100; turn++) {
          var again = Player.play(context.kernels(), call);
          for (String output : first.keySet()) {
            assertArrayEquals(first.get(output).content(), again.get(output).content(), output);
          }
        }
      }
    }
  }
}
