// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import ponder.abi.Kernels;
import ponder.abi.Library;
import ponder.abi.PlainKernels;
import ponder.abi.Processor;

/**
 * The devices tests run on: plain Java loops, and every library just built that this processor can
 * run. Fresh memory is filled with NaN in all of them.
 */
public final class TestDevices {
  /** The device of plain loops. */
  public static final String PLAIN = "plain";

  private static final String SIMULATED = "cudasim";

  private TestDevices() {}

  /** Returns the names of the devices: "plain", then the builds of the library. */
  public static List<String> names() {
    List<String> names = new ArrayList<>();
    names.add(PLAIN);
    names.addAll(builds());
    return names;
  }

  /** Returns the builds of the library that are there and that this processor can run. */
  public static List<String> builds() {
    return Stream.of("base", "v3", "v4")
        .filter(build -> Files.exists(file(build)))
        .filter(build -> Processor.here().missing(build).isEmpty())
        .toList();
  }

  /** Opens a device with one thread. */
  public static Device open(String name) {
    return open(name, 1, 0);
  }

  /** Opens a device. */
  public static Device open(String name, int threads, long memoryLimit) {
    return name.equals(PLAIN)
        ? over(PlainKernels.wide(), PLAIN)
        : Libraries.open(library(name), 0, threads, memoryLimit, true);
  }

  /** Returns whether the simulated CUDA library is there. */
  public static boolean hasSimulatedCuda() {
    return Files.exists(file(SIMULATED));
  }

  /** Opens the CUDA kernels that run on the processor, thread by thread: right, and slow. */
  public static Device simulatedCuda() {
    return open(SIMULATED);
  }

  /** Opens the same under a memory limit. */
  public static Device simulatedCuda(long memoryLimit) {
    return open(SIMULATED, 1, memoryLimit);
  }

  /**
   * Opens the same as a CUDA device that the driver knows by that number: a fake driver, which
   * looks at no address.
   */
  public static Device simulatedCudaAt(int index) {
    return Libraries.openCuda(library(SIMULATED), index, 0, true);
  }

  /** Opens a device over kernels of any kind. */
  public static Device over(Kernels kernels, String name) {
    return new Device(kernels, name, () -> {}, true, -1);
  }

  /** Opens the library of a build. */
  public static Library library(String build) {
    return Library.open(file(build), Libraries.FAILURES);
  }

  private static Path file(String build) {
    String directory = System.getProperty("ponder.library.path", "build/native");
    return Path.of(
        directory, "libponder_" + (build.equals(SIMULATED) ? "" : "cpu_") + build + ".so");
  }
}
