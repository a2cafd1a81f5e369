// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * What the plain kernels are made of: arithmetic in one of two precisions, arrays read from memory
 * and written back, and the refusals of the header.
 *
 * <p>In the wide precision {@link #round} changes nothing and sums are compensated: the answer. In
 * the narrow one every operation is rounded to float, which is, bit for bit, the plain float loop
 * that one would write in C: the measure for error limits. (Rounding the double result of an
 * operation on floats is the float operation, since 53 >= 2 * 24 + 2.)
 */
abstract class Plain {
  /** The values of pnd_dtype. */
  static final int F32 = 0;

  static final int F64 = 1;
  static final int I32 = 2;
  static final int BF16 = 3;

  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;

  private final boolean narrow;

  Plain(boolean narrow) {
    this.narrow = narrow;
  }

  /** The result of one operation, in the working precision. */
  final double round(double value) {
    return narrow ? (float) value : value;
  }

  /** A sum from left to right: Neumaier's, with exact products, or the plain loop in float. */
  final class Sum {
    private double total;
    private double lost;

    void add(double term) {
      if (narrow) {
        total = (float) (total + term);
        return;
      }
      double next = total + term;
      lost += Math.abs(total) >= Math.abs(term) ? total - next + term : term - next + total;
      total = next;
    }

    void add(double a, double b) {
      double product = round(a * b);
      add(product);
      if (!narrow) lost += Math.fma(a, b, -product);
    }

    double value() {
      return narrow || !Double.isFinite(total) ? total : total + lost;
    }
  }

  /** Returns that many sums of nothing. */
  final Sum[] sums(int count) {
    var sums = new Sum[count];
    for (int i = 0; i < count; i++) sums[i] = new Sum();
    return sums;
  }

  /** Returns scale times each sum. */
  final double[] values(Sum[] sums, double scale) {
    var values = new double[sums.length];
    for (int i = 0; i < values.length; i++) values[i] = round(scale * sums[i].value());
    return values;
  }

  /** One operation on an element. */
  interface Unary {
    double of(double x);
  }

  /** One operation on two elements. */
  interface Binary {
    double of(double a, double b);
  }

  static void sizes(long... sizes) {
    long product = 1;
    for (long size : sizes) {
      if (size < 1) throw new IllegalArgumentException("a size is " + size + "; it must be >= 1");
      product = Math.multiplyExact(product, size);
    }
  }

  static void range(String what, long value, long from, long to) {
    if (value < from || value >= to) {
      throw new IllegalArgumentException(
          what + " is " + value + "; it must lie in [" + from + ", " + to + ")");
    }
  }

  static void floats(int dtype) {
    if (dtype != F32 && dtype != F64) throw new IllegalArgumentException("dtype " + dtype);
  }

  static void storedFloats(int dtype) {
    if (dtype != BF16) floats(dtype);
  }

  /** Returns the type of what is computed from a type and not rounded to it. */
  static int sumType(int dtype) {
    return dtype == BF16 ? F32 : dtype;
  }

  /** A factor of a product of two numbers of the type: the plain loop rounds it to the type. */
  final double factor(int dtype, double value) {
    return narrow && dtype == BF16 ? Bf16.round(value) : value;
  }

  static boolean missing(MemorySegment memory) {
    return memory.equals(MemorySegment.NULL);
  }

  static double[] read(int dtype, MemorySegment memory, long... shape) {
    var values = new double[count(memory, shape)];
    for (int i = 0; i < values.length; i++) {
      values[i] =
          switch (dtype) {
            case F32 -> memory.get(FLOAT, 4L * i);
            case F64 -> memory.get(DOUBLE, 8L * i);
            case I32 -> memory.get(INT, 4L * i);
            case BF16 -> Bf16.of(memory.get(SHORT, 2L * i));
            default -> throw new IllegalArgumentException("dtype " + dtype);
          };
    }
    return values;
  }

  static void write(int dtype, MemorySegment memory, double[] values) {
    count(memory, values.length);
    for (int i = 0; i < values.length; i++) {
      switch (dtype) {
        case F32 -> memory.set(FLOAT, 4L * i, (float) values[i]);
        case F64 -> memory.set(DOUBLE, 8L * i, values[i]);
        case I32 -> memory.set(INT, 4L * i, (int) values[i]);
        case BF16 -> memory.set(SHORT, 2L * i, Bf16.bits(values[i]));
        default -> throw new IllegalArgumentException("dtype " + dtype);
      }
    }
  }

  static int[] readIndex(MemorySegment memory, String what, long count, long from, long to) {
    var values = new int[count(memory, count)];
    for (int i = 0; i < values.length; i++) {
      values[i] = memory.get(INT, 4L * i);
      range(what + "[" + i + "]", values[i], from, to);
    }
    return values;
  }

  static long readLong(MemorySegment memory) {
    return memory.get(LONG, 0);
  }

  static void writeLong(MemorySegment memory, long value) {
    memory.set(LONG, 0, value);
  }

  static void writeInt(MemorySegment memory, long at, int value) {
    memory.set(INT, 4 * at, value);
  }

  private static int count(MemorySegment memory, long... shape) {
    if (missing(memory)) throw new IllegalArgumentException("an array is null");
    sizes(shape);
    long product = 1;
    for (long size : shape) product *= size;
    return Math.toIntExact(product);
  }
}
