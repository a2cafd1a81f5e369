// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

/**
 * A populated place.
 *
 * @param name as its source writes it, without the legal type
 * @param state the state's postal code, such as CA; DC for the District of Columbia
 * @param latitude degrees north, in [-90, 90]
 * @param longitude degrees east, in [-180, 180]
 * @param population inhabitants, or {@link #UNKNOWN}
 * @param kind the legal type or class in the source's own words, such as city, CDP or PPL; may be
 *     empty
 */
public record City(
    String name, String state, double latitude, double longitude, long population, String kind) {
  /** The population of a place whose source tells none. */
  public static final long UNKNOWN = -1;

  /** Returns the name and the state, such as Boise, ID. */
  public String label() {
    return name + ", " + state;
  }

  /** Returns whether the other place has this one's latitude and longitude, to the last digit. */
  boolean isAt(City other) {
    return latitude == other.latitude && longitude == other.longitude;
  }
}
