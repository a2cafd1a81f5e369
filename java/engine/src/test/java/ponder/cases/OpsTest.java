// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.GradientCheck;
import ponder.Op;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.Work;

/** What every op owes its definition, on plain loops and on the best library. */
class OpsTest {
  /** A probability below the least normal number may become 0: native/shared/formulas.h. */
  private static final double UNDERFLOW = 16 * Double.MIN_NORMAL;

  /** The cases of fused ops, each with the devices. */
  static Stream<Arguments> fused() {
    return withDevices(c -> c.op() != null && c.fused(c.calls(Type.F64).getFirst()) != null);
  }

  /** The cases of all ops, primitives included. */
  static Stream<Arguments> ops() {
    return withDevices(c -> c.op() != null);
  }

  private static Stream<Arguments> withDevices(java.util.function.Predicate<Case> chosen) {
    List<String> names = TestDevices.names();
    List<String> devices = Stream.of(names.getFirst(), names.getLast()).distinct().toList();
    return Cases.all().stream()
        .filter(chosen)
        .flatMap(c -> devices.stream().map(device -> Arguments.of(c, device)));
  }

  @ParameterizedTest
  @MethodSource("ops")
  void callsItsKernel(Case one, String name) {
    try (Device device = TestDevices.open(name)) {
      for (Type type : one.types().stream().filter(Type::isFloat).toList()) {
        for (Call call : one.calls(type)) {
          try (Scope scope = device.open()) {
            double[] got = one.op().of(call, Tensors.inputs(scope, call)).toDoubles();
            var expected = Answers.of(call).values().iterator().next();
            near(call.toString(), expected.limit(), expected.answer(), got, type);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("fused")
  void equalsItsDefinition(Case one, String name) {
    compare(one, name, (f, in) -> new Tensor[] {f.apply(in)});
  }

  @ParameterizedTest
  @MethodSource("fused")
  void itsBackwardKernelIsTheBackwardOfItsDefinition(Case one, String name) {
    compare(one, name, (f, in) -> Gradient.of(weighted(f.apply(in)), floats(in)));
  }

  @ParameterizedTest
  @MethodSource("fused")
  void oneDerivativeAloneIsTheOneAmongAll(Case one, String name) {
    try (Device device = TestDevices.open(name)) {
      for (Call call : one.calls(Type.F64)) {
        try (Scope scope = device.open()) {
          Tensor[] in = Tensors.inputs(scope, call);
          Tensor[] xs = floats(in);
          Tensor y = weighted(one.op().of(call, in));
          Tensor[] all = Gradient.of(y, xs);
          for (int i = 0; i < xs.length; i++) {
            near(
                call + ": derivative " + i,
                Limit.EXACT,
                all[i].toDoubles(),
                Gradient.of(y, xs[i])[0].toDoubles(),
                Type.F64);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("fused")
  void itsSecondDerivativesAreThoseOfItsDefinition(Case one, String name) {
    compare(
        one,
        name,
        (f, in) -> {
          Tensor[] xs = floats(in);
          return Gradient.of(combined(Gradient.ofAgain(weighted(f.apply(in)), xs)), xs);
        });
  }

  @ParameterizedTest
  @MethodSource("fused")
  void itsDerivativesAreDifferences(Case one, String name) {
    try (Device device = TestDevices.open(name)) {
      for (Call call : one.calls(Type.F64)) {
        try (Scope scope = device.open()) {
          Tensor[] in = Tensors.inputs(scope, call);
          Tensor[] xs = floats(in);
          long size = Stream.of(xs).mapToLong(Tensor::size).sum();
          if (size > 60 || call.turn() != Turn.RANDOM) continue;
          GradientCheck.check(device, ys -> one.op().of(call, replaced(in, ys)), xs);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("fused")
  void itsWorkIsCountedForwardAndBackward(Case one, String name) {
    try (Device device = TestDevices.open(name)) {
      for (Call call : one.calls(Type.F32)) {
        try (Scope scope = device.open()) {
          Tensor[] in = Tensors.inputs(scope, call);
          Tensor[] given = Stream.of(in).filter(Objects::nonNull).toArray(Tensor[]::new);
          Op.Fused op = one.fused(call);
          Work before = device.meter().total();
          Tensor y = one.op().of(call, in);
          assertEquals(op.work(given), device.meter().since(before), call.toString());
          before = device.meter().total();
          Gradient.of(y, floats(in));
          assertEquals(op.backwardWork(given), device.meter().since(before), call.toString());
          assertTrue(op.work(given).bytes() > 0, call.toString());
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("fused")
  void refusesShapesAndTypesThatDoNotFit(Case one, String name) {
    int refused = 0;
    try (Device device = TestDevices.open(name)) {
      for (Call call : one.calls(Type.F32)) {
        if (call.turn() != Turn.RANDOM) continue;
        try (Scope scope = device.open()) {
          Tensor[] in = Tensors.inputs(scope, call);
          for (int i = 0; i < in.length; i++) {
            if (in[i] == null) continue;
            for (Tensor wrong : wrong(scope, one, call, i, in[i])) {
              Tensor[] changed = in.clone();
              changed[i] = wrong;
              String what = call + ": input " + i + " as " + wrong;
              var e =
                  assertThrows(
                      IllegalArgumentException.class, () -> one.op().of(call, changed), what);
              assertTrue(e.getMessage().matches("[a-zA-Z]+: .*"), what + ": " + e.getMessage());
              refused++;
            }
          }
        }
      }
    }
    assertTrue(refused > 0, one.name());
  }

  /** Returns tensors that cannot stand in an input's place. */
  private static List<Tensor> wrong(Scope scope, Case one, Call call, int input, Tensor in) {
    var wrong = new ArrayList<Tensor>();
    String name = one.inputs().get(input);
    Type type = call.array(name).type();
    boolean index = type == Type.I32 || type == Type.I64;
    int size = (int) in.size();
    if (index) {
      wrong.add(scope.tensor(in.shape(), new float[size]));
    } else {
      wrong.add(scope.indices(in.shape(), new int[size]));
      if (floats(Tensors.inputs(scope, call)).length > 1) {
        wrong.add(scope.tensor(in.shape(), new double[size]));
      }
    }
    List<String> words = one.shape(name);
    for (int axis = 0; axis < words.size(); axis++) {
      String word = words.get(axis);
      boolean shared =
          Character.isDigit(word.charAt(0))
              || word.startsWith("mask_")
              || one.inputs().stream()
                  .filter(other -> call.array(other) != null && !other.equals(name))
                  .anyMatch(other -> one.shape(other).contains(word))
              || words.indexOf(word) != words.lastIndexOf(word);
      if (!shared) continue;
      Shape shape = in.shape().with(axis, in.shape().dim(axis) + 5);
      wrong.add(
          index
              ? scope.indices(shape, new int[(int) shape.size()])
              : scope.tensor(shape, new float[(int) shape.size()]));
    }
    return wrong;
  }

  // ---- comparing -------------------------------------------------------------------------------

  private interface Result {
    Tensor[] of(Function<Tensor[], Tensor> f, Tensor... in);
  }

  /**
   * Compares what follows from an op with what follows from its definition, in double. Where the
   * answer is what cancellation left over, neither knows it to 1e-12: how far the two in float are
   * from the definition in double, scaled to double's precision, tells how well they can, within a
   * few bits of luck. It is measured on the data and beside it, for on the data sums may be exact.
   */
  private static void compare(Case one, String name, Result result) {
    try (Device device = TestDevices.open(name)) {
      for (Call call : one.calls(Type.F64)) {
        try (Scope scope = device.open()) {
          Tensor[] in = Tensors.inputs(scope, call);
          Function<Tensor[], Tensor> kernel = xs -> one.op().of(call, xs);
          Tensor[] got = result.of(kernel, in);
          Function<Tensor[], Tensor> definition =
              xs ->
                  one.fused(call)
                      .definition(Stream.of(xs).filter(Objects::nonNull).toArray(Tensor[]::new));
          Tensor[] expected = result.of(definition, in);
          var distance = new double[got.length];
          for (int draw = 0; draw < 4; draw++) {
            Tensor[] beside = beside(scope, draw, in);
            Tensor[] single = as(scope, Type.F32, beside);
            Tensor[] wide = result.of(definition, beside);
            for (Function<Tensor[], Tensor> f : List.of(definition, kernel)) {
              Tensor[] narrow = result.of(f, single);
              for (int i = 0; i < got.length; i++) {
                double off = distance(narrow[i].toDoubles(), wide[i].toDoubles());
                distance[i] = Math.max(distance[i], off);
              }
            }
          }
          for (int i = 0; i < got.length; i++) {
            assertEquals(expected[i].shape(), got[i].shape());
            double[] answer = expected[i].toDoubles();
            near(
                call + ": result " + i,
                Limit.absolute(
                    1e-12 * Answers.largest(answer)
                        + 16 * distance[i] * Answers.DOUBLE_TO_FLOAT
                        + UNDERFLOW),
                answer,
                got[i].toDoubles(),
                Type.F64);
          }
        }
      }
    }
  }

  private static double distance(double[] a, double[] b) {
    double distance = 0;
    for (int i = 0; i < a.length; i++) {
      double one = Math.abs(a[i] - b[i]);
      if (Double.isFinite(one)) distance = Math.max(distance, one);
    }
    return distance;
  }

  /** Returns float tensors with numbers of F32 next to theirs, or in later draws close to them. */
  private static Tensor[] beside(Scope scope, int draw, Tensor... in) {
    var random = new SplittableRandom(draw);
    Tensor[] result = in.clone();
    for (int i = 0; i < in.length; i++) {
      if (in[i] == null || !in[i].dtype().isFloat()) continue;
      double[] values = in[i].toDoubles();
      for (int k = 0; k < values.length; k++) {
        values[k] = (float) (values[k] * (1 + (draw == 0 ? 0 : 0x1p-12) * random.nextDouble()));
      }
      result[i] = Tensors.of(scope, Type.F64, in[i].shape(), values);
    }
    return result;
  }

  /** Returns float tensors in another type. */
  private static Tensor[] as(Scope scope, Type type, Tensor... in) {
    Tensor[] result = in.clone();
    for (int i = 0; i < in.length; i++) {
      if (in[i] == null || !in[i].dtype().isFloat()) continue;
      result[i] = Tensors.of(scope, type, in[i].shape(), in[i].toDoubles());
    }
    return result;
  }

  private static void near(String what, Limit limit, double[] answer, double[] got, Type type) {
    Array array = Array.empty(Array.Use.READ, type, new long[] {got.length});
    for (int i = 0; i < got.length; i++) array.set(i, got[i]);
    assertEquals(answer.length, got.length, what);
    String wrong = limit.refuse(array, answer);
    assertTrue(wrong == null, what + ": " + wrong);
  }

  private static Tensor[] floats(Tensor... in) {
    return Stream.of(in).filter(t -> t != null && t.dtype().isFloat()).toArray(Tensor[]::new);
  }

  private static Tensor[] replaced(Tensor[] in, Tensor[] floats) {
    Tensor[] result = in.clone();
    int next = 0;
    for (int i = 0; i < in.length; i++) {
      if (in[i] != null && in[i].dtype().isFloat()) result[i] = floats[next++];
    }
    return result;
  }

  /** Returns the sum of the elements, every one with a weight of its own. */
  private static Tensor weighted(Tensor y) {
    double[] weights = new SplittableRandom(y.size()).doubles(y.size(), -1, 1).toArray();
    for (int i = 0; i < weights.length; i++) weights[i] = (float) weights[i];
    Type type = y.dtype() == DType.F32 ? Type.F32 : Type.F64;
    return y.mul(Tensors.of(y.device().scope(), type, y.shape(), weights)).sum();
  }

  private static Tensor combined(Tensor[] parts) {
    Tensor sum = weighted(parts[0]);
    for (int i = 1; i < parts.length; i++) sum = sum.add(weighted(parts[i]));
    return sum;
  }
}
