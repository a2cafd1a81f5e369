// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;
import java.util.List;

/**
 * Places joined where their great-circle distance is at most a radius.
 *
 * <p>Node i is the i-th place. Arcs lie in flat arrays (compressed sparse rows): those that leave
 * node u are {@code first(u)} up to, but not including, {@code first(u + 1)}, by rising head. Every
 * arc is longer than zero. An undirected edge is two arcs.
 */
public final class CityGraph {
  /** The connected distance for the built-in places, in kilometres. */
  public static final double EMBEDDED_RADIUS_KILOMETRES = 400;

  /** The connected distance for the places of a file, in kilometres. */
  public static final double FILE_RADIUS_KILOMETRES = 160;

  /** Which way the edges run. */
  public enum Orientation {
    /** Both ways: an undirected graph. */
    BOTH_WAYS,
    /**
     * From west to east, which has no cycle. Of two places on one meridian the southern counts as
     * west. Longitude is not wrapped: the far end of the Aleutians, at 173 degrees east, is east.
     */
    WEST_TO_EAST
  }

  private final List<City> cities;
  private final double radius;
  private final Orientation orientation;
  private final double[] phi; // latitude in radians, its cosine, longitude in radians
  private final double[] cosine;
  private final double[] lambda;
  private int[] first;
  private int[] head;
  private double[] kilometres;

  private CityGraph(List<City> cities, double radius, Orientation orientation) {
    this.cities = List.copyOf(cities);
    this.radius = radius;
    this.orientation = orientation;
    int n = cities.size();
    phi = new double[n];
    cosine = new double[n];
    lambda = new double[n];
    for (int i = 0; i < n; i++) {
      phi[i] = GreatCircle.radians(cities.get(i).latitude());
      cosine[i] = StrictMath.cos(phi[i]);
      lambda[i] = GreatCircle.radians(cities.get(i).longitude());
    }
  }

  /**
   * Returns the graph of some places.
   *
   * @param radiusKilometres the greatest length of an edge, above 0
   * @throws IllegalArgumentException if the radius is not above 0, if there are no places, if two
   *     lie at one point, or if there are 2^31 arcs or more
   */
  public static CityGraph of(List<City> cities, double radiusKilometres, Orientation orientation) {
    if (!(radiusKilometres > 0) || radiusKilometres == Double.POSITIVE_INFINITY) {
      throw new IllegalArgumentException(
          "radius is " + radiusKilometres + " km; it must be above 0 and finite");
    }
    if (cities.isEmpty()) {
      throw new IllegalArgumentException("there are no cities to join");
    }
    CityGraph graph = new CityGraph(cities, radiusKilometres, orientation);
    graph.join();
    return graph;
  }

  /** Returns the number of places. */
  public int size() {
    return cities.size();
  }

  /** Returns the places; place i is node i. */
  public List<City> cities() {
    return cities;
  }

  /** Returns the connected distance in kilometres. */
  public double radiusKilometres() {
    return radius;
  }

  /** Returns which way the edges run. */
  public Orientation orientation() {
    return orientation;
  }

  /** Returns the number of edges; an undirected one counts once. */
  public int edges() {
    return orientation == Orientation.BOTH_WAYS ? head.length / 2 : head.length;
  }

  /** Returns the first arc that leaves a node; of {@code size()}: the number of arcs. */
  public int first(int node) {
    return first[node];
  }

  /** Returns the node at which an arc ends. */
  public int head(int arc) {
    return head[arc];
  }

  /** Returns the length of an arc in kilometres. */
  public double kilometres(int arc) {
    return kilometres[arc];
  }

  /** Returns the arc from one node to another, or a negative number if they are not joined. */
  public int arc(int from, int to) {
    return Arrays.binarySearch(head, first[from], first[from + 1], to);
  }

  /** Returns the great-circle distance of two nodes in kilometres, joined or not. */
  public double distance(int a, int b) {
    return GreatCircle.kilometres(phi[a], cosine[a], lambda[a], phi[b], cosine[b], lambda[b]);
  }

