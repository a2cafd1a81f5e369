// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import ponder.Device;
import ponder.Libraries;
import ponder.lab.paths.PathExam;

/**
 * What trains the models of the budget rows: the classes of the engine, of the lab and of the task
 * itself, and the engine's library.
 */
final class Program {
  private static final Pattern TASK = Pattern.compile("Budget(Cache|Exam|Model|Task|Way)\\b.*");

  private Program() {}

  /**
   * Returns the hash of all that, the same for the same bytes.
   *
   * @param device cpu, cuda or cuda:N
   */
  static String fingerprint(String device) throws IOException {
    MessageDigest digest = sha256();
    for (Path place : places(Device.class, PathExam.class, BudgetTask.class)) {
      if (Files.isDirectory(place)) {
        add(digest, place);
      } else {
        try (FileSystem jar = FileSystems.newFileSystem(place)) {
          add(digest, jar.getPath("/"));
        }
      }
    }
    boolean cpu = device.equals("cpu");
    for (var library : cpu ? Libraries.candidates() : Libraries.cudaCandidates()) {
      if (!library.taken()) continue;
      digest.update(library.build().getBytes(StandardCharsets.UTF_8));
      Path file = Path.of(library.place());
      if (Files.isRegularFile(file)) digest.update(Files.readAllBytes(file));
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /** Returns the hash of a text. */
  static String hash(String text) {
    return HexFormat.of().formatHex(sha256().digest(text.getBytes(StandardCharsets.UTF_8)));
  }

  /** Returns the jars or folders that classes come from. */
  private static Set<Path> places(Class<?>... classes) {
    Set<Path> places = new LinkedHashSet<>();
    try {
      for (Class<?> each : classes) {
        places.add(Path.of(each.getProtectionDomain().getCodeSource().getLocation().toURI()));
      }
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
    return places;
  }

  /** Adds what stands below a root; of the benchmarks themselves the task alone. */
  private static void add(MessageDigest digest, Path root) throws IOException {
    try (Stream<Path> files = Files.walk(root.resolve("ponder"))) {
      List<Path> sorted =
          files
              .filter(Files::isRegularFile)
              .filter(
                  file ->
                      !root.relativize(file).startsWith("ponder/bench")
                          || TASK.matcher(file.getFileName().toString()).matches())
              .sorted()
              .toList();
      for (Path file : sorted) {
        digest.update(root.relativize(file).toString().getBytes(StandardCharsets.UTF_8));
        digest.update(Files.readAllBytes(file));
      }
    }
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }
}
