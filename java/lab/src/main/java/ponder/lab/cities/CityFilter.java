// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * Which places of a set become the nodes of a graph.
 *
 * <p>Places count whatever their legal type. They are taken by population, largest first, equal
 * ones in the order of the set; of several at the very same point the first is kept. So node 0 is
 * the largest place, and a smaller selection is the beginning of a larger one.
 *
 * @param top how many to take at most, or 0 for all
 * @param minPopulation the fewest inhabitants a place may have, or 0
 * @param states postal codes of the states to take; empty: the 48 contiguous ones and DC
 */
public record CityFilter(int top, long minPopulation, Set<String> states) {
  /** The 48 contiguous states and the District of Columbia. */
  public static final Set<String> CONTIGUOUS =
      Set.of(
          "AL", "AR", "AZ", "CA", "CO", "CT", "DC", "DE", "FL", "GA", "IA", "ID", "IL", "IN", "KS",
          "KY", "LA", "MA", "MD", "ME", "MI", "MN", "MO", "MS", "MT", "NC", "ND", "NE", "NH", "NJ",
          "NM", "NV", "NY", "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VA", "VT",
          "WA", "WI", "WV", "WY");

  /** Takes every place of the contiguous states. */
  public static final CityFilter ALL = new CityFilter(0, 0, Set.of());

  /**
   * @throws IllegalArgumentException if a number is negative
   */
  public CityFilter {
    if (top < 0) {
      throw new IllegalArgumentException("top is " + top + "; it must be 0 (all) or more");
    }
    if (minPopulation < 0) {
      throw new IllegalArgumentException(
          "minimum population is " + minPopulation + "; it must be 0 or more");
    }
    states = Set.copyOf(states);
  }

  /**
   * Returns the chosen places, the most populous first.
   *
   * @throws IllegalArgumentException if a named state has no place, if fewer than two places or
   *     fewer than {@code top} remain, or if populations are asked for and unknown
   */
  public List<City> select(List<City> cities) {
    Set<String> missing = new TreeSet<>(states);
    Set<String> wanted = states.isEmpty() ? CONTIGUOUS : states;
    List<City> kept = new ArrayList<>();
    for (City city : cities) {
      missing.remove(city.state());
      if (wanted.contains(city.state())) {
        if (city.population() == City.UNKNOWN && (top > 0 || minPopulation > 0)) {
          throw new IllegalArgumentException(
              "top or a minimum population is asked for, but the population of "
                  + city.label()
                  + " is not in the source");
        }
        if (city.population() >= minPopulation || minPopulation == 0) {
          kept.add(city);
        }
      }
    }
    if (!missing.isEmpty()) {
      throw new IllegalArgumentException("no place lies in the states " + missing);
    }
    kept.sort(Comparator.comparingLong(City::population).reversed());
    kept = distinctPoints(kept);
    if (kept.size() < Math.max(2, top)) {
      throw new IllegalArgumentException(
          "only " + kept.size() + " places remain; at least " + Math.max(2, top) + " are wanted");
    }
    return List.copyOf(top > 0 ? kept.subList(0, top) : kept);
  }

  private static List<City> distinctPoints(List<City> cities) {
    record Point(double latitude, double longitude) {}
    Set<Point> points = new HashSet<>();
    List<City> distinct = new ArrayList<>();
    for (City city : cities) {
      if (points.add(new Point(city.latitude() + 0.0, city.longitude() + 0.0))) {
        distinct.add(city);
      }
    }
    return distinct;
  }
}
