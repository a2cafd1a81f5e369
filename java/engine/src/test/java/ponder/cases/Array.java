// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import ponder.abi.Bf16;

/**
 * An array of a call.
 *
 * @param use whether the call reads, writes or updates it
 * @param type the type of its elements
 * @param shape its sizes
 * @param content its bytes; undefined before the call if it is written
 */
public record Array(Use use, Type type, long[] shape, byte[] content) {
  /** What a call does with an array. */
  public enum Use {
    READ,
    WRITTEN,
    UPDATED
  }

  static Array empty(Use use, Type type, long[] shape) {
    long count = 1;
    for (long size : shape) count *= size;
    return new Array(use, type, shape, new byte[Math.toIntExact(count * type.bytes())]);
  }

  /** Returns the number of elements. */
  public int count() {
    return content.length / type.bytes();
  }

  MemorySegment memory() {
    return MemorySegment.ofArray(content);
  }

  /** Returns an element; a long loses what lies beyond 53 bits. */
  public double get(int i) {
    return switch (type) {
      case F32 -> memory().get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i);
      case F64 -> memory().get(ValueLayout.JAVA_DOUBLE_UNALIGNED, 8L * i);
      case BF16 -> Bf16.of(memory().get(ValueLayout.JAVA_SHORT_UNALIGNED, 2L * i));
      case I32 -> memory().get(ValueLayout.JAVA_INT_UNALIGNED, 4L * i);
      case I64 -> memory().get(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i);
    };
  }

  void set(int i, double value) {
    switch (type) {
      case F32 -> memory().set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i, (float) value);
      case F64 -> memory().set(ValueLayout.JAVA_DOUBLE_UNALIGNED, 8L * i, value);
      case BF16 -> memory().set(ValueLayout.JAVA_SHORT_UNALIGNED, 2L * i, Bf16.bits(value));
      case I32 -> memory().set(ValueLayout.JAVA_INT_UNALIGNED, 4L * i, (int) value);
      case I64 -> memory().set(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i, (long) value);
    }
  }

  /** Returns the elements as doubles. */
  public double[] values() {
    var values = new double[count()];
    for (int i = 0; i < values.length; i++) values[i] = get(i);
    return values;
  }

  /** Returns this array in double, its values unchanged. */
  Array widened() {
    if (type != Type.F32 && type != Type.BF16) return this;
    Array wide = empty(use, Type.F64, shape);
    for (int i = 0; i < count(); i++) wide.set(i, get(i));
    return wide;
  }

  Array with(Use use) {
    return new Array(use, type, shape, content);
  }
}
