// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * Named values at fixed addresses that outlive scopes: parameters, optimiser state, carried state.
 * The tensor of a name stays the same object; {@link #replace} and {@link #update} write its
 * memory. What was computed from the former value keeps its result, but its derivative is refused:
 * a step replaces after its last reader.
 */
public final class Store implements AutoCloseable {
  private final Device device;
  private final Slab slab;
  private final Map<String, Tensor> values = new LinkedHashMap<>();
  private final Leak leak;

  Store(Device device) {
    this.device = device;
    this.slab = new Slab(device, "store", Arena.ofShared(), device.pool);
    this.leak = Leak.watch(this, slab.name() + " of " + device);
  }

  /** Returns the device. */
  public Device device() {
    return device;
  }

  /**
   * Adds a value.
   *
   * @param name a name the store does not have yet
   * @param initial the value to copy
   * @return the tensor of that name from now on
   */
  public Tensor add(String name, Tensor initial) {
    requireOpen("add");
    device.requireUnrecorded("store: add");
    if (name == null || name.isEmpty()) {
      throw new IllegalArgumentException("store: a value needs a name");
    }
    device.check("store: " + name, "initial value", initial);
    if (values.containsKey(name)) {
      throw new IllegalArgumentException("store: there is a value \"" + name + "\" already");
    }
    Tensor t = new Tensor(slab, initial.dtype(), initial.shape(), slab.take(initial.bytes()), null);
    device.kernels.copy(t.memory, initial.memory, t.bytes());
    t.known = initial.base.known;
    values.put(name, t);
    return t;
  }

  /**
   * Returns the tensor of a name.
   *
   * @throws IllegalArgumentException if there is none
   */
  public Tensor get(String name) {
    requireOpen("get");
    Tensor t = values.get(name);
    if (t == null) {
      throw new IllegalArgumentException(
          "store: there is no value \"" + name + "\" among " + values.keySet());
    }
    return t;
  }

  /** Returns the names, in the order they were added. */
  public Set<String> names() {
    return Collections.unmodifiableSet(values.keySet());
  }

  /** Returns the tensors of all names, in the order they were added. */
  public Tensor[] values() {
    requireOpen("values");
    return values.values().toArray(new Tensor[0]);
  }

  /** Returns the number of elements of all values together. */
  public long size() {
    long size = 0;
    for (Tensor t : values.values()) {
      size += t.size();
    }
    return size;
  }

  /**
   * Writes a value in place.
   *
   * @param value of the same type and shape
   */
  public void replace(String name, Tensor value) {
    Tensor t = get(name);
    device.check("store: " + name, "new value", value);
    DType.require("store: " + name, value.dtype(), t.dtype());
    Shape.require("store: " + name, value.shape(), t.shape());
    if (value.base == t) {
      return;
    }
    device.uses(value);
    device.kernels.copy(t.memory, value.memory, t.bytes());
    device.wrote(t, value.base.known);
  }

  /**
   * Writes an F32 value in place.
   *
   * @param values as many as it has elements, row-major
   */
  public void upload(String name, float... values) {
    upload(name, DType.F32, values.length, MemorySegment.ofArray(values), null);
  }

  /**
   * Writes an F64 value in place.
   *
   * @param values as many as it has elements, row-major
   */
  public void upload(String name, double... values) {
    upload(name, DType.F64, values.length, MemorySegment.ofArray(values), null);
  }

  /**
   * Writes an I32 value in place.
   *
   * @param values as many as it has elements, row-major
   */
  public void upload(String name, int... values) {
    upload(name, DType.I32, values.length, MemorySegment.ofArray(values), values.clone());
  }

  private void upload(String name, DType type, long count, MemorySegment array, int[] known) {
    Tensor t = get(name);
    device.requireUnrecorded("store: upload");
    DType.require("store: " + name, type, t.dtype());
    if (count != t.size()) {
      throw new IllegalArgumentException(
          "store: %s has shape %s of %s elements, got %s values"
              .formatted(name, t.shape(), t.size(), count));
    }
    device.upload(t.memory, array);
    device.wrote(t, known);
  }

  /**
   * Runs an update and counts its work.
   *
   * @param targets values of this and other stores of the device, which the update writes
   * @param in what it reads
   * @throws IllegalArgumentException if a target is not a value of a store
   */
  public void update(Update update, Tensor[] targets, Tensor... in) {
    requireOpen("update");
    for (int i = 0; i < targets.length; i++) {
      device.check(update, "target", i, targets[i]);
      if (!targets[i].home.isStore() || targets[i].base != targets[i]) {
        throw new IllegalArgumentException(
            "%s: target %s, %s, is not a value of a store"
                .formatted(Device.nameOf(update), i, targets[i]));
      }
    }
    for (int i = 0; i < in.length; i++) {
      device.check(update, "input", i, in[i]);
    }
    try {
      update.run(device.stage, targets, in);
      if (device.graph == null) {
        device.meter().add(update.work(targets, in));
      } else {
        device.graph.count(() -> update.work(targets, in));
      }
    } finally {
      // A step that failed may have written a part.
      for (Tensor t : targets) {
        device.wrote(t, null);
      }
    }
  }

  /** Gives the memory back; the values cannot be used any more. A second call has no effect. */
  @Override
  public void close() {
    if (!slab.isOpen()) {
      return;
    }
    device.requireThread("close of " + slab.name());
    leak.closed();
    slab.close();
    device.left(this);
  }

  private void requireOpen(String what) {
    device.requireThread(what);
    if (!slab.isOpen()) {
      throw new IllegalStateException(what + ": " + slab.name() + " is closed");
    }
  }

  @Override
  public String toString() {
    return slab.name() + " of " + device;
  }
}
