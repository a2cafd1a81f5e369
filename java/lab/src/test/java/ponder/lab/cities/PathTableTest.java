// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.Key;

class PathTableTest {
  @Test
  void theTableHoldsWhatTheSearchFinds() {
    for (CityGraph graph :
        List.of(Places.embedded(), Places.embeddedEastward(), Places.of(Places.mirrored(), 900))) {
      PathTable table = PathTable.of(graph);
      Dijkstra search = new Dijkstra(graph);
      int[] expected = new int[graph.size()];
      int[] nodes = new int[table.longest() + 1];
      int longest = 0;
      long pairs = 0;
      for (int s = 0; s < graph.size(); s++) {
        search.from(s);
        for (int t = 0; t < graph.size(); t++) {
          int count = search.path(t, expected);
          assertEquals(count, table.path(s, t, nodes));
          assertArrayEquals(Arrays.copyOf(expected, count), Arrays.copyOf(nodes, count));
          assertEquals(search.kilometres(t), table.kilometres(s, t));
          assertEquals(search.hops(t), table.hops(s, t));
          assertEquals(search.isTied(t), table.isTied(s, t));
          assertEquals(count > 0, table.isConnected(s, t));
          longest = Math.max(longest, search.hops(t));
          pairs += s != t && count > 0 ? 1 : 0;
          if (count > 1) {
            assertEquals(nodes[1], table.firstMove(s, t));
          }
        }
      }
      assertEquals(longest, table.longest());
      assertEquals(pairs, table.pairs());
    }
  }

  @Test
  void theBuiltInPathsAreTheSameForEver() {
    PathTable table = PathTable.of(Places.embedded());
    assertEquals(80_474, table.pairs());
    assertEquals(0, table.tiedPairs());
    assertEquals(18, table.longest());
    assertEquals(
        "bf4b561df5f8e61c6076b3acac6427c5087f1ecf2d09f4553f72b7d78f0d076a", table.fingerprint());
    table = PathTable.of(Places.embeddedEastward());
    assertEquals(35_109, table.pairs());
    assertEquals(
        "e9d53bfb52109c46b4234e5cc0ce58714f0a1707d2ad9a76441b09fd6a13f7d2", table.fingerprint());
  }

  @Test
  void theSharedPathsAreTheSameForEver() throws IOException {
    PathTable table =
        PathTable.of(Places.of(Places.shared(1500), CityGraph.FILE_RADIUS_KILOMETRES));
    assertEquals(1_079_272, table.pairs());
    assertEquals(8, table.tiedPairs());
    assertEquals(32, table.longest());
    assertEquals(
        "3fedae007df6b3e6616ad6efa8300174a1a1a6ad4832209ab95c2589219016b4", table.fingerprint());
  }

  @Test
  void aPartOfTheSourcesGivesTheSamePaths() {
    CityGraph graph = Places.embedded();
    PathTable all = PathTable.of(graph);
    PathTable some = PathTable.of(graph, 7, 0, 299);
    assertEquals(3, some.sources());
    assertEquals(7, some.source(0));
    assertTrue(some.isSource(299) && !some.isSource(1));
    for (int t = 0; t < graph.size(); t++) {
      assertEquals(all.kilometres(299, t), some.kilometres(299, t));
      assertEquals(all.hops(7, t), some.hops(7, t));
    }
    assertThrows(IllegalArgumentException.class, () -> some.kilometres(1, 2));
    assertThrows(IllegalArgumentException.class, () -> PathTable.of(graph, 1, 1));
  }

  @Test
  void sourcesAreDrawnWhereAllPairsAreTooMany() {
    CityGraph graph = Places.embedded();
    assertEquals(300, PathTable.sampled(graph, 90_000, Key.of(1)).sources());
    PathTable some = PathTable.sampled(graph, 89_999, Key.of(1));
    assertEquals(299, some.sources());
    PathTable few = PathTable.sampled(graph, 3_000, Key.of(1));
    assertEquals(10, few.sources());
    assertEquals(1, PathTable.sampled(graph, 1, Key.of(1)).sources());
    assertEquals(few.fingerprint(), PathTable.sampled(graph, 3_000, Key.of(1)).fingerprint());
    assertFalse(few.fingerprint().equals(PathTable.sampled(graph, 3_000, Key.of(2)).fingerprint()));
  }

  @Test
  void withoutAPathThereIsNoFirstMove() {
    PathTable table = PathTable.of(Places.of(List.of(Places.at(0, 0), Places.at(9, 9)), 10));
    assertThrows(IllegalArgumentException.class, () -> table.firstMove(0, 1));
    assertThrows(IllegalArgumentException.class, () -> table.firstMove(0, 0));
    assertEquals(0, table.hops(0, 1));
    assertEquals(0, table.pairs());
  }
}
