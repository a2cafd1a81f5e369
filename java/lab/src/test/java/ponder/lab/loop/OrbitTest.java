// SPDX-License-Identifier: Apache-2.0
package ponder.lab.loop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OrbitTest {
  private static final double TOLERANCE = 1e-3;

  private static Orbit orbit(int rounds, IntFunction<float[]> state) {
    return Orbit.of(IntStream.range(0, rounds).mapToObj(state).toList(), TOLERANCE);
  }

  private static Orbit of(float... states) {
    return orbit(states.length, r -> new float[] {states[r]});
  }

  /** Returns a point of the plane at a part of a turn. */
  private static float[] turned(double turns, double size) {
    double angle = 2 * Math.PI * turns;
    return new float[] {(float) (size * Math.cos(angle)), (float) (size * Math.sin(angle))};
  }

  @Test
  void aStateThatComesToRestIsAFixedPoint() {
    assertEquals(1, of(5, 5).period());
    assertEquals(1, of(1, 2, 3, 3).period());
    assertEquals(1, orbit(30, r -> new float[] {1, 2 + (float) Math.pow(0.5, r)}).period());
    assertEquals(1, orbit(8, r -> new float[3]).period());
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4, 7})
  void aTurnThatRepeatsIsACycle(int period) {
    for (int rounds = 2 * period; rounds < 5 * period; rounds++) {
      assertEquals(period, orbit(rounds, r -> turned(r / (double) period, 1)).period());
    }
    // Spiralling towards the cycle.
    assertEquals(
        period, orbit(99, r -> turned(r / (double) period, 1 + Math.pow(0.5, r))).period());
  }

  @Test
  void aCycleOfMoreThanHalfTheRoundsIsNotSeen() {
    assertEquals(0, of(1, 2, 3, 1, 2).period());
    assertEquals(3, of(1, 2, 3, 1, 2, 3).period());
  }

  @Test
  void aDriftIsNeither() {
    // Twice the tolerance in each round, of a state of length 10.
    assertEquals(0, orbit(40, r -> new float[] {10, 0.02f * r}).period());
    // A turn that never closes.
    assertEquals(0, orbit(40, r -> turned(r * (Math.sqrt(5) - 1) / 2, 1)).period());
    // A cycle of 2 whose amplitude grows.
    assertEquals(0, orbit(40, r -> turned(r / 2.0, Math.pow(1.1, r))).period());
  }

  @Test
  void aStatePassedOnceAgainIsNoCycle() {
    // The last state was there three rounds ago; the way there was another.
    assertEquals(0, of(9, 8, 1, 4, 3, 1).period());
    // Back the way it came.
    assertEquals(0, of(1, 2, 3, 4, 3, 2).period());
  }

  @Test
  void residualsAreRelativeToTheLaterState() {
    Orbit orbit =
        Orbit.of(
            List.of(new float[] {3, 0}, new float[] {3, 4}, new float[] {3, 4}, new float[2]), 0);
    double[] expected = {0.8, 0, Double.POSITIVE_INFINITY};
    assertArrayEquals(expected, orbit.residuals(), 1e-15);
    assertEquals(0, orbit.period());
  }

  @Test
  void aStateThatIsNoNumberIsNeither() {
    assertEquals(0, of(1, Float.NaN, Float.NaN, Float.NaN).period());
  }

  @Test
  void refusesFewerThanTwoStates() {
    for (int rounds = 0; rounds < 2; rounds++) {
      int n = rounds;
      String message =
          assertThrows(IllegalArgumentException.class, () -> orbit(n, r -> new float[] {1}))
              .getMessage();
      assertTrue(message.contains(n + " states"), message);
    }
  }
}
