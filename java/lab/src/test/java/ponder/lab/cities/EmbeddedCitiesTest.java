// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** The built-in places against the Census' own table. */
class EmbeddedCitiesTest {
  private static final Set<String> NOT_INCORPORATED = Set.of("CDP", "comunidad", "zona urbana");

  /** The Census' names where they differ from the common ones. */
  private static final Map<String, String> CENSUS_NAMES =
      Map.of(
          "Athens, GA", "Athens-Clarke County, GA",
          "Augusta, GA", "Augusta-Richmond County, GA",
          "Boise, ID", "Boise City, ID",
          "Lexington, KY", "Lexington-Fayette, KY",
          "Louisville, KY", "Louisville/Jefferson County, KY",
          "Nashville, TN", "Nashville-Davidson, TN",
          "Ventura, CA", "San Buenaventura (Ventura), CA");

  /** The Census' point lies out at sea, because the Farallon Islands are part of the city. */
  private static final Set<String> POSITION_EXCEPTIONS = Set.of("San Francisco, CA");

  @Test
  void areThreeHundredWithTheLargestFirst() {
    List<City> cities = Cities.embedded();
    assertEquals(300, cities.size());
    assertEquals(cities, CityFilter.ALL.select(cities));
    assertEquals("New York, NY", cities.get(0).label());
    assertEquals("South Gate, CA", cities.get(299).label());
  }

  @Test
  void areTheMostPopulousIncorporatedPlaces() throws IOException {
    Set<String> expected = new HashSet<>();
    CityFilter.ALL.select(Cities.read(SharedData.cities())).stream()
        .filter(city -> !NOT_INCORPORATED.contains(city.kind()))
        .limit(300)
        .forEach(city -> expected.add(city.label()));
    Set<String> embedded = new HashSet<>();
    Cities.embedded().forEach(city -> embedded.add(censusName(city)));
    assertEquals(expected, embedded);
  }

  @Test
  void lieWithinFifteenKilometresAndCountWithinFivePercent() throws IOException {
    Map<String, City> census = new HashMap<>();
    for (City city : CityFilter.ALL.select(Cities.read(SharedData.cities()))) {
      if (!NOT_INCORPORATED.contains(city.kind())) {
        census.putIfAbsent(city.label(), city);
      }
    }
    for (City city : Cities.embedded()) {
      City there = census.get(censusName(city));
      double kilometres =
          GreatCircle.kilometres(
              city.latitude(), city.longitude(), there.latitude(), there.longitude());
      boolean excepted = POSITION_EXCEPTIONS.contains(city.label());
      assertEquals(excepted, kilometres > 15, city.label() + " is off by " + kilometres + " km");
      double share = (double) city.population() / there.population();
      assertTrue(share > 0.95 && share < 1.05, city.label() + " counts " + share);
    }
  }

  private static String censusName(City city) {
    return CENSUS_NAMES.getOrDefault(city.label(), city.label());
  }
}
