// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import ponder.abi.Bf16;

/** The types of elements that cross the boundary, with the numbers that tapes give them. */
public enum Type {
  F32(4),
  F64(8),
  I32(4),
  BF16(2),
  I64(8);

  private final int bytes;

  Type(int bytes) {
    this.bytes = bytes;
  }

  /** Returns the size of an element. */
  public int bytes() {
    return bytes;
  }

  /** Returns the type that what is computed from this one is summed in. */
  Type sums() {
    return this == BF16 ? F32 : this;
  }

  /** Returns a value rounded to the type, if it is one of floats. */
  public double round(double value) {
    return switch (this) {
      case F32 -> (float) value;
      case BF16 -> Bf16.round(value);
      default -> value;
    };
  }

  /** Returns the distance between the type's numbers at a value. */
  double ulp(double value) {
    return switch (this) {
      case F32 -> Math.ulp((float) value);
      case BF16 -> Bf16.ulp(value);
      default -> Math.ulp(value);
    };
  }

  /** Returns whether values are compared within a limit. */
  public boolean isFloat() {
    return this != I32 && this != I64;
  }
}
