// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * The search for a library, the processor's or CUDA's: a system property, an environment variable,
 * the jar of natives, install prefixes, in this order; in each place the first of the wanted builds
 * that the processor has every feature for. A place named by the property or the variable is the only one looked at.
 * Nothing is ever downloaded.
 */
public final class Search {
  /** The system property that names a library file or a directory of them. */
  public static final String PATH_PROPERTY = "ponder.library.path";

  /** The environment variable that does the same. */
  public static final String PATH_VARIABLE = "PONDER_LIBRARY_PATH";

  /** The system property that forces a build: base, v3 or v4. */
  public static final String BUILD_PROPERTY = "ponder.library.build";

  /**
   * Where to search.
   *
   * @param property the value of the property, or null
   * @param variable the value of the variable, or null
   * @param build the only build to take, or null
   * @param loader where the jar of natives may be
   * @param cache where its libraries are unpacked
   * @param prefixes directories of installed libraries
   */
  public record Settings(
      String property,
      String variable,
      String build,
      ClassLoader loader,
      Unpacked cache,
      List<Path> prefixes) {

    /** Returns the settings of this process. */
    public static Settings ofProcess() {
      List<Path> prefixes = new ArrayList<>();
      String platform = Processor.here().platform();
      String debian = "/usr/lib/" + platform.replaceAll("(.*)-(.*)", "$2-$1-gnu");
      for (String prefix :
          List.of("/usr/local/lib", "/usr/lib", debian, "/usr/lib64", "/opt/ponder/lib")) {
        prefixes.add(Path.of(prefix));
      }
      return new Settings(
          System.getProperty(PATH_PROPERTY),
          System.getenv(PATH_VARIABLE),
          System.getProperty(BUILD_PROPERTY),
          Objects.requireNonNullElse(
              Search.class.getClassLoader(), ClassLoader.getSystemClassLoader()),
          Unpacked.ofProcess(),
          prefixes);
    }
  }

  /**
   * A library that was considered.
   *
   * @param source what named the place, such as the property
   * @param place the file or the resource
   * @param build base, v3, v4 or cuda
   * @param taken whether it is the one in use
   * @param reason why it was taken or refused
   */
  public record Candidate(
      String source, String place, String build, boolean taken, String reason) {}

  /** The build that works on CUDA devices. */
  public static final String CUDA = "cuda";

  private final Settings settings;
  private final Processor processor;
  private final List<String> builds;
  private final Failures failures;
  private final List<Candidate> candidates = new ArrayList<>();
  private final List<String> looked = new ArrayList<>();
  private Library library;

  /** Searches for the processor's library. */
  public Search(Settings settings, Processor processor, Failures failures) {
    this(settings, processor, processor.builds(), failures);
  }

  /**
   * Searches.
   *
   * @param builds the builds that would do, the best first
   */
  public Search(Settings settings, Processor processor, List<String> builds, Failures failures) {
    this.settings = settings;
    this.processor = processor;
    this.builds = List.copyOf(builds);
    this.failures = failures;
    if (settings.property() != null) {
      named("system property " + PATH_PROPERTY, settings.property());
    } else if (settings.variable() != null) {
      named("environment variable " + PATH_VARIABLE, settings.variable());
    } else {
      jar();
      for (Path prefix : settings.prefixes()) {
        directory("install prefix", prefix);
      }
    }
  }

  /** Returns the library to use, or null if none was found. */
  public Library library() {
    return library;
  }

  /** Returns every library considered, in the order of the search. */
  public List<Candidate> candidates() {
    return List.copyOf(candidates);
  }

  /** Returns what was looked for, where, and what to do: the text of a failure. */
  public String failure() {
    StringBuilder text =
        new StringBuilder("no Ponder library for ")
            .append(processor.platform())
            .append(": looked for ")
            .append(wanted())
            .append(" in ")
            .append(String.join(", ", looked));
    for (Candidate c : candidates) {
      text.append("; ").append(c.place()).append(": ").append(c.reason());
    }
    return text.append("; add the jar of natives for this platform or set -D")
        .append(PATH_PROPERTY)
        .append(" to a library or its directory")
        .toString();
  }

  /** Returns the names that would do, as one: libponder_cpu_{v4,v3,base}.so. */
  private String wanted() {
    String names = String.join(",", builds);
    return fileName(builds.size() == 1 ? names : "{" + names + "}");
  }

  private static String fileName(String build) {
    String suffix =
        switch (System.getProperty("os.name").substring(0, 3)) {
          case "Mac" -> ".dylib";
          case "Win" -> ".dll";
          default -> ".so";
        };
    return "libponder_" + (build.equals(CUDA) ? "" : "cpu_") + build + suffix;
  }

  private void named(String source, String value) {
    Path path = Path.of(value);
    if (Files.isDirectory(path)) {
      directory(source, path);
      return;
    }
    looked.add(path + " (" + source + ")");
    String build = null;
    for (String known : builds) {
      if (path.endsWith(fileName(known))) {
        build = known;
      }
    }
    if (!Files.exists(path)) {
      refuse(source, path.toString(), "?", "there is no such file or directory");
    } else if (build == null) {
      refuse(source, path.toString(), "?", "its name must be " + wanted());
    } else {
      consider(source, path.toString(), build, path);
    }
  }

  private void directory(String source, Path directory) {
    looked.add(directory + " (" + source + ")");
    for (String build : builds) {
      Path file = directory.resolve(fileName(build));
      if (Files.exists(file)) {
        consider(source, file.toString(), build, file);
      }
    }
  }

  private void jar() {
    String folder = "ponder/natives/" + processor.platform() + "/";
    looked.add(folder + " (jar of natives)");
    for (String build : builds) {
      String resource = folder + fileName(build);
      if (settings.loader().getResource(resource) != null) {
        consider("jar of natives", resource, build, null);
      }
    }
  }

  /** Takes or refuses a library; a path of null stands for a resource yet to be unpacked. */
  private void consider(String source, String place, String build, Path path) {
    List<String> missing = processor.missing(build);
    if (settings.build() != null && !settings.build().equals(build) && !build.equals(CUDA)) {
      refuse(source, place, build, "-D" + BUILD_PROPERTY + " asks for " + settings.build());
    } else if (!missing.isEmpty()) {
      refuse(source, place, build, "the processor lacks " + String.join(", ", missing));
    } else if (library != null) {
      refuse(source, place, build, "not needed, one was taken before");
    } else {
      try {
        library = Library.open(path == null ? unpack(place) : path, failures);
        candidates.add(
            new Candidate(
                source,
                place,
                build,
                true,
                build.equals(CUDA)
                    ? "the first that can be loaded"
                    : "the fastest build this processor can run here"));
      } catch (IllegalArgumentException e) {
        refuse(source, place, build, e.getMessage());
      } catch (IOException | UncheckedIOException e) {
        refuse(source, place, build, "it cannot be unpacked: " + e);
      }
    }
  }

  private Path unpack(String resource) throws IOException {
    try (InputStream in = settings.loader().getResourceAsStream(resource)) {
      if (in == null) {
        throw new IOException("the resource is gone");
      }
      return settings.cache().file(resource, in.readAllBytes());
    }
  }

  private void refuse(String source, String place, String build, String reason) {
    candidates.add(new Candidate(source, place, build, false, reason));
  }
}
