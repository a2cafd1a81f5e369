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
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.Device;
import ponder.Store;
import ponder.TestDevices;
import ponder.abi.Kernels;
import ponder.abi.PlainKernels;
import ponder.nn.Nets;

/** What a training step leaves behind: no native memory, little garbage. */
class StepMemoryTest {
  private static final List<String> NETS = Arrays.stream(Nets.values()).map(Enum::name).toList();

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

  /** The bytes of garbage a step leaves, at first and later. */
  private record Garbage(long early, long late) {}

  /** Interpreted code keeps every small object: what it leaves does not vary. */
  private static Garbage interpreted(String net) throws Exception {
    Process process =
        ChildProcess.start(
            StepGarbage.class, List.of("-Xint"), TestDevices.builds().getLast(), net);
    String printed = new String(process.getInputStream().readAllBytes()).strip();
    assertEquals(0, process.waitFor(), printed);
    String[] bytes = printed.split(" ");
    return new Garbage(Long.parseLong(bytes[0]), Long.parseLong(bytes[1]));
  }

  /** An op is one kernel call or none. */
  @ParameterizedTest
  @EnumSource(Nets.class)
  void leavesAtMost512BytesOfGarbageForAKernelCall(Nets net) throws Exception {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: plain loops make garbage");
    int calls = kernelCalls(net.name());
    Garbage garbage = interpreted(net.name());
    System.out.printf(
        "%s step: %d kernel calls; %s, %d bytes a call%n",
        net, calls, garbage, garbage.early / calls);
    assertTrue(garbage.early <= 512L * calls, garbage + " for " + calls + " calls");
    assertTrue(garbage.late <= garbage.early, garbage.toString());
  }

  @Test
  void aSmallStepLeavesAtMost64KibibytesOfGarbage() throws Exception {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: plain loops make garbage");
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store()) {
      StepGarbage.create(StepGarbage.GOAL, store);
      assertEquals(205_376, store.size());
    }
    Garbage garbage = interpreted(StepGarbage.GOAL);
    System.out.println("step of 205,376 parameters: " + garbage);
    assertTrue(garbage.early <= 64 << 10, garbage.toString());
    assertTrue(garbage.late <= garbage.early, garbage.toString());
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
