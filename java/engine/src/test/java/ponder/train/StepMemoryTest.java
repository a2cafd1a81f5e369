// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.Device;
import ponder.TestDevices;
import ponder.abi.Kernels;
import ponder.abi.PlainKernels;

/** What a training step leaves behind: no native memory, little garbage. */
class StepMemoryTest {
  private static final List<String> NETS = List.of("transformer", "gru");

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void allocatesNothingFromTheSecondStepOn(String name) {
    for (String net : NETS) {
      try (Device device = TestDevices.open(name)) {
        List<Device.Memory> after = new ArrayList<>();
        List<Boolean> validated = new ArrayList<>();
        StepGarbage.train(
            device,
            net,
            12,
            step -> {
              after.add(device.memory());
              validated.add(step.validated());
            });
        assertEquals(12, after.size());
        // The first validation may be the first to need as much as it does.
        int first = validated.indexOf(true);
        assertTrue(first > 1 && first < 6, validated.toString());
        for (int i = 1; i < 12; i++) {
          Device.Memory expected = after.get(i < first ? 0 : first);
          assertEquals(expected, after.get(i), net + ", step " + (i + 1));
        }
      }
    }
  }

  @Test
  void aRunThatIsKeptAllocatesNothingMore(@TempDir Path folder) throws IOException {
    TinyRun run = new TinyRun("gru", 12);
    try (Device device = TestDevices.open(TestDevices.PLAIN)) {
      List<Device.Memory> after = new ArrayList<>();
      run.run(
          device,
          run.flops(device),
          run.in(folder).every(1, Double.POSITIVE_INFINITY),
          step -> after.add(device.memory()));
      // By the sixth step there was a validation.
      for (int i = 6; i < 12; i++) {
        assertEquals(after.get(5), after.get(i), "step " + (i + 1));
      }
    }
  }

  /** Returns how many kernels a step calls. */
  private static int kernelCalls(String net) {
    Kernels plain = PlainKernels.narrow();
    int[] calls = {0};
    Object counting =
        Proxy.newProxyInstance(
            Kernels.class.getClassLoader(),
            new Class<?>[] {Kernels.class},
            (proxy, method, arguments) -> {
              calls[0]++;
              try {
                return method.invoke(plain, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
    try (Device device = TestDevices.over((Kernels) counting, "counting")) {
      int[] before = new int[4];
      StepGarbage.train(device, net, 4, step -> before[(int) step.step() - 1] = calls[0]);
      return before[1] - before[0];
    }
  }

  /**
   * The goal is at most 512 bytes for an op. Nearly every op is one kernel call; a third as many
   * again only change a shape, so that 640 a call are 480 an op. Interpreted code keeps every small
   * object: what it leaves does not vary.
   */
  @Test
  void leavesLittleGarbage() throws Exception {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: plain loops make garbage");
    for (String net : NETS) {
      int calls = kernelCalls(net);
      Process process =
          ChildProcess.start(
              StepGarbage.class, List.of("-Xint"), TestDevices.builds().getLast(), net);
      String printed = new String(process.getInputStream().readAllBytes()).strip();
      assertEquals(0, process.waitFor(), printed);
      String[] bytes = printed.split(" ");
      long early = Long.parseLong(bytes[0]);
      long late = Long.parseLong(bytes[1]);
      System.out.printf(
          "%s step: %d kernel calls; %d bytes of garbage at first (%d a call), %d later (%d)%n",
          net, calls, early, early / calls, late, late / calls);
      assertTrue(early <= 640L * calls, early + " bytes a step");
      assertTrue(late <= early, late + " bytes a step");
    }
  }

  @Test
  void tenThousandStepsLeaveTheResidentSizeFlat() throws Exception {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: plain loops are too slow");
    assumeTrue(Files.exists(Path.of("/proc/self/statm")), "no /proc");
    // A heap that is wholly resident from the start: what grows is outside of it.
    Process process =
        ChildProcess.start(
            ManySteps.class,
            List.of(
                "-Xms32m",
                "-Xmx32m",
                "-XX:+UseSerialGC",
                "-XX:+AlwaysPreTouch",
                "-XX:TieredStopAtLevel=1"),
            TestDevices.builds().getLast(),
            "10000");
    String printed = new String(process.getInputStream().readAllBytes()).strip();
    assertEquals(0, process.waitFor(), printed);
    String[] kilobytes = printed.split(" ");
    long grown = Long.parseLong(kilobytes[1]) - Long.parseLong(kilobytes[0]);
    // A leak of 210 bytes a step would show.
    assertTrue(grown < 1024, "from " + kilobytes[0] + " to " + kilobytes[1] + " kilobytes");
  }
}
