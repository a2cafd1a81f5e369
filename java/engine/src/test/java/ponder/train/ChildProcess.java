// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import ponder.Tensor;

/** Starts a class of the tests in a Java process of its own, which can be measured or killed. */
final class ChildProcess {
  private ChildProcess() {}

  /**
   * Starts a process; what it writes to its error stream comes with what it prints.
   *
   * @param main the class with the method main
   * @param options of the virtual machine
   */
  static Process start(Class<?> main, List<String> options, String... arguments)
      throws IOException, URISyntaxException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(options);
    command.add("-Xshare:auto");
    command.add("--enable-native-access=ALL-UNNAMED");
    String libraries = System.getProperty("ponder.library.path");
    if (libraries != null) {
      command.add("-Dponder.library.path=" + libraries);
    }
    command.add("-cp");
    command.add(place(Tensor.class) + ":" + place(main));
    command.add(main.getName());
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command).redirectErrorStream(true).start();
  }

  /** Returns the folder of a class file; a class that patches a module has no code source. */
  private static Path place(Class<?> type) throws URISyntaxException {
    Path file = Path.of(type.getResource(type.getSimpleName() + ".class").toURI());
    for (int i = 0; i <= type.getPackageName().split("\\.").length; i++) {
      file = file.getParent();
    }
    return file;
  }
}
