// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
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

  /** Prints the list, one line each. */
  static final class Printing {
    public static void main(String[] none) {
      CudaDevices found = CudaDevices.list();
      found.devices().forEach(System.out::println);
      System.out.println(found.driverVersion() + " " + found.reason());
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
        List.of("0 JCuda, which lists them, is not on the path"),
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
            "0 JCuda, which lists them, may not load its library; start Java with"
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
   * Returns the lines a process of its own prints.
   *
   * @param driver where the system's loader looks first
   * @param without the start of the names of jars to leave out of its path
   */
  private List<String> print(
      Path driver, Map<String, String> environment, List<String> options, String... without)
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
            Printing.class.getName()));
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
