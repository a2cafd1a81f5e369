// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Softmax, normalisation, activations, positions and the loss. */
abstract class LinkedLayers extends LinkedPrimitives {
  LinkedLayers(Library library, MemorySegment context) {
    super(library, context);
  }

  private final MemorySegment softmax = function("softmax");

  @Override
  public void softmax(int dtype, MemorySegment y, MemorySegment x, long rows, long cols) {
    reach(times(bytes(dtype), rows, cols), y, x);
    call(softmax, dtype, y, x, rows, cols);
  }

  private static final MethodHandle SOFTMAX_BACKWARD = handle("IP3L2");
  private final MemorySegment softmaxBackward = function("softmaxBackward");

  @Override
  public void softmaxBackward(
      int dtype, MemorySegment dx, MemorySegment dy, MemorySegment y, long rows, long cols) {
    reach(times(bytes(dtype), rows, cols), dx, dy, y);
    try {
      check(
          (int)
              SOFTMAX_BACKWARD.invokeExact(softmaxBackward, context, dtype, dx, dy, y, rows, cols));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle LAYER_NORM = handle("IP6L2D");
  private final MemorySegment layerNorm = function("layerNorm");

  @Override
  public void layerNorm(
      int dtype,
      MemorySegment y,
      MemorySegment mean,
      MemorySegment rstd,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment bias,
      long rows,
      long cols,
      double eps) {
    reach(times(bytes(dtype), rows, cols), y, x);
    reach(times(bytes(dtype), cols), gain, bias);
    reach(times(bytes(dtype), rows), mean, rstd);
    try {
      check(
          (int)
              LAYER_NORM.invokeExact(
                  layerNorm, context, dtype, y, mean, rstd, x, gain, bias, rows, cols, eps));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle LAYER_NORM_BACKWARD = handle("IP8L2");
  private final MemorySegment layerNormBackward = function("layerNormBackward");

  @Override
  public void layerNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dbias,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment mean,
      MemorySegment rstd,
      long rows,
      long cols) {
    reach(times(bytes(dtype), rows, cols), dx, dy, x);
    reach(times(bytes(dtype), cols), dgain, dbias, gain);
    reach(times(bytes(dtype), rows), mean, rstd);
    try {
      check(
          (int)
              LAYER_NORM_BACKWARD.invokeExact(
                  layerNormBackward,
                  context,
                  dtype,
                  dx,
                  dgain,
                  dbias,
                  dy,
                  x,
                  gain,
                  mean,
                  rstd,
                  rows,
                  cols));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle RMS_NORM = handle("IP4L2D");
  private final MemorySegment rmsNorm = function("rmsNorm");

  @Override
  public void rmsNorm(
      int dtype,
      MemorySegment y,
      MemorySegment scale,
      MemorySegment x,
      MemorySegment gain,
      long rows,
      long cols,
      double eps) {
    reach(times(bytes(dtype), rows, cols), y, x);
    reach(times(bytes(dtype), cols), gain);
    reach(times(bytes(dtype), rows), scale);
    try {
      check(
          (int) RMS_NORM.invokeExact(rmsNorm, context, dtype, y, scale, x, gain, rows, cols, eps));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle RMS_NORM_BACKWARD = handle("IP6L2");
  private final MemorySegment rmsNormBackward = function("rmsNormBackward");

  @Override
  public void rmsNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment scale,
      long rows,
      long cols) {
    reach(times(bytes(dtype), rows, cols), dx, dy, x);
    reach(times(bytes(dtype), cols), dgain, gain);
    reach(times(bytes(dtype), rows), scale);
    try {
      check(
          (int)
              RMS_NORM_BACKWARD.invokeExact(
                  rmsNormBackward, context, dtype, dx, dgain, dy, x, gain, scale, rows, cols));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private final MemorySegment gelu = function("gelu");

  @Override
  public void gelu(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(gelu, dtype, y, x, n);
  }

  private final MemorySegment geluBackward = function("geluBackward");

  @Override
  public void geluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), dx, dy, x);
    call(geluBackward, dtype, dx, dy, x, n);
  }

  private final MemorySegment silu = function("silu");

  @Override
  public void silu(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(silu, dtype, y, x, n);
  }

  private final MemorySegment siluBackward = function("siluBackward");

  @Override
  public void siluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), dx, dy, x);
    call(siluBackward, dtype, dx, dy, x, n);
  }

  private final MemorySegment rotary = function("rotary");

  @Override
  public void rotary(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base) {
    reach(times(bytes(dtype), batch, steps, heads, headSize), y, x);
    call(rotary, dtype, y, x, batch, steps, heads, headSize, start, base);
  }

  private final MemorySegment rotaryBackward = function("rotaryBackward");

  @Override
  public void rotaryBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dy,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base) {
    reach(times(bytes(dtype), batch, steps, heads, headSize), dx, dy);
    call(rotaryBackward, dtype, dx, dy, batch, steps, heads, headSize, start, base);
  }

  private static final MethodHandle CROSS_ENTROPY = handle("IP5L3");
  private final MemorySegment crossEntropy = function("crossEntropy");

  @Override
  public void crossEntropy(
      int dtype,
      MemorySegment loss,
      MemorySegment lse,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      long rows,
      long classes,
      long width) {
    reach(times(bytes(dtype), rows, width), x);
    reach(times(bytes(dtype), classes, width), weight);
    reach(times(bytes(dtype), rows), loss, lse);
    reach(times(4, rows), target);
    try {
      check(
          (int)
              CROSS_ENTROPY.invokeExact(
                  crossEntropy,
                  context,
                  dtype,
                  loss,
                  lse,
                  x,
                  weight,
                  target,
                  rows,
                  classes,
                  width));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle CROSS_ENTROPY_BACKWARD = handle("IP7L3");
  private final MemorySegment crossEntropyBackward = function("crossEntropyBackward");

  @Override
  public void crossEntropyBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dloss,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      MemorySegment lse,
      long rows,
      long classes,
      long width) {
    reach(times(bytes(dtype), rows, width), dx, x);
    reach(times(bytes(dtype), classes, width), dweight, weight);
    reach(times(bytes(dtype), rows), dloss, lse);
    reach(times(4, rows), target);
    try {
      check(
          (int)
              CROSS_ENTROPY_BACKWARD.invokeExact(
                  crossEntropyBackward,
                  context,
                  dtype,
                  dx,
                  dweight,
                  dloss,
                  x,
                  weight,
                  target,
                  lse,
                  rows,
                  classes,
                  width));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
