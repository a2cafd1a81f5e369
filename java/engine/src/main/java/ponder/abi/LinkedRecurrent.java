// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Scans of recurrent cells. */
abstract class LinkedRecurrent extends LinkedReads {
  LinkedRecurrent(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle GRU = handle("IP8L3");
  private final MemorySegment gru = function("gru");

  @Override
  public void gru(
      int dtype,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(bytes(dtype), batch, steps, width), hidden);
    reach(times(bytes(dtype), batch, steps, 4, width), gates);
    reach(times(bytes(dtype), batch, steps, 3, width), x);
    reach(times(bytes(dtype), 3, width, width), weight);
    reach(times(sumBytes(dtype), 3, width), bias);
    reach(times(bytes(dtype), batch, width), initial);
    reach(times(4, batch, steps), resets);
    reach(times(4, batch), lengths);
    try {
      check(
          (int)
              GRU.invokeExact(
                  gru, context, dtype, hidden, gates, x, weight, bias, initial, resets, lengths,
                  batch, steps, width));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle GRU_BACKWARD = handle("IP11L3");
  private final MemorySegment gruBackward = function("gruBackward");

  @Override
  public void gruBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitial,
      MemorySegment dhidden,
      MemorySegment weight,
      MemorySegment initial,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(bytes(dtype), batch, steps, width), dhidden, hidden);
    reach(times(bytes(dtype), batch, steps, 4, width), gates);
    reach(times(bytes(dtype), batch, steps, 3, width), dx);
    reach(times(bytes(dtype), 3, width, width), dweight, weight);
    reach(times(sumBytes(dtype), 3, width), dbias);
    reach(times(bytes(dtype), batch, width), dinitial, initial);
    reach(times(4, batch, steps), resets);
    reach(times(4, batch), lengths);
    try {
      check(
          (int)
              GRU_BACKWARD.invokeExact(
                  gruBackward,
                  context,
                  dtype,
                  dx,
                  dweight,
                  dbias,
                  dinitial,
                  dhidden,
                  weight,
                  initial,
                  hidden,
                  gates,
                  resets,
                  lengths,
                  batch,
                  steps,
                  width));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle LSTM = handle("IP10L3");
  private final MemorySegment lstm = function("lstm");

  @Override
  public void lstm(
      int dtype,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(bytes(dtype), batch, steps, width), hidden);
    reach(times(sumBytes(dtype), batch, steps, width), cells);
    reach(times(bytes(dtype), batch, steps, 4, width), gates, x);
    reach(times(bytes(dtype), 4, width, width), weight);
    reach(times(sumBytes(dtype), 4, width), bias);
    reach(times(bytes(dtype), batch, width), initialHidden);
    reach(times(sumBytes(dtype), batch, width), initialCell);
    reach(times(4, batch, steps), resets);
    reach(times(4, batch), lengths);
    try {
      check(
          (int)
              LSTM.invokeExact(
                  lstm,
                  context,
                  dtype,
                  hidden,
                  cells,
                  gates,
                  x,
                  weight,
                  bias,
                  initialHidden,
                  initialCell,
                  resets,
                  lengths,
                  batch,
                  steps,
                  width));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle LSTM_BACKWARD = handle("IP15L3");
  private final MemorySegment lstmBackward = function("lstmBackward");

  @Override
  public void lstmBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitialHidden,
      MemorySegment dinitialCell,
      MemorySegment dhidden,
      MemorySegment dlastCell,
      MemorySegment weight,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(bytes(dtype), batch, steps, width), dhidden, hidden);
    reach(times(sumBytes(dtype), batch, steps, width), cells);
    reach(times(bytes(dtype), batch, steps, 4, width), dx, gates);
    reach(times(bytes(dtype), 4, width, width), dweight, weight);
    reach(times(sumBytes(dtype), 4, width), dbias);
    reach(times(bytes(dtype), batch, width), dinitialHidden, initialHidden);
    reach(times(sumBytes(dtype), batch, width), dinitialCell, dlastCell, initialCell);
    reach(times(4, batch, steps), resets);
    reach(times(4, batch), lengths);
    try {
      check(
          (int)
              LSTM_BACKWARD.invokeExact(
                  lstmBackward,
                  context,
                  dtype,
                  dx,
                  dweight,
                  dbias,
                  dinitialHidden,
                  dinitialCell,
                  dhidden,
                  dlastCell,
                  weight,
                  initialHidden,
                  initialCell,
                  hidden,
                  cells,
                  gates,
                  resets,
                  lengths,
                  batch,
                  steps,
                  width));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
