// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import com.fasterxml.jackson.annotation.JsonIgnore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import ponder.Libraries;

/**
 * What figures depend on, and nothing that tells whose machine it is.
 *
 * @param processor its model, and its family where the model's name is none
 * @param features the vector instructions that matter
 * @param cores cores that this process may use
 * @param caches sizes of the first core's caches, such as {@code L1d 48 KiB}
 * @param memoryGib memory, rounded
 * @param kernel the system's version, without what its maker adds
 * @param jdk version and vendor
 * @param library the build of the engine's library
 */
record Machine(
    String processor,
    List<String> features,
    int cores,
    List<String> caches,
    long memoryGib,
    String kernel,
    String jdk,
    String library) {
  private static final List<String> FEATURES =
      List.of("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16");
  private static final long GIB_IN_KIB = 1 << 20;

  /** Returns this machine. */
  static Machine here() throws IOException {
    return of(
        Files.readString(Path.of("/proc/cpuinfo")),
        Files.readString(Path.of("/proc/meminfo")),
        Path.of("/sys/devices/system/cpu/cpu0/cache"));
  }

  /**
   * Returns the machine that these files describe.
   *
   * @param cpuinfo the text of {@code /proc/cpuinfo}
   * @param meminfo the text of {@code /proc/meminfo}
   * @param caches the folder of the first core's caches
   */
  static Machine of(String cpuinfo, String meminfo, Path caches) throws IOException {
    List<String> flags = List.of(value(cpuinfo, "flags").split(" "));
    return new Machine(
        processor(cpuinfo),
        FEATURES.stream().filter(flags::contains).toList(),
        Runtime.getRuntime().availableProcessors(),
        caches(caches),
        Math.round((double) Long.parseLong(value(meminfo, "MemTotal").split(" ")[0]) / GIB_IN_KIB),
        System.getProperty("os.version").replaceFirst("-.*", ""),
        System.getProperty("java.vm.version") + ", " + System.getProperty("java.vm.vendor"),
        Libraries.candidates().stream()
            .filter(Libraries.Candidate::taken)
            .map(Libraries.Candidate::build)
            .findFirst()
            .orElse("none"));
  }

  private static String processor(String cpuinfo) {
    String model = value(cpuinfo, "model name").replaceAll("\\((R|TM)\\)", "").strip();
    String core = core(value(cpuinfo, "cpu family"), value(cpuinfo, "model"), model);
    return core.isEmpty() ? model : model + " (" + core + ")";
  }

  /** AMD's families and models, which virtual machines show where they hide the name. */
  private static String core(String family, String number, String name) {
    if (!name.startsWith("AMD")) return "";
    int model = Integer.parseInt(number);
    return switch (family) {
      case "23" -> model < 0x30 ? "Zen" : "Zen 2";
      case "25" -> model >= 0x10 && model < 0x20 || model >= 0x60 ? "Zen 4" : "Zen 3";
      case "26" -> "Zen 5";
      default -> "";
    };
  }

  private static List<String> caches(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) return List.of();
    Map<String, String> sizes = new TreeMap<>();
    try (var indices = Files.newDirectoryStream(folder, "index*")) {
      for (Path index : indices) {
        String type = read(index, "type");
        if (type.equals("Instruction")) continue;
        String size = read(index, "size").replaceFirst("K$", " KiB");
        sizes.put("L" + read(index, "level") + (type.equals("Data") ? "d" : ""), size);
      }
    }
    return sizes.entrySet().stream().map(e -> e.getKey() + " " + e.getValue()).toList();
  }

  private static String read(Path folder, String file) throws IOException {
    return Files.readString(folder.resolve(file)).strip();
  }

  /** Returns the value of the first line of that name; an empty text where there is none. */
  private static String value(String text, String name) {
    return text.lines()
        .filter(
            line -> line.contains(":") && line.substring(0, line.indexOf(':')).strip().equals(name))
        .map(line -> line.substring(line.indexOf(':') + 1).strip())
        .findFirst()
        .orElse("");
  }

  /** Returns the name of its files: the core's or the processor's, and how many there are. */
  @JsonIgnore
  String slug() {
    int open = processor.indexOf('(');
    String name = open < 0 ? processor : processor.substring(open);
    String plain = name.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]+", "-");
    return plain.replaceAll("^-|-$", "").replace("zen-", "zen") + "-" + cores;
  }

  /** Returns whether figures of the other may stand beside its own. */
  boolean isLike(Machine other) {
    return processor.equals(other.processor)
        && features.equals(other.features)
        && cores == other.cores
        && caches.equals(other.caches)
        && memoryGib == other.memoryGib;
  }

  @Override
  public String toString() {
    return "%s, %d %s, %s, %s, %d GiB; Linux %s; JDK %s; library %s"
        .formatted(
            processor,
            cores,
            cores == 1 ? "core" : "cores",
            features.stream().collect(Collectors.joining(" ")),
            String.join(", ", caches),
            memoryGib,
            kernel,
            jdk,
            library);
  }
}
