// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import ponder.Device;
import ponder.LibraryNotFoundException;

/** {@code --device} and {@code --threads}: what computes. */
final class DeviceOption {
  private static final Pattern NAME = Pattern.compile("cpu|cuda(:(\\d{1,4}))?");

  @Spec(Spec.Target.MIXEE)
  private CommandSpec command;

  @Option(
      names = "--device",
      paramLabel = "NAME",
      defaultValue = "cpu",
      description = "what computes: cpu, cuda or cuda:N, the CUDA device of that number")
  private String device;

  @Option(
      names = "--threads",
      paramLabel = "N",
      defaultValue = "0",
      description = "threads of the processor that compute (default: one per core)")
  private int threads;

  DeviceOption() {}

  /** Returns the name that was given. */
  String name() {
    return device;
  }

  /** Refuses names and numbers that no device has. */
  void check() {
    if (!NAME.matcher(device).matches()) {
      throw refusal("--device is " + device + ", must be cpu, cuda or cuda:N");
    }
    if (threads < 0) {
      throw refusal("--threads is " + threads + ", must be 0 or more");
    }
  }

  /** Opens the device. */
  Device open() {
    Matcher matcher = NAME.matcher(device);
    if (!matcher.matches() || device.equals("cpu")) {
      return Device.cpu(threads);
    }
    try {
      return Device.cuda(matcher.group(2) == null ? 0 : Integer.parseInt(matcher.group(2)));
    } catch (UnsupportedOperationException | LibraryNotFoundException e) {
      throw refusal("--device " + device + ": " + e.getMessage().replaceFirst("^open: ", ""));
    }
  }

  private ParameterException refusal(String sentence) {
    return new ParameterException(command.commandLine(), sentence);
  }
}
