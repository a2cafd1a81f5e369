// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The functions of one library as {@link Kernels}, on one of its contexts, in rooms by family: this
 * one has the optimisers.
 *
 * <p>Each method checks that an array reaches the size that the header gives it before the library
 * is called, so that no wrong size can make it leave an array. Sizes below 1 and sizes that
 * overflow pass, for the library refuses them itself.
 */
final class Linked extends LinkedMasks {
  Linked(Library library, MemorySegment context) {
    super(library, context);
  }

  private static final MethodHandle ADAMW = handle("IP7LD4");
  private final MemorySegment adamw = function("adamw");

  @Override
  public void adamw(
      int dtype,
      MemorySegment parameter,
      MemorySegment first,
      MemorySegment second,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment step,
      MemorySegment scale,
      long n,
      double beta1,
      double beta2,
      double eps,
      double decay) {
    reach(times(bytes(dtype), n), parameter, first, second, gradient);
    reach(bytes(dtype), rate, scale);
    reach(4, step);
    try {
      check(
          (int)
              ADAMW.invokeExact(
                  adamw, context, dtype, parameter, first, second, gradient, rate, step, scale, n,
                  beta1, beta2, eps, decay));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static final MethodHandle SGD = handle("IP5LD2");
  private final MemorySegment sgd = function("sgd");

  @Override
  public void sgd(
      int dtype,
      MemorySegment parameter,
      MemorySegment velocity,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment scale,
      long n,
      double momentum,
      double decay) {
    reach(times(bytes(dtype), n), parameter, velocity, gradient);
    reach(bytes(dtype), rate, scale);
    try {
      check(
          (int)
              SGD.invokeExact(
                  sgd, context, dtype, parameter, velocity, gradient, rate, scale, n, momentum,
                  decay));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