  /** Returns whether an edge between two nodes may run from the first to the second. */
  boolean runs(int from, int to) {
    if (orientation == Orientation.BOTH_WAYS) {
      return true;
    }
    City a = cities.get(from);
    City b = cities.get(to);
    int east = Double.compare(b.longitude(), a.longitude());
    return east > 0 || (east == 0 && b.latitude() > a.latitude());
  }

  /** Returns the hash of the nodes' positions and the arcs, which is the same for ever. */
  public String fingerprint() {
    Fingerprint hash = new Fingerprint().add(size());
    for (int i = 0; i < size(); i++) {
      hash.add(cities.get(i).latitude()).add(cities.get(i).longitude()).add(first[i + 1]);
    }
    for (int arc = 0; arc < head.length; arc++) {
      hash.add(head[arc]).add(kilometres[arc]);
    }
    return hash.text();
  }

  int[] firsts() {
    return first;
  }

  int[] heads() {
    return head;
  }

  double[] lengths() {
    return kilometres;
  }

  /** Returns the Cartesian coordinates of the nodes on a sphere of radius 1: x, y and z. */
  static double[][] onUnitSphere(List<City> cities) {
    double[][] xyz = new double[3][cities.size()];
    for (int i = 0; i < cities.size(); i++) {
      double phi = GreatCircle.radians(cities.get(i).latitude());
      double lambda = GreatCircle.radians(cities.get(i).longitude());
      xyz[0][i] = StrictMath.cos(phi) * StrictMath.cos(lambda);
      xyz[1][i] = StrictMath.cos(phi) * StrictMath.sin(lambda);
      xyz[2][i] = StrictMath.sin(phi);
    }
    return xyz;
  }

  private void join() {
    int n = size();
    double[][] xyz = onUnitSphere(cities);
    Grid grid = new Grid(xyz[0], xyz[1], xyz[2], GreatCircle.chord(radius));
    // Every pair once, by its smaller node; then both rows of it, which come out sorted.
    int[] upperFirst = new int[n + 1];
    int[] upperHead = new int[Math.max(16, 8 * n)];
    double[] upperLength = new double[upperHead.length];
    int[] partners = new int[n];
    int[] degree = new int[n];
    int pairs = 0;
    for (int u = 0; u < n; u++) {
      int count = grid.partnersAfter(u, partners);
      if (pairs > Integer.MAX_VALUE / 2 - 8 - count) {
        throw new IllegalArgumentException(
            "radius " + radius + " km joins " + n + " places by more than 2^30 edges");
      }
      if (upperHead.length < pairs + count) {
        int size = (int) Math.min(Integer.MAX_VALUE / 2, Math.max(pairs + count, 2L * pairs));
        upperHead = Arrays.copyOf(upperHead, size);
        upperLength = Arrays.copyOf(upperLength, size);
      }
      for (int i = 0; i < count; i++) {
        int v = partners[i];
        double length = distance(u, v);
        if (length <= radius) {
          requireApart(u, v, length);
          upperHead[pairs] = v;
          upperLength[pairs++] = length;
          degree[u] += runs(u, v) ? 1 : 0;
          degree[v] += runs(v, u) ? 1 : 0;
        }
      }
      upperFirst[u + 1] = pairs;
    }
    first = new int[n + 1];
    for (int u = 0; u < n; u++) {
      first[u + 1] = first[u] + degree[u];
    }
    head = new int[first[n]];
    kilometres = new double[first[n]];
    int[] next = Arrays.copyOf(first, n);
    for (int u = 0; u < n; u++) {
      for (int i = upperFirst[u]; i < upperFirst[u + 1]; i++) {
        int v = upperHead[i];
        if (runs(u, v)) {
          head[next[u]] = v;
          kilometres[next[u]++] = upperLength[i];
        }
        if (runs(v, u)) {
          head[next[v]] = u;
          kilometres[next[v]++] = upperLength[i];
        }
      }
    }
  }

  private void requireApart(int u, int v, double length) {
    if (!(length > 0)) {
      throw new IllegalArgumentException(
          cities.get(u).label() + " and " + cities.get(v).label() + " lie at one point");
    }
  }
}
