// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.function.DoubleBinaryOperator;
import java.util.function.DoubleUnaryOperator;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every primitive: its values against plain loops, its derivatives against differences. */
class PrimitiveTest {
  private static final String DEVICES = "ponder.TestDevices#names";

  private static Tensor normal(Scope scope, String name, long... dims) {
    Shape shape = Shape.of(dims);
    return scope.tensor(shape, Key.of(1).split(name).normalDoubles((int) shape.size()));
  }

  /** Numbers in [0.5, 1.5), where powers and logarithms are defined. */
  private static Tensor positive(Scope scope, String name, long... dims) {
    Shape shape = Shape.of(dims);
    double[] values = Key.of(2).split(name).uniformDoubles((int) shape.size());
    for (int i = 0; i < values.length; i++) {
      values[i] += 0.5;
    }
    return scope.tensor(shape, values);
  }

  private static void maps(Tensor x, UnaryOperator<Tensor> op, DoubleUnaryOperator f) {
    double[] expected = x.toDoubles();
    for (int i = 0; i < expected.length; i++) {
      expected[i] = f.applyAsDouble(expected[i]);
    }
    assertArrayEquals(expected, op.apply(x).toDoubles(), 1e-14);
    GradientCheck.check(x.device(), in -> op.apply(in[0]), x);
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void pointwiseOps(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = normal(scope, "x", 3, 7);
      maps(x, t -> t.affine(2.5, -0.5), v -> 2.5 * v - 0.5);
      maps(x, t -> t.scale(-3), v -> -3 * v);
      maps(x, Tensor::neg, v -> -v);
      maps(x, Tensor::exp, Math::exp);
      maps(x, Tensor::tanh, Math::tanh);
      maps(x, Tensor::sigmoid, v -> 1 / (1 + Math.exp(-v)));
      maps(positive(scope, "p", 17), Tensor::log, Math::log);
      maps(x, Tensor::alias, v -> v);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void powers(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = positive(scope, "x", 2, 5);
      for (double p : new double[] {-2, -1, -0.5, 0, 0.5, 1, 2, 3, 2.5, -1.25}) {
        maps(x, t -> t.power(p), v -> Math.pow(v, p));
      }
      Tensor negative = x.neg();
      for (double p : new double[] {-2, -1, 0, 1, 2, 3}) {
        maps(negative, t -> t.power(p), v -> Math.pow(v, p));
      }
    }
  }

  private interface Tensors extends java.util.function.BinaryOperator<Tensor> {}

  /** Checks an op over all the ways to repeat one side or both. */
  private static void broadcasts(Device device, Tensors op, DoubleBinaryOperator f) {
    long[][][] shapes = {
      {{2, 3, 5}, {2, 3, 5}},
      {{2, 3, 5}, {5}},
      {{2, 3, 5}, {3, 5}},
      {{2, 3, 5}, {2, 1, 5}},
      {{2, 3, 5}, {2, 3, 1}},
      {{2, 3, 5}, {1, 3, 1}},
      {{2, 3, 5}, {2, 1, 1}},
      {{2, 3, 5}, {1, 1, 1}},
      {{2, 3, 5}, {}},
      {{2, 1, 5}, {1, 5}},
      {{2, 1, 5}, {2, 3, 1}},
      {{5}, {2, 3, 5}},
      {{3, 1}, {2, 1, 5}},
      {{}, {7}},
      {{1}, {1, 1}},
      {{2, 3, 2, 3}, {2, 1, 2, 1}},
      {{2, 3, 2, 3}, {1, 3, 1, 3}},
      {{33}, {33}},
    };
    for (long[][] pair : shapes) {
      try (Scope scope = device.open()) {
        Tensor a = positive(scope, "a", pair[0]);
        Tensor b = positive(scope, "b", pair[1]);
        Tensor y = op.apply(a, b);
        double[] expected = loop(a, b, y.shape(), f);
        assertArrayEquals(expected, y.toDoubles(), 1e-14, a + " " + b);
        GradientCheck.check(device, in -> op.apply(in[0], in[1]), a, b);
      }
    }
  }

  private static double[] loop(Tensor a, Tensor b, Shape y, DoubleBinaryOperator f) {
    double[] as = a.toDoubles();
    double[] bs = b.toDoubles();
    double[] ys = new double[(int) y.size()];
    for (int i = 0; i < ys.length; i++) {
      ys[i] = f.applyAsDouble(as[at(a.shape(), y, i)], bs[at(b.shape(), y, i)]);
    }
    return ys;
  }

  /** Returns the place in a repeated shape that element i of the whole shape reads. */
  private static int at(Shape part, Shape whole, int i) {
    int place = 0;
    int stride = 1;
    for (int axis = 1; axis <= whole.rank(); axis++) {
      int index = (int) (i % whole.dim(-axis));
      i /= (int) whole.dim(-axis);
      if (axis <= part.rank()) {
        place += part.dim(-axis) == 1 ? 0 : index * stride;
        stride *= (int) part.dim(-axis);
      }
    }
    return place;
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void binaryOps(String name) {
    try (Device device = TestDevices.open(name)) {
      broadcasts(device, Tensor::add, (a, b) -> a + b);
      broadcasts(device, Tensor::sub, (a, b) -> a - b);
      broadcasts(device, Tensor::mul, (a, b) -> a * b);
      broadcasts(device, Tensor::div, (a, b) -> a / b);
      broadcasts(device, Tensor::maximum, Math::max);
      broadcasts(device, Tensor::greater, (a, b) -> a > b ? 1 : 0);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void theDerivativeOfAMaximumOfEqualsGoesToTheFirst(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor a = scope.tensor(Shape.of(3), 1.0, 2.0, 3.0);
      Tensor b = scope.tensor(Shape.of(3), 1.0, 3.0, 2.0);
      Tensor[] d = Gradient.of(a.maximum(b), a, b);
      assertArrayEquals(new double[] {1, 0, 1}, d[0].toDoubles());
      assertArrayEquals(new double[] {0, 1, 0}, d[1].toDoubles());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void sumsMeansAndLargest(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = normal(scope, "x", 3, 4, 5);
      double[] v = x.toDoubles();
      for (int axis = -3; axis < 3; axis++) {
        int first = Math.floorMod(axis, 3);
        int inner = (int) x.shape().product(first + 1, 3);
        int mid = (int) x.shape().dim(axis);
        double[] sums = new double[v.length / mid];
        double[] largest = new double[v.length / mid];
        java.util.Arrays.fill(largest, Double.NEGATIVE_INFINITY);
        for (int i = 0; i < v.length; i++) {
          int to = i / (inner * mid) * inner + i % inner;
          sums[to] += v[i];
          largest[to] = Math.max(largest[to], v[i]);
        }
        int along = axis;
        assertArrayEquals(sums, x.sum(axis).toDoubles(), 1e-14);
        assertArrayEquals(largest, x.largest(axis).toDoubles());
        assertEquals(x.shape().without(axis), x.sum(axis).shape());
        GradientCheck.check(device, in -> in[0].sum(along).power(2), x);
        GradientCheck.check(device, in -> in[0].mean(along).power(2), x);
        GradientCheck.check(device, in -> in[0].largest(along).power(2), x);
      }
      assertEquals(java.util.Arrays.stream(v).sum(), x.sum().item(), 1e-13);
      assertEquals(java.util.Arrays.stream(v).sum() / v.length, x.mean().item(), 1e-13);
      assertEquals(Shape.scalar(), x.mean().shape());
      GradientCheck.check(device, in -> in[0].mean().power(3), x);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void equalLargestElementsShareTheDerivative(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = scope.tensor(Shape.of(2, 3), 5.0, 5.0, 1.0, 0.0, -1.0, -2.0);
      double[] dx = Gradient.of(x.largest(1), x)[0].toDoubles();
      assertArrayEquals(new double[] {0.5, 0.5, 0, 1, 0, 0}, dx);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void repeating(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = normal(scope, "x", 2, 3);
      for (int axis = -3; axis <= 2; axis++) {
        int along = axis;
        Tensor y = x.broadcast(axis, 4);
        assertEquals(x.shape().insert(axis, 4), y.shape());
        Tensor mean = y.mean(axis < 0 ? axis : axis);
        assertArrayEquals(x.toDoubles(), mean.toDoubles(), 1e-15);
        GradientCheck.check(device, in -> in[0].broadcast(along, 4).power(2), x);
      }
      Tensor wide = normal(scope, "w", 2, 1, 3).broadcastTo(Shape.of(5, 2, 4, 3));
      assertEquals(Shape.of(5, 2, 4, 3), wide.shape());
      GradientCheck.check(
          device,
          in -> in[0].broadcastTo(Shape.of(5, 2, 4, 3)).power(2),
          normal(scope, "w", 2, 1, 3));
      Tensor indices = scope.indices(Shape.of(2), 3, 4).broadcast(0, 2);
      assertArrayEquals(new int[] {3, 4, 3, 4}, indices.toInts());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void movingElements(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor x = normal(scope, "x", 2, 3, 4, 5);
      double[] v = x.toDoubles();
      for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
          int first = i;
          int second = j;
          Tensor y = x.swapAxes(i, j);
          assertEquals(x.shape().dim(i), y.shape().dim(j));
          assertArrayEquals(v, y.swapAxes(i, j).toDoubles());
          GradientCheck.first(device, in -> in[0].swapAxes(first, second).power(2), x);
        }
      }
      double[] swapped = x.swapAxes(1, 3).toDoubles();
      assertEquals(v[((1 * 3 + 2) * 4 + 3) * 5 + 4], swapped[((1 * 5 + 4) * 4 + 3) * 3 + 2]);
      GradientCheck.check(device, in -> in[0].swapAxes(1, -1).power(2), x);

      Tensor part = x.slice(2, 1, 2);
      assertEquals(Shape.of(2, 3, 2, 5), part.shape());
      assertEquals(v[((1 * 3 + 2) * 4 + 1) * 5 + 4], part.toDoubles()[((1 * 3 + 2) * 2) * 5 + 4]);
      assertArrayEquals(part.toDoubles(), part.pad(2, 1, 4).slice(2, 1, 2).toDoubles());
      double sum = java.util.Arrays.stream(part.toDoubles()).sum();
      assertEquals(sum, part.pad(-2, 1, 7).sum().item(), 1e-13);
      GradientCheck.check(device, in -> in[0].slice(-2, 1, 2).power(2), x);
      GradientCheck.check(device, in -> in[0].pad(-2, 2, 7).affine(1, 1).power(2), x);

      Tensor joined = x.slice(1, 0, 1).concat(x.slice(1, 1, 2), 1);
      assertArrayEquals(v, joined.toDoubles());
      GradientCheck.check(
          device, in -> in[0].concat(in[1], -1).power(2), x, normal(scope, "y", 2, 3, 4, 2));

      assertArrayEquals(v, x.reshape(6, 20).toDoubles());
      GradientCheck.check(device, in -> in[0].reshape(6, 20).power(2), x);
      Tensor indices = scope.indices(Shape.of(2, 2), 1, 2, 3, 4);
      assertArrayEquals(new int[] {1, 3, 2, 4}, indices.swapAxes(0, 1).toInts());
      assertArrayEquals(new int[] {2, 4}, indices.slice(1, 1, 1).toInts());
      assertArrayEquals(new int[] {0, 1, 2, 0, 3, 4}, indices.pad(1, 1, 3).toInts());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void rowsByIndex(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Tensor table = normal(scope, "table", 4, 3);
      Tensor index = scope.indices(Shape.of(2, 3), 3, 0, 3, 1, 1, 3);
      Tensor rows = table.gather(index);
      assertEquals(Shape.of(2, 3, 3), rows.shape());
      double[] t = table.toDoubles();
      double[] r = rows.toDoubles();
      for (int i = 0; i < 6; i++) {
        for (int c = 0; c < 3; c++) {
          assertEquals(t[index.toInts()[i] * 3 + c], r[i * 3 + c]);
        }
      }
      GradientCheck.check(device, in -> in[0].gather(index).power(2), table);
      assertArrayEquals(
          new double[] {1, 2, 0, 3},
          scope.full(DType.F64, index.shape(), 1).scatterAdd(index, 4).toDoubles());
      GradientCheck.check(
          device, in -> in[0].scatterAdd(index, 5).power(2), normal(scope, "x", 2, 3, 2));
      Tensor hot = scope.indices(Shape.of(3), 1, -1, 0).oneHot(DType.F64, 2);
      assertArrayEquals(new double[] {0, 1, 0, 0, 1, 0}, hot.toDoubles());
      assertEquals(Shape.of(3, 2), hot.shape());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void matrixProducts(String name) {
    try (Device device = TestDevices.open(name);
        Scope _ = device.open()) {
      for (boolean at : new boolean[] {false, true}) {
        for (boolean bt : new boolean[] {false, true}) {
          product(device, at, bt, at ? shape(3, 2) : shape(2, 3), bt ? shape(5, 3) : shape(3, 5));
          product(
              device,
              at,
              bt,
              at ? shape(4, 3, 2) : shape(4, 2, 3),
              bt ? shape(4, 5, 3) : shape(4, 3, 5));
          product(
              device,
              at,
              bt,
              at ? shape(2, 2, 3, 1) : shape(2, 2, 1, 3),
              bt ? shape(2, 2, 7, 3) : shape(2, 2, 3, 7));
        }
        product(device, false, at, shape(2, 3, 4, 5), at ? shape(6, 5) : shape(5, 6));
      }
    }
  }

  private static Shape shape(long... dims) {
    return Shape.of(dims);
  }

  private static void product(Device device, boolean at, boolean bt, Shape a, Shape b) {
    try (Scope scope = device.open()) {
      Tensor x = normal(scope, "a", a.dims());
      Tensor w = normal(scope, "b", b.dims());
      Function<Tensor[], Tensor> f = in -> in[0].matmul(in[1], at, bt);
      Tensor y = f.apply(new Tensor[] {x, w});
      // The same by a sum of products over an axis that both share.
      Tensor left = (at ? x.swapAxes(-1, -2) : x).broadcast(-1, y.shape().dim(-1));
      Tensor right = (bt ? w.swapAxes(-1, -2) : w).broadcast(-3, y.shape().dim(-2));
      double[] expected = left.mul(right).sum(-2).toDoubles();
      assertArrayEquals(expected, y.toDoubles(), 1e-13);
      GradientCheck.check(device, in -> f.apply(in).power(2), x, w);
    }
  }
}
