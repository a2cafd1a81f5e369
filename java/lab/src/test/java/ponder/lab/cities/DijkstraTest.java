// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jgrapht.alg.shortestpath.DijkstraShortestPath;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.Key;

/** The flat-array search against JGraphT, Bellman-Ford and the meaning of its words. */
class DijkstraTest {
  static Stream<CityGraph> graphs() {
    return Stream.of(
        Places.embedded(),
        Places.embeddedEastward(),
        Places.of(Places.onTheGlobe(301, 1), 1_500),
        Places.of(Places.onTheGlobe(33, 2), 3_000),
        Places.of(Places.lattice(9, 0.5), 60),
        Places.of(Places.mirrored(), 900),
        Places.of(List.of(Places.at(0, 0)), 1),
        tieThatIsBeaten(),
        Places.of(List.of(Places.at(0, 0), Places.at(0, 1), Places.at(50, 1)), 200));
  }

  /** 1 and 2 give equally long paths to 3, found first; 4 gives a shorter one. */
  private static CityGraph tieThatIsBeaten() {
    return Places.of(
        List.of(
            Places.at(0, 0), Places.at(1, 1), Places.at(-1, 1), Places.at(0, 3), Places.at(0, 2.2)),
        260);
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void lengthsAndPathsAreJGraphTs(CityGraph graph) {
    var oracle = new DijkstraShortestPath<>(Oracle.of(graph));
    Dijkstra search = new Dijkstra(graph);
    int[] nodes = new int[graph.size()];
    for (int source = 0; source < graph.size(); source++) {
      search.from(source);
      var paths = oracle.getPaths(source);
      for (int target = 0; target < graph.size(); target++) {
        if (paths.getPath(target) == null) {
          assertEquals(Double.POSITIVE_INFINITY, search.kilometres(target));
          assertEquals(0, search.path(target, nodes));
          continue;
        }
        assertEquals(paths.getWeight(target), search.kilometres(target), 1e-9);
        int count = search.path(target, nodes);
        if (!search.isTied(target)) {
          Integer[] path = Arrays.stream(nodes, 0, count).boxed().toArray(Integer[]::new);
          assertArrayEquals(paths.getPath(target).getVertexList().toArray(), path);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void lengthsAreBellmanFordsToTheLastBit(CityGraph graph) {
    Dijkstra search = new Dijkstra(graph);
    for (int source = 0; source < graph.size(); source++) {
      search.from(source);
      double[] expected = bellmanFord(graph, source);
      for (int target = 0; target < graph.size(); target++) {
        assertEquals(expected[target], search.kilometres(target));
      }
    }
  }

  @Test
  void aThousandPairsOfTheSharedPlacesAreBellmanFords() throws IOException {
    CityGraph graph = Places.of(Places.shared(1500), CityGraph.FILE_RADIUS_KILOMETRES);
    Dijkstra search = new Dijkstra(graph);
    for (int source : Key.of(1).split("sources").ints(40, graph.size())) {
      search.from(source);
      double[] expected = bellmanFord(graph, source);
      for (int target : Key.of(1).split(source).ints(25, graph.size())) {
        assertEquals(expected[target], search.kilometres(target));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void theParentIsTheFirstOfTheBestPredecessors(CityGraph graph) {
    Dijkstra search = new Dijkstra(graph);
    for (int source = 0; source < graph.size(); source++) {
      search.from(source);
      int[] first = new int[graph.size()];
      Arrays.fill(first, -1);
      for (int u = 0; u < graph.size(); u++) {
        for (int arc = graph.first(u); arc < graph.first(u + 1); arc++) {
          int v = graph.head(arc);
          double length = search.kilometres(u) + graph.kilometres(arc);
          if (v != source && first[v] < 0 && length == search.kilometres(v) && length < 1e9) {
            first[v] = u;
          }
        }
      }
      for (int v = 0; v < graph.size(); v++) {
        assertEquals(first[v], search.parent(v));
        assertEquals(first[v] < 0 ? 0 : search.hops(first[v]) + 1, search.hops(v));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void aPathIsTiedWhereThereAreMoreShortestOnes(CityGraph graph) {
    Dijkstra search = new Dijkstra(graph);
    for (int source = 0; source < graph.size(); source++) {
      search.from(source);
      // The number of shortest paths, counted outwards.
      double[] paths = new double[graph.size()];
      paths[source] = 1;
      for (int rank = 0; rank < search.reached(); rank++) {
        int u = search.reached(rank);
        for (int arc = graph.first(u); arc < graph.first(u + 1); arc++) {
          int v = graph.head(arc);
          double length = search.kilometres(u) + graph.kilometres(arc);
          if (length <= search.kilometres(v) + Dijkstra.TIE_KILOMETRES) {
            paths[v] += paths[u];
          }
        }
      }
      for (int v = 0; v < graph.size(); v++) {
        assertEquals(paths[v] > 1, search.isTied(v), source + " to " + v + ": " + paths[v]);
      }
    }
  }

  @Test
  void mirrorImagesMakeTies() {
    PathTable table = PathTable.of(Places.of(Places.mirrored(), 900));
    assertTrue(table.tiedPairs() > 100, "tied pairs: " + table.tiedPairs());
    assertTrue(table.tiedPairs() < table.pairs() / 2, "tied pairs: " + table.tiedPairs());
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void aPieceOfAShortestPathIsAShortestPath(CityGraph graph) {
    PathTable table = PathTable.of(graph);
    int[] nodes = new int[graph.size()];
    int[] piece = new int[graph.size()];
    for (int source = 0; source < graph.size(); source++) {
      for (int target = 0; target < graph.size(); target += 3) {
        int count = table.path(source, target, nodes);
        for (int a = 0; a < count; a++) {
          double length = 0;
          for (int b = a + 1; b < count; b++) {
            length += graph.kilometres(graph.arc(nodes[b - 1], nodes[b]));
            assertEquals(table.kilometres(nodes[a], nodes[b]), length, 1e-9);
            if (!table.isTied(nodes[a], nodes[b])) {
              int pieceCount = table.path(nodes[a], nodes[b], piece);
              assertArrayEquals(
                  Arrays.copyOfRange(nodes, a, b + 1), Arrays.copyOf(piece, pieceCount));
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void reachedPlacesComeByRisingDistance(CityGraph graph) {
    Dijkstra search = new Dijkstra(graph);
    search.from(0);
    assertEquals(0, search.reached(0));
    for (int rank = 1; rank < search.reached(); rank++) {
      int before = search.reached(rank - 1);
      int node = search.reached(rank);
      assertTrue(search.kilometres(before) <= search.kilometres(node));
    }
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void aSearchForOneTargetFindsItsPathWithNoMoreWork(CityGraph graph) {
    Dijkstra all = new Dijkstra(graph);
    Dijkstra one = new Dijkstra(graph);
    int[] expected = new int[graph.size()];
    int[] nodes = new int[graph.size()];
    all.from(0);
    for (int target = 0; target < graph.size(); target++) {
      one.between(0, target);
      int count = all.path(target, expected);
      assertEquals(count, one.path(target, nodes));
      assertArrayEquals(Arrays.copyOf(expected, count), Arrays.copyOf(nodes, count));
      assertEquals(all.kilometres(target), one.kilometres(target));
      assertEquals(all.isTied(target), one.isTied(target));
      assertTrue(one.operations() <= all.operations());
      assertTrue(count == 0 || one.reached(one.reached() - 1) == target);
    }
  }

  @Test
  void operationsAreCountedByTheArc() {
    // Two places: one addition with one comparison; the heap never holds two.
    Dijkstra search = new Dijkstra(Places.of(List.of(Places.at(0, 0), Places.at(0, 1)), 200));
    search.from(0);
    assertEquals(2, search.operations());
    search.between(0, 0);
    assertEquals(0, search.operations());
    // Three in a row: 0 reaches both, 1 reaches 2 again; the heap compares 1 with 2 once.
    search =
        new Dijkstra(Places.of(List.of(Places.at(0, 0), Places.at(0, 1), Places.at(0, 2)), 300));
    search.from(0);
    assertEquals(2 * 3 + 1, search.operations());
  }

  @Test
  void thereIsNoSuchSource() {
    Dijkstra search = new Dijkstra(Places.embedded());
    assertThrows(IndexOutOfBoundsException.class, () -> search.from(300));
    assertThrows(IndexOutOfBoundsException.class, () -> search.from(-1));
    assertThrows(IndexOutOfBoundsException.class, () -> search.between(0, 300));
    assertThrows(IndexOutOfBoundsException.class, () -> search.between(0, -1));
  }

  private static double[] bellmanFord(CityGraph graph, int source) {
    double[] least = new double[graph.size()];
    Arrays.fill(least, Double.POSITIVE_INFINITY);
    least[source] = 0;
    for (boolean isChanged = true; isChanged; ) {
      isChanged = false;
      for (int u = 0; u < graph.size(); u++) {
        for (int arc = graph.first(u); arc < graph.first(u + 1); arc++) {
          double length = least[u] + graph.kilometres(arc);
          if (length < least[graph.head(arc)]) {
            least[graph.head(arc)] = length;
            isChanged = true;
          }
        }
      }
    }
    return least;
  }
}
