// SPDX-License-Identifier: Apache-2.0
package ponder.lab.doctor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

final class DoctorTest {
  @Test
  void warnsOfTheJdksThatCorruptPinnedArrays() {
    for (String version : List.of("25", "25.0.1", "25.0.2")) {
      Finding finding = Doctor.java(Runtime.Version.parse(version), "a vendor");
      assertFalse(finding.fix().isEmpty(), version);
      assertFalse(finding.fatal(), version);
    }
    for (String version : List.of("22.0.2", "24.0.2", "25.0.3", "25.0.10", "26")) {
      assertEquals("", Doctor.java(Runtime.Version.parse(version), "a vendor").fix(), version);
    }
  }

  @Test
  void namesTheLibraryInUseAndWhyTheOthersAreNot() {
    List<Finding> findings = Doctor.examine();
    List<String> libraries =
        findings.stream()
            .filter(f -> f.subject().startsWith("library"))
            .map(Finding::state)
            .toList();
    assertEquals(
        1, libraries.stream().filter(s -> s.startsWith("taken: ")).count(), libraries::toString);
    assertTrue(libraries.stream().allMatch(s -> s.matches("(taken|refused): .+: .+")));
    assertTrue(findings.stream().anyMatch(f -> f.subject().equals("memory limit")));
  }
}
