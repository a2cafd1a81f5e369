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
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
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
    for (Libraries.Candidate c : Libraries.candidates()) {
      findings.add(
          Finding.well(
              "library " + c.build(),
              (c.taken() ? "taken: " : "refused: ")
                  + c.place()
                  + " ("
                  + c.source()
                  + "): "
                  + c.reason()));
    }
    findings.addAll(device());
    findings.addAll(cuda());
    return findings;
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

  private static List<Finding> cuda() {
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
