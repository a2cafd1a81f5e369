// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Reads of a memory. */
abstract class LinkedReads extends LinkedAttention {
  LinkedReads(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle TOP_K_READ = handle("IP7L7D");
  private final MemorySegment topKRead = function("topKRead");

  @Override
  public void topKRead(
      int dtype,
      MemorySegment out,
      MemorySegment p,
      MemorySegment index,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment lengths,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      long start,
      double scale) {
    long rows = times(batch, queries);
    reach(times(bytes(dtype), rows, valueSize), out);
    reach(times(bytes(dtype), rows, count), p);
    reach(times(4, rows, count), index);
    reach(times(bytes(dtype), rows, keySize), q);
    reach(times(bytes(dtype), batch, slots, keySize), keys);
    reach(times(bytes(dtype), batch, slots, valueSize), values);
    reach(times(4, rows), lengths);
    try {
      check(
          (int)
              TOP_K_READ.invokeExact(
                  topKRead, context, dtype, out, p, index, q, keys, values, lengths, batch, queries,
                  slots, keySize, valueSize, count, start, scale));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle TOP_K_READ_BACKWARD = handle("IP9L6D");
  private final MemorySegment topKReadBackward = function("topKReadBackward");

  @Override
  public void topKReadBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment p,
      MemorySegment index,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      double scale) {
    long rows = times(batch, queries);
    reach(times(bytes(dtype), rows, keySize), dq, q);
    reach(times(bytes(dtype), batch, slots, keySize), dkeys, keys);
    reach(times(bytes(dtype), batch, slots, valueSize), dvalues, values);
    reach(times(bytes(dtype), rows, valueSize), dout);
    reach(times(bytes(dtype), rows, count), p);
    reach(times(4, rows, count), index);
    try {
      check(
          (int)
              TOP_K_READ_BACKWARD.invokeExact(
                  topKReadBackward,
                  context,
                  dtype,
                  dq,
                  dkeys,
                  dvalues,
                  dout,
                  q,
                  keys,
                  values,
                  p,
                  index,
                  batch,
                  queries,
                  slots,
                  keySize,
                  valueSize,
                  count,
                  scale));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
