// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Fast weights. */
abstract class LinkedFastWeights extends LinkedRecurrent {
  LinkedFastWeights(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle FAST_WEIGHTS = handle("IP12L7DI2");
  private final MemorySegment fastWeights = function("fastWeights");

  @Override
  public void fastWeights(
      int dtype,
      MemorySegment out,
      MemorySegment last,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      long chunk,
      double scale,
      int features,
      int normalised) {
    reach(times(bytes(dtype), batch, steps, heads, keys), q, k);
    reach(times(bytes(dtype), batch, steps, heads, values), out, v);
    reach(times(sumBytes(dtype), batch, steps, heads, keys), erase, write);
    reach(times(sumBytes(dtype), batch, steps, heads, decaySize), decay);
    reach(times(sumBytes(dtype), batch, steps, heads), rate);
    reach(times(sumBytes(dtype), batch, heads, keys, values + normalised), last, initial);
    reach(times(4, batch, steps), resets);
    reach(times(4, batch), lengths);
    try {
      check(
          (int)
              FAST_WEIGHTS.invokeExact(
                  fastWeights,
                  context,
                  dtype,
                  out,
                  last,
                  q,
                  k,
                  v,
                  decay,
                  rate,
                  erase,
                  write,
                  initial,
                  resets,
                  lengths,
                  batch,
                  heads,
                  steps,
                  keys,
                  values,
                  decaySize,
                  chunk,
                  scale,
                  features,
                  normalised));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle FAST_WEIGHTS_BACKWARD = handle("IP20L6DI2");
  private final MemorySegment fastWeightsBackward = function("fastWeightsBackward");

  @Override
  public void fastWeightsBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment ddecay,
      MemorySegment drate,
      MemorySegment derase,
      MemorySegment dwrite,
      MemorySegment dinitial,
      MemorySegment dout,
      MemorySegment dlast,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      double scale,
      int features,
      int normalised) {
    reach(times(bytes(dtype), batch, steps, heads, keys), dq, dk, q, k);
    reach(times(bytes(dtype), batch, steps, heads, values), dv, dout, v);
    reach(times(sumBytes(dtype), batch, steps, heads, keys), derase, dwrite, erase, write);
    reach(times(sumBytes(dtype), batch, steps, heads, decaySize), ddecay, decay);
    reach(times(sumBytes(dtype), batch, steps, heads), drate, rate);
    reach(
        times(sumBytes(dtype), batch, heads, keys, values + normalised), dinitial, dlast, initial);
    reach(times(4, batch, steps), resets);
    reach(times(4, batch), lengths);
    try {
      check(
          (int)
              FAST_WEIGHTS_BACKWARD.invokeExact(
                  fastWeightsBackward,
                  context,
                  dtype,
                  dq,
                  dk,
                  dv,
                  ddecay,
                  drate,
                  derase,
                  dwrite,
                  dinitial,
                  dout,
                  dlast,
                  q,
                  k,
                  v,
                  decay,
                  rate,
                  erase,
                  write,
                  initial,
                  resets,
                  lengths,
                  batch,
                  heads,
                  steps,
                  keys,
                  values,
                  decaySize,
                  scale,
                  features,
                  normalised));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
