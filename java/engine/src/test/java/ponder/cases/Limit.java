// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

/**
 * How far values may be from the answer: each within absolute + ulps * ulp(answer), and the array
 * within relative * norm(answer). What the type cannot hold, and NaN, must be met exactly.
 */
public record Limit(double absolute, double ulps, double relative) {
  /** Equal after rounding to the type. */
  public static final Limit EXACT = new Limit(0, 0, Double.POSITIVE_INFINITY);

  static Limit absolute(double absolute) {
    return new Limit(absolute, 0, Double.POSITIVE_INFINITY);
  }

  static Limit ulps(double ulps) {
    return new Limit(0, ulps, Double.POSITIVE_INFINITY);
  }

  static Limit relative(double relative) {
    return new Limit(Double.POSITIVE_INFINITY, 0, relative);
  }

  /** Returns what is wrong with an array, or null. */
  public String refuse(Array got, double[] answer) {
    double distance = 0;
    double norm = 0;
    for (int i = 0; i < answer.length; i++) {
      double value = got.get(i);
      double near = got.type().round(answer[i]);
      boolean good;
      if (!Double.isFinite(near)) {
        good = Double.compare(value, near) == 0;
      } else {
        double off = this == EXACT ? Math.abs(value - near) : Math.abs(value - answer[i]);
        good = off <= absolute + (ulps == 0 ? 0 : ulps * got.type().ulp(near));
        distance += off * off;
        norm += near * near;
      }
      if (!good) {
        return "[" + i + "] is " + value + ", answer " + answer[i] + ", limit " + this;
      }
    }
    boolean close = Double.isInfinite(relative) || distance <= relative * relative * norm;
    if (close) return null;
    return "is off by " + Math.sqrt(distance / norm) + " of its norm, limit " + this;
  }
}
