// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import ponder.DType;
import ponder.Launch;
import ponder.Shape;
import ponder.Tensor;

/**
 * Where the sequences of a recurrent scan begin anew and where they end. Immutable; each method
 * returns another one.
 *
 * <pre>{@code
 * Tensor y = Gru.gru(x, weight, bias, initial, Boundaries.none().resets(resets).lengths(lengths));
 * }</pre>
 *
 * @param resets [batch, steps], I32: where one is not 0, the state is cleared before its step, and
 *     no derivative passes; null for none
 * @param lengths [batch], I32, in [0, steps]: from there on a sequence's state stands still, its x
 *     is not used, and its resets clear nothing, so that the state after the last step is always
 *     the final one; null for all steps
 */
public record Boundaries(Tensor resets, Tensor lengths) {
  private static final Boundaries NONE = new Boundaries(null, null);

  /** Returns one stretch of all steps. */
  public static Boundaries none() {
    return NONE;
  }

  /** Returns these boundaries with resets [batch, steps]. */
  public Boundaries resets(Tensor resets) {
    return new Boundaries(given("resets", resets), lengths);
  }

  /** Returns these boundaries with lengths [batch]. */
  public Boundaries lengths(Tensor lengths) {
    return new Boundaries(resets, given("lengths", lengths));
  }

  private static Tensor given(String name, Tensor t) {
    if (t == null) throw new IllegalArgumentException("boundaries: " + name + " is null");
    return t;
  }

  /** Returns the boundaries at the end of an op's inputs, those that its fields say are there. */
  static Boundaries of(boolean resets, boolean lengths, Tensor... in) {
    return new Boundaries(
        resets ? in[in.length - (lengths ? 2 : 1)] : null, lengths ? in[in.length - 1] : null);
  }

  /** Returns how many of an op's inputs there are. */
  int count() {
    return (resets == null ? 0 : 1) + (lengths == null ? 0 : 1);
  }

  /** Returns an op's inputs: these and then what is given here. */
  Tensor[] after(Tensor... in) {
    List<Tensor> all = new ArrayList<>(Arrays.asList(in));
    if (resets != null) all.add(resets);
    if (lengths != null) all.add(lengths);
    return all.toArray(Tensor[]::new);
  }

  /** Checks the shapes and types against x [batch, steps, ...]. */
  void check(String op, Shape x) {
    if (resets != null) {
      DType.require(op + ": resets", resets.dtype(), DType.I32);
      Shape.require(op + ": resets", resets.shape(), Shape.of(x.dim(0), x.dim(1)), "x", x);
    }
    if (lengths != null) {
      DType.require(op + ": lengths", lengths.dtype(), DType.I32);
      Shape.require(op + ": lengths", lengths.shape(), Shape.of(x.dim(0)), "x", x);
    }
  }

  /** Returns the memory of the resets, or null's. */
  MemorySegment resets(Launch launch) {
    return resets == null ? MemorySegment.NULL : launch.memory(resets);
  }

  /** Returns the memory of the lengths, or null's. */
  MemorySegment lengths(Launch launch) {
    return lengths == null ? MemorySegment.NULL : launch.memory(lengths);
  }

  /** Returns how many steps of x [batch, steps, ...] run, of all sequences together. */
  long running(Shape x) {
    if (lengths == null) return x.dim(0) * x.dim(1);
    return Arrays.stream(lengths.toInts()).asLongStream().sum();
  }
}
