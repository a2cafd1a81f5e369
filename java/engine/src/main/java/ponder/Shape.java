// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.util.Arrays;

/**
 * The sizes of a tensor's axes, outermost first, every one at least 1. Rank 0 is a scalar. An axis
 * may be counted from the end: -1 is the last.
 */
public final class Shape {
  private static final Shape SCALAR = new Shape(new long[0], 1);

  private final long[] dims;
  private final long size;

  private Shape(long[] dims, long size) {
    this.dims = dims;
    this.size = size;
  }

  /**
   * Returns the shape with these sizes.
   *
   * @throws IllegalArgumentException if a size is below 1 or their product overflows
   */
  public static Shape of(long... dims) {
    return dims.length == 0 ? SCALAR : owning(dims.clone());
  }

  private static Shape owning(long[] dims) {
    long size = 1;
    for (int i = 0; i < dims.length; i++) {
      if (dims[i] < 1) {
        throw new IllegalArgumentException(
            "shape " + Arrays.toString(dims) + ": size " + i + " is below 1");
      }
      long grown = size * dims[i];
      if (Math.multiplyHigh(size, dims[i]) != 0 || grown < 0) {
        throw new IllegalArgumentException(
            "shape " + Arrays.toString(dims) + ": the product overflows 64 bits");
      }
      size = grown;
    }
    return new Shape(dims, size);
  }

  /** Returns the shape of a scalar. */
  public static Shape scalar() {
    return SCALAR;
  }

  /** Returns the number of axes. */
  public int rank() {
    return dims.length;
  }

  /**
   * Returns the size of an axis.
   *
   * @param axis in [-rank, rank)
   */
  public long dim(int axis) {
    return dims[axis(axis)];
  }

  /** Returns the number of elements. */
  public long size() {
    return size;
  }

  /** Returns a copy of the sizes. */
  public long[] dims() {
    return dims.clone();
  }

  /** Returns the number of rows, all axes but the last taken together. */
  public long rows() {
    return rank() == 0 ? 1 : size / dims[dims.length - 1];
  }

  /** Returns the shape of one row: the last axis alone, and a scalar's own shape. */
  public Shape last() {
    return rank() <= 1 ? this : owning(new long[] {dims[dims.length - 1]});
  }

  /**
   * Returns the axis counted from the front.
   *
   * @param axis in [-rank, rank)
   * @throws IllegalArgumentException if there is no such axis
   */
  public int axis(int axis) {
    int found = axis < 0 ? axis + dims.length : axis;
    if (found < 0 || found >= dims.length) {
      throw new IllegalArgumentException("shape " + this + " has no axis " + axis);
    }
    return found;
  }

  /** Returns this shape with one axis of another size. */
  public Shape with(int axis, long size) {
    if (dims[axis(axis)] == size) {
      return this;
    }
    long[] changed = dims.clone();
    changed[axis(axis)] = size;
    return owning(changed);
  }

  /** Returns this shape without one axis. */
  public Shape without(int axis) {
    int gone = axis(axis);
    long[] fewer = new long[dims.length - 1];
    System.arraycopy(dims, 0, fewer, 0, gone);
    System.arraycopy(dims, gone + 1, fewer, gone, fewer.length - gone);
    return fewer.length == 0 ? SCALAR : owning(fewer);
  }

  /**
   * Returns this shape with one more axis.
   *
   * @param axis the place of the new axis, in [-(rank + 1), rank]
   * @param size the size of the new axis
   */
  public Shape insert(int axis, long size) {
    int place = place(axis);
    long[] more = new long[dims.length + 1];
    System.arraycopy(dims, 0, more, 0, place);
    more[place] = size;
    System.arraycopy(dims, place, more, place + 1, dims.length - place);
    return owning(more);
  }

  /** Returns the place of a new axis counted from the front. */
  int place(int axis) {
    int place = axis < 0 ? axis + dims.length + 1 : axis;
    if (place < 0 || place > dims.length) {
      throw new IllegalArgumentException("shape " + this + " takes no new axis " + axis);
    }
    return place;
  }

  /** Returns the product of the sizes of the axes from, inclusive, to, exclusive. */
  long product(int from, int to) {
    long product = 1;
    for (int i = from; i < to; i++) {
      product *= dims[i];
    }
    return product;
  }

  /** Returns the size of an axis already counted from the front. */
  long at(int axis) {
    return dims[axis];
  }

  /**
   * Checks that two shapes are equal.
   *
   * @param what the op and the argument, such as {@code "layerNorm: gain"}
   * @throws IllegalArgumentException such as {@code layerNorm: gain has shape [16], must be [17]}
   */
  public static void require(String what, Shape got, Shape want) {
    if (!got.equals(want)) {
      throw new IllegalArgumentException(what + " has shape " + got + ", must be " + want);
    }
  }

  /**
   * Checks that two shapes are equal and, if not, names the argument that decides.
   *
   * @param what the op and the argument, such as {@code "layerNorm: gain"}
   * @param other the argument that {@code want} was taken from, such as {@code "x"}
   * @throws IllegalArgumentException such as {@code layerNorm: gain has shape [16], x has [4, 17];
   *     gain must be [17]}
   */
  public static void require(String what, Shape got, Shape want, String other, Shape otherShape) {
    if (!got.equals(want)) {
      String name = what.substring(what.indexOf(':') + 1).strip();
      throw new IllegalArgumentException(
          "%s has shape %s, %s has %s; %s must be %s"
              .formatted(what, got, other, otherShape, name, want));
    }
  }

  @Override
  public boolean equals(Object other) {
    return this == other || other instanceof Shape s && Arrays.equals(dims, s.dims);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(dims);
  }

  @Override
  public String toString() {
    return Arrays.toString(dims);
  }
}
