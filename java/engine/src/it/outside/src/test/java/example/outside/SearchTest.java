// SPDX-License-Identifier: Apache-2.0
package example.outside;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the engine finds its library, each place in a virtual machine of its own. */
class SearchTest {
  private static final String ENGINE = System.getProperty("engine.jar");
  private static final String NATIVES = System.getProperty("natives.jar");
  private static final String CLASSES = System.getProperty("classes");
  private static final String BUILD = System.getProperty("ponder.build");
  private static final String BASE = "libponder_cpu_base.so";

  @TempDir Path work;

  /** What a program printed, and how it ended. */
  private record Run(int code, String text) {}

  @Test
  void thePropertyComesFirst() throws Exception {
    Path named = baseIn("named");
    Path other = baseIn("other");
    Run run = where(List.of("-Dponder.library.path=" + named), other.toString());
    assertEquals(taken("system property ponder.library.path", named.resolve(BASE)), run);
  }

  @Test
  void theVariableComesSecond() throws Exception {
    Path other = baseIn("other");
    Run run = where(List.of(), other.toString());
    assertEquals(taken("environment variable PONDER_LIBRARY_PATH", other.resolve(BASE)), run);
  }

  @Test
  void theJarComesThirdUnpackedOnceForItsOwnerAlone() throws Exception {
    Run run = where(List.of(), null);
    assertEquals(0, run.code(), run.text());
    assertTrue(run.text().startsWith("6 = 6.0 by jar of natives: ponder/natives/"), run.text());
    Path unpacked = onlyLibrary();
    assertEquals(
        "rwx------",
        PosixFilePermissions.toString(Files.getPosixFilePermissions(unpacked.getParent())));
    var written = Files.getLastModifiedTime(unpacked);
    assertEquals(run, where(List.of(), null));
    assertEquals(written, Files.getLastModifiedTime(onlyLibrary()));
  }

  @Test
  void anInstallPrefixComesLast() throws Exception {
    Path prefix = work.resolve("prefix");
    Run installed =
        run(List.of(), List.of("cmake", "--install", BUILD, "--prefix", "" + prefix), null);
    assertEquals(0, installed.code(), installed.text());

    // A mount namespace of the program's own, so that nothing is installed on this machine.
    List<String> isolated = new ArrayList<>(List.of("unshare", "--mount", "--map-root-user"));
    assumeTrue(
        run(isolated, List.of("true"), null).code() == 0,
        "skipped: this user may not make a mount namespace");
    String mount = "mount --bind \"$0\" /usr/local/lib && exec \"$@\"";
    isolated.addAll(List.of("sh", "-c", mount, prefix.resolve("lib").toString()));
    Run run = run(isolated, java(List.of(), null), null);
    assertEquals(0, run.code(), run.text());
    assertTrue(
        run.text().startsWith("6 = 6.0 by install prefix: /usr/local/lib/libponder_cpu_"),
        run.text());
    run = run(isolated, java(List.of(), NATIVES), null);
    assertTrue(run.text().startsWith("6 = 6.0 by jar of natives: "), run.text());
  }

  @Test
  void aNamedPlaceIsTheOnlyOne() throws Exception {
    Run run = where(List.of("-Dponder.library.path=" + work.resolve("nowhere")), null);
    assertEquals(1, run.code(), run.text());
    assertTrue(run.text().contains(work.resolve("nowhere").toString()), run.text());
  }

