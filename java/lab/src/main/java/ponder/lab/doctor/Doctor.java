// SPDX-License-Identifier: Apache-2.0
package ponder.lab.doctor;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import java.util.function.IntFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import ponder.CudaDevices;
import ponder.Device;
import ponder.Libraries;
import ponder.LibraryNotFoundException;

/** Looks at what the engine needs on this machine and says how to mend what is wrong. */
public final class Doctor {
  private static final long GIB = 1L << 30;

  private Doctor() {}

  /** Returns everything that was looked at. */
  public static List<Finding> examine() {
    List<Finding> findings = new ArrayList<>();
    findings.add(java(Runtime.version(), System.getProperty("java.vm.vendor", "unknown vendor")));
    findings.add(Finding.well("platform", Libraries.platform()));
    Libraries.candidates().forEach(c -> findings.add(library(c)));
    findings.addAll(device());
    findings.addAll(toolkit());
    findings.addAll(
        cuda(
            Libraries.cudaCandidates(),
            Libraries.cudaBuild(),
            CudaDevices.list(),
            CudaDevices::freeBytes));
    return findings;
  }

  private static Finding library(Libraries.Candidate c) {
    return Finding.well(
        "library " + c.build(),
        (c.taken() ? "taken: " : "refused: ") + c.place() + " (" + c.source() + "): " + c.reason());
  }

  /** Judges a JDK. */
  static Finding java(Runtime.Version version, String vendor) {
    String state = version + ", " + vendor;
    if (version.feature() == 25 && version.interim() == 0 && version.update() <= 2) {
      return Finding.warning(
          "JDK",
          state + ": its G1 collector can corrupt arrays that native code reads",
          "update to 25.0.3 or later, or run with JAVA_TOOL_OPTIONS=-XX:+UseParallelGC");
    }
    return Finding.well("JDK", state);
  }

  private static List<Finding> device() {
    try (Device device = Device.cpu()) {
      return List.of(
          Finding.well("instruction set", device.name().split("@")[0]),
          Finding.well("threads", String.valueOf(device.threads())),
          Finding.well(
              "memory limit",
              String.format(Locale.ROOT, "%.1f GiB", (double) device.memory().limit() / GIB)));
    } catch (LibraryNotFoundException e) {
      return List.of(
          Finding.fatal(
              "library",
              e.getMessage(),
              "build it with ./ponder test, or name one in PONDER_LIBRARY_PATH"));
    }
  }

  private static List<Finding> toolkit() {
    List<Finding> findings = new ArrayList<>();
    String toolkit = firstLine(List.of("nvcc", "--version"), "release");
    findings.add(
        toolkit == null
            ? Finding.well("CUDA toolkit", "no nvcc on the PATH; the CPU libraries need none")
            : Finding.well("CUDA toolkit", toolkit));
    Path driver = Path.of("/proc/driver/nvidia/version");
    try {
      findings.add(
          Files.isReadable(driver)
              ? Finding.well("CUDA driver", Files.readAllLines(driver).get(0).strip())
              : Finding.well("CUDA driver", "none loaded; everything runs on the CPU"));
    } catch (IOException e) {
      findings.add(
          Finding.warning("CUDA driver", "unreadable: " + e.getMessage(), "reinstall the driver"));
    }
    return findings;
  }

  /**
   * Judges the CUDA library and the devices it would use.
   *
   * @param build the library's name and the toolkit it was built with, if there is one
   * @param free how many bytes of a device's memory are free, if that is known
   */
  static List<Finding> cuda(
      List<Libraries.Candidate> candidates,
      Optional<String> build,
      CudaDevices found,
      IntFunction<OptionalLong> free) {
    List<Finding> findings = new ArrayList<>();
    candidates.forEach(c -> findings.add(library(c)));
    if (candidates.isEmpty()) {
      findings.add(Finding.well("library cuda", "none found; CUDA devices cannot be used"));
    }
    int toolkit = build.map(Doctor::major).orElse(0);
    CudaDevices.minimumDriver(toolkit)
        .ifPresent(driver -> findings.add(oldestDriver(toolkit, driver, found.driverVersion())));
    for (CudaDevices.CudaDevice d : found.devices()) {
      OptionalLong unused = free.apply(d.index());
      findings.add(
          Finding.well(
              "cuda:" + d.index(),
              String.format(
                  Locale.ROOT,
                  "%s, compute capability %d.%d, %.1f GiB%s, %d multiprocessors",
                  d.name(),
                  d.major(),
                  d.minor(),
                  gib(d.memoryBytes()),
                  unused.isPresent()
                      ? String.format(Locale.ROOT, " (%.1f free)", gib(unused.getAsLong()))
                      : "",
                  d.multiprocessors())));
    }
    if (found.devices().isEmpty()) {
      findings.add(Finding.well("CUDA devices", "none: " + found.reason()));
    }
    return findings;
  }

  private static double gib(long bytes) {
    return (double) bytes / GIB;
  }

  /** Judges the driver by the CUDA it serves, 0 if that is unknown. */
  private static Finding oldestDriver(int toolkit, int driver, int version) {
    String needed = "%d or later, for a library built with CUDA %d".formatted(driver, toolkit);
    if (version == 0) {
      return Finding.well("CUDA driver needed", needed);
    }
    String state =
        "%s; this one serves CUDA %d.%d".formatted(needed, version / 1000, version % 1000 / 10);
    return version / 1000 >= toolkit
        ? Finding.well("CUDA driver needed", state)
        : Finding.warning(
            "CUDA driver needed", state, "update NVIDIA's driver to " + driver + " or later");
  }

  /** Returns the 13 of {@code cuda 13.0}; 0 if the build names no toolkit. */
  private static int major(String build) {
    Matcher version = Pattern.compile("cuda (\\d+)\\.\\d+").matcher(build);
    return version.matches() ? Integer.parseInt(version.group(1)) : 0;
  }

  /** Returns the first line of a program's output that has this word, or null. */
  private static String firstLine(List<String> command, String word) {
    boolean found =
        Stream.of(System.getenv().getOrDefault("PATH", "").split(File.pathSeparator))
            .anyMatch(folder -> Files.isExecutable(Path.of(folder, command.get(0))));
    if (!found) {
      return null;
    }
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      process.waitFor(10, TimeUnit.SECONDS);
      return output
          .lines()
          .filter(l -> l.contains(word))
          .findFirst()
          .map(String::strip)
          .orElse(null);
    } catch (IOException e) {
      return null;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return null;
    }
  }
}
