// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.Key;
import ponder.lab.cities.Split.Part;

class GreedyWalkTest {
  private static final Key KEY = Key.of(1);

  private static int[] walk(CityGraph graph, int source, int target) {
    int[] nodes = new int[graph.size()];
    return Arrays.copyOf(nodes, new GreedyWalk(graph).walk(source, target, nodes));
  }

  @Test
  void itGoesStraightWhereTheMapIsALine() {
    CityGraph graph =
        Places.of(List.of(Places.at(0, 0), Places.at(0, 3), Places.at(0, 1), Places.at(0, 2)), 125);
    assertArrayEquals(new int[] {2, 3, 1}, walk(graph, 0, 1));
    assertArrayEquals(new int[] {1}, walk(graph, 3, 1));
    assertArrayEquals(new int[] {}, walk(graph, 3, 3));
  }

  @Test
  void operationsAreCountedByTheNeighbour() {
    CityGraph graph = Places.of(List.of(Places.at(0, 0), Places.at(0, 1), Places.at(0, 2)), 125);
    GreedyWalk walker = new GreedyWalk(graph);
    int[] nodes = new int[3];
    for (int again = 0; again < 2; again++) {
      // One neighbour, then one that is not yet visited.
      assertEquals(2, walker.walk(0, 2, nodes));
      assertEquals(2 * 17, walker.operations());
    }
    assertEquals(0, walker.walk(1, 1, nodes));
    assertEquals(0, walker.operations());
  }

  @Test
  void itStopsInADeadEnd() {
    // The way straight on ends at 1; the way round over 2 and 3 is not found.
    CityGraph graph =
        Places.of(
            List.of(
                Places.at(0, 0),
                Places.at(0, 1),
                Places.at(1, -0.2),
                Places.at(1.5, 0.8),
                Places.at(1.5, 1.8),
                Places.at(0.6, 2.4)),
            125);
    assertTrue(PathTable.of(graph).isConnected(0, 5));
    assertArrayEquals(new int[] {1}, walk(graph, 0, 5));
  }

  @Test
  void eachStepIsTheBestUnvisitedNeighbour() {
    CityGraph graph = Places.embedded();
    int[] nodes = new int[graph.size()];
    GreedyWalk walker = new GreedyWalk(graph);
    for (int target = 1; target < graph.size(); target += 7) {
      int count = walker.walk(0, target, nodes);
      boolean[] visited = new boolean[graph.size()];
      int at = 0;
      for (int i = 0; i < count; i++) {
        visited[at] = true;
        double sum = graph.kilometres(graph.arc(at, nodes[i])) + graph.distance(nodes[i], target);
        for (int arc = graph.first(at); arc < graph.first(at + 1); arc++) {
          int other = graph.head(arc);
          double rival = graph.kilometres(arc) + graph.distance(other, target);
          assertTrue(visited[other] || sum <= rival);
        }
        assertTrue(!visited[nodes[i]]);
        at = nodes[i];
      }
    }
  }

  @Test
  void itSolvesAboutHalfOfTheSharedPlaces() throws IOException {
    CityGraph graph = Places.of(Places.shared(1500), CityGraph.FILE_RADIUS_KILOMETRES);
    PathTable truth = PathTable.of(graph);
    Split split = Split.named("ordered", truth, KEY, Split.Shares.USUAL);
    PathStream stream = new PathStream(truth, split, Part.TEST, KEY);
    GreedyWalk walker = new GreedyWalk(graph);
    PathMetrics metrics = new PathMetrics();
    int[] nodes = new int[graph.size()];
    for (int i = 0; i < 10_000; i++) {
      stream.advance();
      int count = walker.walk(stream.source(), stream.target(), nodes);
      boolean isEnded = count > 0 && nodes[count - 1] == stream.target();
      metrics.add(PathScore.of(truth, stream.source(), stream.target(), nodes, 0, count, isEnded));
    }
    assertEquals(0.54, metrics.solved().value(), 0.02);
    assertEquals(1, metrics.legalSteps().value());
  }
}
