// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

/** The types of elements that cross the boundary, with the numbers that tapes give them. */
public enum Type {
  F32(4),
  F64(8),
  I32(4),
  I64(8);

  private final int bytes;

  Type(int bytes) {
    this.bytes = bytes;
  }

  /** Returns the size of an element. */
  public int bytes() {
    return bytes;
  }

  /** Returns whether values are compared within a limit. */
  public boolean isFloat() {
    return this == F32 || this == F64;
  }
}
