// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The search order, each step, over copies of the libraries just built. */
class SearchTest {
  private static final Path BUILT =
      Path.of(System.getProperty("ponder.library.path", "build/native"));
  private static final Processor HERE = Processor.here();

  /** A processor of this machine's family without any feature that has a name. */
  private static final Processor PLAINEST = new Processor(HERE.platform(), Set.of());

  private static final Failures FAILURES =
      new Failures() {
        @Override
        public RuntimeException outOfMemory(String sentence) {
          return new IllegalStateException(sentence);
        }

        @Override
        public RuntimeException deviceFailed(String sentence) {
          return new IllegalStateException(sentence);
        }
      };

  @TempDir Path directory;

  private Path copy(String build, String to) throws IOException {
    String name = "libponder_cpu_" + build + ".so";
    Path copy = Files.createDirectories(directory.resolve(to)).resolve(name);
    return Files.copy(BUILT.resolve(name), copy);
  }

  private static ClassLoader empty() {
    return new URLClassLoader(new URL[0], null);
  }

  private Search search(
      String property, String variable, String build, ClassLoader loader, Path... prefixes) {
    return search(HERE, property, variable, build, loader, prefixes);
  }

  private Search search(
      Processor processor,
      String property,
      String variable,
      String build,
      ClassLoader loader,
      Path... prefixes) {
    return new Search(
        new Search.Settings(
            property,
            variable,
            build,
            loader,
            new Unpacked(directory.resolve("cache")),
            List.of(prefixes)),
        processor,
        FAILURES);
  }

  /** Returns build and reason of every candidate. */
  private static Map<String, String> reasons(Search search) {
    return search.candidates().stream()
        .collect(Collectors.toMap(Search.Candidate::build, Search.Candidate::reason));
  }

  @Test
  void theBestBuildOfADirectoryIsTakenAndTheOthersSayWhyNot() {
    Search search = search(BUILT.toString(), null, null, empty());
    assertNotNull(search.library(), search::failure);
    boolean taken = false;
    assertEquals(HERE.builds(), search.candidates().stream().map(c -> c.build()).toList());
    for (Search.Candidate c : search.candidates()) {
      boolean runs = HERE.missing(c.build()).isEmpty();
      assertEquals(runs && !taken, c.taken(), c.toString());
      assertTrue(
          c.taken() || c.reason().contains(runs ? "not needed" : "the processor lacks"),
          c.toString());
      taken |= c.taken();
    }
    assertTrue(search.library().build().startsWith("cpu "), search.library().build());
  }

  @Test
  void aBuildBeyondTheProcessorIsRefusedBeforeItIsOpened() throws IOException {
    // Were they opened, the reason would be that they are no libraries.
    for (String build : List.of("v3", "v4")) {
      Files.writeString(directory.resolve("libponder_cpu_" + build + ".so"), "not a library");
    }
    Files.copy(copy("base", "from"), directory.resolve("libponder_cpu_base.so"));
    Search search = search(PLAINEST, directory.toString(), null, null, empty());
    assertTrue(reasons(search).get("v4").contains("lacks avx2, fma"), search.failure());
    assertTrue(reasons(search).get("v3").contains("lacks avx2, fma"), search.failure());
    assertEquals("cpu base", search.library().build());
  }

  @Test
  void aBuildCanBeAskedFor() {
    Search search = search(BUILT.toString(), null, "base", empty());
    assertEquals("cpu base", search.library().build());
    assertTrue(reasons(search).get("v4").contains("asks for base"), search.failure());
    assertNull(search(BUILT.toString(), null, "v9", empty()).library());
    assertNull(search(PLAINEST, BUILT.toString(), null, "v4", empty()).library());
  }

  @Test
  void aFileCanBeNamed() throws IOException {
    Path base = copy("base", "x");
    assertEquals(base, search(base.toString(), null, null, empty()).library().path());
    Path other = Files.copy(base, directory.resolve("other.so"));
    Search renamed = search(other.toString(), null, null, empty());
    assertNull(renamed.library());
    assertTrue(renamed.failure().contains("its name must be"), renamed.failure());
    Search absent = search(directory.resolve("absent").toString(), null, null, empty());
    assertTrue(absent.failure().contains("no such file or directory"), absent.failure());
  }

  @Test
  void whatIsNoLibraryIsRefusedAndTheNextBuildTaken() throws IOException {
    copy("base", "x");
    for (String build : HERE.builds()) {
      Path file = directory.resolve("x/libponder_cpu_" + build + ".so");
      if (!build.equals("base")) {
        Files.writeString(file, "not a library");
      }
    }
    Search search = search(directory.resolve("x").toString(), null, null, empty());
    assertEquals("cpu base", search.library().build());
    for (String build : HERE.builds()) {
      if (!build.equals("base") && HERE.missing(build).isEmpty()) {
        assertTrue(reasons(search).get(build).contains("is not a library"), search.failure());
      }
    }
  }

