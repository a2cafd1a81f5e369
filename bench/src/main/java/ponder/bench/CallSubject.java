// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.lang.foreign.MemorySegment;
import java.util.function.Supplier;
import ponder.DType;
import ponder.Device;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;

/**
 * What does a call cost before any arithmetic? Functions that do nothing, through FFM and through
 * JNI; {@code synchronize}, which crosses into the engine's library, has its context checked and
 * its status read; and {@code add}, a whole op on one element: checks, memory, the kernel, the
 * count of its work.
 *
 * @param device what the engine's own calls use, or null
 * @param call what is timed
 */
record CallSubject(Device device, Supplier<Object> call) implements Subject {
  /** Makes the subject of a name. */
  static Subject of(String name, String deviceName) {
    MemorySegment here = MemorySegment.ofAddress(64);
    long address = here.address();
    return switch (name) {
      case "ffm_one" -> new CallSubject(null, () -> Loops.one(here));
      case "jni_one" -> new CallSubject(null, () -> Twin.one(address));
      case "ffm_six" -> new CallSubject(null, () -> Loops.six(here, here, here, 1, 1));
      case "jni_six" -> new CallSubject(null, () -> Twin.six(address, address, address, 1, 1, 1.0));
      case "synchronize" -> {
        Device device = Subjects.open(deviceName, 1);
        yield new CallSubject(
            device,
            () -> {
              device.synchronize();
              return device;
            });
      }
      case "add" -> {
        Device device = Subjects.open(deviceName, 1);
        Tensor one = device.open().full(DType.F32, Shape.of(1), 1);
        yield new CallSubject(
            device,
            () -> {
              try (Scope own = device.openUnrecorded()) {
                one.add(one);
                return own;
              }
            });
      }
      default -> throw new IllegalArgumentException("no call " + name);
    };
  }

  /** There is nothing to be wrong but the call itself. */
  @Override
  public void check(int repeats) {
    run();
  }

  @Override
  public Object run() {
    return call.get();
  }

  @Override
  public Work work() {
    return Work.NONE;
  }

  @Override
  public void close() {
    if (device != null) device.close();
  }
}
