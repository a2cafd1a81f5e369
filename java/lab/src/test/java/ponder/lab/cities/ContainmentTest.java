// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import ponder.Key;

class ContainmentTest {
  private static final Key KEY = Key.of(1);

  @ParameterizedTest
  @FieldSource("ponder.lab.cities.Split#NAMES")
  void theCountIsThatOfASearchThroughAllPieces(String name) {
    // A lattice has many ties, so that equal ends do not make equal paths.
    List<City> cities = new ArrayList<>(Cities.embedded().subList(0, 40));
    cities.addAll(Places.lattice(6, 0.5));
    CityGraph graph = Places.of(cities, 400);
    for (PathTable table : List.of(PathTable.of(graph), PathTable.of(graph, 0, 3, 4, 50, 60))) {
      Split split = Split.named(name, table, KEY, new Split.Shares(0.1, 0.3));
      assertEquals(search(table, split), Containment.of(table, split));
    }
  }

  @ParameterizedTest
  @FieldSource("ponder.lab.cities.Split#NAMES")
  void theShareIsWithinItsBounds(String name) {
    PathTable table = PathTable.of(Places.embedded());
    Containment found = Containment.of(table, Split.named(name, table, KEY, Split.Shares.USUAL));
    switch (name) {
      // The way back is learnt from in about nine of ten cases.
      case "ordered" -> assertTrue(found.reversedShare() > 0.85, "" + found);
      case "longer-path" -> assertEquals(0, found.contained());
      default -> assertTrue(found.share() > 0.02 && found.share() < 0.9, "" + found);
    }
  }

  private static Containment search(PathTable table, Split split) {
    int cities = table.graph().size();
    int[] nodes = new int[cities];
    Set<List<Integer>> pieces = new HashSet<>();
    List<List<Integer>> tests = new ArrayList<>();
    for (int i = 0; i < table.sources(); i++) {
      for (int t = 0; t < cities; t++) {
        int count = table.path(table.source(i), t, nodes);
        if (count < 2) {
          continue;
        }
        List<Integer> path = new ArrayList<>();
        for (int k = 0; k < count; k++) {
          path.add(nodes[k]);
        }
        switch (split.part(table.source(i), t, count - 1)) {
          case TEST -> tests.add(path);
          case TRAIN -> {
            for (int a = 0; a < count; a++) {
              for (int b = a + 2; b <= count; b++) {
                pieces.add(List.copyOf(path.subList(a, b)));
              }
            }
          }
          case VALIDATION -> {}
        }
      }
    }
    return new Containment(
        tests.size(),
        tests.stream().filter(pieces::contains).count(),
        tests.stream().filter(test -> pieces.contains(test.reversed())).count());
  }
}
