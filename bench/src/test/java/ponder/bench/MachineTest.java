// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The fingerprint of a machine, and what a process used of it. */
class MachineTest {
  private static String cpuinfo(String name, int family, int model) {
    return """
    processor\t: 0
    cpu family\t: %d
    model\t\t: %d
    model name\t: %s
    flags\t\t: fpu avx2 fma avx512f

    """
        .formatted(family, model, name);
  }

  private static Machine of(String name, int family, int model) throws IOException {
    String memory = "MemTotal:       25165824 kB\nMemFree:        1 kB\n";
    return Machine.of(cpuinfo(name, family, model), memory, Path.of("/nowhere"));
  }

  @Test
  void namesTheCoreWhereTheModelDoesNot() throws IOException {
    int cores = Runtime.getRuntime().availableProcessors();
    assertEquals("AMD EPYC (Zen 5)", of("AMD EPYC", 26, 2).processor());
    assertEquals("zen5-" + cores, of("AMD EPYC", 26, 2).slug());
    assertEquals("zen4-" + cores, of("AMD EPYC 9B14", 25, 0x11).slug());
    assertEquals("zen3-" + cores, of("AMD EPYC 7B13", 25, 1).slug());
    Machine intel = of("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 6, 143);
    assertEquals("intel-xeon-platinum-8481c-cpu-2-70ghz-" + cores, intel.slug());
    assertEquals(List.of("avx2", "fma", "avx512f"), intel.features());
    assertEquals(24, intel.memoryGib());
  }

  @Test
  void listsTheCachesOfData(@TempDir Path folder) throws IOException {
    String[][] caches = {
      {"1", "Data", "48K"}, {"1", "Instruction", "32K"}, {"2", "Unified", "1024K"}
    };
    for (int i = 0; i < caches.length; i++) {
      Path index = Files.createDirectory(folder.resolve("index" + i));
      Files.writeString(index.resolve("level"), caches[i][0] + "\n");
      Files.writeString(index.resolve("type"), caches[i][1] + "\n");
      Files.writeString(index.resolve("size"), caches[i][2] + "\n");
    }
    Machine machine = Machine.of(cpuinfo("AMD EPYC", 26, 2), "MemTotal: 1048576 kB\n", folder);
    assertEquals(List.of("L1d 48 KiB", "L2 1024 KiB"), machine.caches());
  }

  @Test
  void saysNothingOfWhoseMachineItIs() throws IOException {
    Machine here = Machine.here();
    assertFalse(here.toString().contains(InetAddress.getLocalHost().getHostName()));
    assertTrue(here.kernel().matches("[0-9.]+"), here.kernel());
    assertTrue(here.isLike(Machine.here()));
  }

  @Test
  void processorTimeIsFinerThanATick() {
    Usage before = Usage.now();
    long sum = 0;
    for (int i = 0; i < 2_000_000; i++) sum += Math.floorMod(sum * 31 + i, 1_000_003);
    Usage used = Usage.now().since(before);
    assertTrue(
        sum != 0 && used.cpuNanos() > 0 && used.cpuNanos() % 10_000_000 != 0, used.toString());
    assertTrue(used.wallNanos() > 0 && used.switches() >= 0 && used.stealNanos() >= 0);
  }

  @Test
  void aThreadsTimeIsItsOwn() throws InterruptedException {
    Usage before = Usage.now();
    long[] others = new long[1];
    var other =
        new Thread(
            () -> {
              Usage start = Usage.now();
              while (others[0] < 50_000_000) others[0] = Usage.now().since(start).ownNanos();
            });
    other.start();
    other.join();
    Usage used = Usage.now().since(before);
    assertTrue(used.cpuNanos() >= others[0], used + " of " + others[0]);
    assertTrue(used.ownNanos() < others[0] / 2, used + " of " + others[0]);
  }
}
