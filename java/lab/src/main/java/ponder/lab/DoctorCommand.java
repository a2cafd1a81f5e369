// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.PrintWriter;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;
import ponder.lab.doctor.Doctor;
import ponder.lab.doctor.Finding;

/** {@code ponder doctor}: what is installed, which library is used and why, and each fix. */
@Command(
    name = "doctor",
    description =
        "Shows what is installed, which library is used and why, and how to mend problems.",
    mixinStandardHelpOptions = true)
final class DoctorCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  DoctorCommand() {}

  @Override
  public Integer call() {
    List<Finding> findings = Doctor.examine();
    PrintWriter out = spec.commandLine().getOut();
    int width = findings.stream().mapToInt(f -> f.subject().length()).max().orElse(0);
    for (Finding f : findings) {
      out.println(f.subject() + " ".repeat(width - f.subject().length()) + "  " + f.state());
      if (!f.fix().isEmpty()) {
        out.println(" ".repeat(width) + "  -> " + f.fix());
      }
    }
    long problems = findings.stream().filter(f -> !f.fix().isEmpty()).count();
    out.println(problems == 0 ? "Everything needed is here." : problems + " to mend.");
    return findings.stream().anyMatch(Finding::fatal)
        ? CommandLine.ExitCode.SOFTWARE
        : CommandLine.ExitCode.OK;
  }
}
