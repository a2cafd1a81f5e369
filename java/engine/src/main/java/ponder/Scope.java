// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * Owns what is allocated while it is open: a training step is one scope. Scopes nest, belong to
 * the thread that opened them, and give their memory back to the device when closed; the device
 * keeps it for the next scope.
 *
 * <pre>{@code
 * try (Scope step = device.open()) {
 *   Tensor loss = model.loss(step.tensor(Shape.of(2, 3), batch));
 *   ...
 * }
 * }</pre>
 */
public final class Scope implements AutoCloseable {
  private final Device device;
  private final Scope parent;
  private final boolean recordingBefore;
  private final Slab slab;

  Scope(Device device, Scope parent, boolean recordingBefore, Slab slab) {
    this.device = device;
    this.parent = parent;
    this.recordingBefore = recordingBefore;
    this.slab = slab;
  }

  /** Returns the device. */
  public Device device() {
    return device;
  }

  String name() {
    return slab.name();
  }

  /** Returns a new tensor of undefined content. */
  Tensor fresh(DType type, Shape shape) {
    requireOpen("tensor");
    Objects.requireNonNull(type, "tensor: type");
    Objects.requireNonNull(shape, "tensor: shape");
    if (shape.size() > Long.MAX_VALUE / type.bytes()) {
      throw new IllegalArgumentException(
          "tensor: the bytes of " + type + " " + shape + " overflow 64 bits");
    }
    MemorySegment memory = slab.take(shape.size() * type.bytes());
    if (device.poisons()) {
      memory.fill((byte) -1);
    }
    Tensor t = new Tensor(slab, type, shape, memory, null);
    if (device.made != null) {
      t.holds = 0;
      device.made.add(t);
    }
    return t;
  }

  /** Gives the memory of a tensor that nobody may use any more to the next one of its size. */
  void giveBack(Tensor t) {
    if (t.home == slab) {
      t.written = Tensor.GIVEN_BACK;
      slab.giveBack(t.memory);
    }
  }

  /**
   * Returns an F32 tensor.
   *
   * @param values as many as the shape has elements, row-major
   */
  public Tensor tensor(Shape shape, float... values) {
    Objects.requireNonNull(values, "tensor: values");
    return filled(DType.F32, shape, values.length, MemorySegment.ofArray(values));
  }

  /**
   * Returns an F64 tensor.
   *
   * @param values as many as the shape has elements, row-major
   */
  public Tensor tensor(Shape shape, double... values) {
    Objects.requireNonNull(values, "tensor: values");
    return filled(DType.F64, shape, values.length, MemorySegment.ofArray(values));
  }

  /**
   * Returns an I32 tensor.
   *
   * @param values as many as the shape has elements, row-major
   */
  public Tensor indices(Shape shape, int... values) {
    Objects.requireNonNull(values, "tensor: values");
    int[] known = values.clone();
    Tensor t = filled(DType.I32, shape, known.length, MemorySegment.ofArray(known));
    t.known = known;
    return t;
  }

  private Tensor filled(DType type, Shape shape, long count, MemorySegment array) {
    Objects.requireNonNull(shape, "tensor: shape");
    if (count != shape.size()) {
      throw new IllegalArgumentException(
          "tensor: shape %s has %s elements, got %s values".formatted(shape, shape.size(), count));
    }
    device.requireUnrecorded("tensor");
    Tensor t = fresh(type, shape);
    device.upload(t.memory, array);
    return t;
  }

  /** Returns a tensor whose elements all are {@code value}, rounded to the type. */
  public Tensor full(DType type, Shape shape, double value) {
    Tensor t = fresh(type, shape);
    device.kernels.fill(type.code(), t.memory, shape.size(), value);
    return t;
  }

  /**
   * Returns uniform numbers in [0, 1): those of {@link Key#uniformFloats} or {@link
   * Key#uniformDoubles}, drawn on the device.
   *
   * @param type F32 or F64
   */
  public Tensor uniform(DType type, Shape shape, Key key) {
    // A graph would give the same numbers again and again.
    device.requireUnrecorded("uniform without a step");
    DType.requireArithmetic("uniform: type", type);
    return drawn(type, shape, key, full(DType.I32, Shape.of(2), 0));
  }

  /**
   * Returns uniform numbers in [0, 1), others for each step; step 0 has those of {@link
   * #uniform(DType, Shape, Key)}.
   *
   * @param type F32 or F64
   * @param step [1], I32, at least 0, read on the device: in a graph each launch has its own
   */
  public Tensor uniform(DType type, Shape shape, Key key, Tensor step) {
    DType.requireArithmetic("uniform: type", type);
    device.check("uniform", "step", step);
    DType.require("uniform: step", step.dtype(), DType.I32);
    Shape.require("uniform: step", step.shape(), Shape.of(1));
    device.uses(step);
    Tensor words = full(DType.I32, Shape.of(2), 0);
    device.kernels.copy(words.memory, step.memory, step.bytes());
    return drawn(type, shape, key, words);
  }

  /** The 64 bits of a step are two words, the lower one first. */
  private Tensor drawn(DType type, Shape shape, Key key, Tensor words) {
    Tensor t = fresh(type, shape);
    device.kernels.uniform(type.code(), t.memory, words.memory, shape.size(), 0, key.value());
    return t;
  }

  /**
   * Returns a copy of a tensor in the scope around this one, where it outlives this scope. The
   * copy has no derivative.
   *
   * @throws IllegalStateException if no scope is around this one
   */
  public Tensor keep(Tensor t) {
    requireOpen("keep");
    device.check("keep", "tensor", t);
    if (parent == null || slab.isGraph()) {
      throw new IllegalStateException(
          "keep: no scope is around " + name() + "; open one, or use a store");
    }
    device.uses(t);
    Tensor kept = parent.fresh(t.dtype(), t.shape());
    device.kernels.copy(kept.memory, t.memory, t.bytes());
    return kept;
  }

  /**
   * Closes the scope and those still open inside it; their tensors cannot be used any more. A
   * second call has no effect.
   *
   * @throws WrongThreadException if another thread opened it
   */
  @Override
  public void close() {
    if (!slab.isOpen()) {
      return;
    }
    leave();
    slab.close();
  }

  /** Ends the scope and those inside it; its memory stays. */
  void leave() {
    device.requireThread("close of " + name());
    for (Scope inner = device.innermost("close");
        inner != this;
        inner = device.innermost("close")) {
      inner.close();
    }
    device.left(this, parent, recordingBefore);
  }

  private void requireOpen(String what) {
    device.requireThread(what);
    if (!slab.isOpen()) {
      throw new IllegalStateException(what + ": " + name() + " is closed");
    }
  }

  @Override
  public String toString() {
    return name() + " of " + device;
  }
}
