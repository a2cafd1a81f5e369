// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jgrapht.alg.connectivity.ConnectivityInspector;
import org.jgrapht.alg.cycle.CycleDetector;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which places are joined, how long the edges are, and how the graph hangs together. */
class CityGraphTest {
  @Test
  void knownDistancesAreMet() {
    double quarter = Math.PI / 2 * GreatCircle.RADIUS_KILOMETRES;
    assertEquals(quarter, GreatCircle.kilometres(0, 0, 0, 90), 1e-9);
    assertEquals(quarter, GreatCircle.kilometres(90, 17, 0, -120), 1e-9);
    assertEquals(2 * quarter, GreatCircle.kilometres(0, -180, 0, 0), 1e-9);
    assertEquals(0, GreatCircle.kilometres(12, 180, 12, -180), 1e-9);
    // Nashville airport to Los Angeles airport; the textbook example of the formula has
    // 2887.26 km on a sphere of 6372.8 km.
    assertEquals(
        2887.2599506 * GreatCircle.RADIUS_KILOMETRES / 6372.8,
        GreatCircle.kilometres(36.12, -86.67, 33.94, -118.40),
        1e-6);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.5, 40, 333, 2_500, 9_000, 20_015, 50_000})
  void theGridFindsWhatTheSearchOfAllPairsFinds(double radius) {
    List<City> cities = Places.onTheGlobe(301, 5);
    assertJoinsAllPairsWithin(Places.of(cities, radius));
  }

  @Test
  void theGridFindsPairsAcrossTheDateLineAndThePole() {
    List<City> cities =
        List.of(
            Places.at(10, 179.9), Places.at(10, -179.9), Places.at(89.9, 0), Places.at(89.9, 180));
    CityGraph graph = Places.of(cities, 30);
    assertEquals(2, graph.edges());
    assertTrue(graph.arc(0, 1) >= 0 && graph.arc(2, 3) >= 0);
  }

  @Test
  void anEdgeAsLongAsTheRadiusIsTaken() {
    List<City> cities = List.of(Places.at(40, -100), Places.at(41, -99));
    double distance = GreatCircle.kilometres(40, -100, 41, -99);
    assertEquals(1, Places.of(cities, distance).edges());
    assertEquals(0, Places.of(cities, Math.nextDown(distance)).edges());
  }

  @Test
  void theBuiltInGraphIsTheOneSearchOfAllPairsGives() {
    CityGraph graph = Places.embedded();
    assertJoinsAllPairsWithin(graph);
    assertEquals(
        "702ec4f37ecd18d090b86e83ee1e713565ab59603d7e7a5acce3725c895734be", graph.fingerprint());
  }

  @Test
  void theEastwardGraphHasEachEdgeOnceAndNoCycle() {
    CityGraph graph = Places.embeddedEastward();
    assertEquals(Places.embedded().edges(), graph.edges());
    for (int u = 0; u < graph.size(); u++) {
      for (int arc = graph.first(u); arc < graph.first(u + 1); arc++) {
        assertTrue(graph.arc(graph.head(arc), u) < 0);
        assertTrue(
            graph.cities().get(u).longitude() <= graph.cities().get(graph.head(arc)).longitude());
      }
    }
    assertFalse(new CycleDetector<>(Oracle.of(graph)).detectCycles());
    assertEquals(
        "47a0a3e0871bcd7e75ed4826626abce3cf8c3fe15bf488d8ba1fd6488db17a6a", graph.fingerprint());
  }

  @Test
  void onOneMeridianTheSouthernPlaceIsWest() {
    List<City> cities = List.of(Places.at(41, -99), Places.at(40, -99), Places.at(42, -99));
    CityGraph graph = CityGraph.of(cities, 300, CityGraph.Orientation.WEST_TO_EAST);
    assertEquals(3, graph.edges());
    assertTrue(graph.arc(1, 0) >= 0 && graph.arc(1, 2) >= 0 && graph.arc(0, 2) >= 0);
  }

  @Test
  void theFifteenHundredLargestPlacesHaveTheKnownEdgesAndPairs() throws IOException {
    CityGraph graph = Places.of(Places.shared(1500), CityGraph.FILE_RADIUS_KILOMETRES);
    assertEquals(38_527, graph.edges());
    assertEquals(new Connectivity(1500, 30, 14, 998, 1_079_272), Connectivity.requireOneMap(graph));
    assertEquals(
        "8015db13b07aff77762d79d2f6c7189fcc8e0475028a37b03657e03a607d3fd6", graph.fingerprint());
  }

  @Test
  void allPlacesAreJoined() throws IOException {
    CityGraph graph = Places.of(Places.shared(0), CityGraph.FILE_RADIUS_KILOMETRES);
    assertEquals(28_755, graph.size());
    assertEquals(7_020_234, graph.edges());
    assertEquals(1, Connectivity.of(graph).components());
  }

  @ParameterizedTest
  @ValueSource(doubles = {60, 250, 400})
  void connectivityIsThatOfTheOracle(double radius) {
    for (CityGraph.Orientation orientation : CityGraph.Orientation.values()) {
      CityGraph graph = CityGraph.of(Cities.embedded(), radius, orientation);
      var sets = new ConnectivityInspector<>(Oracle.of(graph)).connectedSets();
      Connectivity found = Connectivity.of(graph);
      assertEquals(sets.size(), found.components());
      assertEquals(sets.stream().mapToInt(java.util.Set::size).max().orElse(0), found.largest());
      assertEquals(sets.stream().filter(set -> set.size() == 1).count(), found.isolated());
      assertEquals(
          sets.stream().mapToLong(set -> set.size() * (set.size() - 1L)).sum(), found.pairs());
    }
  }

  @Test
  void aGraphInPiecesIsRefusedWithARadiusThatSuffices() {
    for (double radius : new double[] {0.01, 30, 100, 200}) {
      CityGraph graph = Places.of(Cities.embedded(), radius);
      String message =
          assertThrows(IllegalArgumentException.class, () -> Connectivity.requireOneMap(graph))
              .getMessage();
      double suggested = Double.parseDouble(message.replaceAll(".* use a radius of (.*) km", "$1"));
      assertEquals(suggested, Connectivity.suggestedRadius(graph));
      Connectivity better = Connectivity.of(Places.of(Cities.embedded(), suggested));
      assertTrue(better.shareOfCities() >= 0.8 && better.isOneMap(), message);
      // It is the least one but for the rounding to 10 km.
      assertTrue(
          Connectivity.of(Places.of(Cities.embedded(), suggested - 10)).shareOfCities() < 0.8);
    }
  }

  @Test
  void theSuggestedRadiusIsTheLeastUpToATenth() {
    // A row of places with widening gaps: each wider radius adds one.
    List<City> row = new ArrayList<>();
    double kilometresPerDegree = GreatCircle.kilometres(0, 0, 0, 1);
    double east = 0;
    for (int i = 0; i < 100; i++) {
      row.add(Places.at(0, east / kilometresPerDegree));
      east += 1 + 0.1 * i;
    }
    double suggested = Connectivity.suggestedRadius(Places.of(row, 1));
    assertTrue(Connectivity.of(Places.of(row, suggested)).largest() >= 80);
    assertTrue(Connectivity.of(Places.of(row, suggested - 0.1)).largest() < 80);
  }

  @Test
  void oneMapNeedsMostPairsAndHalfTheCities() {
    // Two parts of 50 and 50; 89 and 11; one of 49 and 51 alone; one of 50 and 50 alone.
    assertFalse(new Connectivity(100, 2, 0, 50, 2 * 50 * 49).isOneMap());
    assertTrue(new Connectivity(100, 2, 0, 89, 89 * 88 + 11 * 10).isOneMap());
    assertFalse(new Connectivity(100, 52, 51, 49, 49 * 48).isOneMap());
    assertTrue(new Connectivity(100, 51, 50, 50, 50 * 49).isOneMap());
    assertFalse(new Connectivity(2, 2, 2, 1, 0).isOneMap());
    assertTrue(new Connectivity(1500, 30, 14, 998, 1_079_272).isOneMap());
  }

  @Test
  void badArgumentsAreRefused() {
    List<City> cities = Cities.embedded();
    for (double radius : new double[] {0, -1, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertThrows(IllegalArgumentException.class, () -> Places.of(cities, radius));
    }
    assertThrows(IllegalArgumentException.class, () -> Places.of(List.of(), 1));
    List<City> twins = List.of(cities.get(0), cities.get(0));
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> Places.of(twins, 1))
            .getMessage()
            .contains("New York, NY"));
  }

  private static void assertJoinsAllPairsWithin(CityGraph graph) {
    int arcs = 0;
    for (int u = 0; u < graph.size(); u++) {
      City a = graph.cities().get(u);
      for (int v = 0; v < graph.size(); v++) {
        City b = graph.cities().get(v);
        double distance =
            GreatCircle.kilometres(a.latitude(), a.longitude(), b.latitude(), b.longitude());
        int arc = graph.arc(u, v);
        assertEquals(u != v && distance <= graph.radiusKilometres(), arc >= 0, u + " to " + v);
        if (arc >= 0) {
          arcs++;
          assertEquals(distance, graph.kilometres(arc));
          assertEquals(v, graph.head(arc));
        }
      }
    }
    assertEquals(arcs, graph.first(graph.size()));
    assertEquals(arcs, 2 * graph.edges());
  }
}
