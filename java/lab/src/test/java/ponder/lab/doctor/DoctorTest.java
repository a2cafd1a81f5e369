// SPDX-License-Identifier: Apache-2.0
package ponder.lab.doctor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import ponder.CudaDevices;
import ponder.Libraries;

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
            .filter(f -> !f.subject().equals("library cuda"))
            .map(Finding::state)
            .toList();
    assertEquals(
        1, libraries.stream().filter(s -> s.startsWith("taken: ")).count(), libraries::toString);
    assertTrue(libraries.stream().allMatch(s -> s.matches("(taken|refused): .+: .+")));
    assertTrue(findings.stream().anyMatch(f -> f.subject().equals("memory limit")));
  }

  @Test
  void describesEachCudaDevice() {
    List<Finding> findings =
        Doctor.cuda(
            List.of(new Libraries.Candidate("a place", "/x.so", "cuda", true, "it loads")),
            Optional.of("cuda 13.0"),
            new CudaDevices(
                List.of(
                    new CudaDevices.CudaDevice(0, "First", 9, 0, 5L << 30, 132),
                    new CudaDevices.CudaDevice(1, "Second", 8, 6, 3L << 29, 7)),
                13010,
                ""),
            index -> index == 0 ? OptionalLong.of(9L << 29) : OptionalLong.empty());
    assertEquals(
        List.of(
            Finding.well("library cuda", "taken: /x.so (a place): it loads"),
            Finding.well(
                "CUDA driver needed",
                "580 or later, for a library built with CUDA 13; this one serves CUDA 13.1"),
            Finding.well(
                "cuda:0", "First, compute capability 9.0, 5.0 GiB (4.5 free), 132 multiprocessors"),
            Finding.well("cuda:1", "Second, compute capability 8.6, 1.5 GiB, 7 multiprocessors")),
        findings);
  }

  @Test
  void asksForANewerCudaDriver() {
    Finding driver =
        Doctor.cuda(
                List.of(),
                Optional.of("cuda 13.0"),
                new CudaDevices(List.of(), 12090, "a reason"),
                index -> null)
            .get(1);
    assertEquals("CUDA driver needed", driver.subject());
    assertTrue(driver.state().endsWith("this one serves CUDA 12.9"), driver.state());
    assertEquals("update NVIDIA's driver to 580 or later", driver.fix());
    assertFalse(driver.fatal());
  }

  @Test
  void findsNothingWrongWithoutCuda() {
    assertEquals(
        List.of(
            Finding.well("library cuda", "none found; CUDA devices cannot be used"),
            Finding.well("CUDA devices", "none: a reason")),
        Doctor.cuda(
            List.of(), Optional.empty(), new CudaDevices(List.of(), 0, "a reason"), index -> null));
  }
}
