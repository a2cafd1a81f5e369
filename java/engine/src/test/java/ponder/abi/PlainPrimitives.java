// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** The memory functions and the primitives of the header, each written as its formula. */
abstract class PlainPrimitives extends Plain implements Kernels {
  private final Map<Long, Arena> held = new HashMap<>();
  private final Map<Long, Long> sizes = new HashMap<>();
  private long used;
  private long peak;

  PlainPrimitives(boolean narrow) {
    super(narrow);
  }

  @Override
  public void threads(MemorySegment threads) {
    writeInt(threads, 0, 1);
  }

  @Override
  public void memory(MemorySegment used, MemorySegment peak, MemorySegment limit) {
    writeLong(used, this.used);
    writeLong(peak, this.peak);
    writeLong(limit, Runtime.getRuntime().maxMemory());
  }

  @Override
  public void allocate(MemorySegment memory, long bytes) {
    sizes(bytes);
    var arena = Arena.ofShared();
    long address = arena.allocate(bytes, 64).address();
    held.put(address, arena);
    sizes.put(address, bytes);
    used += bytes;
    peak = Math.max(peak, used);
    writeLong(memory, address);
  }

  @Override
  public void release(MemorySegment memory) {
    var arena = held.remove(memory.address());
    if (arena == null) throw new IllegalArgumentException("release: memory is not held");
    used -= sizes.remove(memory.address());
    arena.close();
  }

  @Override
  public void upload(MemorySegment to, MemorySegment from, long bytes) {
    copy(to, from, bytes);
  }

  @Override
  public void download(MemorySegment to, MemorySegment from, long bytes) {
    copy(to, from, bytes);
  }

  @Override
  public void copy(MemorySegment to, MemorySegment from, long bytes) {
    sizes(bytes);
    MemorySegment.copy(from, 0, to, 0, bytes);
  }

  @Override
  public void synchronize() {}

  @Override
  public void stream(MemorySegment stream) {
    stream.set(ADDRESS, 0, MemorySegment.NULL);
  }

  @Override
  public void record() {
    throw new UnsupportedOperationException("plain loops record no calls");
  }

  @Override
  public void recorded(MemorySegment graph) {
    record();
  }

  @Override
  public void launch(MemorySegment graph) {
    record();
  }

  @Override
  public void releaseGraph(MemorySegment graph) {
    record();
  }

  @Override
  public void fill(int dtype, MemorySegment y, long n, double value) {
    sizes(n);
    var result = new double[Math.toIntExact(n)];
    // An int takes the nearest whole number, as the float types take their nearest value.
    Arrays.fill(result, dtype == I32 ? Math.rint(value) : value);
    write(dtype, y, result);
  }

  @Override
  public void cast(int dtype, MemorySegment y, MemorySegment x, long n, int from) {
    storedFloats(dtype);
    storedFloats(from);
    write(dtype, y, read(from, x, n));
  }

  @Override
  public void affine(
      int dtype, MemorySegment y, MemorySegment x, long n, double scale, double shift) {
    double a = round(scale);
    double b = round(shift);
    map(dtype, y, x, n, v -> round(round(a * v) + b));
  }

  @Override
  public void power(int dtype, MemorySegment y, MemorySegment x, long n, double exponent) {
    map(dtype, y, x, n, v -> power(v, exponent));
  }

  private double power(double x, double exponent) {
    if (exponent == -2) return round(1 / round(x * x));
    if (exponent == -1) return round(1 / x);
    if (exponent == -0.5) return round(1 / round(Math.sqrt(x)));
    if (exponent == 0) return 1;
    if (exponent == 0.5) return round(Math.sqrt(x));
    if (exponent == 1) return x;
    if (exponent == 2) return round(x * x);
    if (exponent == 3) return round(x * round(x * x));
    return round(Math.exp(round(exponent * round(Math.log(x)))));
  }

  @Override
  public void exp(int dtype, MemorySegment y, MemorySegment x, long n) {
    map(dtype, y, x, n, v -> round(StrictMath.exp(v)));
  }

  @Override
  public void log(int dtype, MemorySegment y, MemorySegment x, long n) {
    map(dtype, y, x, n, v -> round(StrictMath.log(v)));
  }

  @Override
  public void tanh(int dtype, MemorySegment y, MemorySegment x, long n) {
    map(dtype, y, x, n, v -> round(StrictMath.tanh(v)));
  }

  @Override
  public void sigmoid(int dtype, MemorySegment y, MemorySegment x, long n) {
    map(dtype, y, x, n, this::sigmoid);
  }

  final double sigmoid(double x) {
    return round(1 / round(1 + round(StrictMath.exp(-x))));
  }

  /** y[i] = f(x[i]). */
  final void map(int dtype, MemorySegment y, MemorySegment x, long n, Unary f) {
    floats(dtype);
    double[] values = read(dtype, x, n);
    for (int i = 0; i < values.length; i++) values[i] = f.of(values[i]);
    write(dtype, y, values);
  }

  @Override
  public void add(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    combine(dtype, y, a, b, outer, mid, inner, (s, t) -> round(s + t));
  }

