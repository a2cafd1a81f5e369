// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.lab.cities.City;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathTokens;

class LegalStepsTest {
  private static City at(double longitude) {
    return new City("place", "OH", 40, longitude, 1, "city");
  }

  /** On a line from west to east, places 0, 1, 2 and 3, each joined to the next. */
  private static CityGraph line(CityGraph.Orientation orientation) {
    return CityGraph.of(List.of(at(-84), at(-83), at(-82), at(-81)), 100, orientation);
  }

  private static float[] narrowed(
      CityGraph graph, boolean reversed, int source, int target, int... written) {
    float[] p = {9, .1f, .2f, .3f, 0, .4f, .5f, 9};
    PathTokens tokens = new PathTokens(4, reversed);
    int[] longer = Arrays.copyOf(written, written.length + 3);
    long operations =
        new LegalSteps(graph, tokens)
            .narrow(new int[] {source, target}, longer, written.length, p, 1, 6);
    int open = 0;
    for (int i = 1; i < 5; i++) {
      open += p[i] > 0 ? 1 : 0;
    }
    assertEquals(2 * open + 1, operations);
    assertEquals(9, p[0]);
    assertEquals(9, p[7]);
    return Arrays.copyOfRange(p, 1, 7);
  }

  @Test
  void onlyNeighboursMayFollow() {
    CityGraph both = line(CityGraph.Orientation.BOTH_WAYS);
    assertArrayEquals(new float[] {0, .2f, 0, 0, 0, 0}, narrowed(both, false, 0, 3));
    // A step that the model holds impossible stays possible.
    assertArrayEquals(
        new float[] {0, .2f, 0, Float.MIN_VALUE, 0, 0}, narrowed(both, false, 0, 3, 1, 2));
    CityGraph east = line(CityGraph.Orientation.WEST_TO_EAST);
    assertArrayEquals(
        new float[] {0, 0, 0, Float.MIN_VALUE, 0, 0}, narrowed(east, false, 0, 3, 1, 2));
  }

  @Test
  void theEndMayFollowTheTargetAlone() {
    CityGraph both = line(CityGraph.Orientation.BOTH_WAYS);
    assertArrayEquals(new float[] {0, 0, .3f, 0, .4f, 0}, narrowed(both, false, 0, 3, 1, 2, 3));
    assertArrayEquals(new float[] {.1f, 0, .3f, 0, 0, 0}, narrowed(both, false, 0, 3, 1));
  }

  @Test
  void aReversedPathGoesBackAlongTheEdges() {
    CityGraph east = line(CityGraph.Orientation.WEST_TO_EAST);
    assertArrayEquals(new float[] {0, 0, .3f, 0, 0, 0}, narrowed(east, true, 0, 3));
    assertArrayEquals(new float[] {.1f, 0, 0, 0, 0, 0}, narrowed(east, true, 0, 3, 2, 1));
    // Place 0 is where it began: nothing lies west of it, and the path may end.
    assertArrayEquals(new float[] {0, 0, 0, 0, .4f, 0}, narrowed(east, true, 0, 3, 2, 1, 0));
  }
}
