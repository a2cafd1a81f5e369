// SPDX-License-Identifier: Apache-2.0
package example.outside;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The README's program prints what the README says. */
class ReadmeTest {
  private static final Pattern BLOCKS =
      Pattern.compile("```java\n(.*?)```\n\n```text\n(.*?)```", Pattern.DOTALL);

  @Test
  void theProgramPrintsWhatStandsBelowIt(@TempDir Path work) throws Exception {
    Matcher blocks = BLOCKS.matcher(Files.readString(Path.of(System.getProperty("readme"))));
    assertTrue(blocks.find(), "README.md has a program and its output");
    Path program = Files.writeString(work.resolve("Newton.java"), blocks.group(1));

    String jars =
        System.getProperty("engine.jar") + File.pathSeparator + System.getProperty("natives.jar");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dponder.cache.dir=" + work.resolve("cache"),
                "-cp",
                jars,
                program.toString())
            .redirectErrorStream(true)
            .start();
    assertEquals(blocks.group(2), new String(process.getInputStream().readAllBytes()));
    assertEquals(0, process.waitFor());
  }
}
