// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.Locale;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.Connectivity;
import ponder.lab.cities.Containment;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.Split;

/**
 * What the paths are made of.
 *
 * @param cities the number of places
 * @param radiusKilometres places at most this far apart are joined
 * @param orientation undirected, or from west to east
 * @param edges the number of edges
 * @param largestComponent the places of the largest component
 * @param sources the places paths start from; fewer than the cities where the table is sampled
 * @param pairs ordered pairs with a path
 * @param tiedPairs those with more than one shortest path
 * @param longestSteps the most steps of a shortest path
 * @param split the name of the split
 * @param testPaths the paths of the test part
 * @param contained the share of them contained in a training path
 * @param containedReversed the share contained in one when read backwards
 * @param graphHash the hash of the graph
 * @param pathsHash the hash of all paths
 */
public record PathsData(
    int cities,
    double radiusKilometres,
    String orientation,
    int edges,
    int largestComponent,
    int sources,
    long pairs,
    long tiedPairs,
    int longestSteps,
    String split,
    long testPaths,
    double contained,
    double containedReversed,
    String graphHash,
    String pathsHash) {
  /** Returns the description of a table and its split. */
  public static PathsData of(PathTable table, Split split) {
    CityGraph graph = table.graph();
    Connectivity connectivity = Connectivity.of(graph);
    Containment containment = Containment.of(table, split);
    return new PathsData(
        graph.size(),
        graph.radiusKilometres(),
        graph.orientation().name().toLowerCase(Locale.ROOT).replace('_', '-'),
        graph.edges(),
        connectivity.largest(),
        table.sources(),
        table.pairs(),
        table.tiedPairs(),
        table.longest(),
        split.name(),
        containment.tests(),
        containment.share(),
        containment.reversedShare(),
        graph.fingerprint(),
        table.fingerprint());
  }

  /** Returns the description in a few lines. */
  public String text() {
    return String.format(
        Locale.ROOT,
        "Graph: %,d cities, %,d edges of at most %.0f km (%s), %,d cities in the largest"
            + " component.%nPaths: %,d ordered pairs, the longest of %d steps, %,d with ties; hash"
            + " %s.%nSplit %s: %,d test paths; %.1f %% of them are a piece of a training path, %.1f"
            + " %% of one read backwards.%n",
        cities,
        edges,
        radiusKilometres,
        orientation,
        largestComponent,
        pairs,
        longestSteps,
        tiedPairs,
        pathsHash,
        split,
        testPaths,
        100 * contained,
        100 * containedReversed);
  }
}
