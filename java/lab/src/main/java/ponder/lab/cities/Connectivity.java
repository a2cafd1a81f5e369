// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;
import java.util.Locale;

/**
 * Into how many parts a graph falls, whichever way its edges run.
 *
 * @param cities the number of nodes
 * @param components the number of parts
 * @param isolated the number of nodes without an edge
 * @param largest the number of nodes in the largest part
 * @param pairs the number of ordered pairs of different nodes that lie in one part
 */
public record Connectivity(int cities, int components, int isolated, int largest, long pairs) {
  /** The least share of the connected pairs, and of the cities on a suggestion, in the largest part. */
  public static final double LEAST_SHARE = 0.8;

  /** The least share of the cities in the largest part. */
  private static final double LEAST_CITIES = 0.5;

  /** Returns how a graph hangs together. */
  public static Connectivity of(CityGraph graph) {
    int n = graph.size();
    UnionFind parts = new UnionFind(n);
    for (int u = 0; u < n; u++) {
      for (int arc = graph.first(u); arc < graph.first(u + 1); arc++) {
        parts.join(u, graph.head(arc));
      }
    }
    int components = 0;
    int isolated = 0;
    long pairs = 0;
    for (int u = 0; u < n; u++) {
      if (parts.root(u) == u) {
        long size = parts.size(u);
        components++;
        isolated += size == 1 ? 1 : 0;
        pairs += size * (size - 1);
      }
    }
    return new Connectivity(n, components, isolated, parts.largest(), pairs);
  }

  /** Returns the share of the cities that lie in the largest part. */
  public double shareOfCities() {
    return (double) largest / cities;
  }

  /** Returns the share of the connected ordered pairs that lie in the largest part. */
  public double shareOfPairs() {
    return pairs == 0 ? 0 : largest * (largest - 1.0) / pairs;
  }

  /**
   * Returns whether paths can be learned as those of one map: the largest part holds at least 80 %
   * of the pairs that a path can be asked for, and at least half the cities.
   */
  public boolean isOneMap() {
    return shareOfPairs() >= LEAST_SHARE && shareOfCities() >= LEAST_CITIES;
  }

  /**
   * Returns how a graph hangs together if it is one map.
   *
   * @throws IllegalArgumentException if not, with a radius at which the largest part holds at
   *     least 80 % of the cities (and therefore of the pairs)
   */
  public static Connectivity requireOneMap(CityGraph graph) {
    Connectivity found = of(graph);
    if (!found.isOneMap()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "at %s km the largest of %d components holds %.0f %% of %d cities and %.0f %% of the"
                  + " connected pairs, which is too little to be one map; use a radius of %s km",
              kilometres(graph.radiusKilometres()),
              found.components,
              100 * found.shareOfCities(),
              found.cities,
              100 * found.shareOfPairs(),
              kilometres(suggestedRadius(graph))));
    }
    return found;
  }

  /** Returns the least radius that puts 80 % of the cities into one part, rounded up. */
  static double suggestedRadius(CityGraph graph) {
    double radius = bottleneck(graph, (int) Math.ceil(LEAST_SHARE * graph.size()));
    double perKilometre = radius < 10 ? 10 : radius < 100 ? 1 : 0.1;
    return Math.ceil(radius * perKilometre) / perKilometre;
  }

  /**
   * Returns the least radius at which some part has this many nodes: the edges of a minimum
   * spanning tree of all great-circle distances join the parts in the same order as all edges do.
   */
  private static double bottleneck(CityGraph graph, int wanted) {
    record Link(int a, int b, double kilometres) {}
    int n = graph.size();
    double[][] xyz = CityGraph.onUnitSphere(graph.cities());
    double[] nearest = new double[n]; // squared chord to the tree; rises with the distance
    int[] partner = new int[n];
    boolean[] inTree = new boolean[n];
    Arrays.fill(nearest, Double.POSITIVE_INFINITY);
    Link[] links = new Link[n - 1];
    int added = 0;
    inTree[0] = true;
    for (int i = 0; i < n - 1; i++) {
      int best = -1;
      for (int v = 0; v < n; v++) {
        if (!inTree[v]) {
          double dx = xyz[0][v] - xyz[0][added];
          double dy = xyz[1][v] - xyz[1][added];
          double dz = xyz[2][v] - xyz[2][added];
          double squared = dx * dx + dy * dy + dz * dz;
          if (squared < nearest[v]) {
            nearest[v] = squared;
            partner[v] = added;
          }
          if (best < 0 || nearest[v] < nearest[best]) {
            best = v;
          }
        }
      }
      links[i] = new Link(best, partner[best], graph.distance(best, partner[best]));
      inTree[best] = true;
      added = best;
    }
    Arrays.sort(links, (a, b) -> Double.compare(a.kilometres, b.kilometres));
    UnionFind parts = new UnionFind(n);
    for (Link link : links) {
      parts.join(link.a, link.b);
      if (parts.largest() >= wanted) {
        return link.kilometres;
      }
    }
    return 0;
  }

  private static String kilometres(double value) {
    return value == Math.rint(value) ? String.valueOf(Math.round(value)) : String.valueOf(value);
  }
}
