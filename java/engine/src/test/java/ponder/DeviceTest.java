// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import ponder.abi.Kernels;
import ponder.abi.PlainKernels;

/** Devices as their users open them: over the library found on this machine. */
class DeviceTest {
  @Test
  void opensTheBestLibraryThereIs() {
    List<Libraries.Candidate> taken =
        Libraries.candidates().stream().filter(Libraries.Candidate::taken).toList();
    assertEquals(1, taken.size(), Libraries.candidates().toString());
    try (Device device = Device.cpu();
        Device another = Device.cpu()) {
      assertTrue(device.name().startsWith("cpu " + taken.getFirst().build()), device.name());
      assertNotEquals(device.name(), another.name());
      assertTrue(device.threads() >= 1);
      assertTrue(device.memory().limit() > 1 << 20);
      assertTrue(Libraries.platform().contains("-"));
    }
  }

  @Test
  void hasTheThreadsAndTheLimitAskedFor() {
    try (Device device = Device.cpu(2, 64 << 20)) {
      assertEquals(2, device.threads());
      assertEquals(64 << 20, device.memory().limit());
      device.synchronize();
    }
  }

  /** After its failure a device refuses everything, releasing memory too, but for its end. */
  @Test
  void aFailedDeviceIsOneExceptionAndCanBeClosed() {
    boolean[] failed = {false};
    boolean[] ended = {false};
    Kernels plain = PlainKernels.wide();
    Kernels failing =
        (Kernels)
            Proxy.newProxyInstance(
                Kernels.class.getClassLoader(),
                new Class<?>[] {Kernels.class},
                (proxy, method, arguments) -> {
                  if (failed[0]) {
                    throw new DeviceFailedException(method.getName() + ": the device failed");
                  }
                  return method.invoke(plain, arguments);
                });
    Device device = new Device(failing, "failing", () -> ended[0] = true, false, -1);
    Scope scope = device.open();
    Tensor x = scope.full(DType.F32, Shape.of(3), 1);
    failed[0] = true;
    assertThrows(DeviceFailedException.class, x::exp);
    assertThrows(DeviceFailedException.class, x::toFloats);
    device.close();
    assertTrue(ended[0]);
  }

  /** More than a gigabyte would be lost, were the devices' memory not given back. */
  @Test
  void closingGivesEverythingBack() throws IOException {
    long before = residentBytes();
    for (int i = 0; i < 40; i++) {
      try (Device device = Device.cpu(1)) {
        Scope scope = device.open();
        Tensor w = scope.full(DType.F32, Shape.of(1 << 22), 1);
        assertEquals(1 << 22, device.store().add("w", w).sum().item());
      }
    }
    assertTrue(residentBytes() - before < 512 << 20);
  }

  private static long residentBytes() throws IOException {
    Path status = Path.of("/proc/self/status");
    assumeTrue(Files.exists(status), "only Linux tells what a process holds");
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith("VmRSS:")) {
        return Long.parseLong(line.replaceAll("\\D", "")) << 10;
      }
    }
    throw new AssertionError("no VmRSS");
  }

  @Test
  void closingEndsTheThreads() throws IOException {
    long before = threads();
    for (int i = 0; i < 20; i++) {
      try (Device device = Device.cpu(5);
          Scope scope = device.open()) {
        scope
            .full(DType.F32, Shape.of(512, 512), 1)
            .matmul(scope.full(DType.F32, Shape.of(512, 8), 1));
      }
    }
    // The virtual machine starts and ends some of its own.
    assertTrue(threads() - before < 40, before + " threads before, now " + threads());
  }

  private static long threads() throws IOException {
    Path tasks = Path.of("/proc/self/task");
    assumeTrue(Files.exists(tasks), "only Linux lists the threads of a process");
    try (Stream<Path> list = Files.list(tasks)) {
      return list.count();
    }
  }

  @Test
  void servesOneThreadAfterTheOther() throws InterruptedException {
    try (Device device = Device.cpu(1);
        Store store = device.store()) {
      try (Scope scope = device.open()) {
        store.add("w", scope.tensor(Shape.of(2), 1f, 2f));
      }
      AtomicReference<Object> outcome = new AtomicReference<>();
      Thread thread =
          new Thread(
              () -> {
                try (Scope scope = device.open()) {
                  store.replace("w", store.get("w").add(scope.tensor(Shape.of(2), 1f, 1f)));
                  outcome.set(store.get("w").toFloats());
                } catch (RuntimeException e) {
                  outcome.set(e);
                }
              });
      thread.start();
      thread.join();
      assertArrayEquals(new float[] {2, 3}, (float[]) outcome.get());
      assertArrayEquals(new float[] {2, 3}, store.get("w").toFloats());
    }
  }

  /** The sizes are large enough for every thread to have work. */
  @Test
  void givesTheSameBitsOnEveryBuildAndThreadCount() {
    float[] expected = null;
    for (String build : TestDevices.builds()) {
      for (int threads = 1; threads <= 3; threads += 2) {
        try (Device device = TestDevices.open(build, threads, 0);
            Scope scope = device.open()) {
          Key key = Key.of(9);
          Tensor x = scope.uniform(DType.F32, Shape.of(301, 257), key.split("x"));
          Tensor w = scope.uniform(DType.F32, Shape.of(257, 257), key.split("w"));
          Tensor row = scope.uniform(DType.F32, Shape.of(257), key.split("row"));
          Tensor y = x.matmul(w).scale(0.01).add(row).tanh().matmul(w, false, true);
          Tensor centred = y.sub(y.mean(-1).reshape(301, 1));
          Tensor norm = centred.mul(centred.power(2).mean(-1).reshape(301, 1).power(-0.5));
          Tensor loss = norm.exp().sum(-1).log().add(norm.largest(-1)).mean();
          Tensor[] d = Gradient.of(loss, w, row);
          float[] bits = d[0].reshape(257 * 257).concat(d[1], 0).toFloats();
          if (expected == null) {
            expected = bits;
          }
          assertArrayEquals(expected, bits, build + " with " + threads + " threads");
        }
      }
    }
  }
}
