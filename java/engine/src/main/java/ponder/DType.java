// SPDX-License-Identifier: Apache-2.0
package ponder;

/** The type of a tensor's elements. */
public enum DType {
  /** IEEE 754 single precision. */
  F32(4),
  /** IEEE 754 double precision. */
  F64(8),
  /** 32-bit integers: indices only; no arithmetic, no derivative. */
  I32(4);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /** Returns the size of one element in bytes. */
  public int bytes() {
    return bytes;
  }

  /** Returns whether arithmetic is defined for this type. */
  public boolean isFloat() {
    return this != I32;
  }

  /** Returns the number the C header gives this type. */
  public int code() {
    return ordinal();
  }

  /**
   * Checks that two types are equal.
   *
   * @param what the op and the argument, such as {@code "layerNorm: gain"}
   * @throws IllegalArgumentException such as {@code layerNorm: gain is F64, must be F32}
   */
  public static void require(String what, DType got, DType want) {
    if (got != want) {
      throw new IllegalArgumentException(what + " is " + got + ", must be " + want);
    }
  }

  /**
   * Checks that arithmetic is defined for a type.
   *
   * @param what the op and the argument, such as {@code "exp: x"}
   * @throws IllegalArgumentException such as {@code exp: x is I32, must be F32 or F64}
   */
  public static void requireFloat(String what, DType got) {
    if (!got.isFloat()) {
      throw new IllegalArgumentException(what + " is " + got + ", must be F32 or F64");
    }
  }
}
