// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import ponder.CudaDevices.CudaDevice;

/** The list of devices, in processes of their own that find a fake driver, or none. */
class CudaDevicesTest {
  private static final List<String> PERMITTED = List.of("--enable-native-access=ALL-UNNAMED");

  @TempDir Path work;

  /** Prints the list, one line each; or, asked for a device, what else the driver does for it. */
  static final class Printing {
    public static void main(String[] arguments) {
      if (arguments.length > 0) {
        use(Integer.parseInt(arguments[0]));
        return;
      }
      CudaDevices found = CudaDevices.list();
      found.devices().forEach(System.out::println);
      System.out.println(found.driverVersion() + " " + found.reason());
    }

    private static void use(int index) {
      System.out.println(CudaDevices.freeBytes(index));
      try (Device device = TestDevices.simulatedCudaAt(index);
          Scope scope = device.open()) {
        // More than the staging buffer holds.
        float[] numbers = Key.of(1).uniformFloats(100_000);
        System.out.println(
            Arrays.equals(numbers, scope.tensor(Shape.of(numbers.length), numbers).toFloats()));
        try (CudaTimer timer = CudaTimer.of(device)) {
          timer.start();
          timer.stop();
          System.out.println(timer.seconds());
        } catch (UnsupportedOperationException | DeviceFailedException e) {
          System.out.println(e.getMessage());
        }
      }
    }
  }

  @Test
  void showsWhatTheDriverSays() throws Exception {
    assertEquals(
        List.of(
            new CudaDevice(0, "Fake 0", 9, 0, 5L << 32, 132).toString(),
            new CudaDevice(1, "Fake 1", 8, 6, (5L << 32) + 1, 131).toString(),
            "13010 "),
        print(driver(), Map.of(), PERMITTED));
  }

  /** Free memory, pinned staging, events in the device's stream; all of it is given back. */
  @Test
  void worksInThePrimaryContext() throws Exception {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
    assertEquals(
        List.of("OptionalLong[" + (3L << 32) + "]", "true", "0.0015"),
        print(Printing.class, driver(), Map.of(), permitted(), List.of("0")));
    assertEquals(
        List.of(
            "OptionalLong.empty",
            "true",
            "timer: the CUDA driver refuses cuInit: CUDA_ERROR_NO_DEVICE"),
        print(
            Printing.class, driver(), Map.of("FAKE_CUDA_INIT", "100"), permitted(), List.of("0")));
    assertEquals(
        List.of(
            "OptionalLong.empty",
            "true",
            "timer: JCuda, which asks the driver, is not on the path"),
        print(Printing.class, work, Map.of(), permitted(), List.of("0"), "jcuda"));
  }

  @Test
  void aTimerEndsWithItsDevice() throws Exception {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
    assertEquals(
        List.of(
            "OptionalLong[" + (3L << 32) + "]",
            "true",
            "timer: the CUDA driver refuses cuEventRecord: CUDA_ERROR_ILLEGAL_ADDRESS"),
        print(
            Printing.class, driver(), Map.of("FAKE_CUDA_EVENT", "700"), permitted(), List.of("0")));
  }

  /** Prints how a device without room and a failing one answer. */
  static final class Failing {
    public static void main(String[] none) {
      try (Device device = TestDevices.simulatedCuda();
          Scope scope = device.open()) {
        Tensor x = scope.full(DType.F32, Shape.of(2), 3);
        say(() -> scope.full(DType.F32, Shape.of(1 << 20), 1));
        System.out.println(Arrays.toString(x.affine(2, 1).toFloats()));
        for (int i = 0; i < 2; i++) {
          say(() -> x.exp());
        }
        say(x::toFloats);
        say(device::synchronize);
      }
      try (Device device = TestDevices.simulatedCuda();
          Scope scope = device.open()) {
        System.out.println(scope.full(DType.F64, Shape.of(1), 5).item());
      }
    }

    private static void say(Runnable call) {
      try {
        call.run();
        System.out.println("well");
      } catch (RuntimeException e) {
        System.out.println(e.getClass().getSimpleName() + " " + e.getMessage());
      }
    }
  }

  /** The device has room for one block more; its fourth launch fails. */
  @Test
  void saysWhatThereIsNoRoomForAndEndsWithItsFailure() throws Exception {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
    List<String> lines =
        print(
            Failing.class,
            work,
            Map.of("PONDER_SIMULATOR_MEMORY", "1000000", "PONDER_SIMULATOR_FAILS", "4"),
            permitted(),
            List.of());
    String failed = "DeviceFailedException exp: ";
    String later = ": an earlier call failed on the device: open another context";
    assertTrue(
        lines
            .getFirst()
            .matches(
                "DeviceOutOfMemoryException allocate: 4194304 bytes asked, 65536 of \\d+ in use,"
                    + " \\d+ free on the device: .+"),
        lines.getFirst());
    assertEquals(
        List.of(
            "[7.0, 7.0]",
            "well",
            failed + "the device failed: a failure that was asked for",
            "DeviceFailedException download" + later,
            "DeviceFailedException synchronize" + later,
            "5.0"),
        lines.subList(1, lines.size()));
  }

  @Test
  void timesNoProcessor() {
    try (Device device = TestDevices.open(TestDevices.PLAIN)) {
      String sentence =
          assertThrows(UnsupportedOperationException.class, () -> CudaTimer.of(device))
              .getMessage();
      assertEquals("timer: " + device + " is no CUDA device", sentence);
    }
  }

