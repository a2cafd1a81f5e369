// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class CityFilterTest {
  private static final List<City> CITIES =
      List.of(
          new City("Ely", "MN", 47.9, -91.9, 3460, "city"),
          new City("Nome", "AK", 64.5, -165.4, 3598, "city"),
          new City("Ames", "IA", 42.0, -93.6, 58965, "city"),
          new City("Ely", "NV", 39.3, -114.9, 3460, "city"),
          new City("Ames twice", "IA", 42.0, -93.6, 10, "town"));

  private static List<String> names(int top, long minPopulation, String... states) {
    CityFilter filter = new CityFilter(top, minPopulation, Set.of(states));
    return filter.select(CITIES).stream().map(City::label).toList();
  }

  private static String refusal(int top, long minPopulation, String... states) {
    return assertThrows(IllegalArgumentException.class, () -> names(top, minPopulation, states))
        .getMessage();
  }

  @Test
  void thePopulousComeFirstAndEqualOnesInTheirOrder() {
    assertEquals(List.of("Ames, IA", "Ely, MN", "Ely, NV"), names(0, 0));
    assertEquals(List.of("Ames, IA", "Ely, MN"), names(2, 0));
  }

  @Test
  void statesBeyondTheContiguousOnesAreTakenWhenNamed() {
    assertEquals(List.of("Ames, IA", "Nome, AK"), names(0, 0, "AK", "IA"));
  }

  @Test
  void theMinimumPopulationIsIncluded() {
    assertEquals(List.of("Ames, IA", "Ely, MN", "Ely, NV"), names(0, 3460));
  }

  @Test
  void aSmallerSelectionBeginsALargerOne() throws IOException {
    List<City> all = Cities.read(SharedData.cities());
    List<City> large = new CityFilter(1500, 0, Set.of()).select(all);
    assertEquals(large.subList(0, 300), new CityFilter(300, 0, Set.of()).select(all));
    assertEquals(28_755, CityFilter.ALL.select(all).size());
  }

  @Test
  void whatCannotBeTakenIsRefused() {
    assertEquals("top is -1; it must be 0 (all) or more", refusal(-1, 0));
    assertEquals("minimum population is -1; it must be 0 or more", refusal(0, -1));
    assertEquals("no place lies in the states [ZZ]", refusal(0, 0, "IA", "ZZ"));
    assertEquals("only 3 places remain; at least 4 are wanted", refusal(4, 0));
    assertEquals("only 1 places remain; at least 2 are wanted", refusal(0, 4000));
  }

  @Test
  void unknownPopulationsCannotBeCompared() {
    List<City> cities = new ArrayList<>(CITIES);
    cities.add(new City("Abanda", "AL", 33.1, -85.5, City.UNKNOWN, "CDP"));
    assertEquals(4, CityFilter.ALL.select(cities).size());
    assertThrows(
        IllegalArgumentException.class, () -> new CityFilter(2, 0, Set.of()).select(cities));
    assertThrows(
        IllegalArgumentException.class, () -> new CityFilter(0, 1, Set.of()).select(cities));
  }
}
