// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The launcher, on a machine of its own making: a PATH with nothing but what a test puts there. */
class LauncherTest {
  private static final List<String> SYSTEM =
      List.of(
          "awk",
          "bash",
          "cat",
          "cut",
          "dirname",
          "grep",
          "head",
          "mkdir",
          "paste",
          "readlink",
          "sed",
          "sh",
          "sort",
          "tail",
          "uname");
  private static final String PACKAGES = "maven cmake ninja-build g++ npm";

  @TempDir Path work;
  private Path house;
  private Path bin;

  /** How the launcher ended and what it printed. */
  private record Run(int code, String out, String err) {}

  @BeforeEach
  void aHouseThatWasNeverBuilt() throws IOException {
    Path root = root();
    house = Files.createDirectory(work.resolve("house"));
    Files.copy(root.resolve("pom.xml"), house.resolve("pom.xml"));
    Files.copy(root.resolve("ponder"), house.resolve("ponder"));
    assertTrue(house.resolve("ponder").toFile().setExecutable(true));
    bin = Files.createDirectory(work.resolve("bin"));
    for (String tool : SYSTEM) {
      Files.createSymbolicLink(bin.resolve(tool), which(tool));
    }
    tool("id", "echo 1000");
    tool("apt-get", "echo \"$*\" >> " + work.resolve("apt"));
    tool("apt-cache", "true");
  }

  @Test
  void printsTheVersionOfTheBuild() throws Exception {
    Run run = ponder("--version");
    assertEquals(0, run.code());
    assertTrue(run.out().matches("ponder [0-9]+\\.[0-9]+\\.[0-9]+\n"), run.out());
  }

  @Test
  void explainsItselfWhenAskedAndFailsWithoutACommand() throws Exception {
    Run help = ponder("--help");
    assertEquals(0, help.code());
    assertTrue(help.out().contains("./ponder paths") && help.out().contains("./ponder test"));
    Run nothing = ponder();
    assertEquals(2, nothing.code());
    assertEquals(help.out(), nothing.err());
  }

  @Test
  void refusesOptionsOfTest() throws Exception {
    Run run = ponder("test", "--fast");
    assertEquals(2, run.code());
    assertEquals("ponder: \"test\" takes --all alone, got \"--fast\".\n", run.err());
  }

  @Test
  void withoutRootItPrintsTheExactCommand() throws Exception {
    Run run = ponder("paths");
    assertEquals(3, run.code(), run.err());
    assertTrue(
        run.err()
            .endsWith(
                "sudo apt-get update && sudo apt-get install -y --no-install-recommends "
                    + PACKAGES
                    + "\n"),
        run.err());
    assertFalse(Files.exists(work.resolve("apt")), "apt-get was run");
  }

  @Test
  void asRootItInstallsWhatIsMissingAndSaysSo() throws Exception {
    tool("id", "echo 0");
    Run run = ponder("paths");
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().startsWith("ponder: installing with apt-get: " + PACKAGES + "\n"));
    assertTrue(run.err().contains("still missing after the installation: Maven"), run.err());
    assertEquals(
        List.of("update -qq", "install -y --no-install-recommends " + PACKAGES),
        Files.readAllLines(work.resolve("apt")));
  }

  @Test
  void withoutAptItNamesTheTools() throws Exception {
    Files.delete(bin.resolve("apt-get"));
    Run run = ponder("paths");
    assertEquals(3, run.code(), run.err());
    assertEquals(
        "ponder: missing: Maven, CMake >= 3.22, Ninja, a C++20 compiler, npm with Node.js >= 18."
            + " Install them with this system's package manager.\n",
        run.err());
  }

  @Test
  void whereNoPackageIsNewEnoughItPrintsTheVendorsSteps() throws Exception {
    Run run = withoutJdk();
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().contains("adoptium.net/installation"), run.err());
    assertTrue(run.err().contains("apt-get install temurin-25-jdk"), run.err());
    assertTrue(run.err().contains("JAVA_HOME"), run.err());
  }

  @Test
  void takesTheNewestJdkThatTheSystemOffers() throws Exception {
    tool(
        "apt-cache",
        "echo 'openjdk-17-jdk-headless - old'; echo 'openjdk-25-jdk-headless - new'; "
            + "echo 'openjdk-24-jdk-headless - between'");
    Run run = withoutJdk();
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().contains(" openjdk-25-jdk-headless maven cmake"), run.err());
  }

  /** Runs the launcher where the usual places hold no JDK: in a mount namespace of its own. */
  private Run withoutJdk() throws Exception {
    List<String> isolated =
        new ArrayList<>(List.of(which("unshare").toString(), "--mount", "--map-root-user"));
    String hide =
        which("mount")
            + " -t tmpfs none /usr/lib/jvm && "
            + which("mount")
            + " -t tmpfs none /opt && exec \"$@\"";
    isolated.addAll(List.of(which("sh").toString(), "-c", hide, "sh"));
    List<String> probe = new ArrayList<>(isolated);
    probe.add(which("true").toString());
    assumeTrue(
        run(probe, Map.of()).code() == 0, "skipped: this user may not make a mount namespace");
    isolated.add(house.resolve("ponder").toString());
    isolated.add("paths");
    return run(isolated, Map.of("PATH", bin.toString(), "HOME", work.toString()));
  }

  private Run ponder(String... words) throws Exception {
    List<String> command = new ArrayList<>(List.of(house.resolve("ponder").toString()));
    command.addAll(List.of(words));
    return run(
        command,
        Map.of(
            "PATH", bin.toString(),
            "HOME", work.toString(),
            "JAVA_HOME", System.getProperty("java.home")));
  }

  private Run run(List<String> command, Map<String, String> environment) throws Exception {
    Path out = work.resolve("out");
    Path err = work.resolve("err");
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(err.toFile());
    builder.environment().keySet().removeAll(List.of("JAVA_HOME", "CXX", "MAVEN_OPTS"));
    builder.environment().putAll(environment);
    int code = builder.start().waitFor();
    return new Run(code, Files.readString(out), Files.readString(err));
  }

  private void tool(String name, String script) throws IOException {
    Path tool = bin.resolve(name);
    Files.writeString(tool, "#!/bin/sh\n" + script + "\n");
    assertTrue(tool.toFile().setExecutable(true));
  }

  private static Path which(String tool) {
    for (String directory : System.getenv("PATH").split(":")) {
      Path path = Path.of(directory, tool);
      if (Files.isExecutable(path)) {
        return path;
      }
    }
    throw new IllegalStateException("no " + tool + " on the PATH");
  }

  private static Path root() {
    Path path = Path.of("").toAbsolutePath();
    while (!Files.exists(path.resolve("CMakePresets.json"))) {
      path = path.getParent();
    }
    return path;
  }
}
