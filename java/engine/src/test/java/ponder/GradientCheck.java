// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.function.Function;

/**
 * Compares derivatives in F64 with central differences. The function's value is made a number by a
 * weighted sum with fixed weights, so that every element counts differently.
 */
public final class GradientCheck {
  private static final double STEP = 1e-5;

  private GradientCheck() {}

  /** Checks first derivatives by {@code of} and {@code ofAgain}, and second ones. */
  public static void check(Device device, Function<Tensor[], Tensor> f, Tensor... xs) {
    first(device, f, xs);
    second(device, f, xs);
  }

  /** Checks first derivatives by {@code of} and {@code ofAgain}. */
  public static void first(Device device, Function<Tensor[], Tensor> f, Tensor... xs) {
    double[][] expected = differences(device, ys -> weighted(f.apply(ys)).item(), xs);
    try (Scope _ = device.open()) {
      Tensor y = weighted(f.apply(xs));
      compare("of", expected, Gradient.of(y, xs), xs);
      compare("ofAgain", expected, Gradient.ofAgain(y, xs), xs);
    }
  }

  /** Checks that derivatives of a weighted sum of first derivatives are right. */
  public static void second(Device device, Function<Tensor[], Tensor> f, Tensor... xs) {
    double[][] expected =
        differences(device, ys -> combine(Gradient.of(weighted(f.apply(ys)), ys)).item(), xs);
    try (Scope _ = device.open()) {
      Tensor[] first = Gradient.ofAgain(weighted(f.apply(xs)), xs);
      compare("of after ofAgain", expected, Gradient.of(combine(first), xs), xs);
    }
  }

  private static Tensor combine(Tensor[] parts) {
    Tensor sum = null;
    for (Tensor part : parts) {
      Tensor one = weighted(part);
      sum = sum == null ? one : sum.add(one);
    }
    return sum;
  }

  /** Returns the sum of a tensor's elements with weights between 0.5 and 1.5. */
  private static Tensor weighted(Tensor y) {
    double[] weights = new Key(y.size()).uniformDoubles((int) y.size());
    for (int i = 0; i < weights.length; i++) {
      weights[i] += 0.5;
    }
    Scope scope = y.device().innermost("weights");
    return y.mul(scope.tensor(y.shape(), weights)).sum();
  }

  private static double[][] differences(Device device, Function<Tensor[], Double> f, Tensor... xs) {
    double[][] slopes = new double[xs.length][];
    for (int j = 0; j < xs.length; j++) {
      slopes[j] = new double[(int) xs[j].size()];
      double[] x = xs[j].toDoubles();
      for (int i = 0; i < x.length; i++) {
        double at = x[i];
        double step = STEP * Math.max(1, Math.abs(at));
        double[] values = new double[2];
        for (int side = 0; side < 2; side++) {
          try (Scope scope = device.open()) {
            x[i] = side == 0 ? at + step : at - step;
            Tensor[] moved = xs.clone();
            moved[j] = scope.tensor(xs[j].shape(), x);
            values[side] = f.apply(moved);
          }
        }
        x[i] = at;
        slopes[j][i] = (values[0] - values[1]) / (2 * step);
      }
    }
    return slopes;
  }

  private static void compare(String what, double[][] expected, Tensor[] got, Tensor[] xs) {
    for (int j = 0; j < xs.length; j++) {
      assertEquals(xs[j].shape(), got[j].shape());
      double[] values = got[j].toDoubles();
      double largest = 1;
      for (double e : expected[j]) {
        largest = Math.max(largest, Math.abs(e));
      }
      for (int i = 0; i < values.length; i++) {
        double error = Math.abs(values[i] - expected[j][i]);
        assertTrue(
            error <= 1e-8 * largest,
            what
                + ": derivative by x"
                + j
                + "["
                + i
                + "] is "
                + values[i]
                + ", differences give "
                + expected[j][i]);
      }
    }
  }
}
