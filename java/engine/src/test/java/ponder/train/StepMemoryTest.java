// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.TestDevices;
import ponder.abi.Kernels;
import ponder.abi.PlainKernels;
import ponder.nn.GruModel;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/** What a training step leaves behind: no native memory, little garbage. */
class StepMemoryTest {
  private static final List<String> NETS = List.of("transformer", "gru");

  private static SequenceModel create(String net, Store store) {
    Parameters parameters = Parameters.of(store, Key.of(1));
    return net.equals("gru")
        ? GruModel.create(parameters, CopyTask.VOCABULARY, 2, 16)
        : Transformer.create(parameters, CopyTask.VOCABULARY, 4, 16, 2);
  }

  /** Trains for so many steps, a quarter of them followed by a validation. */
  private static void train(Device device, String net, int steps, Progress progress) {
    try (Store store = device.store()) {
      CopyTask task = new CopyTask(create(net, store), Key.of(2), 4, 4);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(1e-3, 0.1, 0.1), 1, steps / 4);
      long each = trainer.run(store, task, 1, Progress.NONE).work().flops();
      trainer.run(store, task, each * steps, progress);
    }
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void allocatesNothingFromTheSecondStepOn(String name) {
    for (String net : NETS) {
      try (Device device = TestDevices.open(name)) {
        List<Device.Memory> after = new ArrayList<>();
        List<Boolean> validated = new ArrayList<>();
        train(
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
      train(device, net, 4, step -> before[(int) step.step() - 1] = calls[0]);
      return before[1] - before[0];
    }
  }

  /**
   * The goal is at most 512 bytes for an op. Nearly every op is one kernel call; a third as many
   * again only change a shape, so that 640 a call are 480 an op. Interpreted code keeps every small
   * object: what it leaves does not vary.
   */
  @Test
  void leavesLittleGarbage() throws ReflectiveOperationException {
    assumeFalse(TestDevices.builds().isEmpty(), "no library is built: plain loops make garbage");
    for (String net : NETS) {
      int calls = kernelCalls(net);
      int steps = 2000;
      long[] bytes = new long[steps];
      try (Device device = TestDevices.open(TestDevices.builds().getLast())) {
        train(device, net, steps, step -> bytes[(int) step.step() - 1] = allocatedBytes());
      }
      long early = (bytes[99] - bytes[9]) / 90;
      long late = (bytes[steps - 1] - bytes[steps - 501]) / 500;
      System.out.printf(
          "%s step: %d kernel calls; %d bytes of garbage at first (%d a call), %d later (%d)%n",
          net, calls, early, early / calls, late, late / calls);
      assertTrue(early <= 640L * calls, early + " bytes a step");
      assertTrue(late <= early, late + " bytes a step");
    }
  }

  /** com.sun.management.ThreadMXBean, which the engine's module does not read. */
  private static long allocatedBytes() {
    try {
      Object bean =
          Class.forName("java.lang.management.ManagementFactory")
              .getMethod("getThreadMXBean")
              .invoke(null);
      Method method =
          Class.forName("com.sun.management.ThreadMXBean")
              .getMethod("getCurrentThreadAllocatedBytes");
      return (long) method.invoke(bean);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
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
            List.of("-Xms32m", "-Xmx32m", "-XX:+UseSerialGC", "-XX:+AlwaysPreTouch"),
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
