// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class ShapeTest {
  private final Shape shape = Shape.of(2, 3, 5);

  @Test
  void countsAxesFromBothEnds() {
    assertEquals(2, shape.dim(0));
    assertEquals(5, shape.dim(-1));
    assertEquals(1, shape.axis(-2));
    assertThrows(IllegalArgumentException.class, () -> shape.dim(3));
    assertThrows(IllegalArgumentException.class, () -> shape.dim(-4));
  }

  @Test
  void derivesShapes() {
    assertEquals(30, shape.size());
    assertEquals(6, shape.rows());
    assertEquals(Shape.of(5), shape.last());
    assertEquals(Shape.of(2, 7, 5), shape.with(1, 7));
    assertEquals(Shape.of(2, 5), shape.without(1));
    assertEquals(Shape.of(2, 3, 5, 9), shape.insert(-1, 9));
    assertEquals(Shape.of(9, 2, 3, 5), shape.insert(0, 9));
    assertEquals(Shape.scalar(), Shape.of(4).without(0));
    assertThrows(IllegalArgumentException.class, () -> shape.insert(4, 1));
  }

  @Test
  void aScalarHasOneElement() {
    assertEquals(1, Shape.of().size());
    assertEquals(0, Shape.of().rank());
    assertEquals(1, Shape.of().rows());
    assertEquals(Shape.scalar(), Shape.of().last());
  }

  @Test
  void isAValue() {
    long[] dims = {2, 3, 5};
    Shape taken = Shape.of(dims);
    dims[0] = 9;
    taken.dims()[1] = 9;
    assertEquals(shape, taken);
    assertEquals(shape.hashCode(), taken.hashCode());
    assertNotEquals(shape, Shape.of(2, 3));
    assertArrayEquals(new long[] {2, 3, 5}, taken.dims());
  }

  @Test
  void refusesSizesBelowOneAndOverflow() {
    assertThrows(IllegalArgumentException.class, () -> Shape.of(2, 0));
    assertThrows(IllegalArgumentException.class, () -> Shape.of(-1));
    assertThrows(IllegalArgumentException.class, () -> Shape.of(1L << 32, 1L << 31));
    assertThrows(IllegalArgumentException.class, () -> Shape.of(Long.MAX_VALUE, 2));
    assertThrows(IllegalArgumentException.class, () -> Shape.of(1L << 62, 4));
    assertEquals(1L << 62, Shape.of(1L << 31, 1L << 31).size());
  }

  @Test
  void requireNamesTheArgumentTheShapesAndTheRule() {
    Shape.require("layerNorm: gain", Shape.of(17), Shape.of(17));
    assertEquals(
        "layerNorm: gain has shape [16], must be [17]",
        assertThrows(
                IllegalArgumentException.class,
                () -> Shape.require("layerNorm: gain", Shape.of(16), Shape.of(17)))
            .getMessage());
    assertEquals(
        "layerNorm: gain has shape [16], x has [4, 17]; gain must be [17]",
        assertThrows(
                IllegalArgumentException.class,
                () ->
                    Shape.require(
                        "layerNorm: gain", Shape.of(16), Shape.of(17), "x", Shape.of(4, 17)))
            .getMessage());
  }
}
