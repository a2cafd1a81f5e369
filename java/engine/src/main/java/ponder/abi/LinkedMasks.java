// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Mask sampling. */
abstract class LinkedMasks extends LinkedFeedback {
  LinkedMasks(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle MASK = handle("IP9L7D4I");
  private final MemorySegment mask = function("mask");

  @Override
  public void mask(
      int dtype,
      MemorySegment logProbability,
      MemorySegment inclusion,
      MemorySegment weight,
      MemorySegment corrupted,
      MemorySegment label,
      MemorySegment logits,
      MemorySegment tokens,
      MemorySegment eligible,
      MemorySegment step,
      long rows,
      long length,
      long vocabulary,
      long k,
      long candidates,
      long maskToken,
      long key,
      double rate,
      double floor,
      double maskShare,
      double randomShare,
      int scheme) {
    reach(times(bytes(dtype), rows), logProbability);
    reach(times(bytes(dtype), rows, length), inclusion, weight, logits);
    reach(times(4, rows, length), corrupted, label, tokens, eligible);
    reach(8, step);
    try {
      check(
          (int)
              MASK.invokeExact(
                  mask,
                  context,
                  dtype,
                  logProbability,
                  inclusion,
                  weight,
                  corrupted,
                  label,
                  logits,
                  tokens,
                  eligible,
                  step,
                  rows,
                  length,
                  vocabulary,
                  k,
                  candidates,
                  maskToken,
                  key,
                  rate,
                  floor,
                  maskShare,
                  randomShare,
                  scheme));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle MASK_BACKWARD = handle("IP6L5D2I");
  private final MemorySegment maskBackward = function("maskBackward");

  @Override
  public void maskBackward(
      int dtype,
      MemorySegment dlogits,
      MemorySegment dlogProbability,
      MemorySegment logits,
      MemorySegment inclusion,
      MemorySegment label,
      MemorySegment step,
      long rows,
      long length,
      long k,
      long candidates,
      long key,
      double rate,
      double floor,
      int scheme) {
    reach(times(bytes(dtype), rows), dlogProbability);
    reach(times(bytes(dtype), rows, length), dlogits, logits, inclusion);
    reach(times(4, rows, length), label);
    reach(8, step);
    try {
      check(
          (int)
              MASK_BACKWARD.invokeExact(
                  maskBackward,
                  context,
                  dtype,
                  dlogits,
                  dlogProbability,
                  logits,
                  inclusion,
                  label,
                  step,
                  rows,
                  length,
                  k,
                  candidates,
                  key,
                  rate,
                  floor,
                  scheme));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
