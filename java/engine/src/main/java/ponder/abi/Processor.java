// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * What the processor can run, read before any library is opened, so that none with an instruction
 * it lacks ever is.
 *
 * @param platform the system and the processor's family, such as {@code linux-x86_64}
 * @param features the features the system reports, under its names
 */
public record Processor(String platform, Set<String> features) {
  // Linux calls lzcnt "abm"; the names are those of /proc/cpuinfo.
  private static final List<String> V3 =
      List.of("avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe");
  private static final List<String> V4 =
      List.of("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_bf16");

  /** Returns this machine's processor. */
  public static Processor here() {
    String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String family = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
    String platform =
        (system.startsWith("mac") ? "macos" : system.startsWith("windows") ? "windows" : system)
            + "-"
            + (family.equals("amd64") ? "x86_64" : family);
    return new Processor(platform, reported(Path.of("/proc/cpuinfo")));
  }

  /** Returns the features every processor of a cpuinfo file has; none where there is no file. */
  static Set<String> reported(Path cpuinfo) {
    Set<String> common = null;
    try {
      for (String line : Files.readAllLines(cpuinfo)) {
        int colon = line.indexOf(':');
        String name = colon < 0 ? "" : line.substring(0, colon).strip();
        if (name.equals("flags") || name.equals("Features")) {
          Set<String> one = Set.of(line.substring(colon + 1).strip().split("\\s+"));
          if (common == null) {
            common = new HashSet<>(one);
          } else {
            common.retainAll(one);
          }
        }
      }
    } catch (IOException e) {
      return Set.of();
    }
    return common == null ? Set.of() : Set.copyOf(common);
  }

  /** Returns the builds made for this family, the fastest first. */
  public List<String> builds() {
    return platform.endsWith("-x86_64") ? List.of("v4", "v3", "base") : List.of("base");
  }

  /** Returns the features that a build needs and this processor lacks. */
  public List<String> missing(String build) {
    List<String> missing = new ArrayList<>();
    if (build.equals("v3") || build.equals("v4")) {
      missing.addAll(V3);
    }
    if (build.equals("v4")) {
      missing.addAll(V4);
    }
    missing.removeAll(features);
    return missing;
  }
}
