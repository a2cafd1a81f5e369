// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** The life cycle and the primitive ops. */
abstract class LinkedPrimitives extends Link implements Kernels {
  LinkedPrimitives(Library library, MemorySegment context) {
    super(library, context);
  }

  private final MemorySegment threads = function("threads");

  @Override
  public void threads(MemorySegment threads) {
    reach(4, threads);
    call(this.threads, threads);
  }

  private static final MethodHandle MEMORY = handle("P3");
  private final MemorySegment memory = function("memory");

  @Override
  public void memory(MemorySegment used, MemorySegment peak, MemorySegment limit) {
    reach(8, used, peak, limit);
    try {
      check((int) MEMORY.invokeExact(memory, context, used, peak, limit));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle ALLOCATE = handle("PL");
  private final MemorySegment allocate = function("allocate");

  @Override
  public void allocate(MemorySegment memory, long bytes) {
    reach(8, memory);
    try {
      check((int) ALLOCATE.invokeExact(allocate, context, memory, bytes));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private final MemorySegment release = function("release");

  @Override
  public void release(MemorySegment memory) {
    call(release, memory);
  }

  private final MemorySegment upload = function("upload");

  @Override
  public void upload(MemorySegment to, MemorySegment from, long bytes) {
    reach(bytes, to, from);
    call(upload, to, from, bytes);
  }

  private final MemorySegment download = function("download");

  @Override
  public void download(MemorySegment to, MemorySegment from, long bytes) {
    reach(bytes, to, from);
    call(download, to, from, bytes);
  }

  private final MemorySegment copy = function("copy");

  @Override
  public void copy(MemorySegment to, MemorySegment from, long bytes) {
    reach(bytes, to, from);
    call(copy, to, from, bytes);
  }

  private final MemorySegment synchronize = function("synchronize");

  @Override
  public void synchronize() {
    call(synchronize);
  }

  private final MemorySegment stream = function("stream");

  @Override
  public void stream(MemorySegment stream) {
    reach(8, stream);
    call(this.stream, stream);
  }

  private final MemorySegment record = function("record");

  @Override
  public void record() {
    call(record);
  }

  private final MemorySegment recorded = function("recorded");

  @Override
  public void recorded(MemorySegment graph) {
    reach(8, graph);
    call(recorded, graph);
  }

  private final MemorySegment launch = function("launch");

  @Override
  public void launch(MemorySegment graph) {
    call(launch, graph);
  }

  private final MemorySegment releaseGraph = function("releaseGraph");

  @Override
  public void releaseGraph(MemorySegment graph) {
    call(releaseGraph, graph);
  }

  private static final MethodHandle FILL = handle("IPLD");
  private final MemorySegment fill = function("fill");

  @Override
  public void fill(int dtype, MemorySegment y, long n, double value) {
    reach(times(bytes(dtype), n), y);
    try {
      check((int) FILL.invokeExact(fill, context, dtype, y, n, value));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle CAST = handle("IP2LI");
  private final MemorySegment cast = function("cast");

  @Override
  public void cast(int dtype, MemorySegment y, MemorySegment x, long n, int from) {
    reach(times(bytes(dtype), n), y);
    reach(times(bytes(from), n), x);
    try {
      check((int) CAST.invokeExact(cast, context, dtype, y, x, n, from));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle AFFINE = handle("IP2LD2");
  private final MemorySegment affine = function("affine");

  @Override
  public void affine(
      int dtype, MemorySegment y, MemorySegment x, long n, double scale, double shift) {
    reach(times(bytes(dtype), n), y, x);
    try {
      check((int) AFFINE.invokeExact(affine, context, dtype, y, x, n, scale, shift));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle POWER = handle("IP2LD");
  private final MemorySegment power = function("power");

  @Override
  public void power(int dtype, MemorySegment y, MemorySegment x, long n, double exponent) {
    reach(times(bytes(dtype), n), y, x);
    try {
      check((int) POWER.invokeExact(power, context, dtype, y, x, n, exponent));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private final MemorySegment exp = function("exp");

  @Override
  public void exp(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(exp, dtype, y, x, n);
  }

  private final MemorySegment log = function("log");

  @Override
  public void log(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(log, dtype, y, x, n);
  }

  private final MemorySegment tanh = function("tanh");

  @Override
  public void tanh(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(tanh, dtype, y, x, n);
  }

  private final MemorySegment sigmoid = function("sigmoid");

  @Override
  public void sigmoid(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(sigmoid, dtype, y, x, n);
  }

  private final MemorySegment add = function("add");

  @Override
  public void add(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y, a);
    reach(times(bytes(dtype), outer, inner), b);
    call(add, dtype, y, a, b, outer, mid, inner);
  }

  private final MemorySegment sub = function("sub");

  @Override
  public void sub(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y, a);
    reach(times(bytes(dtype), outer, inner), b);
    call(sub, dtype, y, a, b, outer, mid, inner);
  }

  private final MemorySegment mul = function("mul");

  @Override
  public void mul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y, a);
    reach(times(bytes(dtype), outer, inner), b);
    call(mul, dtype, y, a, b, outer, mid, inner);
  }

  private final MemorySegment div = function("div");

  @Override
  public void div(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y, a);
    reach(times(bytes(dtype), outer, inner), b);
    call(div, dtype, y, a, b, outer, mid, inner);
  }

  private final MemorySegment maximum = function("maximum");

  @Override
  public void maximum(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y, a);
    reach(times(bytes(dtype), outer, inner), b);
    call(maximum, dtype, y, a, b, outer, mid, inner);
  }

  private final MemorySegment greater = function("greater");

  @Override
  public void greater(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y, a);
    reach(times(bytes(dtype), outer, inner), b);
    call(greater, dtype, y, a, b, outer, mid, inner);
  }

  private final MemorySegment sum = function("sum");

  @Override
  public void sum(int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    reach(times(bytes(dtype), outer, inner), y);
    reach(times(bytes(dtype), outer, mid, inner), x);
    call(sum, dtype, y, x, outer, mid, inner);
  }

  private final MemorySegment largest = function("largest");

  @Override
  public void largest(
      int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    reach(times(bytes(dtype), outer, inner), y);
    reach(times(bytes(dtype), outer, mid, inner), x);
    call(largest, dtype, y, x, outer, mid, inner);
  }

  private final MemorySegment broadcast = function("broadcast");

  @Override
  public void broadcast(
      int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    reach(times(bytes(dtype), outer, mid, inner), y);
    reach(times(bytes(dtype), outer, inner), x);
    call(broadcast, dtype, y, x, outer, mid, inner);
  }

  private final MemorySegment squareSum = function("squareSum");

  @Override
  public void squareSum(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(bytes(dtype), y);
    reach(times(bytes(dtype), n), x);
    call(squareSum, dtype, y, x, n);
  }

  private final MemorySegment swapAxes = function("swapAxes");

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
    reach(times(bytes(dtype), outer, first, mid, second, inner), y, x);
    call(swapAxes, dtype, y, x, outer, first, mid, second, inner);
  }

  private final MemorySegment slice = function("slice");

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
    reach(times(bytes(dtype), outer, count, inner), y);
    reach(times(bytes(dtype), outer, size, inner), x);
    call(slice, dtype, y, x, outer, size, inner, start, count);
  }

  private final MemorySegment pad = function("pad");

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
    reach(times(bytes(dtype), outer, size, inner), y);
    reach(times(bytes(dtype), outer, count, inner), x);
    call(pad, dtype, y, x, outer, size, inner, start, count);
  }

  private final MemorySegment put = function("put");

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
    reach(times(bytes(dtype), outer, size, inner), y);
    reach(times(bytes(dtype), outer, count, inner), x);
    reach(times(4, outer), start);
    call(put, dtype, y, x, start, outer, size, inner, count);
  }

  private final MemorySegment concat = function("concat");

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
    reach(times(bytes(dtype), outer, aSize, inner), a);
    reach(times(bytes(dtype), outer, bSize, inner), b);
    reach(times(bytes(dtype), outer, aSize + bSize, inner), y);
    call(concat, dtype, y, a, b, outer, aSize, bSize, inner);
  }

