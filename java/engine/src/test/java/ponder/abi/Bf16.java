// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

/** The 16-bit floats with 8 bits of precision and the exponents of float, by their definition. */
public final class Bf16 {
  private static final double LEAST_NORMAL = 0x1p-126;
  private static final double LARGEST = 0x1.FEp127;

  private Bf16() {}

  /** Returns the nearest number of the type, of two equally near ones the even one. */
  public static double round(double value) {
    if (value == 0 || !Double.isFinite(value)) return value;
    double rounded = Math.rint(value / ulp(value)) * ulp(value);
    // The next power of two stands for infinity.
    return Math.abs(rounded) > LARGEST ? Math.copySign(Double.POSITIVE_INFINITY, value) : rounded;
  }

  /** Returns the distance between the type's numbers at a finite value. */
  public static double ulp(double value) {
    double size = Math.max(Math.min(Math.abs(value), LARGEST), LEAST_NORMAL);
    return Math.scalb(1.0, Math.getExponent(size) - 7);
  }

  /** Returns the number with a pattern. */
  public static double of(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** Returns the pattern of a value rounded to the type; 0x7fff for every NaN. */
  public static short bits(double value) {
    if (Double.isNaN(value)) return 0x7fff;
    return (short) (Float.floatToRawIntBits((float) round(value)) >>> 16);
  }
}
