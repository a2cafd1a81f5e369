// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.module.ModuleDescriptor;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * The command line of the lab. Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage,
 * 130 or 143 stopped by a signal (one sentence says how to go on).
 */
@Command(
    name = "ponder",
    description = "Measures what a model gains by thinking longer.",
    mixinStandardHelpOptions = true,
    versionProvider = Main.Version.class,
    subcommands = {PathsCommand.class, MasksCommand.class, DoctorCommand.class})
public final class Main implements Runnable {
  @Spec private CommandSpec spec;

  /** Reads the version from the module or, on the class path, from the jar's manifest. */
  static final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() {
      return new String[] {"ponder " + version()};
    }
  }

  /** Made by picocli. */
  public Main() {}

  @Override
  public void run() {
    throw new ParameterException(spec.commandLine(), "Name a command.");
  }

  /** Returns the program's version. */
  static String version() {
    ModuleDescriptor module = Main.class.getModule().getDescriptor();
    String version =
        module == null
            ? Main.class.getPackage().getImplementationVersion()
            : module.rawVersion().orElse(null);
    return version == null ? "(classes without a jar)" : version;
  }

  /** Runs the command line and ends the process with its exit code. */
  public static void main(String[] args) {
    System.exit(run(args));
  }

  /** Runs the command line and returns its exit code. */
  static int run(String... args) {
    return new CommandLine(new Main())
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setParameterExceptionHandler(
            (e, arguments) -> {
              CommandLine command = e.getCommandLine();
              command.getErr().println("ponder: " + e.getMessage());
              command
                  .getErr()
                  .println("Try: " + command.getCommandSpec().qualifiedName() + " --help");
              return CommandLine.ExitCode.USAGE;
            })
        .setExecutionExceptionHandler(
            (e, command, parsed) -> {
              command.getErr().println("ponder: " + sentence(e));
              return CommandLine.ExitCode.SOFTWARE;
            })
        .execute(args);
  }

  /** Returns what went wrong in one sentence. */
  private static String sentence(Throwable e) {
    return switch (e) {
      case UncheckedIOException io -> sentence(io.getCause());
      case NoSuchFileException io -> "there is no file or folder " + io.getFile();
      case AccessDeniedException io -> "access to " + io.getFile() + " is denied";
      case NotDirectoryException io -> io.getFile() + " is not a folder";
      case FileAlreadyExistsException io -> io.getFile() + " exists and is not a folder";
      case IOException io -> io.getMessage() == null ? io.toString() : io.getMessage();
      default -> e.getMessage() == null ? e.toString() : e.getMessage();
    };
  }
}
