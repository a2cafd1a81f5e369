// SPDX-License-Identifier: Apache-2.0
package ponder;

/** The type of a tensor's elements. */
public enum DType {
  /** IEEE 754 single precision. */
  F32(4),
  /** IEEE 754 double precision. */
  F64(8),
  /** 32-bit integers: indices only; no arithmetic, no derivative. */
  I32(4),
  /**
   * The upper half of an F32: numbers in half the memory. Casts, products, attention and moves take
   * them, compute in F32 and round each result once; other ops want a cast to F32.
   */
  BF16(2);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /** Returns the size of one element in bytes. */
  public int bytes() {
    return bytes;
  }

  /** Returns whether this type holds numbers that have derivatives. */
  public boolean isFloat() {
    return this != I32;
  }

  /** Returns whether arithmetic is defined for this type: F32 and F64. */
  public boolean hasArithmetic() {
    return this == F32 || this == F64;
  }

  /** Returns the type that what is computed from this one is summed in: F32 for BF16. */
  public DType sums() {
    return this == BF16 ? F32 : this;
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
  public static void requireArithmetic(String what, DType got) {
    if (!got.hasArithmetic()) {
      throw new IllegalArgumentException(what + " is " + got + ", must be F32 or F64");
    }
  }

  /**
   * Checks that a type holds numbers that have derivatives.
   *
   * @param what the op and the argument, such as {@code "matmul: a"}
   * @throws IllegalArgumentException such as {@code matmul: a is I32, must be F32, F64 or BF16}
   */
  public static void requireFloat(String what, DType got) {
    if (!got.isFloat()) {
      throw new IllegalArgumentException(what + " is " + got + ", must be F32, F64 or BF16");
    }
  }
}
