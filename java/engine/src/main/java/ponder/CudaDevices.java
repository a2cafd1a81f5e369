// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.util.List;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * The CUDA devices of this machine as its driver describes them. They are listed through JCuda,
 * which may be absent: {@link Device#cuda} does without it.
 *
 * @param devices every device, in the order of their numbers; empty if there is none
 * @param driverVersion the newest CUDA the driver serves, 1000 major + 10 minor; 0 if unknown
 * @param reason one sentence that says why there are no devices; empty if there are
 */
public record CudaDevices(List<CudaDevice> devices, int driverVersion, String reason) {
  /**
   * A device.
   *
   * @param index its number, from 0, as {@link Device#cuda} takes it
   * @param name its model
   * @param major its compute capability, before the point
   * @param minor its compute capability, after the point
   * @param memoryBytes all its memory, in bytes
   * @param multiprocessors how many it has
   */
  public record CudaDevice(
      int index, String name, int major, int minor, long memoryBytes, int multiprocessors) {}

  /** Copies the list. */
  public CudaDevices {
    devices = List.copyOf(devices);
  }

  /** Lists the devices; on a machine without CUDA the result says what is missing. */
  public static CudaDevices list() {
    try {
      return CudaDriver.list();
    } catch (LinkageError e) {
      return none(0, why(e));
    }
  }

  /**
   * Returns how many bytes of a device's memory no process uses. This makes the device ready for
   * work, which takes a while and some of its memory.
   *
   * @param index the device's number, from 0
   * @return empty if the driver does not say
   */
  public static OptionalLong freeBytes(int index) {
    try (CudaContext context = new CudaContext(index)) {
      return OptionalLong.of(context.freeBytes());
    } catch (LinkageError | IllegalStateException e) {
      return OptionalLong.empty();
    }
  }

  static CudaDevices none(int driverVersion, String reason) {
    return new CudaDevices(List.of(), driverVersion, reason);
  }

  /**
   * Returns the oldest driver that runs what was built with a toolkit, such as 580.
   *
   * @param toolkitMajor the toolkit's version before the point
   * @return the driver's version before the point; empty if this toolkit is not known
   * Source: NVIDIA, CUDA Compatibility, "Minor Version Compatibility", the table of required
   *     drivers: CUDA 13.x needs 580, CUDA 12.x needs 525.
   */
  public static OptionalInt minimumDriver(int toolkitMajor) {
    return switch (toolkitMajor) {
      case 13 -> OptionalInt.of(580);
      case 12 -> OptionalInt.of(525);
      default -> OptionalInt.empty();
    };
  }

  /** JCuda tells what failed in the text of an error alone, which quotes the system's loader. */
  static String why(LinkageError e) {
    String text = String.valueOf(e.getMessage());
    if (e instanceof NoClassDefFoundError && text.startsWith("jcuda/")) {
      return "JCuda, which asks the driver, is not on the path";
    }
    if (text.contains("libcuda.so.1: cannot open")) {
      return "this machine has no libcuda.so.1, a part of NVIDIA's driver";
    }
    if (text.contains("libcuda.so.1: ")) {
      return "the system cannot load libcuda.so.1, a part of NVIDIA's driver";
    }
    return "JCuda cannot load its own library for this machine";
  }
}
