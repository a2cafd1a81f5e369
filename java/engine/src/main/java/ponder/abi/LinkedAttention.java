// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Attention. */
abstract class LinkedAttention extends LinkedLayers {
  LinkedAttention(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle ATTENTION = handle("IP9L11DI2");
  private final MemorySegment attention = function("attention");

  @Override
  public void attention(
      int dtype,
      MemorySegment out,
      MemorySegment lse,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated) {
    reach(times(bytes(dtype), batch, qSteps, heads, headSize), out, q);
    reach(times(bytes(dtype), batch, kSteps, kvHeads, headSize), k, v);
    reach(times(sumBytes(dtype), batch, heads, qSteps), lse);
    reach(times(bytes(dtype), maskBatch, maskHeads, maskSteps, kSteps), mask);
    reach(times(4, batch), lengths);
    reach(times(4, segments + 1), qStarts, kStarts);
    try {
      check(
          (int)
              ATTENTION.invokeExact(
                  attention, context, dtype, out, lse, q, k, v, mask, lengths, qStarts, kStarts,
                  batch, heads, kvHeads, qSteps, kSteps, headSize, maskBatch, maskHeads, maskSteps,
                  segments, window, scale, causal, gated));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle ATTENTION_BACKWARD = handle("IP14L11DI2");
  private final MemorySegment attentionBackward = function("attentionBackward");

  @Override
  public void attentionBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment dmask,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      MemorySegment out,
      MemorySegment lse,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated) {
    reach(times(bytes(dtype), batch, qSteps, heads, headSize), dq, dout, q, out);
    reach(times(bytes(dtype), batch, kSteps, kvHeads, headSize), dk, dv, k, v);
    reach(times(sumBytes(dtype), batch, heads, qSteps), lse);
    reach(times(bytes(dtype), maskBatch, maskHeads, maskSteps, kSteps), dmask, mask);
    reach(times(4, batch), lengths);
    reach(times(4, segments + 1), qStarts, kStarts);
    try {
      check(
          (int)
              ATTENTION_BACKWARD.invokeExact(
                  attentionBackward,
                  context,
                  dtype,
                  dq,
                  dk,
                  dv,
                  dmask,
                  dout,
                  q,
                  k,
                  v,
                  mask,
                  lengths,
                  qStarts,
                  kStarts,
                  out,
                  lse,
                  batch,
                  heads,
                  kvHeads,
                  qSteps,
                  kSteps,
                  headSize,
                  maskBatch,
                  maskHeads,
                  maskSteps,
                  segments,
                  window,
                  scale,
                  causal,
                  gated));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
