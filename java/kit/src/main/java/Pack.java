// SPDX-License-Identifier: Apache-2.0
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Enumeration;
import java.util.List;
import java.util.Set;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;

/**
 * Packs the kit: one archive with a Java run-time, the lab, the tests, the benchmarks, the libraries
 * and the native sources, for a machine with a device and glibc but without Java, Maven and network.
 * {@code java/kit/ponder} is its launcher. Nothing in the folder is compressed, so that xz can
 * compress all of it together.
 *
 * <p>{@code java Pack.java ROOT TARGET VERSION}, after a build; fails if the archive is above 30 MiB.
 */
final class Pack {
  private static final long LIMIT = 30L << 20;

  // What cuda/check needs (CMakeLists.txt reads the version from pom.xml), and what tests read.
  private static final List<String> SOURCES =
      List.of(
          "CMakeLists.txt",
          "LICENSE",
          "pom.xml",
          "native",
          "cuda",
          "bench/cuda",
          "bench/results",
          "java/engine/src/main/java/ponder/abi");
  private static final Set<String> LEFT_OUT = Set.of("target", "__pycache__");

  // Beyond java.base: JMH and the tests that measure memory; those that look into jars.
  private static final String MODULES =
      "java.logging,java.management,jdk.management,jdk.unsupported,jdk.zipfs";

  private final Path root;
  private final Path target;
  private final Path kit;

  private Pack(Path root, Path target, String version) {
    this.root = root;
    this.target = target;
    this.kit = target.resolve("ponder-kit-" + version);
  }

  public static void main(String[] arguments) throws IOException, InterruptedException {
    Pack pack =
        new Pack(Path.of(arguments[0]), Path.of(arguments[1]).toAbsolutePath(), arguments[2]);
    pack.gather();
    pack.compress();
  }

  private void gather() throws IOException, InterruptedException {
    run("rm", "-rf", kit.toString());
    for (String source : SOURCES) {
      copy(root.resolve(source), kit.resolve(source));
    }
    copy(root.resolve("java/kit/ponder"), kit.resolve("ponder"));
    Files.writeString(kit.resolve("COMMIT"), commit() + "\n");
    copyAll("build/native", "libponder_.*[.]so", "build/native", false);
    copyAll("build/test", "replay", "build/test", false);
    copyAll("build/fake_cuda", "libcuda[.]so[.]1", "build/fake_cuda", false);

    copyAll("java/lab/target/modules", ".*[.]jar", "modules", true);
    copyAll("java/lab/target", "ponder-lab-[0-9.]+[.]jar", "modules", true);
    copyAll("bench/target", "benchmarks[.]jar", "", true);
    copy(root.resolve("java/lab/target/natives"), kit.resolve("jcuda-natives"));
    // Folders of classes: a test that starts a process names the folder of its own.
    copy(root.resolve("java/engine/target/classes"), kit.resolve("tests/engine"));
    copy(root.resolve("java/engine/target/test-classes"), kit.resolve("tests/engine-tests"));
    copy(root.resolve("java/lab/target/test-classes"), kit.resolve("tests/lab-tests"));
    store(target.resolve("junit.jar"), kit.resolve("tests/junit.jar"));

    String runtime = kit.resolve("runtime").toString();
    int code =
        ToolProvider.findFirst("jlink")
            .orElseThrow()
            .run(
                System.out,
                System.err,
                "--add-modules",
                MODULES,
                "--output",
                runtime,
                "--strip-debug",
                "--no-man-pages",
                "--no-header-files",
                "--compress",
                "zip-0");
    require(code == 0, "jlink gave " + code);
  }

  private void compress() throws IOException, InterruptedException {
    Path archive = target.resolve(kit.getFileName() + ".tar.xz");
    run(
        "tar",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-I",
        "xz -9",
        "-C",
        target.toString(),
        "-cf",
        archive.toString(),
        kit.getFileName().toString());
    long bytes = Files.size(archive);
    System.out.printf("%s: %.1f MiB%n", archive, bytes / 1048576.0);
    require(bytes <= LIMIT, archive + " has " + bytes + " bytes, more than 30 MiB");
  }

  /** Returns the commit of the sources, marked where they differ from it. */
  private String commit() throws IOException, InterruptedException {
    String commit = output("git", "rev-parse", "HEAD");
    if (commit.isEmpty()) {
      return "unknown";
    }
    return commit + (output("git", "status", "--porcelain").isEmpty() ? "" : " with changes");
  }

  /** Copies the files of a folder whose names match, of which there must be one. */
  private void copyAll(String from, String names, String to, boolean jars) throws IOException {
    List<Path> files;
    try (Stream<Path> all = Files.list(root.resolve(from))) {
      files = all.filter(file -> file.getFileName().toString().matches(names)).sorted().toList();
    }
    require(!files.isEmpty(), "there is no " + names + " in " + from);
    for (Path file : files) {
      Path place = kit.resolve(to).resolve(file.getFileName());
      if (jars) {
        store(file, place);
      } else {
        copy(file, place);
      }
    }
  }

  /** Copies a file or a folder, with who may run it. */
  private static void copy(Path from, Path to) throws IOException {
    Files.createDirectories(to.getParent());
    Files.walkFileTree(
        from,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes attributes)
              throws IOException {
            if (LEFT_OUT.contains(folder.getFileName().toString()) && !folder.equals(from)) {
              return FileVisitResult.SKIP_SUBTREE;
            }
            Files.createDirectories(to.resolve(from.relativize(folder)));
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            Path place = file.equals(from) ? to : to.resolve(from.relativize(file));
            Files.copy(file, place, StandardCopyOption.COPY_ATTRIBUTES);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  /** Copies a jar without compression. */
  private static void store(Path from, Path to) throws IOException {
    Files.createDirectories(to.getParent());
    try (ZipFile jar = new ZipFile(from.toFile());
        OutputStream file = Files.newOutputStream(to);
        ZipOutputStream stored = new ZipOutputStream(file)) {
      stored.setMethod(ZipOutputStream.STORED);
      Enumeration<? extends ZipEntry> entries = jar.entries();
      while (entries.hasMoreElements()) {
        ZipEntry entry = entries.nextElement();
        ZipEntry same = new ZipEntry(entry.getName());
        same.setTime(entry.getTime());
        same.setSize(entry.getSize());
        same.setCrc(entry.getCrc());
        stored.putNextEntry(same);
        try (InputStream content = jar.getInputStream(entry)) {
          content.transferTo(stored);
        }
        stored.closeEntry();
      }
    }
  }

  private void run(String... command) throws IOException, InterruptedException {
    int code = new ProcessBuilder(command).directory(root.toFile()).inheritIO().start().waitFor();
    require(code == 0, String.join(" ", command) + " gave " + code);
  }

  /** Returns what a command prints, nothing if it fails. */
  private String output(String... command) throws IOException, InterruptedException {
    ProcessBuilder builder = new ProcessBuilder(command).directory(root.toFile());
    Process process = builder.redirectError(ProcessBuilder.Redirect.DISCARD).start();
    String text = new String(process.getInputStream().readAllBytes()).strip();
    return process.waitFor() == 0 ? text : "";
  }

  private static void require(boolean holds, String otherwise) {
    if (!holds) {
      throw new IllegalStateException(otherwise);
    }
  }
}
