// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.Key;
import ponder.lab.cities.Cities;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;

/** The batches of a run that goes on are those of one that was not stopped. */
class PathBatchesTest {
  private static final Key KEY = Key.of(3);
  private static final int BATCHES = 100;

  /** Among 40 cities a pool of paths takes several passes, among 300 a pass takes many pools. */
  private static PathTable table(int cities) {
    return PathTable.of(
        CityGraph.of(
            Cities.embedded().subList(0, cities),
            CityGraph.EMBEDDED_RADIUS_KILOMETRES,
            CityGraph.Orientation.BOTH_WAYS));
  }

  private static PathBatches batches(PathTable table, int rows) {
    Split split = Split.named("ordered", table, KEY, Split.Shares.USUAL);
    PathStream stream = new PathStream(table, split, Split.Part.TRAIN, KEY);
    return new PathBatches(stream, new PathTokens(table.graph().size(), false), rows, KEY);
  }

  @Test
  void goOnFromEveryPlace() {
    for (int cities : new int[] {40, 300}) {
      PathTable table = table(cities);
      PathBatches whole = batches(table, 7);
      List<long[]> places = new ArrayList<>();
      List<int[]> given = new ArrayList<>();
      for (int i = 0; i < BATCHES; i++) {
        places.add(whole.position());
        given.add(whole.next().input());
      }
      assertTrue(cities == 300 || places.getLast()[0] > 0, "no pass ended");
      PathBatches moved = batches(table, 7);
      for (int i : new int[] {0, 1, 31, 32, 33, 99, 63, 64, 65, 5, 0}) {
        moved.seek(i, places.get(i));
        for (int j = i; j < Math.min(BATCHES, i + 35); j++) {
          assertArrayEquals(places.get(j), moved.position(), i + " to " + j);
          assertArrayEquals(given.get(j), moved.next().input(), i + " to " + j);
        }
      }
    }
  }

  @Test
  void refuseAPlaceThatIsNone() {
    PathBatches batches = batches(table(40), 7);
    for (long[] wrong : new long[][] {{}, {1}, {1, 2, 3}, {-1, 0}, {0, -1}, {0, 1L << 40}}) {
      assertThrows(IllegalArgumentException.class, () -> batches.seek(1, wrong));
    }
  }
}
