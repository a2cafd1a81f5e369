// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import org.jgrapht.Graph;
import org.jgrapht.graph.DefaultWeightedEdge;
import org.jgrapht.graph.SimpleDirectedWeightedGraph;

/** The same graph as JGraphT's. */
final class Oracle {
  private Oracle() {}

  static Graph<Integer, DefaultWeightedEdge> of(CityGraph graph) {
    Graph<Integer, DefaultWeightedEdge> oracle =
        new SimpleDirectedWeightedGraph<>(DefaultWeightedEdge.class);
    for (int u = 0; u < graph.size(); u++) {
      oracle.addVertex(u);
    }
    for (int u = 0; u < graph.size(); u++) {
      for (int arc = graph.first(u); arc < graph.first(u + 1); arc++) {
        oracle.setEdgeWeight(oracle.addEdge(u, graph.head(arc)), graph.kilometres(arc));
      }
    }
    return oracle;
  }
}