  @Test
  void theOrderIsPropertyVariableJarPrefix() throws IOException {
    Path property = copy("base", "property");
    Path variable = copy("base", "variable");
    Path prefix = copy("base", "prefix");
    Path second = copy("base", "second");
    try (URLClassLoader jar = jar("base")) {
      String p = property.getParent().toString();
      String v = variable.getParent().toString();
      Path[] prefixes = {directory, prefix.getParent(), second.getParent()};
      assertEquals(property, search(p, v, null, jar, prefixes).library().path());
      assertEquals(variable, search(null, v, null, jar, prefixes).library().path());
      Search fromJar = search(null, null, null, jar, prefixes);
      assertTrue(fromJar.library().path().startsWith(directory.resolve("cache")));
      assertEquals("jar of natives", fromJar.candidates().getFirst().source());
      assertEquals(prefix, search(null, null, null, empty(), prefixes).library().path());
    }
  }

  /** Naming a place is a decision: another library in its stead would be a surprise. */
  @Test
  void aNamedPlaceWithoutALibraryIsAFailure() throws IOException {
    Path prefix = copy("base", "prefix").getParent();
    assertNull(search(directory.toString(), null, null, empty(), prefix).library());
    assertNull(search(null, directory.toString(), null, empty(), prefix).library());
    assertNull(search(directory.toString(), prefix.toString(), null, empty(), prefix).library());
  }

  /** A library is what it calls itself when it is open: here any does under CUDA's name. */
  @Test
  void cudaIsSearchedForInTheSamePlacesAndTakesNoBuildOfTheProcessor() throws IOException {
    Path file =
        Files.copy(BUILT.resolve("libponder_cpu_base.so"), directory.resolve("libponder_cuda.so"));
    Search.Settings settings =
        new Search.Settings(
            directory.toString(), null, "base", empty(), new Unpacked(directory), List.of());
    Search found = new Search(settings, HERE, List.of(Search.CUDA), FAILURES);
    assertEquals(file, found.library().path());
    assertNull(search(directory.toString(), null, null, empty()).library());
    Files.delete(file);
    Search none = new Search(settings, HERE, List.of(Search.CUDA), FAILURES);
    assertNull(none.library());
    assertTrue(none.failure().contains("libponder_cuda.so"), none.failure());
  }

  @Test
  void aFailureSaysWhatWasLookedForAndWhere() throws IOException {
    Search search = search(null, null, null, empty(), Path.of("/usr/local/lib"), directory);
    String sentence = search.failure();
    assertNull(search.library());
    assertEquals(List.of(), search.candidates());
    Set<String> parts =
        new HashSet<>(
            List.of(
                HERE.platform(),
                "libponder_cpu_{" + String.join(",", HERE.builds()) + "}.so",
                "ponder/natives/" + HERE.platform() + "/ (jar of natives)",
                "/usr/local/lib (install prefix)",
                directory.toString(),
                "-D" + Search.PATH_PROPERTY));
    for (String part : parts) {
      assertTrue(sentence.contains(part), sentence + " lacks " + part);
    }
    Processor elsewhere = new Processor("plan9-mips", Set.of());
    try (URLClassLoader jar = jar("base")) {
      Search foreign = search(elsewhere, null, null, null, jar);
      assertNull(foreign.library());
      assertTrue(foreign.failure().contains("plan9-mips"), foreign.failure());
    }
  }

  @Test
  void aCacheThatCannotBeWrittenIsAReason() throws IOException {
    Files.writeString(directory.resolve("cache"), "a file where a directory must be");
    try (URLClassLoader jar = jar("base")) {
      Search search = search(null, null, null, jar);
      assertNull(search.library());
      assertTrue(search.failure().contains("cannot be unpacked"), search.failure());
    }
  }

  /** Returns a loader that sees a jar of natives with one build. */
  private URLClassLoader jar(String build) throws IOException {
    Path jar = directory.resolve("natives-" + build + ".jar");
    String name = "libponder_cpu_" + build + ".so";
    try (FileSystem zip =
        FileSystems.newFileSystem(URI.create("jar:" + jar.toUri()), Map.of("create", "true"))) {
      Path folder = zip.getPath("ponder", "natives", HERE.platform());
      Files.createDirectories(folder);
      Files.copy(BUILT.resolve(name), folder.resolve(name));
    }
    return new URLClassLoader(new URL[] {jar.toUri().toURL()}, null);
  }
}
