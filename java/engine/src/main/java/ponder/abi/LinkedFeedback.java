// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Feedback memory. */
abstract class LinkedFeedback extends LinkedFastWeights {
  LinkedFeedback(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle FEEDBACK = handle("IP19L11D2");
  private final MemorySegment feedback = function("feedback");

  @Override
  public void feedback(
      int dtype,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment x,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base) {
    reach(times(bytes(dtype), batch, steps, layers + 1, width), states);
    reach(times(bytes(dtype), batch, steps, kvHeads, headSize), keys, values);
    reach(times(bytes(dtype), batch, steps, width), x);
    reach(times(bytes(dtype), batch, room, kvHeads, headSize), pastKeys, pastValues);
    reach(times(bytes(dtype), layers, width), attentionGain, mlpGain);
    reach(times(bytes(dtype), layers, width, heads, headSize), query);
    reach(times(bytes(dtype), layers, heads, headSize, width), mix);
    reach(times(bytes(dtype), layers, width, inner), wide);
    reach(times(bytes(dtype), layers, inner, width), narrow);
    reach(times(bytes(dtype), layers + 1), share);
    reach(times(bytes(dtype), width), memoryGain);
    reach(times(bytes(dtype), width, kvHeads, headSize), key, value);
    reach(times(4, batch), first, lengths);
    reach(times(4, batch, steps), resets);
    try {
      check(
          (int)
              FEEDBACK.invokeExact(
                  feedback,
                  context,
                  dtype,
                  states,
                  keys,
                  values,
                  x,
                  pastKeys,
                  pastValues,
                  attentionGain,
                  query,
                  mix,
                  mlpGain,
                  wide,
                  narrow,
                  share,
                  memoryGain,
                  key,
                  value,
                  first,
                  resets,
                  lengths,
                  batch,
                  steps,
                  layers,
                  width,
                  inner,
                  heads,
                  kvHeads,
                  headSize,
                  past,
                  room,
                  window,
                  eps,
                  base));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle FEEDBACK_BACKWARD = handle("IP34L11D2");
  private final MemorySegment feedbackBackward = function("feedbackBackward");

  @Override
  public void feedbackBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dpastKeys,
      MemorySegment dpastValues,
      MemorySegment dattentionGain,
      MemorySegment dquery,
      MemorySegment dmix,
      MemorySegment dmlpGain,
      MemorySegment dwide,
      MemorySegment dnarrow,
      MemorySegment dshare,
      MemorySegment dmemoryGain,
      MemorySegment dkey,
      MemorySegment dvalue,
      MemorySegment dstates,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base) {
    reach(times(bytes(dtype), batch, steps, width), dx);
    reach(
        times(bytes(dtype), batch, room, kvHeads, headSize),
        dpastKeys,
        dpastValues,
        pastKeys,
        pastValues);
    reach(times(bytes(dtype), layers, width), dattentionGain, dmlpGain, attentionGain, mlpGain);
    reach(times(bytes(dtype), layers, width, heads, headSize), dquery, query);
    reach(times(bytes(dtype), layers, heads, headSize, width), dmix, mix);
    reach(times(bytes(dtype), layers, width, inner), dwide, wide);
    reach(times(bytes(dtype), layers, inner, width), dnarrow, narrow);
    reach(times(bytes(dtype), layers + 1), dshare, share);
    reach(times(bytes(dtype), width), dmemoryGain, memoryGain);
    reach(times(bytes(dtype), width, kvHeads, headSize), dkey, dvalue, key, value);
    reach(times(bytes(dtype), batch, steps, layers + 1, width), dstates, states);
    reach(times(bytes(dtype), batch, steps, kvHeads, headSize), dkeys, dvalues, keys, values);
    reach(times(4, batch), first, lengths);
    reach(times(4, batch, steps), resets);
    try {
      check(
          (int)
              FEEDBACK_BACKWARD.invokeExact(
                  feedbackBackward,
                  context,
                  dtype,
                  dx,
                  dpastKeys,
                  dpastValues,
                  dattentionGain,
                  dquery,
                  dmix,
                  dmlpGain,
                  dwide,
                  dnarrow,
                  dshare,
                  dmemoryGain,
                  dkey,
                  dvalue,
                  dstates,
                  dkeys,
                  dvalues,
                  states,
                  keys,
                  values,
                  pastKeys,
                  pastValues,
                  attentionGain,
                  query,
                  mix,
                  mlpGain,
                  wide,
                  narrow,
                  share,
                  memoryGain,
                  key,
                  value,
                  first,
                  resets,
                  lengths,
                  batch,
                  steps,
                  layers,
                  width,
                  inner,
                  heads,
                  kvHeads,
                  headSize,
                  past,
                  room,
                  window,
                  eps,
                  base));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