  private final MemorySegment gather = function("gather");

  @Override
  public void gather(
      int dtype,
      MemorySegment y,
      MemorySegment table,
      MemorySegment index,
      long count,
      long rows,
      long cols) {
    reach(times(bytes(dtype), count, cols), y);
    reach(times(bytes(dtype), rows, cols), table);
    reach(times(4, count), index);
    call(gather, dtype, y, table, index, count, rows, cols);
  }

  private final MemorySegment scatterAdd = function("scatterAdd");

  @Override
  public void scatterAdd(
      int dtype,
      MemorySegment table,
      MemorySegment x,
      MemorySegment index,
      long count,
      long rows,
      long cols) {
    reach(times(bytes(dtype), rows, cols), table);
    reach(times(bytes(dtype), count, cols), x);
    reach(times(4, count), index);
    call(scatterAdd, dtype, table, x, index, count, rows, cols);
  }

  private final MemorySegment oneHot = function("oneHot");

  @Override
  public void oneHot(int dtype, MemorySegment y, MemorySegment index, long count, long classes) {
    reach(times(bytes(dtype), count, classes), y);
    reach(times(4, count), index);
    call(oneHot, dtype, y, index, count, classes);
  }

  private static final MethodHandle PHILOX = handle("P2L4");
  private final MemorySegment philox = function("philox");

  @Override
  public void philox(MemorySegment y, MemorySegment step, long n, long first, long row, long key) {
    reach(times(4, n), y);
    reach(8, step);
    try {
      check((int) PHILOX.invokeExact(philox, context, y, step, n, first, row, key));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private final MemorySegment uniform = function("uniform");

  @Override
  public void uniform(int dtype, MemorySegment y, MemorySegment step, long n, long row, long key) {
    reach(times(bytes(dtype), n), y);
    reach(8, step);
    call(uniform, dtype, y, step, n, row, key);
  }

  private static final MethodHandle MATMUL = handle("IP3L4I2");
  private final MemorySegment matmul = function("matmul");

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
    reach(times(bytes(dtype), batch, rows, cols), y);
    reach(times(bytes(dtype), batch, rows, inner), a);
    reach(times(bytes(dtype), batch, inner, cols), b);
    try {
      check(
          (int)
              MATMUL.invokeExact(
                  matmul,
                  context,
                  dtype,
                  y,
                  a,
                  b,
                  batch,
                  rows,
                  cols,
                  inner,
                  aTransposed,
                  bTransposed));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
