// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProcessorTest {
  @TempDir Path directory;

  private Set<String> reported(String text) throws IOException {
    return Processor.reported(Files.writeString(directory.resolve("cpuinfo"), text));
  }

  @Test
  void takesTheFeaturesThatEveryProcessorHas() throws IOException {
    String text =
        """
        processor\t: 0
        flags\t\t: fpu avx2 fma abm
        bugs\t\t: spectre_v1

        processor\t: 1
        flags\t\t: fpu avx2 abm movbe
        """;
    assertEquals(Set.of("fpu", "avx2", "abm"), reported(text));
    assertEquals(Set.of("fp", "asimd"), reported("Features\t: fp asimd\n"));
    assertEquals(Set.of(), reported("nothing of the kind\n"));
    assertEquals(Set.of(), Processor.reported(directory.resolve("absent")));
  }

  @Test
  void namesTheFeaturesABuildLacks() {
    Set<String> v3 = Set.of("avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe");
    Processor processor = new Processor("linux-x86_64", v3);
    assertEquals(List.of(), processor.missing("base"));
    assertEquals(List.of(), processor.missing("v3"));
    assertEquals(
        List.of("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_bf16"),
        processor.missing("v4"));
    assertEquals(7, new Processor("linux-x86_64", Set.of()).missing("v3").size());
    assertEquals(13, new Processor("linux-x86_64", Set.of()).missing("v4").size());
  }

  @Test
  void hasBuildsForItsFamily() {
    assertEquals(List.of("v4", "v3", "base"), new Processor("linux-x86_64", Set.of()).builds());
    assertEquals(List.of("base"), new Processor("linux-aarch64", Set.of()).builds());
  }

  @Test
  void thisMachineHasAPlatform() {
    Processor here = Processor.here();
    assertTrue(here.platform().matches("[a-z]+-[a-z0-9_]+"), here.platform());
    assertFalse(here.builds().isEmpty());
  }
}
