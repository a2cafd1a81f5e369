// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/** Places for tests. */
final class Places {
  private Places() {}

  static CityGraph embedded() {
    return CityGraph.of(
        Cities.embedded(), CityGraph.EMBEDDED_RADIUS_KILOMETRES, CityGraph.Orientation.BOTH_WAYS);
  }

  static CityGraph embeddedEastward() {
    return CityGraph.of(
        Cities.embedded(),
        CityGraph.EMBEDDED_RADIUS_KILOMETRES,
        CityGraph.Orientation.WEST_TO_EAST);
  }

  /** Points spread evenly over a sphere, with some near the poles and the date line. */
  static List<City> onTheGlobe(int count, long seed) {
    RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
    List<City> cities = new ArrayList<>();
    while (cities.size() < count) {
      double latitude = Math.toDegrees(Math.asin(random.nextDouble(-1, 1)));
      double longitude = random.nextDouble(-180, 180);
      switch (cities.size() % 10) {
        case 0 -> latitude = Math.copySign(90 - random.nextDouble(3), latitude);
        case 1 -> longitude = Math.copySign(180 - random.nextDouble(3), longitude);
        default -> {}
      }
      cities.add(at(latitude, longitude));
    }
    return cities;
  }

  /** Points of a square lattice, so that many paths are equally long in steps and nearly in km. */
  static List<City> lattice(int side, double degrees) {
    List<City> cities = new ArrayList<>();
    for (int i = 0; i < side * side; i++) {
      cities.add(at(degrees * (i / side), degrees * (i % side)));
    }
    return cities;
  }

  /** Points and their mirror images in the equator: paths between points on it come in pairs. */
  static List<City> mirrored() {
    List<City> cities = new ArrayList<>();
    for (City city : onTheGlobe(60, 3)) {
      double latitude = city.latitude() / 5;
      double longitude = city.longitude() / 4;
      cities.add(at(latitude, longitude));
      cities.add(at(-latitude, longitude));
    }
    for (int i = -4; i < 5; i++) {
      cities.add(at(0, 11 * i));
    }
    return cities;
  }

  static City at(double latitude, double longitude) {
    return new City("x", "XX", latitude, longitude, 1, "");
  }

  static CityGraph of(List<City> cities, double radius) {
    return CityGraph.of(cities, radius, CityGraph.Orientation.BOTH_WAYS);
  }

  /** The places of ../shared/data; skips the test where there are none. */
  static List<City> shared(int top) throws java.io.IOException {
    return new CityFilter(top, 0, Set.of()).select(Cities.read(SharedData.cities()));
  }
}
