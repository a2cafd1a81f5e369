// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;
import ponder.Key;

/**
 * The shortest paths from some places, or from all, to every place.
 *
 * <p>A pair takes 12 bytes and a bit: the parent in the tree of its source and its length. A path
 * is written out only when it is asked for, so millions of them exist without an object each.
 */
public final class PathTable {
  private final CityGraph graph;
  private final int[] sources;
  private final int[] row; // of a source, or -1
  private final int[][] parent;
  private final double[][] kilometres;
  private final long[][] tied; // one bit per target
  private int longest;
  private long pairs;
  private long tiedPairs;

  private PathTable(CityGraph graph, int[] sources) {
    this.graph = graph;
    this.sources = sources;
    int n = graph.size();
    row = new int[n];
    Arrays.fill(row, -1);
    parent = new int[sources.length][n];
    kilometres = new double[sources.length][n];
    tied = new long[sources.length][(n + 63) / 64];
    Dijkstra search = new Dijkstra(graph);
    for (int i = 0; i < sources.length; i++) {
      if (row[sources[i]] >= 0) {
        throw new IllegalArgumentException("source " + sources[i] + " is named twice");
      }
      row[sources[i]] = i;
      search.from(sources[i]);
      for (int target = 0; target < n; target++) {
        parent[i][target] = search.parent(target);
        kilometres[i][target] = search.kilometres(target);
        longest = Math.max(longest, search.hops(target));
        if (search.isTied(target)) {
          tied[i][target >> 6] |= 1L << target;
          tiedPairs++;
        }
      }
      pairs += search.reached() - 1;
    }
  }

  /** Returns the shortest paths of all pairs: about 12 bytes times the square of the size. */
  public static PathTable of(CityGraph graph) {
    int[] all = new int[graph.size()];
    Arrays.setAll(all, i -> i);
    return new PathTable(graph, all);
  }

  /**
   * Returns the shortest paths from some places.
   *
   * @param sources different nodes, in any order
   */
  public static PathTable of(CityGraph graph, int... sources) {
    return new PathTable(graph, sources.clone());
  }

  /**
   * Returns the shortest paths of all pairs where these are at most {@code mostPairs}, else those
   * from as many sources, drawn by the key, as stay within it (one at least).
   */
  public static PathTable sampled(CityGraph graph, long mostPairs, Key key) {
    int n = graph.size();
    if ((long) n * n <= mostPairs) {
      return of(graph);
    }
    int[] sources = Arrays.copyOf(key.permutation(n), (int) Math.max(1, mostPairs / n));
    Arrays.sort(sources);
    return of(graph, sources);
  }

  /** Returns the graph the paths lie in. */
  public CityGraph graph() {
    return graph;
  }

  /** Returns how many places paths start from. */
  public int sources() {
    return sources.length;
  }

  /** Returns the i-th place paths start from. */
  public int source(int i) {
    return sources[i];
  }

  /** Returns whether the paths from a place are in the table. */
  public boolean isSource(int node) {
    return row[node] >= 0;
  }

  /** Returns the number of pairs of a source and another place that have a path. */
  public long pairs() {
    return pairs;
  }

  /** Returns how many of the pairs have more than one shortest path. */
  public long tiedPairs() {
    return tiedPairs;
  }

  /** Returns the most steps a path has. */
  public int longest() {
    return longest;
  }

  /** Returns whether a path leads from a source to a place; the source reaches itself. */
  public boolean isConnected(int source, int target) {
    return kilometres(source, target) < Double.POSITIVE_INFINITY;
  }

  /** Returns the length of the shortest path in kilometres; infinite where there is none. */
  public double kilometres(int source, int target) {
    return kilometres[row(source)][target];
  }

  /** Returns whether another path is as short as the one in the table. */
  public boolean isTied(int source, int target) {
    return (tied[row(source)][target >> 6] >>> target & 1) != 0;
  }

  /** Returns the number of steps on the path; 0 where there is none. */
  public int hops(int source, int target) {
    int[] tree = parent[row(source)];
    int hops = 0;
    for (int node = tree[target]; node >= 0; node = tree[node]) {
      hops++;
    }
    return hops;
  }

  /**
   * Writes the path from a source to a place, both included.
   *
   * @param nodes room for {@code hops(source, target) + 1} numbers; {@code longest() + 1} suffice
   * @return how many were written; 0 if there is no path
   */
  public int path(int source, int target, int[] nodes) {
    if (!isConnected(source, target)) {
      return 0;
    }
    int[] tree = parent[row(source)];
    int count = hops(source, target) + 1;
    int node = target;
    for (int i = count - 1; i >= 0; i--) {
      nodes[i] = node;
      node = tree[node];
    }
    return count;
  }

  /**
   * Returns the first place after the source on the path to another place.
   *
   * @throws IllegalArgumentException if there is no such path or the places are one
   */
  public int firstMove(int source, int target) {
    if (source == target || !isConnected(source, target)) {
      throw new IllegalArgumentException("no path leads from node " + source + " to " + target);
    }
    int[] tree = parent[row(source)];
    int node = target;
    while (tree[node] != source) {
      node = tree[node];
    }
    return node;
  }

  /** Returns whether the path consists of the source and then these nodes. */
  boolean isPath(int source, int target, int[] nodes, int from, int count) {
    int[] tree = parent[row(source)];
    int node = target;
    for (int i = from + count - 1; i >= from; i--) {
      if (node != nodes[i]) {
        return false;
      }
      node = tree[node];
    }
    return node == source;
  }

  /** Returns whether the path from nodes[from] to nodes[to] is the run of nodes between them. */
  boolean runs(int[] nodes, int from, int to, int step) {
    int[] tree = parent[row(nodes[from])];
    for (int i = to; i != from; i -= step) {
      if (tree[nodes[i]] != nodes[i - step]) {
        return false;
      }
    }
    return true;
  }

  /**
   * Returns the most steps with which at most this share of the paths have that many or fewer; at
   * least 1 and fewer than the longest path has.
   *
   * @throws IllegalArgumentException if no path has two steps
   */
  int hopsBelow(double share) {
    if (longest < 2) {
      throw new IllegalArgumentException("no path has more than one step");
    }
    long[] paths = new long[longest + 1];
    for (int source : sources) {
      for (int target = 0; target < graph.size(); target++) {
        paths[hops(source, target)]++;
      }
    }
    int hops = 1;
    long within = paths[1] + paths[2];
    while (hops + 1 < longest && within <= share * pairs) {
      hops++;
      within += paths[hops + 1];
    }
    return hops;
  }

  /** Returns the hash of all paths and lengths, sources and targets rising; the same for ever. */
  public String fingerprint() {
    Fingerprint hash = new Fingerprint().add(graph.size()).add(sources.length);
    for (int i = 0; i < sources.length; i++) {
      hash.add(sources[i]);
      for (int target = 0; target < graph.size(); target++) {
        hash.add(parent[i][target]).add(kilometres[i][target]);
      }
    }
    return hash.text();
  }

  private int row(int source) {
    if (row[source] < 0) {
      throw new IllegalArgumentException("the table has no paths from node " + source);
    }
    return row[source];
  }
}
