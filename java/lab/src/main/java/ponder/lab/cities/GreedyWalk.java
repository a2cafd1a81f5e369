// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

/**
 * The baseline that learns nothing: always step to the neighbour with the least sum of the step and
 * the great-circle distance left from there.
 */
public final class GreedyWalk {
  private final CityGraph graph;
  private final int[] visit; // the walk in which a node was last visited
  private int walks;
  private long operations;

  /** Prepares walks in a graph. */
  public GreedyWalk(CityGraph graph) {
    this.graph = graph;
    visit = new int[graph.size()];
  }

  /**
   * Writes the places of a walk, the source not among them. The walk ends at the target, or where
   * every neighbour has been visited. Of equal neighbours the one with the smallest number is
   * taken.
   *
   * @param nodes room for as many numbers as the graph has nodes
   * @return how many were written; the last is the target if the walk has arrived
   */
  public int walk(int source, int target, int[] nodes) {
    walks++;
    operations = 0;
    int count = 0;
    int at = source;
    while (at != target) {
      visit[at] = walks;
      int best = -1;
      double least = Double.POSITIVE_INFINITY;
      for (int arc = graph.first(at); arc < graph.first(at + 1); arc++) {
        int next = graph.head(arc);
        if (visit[next] != walks) {
          operations += GreatCircle.OPERATIONS + 2; // a distance, an addition, a comparison
          double sum = graph.kilometres(arc) + graph.distance(next, target);
          if (sum < least) {
            least = sum;
            best = next;
          }
        }
      }
      if (best < 0) {
        return count;
      }
      nodes[count++] = best;
      at = best;
    }
    return count;
  }

  /** Returns the arithmetic operations and comparisons of lengths in the last walk. */
  public long operations() {
    return operations;
  }
}
