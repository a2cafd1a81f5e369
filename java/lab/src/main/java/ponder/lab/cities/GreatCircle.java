// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

/**
 * Distances on a sphere with the Earth's mean radius. The sphere is off by up to 0.5 % from the
 * ellipsoid; a road is longer than either.
 *
 * <p>StrictMath makes the distances, and with them every path and fingerprint, the same bits on
 * each machine.
 */
public final class GreatCircle {
  /** The mean radius of the Earth in kilometres, (2a + b) / 3. Source: Moritz 2000, GRS 80. */
  public static final double RADIUS_KILOMETRES = 6371.0088;

  /** The arithmetic operations of one distance whose angles and cosines are at hand. */
  static final int OPERATIONS = 15;

  private GreatCircle() {}

  /**
   * Returns the great-circle distance of two points in kilometres, by the haversine formula.
   *
   * @param latitudeA degrees north
   * @param longitudeA degrees east
   * @param latitudeB degrees north
   * @param longitudeB degrees east
   */
  public static double kilometres(
      double latitudeA, double longitudeA, double latitudeB, double longitudeB) {
    double phiA = radians(latitudeA);
    double phiB = radians(latitudeB);
    return kilometres(
        phiA,
        StrictMath.cos(phiA),
        radians(longitudeA),
        phiB,
        StrictMath.cos(phiB),
        radians(longitudeB));
  }

  /** As above, in radians and with the cosines of the latitudes; the same bits both ways round. */
  static double kilometres(
      double phiA, double cosA, double lambdaA, double phiB, double cosB, double lambdaB) {
    double north = StrictMath.sin((phiB - phiA) / 2);
    double east = StrictMath.sin((lambdaB - lambdaA) / 2);
    double haversine = north * north + cosA * cosB * (east * east);
    return 2 * RADIUS_KILOMETRES * StrictMath.asin(Math.min(1, Math.sqrt(haversine)));
  }

  /** Returns an angle in radians; Math.toRadians is not bound to the same bits everywhere. */
  static double radians(double degrees) {
    return degrees * (Math.PI / 180);
  }

  /** Returns the straight line through a sphere of radius 1 that spans this distance. */
  static double chord(double kilometres) {
    double half = kilometres / (2 * RADIUS_KILOMETRES);
    return half >= Math.PI / 2 ? 2 : 2 * StrictMath.sin(half);
  }
}