  @Test
  void aJarForAnotherPlatformIsNoHelpAndItSaysWhatWasLookedForAndWhere() throws Exception {
    Path jar = work.resolve("natives.jar");
    Manifest manifest = new Manifest();
    manifest.getMainAttributes().put(Attributes.Name.MANIFEST_VERSION, "1.0");
    manifest.getMainAttributes().putValue("Automatic-Module-Name", "ponder.natives");
    try (var out = new JarOutputStream(Files.newOutputStream(jar), manifest)) {
      out.putNextEntry(new JarEntry("ponder/natives/plan9-mips/" + BASE));
      out.closeEntry();
    }
    Run run = run(List.of(), java(List.of(), jar.toString()), null);
    assumeTrue(run.code() != 0, "skipped: a library is installed on this machine");
    String text = run.text();
    assertEquals(1, run.code(), text);
    assertTrue(text.startsWith("no Ponder library for linux-"), text);
    assertTrue(text.contains("libponder_cpu_{"), text);
    assertTrue(text.contains("ponder/natives/linux-"), text);
    assertTrue(text.contains("/usr/local/lib"), text);
    assertTrue(text.contains("-linux-gnu (install prefix)"), text);
    assertTrue(text.contains("ponder.library.path"), text);
    assertEquals(1, text.lines().count(), text);
  }

  @Test
  void twoClassLoadersComputeSideBySide() throws Exception {
    URL[] places = {url(ENGINE), url(NATIVES), url(CLASSES)};
    try (var first = new URLClassLoader(places, null);
        var second = new URLClassLoader(places, null)) {
      Callable<?> one = program(first);
      Callable<?> two = program(second);
      assertNotSame(one.getClass(), two.getClass());
      assertEquals(one.call(), two.call());
      assertTrue(one.call().toString().startsWith("6 = 6.0 by "), one.call().toString());
    }
  }

  private static Callable<?> program(ClassLoader loader) throws ReflectiveOperationException {
    return (Callable<?>)
        loader.loadClass("example.outside.Where").getDeclaredConstructor().newInstance();
  }

  private static URL url(String path) throws MalformedURLException {
    return Path.of(path).toUri().toURL();
  }

  private static Run taken(String source, Path library) {
    return new Run(0, "6 = 6.0 by " + source + ": " + library);
  }

  /** Returns a directory that holds the plainest library alone. */
  private Path baseIn(String name) throws IOException {
    Path directory = Files.createDirectory(work.resolve(name));
    try (JarFile jar = new JarFile(NATIVES)) {
      var entry = jar.stream().filter(e -> e.getName().endsWith(BASE)).findFirst().orElseThrow();
      try (InputStream in = jar.getInputStream(entry)) {
        Files.copy(in, directory.resolve(BASE));
      }
    }
    return directory;
  }

  private Path onlyLibrary() throws IOException {
    try (Stream<Path> files = Files.walk(work.resolve("cache"))) {
      List<Path> libraries = files.filter(Files::isRegularFile).toList();
      assertEquals(1, libraries.size(), libraries.toString());
      return libraries.getFirst();
    }
  }

  private Run where(List<String> options, String variable) throws Exception {
    return run(List.of(), java(options, NATIVES), variable);
  }

  /** Returns the command line of {@link Where}, on the module path or the class path. */
  private List<String> java(List<String> options, String natives) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-Dponder.cache.dir=" + work.resolve("cache"));
    command.addAll(options);
    String path = String.join(File.pathSeparator, ENGINE, CLASSES);
    if (natives != null) {
      path += File.pathSeparator + natives;
    }
    if (Boolean.getBoolean("modules")) {
      if (natives != null) {
        command.add("--add-modules=ponder.natives");
      }
      command.add("--enable-native-access=ponder.engine");
      command.addAll(List.of("-p", path, "-m", "example.outside/example.outside.Where"));
    } else {
      command.add("--enable-native-access=ALL-UNNAMED");
      command.addAll(List.of("-cp", path, "example.outside.Where"));
    }
    return command;
  }

  private Run run(List<String> before, List<String> command, String variable) throws Exception {
    List<String> words = new ArrayList<>(before);
    words.addAll(command);
    ProcessBuilder builder = new ProcessBuilder(words).redirectErrorStream(true);
    builder.environment().remove("PONDER_LIBRARY_PATH");
    builder.environment().remove("JAVA_TOOL_OPTIONS");
    if (variable != null) {
      builder.environment().put("PONDER_LIBRARY_PATH", variable);
    }
    Process process = builder.start();
    process.getOutputStream().close();
    String text = new String(process.getInputStream().readAllBytes()).strip();
    return new Run(process.waitFor(), text);
  }
}