  @Override
  public void sub(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    combine(dtype, y, a, b, outer, mid, inner, (s, t) -> round(s - t));
  }

  @Override
  public void mul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    combine(dtype, y, a, b, outer, mid, inner, (s, t) -> round(s * t));
  }

  @Override
  public void div(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    combine(dtype, y, a, b, outer, mid, inner, (s, t) -> round(s / t));
  }

  @Override
  public void maximum(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    combine(dtype, y, a, b, outer, mid, inner, (s, t) -> s < t || t != t ? t : s);
  }

  @Override
  public void greater(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    combine(dtype, y, a, b, outer, mid, inner, (s, t) -> s > t ? 1 : 0);
  }

  /** y[o,m,i] = f(a[o,m,i], b[o,i]). */
  private static void combine(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner,
      Binary f) {
    floats(dtype);
    double[] values = read(dtype, a, outer, mid, inner);
    double[] others = read(dtype, b, outer, inner);
    for (int o = 0; o < outer; o++) {
      for (int m = 0; m < mid; m++) {
        for (int i = 0; i < inner; i++) {
          int at = (int) ((o * mid + m) * inner + i);
          values[at] = f.of(values[at], others[(int) (o * inner + i)]);
        }
      }
    }
    write(dtype, y, values);
  }

  @Override
  public void sum(int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    floats(dtype);
    double[] values = read(dtype, x, outer, mid, inner);
    var result = new double[(int) (outer * inner)];
    for (int o = 0; o < outer; o++) {
      for (int i = 0; i < inner; i++) {
        var sum = new Sum();
        for (int m = 0; m < mid; m++) sum.add(values[(int) ((o * mid + m) * inner + i)]);
        result[(int) (o * inner + i)] = sum.value();
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void largest(
      int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    floats(dtype);
    double[] values = read(dtype, x, outer, mid, inner);
    var result = new double[(int) (outer * inner)];
    for (int o = 0; o < outer; o++) {
      for (int i = 0; i < inner; i++) {
        double largest = Double.NEGATIVE_INFINITY;
        for (int m = 0; m < mid; m++) {
          // Math.max gives NaN if either is NaN.
          largest = Math.max(largest, values[(int) ((o * mid + m) * inner + i)]);
        }
        result[(int) (o * inner + i)] = largest;
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void broadcast(
      int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    sizes(outer, mid, inner);
    double[] values = read(dtype, x, outer, inner);
    var result = new double[(int) (outer * mid * inner)];
    for (int o = 0; o < outer; o++) {
      for (int m = 0; m < mid; m++) {
        for (int i = 0; i < inner; i++) {
          result[(int) ((o * mid + m) * inner + i)] = values[(int) (o * inner + i)];
        }
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void squareSum(int dtype, MemorySegment y, MemorySegment x, long n) {
    floats(dtype);
    var sum = new Sum();
    for (double value : read(dtype, x, n)) sum.add(value, value);
    write(dtype, y, new double[] {sum.value()});
  }

  @Override
  public void swapAxes(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long first,
      long mid,
      long second,
      long inner) {
    double[] values = read(dtype, x, outer, first, mid, second, inner);
    var result = new double[values.length];
    int from = 0;
    for (long o = 0; o < outer; o++) {
      for (long f = 0; f < first; f++) {
        for (long m = 0; m < mid; m++) {
          for (long s = 0; s < second; s++) {
            for (long i = 0; i < inner; i++) {
              long to = (((o * second + s) * mid + m) * first + f) * inner + i;
              result[(int) to] = values[from++];
            }
          }
        }
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void slice(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long size,
      long inner,
      long start,
      long count) {
    sizes(count);
    range("start", start, 0, size - count + 1);
    double[] values = read(dtype, x, outer, size, inner);
    var result = new double[(int) (outer * count * inner)];
    for (long o = 0; o < outer; o++) {
      for (long c = 0; c < count; c++) {
        for (long i = 0; i < inner; i++) {
          result[(int) ((o * count + c) * inner + i)] =
              values[(int) ((o * size + start + c) * inner + i)];
        }
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void pad(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long size,
      long inner,
      long start,
      long count) {
    sizes(outer, size, inner);
    range("start", start, 0, size - count + 1);
    double[] values = read(dtype, x, outer, count, inner);
    var result = new double[(int) (outer * size * inner)];
    for (long o = 0; o < outer; o++) {
      for (long c = 0; c < count; c++) {
        for (long i = 0; i < inner; i++) {
          result[(int) ((o * size + start + c) * inner + i)] =
              values[(int) ((o * count + c) * inner + i)];
        }
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void put(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      MemorySegment start,
      long outer,
      long size,
      long inner,
      long count) {
    sizes(count);
    int[] starts = readIndex(start, "start", outer, 0, size - count + 1);
    double[] values = read(dtype, x, outer, count, inner);
    double[] result = read(dtype, y, outer, size, inner);
    int run = (int) (count * inner);
    for (int o = 0; o < outer; o++) {
      System.arraycopy(values, o * run, result, (int) ((o * size + starts[o]) * inner), run);
    }
    write(dtype, y, result);
  }

  @Override
  public void concat(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long aSize,
      long bSize,
      long inner) {
    double[] first = read(dtype, a, outer, aSize, inner);
    double[] then = read(dtype, b, outer, bSize, inner);
    var result = new double[first.length + then.length];
    int to = 0;
    for (long o = 0; o < outer; o++) {
      for (long i = 0; i < aSize * inner; i++) result[to++] = first[(int) (o * aSize * inner + i)];
      for (long i = 0; i < bSize * inner; i++) result[to++] = then[(int) (o * bSize * inner + i)];
    }
    write(dtype, y, result);
  }

  @Override
  public void gather(
      int dtype,
      MemorySegment y,
      MemorySegment table,
      MemorySegment index,
      long count,
      long rows,
      long cols) {
    double[] values = read(dtype, table, rows, cols);
    int[] place = readIndex(index, "index", count, 0, rows);
    var result = new double[(int) (count * cols)];
    for (int n = 0; n < count; n++) {
      for (int c = 0; c < cols; c++) {
        result[(int) (n * cols + c)] = values[(int) (place[n] * cols + c)];
      }
    }
    write(dtype, y, result);
  }

  @Override
  public void scatterAdd(
      int dtype,
      MemorySegment table,
      MemorySegment x,
      MemorySegment index,
      long count,
      long rows,
      long cols) {
    sizes(rows);
    floats(dtype);
    double[] values = read(dtype, x, count, cols);
    int[] place = readIndex(index, "index", count, 0, rows);
    var result = new double[(int) (rows * cols)];
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < cols; c++) {
        var sum = new Sum();
        for (int n = 0; n < count; n++) {
          if (place[n] == r) sum.add(values[(int) (n * cols + c)]);
        }
        result[(int) (r * cols + c)] = sum.value();
      }
    }
    write(dtype, table, result);
  }

  @Override
  public void oneHot(int dtype, MemorySegment y, MemorySegment index, long count, long classes) {
    sizes(classes);
    floats(dtype);
    int[] place = readIndex(index, "index", count, -1, classes);
    var result = new double[(int) (count * classes)];
    for (int n = 0; n < count; n++) {
      if (place[n] >= 0) result[(int) (n * classes + place[n])] = 1;
    }
    write(dtype, y, result);
  }

  @Override
  public void philox(MemorySegment y, MemorySegment step, long n, long first, long row, long key) {
    sizes(n);
    for (long j = 0; 4 * j < n; j++) {
      int[] block = philox(first + j, row, readLong(step), key);
      for (int w = 0; w < 4 && 4 * j + w < n; w++) writeInt(y, 4 * j + w, block[w]);
    }
  }

  @Override
  public void uniform(int dtype, MemorySegment y, MemorySegment step, long n, long row, long key) {
    sizes(n);
    floats(dtype);
    var result = new double[Math.toIntExact(n)];
    for (int i = 0; i < n; i++) {
      if (dtype == F32) {
        result[i] = (word(i, row, readLong(step), key) >>> 8) * 0x1p-24;
      } else {
        long high = word(2L * i, row, readLong(step), key);
        long low = word(2L * i + 1, row, readLong(step), key);
        result[i] = ((high << 21) + (low >>> 11)) * 0x1p-53;
      }
    }
    write(dtype, y, result);
  }

  private static long word(long i, long row, long step, long key) {
    return Integer.toUnsignedLong(philox(i / 4, row, step, key)[(int) (i % 4)]);
  }

  /** One block of Philox4x32-10: ten rounds, the key raised by the Weyl constants between them. */
  static int[] philox(long block, long row, long step, long key) {
    int[] c = {(int) block, (int) row, (int) step, (int) (step >>> 32)};
    int low = (int) key;
    int high = (int) (key >>> 32);
    for (int turn = 0; turn < 10; turn++) {
      long a = 0xD2511F53L * Integer.toUnsignedLong(c[0]);
      long b = 0xCD9E8D57L * Integer.toUnsignedLong(c[2]);
      c =
          new int[] {
            (int) (b >>> 32) ^ c[1] ^ low, (int) b, (int) (a >>> 32) ^ c[3] ^ high, (int) a
          };
      low += 0x9E3779B9;
      high += 0xBB67AE85;
    }
    return c;
  }

  @Override
  public void matmul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long batch,
      long rows,
      long cols,
      long inner,
      int aTransposed,
      int bTransposed) {
    storedFloats(dtype);
    double[] left = read(dtype, a, batch, rows, inner);
    double[] right = read(dtype, b, batch, inner, cols);
    var result = new double[(int) (batch * rows * cols)];
    int at = 0;
    for (long g = 0; g < batch; g++) {
      for (long r = 0; r < rows; r++) {
        for (long c = 0; c < cols; c++) {
          var sum = new Sum();
          for (long k = 0; k < inner; k++) {
            long i = aTransposed != 0 ? (g * inner + k) * rows + r : (g * rows + r) * inner + k;
            long j = bTransposed != 0 ? (g * cols + c) * inner + k : (g * inner + k) * cols + c;
            sum.add(left[(int) i], right[(int) j]);
          }
          result[at++] = sum.value();
        }
      }
    }
    write(dtype, y, result);
  }
}
