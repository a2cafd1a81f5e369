// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class CurveTest {
  private static final double[] FLOPS = {1, 4, 16, 64};

  private static Curve curve(int... right) {
    return Curves.of("model", "method", 1, 1e9, FLOPS, 10, right);
  }

  private static double flopsAt(double level, int... right) {
    Curve curve = curve(right);
    return curve.flopsAt(level, curve.accuracy());
  }

  @Test
  void flopsAreReadFromTheLineInTheirLogarithm() {
    assertEquals(4, flopsAt(0.4, 2, 4, 6, 8), 1e-12);
    assertEquals(8, flopsAt(0.5, 2, 4, 6, 8), 1e-12);
    assertEquals(16 * Math.pow(4, 0.75), flopsAt(0.75, 2, 4, 6, 8), 1e-9);
    assertEquals(64, flopsAt(0.8, 2, 4, 6, 8), 1e-9);
  }

  @Test
  void aLevelThatIsNeverReachedHasNoFlops() {
    assertEquals(Double.NaN, flopsAt(0.81, 2, 4, 6, 8));
    assertEquals(Double.NaN, flopsAt(0.1, 0, 0, 0, 0));
  }

  @Test
  void aLevelReachedAtOnceHasTheFirstPointsFlops() {
    assertEquals(1, flopsAt(0.2, 2, 4, 6, 8));
    assertEquals(1, flopsAt(0.1, 2, 4, 6, 8));
    assertEquals(1, flopsAt(0, 0, 4, 6, 8));
  }

  @Test
  void aLaterFallIsIgnored() {
    assertEquals(flopsAt(0.3, 2, 4, 6, 8), flopsAt(0.3, 2, 4, 1, 0));
    // From the highest value so far, 0.4 at the fall's FLOPs, to 0.8.
    assertEquals(32, flopsAt(0.6, 2, 4, 1, 8), 1e-9);
  }

  @Test
  void accuracyIsTheShareOverSeedsAndQueries() {
    boolean[][][] right = {
      {{true, false, false, false, false}, {true, true, true, true, true}},
      {{true, true, false, false, false}, {true, true, true, false, false}}
    };
    double[] flops = {1, 2};
    Curve curve = new Curve("model", "method", 1, 1e9, new int[] {1, 2}, flops, flops, right);
    assertArrayEquals(new double[] {0.3, 0.8}, curve.accuracy());
    assertEquals(0.2, curve.worst(0));
    assertEquals(0.6, curve.worst(1));
    assertEquals(2, curve.seeds());
    assertEquals(5, curve.queries());
    assertEquals(2, curve.points());
  }

  @Test
  void aShareEqualToALevelReachesIt() {
    // The mean of the seeds' shares, 0.7 and 0.1 and 0.1, is 0.29999999999999993.
    boolean[][][] right = new boolean[3][1][10];
    for (int q = 0; q < 7; q++) {
      right[0][0][q] = true;
    }
    right[1][0][0] = true;
    right[2][0][0] = true;
    double[] one = {1};
    Curve curve = new Curve("model", "method", 1, 1e9, new int[] {1}, one, one, right);
    assertEquals(1, curve.flopsAt(0.3, curve.accuracy()));
  }

  @Test
  void refusesLengthsThatDifferAndFlopsWithoutALogarithm() {
    int[] spend = {1, 2};
    double[] two = {1, 2};
    boolean[][][] ragged = {{{true}, {true, false}}};
    boolean[][][] shorter = {{{true}}};
    boolean[][][] first = {{}, {{true}, {true}}};
    boolean[][][] none = {{{}, {}}};
    for (boolean[][][] right : new boolean[][][][] {ragged, shorter, first, none, {}}) {
      assertThrows(
          IllegalArgumentException.class,
          () -> new Curve("model", "method", 1, 1, spend, two, two, right));
    }
    boolean[][][] fits = {{{true}, {true}}};
    for (double flops : new double[] {0, -1, Double.NaN}) {
      assertThrows(
          IllegalArgumentException.class,
          () -> new Curve("model", "method", 1, 1, spend, new double[] {flops, 2}, two, fits));
    }
  }
}