  @Test
  void saysHowTheDriverFailed() throws Exception {
    assertEquals(
        List.of("13010 the CUDA driver refuses cuInit: CUDA_ERROR_NO_DEVICE"),
        print(driver(), Map.of("FAKE_CUDA_INIT", "100"), PERMITTED));
    assertEquals(
        List.of("13010 the CUDA driver has no device"),
        print(driver(), Map.of("FAKE_CUDA_COUNT", "0"), PERMITTED));
  }

  @Test
  void saysThatThereIsNoDriver() throws Exception {
    requireNatives();
    assumeFalse(Files.exists(Path.of("/proc/driver/nvidia")), "this machine has a driver");
    assertEquals(
        List.of("0 this machine has no libcuda.so.1, a part of NVIDIA's driver"),
        print(work, Map.of(), PERMITTED));
  }

  @Test
  void saysThatTheDriverIsDamaged() throws Exception {
    requireNatives();
    Path folder = Files.createDirectory(work.resolve("damaged"));
    Files.writeString(folder.resolve("libcuda.so.1"), "no library");
    assertEquals(
        List.of("0 the system cannot load libcuda.so.1, a part of NVIDIA's driver"),
        print(folder, Map.of(), PERMITTED));
  }

  @Test
  void saysThatJCudaIsMissing() throws Exception {
    assertEquals(
        List.of("0 JCuda, which asks the driver, is not on the path"),
        print(work, Map.of(), PERMITTED, "jcuda"));
    assertEquals(
        List.of("0 JCuda cannot load its own library for this machine"),
        print(work, Map.of(), PERMITTED, "jcuda-natives"));
  }

  /** Another module's permission is not JCuda's, and Java's warning would be in the output. */
  @Test
  void asksForAPermissionBeforeJavaWarns() throws Exception {
    assertEquals(
        List.of(
            "0 JCuda, which asks the driver, may not load its library; start Java with"
                + " --enable-native-access=ponder.engine,ALL-UNNAMED"),
        print(work, Map.of(), List.of("--enable-native-access=java.base")));
  }

  @Test
  void knowsTheOldestDriverOfAToolkit() {
    assertEquals(OptionalInt.of(580), CudaDevices.minimumDriver(13));
    assertEquals(OptionalInt.of(525), CudaDevices.minimumDriver(12));
    assertEquals(OptionalInt.empty(), CudaDevices.minimumDriver(1));
  }

  /** Whatever this machine has, there are devices or there is a reason. */
  @Test
  void givesDevicesOrAReason() {
    CudaDevices found = CudaDevices.list();
    assertEquals(found.devices().isEmpty(), !found.reason().isEmpty(), found.toString());
  }

  /** JCuda's library is made for this processor alone. */
  private static void requireNatives() {
    assumeTrue(Libraries.platform().equals("linux-x86_64"), "JCuda has no library for this one");
  }

  /** Returns the options of a process that opens the libraries of this one. */
  private static List<String> permitted() {
    String libraries = System.getProperty("ponder.library.path", "build/native");
    return List.of(PERMITTED.getFirst(), "-Dponder.library.path=" + libraries);
  }

  /** Returns the folder of the fake driver, which the native build makes. */
  private static Path driver() {
    requireNatives();
    String libraries = System.getProperty("ponder.library.path");
    assumeTrue(libraries != null, "no native build");
    Path folder = Path.of(libraries).resolveSibling("fake_cuda");
    assertTrue(Files.exists(folder.resolve("libcuda.so.1")), folder + " has no libcuda.so.1");
    return folder;
  }

  /**
   * Returns the lines a process of its own prints, complaints of the fake driver included.
   *
   * @param driver where the system's loader looks first
   * @param without the start of the names of jars to leave out of its path
   */
  private List<String> print(
      Path driver, Map<String, String> environment, List<String> options, String... without)
      throws Exception {
    return print(Printing.class, driver, environment, options, List.of(), without);
  }

  private List<String> print(
      Class<?> program,
      Path driver,
      Map<String, String> environment,
      List<String> options,
      List<String> arguments,
      String... without)
      throws Exception {
    List<String> path = new ArrayList<>();
    for (String property : List.of("java.class.path", "jdk.module.path")) {
      Stream.of(System.getProperty(property, "").split(File.pathSeparator))
          .filter(entry -> !entry.isEmpty())
          .filter(
              entry ->
                  Stream.of(without)
                      .noneMatch(jar -> Path.of(entry).getFileName().toString().startsWith(jar)))
          .forEach(path::add);
    }
    path.add(folder(CudaDevices.class));
    path.add(folder(Printing.class));
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(options);
    command.addAll(
        List.of(
            "-Xshare:auto",
            "-XX:TieredStopAtLevel=1",
            "-Djava.io.tmpdir=" + work,
            "-cp",
            String.join(File.pathSeparator, path),
            program.getName()));
    command.addAll(arguments);
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().put("LD_LIBRARY_PATH", driver.toString());
    builder.environment().putAll(environment);
    Process process = builder.start();
    String printed = new String(process.getInputStream().readAllBytes());
    assertEquals(0, process.waitFor(), printed);
    return printed.lines().toList();
  }

  /** Returns the folder of the package's classes. */
  private static String folder(Class<?> type) throws Exception {
    String file = type.getName().replaceAll(".*\\.", "") + ".class";
    return Path.of(type.getResource(file).toURI()).getParent().getParent().toString();
  }
}
